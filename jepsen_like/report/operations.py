"""Operations out of the entries of a history, and what can be counted from them.

It judges nothing, and takes a history as it comes: a line that fits nowhere is left out and
counted, since a report about a broken recording has to say so and not break too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from jepsen_like.history import NEMESIS, Entry
from jepsen_like.report.facts import Band, Phase

NANOSECONDS = 1_000_000_000

Outcome = Literal["ok", "fail", "info"]


class Operation(NamedTuple):
    """What one process asked once, and what came of it.

    Attributes:
        process: Who asked.
        f: The operation's name.
        key: Of what.
        value: The argument.
        answer: The result, if it is ``ok``.
        error: Why not, or why nobody knows.
        outcome: ``info`` also where no answer was recorded.
        start: Nanoseconds since the run began.
        stop: The same; None where no answer was recorded.
        invoked_at: Position of its first entry in the history.
        answered_at: Position of its second one, or None.
    """

    process: int | str
    f: str
    key: str | None
    value: Any
    answer: Any
    error: str | None
    outcome: Outcome
    start: int
    stop: int | None
    invoked_at: int
    answered_at: int | None

    @property
    def done_at(self) -> int | None:
        """Position from which on it has surely taken effect or surely not, or None."""
        return None if self.outcome == "info" else self.answered_at

    @property
    def latency(self) -> int | None:
        """Nanoseconds until the answer, or None."""
        return None if self.stop is None else max(0, self.stop - self.start)


class Paired(NamedTuple):
    """The operations of a history.

    Attributes:
        operations: In the order in which they began.
        stray: How many entries fit nowhere.
        timed: Whether it was recorded when something happened. Where it was not, as in some
            formats, all times are equal, and only the order tells.
    """

    operations: list[Operation]
    stray: int
    timed: bool


def pair(history: Sequence[Entry]) -> Paired:
    """Join every invocation with its answer. Entries of the nemesis are passed over."""
    answers: dict[int, tuple[int, Entry]] = {}  # by position of the invocation
    waiting: dict[int | str, int] = {}
    invoked: list[int] = []
    stray = 0
    for position, entry in enumerate(history):
        if entry.process == NEMESIS:
            continue
        if entry.type == "invoke":
            stray += entry.process in waiting
            waiting[entry.process] = position
            invoked.append(position)
        else:
            began = waiting.pop(entry.process, None)
            if began is None:
                stray += 1
            else:
                answers[began] = (position, entry)
    operations = [_join(history, position, answers.get(position)) for position in invoked]
    return Paired(operations, stray, len({entry.time for entry in history}) > 1)


def _join(history: Sequence[Entry], position: int, answer: tuple[int, Entry] | None) -> Operation:
    asked = history[position]
    common = (asked.process, asked.f, asked.key, asked.value)
    if answer is None:
        return Operation(*common, None, None, "info", asked.time, None, position, None)
    answered_at, said = answer
    outcome: Outcome = "info" if said.type == "invoke" else said.type
    return Operation(
        *common, said.value, said.error, outcome, asked.time, said.time, position, answered_at
    )


def tally(operations: Iterable[Operation]) -> dict[str, int]:
    """Return how many operations there are, and how they ended."""
    outcomes = Counter(operation.outcome for operation in operations)
    return {
        "operations": sum(outcomes.values()),
        "ok": outcomes["ok"],
        "fail": outcomes["fail"],
        "info": outcomes["info"],
    }


def counts(history: Sequence[Entry]) -> dict[str, int]:
    """Return how many operations a history has, and how they ended: figures for ``Facts``."""
    return tally(pair(history).operations)


HEAL = "heal-"
PHASE = "phase"


def bands(history: Sequence[Entry]) -> list[Band]:
    """Return the faults that a live run's nemesis wrote into a history, as they began.

    A fault begins with an entry whose ``f`` is its kind, and ends with one whose ``f`` is the same
    with "heal-" in front; the value of both is an object with ``target``, of the second also with
    ``effects``. One that never ends lasts as long as the history, without effect.
    """
    last = max((entry.time for entry in history), default=0)
    found: list[Band] = []
    under_way: dict[tuple[str, str], list[int]] = {}
    for entry in history:
        if entry.process != NEMESIS or entry.f == PHASE:
            continue
        target = _text_of(entry.value, "target")
        if not entry.f.startswith(HEAL):
            under_way.setdefault((entry.f, target), []).append(len(found))
            seconds = entry.time / NANOSECONDS
            found.append(Band(entry.f, target, seconds, last / NANOSECONDS, 0))
            continue
        begun = under_way.get((entry.f.removeprefix(HEAL), target))
        if begun:
            place = begun.pop(0)
            effects = entry.value.get("effects", 0) if isinstance(entry.value, dict) else 0
            found[place] = replace(found[place], stop_s=entry.time / NANOSECONDS, effects=effects)
    return found


def phases(history: Sequence[Entry]) -> list[Phase]:
    """Return the phases that a live run wrote into a history: each lasts until the next."""
    begun = [entry for entry in history if entry.process == NEMESIS and entry.f == PHASE]
    ends = [entry.time for entry in begun[1:]]
    ends.append(max((entry.time for entry in history), default=0))
    return [
        Phase(str(entry.value), entry.time / NANOSECONDS, end / NANOSECONDS)
        for entry, end in zip(begun, ends, strict=False)
    ]


def _text_of(value: Any, name: str) -> str:
    return str(value.get(name) or "") if isinstance(value, dict) else ""
