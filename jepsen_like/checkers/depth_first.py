"""Depth-first search with undo and memo.

It walks from answer to answer and decides only where one has to be made possible; a choice that
leads nowhere is undone, and no situation is entered twice (Wing and Gong, "Testing and verifying
concurrent objects", 1993; the memo is Lowe's, "Testing for linearizability", 2017). It finds an
order fast where there are many. It may look for very long where there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from jepsen_like.checkers.frames import Frame, Frames
from jepsen_like.checkers.meter import Account
from jepsen_like.checkers.models import Kind

QUANTUM = 100
"""Situations that a search looks into between two looks at the clock."""

SITUATION_BYTES = 240
"""What one remembered situation costs: three numbers, a tuple, and a place in a set."""


class Ending(NamedTuple):
    """How a search ended.

    Attributes:
        possible: Whether an order explains the results.
        answer: If none does: the number of the first answer that none explains.
    """

    possible: bool
    answer: int


Search = Generator[None, None, Ending]
"""Yields after each quantum of work."""


def depth_first(ground: Frames, account: Account) -> Search:  # noqa: C901 - one loop, kept flat for speed
    """Search one key."""
    table, classes = ground.table, ground.operations.classes
    steps, step = table.steps, table.step
    frames, alone, count = ground.frames, ground.alone, len(classes)
    undo: list[tuple[int, int, int]] = []
    seen: set[tuple[int, int, int]] = set()
    answer = state = marks = deepest = work = 0
    arriving = True  # whether what was invoked before this answer is still to be opened
    while True:
        while answer < count:
            if alone[answer]:
                class_ = classes[answer]
                after = steps[class_].get(state)
                if after is None:
                    after = step(class_, state)
                if after < 0:
                    break
                state = after
                answer += 1
                continue
            frame = frames[answer]
            if frame is None:
                frame = ground.build(answer)
            if arriving:
                state, marks = ground.arrive(answer, frame, state, marks)
                if state < 0:
                    break
            else:
                arriving = True
            if marks & frame.taken or not (frame.moves or marks & frame.owed):
                marks &= ~frame.taken
                answer += 1
                continue
            situation = (answer, state, marks)
            if situation in seen:
                break
            seen.add(situation)
            work += 1
            if work % QUANTUM == 0:
                account.add(QUANTUM * SITUATION_BYTES)
                yield
            choices = ground.choices(answer, frame, state, marks)
            if not choices:
                break
            if len(choices) > 1:
                order = _Preference(ground, answer, frame)
                choices.sort(key=order, reverse=True)
                undo += [(answer, *choice) for choice in choices[:-1]]
            state, marks = choices[-1]
            arriving = False
        else:
            return Ending(True, count)
        deepest = max(deepest, answer)
        if not undo:
            return Ending(False, deepest)
        answer, state, marks = undo.pop()
        arriving = False


class _Preference:
    """Guesses which choice is right, the smallest first: it changes how soon, never what is found.

    Best is what makes the next answer possible that needs some state; worst is what does not even
    settle the answer at hand.
    """

    def __init__(self, ground: Frames, answer: int, frame: Frame) -> None:
        self._ground = ground
        self._answer = answer
        self._frame = frame

    def __call__(self, choice: tuple[int, int]) -> int:
        state, marks = choice
        if marks & self._frame.owed and not marks & self._frame.taken:
            return 2
        ground = self._ground
        table, classes, kinds = ground.table, ground.operations.classes, ground.table.kinds
        for wanted in range(self._answer, len(classes)):
            class_ = classes[wanted]
            kind = kinds[class_]
            if (kind is Kind.READ or kind is Kind.CONDITIONAL) and ground.is_due(
                wanted, self._answer, marks
            ):
                after = table.steps[class_].get(state)
                if after is None:
                    after = table.step(class_, state)
                return 0 if after >= 0 else 1
        return 1
