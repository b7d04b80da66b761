"""The program that looks for one mutant: ``python -m jepsen_like.mutation.judge``.

It runs with an overlay first on its path, reads one order as JSON from standard input, and writes
what it finds as JSON Lines. It refuses to judge if anything of ours was imported from anywhere but
the overlay: a judge of the unchanged product finds every mutant "not found".
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from jepsen_like.mutation.overlay import packages_root, strangers
from jepsen_like.mutation.profiles import PROFILES, Finding, Judge, load_judge

HANG_S = 60
"""A seed that has not ended after so many seconds of real time has found a loop without end."""

BEHIND_A_LOOP = "hang"
"""The check that this counts as."""


SIMULATED = ("cluster", "elections", "years")
"""Profiles whose findings can be shrunk."""


class _Hangs(BaseException):
    """The seed takes longer than any seed may. No Exception: a replica would swallow that."""


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    for event in carry_out(order):
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def carry_out(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what happens: one event for each base, and one for the shrunk schedule.

    Args:
        order: ``profiles`` to try in turn, ``bases``, ``seeds`` (the budget), ``shrink`` (how many
            runs shrinking may take, 0 for none), ``hang_s``.
    """
    found_by = ""
    first: tuple[int, Finding] | None = None
    for profile in order["profiles"]:
        judge = load_judge(profile)
        foreign = strangers(packages_root())
        if foreign or not Path(sys.path[0]).samefile(packages_root()):
            yield {"event": "foreign", "modules": foreign, "path": sys.path[:2]}
            return
        for base in order["bases"]:
            event, seed, finding = hunt(judge, range(base, base + order["seeds"]), order["hang_s"])
            yield {"event": "base", "profile": profile, "base": base, **event}
            if finding is not None and first is None:
                first, found_by = (seed, finding), profile
        if first is not None:
            break
    if first is not None and found_by in SIMULATED and order["shrink"]:
        yield shrunk(found_by, first[0], order["shrink"])


def hunt(
    judge: Judge, seeds: Sequence[int], hang_s: int
) -> tuple[dict[str, Any], int, Finding | None]:
    """Run seeds until something is found.

    Returns:
        The event that tells it, the last seed that ran, and what it found.
    """
    began = time.perf_counter()
    finding, seed, ran = None, -1, 0
    for seed in seeds:
        ran += 1
        finding = _bounded(judge, seed, hang_s)
        if finding is not None:
            break
    event: dict[str, Any] = {"seeds": ran, "wall_s": time.perf_counter() - began, "found": None}
    if finding is not None:
        event["found"] = {
            "seed": seed,
            "check": finding.check,
            "text": finding.text,
            "seconds": finding.seconds,
        }
    return event, seed, finding


def _bounded(judge: Judge, seed: int, hang_s: int) -> Finding | None:
    try:
        with _alarm(hang_s):
            return judge(seed)
    except _Hangs:
        return Finding(BEHIND_A_LOOP, f"seed {seed} did not end within {hang_s} s of real time")


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def shrunk(profile: str, seed: int, runs: int) -> dict[str, Any]:
    """Shrink what a simulation found, and tell how long the rest is."""
    from jepsen_like.sim.replay import to_fields
    from jepsen_like.sim.shrink import shrink
    from jepsen_like.sim.story import text_of

    case = importlib.import_module(PROFILES[profile]).case
    least = shrink(case(seed), runs=runs)
    return {
        "event": "shrunk",
        "seed": seed,
        "steps": least.steps,
        "runs": least.runs,
        "story": [text_of(step) for step in least.story],
        "case": to_fields(least.case),
    }


if __name__ == "__main__":
    main()
