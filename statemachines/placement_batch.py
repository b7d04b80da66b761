"""Many tasks at once: to which nodes they go, so that they cost little together.

It owns ``place_many``, which decides as ``place_one`` does for each task (same policies, same
constraints), one by one in the order given, each seeing what those before it take. A few tasks, if
all of them can run at once, it then rearranges at the least cost together (the assignment problem).
Where tasks must wait the order given is the order of the queue, and no rearrangement that we tried
was better than keeping it.

It guards: nothing depends on a clock, on chance or on the order of the nodes; work is in proportion
to tasks times nodes. Costs are linear in a task's size, with coefficients of 1e-15, and differ from
those of ``place_one`` by its rounding; that is what makes a thousand tasks on a hundred nodes a
matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from statemachines.placement import (
    BALANCED,
    CLOUD,
    COST,
    EDGE,
    ENERGY,
    EQUAL_WEIGHTS,
    LATENCY,
    UNIT,
    Job,
    Node,
    Weights,
    obstacle,
)
from statemachines.placement_assignment import assign

_ASSIGN_CELLS_MAX: Final = 1_000
_ASSIGN_STEPS_MAX: Final = 4_000
"""Up to so many tasks times nodes ``assign`` is asked, and so much work it may do: a millisecond or
two."""

# Costs are in 1e-15. Above any of them stand nodes that a policy takes only after others, those
# where a task would come too late, and those where it cannot run.
_FINE: Final = 10**9
_NOT_PREFERRED: Final = 1 << 300
_LATE: Final = 1 << 310
_NEVER: Final = 1 << 320

_DURATION: Final = "duration"
"""What costs are of a class of tasks that are asked for how long they take."""


def place_many(
    jobs: Sequence[Job], nodes: Mapping[str, Node], now: int, weights: Weights = EQUAL_WEIGHTS
) -> list[str | None]:
    """Choose nodes for many tasks, together.

    Args:
        jobs: The tasks. None of them is among what is placed on the nodes (``Node.release``).
        nodes: All that are registered, by id, closed ones too. They are not changed.
        now: Replicated time, microseconds.
        weights: Of the policy ``balanced``.

    Returns:
        For each task an open node that can run it; None if there is none. Five tasks on a
        hundred nodes take some 2 ms, a hundred some 8: whoever asks bounds tasks times nodes.
    """
    plan = _Plan(nodes, now, weights)
    choice: list[int | None] = []
    spent = []
    for job in jobs:
        at, cost = plan.best(job)
        plan.take(job, at)
        choice.append(at)
        spent.append(cost)
    if len(jobs) * len(nodes) <= _ASSIGN_CELLS_MAX:
        _rearrange(plan, jobs, choice, spent)
    return [None if at is None else plan.ids[at] for at in choice]


def _rearrange(
    plan: _Plan, jobs: Sequence[Job], choice: list[int | None], spent: Sequence[int]
) -> None:
    """Take the optimum without waiting instead of ``choice``, if there is one and it costs less."""
    waited = plan.is_waited_at(choice)
    # What energy costs depends on what else is placed, so that no such table tells it.
    free = [number for number, job in enumerate(jobs) if job.policy != ENERGY]
    for number in free:
        plan.take(jobs[number], choice[number], -1)
    among = []
    costs = []
    for number in free:
        job = jobs[number]
        row = [cost if cost < _LATE else None for cost in plan.in_time(job, plan.row(job))]
        if any(cost is not None for cost in row):
            among.append(number)
            costs.append(row)
        else:
            plan.take(job, choice[number])
    demands = [jobs[number].demand for number in among]
    start = None if waited else [choice[number] for number in among]
    found = assign(costs, demands, plan.room, _ASSIGN_STEPS_MAX, start)
    if None not in found.choice and found.total <= sum(spent[number] for number in among):
        for number, at in zip(among, found.choice, strict=True):
            choice[number] = at


class _Curves(NamedTuple):
    """The energy per unit of size of tasks of one demand, for each node.

    Attributes:
        empty: With all of its capacity used.
        by_room: What is saved per unit of room there is.
        full: Where there is no room now.
    """

    empty: list[int]
    by_room: list[int]
    full: list[int]


class _Plan:
    """The open nodes by id, with what is placed on them so far, as columns.

    What a node reports beyond what is placed on it stays there, as work of size 1.
    """

    def __init__(self, nodes: Mapping[str, Node], now: int, weights: Weights) -> None:
        self._all = nodes
        self._now = now
        self._weights = weights
        self._nodes = [nodes[id_] for id_ in sorted(nodes) if not nodes[id_].closed]
        self.ids = [node.id for node in self._nodes]
        self._room: list[int] = []
        self._backlog: list[int] = []
        for node in self._nodes:
            foreign = max(0, node.reported - node.placed)
            self._room.append(node.capacity - node.placed - foreign)
            self._backlog.append(node.backlog + foreign)
        # How long a task waits on each node if it has to, and what that counts in ``balanced``.
        self._queue = [self._wait(at) for at in range(len(self._nodes))]
        self._weighted_queue = [self._weigh(wait) for wait in self._queue]
        self._capacity_min = min((node.capacity for node in self._nodes), default=0)
        self._at = {id_: at for at, id_ in enumerate(self.ids)}
        self._beyond_cloud = [_NOT_PREFERRED * (node.kind != CLOUD) for node in self._nodes]
        # What was worked out once, by the part of a task that it depends on.
        self._slopes: dict[tuple[str, int], list[int]] = {}
        self._links: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self._unfit: dict[tuple[object, ...], list[int]] = {}
        self._curves: dict[int, _Curves] = {}

    @property
    def room(self) -> list[int]:
        """The demand that each node has room for now."""
        return [max(0, room) for room in self._room]

    def is_waited_at(self, choice: Sequence[int | None]) -> bool:
        """Tell whether more is placed on one of these nodes than has room there."""
        return any(at is not None and self._room[at] < 0 for at in choice)

    def take(self, job: Job, at: int | None, sign: int = 1) -> None:
        """Place a task on a node, or take it away again."""
        if at is not None:
            self._room[at] -= sign * job.demand
            self._backlog[at] += sign * job.work
            self._queue[at] = self._wait(at)
            self._weighted_queue[at] = self._weigh(self._queue[at])

    def row(self, job: Job) -> list[int]:
        """Return what each node costs a task that need not wait there; nothing of its energy."""
        row = self._linear(job, job.policy)
        if job.policy == LATENCY:
            if job.deadline:
                near = self._at.get(job.data)
                row = [
                    cost if at == near and self._nodes[at].kind == EDGE else cost + _NOT_PREFERRED
                    for at, cost in enumerate(row)
                ]
            else:
                row = [cost + more for cost, more in zip(row, self._beyond_cloud, strict=True)]
        for at in self._unfit_for(job):
            row[at] = _NEVER
        return row

    def best(self, job: Job) -> tuple[int | None, int]:
        """Return the node that is best now, with all that waits there, and what it costs."""
        row = self.row(job)
        if job.policy in (BALANCED, LATENCY):
            least = min(row, default=_NEVER)
            if least >= _NEVER:
                return None, 0
            at = row.index(least)
            # Where it is cheapest anyway it need not wait: nothing is better.
            if job.demand <= self._room[at] and not self._is_late(job, at):
                return at, least
        live = self._live(job, row)
        least = min(live, default=_NEVER)
        if least >= _NEVER:
            return None, 0
        at = live.index(least)
        if self._is_late(job, at):
            live = self.in_time(job, live)
            least = min(live)
            at = live.index(least)
        if job.policy in (COST, ENERGY) and live.count(least) > 1:
            lasts = zip(live, self._lasts(job), strict=True)
            _, at = min((time, at) for at, (cost, time) in enumerate(lasts) if cost == least)
        return at, least

    def in_time(self, job: Job, row: list[int]) -> list[int]:
        """Return ``row`` with those nodes last where a task would come after its deadline."""
        if not job.deadline:
            return row
        left = self._left(job)
        return [
            cost if lasts <= left or cost >= _NEVER else _LATE + lasts
            for cost, lasts in zip(row, self._lasts(job), strict=True)
        ]

    def _live(self, job: Job, row: list[int]) -> list[int]:
        demand, rooms = job.demand, self._room
        if job.policy == ENERGY:
            curves = self._curves_of(job.demand)
            return [
                cost if cost >= _NEVER else empty - by_room * room if demand <= room else full
                for cost, room, empty, by_room, full in zip(row, rooms, *curves, strict=True)
            ]
        if job.policy == COST:
            return [
                cost if demand <= room else cost + _NOT_PREFERRED
                for cost, room in zip(row, rooms, strict=True)
            ]
        queue = self._queue if job.policy == LATENCY else self._weighted_queue
        return [
            cost if demand <= room else cost + wait
            for cost, room, wait in zip(row, rooms, queue, strict=True)
        ]

    def _left(self, job: Job) -> int:
        return (job.deadline - self._now) * _FINE

    def _lasts(self, job: Job) -> list[int]:
        row, demand = self._linear(job, _DURATION), job.demand
        return [
            lasts if demand <= room else lasts + wait
            for lasts, room, wait in zip(row, self._room, self._queue, strict=True)
        ]

    def _is_late(self, job: Job, at: int) -> bool:
        if not job.deadline:
            return False
        by_byte, fixed = self._links_of(_DURATION, job.data)
        slope = self._slopes_of(_DURATION, job.demand)[at]
        lasts = job.size * slope + job.transfer * by_byte[at] + fixed[at]
        if job.demand > self._room[at]:
            lasts += self._queue[at]
        return lasts > self._left(job)

    def _wait(self, at: int) -> int:
        node = self._nodes[at]
        return -(-self._backlog[at] * _FINE * UNIT * UNIT // (node.capacity * node.speed))

    def _weigh(self, wait: int) -> int:
        return -(-wait * self._weights.time_weight // UNIT)

    def _linear(self, job: Job, policy: str) -> list[int]:
        slopes = self._slopes_of(policy, job.demand)
        by_byte, fixed = self._links_of(policy, job.data)
        size, transfer = job.size, job.transfer
        if not transfer:
            return [size * slope + start for slope, start in zip(slopes, fixed, strict=True)]
        return [
            size * slope + transfer * byte + start
            for slope, byte, start in zip(slopes, by_byte, fixed, strict=True)
        ]

    def _slopes_of(self, policy: str, demand: int) -> list[int]:
        """Return what a unit of size costs on each node."""
        weights = _WEIGHTS.get(policy, self._weights)
        if not weights.price_weight:
            demand = 0
        slopes = self._slopes.get((policy, demand))
        if slopes is None:
            time = weights.time_weight * _FINE
            price = weights.price_weight * demand
            slopes = [-(-(time + price * node.price // 1000) // node.speed) for node in self._nodes]
            self._slopes[policy, demand] = slopes
        return slopes

    def _links_of(self, policy: str, data: str) -> tuple[list[int], list[int]]:
        """Return what a byte costs on each node, and the way there."""
        links = self._links.get((policy, data))
        if links is None:
            weight = _WEIGHTS.get(policy, self._weights).delay_weight
            holder = self._all.get(data)
            beside, bandwidth_max = (
                (0, _NEVER)
                if holder is None
                else (
                    holder.delay,
                    holder.bandwidth,
                )
            )
            by_byte = [
                -(-weight * _FINE // min(node.bandwidth, bandwidth_max)) for node in self._nodes
            ]
            fixed = [(node.delay + beside) * weight * 1000 for node in self._nodes]
            near = self._at.get(data)
            if near is not None:
                by_byte[near] = fixed[near] = 0
            links = self._links[policy, data] = by_byte, fixed
        return links

    def _unfit_for(self, job: Job) -> list[int]:
        """Return the nodes that can never run a task."""
        labels = tuple(sorted(job.labels.items())) if job.labels else ()
        # Most demands fit everywhere; then it does not matter which one it is.
        key = job.kind, labels, job.demand if job.demand > self._capacity_min else 0
        unfit = self._unfit.get(key)
        if unfit is None:
            unfit = [at for at, node in enumerate(self._nodes) if obstacle(job, node)]
            self._unfit[key] = unfit
        return unfit

    def _curves_of(self, demand: int) -> _Curves:
        curves = self._curves.get(demand)
        if curves is None:
            curves = self._curves[demand] = _Curves([], [], [])
            for node in self._nodes:
                square, slope, _ = node.curve
                by_room = 2 * square * _FINE * UNIT // node.speed
                beside = (square * demand + slope * UNIT) * _FINE * UNIT // node.speed
                curves.empty.append(by_room * node.capacity + beside)
                curves.by_room.append(by_room)
                full = by_room * (node.capacity - demand) + beside
                curves.full.append(full + _NOT_PREFERRED)
        return curves


_WEIGHTS: Final = {
    COST: Weights(0, 0, UNIT),
    LATENCY: Weights(UNIT, UNIT, 0),
    ENERGY: Weights(0, 0, 0),
    _DURATION: Weights(UNIT, UNIT, 0),
}
"""What counts under each policy but ``balanced``."""
