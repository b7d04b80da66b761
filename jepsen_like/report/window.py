"""The operations round the first impossible one, told in full: who overlapped whom.

The horizontal axis is the order of events, not time: every bar is as wide as its label needs, and
two bars overlap exactly if the two operations did. It computes places; what they look like is the
template's business.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from jepsen_like.report import shown
from jepsen_like.report.facts import Band
from jepsen_like.report.keys import Key
from jepsen_like.report.operations import NANOSECONDS, Operation

BEFORE_MAX = 40
"""Operations that ended before the impossible one began, counted back from it."""
OVERLAPPING_MAX = 60
OPEN_MAX = 12
"""Earlier ones whose outcome is unknown, counted back."""
AFTER_MAX = 8
BANDS_MAX = 60
"""Faults, the nearest to the impossible operation."""
FAULTS_MAX = 10
"""Kinds of fault: a row each."""

ROW, BAR, TOP = 28, 22, 26
GAP = 12
"""Between two events, at least."""
CHAR = 6.7
"""Width of a character of a label."""

Relation = Literal["before", "overlaps", "open", "this", "after"]


class Bar(NamedTuple):
    """An operation as it is drawn. ``open``: its outcome is unknown, so it has no end."""

    x: float
    width: float
    row: int
    label: str
    relation: Relation
    operation: Operation

    @property
    def open(self) -> bool:
        """Whether it may take effect at any later time."""
        return self.operation.outcome == "info"


class Told(NamedTuple):
    """An operation as it stands in the table. ``order`` counts in the checker's order, from 1."""

    relation: Relation
    operation: Operation
    order: int | None


class Strip(NamedTuple):
    """A fault under the bars, in the row of its kind."""

    x: float
    width: float
    row: int
    band: Band


class Window(NamedTuple):
    """Everything about one impossible operation.

    Attributes:
        key: Its key.
        operation: It.
        origin: Where its result can have come from, as a sentence; or "".
        bars: What is drawn.
        processes: The rows.
        ticks: Places and seconds.
        told: The table, in the order in which the operations began.
        explained: The end of the checker's order.
        explained_count: How long that order is.
        left_out: By relation: how many operations are in the history and not here.
        faults: Kinds of fault: the rows of the strips.
        strips: Faults.
        left: Where the impossible operation begins.
        line: Where it ends: everything to the left of this line can be explained.
        width: Of the drawing.
        height: Of the drawing.
    """

    key: Key
    operation: Operation
    origin: str
    bars: Sequence[Bar]
    processes: Sequence[int | str]
    ticks: Sequence[tuple[float, str]]
    told: Sequence[Told]
    explained: Sequence[Operation]
    explained_count: int
    left_out: Mapping[Relation, int]
    faults: Sequence[str]
    strips: Sequence[Strip]
    left: float
    line: float
    width: float
    height: float


EXPLAINED_SHOWN = 24


def look(key: Key, explained: Sequence[int], bands: Sequence[Band]) -> Window | None:
    """Return the window on a key's impossible operation, or None if the key has none."""
    target = key.impossible
    if target is None:
        return None
    related = [(_relation(each, target), each) for each in key.operations]
    chosen, left_out = _choose(related)
    order = {position: place for place, position in enumerate(explained, 1)}
    told = [Told(relation, each, order.get(each.invoked_at)) for relation, each in chosen]
    processes = sorted({each.process for _, each in chosen}, key=_process)
    labels = _labels(chosen)
    spots, right = _spots([each for _, each in chosen], labels)
    bars = [
        Bar(
            spots[each.invoked_at],
            (right if each.done_at is None else spots[each.done_at]) - spots[each.invoked_at],
            processes.index(each.process),
            labels[each.invoked_at],
            relation,
            each,
        )
        for relation, each in chosen
    ]
    meanwhile = _meanwhile(bands, chosen, target)
    faults = list(dict.fromkeys(band.kind for band in meanwhile))[:FAULTS_MAX]
    strips = _strips(meanwhile, faults, _clock(chosen, spots), right)
    left, line = spots[target.invoked_at], right
    if target.answered_at is not None and target.outcome != "info":
        line = spots[target.answered_at]
    by_position = {each.invoked_at: each for each in key.operations}
    known = [by_position[position] for position in explained if position in by_position]
    return Window(
        key,
        target,
        _origin(target, key.operations),
        bars,
        processes,
        _ticks(chosen, spots),
        told,
        known[-EXPLAINED_SHOWN:],
        len(known),
        left_out,
        faults,
        strips,
        left,
        line,
        right,
        TOP + ROW * len(processes) + 6,
    )


