"""Judges whether a history is linearizable: whether one order explains every answer.

The order has to keep to real time: what was answered before something else was invoked comes before
it (Herlihy and Wing, 1990). It is enough to look at each key alone. The answer is "yes" or "no"
only if that was shown; where time or memory do not suffice it is "unknown", and says which.

Where the data type tells its own order, ``direct`` decides. Elsewhere each key gets two searches
that take turns, and the keys take turns, with turns that grow: one hard key cannot keep the others
from being refuted. The first "no" ends it.
"""

from __future__ import annotations

import gc
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from jepsen_like.checkers.containers import AppendList, GrowingSet, Queue
from jepsen_like.checkers.counter import Counter
from jepsen_like.checkers.direct import DECIDERS, Decide, may_decide, spans_of
from jepsen_like.checkers.meter import Meter
from jepsen_like.checkers.models import Model
from jepsen_like.checkers.mutex import Mutex
from jepsen_like.checkers.operations import Operations, Recorded, beginning
from jepsen_like.checkers.registers import CasRegister, KeyValue, TextRegister
from jepsen_like.checkers.table import Table
from jepsen_like.checkers.turns import Contest, Patience
from jepsen_like.history import Entry
from jepsen_like.verdict import Verdict

MODELS: Mapping[str, Callable[[], Model]] = {
    "cas-register": CasRegister,
    "kv": KeyValue,
    "kv-append": TextRegister,
    "append": AppendList,
    "set": GrowingSet,
    "counter": Counter,
    "queue": Queue,
    "mutex": Mutex,
}
"""By name. A model may remember what it was asked, so each check makes its own."""

LOCATE_QUANTA = 200
LOCATE_BYTES = 50_000_000
"""What may be spent on where a refutation lies that took no search, for each step of halving."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a check may cost.

    Attributes:
        seconds: Of searching. Reading the history is not counted, and takes time in proportion.
        memory_bytes: For what the searches remember, by careful guess; the history and the
            interpreter come on top.
    """

    seconds: float = 60.0
    memory_bytes: int = 400_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """What was found.

    Attributes:
        verdict: Whether one order explains every answer.
        model: The model's name.
        operations: How many were begun, by clients.
        unknown_outcome: How many of them ended ``info`` or never.
        keys: How many objects there were.
        seconds: How long it took.
        reason: Why, in one sentence.
        key: Of "no": the key. (None also where there is one object.)
        entry: Of "no": the position in the history of the first answer that no order explains.
    """

    verdict: Verdict
    model: str
    operations: int
    unknown_outcome: int
    keys: int
    seconds: float
    reason: str
    key: str | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    reason: str
    key: str | None = None
    entry: int | None = None


def check(history: Sequence[Entry], model: Model | str, budget: Budget | None = None) -> Result:
    """Judge a history.

    Args:
        history: Entries in the order of real time; those of the nemesis are skipped.
        model: A name of ``MODELS``, or a model made for this check.
        budget: What it may cost at most.

    Returns:
        The verdict with its reason. A history in which nothing was answered shows nothing, and is
        "unknown".

    Raises:
        HistoryError: If no run can have recorded it, or the model lacks an operation of it.
        LookupError: If no model has that name.
    """
    began = perf_counter()
    if isinstance(model, str):
        model = MODELS[model]()
    budget = budget or Budget()
    with _without_collector():
        meter = Meter(budget.memory_bytes)
        table = Table(model, meter)
        recorded = Recorded(history, model, table)
        finding = _judge(recorded, table, meter, Patience(began + budget.seconds, meter))
    return Result(
        verdict=finding.verdict,
        model=model.name,
        operations=recorded.operations,
        unknown_outcome=recorded.unknown_outcome,
        keys=len(recorded.keys),
        seconds=perf_counter() - began,
        reason=finding.reason,
        key=finding.key,
        entry=finding.entry,
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles: a check makes none, and there is much to look at."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _judge(recorded: Recorded, table: Table, meter: Meter, patience: Patience) -> _Finding:
    if not recorded.operations:
        return _Finding("unknown", "the history is empty: it shows nothing")
    if not recorded.answered:
        return _Finding("unknown", "no operation was answered: the history shows nothing")
    decide = DECIDERS.get(type(table.model))
    contests = []
    for key, operations in recorded.keys.items():
        decided = None
        if decide is not None and may_decide(operations, table):
            decided = decide(spans_of(operations, table))
        if decided is False and decide is not None:
            answer = _first_impossible(operations, table, decide, patience)
            return _refuted(recorded.history, key, operations.answered[answer])
        if decided is None:
            contests.append(Contest(key, operations, table, meter))
    return _take_turns(recorded.history, contests, patience)


def _refuted(history: Sequence[Entry], key: str | None, entry: int) -> _Finding:
    process, _, f, _, value, _, _ = history[entry]
    where = "" if key is None else f"key {key!r}: "
    answer = f"the {f} of process {process} was answered {json.dumps(value)[:80]}"
    reason = f"{where}{answer} (entry {entry + 1}), and no order explains that and all before it"
    return _Finding("no", reason, key, entry)


def _first_impossible(
    operations: Operations, table: Table, decide: Decide, patience: Patience
) -> int:
    """Return the first answer with which the history is refuted; without it, it is not.

    A beginning of a linearizable history is linearizable: what has no answer yet is of unknown
    outcome then. So halving finds it. A beginning may be undecided where the whole is not.
    """
    possible, impossible = 0, len(operations.answered)
    while impossible - possible > 1:
        middle = (possible + impossible) // 2
        part = beginning(operations, middle, table)
        explained = decide(spans_of(part, table))
        if explained is None:
            ending = Contest(None, part, table, Meter(LOCATE_BYTES)).settle(LOCATE_QUANTA, patience)
            explained = None if ending is None else ending.possible
        if explained is False:
            impossible = middle
        else:
            possible = middle
    return impossible - 1


def _take_turns(history: Sequence[Entry], contests: list[Contest], patience: Patience) -> _Finding:
    """Let the keys search in turns until one is refuted, all are explained, or patience ends."""
    waiting = deque(contests)
    while waiting:
        contest = waiting.popleft()
        ending = contest.take_turn(patience)
        if ending is None:
            waiting.append(contest)
        elif not ending.possible:
            answer = contest.locate(ending.answer, patience)
            entry = contest.operations.answered[answer]
            return _refuted(history, contest.key, entry)
        if waiting and patience.memory_is_out and not sum(each.retrench() for each in waiting):
            return _undecided("memory", waiting)
        if waiting and patience.time_is_out:
            return _undecided("time", waiting)
    return _Finding("yes", "an order explains every answer")


def _undecided(means: str, waiting: Collection[Contest]) -> _Finding:
    hardest = max(waiting, key=lambda contest: len(contest.operations.answered))
    keys = "it" if hardest.key is None else f"{len(waiting)} keys, {hardest.key!r} among them,"
    reason = f"the {means} of its budget ran out before {keys} could be decided"
    return _Finding("unknown", reason)
