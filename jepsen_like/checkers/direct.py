"""Answers without a search, where the data type tells its own order. Near linear time.

Each function here answers True or False only where that is proven for the case at hand, and None
where it is not (elements that come twice, sums of different size, ...): then the search decides. A
naive search over all orders is compared with each of them on thousands of small histories.

Positions in the history are times. Of two operations the first is *before* the second if it was
answered before the second was invoked. Every order has to keep to that, and no more.

What several of them share is ``ranks_agree``: the data type gives each operation a rank, such that
an order explains the results exactly if it goes up in rank; within a rank any order will do. Such
an order exists if no operation of higher rank is before one of lower rank: sort by rank, and within
a rank by time; two operations in the wrong order would be that pair.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from math import inf
from typing import NamedTuple

from jepsen_like.checkers.containers import AppendList, GrowingSet, Queue
from jepsen_like.checkers.counter import Counter as CounterModel
from jepsen_like.checkers.counter import is_number
from jepsen_like.checkers.models import Kind
from jepsen_like.checkers.operations import Operations
from jepsen_like.checkers.registers import CasRegister, KeyValue
from jepsen_like.checkers.table import Signature, Table
from jepsen_like.checkers.values import key_of


class Span(NamedTuple):
    """One operation: when it was open, what was asked, what was answered.

    ``answered`` is infinite where the outcome is unknown.
    """

    invoked: int
    answered: float
    signature: Signature


def may_decide(operations: Operations, table: Table) -> bool:
    """Tell in short whether a register is worth a closer look; other types always are."""
    counts = Counter(operations.classes)
    return not any(
        table.signatures[class_].f == "cas" or (count > 1 and table.kinds[class_] is Kind.OVERWRITE)
        for class_, count in counts.items()
    )


class Ranked(NamedTuple):
    """An operation with its place in the only order that explains the results.

    ``holds`` is false for an operation that may as well come later, because it changes nothing
    there: it is kept behind what is before it, and keeps nothing back.
    """

    rank: float
    invoked: int
    answered: float
    holds: bool = True


Decide = Callable[[list[Span]], bool | None]


def spans_of(operations: Operations, table: Table) -> list[Span]:
    """Return the operations of one key with what they asked; known ones first."""
    signatures = table.signatures
    known = zip(operations.invoked, operations.answered, operations.classes, strict=True)
    spans = [Span(start, end, signatures[class_]) for start, end, class_ in known]
    spans += [Span(start, inf, signatures[class_]) for start, class_ in operations.unknown]
    return spans


def out_of_rank(ranked: Iterable[Ranked]) -> Ranked | None:
    """Return an operation that was answered before one of lower rank was invoked, if there is."""
    latest: float = -1  # the last invoke among lower ranks
    latest_here: float = -1  # and among these and the rank at hand
    rank: float = -inf
    for each in sorted(ranked):
        if each.rank > rank:
            rank, latest = each.rank, latest_here
        if each.answered < latest:
            return each
        if each.holds and each.invoked > latest_here:
            latest_here = each.invoked
    return None


def ranks_agree(ranked: Iterable[Ranked]) -> bool:
    """Tell whether no operation is before one of lower rank."""
    return out_of_rank(ranked) is None


def decide_list(spans: list[Span]) -> bool | None:
    """Judge a list that is appended to. Undecided if an element was appended twice.

    All reads must be beginnings of the longest one. That one tells the order of the elements it
    holds; an append that it lacks comes after every read, or did not happen if nobody knows.
    """
    appends: dict[Hashable, Span] = {}
    reads: list[tuple[Span, list[Hashable]]] = []
    for span in spans:
        if span.signature.f == "append":
            element = key_of(span.signature.argument)
            if element in appends:
                return None
            appends[element] = span
        elif not isinstance(span.signature.result, list | tuple):
            return False
        else:
            reads.append((span, [key_of(each) for each in span.signature.result]))
    longest = max((seen for _, seen in reads), key=len, default=[])
    if any(seen != longest[: len(seen)] for _, seen in reads):
        return False
    if len(set(longest)) < len(longest) or not appends.keys() >= set(longest):
        return False
    ranked = [Ranked(2 * len(seen), span.invoked, span.answered) for span, seen in reads]
    place = {element: index for index, element in enumerate(longest)}
    for element, span in appends.items():
        if element in place:
            ranked.append(Ranked(2 * place[element] + 1, span.invoked, span.answered))
        elif span.answered < inf:
            ranked.append(Ranked(2 * len(longest) + 1, span.invoked, span.answered))
    return ranks_agree(ranked)


def decide_set(spans: list[Span]) -> bool | None:
    """Judge a set that is added to. Always decided.

    Reads must be subsets of one another, so their sizes are their ranks, and an element's rank is
    just below the first read that has it. If it was added more than once, the add that was invoked
    first does it (the earliest is the one that the fewest operations are before); another may come
    at any time after that read's rank begins, and there it changes nothing.
    """
    adds: dict[Hashable, list[Span]] = {}
    reads: list[tuple[Span, frozenset[Hashable]]] = []
    for span in spans:
        if span.signature.f == "add":
            adds.setdefault(key_of(span.signature.argument), []).append(span)
            continue
        if not isinstance(span.signature.result, list | tuple):
            return False
        seen = frozenset(map(key_of, span.signature.result))
        if len(seen) < len(span.signature.result):
            return False  # an element that is there twice
        reads.append((span, seen))
    reads.sort(key=lambda read: len(read[1]))
    ranked = []
    rank_of: dict[Hashable, int] = {}
    before: frozenset[Hashable] = frozenset()
    for span, seen in reads:
        if not before <= seen:
            return False
        for element in seen - before:
            rank_of[element] = 2 * len(seen) - 1
        before = seen
        ranked.append(Ranked(2 * len(seen), span.invoked, span.answered))
    if not before <= adds.keys():
        return False
    for element, group in adds.items():
        rank = rank_of.get(element, inf)
        first = min(group)
        ranked += [
            Ranked(rank, span.invoked, span.answered, span is first)
            for span in group
            if span.answered < inf or (span is first and rank < inf)
        ]
    return ranks_agree(ranked)


def decide_counter(spans: list[Span]) -> bool | None:
    """Judge a counter to which one and the same positive number is added. Else undecided.

    The reads' values are their ranks, and say exactly how many adds lie between two of them. Each
    add may lie in any gap that real time leaves it, from the first to the last; those gaps are
    adjacent. Filling the gaps in order, each with those of the open adds whose last gap comes first
    and unknown outcomes last, fills all of them and places all known adds, if that can be done
    (jobs of unit length with release times and deadlines). Adds are alike, so among themselves they
    can always be put in the order of real time.
    """
    adds = [span for span in spans if span.signature.f == "add"]
    reads = [span for span in spans if span.signature.f == "read"]
    sizes = {span.signature.argument for span in adds}
    if len(sizes) > 1 or any(not isinstance(size, int) or size <= 0 for size in sizes):
        return None
    size = sizes.pop() if sizes else 1
    counts = []
    for span in reads:
        value = span.signature.result
        if not is_number(value) or value < 0 or value % size:
            return False
        counts.append(int(value // size))
    ranked = zip(counts, reads, strict=True)
    if not ranks_agree(Ranked(count, span.invoked, span.answered) for count, span in ranked):
        return False
    return _gaps_can_be_filled(adds, counts, reads)


def _gaps_can_be_filled(adds: list[Span], counts: list[int], reads: list[Span]) -> bool:
    """Tell whether the adds can be put between the reads; gap i lies before the i-th count."""
    levels = sorted(set(counts))
    level_of = {count: level for level, count in enumerate(levels)}
    first_answer: list[float] = [inf] * len(levels)
    last_invoke: list[float] = [-1] * len(levels)
    for count, span in zip(counts, reads, strict=True):
        level = level_of[count]
        first_answer[level] = min(first_answer[level], span.answered)
        last_invoke[level] = max(last_invoke[level], span.invoked)
    # Both rise with the level: the first answer at this level or above, the last invoke up to it.
    first_answer = list(accumulate(reversed(first_answer), min))[::-1]
    last_invoke = list(accumulate(last_invoke, max))
    jobs = []
    for span in adds:
        begin = bisect_left(first_answer, span.invoked)  # behind each level that was before it
        end = inf if span.answered == inf else bisect_right(last_invoke, span.answered)
        jobs.append((begin, end))
    demands = [level - before for before, level in pairwise([0, *levels])]
    return _fill(sorted(jobs), demands)


def _fill(jobs: list[tuple[int, float]], demands: list[int]) -> bool:
    """Tell whether jobs, each with its first and last gap, can meet each gap's demand exactly."""
    waiting: list[float] = []
    upcoming = 0
    for gap, demand in enumerate(demands):
        while upcoming < len(jobs) and jobs[upcoming][0] <= gap:
            heappush(waiting, jobs[upcoming][1])
            upcoming += 1
        if len(waiting) < demand:
            return False
        for _ in range(demand):
            if heappop(waiting) < gap:
                return False
    late = min([*waiting, *(end for _, end in jobs[upcoming:])], default=inf)
    return late >= len(demands)