def _process(process: int | str) -> tuple[int, int, str]:
    return (0, process, "") if isinstance(process, int) else (1, 0, process)


def _relation(each: Operation, target: Operation) -> Relation:
    """Return how an operation lies to the impossible one, by positions: they are exact."""
    if each.invoked_at == target.invoked_at:
        return "this"
    if target.answered_at is not None and each.invoked_at > target.answered_at:
        return "after"
    if each.done_at is not None and each.done_at < target.invoked_at:
        return "before"
    if each.done_at is None and each.invoked_at < target.invoked_at:
        return "open"
    return "overlaps"


Related = list[tuple[Relation, Operation]]


def _choose(related: Related) -> tuple[Related, dict[Relation, int]]:
    """Return what is told, in the order of the beginnings, and how many of each are not."""
    room: dict[Relation, int] = {
        "before": BEFORE_MAX,
        "overlaps": OVERLAPPING_MAX,
        "open": OPEN_MAX,
        "this": 1,
        "after": AFTER_MAX,
    }
    chosen: Related = []
    left_out: dict[Relation, int] = {}
    for relation, most in room.items():
        own = [pair for pair in related if pair[0] == relation]
        kept = own[:most] if relation in ("after", "overlaps") else own[-most:]
        chosen += kept
        left_out[relation] = len(own) - len(kept)
    chosen.sort(key=lambda pair: pair[1].invoked_at)
    return chosen, left_out


# --- places --------------------------------------------------------------------------------------


def text_width(text: str) -> float:
    """Return how wide a label is, about."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return CHAR * (len(text) + wide)


def _labels(chosen: Related) -> dict[int, str]:
    """Return what stands in the bars, by the positions of their beginnings."""
    marks = {"ok": "", "fail": "✗ ", "info": "? "}
    return {
        each.invoked_at: ("✖ " if relation == "this" else marks[each.outcome]) + shown.label(each)
        for relation, each in chosen
    }


def _spots(
    operations: Sequence[Operation], labels: Mapping[int, str]
) -> tuple[dict[int, float], float]:
    """Return the place of every event, by its position in the history, and the right edge."""
    events: list[tuple[int, Operation, bool]] = []
    for each in operations:
        events.append((each.invoked_at, each, True))
        if each.done_at is not None:
            events.append((each.done_at, each, False))
    events.sort(key=lambda event: event[0])
    spots: dict[int, float] = {}
    x = 4.0
    for position, operation, begins in events:
        if not begins:
            least = spots[operation.invoked_at] + text_width(labels[operation.invoked_at]) + 14
            x = max(x, least)
        spots[position] = x
        x += GAP
    right = x + GAP
    for each in operations:
        if each.done_at is None:
            right = max(right, spots[each.invoked_at] + text_width(labels[each.invoked_at]) + 24)
    return spots, right


def _ticks(chosen: Related, spots: Mapping[int, float]) -> list[tuple[float, str]]:
    """Return when some of the operations began, as far apart as the texts need."""
    times = [each.start for _, each in chosen]
    decimals = 3 if max(times) - min(times) > NANOSECONDS // 10 else 6
    ticks: list[tuple[float, str]] = []
    for _, each in chosen:
        x = spots[each.invoked_at]
        if not ticks or x - ticks[-1][0] > 12 * CHAR:
            ticks.append((x, f"{each.start / NANOSECONDS:.{decimals}f} s"))
    return ticks


def _clock(chosen: Related, spots: Mapping[int, float]) -> list[tuple[float, float]]:
    """Return seconds and places of all events, both ascending."""
    points = [(each.start / NANOSECONDS, spots[each.invoked_at]) for _, each in chosen]
    points += [
        (each.stop / NANOSECONDS, spots[each.done_at])
        for _, each in chosen
        if each.stop is not None and each.done_at is not None
    ]
    return sorted(points)


def _meanwhile(bands: Sequence[Band], chosen: Related, target: Operation) -> list[Band]:
    """Return the faults that struck during what is drawn, in the order of their beginning.

    What began long ago and is still open says nothing about when the drawing begins.
    """
    starts = [each.start for relation, each in chosen if relation != "open"]
    first, last = min(starts) / NANOSECONDS, max(starts) / NANOSECONDS
    here = target.start / NANOSECONDS
    within = [band for band in bands if band.start_s <= last and band.stop_s >= first]
    within.sort(key=lambda band: max(band.start_s - here, here - band.stop_s))
    return sorted(within[:BANDS_MAX], key=lambda band: band.start_s)


def _strips(
    bands: Sequence[Band],
    faults: Sequence[str],
    clock: Sequence[tuple[float, float]],
    right: float,
) -> list[Strip]:
    """Return the faults where the bars' events put them."""
    last = clock[-1][0]
    times = [time for time, _ in clock]
    strips = []
    for band in bands:
        if band.kind in faults:
            x = _place(clock, times, band.start_s, 0.0)
            end = right if band.stop_s > last else _place(clock, times, band.stop_s, right)
            strips.append(Strip(x, max(6.0, end - x), faults.index(band.kind), band))
    return strips


