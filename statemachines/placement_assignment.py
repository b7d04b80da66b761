"""The assignment problem: each task to one node, within capacities, at the least total cost.

It owns the search. It sees numbers only: what each task would cost on each node, what it demands
there and what each node has. Where all demands are equal it is a flow, and is solved exactly;
otherwise it is hard (knapsacks are inside it), so that small problems are solved exactly and large
ones well. The answer says which.

It guards: no node is given more than it has; as many tasks as the search finds room for are
assigned; work is bounded by ``steps_max``, counted in steps and never by a clock. Of assignments
that cost the same, an exact answer is the lexicographically first, task by task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from statemachines.placement import EQUAL_WEIGHTS, UNIT, Weights

EXACT_TASKS_MAX: Final = 12
"""With more tasks of unequal demands an exact search would not end, and is not begun."""

STEPS_MAX: Final = 200_000
"""Pairs of a task and a node that a search tries: at most some 50 milliseconds."""


class UnitCosts(NamedTuple):
    """What one unit of a task's size costs on a node: seconds, seconds and money; micro-units."""

    compute: int
    transfer: int
    price: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which node each task goes to.

    Attributes:
        choice: A node's number for each task, None where there is no room for it.
        total: What the assigned ones cost.
        exact: More tasks cannot be assigned, and as many not at a lower cost.
    """

    choice: tuple[int | None, ...]
    total: int
    exact: bool


def weighted_costs(
    sizes: Sequence[int], nodes: Sequence[UnitCosts], weights: Weights = EQUAL_WEIGHTS
) -> list[list[int]]:
    """Return what tasks of these sizes cost on each node, weighted: micro-units, rounded up."""
    per_unit = [
        weights.time_weight * node.compute
        + weights.delay_weight * node.transfer
        + weights.price_weight * node.price
        for node in nodes
    ]
    return [[-(-size * cost // (UNIT * UNIT)) for cost in per_unit] for size in sizes]


def assign(
    costs: Sequence[Sequence[int | None]],
    demands: Sequence[int],
    capacities: Sequence[int],
    steps_max: int = STEPS_MAX,
    start: Sequence[int | None] | None = None,
) -> Assignment:
    """Assign as many tasks as there is room for, at the least total cost.

    Args:
        costs: Of each task (row) on each node (column), not negative; None where it may not go.
        demands: Of each task.
        capacities: Of each node.
        steps_max: How much work may be put into it.
        start: An assignment within the capacities; the answer is not worse.
    """
    if any(demand < 1 for demand in demands):
        raise ValueError("a task demands nothing")
    search = _Search(costs, demands, capacities, steps_max)
    if search.is_flow():
        search.flow()
        return search.answer(exact=True)
    if start is None:
        search.place_by_regret()
    else:
        search.place_as(start)
    search.improve()
    exact = len(costs) <= EXACT_TASKS_MAX and search.prove()
    return search.answer(exact=exact)


class _Search:
    """One problem, and the best answer to it so far.

    To be left out is one more node, the last, with room for all, at a cost above any total: so the
    least total leaves out the fewest.
    """

    def __init__(
        self,
        costs: Sequence[Sequence[int | None]],
        demands: Sequence[int],
        capacities: Sequence[int],
        steps_max: int,
    ) -> None:
        known = [[cost for cost in row if cost is not None] for row in costs]
        self._outside = 1 + sum(max(row, default=0) for row in known)
        never = self._outside * (len(costs) + 1)
        self._costs = [
            [*(never if cost is None else cost for cost in row), self._outside] for row in costs
        ]
        self._never = never
        self._demands = demands
        self._room = [*capacities, sum(demands)]
        self._steps = steps_max
        self._choice = [len(capacities)] * len(costs)

    def answer(self, *, exact: bool) -> Assignment:
        outside = len(self._room) - 1
        choice = tuple(None if at == outside else at for at in self._choice)
        total = sum(
            row[at] for row, at in zip(self._costs, self._choice, strict=True) if at != outside
        )
        return Assignment(choice, total, exact)

    def is_flow(self) -> bool:
        """Tell whether all demands are equal, and a flow may be looked for within the steps."""
        tasks, nodes = len(self._choice), len(self._room)
        return len(set(self._demands)) <= 1 and tasks * (2 * nodes**2 + tasks) <= self._steps

    def flow(self) -> None:
        """Place task by task along the cheapest chain of moves that makes room for it.

        Each task comes to a node, from there another goes on to the next, until there is room: the
        shortest path in the graph of nodes, whose arc from one to another is the cheapest move of a
        task between them. After each the tasks placed so far cost the least possible.
        """
        count, nodes = len(self._choice), len(self._room)
        # Below the costs, each choice as a digit: the least is the lexicographically first.
        rows = [
            [cost * nodes**count + at * nodes ** (count - 1 - task) for at, cost in enumerate(row)]
            for task, row in enumerate(self._costs)
        ]
        held: list[list[int]] = [[] for _ in self._room]
        moves: list[list[tuple[int, int]]] = [[] for _ in self._room]
        for task in range(count):
            demand = self._demands[task]
            lengths, before = _shortest(rows[task], moves)
            _, at = min((lengths[at], at) for at in range(nodes) if self._room[at] >= demand)
            self._room[at] -= demand
            touched = [at]
            while (previous := before[at]) is not None:
                moved = moves[previous][at][1]
                held[previous].remove(moved)
                held[at].append(moved)
                at = previous
                touched.append(at)
            held[at].append(task)
            for at in touched:
                moves[at] = [
                    min((rows[other][to] - rows[other][at], other) for other in held[at])
                    for to in range(nodes)
                ]
        for at, tasks in enumerate(held):
            for task in tasks:
                self._choice[task] = at

    def place_as(self, start: Sequence[int | None]) -> None:
        """Begin with a choice that is known."""
        for task, at in enumerate(start):
            if at is not None:
                self._choice[task] = at
                self._room[at] -= self._demands[task]

    def place_by_regret(self) -> None:
        """Put each task where it is cheapest, those first that lose most by going elsewhere."""

        def regret(row: list[int]) -> int:
            first, second = sorted(row)[:2]
            return second - first

        rows = self._costs
        regrets = [regret(row) if len(row) > 1 else 0 for row in rows]
        # Sorted is stable: equal regrets in the order of the tasks.
        for task in sorted(range(len(rows)), key=lambda task: -regrets[task]):
            row, demand = rows[task], self._demands[task]
            _, node = min(
                (cost, at)
                for at, cost in enumerate(row)
                if self._room[at] >= demand and cost < self._never
            )
            self._choice[task] = node
            self._room[node] -= demand

    def improve(self) -> None:
        """Move one task, or exchange two, as long as that helps and steps are left."""
        tasks = range(len(self._choice))
        helped = True
        while helped and self._steps > 0:
            helped = False
            for task in tasks:
                if self._steps <= 0:
                    break
                self._steps -= len(self._room) + len(tasks) - task
                helped = self._move(task) or self._exchange(task) or helped

    def _move(self, task: int) -> bool:
        row, demand, here = self._costs[task], self._demands[task], self._choice[task]
        cost, there = min(
            (cost, at)
            for at, cost in enumerate(row)
            if at == here or (self._room[at] >= demand and cost < row[here])
        )
        if cost >= row[here]:
            return False
        self._room[here] += demand
        self._room[there] -= demand
        self._choice[task] = there
        return True

    def _exchange(self, task: int) -> bool:
        row, demand = self._costs[task], self._demands[task]
        for other in range(task + 1, len(self._choice)):
            here, there = self._choice[task], self._choice[other]
            others = self._costs[other]
            if row[there] + others[here] >= row[here] + others[there]:
                continue
            more = demand - self._demands[other]  # goes from here to there
            if -self._room[here] <= more <= self._room[there]:
                self._room[here] += more
                self._room[there] -= more
                self._choice[task], self._choice[other] = there, here
                return True
        return False

    def prove(self) -> bool:
        """Look for the lexicographically first answer that nothing beats; True if it was found.

        Depth first, nodes in order; a branch ends where even the cheapest rest would cost more
        than the best that is known, or, once that was met in this order, as much.
        """
        rows, demands = self._costs, self._demands
        count = len(rows)
        least = [0] * (count + 1)
        for task in reversed(range(count)):
            least[task] = least[task + 1] + min(rows[task])
        best = 1 + sum(row[at] for row, at in zip(rows, self._choice, strict=True))
        self._room = _room_of_all(self._room, self._choice, demands)
        path: list[int] = []
        spent = [0]
        at = 0
        while True:
            task = len(path)
            if task == count:
                best = spent[-1]
                self._choice = path.copy()
            elif at < len(self._room):
                self._steps -= 1
                cost = spent[-1] + rows[task][at]
                if self._room[at] >= demands[task] and cost + least[task + 1] < best:
                    if self._steps <= 0:
                        return False
                    path.append(at)
                    spent.append(cost)
                    self._room[at] -= demands[task]
                    at = 0
                else:
                    at += 1
                continue
            if not path:
                return True
            at = path.pop()
            spent.pop()
            self._room[at] += demands[len(path)]
            at += 1


def _room_of_all(room: list[int], choice: Sequence[int], demands: Sequence[int]) -> list[int]:
    room = room.copy()
    for at, demand in zip(choice, demands, strict=True):
        room[at] += demand
    return room


def _shortest(
    start: list[int], moves: list[list[tuple[int, int]]]
) -> tuple[list[int], list[int | None]]:
    """Return the length of the shortest path to each node, and the node before it on the path."""
    lengths = start.copy()
    before: list[int | None] = [None] * len(start)
    ahead = list(range(len(start)))
    while ahead:
        reached = []
        for at in ahead:
            length = lengths[at]
            for to, (cost, _) in enumerate(moves[at]):
                if length + cost < lengths[to]:
                    lengths[to] = length + cost
                    before[to] = at
                    reached.append(to)
        ahead = reached
    return lengths, before
