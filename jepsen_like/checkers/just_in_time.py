"""Just-in-time linearization: all situations of an answer at once, before the next is looked at.

After each answer it holds every situation that some order leads to, and takes only what that
answer needs (Lowe, "Testing for linearizability", 2017). It never undoes anything, so it says "no"
as soon as that is true; it may hold very many situations on the way.
"""

from __future__ import annotations

from collections.abc import Generator

from jepsen_like.checkers.depth_first import QUANTUM, SITUATION_BYTES, Ending, Search
from jepsen_like.checkers.frames import Frame, Frames
from jepsen_like.checkers.meter import Account

Situation = tuple[int, int]
"""State, and marks."""


def just_in_time(ground: Frames, account: Account) -> Search:
    """Search one key."""
    frames, count = ground.frames, len(ground.operations.classes)
    front = {(0, 0)}
    for answer in range(count):
        if ground.alone[answer]:
            done = _pass_alone(ground, answer, front)
        else:
            frame = frames[answer] or ground.build(answer)
            done = yield from _pass(ground, answer, frame, front, account)
        if not done:
            return Ending(False, answer)
        front = done if len(done) == 1 else without_worse(done)
    return Ending(True, count)


def _pass_alone(ground: Frames, answer: int, front: set[Situation]) -> set[Situation]:
    class_ = ground.operations.classes[answer]
    done = set()
    for state, marks in front:
        after = ground.table.steps[class_].get(state)
        if after is None:
            after = ground.table.step(class_, state)
        if after >= 0:
            done.add((after, marks))
    return done


def _pass(
    ground: Frames, answer: int, frame: Frame, front: set[Situation], account: Account
) -> Generator[None, None, set[Situation]]:
    todo = []
    for state, marks in front:
        arrived = ground.arrive(answer, frame, state, marks)
        if arrived[0] >= 0:
            todo.append(arrived)
    done: set[Situation] = set()
    seen: set[Situation] = set()
    taken, owed, moves = frame.taken, frame.owed, frame.moves
    counted = 0
    while todo:
        situation = todo.pop()
        if situation in seen:
            continue
        seen.add(situation)
        if len(seen) % QUANTUM == 0:
            size = 2 * QUANTUM * SITUATION_BYTES  # beside this answer's, the next one's
            counted += size
            account.add(size)
            yield
        state, marks = situation
        if marks & taken or not (moves or marks & owed):
            done.add((state, marks & ~taken))
        else:
            todo += ground.choices(answer, frame, state, marks)
    account.add(-counted)
    return done


def without_worse(front: set[Situation]) -> set[Situation]:
    """Drop each situation that another one beats: same state, and a part of its marks.

    An operation without a mark may be taken and need not be; with one it may not, or must be. So
    whatever order goes on from the worse situation goes on from the better one.
    """
    by_state: dict[int, list[int]] = {}
    for state, marks in front:
        by_state.setdefault(state, []).append(marks)
    kept: set[Situation] = set()
    for state, all_marks in by_state.items():
        all_marks.sort(key=int.bit_count)
        best: list[int] = []
        for marks in all_marks:
            others = ~marks
            if all(better & others for better in best):
                best.append(marks)
        kept.update((state, marks) for marks in best)
    return kept
