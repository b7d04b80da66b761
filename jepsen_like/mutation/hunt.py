"""The hunt: every mutant in a process of its own, and what came of it.

It owns the verdict of a mutant and of all of them together, and the control: the unchanged code
over every seed that any mutant ran must find nothing, or no finding means anything.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jepsen_like.mutation.judge import HANG_S
from jepsen_like.mutation.mutant import Mutant, MutantInvalid
from jepsen_like.mutation.overlay import environment, overlay
from jepsen_like.mutation.profiles import PROFILES
from paxos.core.errors import PaxosError

State = Literal["found", "not found", "unexpected", "invalid", "waits", "equivalent", "held"]

BASE_STEP = 10_000
"""Between the first seeds of two bases."""


class HuntFailed(PaxosError):
    """The hunt itself failed: it says nothing of any mutant."""


@dataclass(frozen=True, slots=True)
class Base:
    """What one base came to.

    Attributes:
        profile: The judge.
        base: The first seed.
        seeds: How many ran.
        seed: The one that found it, or None.
        check: What found it.
        text: What it saw.
        seconds: Virtual time until then.
        wall_s: Real time of all of its seeds.
    """

    profile: str
    base: int
    seeds: int
    wall_s: float
    seed: int | None = None
    check: str = ""
    text: str = ""
    seconds: float | None = None


@dataclass(slots=True)
class Result:
    """What came of one mutant.

    Attributes:
        mutant: Which.
        state: "found" if every base found it within the budget, by an expected check;
            "unexpected" if it was by another one; "invalid" if it could not be looked for.
        bases: Each base's part, of the profile that found it, or of the last one tried.
        shrunk: What is left of the first finding: ``steps``, ``story``, ``replay``; or None.
        trouble: Why it is not "found", if it was looked for.
        wall_s: Real time.
    """

    mutant: Mutant
    state: State
    bases: list[Base] = field(default_factory=list)
    shrunk: dict[str, Any] | None = None
    trouble: str = ""
    wall_s: float = 0.0

    @property
    def found_by(self) -> list[str]:
        """The checks that found it, each once, most frequent first."""
        checks = [base.check for base in self.bases if base.check]
        return sorted(set(checks), key=lambda check: (-checks.count(check), check))

    @property
    def median_seeds(self) -> float | None:
        """Seeds until it was found, the median over the bases."""
        counts = [base.seeds for base in self.bases if base.seed is not None]
        return statistics.median(counts) if counts else None

    @property
    def median_seconds(self) -> float | None:
        """Virtual time in the seed that found it, the median over the bases."""
        times = [base.seconds for base in self.bases if base.seconds is not None]
        return statistics.median(times) if times else None

    @property
    def profile(self) -> str:
        """Which judge found it, or was asked last."""
        return self.bases[-1].profile if self.bases else self.mutant.profile


@dataclass(frozen=True, slots=True)
class Order:
    """How to look.

    Attributes:
        bases: How many times to look for each, from another seed on.
        seeds: The budget instead of each mutant's own, or None.
        shrink: How many runs the shrinking of a finding may take; 0 to leave it as it is.
        jobs: How many mutants at once.
        root: Where the packages lie; those that run by default.
    """

    bases: int = 3
    seeds: int | None = None
    shrink: int = 150
    jobs: int = 1
    root: Path | None = None


def hunt_all(mutants: Sequence[Mutant], order: Order) -> Iterator[Result]:
    """Look for each mutant; yield what came of each, in their order, as soon as it is known."""
    with ThreadPoolExecutor(max_workers=order.jobs) as pool:
        pending = [pool.submit(hunt_one, mutant, order) for mutant in mutants]
        try:
            for each in pending:
                yield each.result()
        finally:
            for each in pending:
                each.cancel()


def hunt_one(mutant: Mutant, order: Order) -> Result:
    """Look for one mutant. What cannot be looked for is no error here: it is said in the result."""
    if not mutant.runnable:
        state: State = "waits"
        if mutant.equivalent:
            state = "equivalent"
        elif mutant.held_by:
            state = "held"
        return Result(mutant, state)
    began = time.perf_counter()
    if order.seeds is not None:
        mutant = replace(mutant, seeds=order.seeds)
    wish = {
        "profiles": [mutant.profile] if mutant.profile else list(PROFILES),
        "bases": [number * BASE_STEP for number in range(order.bases)],
        "seeds": mutant.seeds,
        "shrink": order.shrink,
    }
    try:
        with overlay(mutant, order.root) as directory:
            events = run_judge(directory, wish, mutant.id)
    except (MutantInvalid, HuntFailed) as error:
        return Result(mutant, "invalid", trouble=str(error))
    result = _sum_up(mutant, events)
    result.wall_s = time.perf_counter() - began
    return result


def _sum_up(mutant: Mutant, events: Sequence[dict[str, Any]]) -> Result:
    told = [_base(event) for event in events if event["event"] == "base"]
    last = told[-1].profile
    bases = [base for base in told if base.profile == last]
    result = Result(mutant, "found", bases)
    result.shrunk = next((event for event in events if event["event"] == "shrunk"), None)
    missed = [base for base in bases if base.seed is None]
    strange = [each for each in result.found_by if mutant.expected and each not in mutant.expected]
    if missed:
        result.state = "not found"
        where = ", ".join(f"{base.base}:{base.base + base.seeds}" for base in missed)
        result.trouble = f"not found in seeds {where} of profile {last}"
    elif strange:
        result.state = "unexpected"
        wanted = ", ".join(mutant.expected)
        seen = next(base.text for base in bases if base.check in strange)
        result.trouble = f"found by {', '.join(strange)} instead of {wanted}: {seen}"
    return result


def _base(event: dict[str, Any]) -> Base:
    found = event["found"] or {}
    return Base(event["profile"], event["base"], event["seeds"], event["wall_s"], **found)


def run_judge(directory: Path, wish: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Let the judge in an overlay carry out an order; return its events.

    Raises:
        HuntFailed: It died, or imported something of ours from elsewhere.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jepsen_like.mutation.judge"],
        cwd=directory,
        env=environment(directory),
        input=json.dumps({"hang_s": HANG_S, **wish}),
        capture_output=True,
        text=True,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    foreign = [event for event in events if event["event"] == "foreign"]
    if foreign:
        raise HuntFailed(f"{name}: the judge ran from elsewhere: {foreign[0]}")
    if done.returncode or not events:
        tail = "\n".join(done.stderr.splitlines()[-8:])
        raise HuntFailed(f"{name}: the judge died (status {done.returncode}):\n{tail}")
    return events


# --- the control ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Control:
    """The unchanged code over the seeds that mutants ran.

    Attributes:
        seeds: How many, by profile.
        findings: What was found: nothing, or no mutant was found either.
        wall_s: Real time.
    """

    seeds: dict[str, int] = field(default_factory=dict)
    findings: list[Base] = field(default_factory=list)
    wall_s: float = 0.0


def control(results: Sequence[Result], order: Order, tell: Callable[[str], None]) -> Control:
    """Run the unchanged code over every seed at which a mutant was looked for.

    Raises:
        HuntFailed: A judge died.
    """
    began = time.perf_counter()
    most: dict[tuple[str, int], int] = {}
    for base in (base for result in results for base in result.bases):
        key = (base.profile, base.base)
        most[key] = max(most.get(key, 0), base.seeds)
    sum_up = Control()
    with overlay(None, order.root) as directory, ThreadPoolExecutor(order.jobs) as pool:
        wishes = [
            {"profiles": [profile], "bases": [base], "seeds": seeds, "shrink": 0}
            for (profile, base), seeds in most.items()
        ]
        for events in pool.map(lambda wish: run_judge(directory, wish, "the control"), wishes):
            for base in map(_base, events):
                sum_up.seeds[base.profile] = sum_up.seeds.get(base.profile, 0) + base.seeds
                if base.seed is not None:
                    sum_up.findings.append(base)
                tell(f"{base.profile} from {base.base}")
    sum_up.wall_s = time.perf_counter() - began
    return sum_up