def decide_register(spans: list[Span]) -> bool | None:
    """Judge a register that is read and written. Undecided if a value was written twice, or cas.

    After Gibbons and Korach, "Testing shared memories" (1997), section 4. A write and its reads
    must lie together in the order. Let f be the first answer among them and s the last invoke. If
    f < s the register certainly held the value from f to s, and two values cannot be held at once.
    Otherwise all of them were open from s to f, and can be put anywhere in there; that fails only
    if some other value was certainly held all that time.
    """
    writes = [span for span in spans if span.signature.f == "write"]
    reads = [span for span in spans if span.signature.f == "read"]
    groups = {key_of(span.signature.argument): [span] for span in writes}
    if len(groups) < len(writes) or len(writes) + len(reads) < len(spans) or None in groups:
        return None
    groups[None] = [Span(-1, -1, Signature("write", None, None))]  # its first value
    for span in reads:
        group = groups.get(key_of(span.signature.result))
        if group is None or span.answered < group[0].invoked:
            return False
        group.append(span)
    return _values_can_be_held(groups.values())


def _values_can_be_held(groups: Iterable[list[Span]]) -> bool:
    """Tell whether a register can hold one value after the other, each for its group."""
    held, free = [], []
    for group in groups:
        first_answer = min(span.answered for span in group)
        last_invoke = max(span.invoked for span in group)
        if first_answer < last_invoke:
            held.append((first_answer, last_invoke))
        elif first_answer < inf:
            free.append((last_invoke, first_answer))
    held.sort()
    if any(before[1] > after[0] for before, after in pairwise(held)):
        return False
    starts = [start for start, _ in held]
    for start, stop in free:
        holder = bisect_right(starts, start) - 1
        if holder >= 0 and stop < held[holder][1]:
            return False
    return True


