"""What is open at each answer of one key, and what a search may do there.

A search goes from answer to answer, in real time, and at each it only has to know which operations
are open there: invoked before this answer, not answered before it. That is a *frame*. Where nothing
else is open (most answers of a history over many keys), there is no frame to make.

The intervals are closed: an operation is open at its own answer, and one that is invoked after an
answer comes after it.

An open operation has a place of two bits in a number, the *marks* of a search:

    taken  it has been put in the order
    owed   it has not, and it must be before its answer

Neither is the best of the three: the operation may still be used, and nothing is owed to it. An
operation of unknown outcome starts there. What a search may leave out, and why no order is lost by
it, nor one found that is none (the twin in the tests compares each with trying every order):

*Just in time.* Nothing is taken but at an answer that is not settled, and then only until it is. An
operation that an order puts elsewhere can be moved back to the next answer that is not settled:
nothing is answered in between that is not already in the order, so real time still agrees. The
answer of an operation to which nothing is owed is the last moment to take it: both are tried.

*Standing still.* An open operation that is possible and would not change the state can be put into
the order right now, and nobody sees it. So nothing is owed to it any more. It is not taken either:
it may be used later all the same, in place of being put here. Every read is served like that.

*Hiding.* An open operation that is possible in every state can be put right before an overwrite,
and nobody sees it, as the state after the overwrite is the same. So when an overwrite is taken,
nothing is owed any more to the open operations of that kind. They are not taken either, as above.

*Alike.* Of open operations of one class with the same mark, that which is answered first is taken
first. If an order takes another one b now and this one a later, exchange them: a is open now, and b
is open at a's place, because that is before a's answer, which is before b's. After an overwrite
nothing is owed to either (hiding), so there it does not matter which of them was owed.

*Bounds.* See the module of that name.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import NamedTuple

from jepsen_like.checkers.bounds import Bounds
from jepsen_like.checkers.meter import Account
from jepsen_like.checkers.models import Kind
from jepsen_like.checkers.operations import Operations
from jepsen_like.checkers.table import STEP_BYTES, UNSEEN, Table

FRAME_BYTES = 500
OPEN_BYTES = 220
"""What a frame costs, and each operation that is open in it."""


class Frame(NamedTuple):
    """What is open at one answer.

    Attributes:
        taken: The taken mark of the operation that is answered.
        owed: Its owed mark.
        moves: Whether it may change the state.
        fresh: Owed marks of what was invoked since the answer before.
        movers: What may change the state, by class: the class, whether it overwrites, and the taken
            marks of its open operations, the one answered first in front, unknown outcomes last.
        hidden: Owed marks of open operations that are possible in every state.
        known: By class: the owed marks of its open operations of known outcome.
        still: By state: owed marks of all open operations that would not change that state.
            Filled in by ``Frames.still`` when asked.
    """

    taken: int
    owed: int
    moves: bool
    fresh: int
    movers: list[Mover]
    hidden: int
    known: list[tuple[int, int]]
    still: dict[int, int]


def _alone(operations: Operations) -> list[bool]:
    """Tell for each answer whether nothing else was open there, nor when it was invoked.

    That is so where nothing is open behind the answer before, and nothing behind this one. Behind
    the n-th answer nothing is open if just n operations were invoked by then. What is of unknown
    outcome stays open for good.
    """
    answered, starts = operations.answered, sorted(operations.invoked)
    last = operations.unknown[0][0] if operations.unknown else inf
    still = [answer < start for answer, start in zip(answered, starts[1:], strict=False)]
    alone = [a and b for a, b in zip([True, *still], [*still, True], strict=True)]
    if last < inf:
        first = bisect_left(answered, last)
        alone[first:] = [False] * (len(alone) - first)
    return alone


Mover = tuple[int, bool, tuple[int, ...]]


class Frames:
    """Makes the frames of one key, in order, when a search gets there."""

    def __init__(self, operations: Operations, table: Table, account: Account) -> None:
        self.operations = operations
        self.table = table
        self._account = account
        known = len(operations.answered)
        self._order = sorted(range(known), key=operations.invoked.__getitem__)
        self._opened = 0  # how many of _order were opened
        self._open: dict[int, int] = {}  # open known operations by number -> taken mark
        self._unknown_opened = 0  # how many of the unknown were opened
        self._unknown_marks: dict[int, list[int]] = {}  # by class: taken marks
        self._unknown_movers: dict[int, Mover] = {}
        self._free: list[int] = []  # taken marks to use again
        self._marks = 0  # how many different ones there are
        self.owed = [0] * known
        """By known operation: its owed mark, once it was opened."""
        self.frames: list[Frame | None] = [None] * known
        """By answer; None where it was not made yet, or is not needed."""
        self.alone = _alone(operations)
        """By answer: whether the operation was never open beside another."""
        self._bounds = Bounds(operations, table)
        self._bounded = self._bounds.exist

    def build(self, answer: int) -> Frame:
        """Make an answer's frame, and keep it. Those before must be made already, or be alone."""
        if not self._open:
            self._opened = answer
        fresh = self._open_known(answer)
        if self._unknown_opened < len(self.operations.unknown):
            self._open_unknown(answer)
        frame = self.frames[answer] = self._frame(answer, fresh)
        self._free.append(self._open.pop(answer))
        return frame

    def _open_known(self, answer: int) -> int:
        order, invoked = self._order, self.operations.invoked
        before = self.operations.answered[answer]
        fresh, position = 0, self._opened
        while position < len(order) and invoked[order[position]] < before:
            taken = self._take_mark()
            self._open[order[position]] = taken
            self.owed[order[position]] = taken << 1
            fresh |= taken << 1
            position += 1
        self._opened = position
        return fresh

    def _open_unknown(self, answer: int) -> None:
        before = self.operations.answered[answer]
        unknown, position = self.operations.unknown, self._unknown_opened
        while position < len(unknown) and unknown[position][0] < before:
            class_ = unknown[position][1]
            marks = self._unknown_marks.setdefault(class_, [])
            marks.append(self._take_mark())
            overwrites = self.table.kinds[class_] is Kind.OVERWRITE
            self._unknown_movers[class_] = (class_, overwrites, tuple(marks))
            position += 1
        self._unknown_opened = position

    def _take_mark(self) -> int:
        if self._free:
            return self._free.pop()
        self._marks += 1
        return 1 << (2 * self._marks - 2)

    def _frame(self, answer: int, fresh: int) -> Frame:
        table, opened = self.table, self._open
        reads, blind, overwrites = table.reads, table.blind, table.overwrites
        by_class: dict[int, tuple[int, ...]] = {}
        known: dict[int, int] = {}
        hidden = 0
        classes = self.operations.classes
        for number in sorted(opened):  # in the order of their answers
            taken, class_ = opened[number], classes[number]
            known[class_] = known.get(class_, 0) | taken << 1
            if not reads[class_]:
                by_class[class_] = (*by_class.get(class_, ()), taken)
                if blind[class_]:
                    hidden |= taken << 1
        for class_, (_, _, marks) in self._unknown_movers.items():
            by_class[class_] = by_class.get(class_, ()) + marks
        self._account.add(FRAME_BYTES + OPEN_BYTES * (len(known) + len(by_class)))
        taken = opened[answer]
        movers = [(class_, overwrites[class_], marks) for class_, marks in by_class.items()]
        moves = not reads[classes[answer]]
        return Frame(taken, taken << 1, moves, fresh, movers, hidden, [*known.items()], {})

    def still(self, frame: Frame, state: int) -> int:
        """Return the owed marks of all that would not change this state, and remember them."""
        steps, step = self.table.steps, self.table.step
        marks = 0
        for class_, owed in frame.known:
            after = steps[class_].get(state)
            if after is None:
                after = step(class_, state)
            if after == state:
                marks |= owed
        frame.still[state] = marks
        self._account.add(STEP_BYTES)
        return marks

    def is_due(self, number: int, answer: int, marks: int) -> bool:
        """Tell whether a known operation was, at this answer, not yet served or not yet invoked."""
        operations = self.operations
        if operations.invoked[number] > operations.answered[answer]:
            return True
        return bool(marks & self.owed[number])

    def choices(self, answer: int, frame: Frame, state: int, marks: int) -> list[tuple[int, int]]:
        """Return the states and marks that may come next, where this answer is not yet settled.

        Each is the result of taking one open operation. An operation to which nothing is owed may
        also be let go at its own answer: it is marked as if it had been taken.
        """
        steps, step = self.table.steps, self.table.step
        found = []
        for class_, overwrites, bits in frame.movers:
            after = steps[class_].get(state)
            if after is None:
                after = step(class_, state)
            if after < 0 or after == state:
                continue
            lifted = frame.still.get(after)
            if lifted is None:
                lifted = self.still(frame, after)
            if overwrites:
                lifted |= frame.hidden
            tried = 0
            for taken in bits:
                if marks & taken:
                    continue
                owed = taken << 1
                status = 2 if marks & owed else 1
                if tried & status:
                    continue
                tried |= status
                next_marks = (marks & ~owed & ~lifted) | taken
                good_for, next_marks = self._good_for(answer, frame, after, next_marks)
                if good_for >= 0:
                    found.append((good_for, next_marks))
                if overwrites or tried == 3:
                    break
        if not marks & frame.owed:
            found.append((state, marks | frame.taken))
        return found

    def arrive(self, answer: int, frame: Frame, state: int, marks: int) -> tuple[int, int]:
        """Return the state, ``NOWHERE`` if it is hopeless, and marks at a search's next answer."""
        still = frame.still.get(state)
        if still is None:
            still = self.still(frame, state)
        return self._good_for(answer, frame, state, (marks | frame.fresh) & ~still)

    def _good_for(self, answer: int, frame: Frame, state: int, marks: int) -> tuple[int, int]:
        """Return what the state may be taken for, ``NOWHERE`` if it is hopeless, and its marks."""
        if not self._bounded:
            return state, marks
        good_for = self._bounds.prospect(
            answer, state, lambda read: self.is_due(read, answer, marks)
        )
        if good_for == UNSEEN != state:
            still = frame.still.get(UNSEEN)
            marks &= ~(self.still(frame, UNSEEN) if still is None else still)
        return good_for, marks
