"""Judges in which order a node was given its tasks: by priority, then in the order of submission.

That is promised where a task stood in the node's queue all the time. It did if only that node can
run it (so it was placed there, and stayed), it was submitted while the node had the registration
that later claims, it waited for nothing and had no deadline, and nobody had claimed it before. All
tasks are taken to ask the same share of a capacity: one that does not fit may be passed over.

Revisions are one counter for submissions, registrations and claims. So the queue can be played
again without a look at real time.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from jepsen_like.checkers.task_records import Claimed, Records, Spell, Submitted, Task


class _Place(NamedTuple):
    """Where a task stands in a queue: the least goes first."""

    priority: int  # negated
    created: int


class _Waiting(NamedTuple):
    """A task in a queue, with the token that takes it out (infinite if none does)."""

    place: _Place
    id: str
    taken: float


class _Queue:
    """The queue of one registration of a node, played in the order of revisions."""

    def __init__(self) -> None:
        self.comes: list[_Waiting] = []  # in the order in which they were created, at the end
        self.goes: list[tuple[int, str, _Place, Spell]] = []  # token, task, its place, the claim

    def first_passed_over(self) -> tuple[str, Spell] | None:
        """Say which claim took a task though another one stood before it."""
        self.comes.sort(key=lambda waiting: waiting.place.created)
        self.goes.sort()
        queue: list[_Waiting] = []
        come = 0
        for token, id_, place, spell in self.goes:
            while come < len(self.comes) and self.comes[come].place.created < token:
                heappush(queue, self.comes[come])
                come += 1
            while queue and queue[0].taken < token:
                heappop(queue)
            if queue and queue[0].place < place and queue[0].id != id_:
                return f"{id_!r} was claimed before {queue[0].id!r}, which stood before it", spell
        return None


def out_of_order(records: Records) -> tuple[str, Spell] | None:
    """Return what was claimed too early, and by which claim; None if nothing was."""
    queues: dict[tuple[str, int], _Queue] = {}
    registrations: dict[str, list[int]] = {}
    for task in records.tasks.values():
        for claimed in task.claims:
            queues.setdefault((claimed.node, claimed.registration), _Queue())
    for node, registration in sorted(queues):
        registrations.setdefault(node, []).append(registration)
    for id_, task in records.tasks.items():
        asked = _asked(task)
        if asked is None or asked.created is None:
            continue
        place = _Place(-asked.priority, asked.created)
        for claimed in task.claims:
            queue = queues[claimed.node, claimed.registration]
            queue.goes.append((claimed.token, id_, place, claimed.spell))
        first = _leaves(task, records)
        if first is None or asked.node is None or asked.node in records.unsteady:
            continue
        known = registrations.get(asked.node, [])
        at = bisect_left(known, asked.created) - 1
        if at >= 0:
            queue = queues[asked.node, known[at]]
            queue.comes.append(_Waiting(place, id_, first))
    for _, queue in sorted(queues.items()):
        wrong = queue.first_passed_over()
        if wrong is not None:
            return wrong
    return None


def _asked(task: Task) -> Submitted | None:
    """Return the submission that made it, as far as is known."""
    return next((each for each in task.submits if each.created is not None), None)


def _leaves(task: Task, records: Records) -> float | None:
    """Return the token that took it out of its first queue; None if that cannot be told."""
    if task.cancels or task.retries:
        return None
    if any(each.after or each.not_before or each.deadline for each in task.submits):
        return None
    first: Claimed | None = min(task.claims, key=lambda claimed: claimed.token, default=None)
    if first is None:
        return None if records.lost_claims else inf
    return first.token if first.attempt == 1 else None
