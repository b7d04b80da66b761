"""Looks ahead: tells early that a state can never become what a later read saw.

A read of some types bounds what came before it: while nothing overwrites the state, a list that is
read later must begin with what it holds now, and a sum that only grows cannot exceed it. So of the
reads that still are to be served, the one that is answered first is looked at. A state that is not
within it is hopeless, unless an overwrite may yet come before that answer that leads to such a
state. Whether that overwrite was already taken is not looked at: hope is kept rather than given up.

A state that only an overwrite can save is *unseen*, if no other read that was invoked before that
answer could see it, or what grows from it, before the overwrite. Then it does not matter which
state it is, as long as everything that is not a read is possible in every state; so all such states
are taken for one. So are all states behind the last read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from jepsen_like.checkers.models import Kind
from jepsen_like.checkers.operations import Operations
from jepsen_like.checkers.table import NOWHERE, UNSEEN, Table


class Bounds:
    """The look ahead of one key."""

    def __init__(self, operations: Operations, table: Table) -> None:
        self._operations = operations
        self._table = table
        classes = set(operations.classes)
        self.exist = any(table.bounds(class_) for class_ in classes)
        """Whether any read bounds anything."""
        every = classes.union(class_ for _, class_ in operations.unknown)
        self._may_be_unseen = all(
            table.bounds(class_) if table.reads[class_] else table.blind[class_] for class_ in every
        )
        if self.exist:
            self._prepare()

    def _prepare(self) -> None:
        invoked, answered, classes, unknown = self._operations
        table, count = self._table, len(answered)
        self._next = [count] * (count + 1)  # by answer: the next read that bounds states
        for number in range(count - 1, -1, -1):
            bounds = table.bounds(classes[number])
            self._next[number] = number if bounds else self._next[number + 1]
        kinds = table.kinds
        self._overwrites = [n for n in range(count) if kinds[classes[n]] is Kind.OVERWRITE]
        # In the order of their invokes, last first: position, answer (or count), class.
        coming = [(invoked[n], n, classes[n]) for n in self._overwrites]
        coming += [(at, count, cls) for at, cls in unknown if kinds[cls] is Kind.OVERWRITE]
        coming.sort(reverse=True)
        self._open: dict[int, set[int]] = {}  # by read: classes of overwrites open at its answer
        self._beside: dict[int, list[int]] = {}  # by read: the other reads open at its answer
        reads = [n for n in range(count) if table.bounds(classes[n])]
        reads.sort(key=invoked.__getitem__, reverse=True)
        opened: list[tuple[int, int]] = []
        opened_reads: list[int] = []
        for number in range(count):
            while coming and coming[-1][0] < answered[number]:
                opened.append(coming.pop()[1:])
            while reads and invoked[reads[-1]] < answered[number]:
                opened_reads.append(reads.pop())
            opened = [each for each in opened if each[0] > number]
            opened_reads = [each for each in opened_reads if each > number]
            if table.bounds(classes[number]):
                self._open[number] = {class_ for _, class_ in opened}
                self._beside[number] = opened_reads
        self._hope: dict[int, tuple[int, int]] = {}  # by read: last helping answer, looked down to

    def prospect(self, answer: int, state: int, is_due: Callable[[int], bool]) -> int:
        """Return what a state is good for at an answer: itself, ``UNSEEN``, or ``NOWHERE``.

        Args:
            answer: The answer at hand.
            state: The state there.
            is_due: Tells of a read whether it still is to be served.
        """
        count = len(self._operations.answered)
        read = self._next[answer]
        while read < count and not is_due(read):
            read = self._next[read + 1]
        if read == count:
            return UNSEEN if self._may_be_unseen else state
        classes, within = self._operations.classes, self._table.within
        if state != UNSEEN and within(classes[read], state):
            return state
        if self._last_help(read, answer) < answer:
            return NOWHERE
        if state == UNSEEN or not self._may_be_unseen:
            return state
        for other in self._beside[read]:
            if is_due(other) and within(classes[other], state):
                return state
        return UNSEEN

    def _last_help(self, read: int, answer: int) -> int:
        """Return the last answer, from this one on, of an overwrite that helps the read."""
        found, looked = self._hope.get(read, (-1, read))
        if read not in self._hope and any(map(self._helper(read), self._open[read])):
            found = len(self._operations.answered)
        if found < answer < looked:
            helps, classes = self._helper(read), self._operations.classes
            first = bisect_left(self._overwrites, answer)
            for at in range(bisect_left(self._overwrites, looked) - 1, first - 1, -1):
                if helps(classes[self._overwrites[at]]):
                    found = self._overwrites[at]
                    break
            looked = answer
        self._hope[read] = (found, looked)
        return found

    def _helper(self, read: int) -> Callable[[int], bool]:
        table, seen_by = self._table, self._operations.classes[read]

        def helps(overwrite: int) -> bool:
            after = table.steps[overwrite].get(0)
            if after is None:
                after = table.step(overwrite, 0)
            return table.within(seen_by, after)

        return helps