def decide_queue(spans: list[Span]) -> bool | None:
    """Judge a queue. Undecided if a value was enqueued twice.

    After Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs" (2013): where
    each value is enqueued once, there is an order unless a value was dequeued that was not there,
    or twice; or a was enqueued before b, and b dequeued before a, or a never; or the queue was
    seen empty although at each moment of that dequeue something was certainly in it.

    A dequeue of unknown outcome may have taken a value that nobody else took. That only helps, the
    more so the earlier it was invoked. Of two values it helps the one whose enqueue was answered
    first: the other must be gone no sooner, and has not been in the queue for longer. So the n-th
    of those dequeues takes the n-th of those values.
    """
    puts = [span for span in spans if span.signature.f == "enqueue"]
    put = {key_of(span.signature.argument): span for span in puts}
    if len(put) < len(puts):
        return None
    taken: dict[Hashable, Span] = {}
    nothing, spare = [], []
    for span in spans:
        if span.signature.f == "enqueue":
            continue
        if span.answered == inf:
            spare.append(span)
        elif span.signature.result is None:
            nothing.append(span)
        elif taken.setdefault(key_of(span.signature.result), span) is not span:
            return False  # put once, taken twice
    for value, span in taken.items():
        if value not in put or span.answered < put[value].invoked:
            return False
    stayed = [value for value, span in put.items() if span.answered < inf and value not in taken]
    stayed.sort(key=lambda value: put[value].answered)
    taken.update(zip(stayed, spare, strict=False))  # spans of unknown outcome are in order
    put = {value: span for value, span in put.items() if span.answered < inf or value in taken}
    return _first_in_first_out(put, taken) and _was_empty(put, taken, nothing)


def _first_in_first_out(put: dict[Hashable, Span], taken: dict[Hashable, Span]) -> bool:
    """Tell whether nothing was taken before what was put before it."""
    by_invoke = sorted(put, key=lambda value: put[value].invoked)
    starts = [put[value].invoked for value in by_invoke]
    # From each position on: the first answer of a dequeue of those values.
    answers = [taken[value].answered if value in taken else inf for value in by_invoke]
    answers = [*list(accumulate(reversed(answers), min))[::-1], inf]
    for value, span in put.items():
        later = answers[bisect_right(starts, span.answered)]
        if later < (taken[value].invoked if value in taken else inf):
            return False
    return True


def _was_empty(put: dict[Hashable, Span], taken: dict[Hashable, Span], nothing: list[Span]) -> bool:
    """Tell whether no dequeue that saw nothing was covered by values certainly in the queue."""
    covered: list[list[float]] = []
    certain = (
        (span.answered, taken[value].invoked if value in taken else inf)
        for value, span in put.items()
    )
    for start, stop in sorted(each for each in certain if each[0] < each[1]):
        if covered and start < covered[-1][1]:
            covered[-1][1] = max(covered[-1][1], stop)
        else:
            covered.append([start, stop])
    starts = [start for start, _ in covered]
    for span in nothing:
        holder = bisect_left(starts, span.invoked) - 1
        if holder >= 0 and covered[holder][1] > span.answered:
            return False
    return True


DECIDERS: Mapping[type, Decide] = {
    CasRegister: decide_register,
    KeyValue: decide_register,
    AppendList: decide_list,
    GrowingSet: decide_set,
    CounterModel: decide_counter,
    Queue: decide_queue,
}
"""By the exact type of the model: of another type nothing is known."""