def _place(
    clock: Sequence[tuple[float, float]], times: Sequence[float], time: float, early: float
) -> float:
    after = bisect_right(times, time)
    if after == 0:
        return early
    if after == len(clock):
        return clock[-1][1]
    (start, x), (stop, next_x) = clock[after - 1], clock[after]
    share = (time - start) / (stop - start) if stop > start else 1.0
    return x + share * (next_x - x)


# --- where a value came from ---------------------------------------------------------------------

_READS = frozenset({"read", "get", "dequeue"})
_WRITES = frozenset({"write", "put", "enqueue"})


def _origin(target: Operation, operations: Iterable[Operation]) -> str:
    """Return where a read's value can have come from, for models whose reads return one value."""
    answer = target.answer
    if target.f not in _READS or target.outcome != "ok" or answer is None:
        return ""
    if isinstance(answer, list | dict):
        return ""
    writers = [each for each in operations if each.outcome != "fail" and _writes(each, answer)]
    if not any(each.f in _WRITES for each in operations):
        return ""
    value = shown.value_text(answer)
    end = target.answered_at if target.answered_at is not None else target.invoked_at
    possible = [each for each in writers if each.invoked_at < end]
    if not possible:
        later = f" before it; {_who(writers[0])} came only later" if writers else ""
        return f"Nobody wrote {value}{later}."
    last = possible[-1]
    if last.outcome != "ok":
        return f"The last to write {value} is {_who(last)}, of unknown outcome."
    since = [
        each
        for each in operations
        if each.outcome == "ok"
        and (each.f in _WRITES or each.f == "cas")
        and _before(last, each)
        and _before(each, target)
    ]
    text = f"The last to write {value} is {_who(last)}"
    if since:
        times = "once" if len(since) == 1 else f"{len(since):,} times"
        return f"{text}; after it, the value was replaced {times} before this read began."
    return f"{text}."


def _before(one: Operation, other: Operation) -> bool:
    return one.done_at is not None and one.done_at < other.invoked_at


def _who(operation: Operation) -> str:
    return f"process {shown.visible(str(operation.process))} with {shown.label(operation)}"


def _writes(operation: Operation, value: object) -> bool:
    if operation.f in _WRITES:
        return bool(operation.value == value)
    pair = operation.value
    return (
        operation.f == "cas"
        and isinstance(pair, list | tuple)
        and len(pair) == 2
        and pair[1] == value
    )
