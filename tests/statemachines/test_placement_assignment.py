"""Assignments against all that there are, and what bounds the search."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines.placement import UNIT, Weights
from statemachines.placement_assignment import (
    EXACT_TASKS_MAX,
    Assignment,
    UnitCosts,
    assign,
    weighted_costs,
)

SIZES = [1 * UNIT, 1 * UNIT, 2 * UNIT, 2 * UNIT, 3 * UNIT]
NODES = ["c1", "c2", "c3", "e1", "e2"]
CAPACITIES = [3 * UNIT, 3 * UNIT, 3 * UNIT, 2 * UNIT, 2 * UNIT]
UNIT_COSTS = [
    UnitCosts(1_000_000, 1_000_000, 4_000_000),
    UnitCosts(1_500_000, 1_200_000, 3_000_000),
    UnitCosts(2_000_000, 1_400_000, 2_000_000),
    UnitCosts(4_000_000, 100_000, 1_000_000),
    UnitCosts(5_000_000, 200_000, 1_000_000),
]

Costs = Sequence[Sequence[int | None]]


def best_of_all(costs: Costs, demands: Sequence[int], capacities: Sequence[int]) -> Assignment:
    """Every assignment there is, the fewest left out first, then the least total, then in order."""
    outside = len(capacities)
    best: tuple[int, int, tuple[int, ...]] | None = None
    for choice in product(range(outside + 1), repeat=len(demands)):
        room = list(capacities)
        total = 0
        for row, demand, at in zip(costs, demands, choice, strict=True):
            cost = 0 if at == outside else row[at]
            if cost is None:
                break
            total += cost
            if at != outside:
                room[at] -= demand
        else:
            key = choice.count(outside), total, choice
            if min(room, default=0) >= 0 and (best is None or key < best):
                best = key
    assert best is not None
    return Assignment(tuple(None if at == outside else at for at in best[2]), best[1], exact=True)


@st.composite
def problems(
    draw: st.DrawFn, *, equal: bool
) -> tuple[list[list[int | None]], list[int], list[int]]:
    tasks, nodes = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    cost = st.integers(0, 9) | st.none() | st.sampled_from([10**30, 2 * 10**30])
    costs = draw(
        st.lists(st.lists(cost, min_size=nodes, max_size=nodes), min_size=tasks, max_size=tasks)
    )
    one = draw(st.integers(1, 4))
    demand = st.just(one) if equal else st.integers(1, 4)
    demands = draw(st.lists(demand, min_size=tasks, max_size=tasks))
    return costs, demands, draw(st.lists(st.integers(0, 9), min_size=nodes, max_size=nodes))


def test_assign_of_the_worked_example_is_as_told_and_the_best_of_all() -> None:
    costs = weighted_costs(SIZES, UNIT_COSTS)
    found = assign(costs, SIZES, CAPACITIES)
    assert [NODES[at] for at in found.choice if at is not None] == ["c1", "c2", "c2", "e1", "c3"]
    assert found.total == 49_500_000
    assert found == best_of_all(costs, SIZES, CAPACITIES)


@given(problem=problems(equal=False))
def test_assign_of_a_small_problem_is_the_first_of_the_best_of_all(
    problem: tuple[Costs, list[int], list[int]],
) -> None:
    assert assign(*problem) == best_of_all(*problem)


@given(problem=problems(equal=True))
def test_assign_of_equal_demands_is_the_first_of_the_best_of_all(
    problem: tuple[Costs, list[int], list[int]],
) -> None:
    assert assign(*problem) == best_of_all(*problem)


@given(problem=problems(equal=False), steps=st.integers(0, 60))
def test_assign_cut_short_keeps_the_capacities_and_is_exact_only_if_it_says_so(
    problem: tuple[Costs, list[int], list[int]], steps: int
) -> None:
    costs, demands, capacities = problem
    found = assign(costs, demands, capacities, steps_max=steps)
    assert_sound(found, costs, demands, capacities)
    if found.exact:
        assert found == best_of_all(costs, demands, capacities)


def assert_sound(
    found: Assignment, costs: Costs, demands: Sequence[int], capacities: Sequence[int]
) -> None:
    room = list(capacities)
    total = 0
    for row, demand, at in zip(costs, demands, found.choice, strict=True):
        if at is not None:
            cost = row[at]
            assert cost is not None
            total += cost
            room[at] -= demand
    assert min(room, default=0) >= 0
    assert found.total == total


def random_problem(
    seed: int, tasks: int, nodes: int, demand_max: int
) -> tuple[list[list[int | None]], list[int], list[int]]:
    rng = random.Random(seed)
    costs: list[list[int | None]] = [
        [rng.randint(0, 10 * UNIT) for _ in range(nodes)] for _ in range(tasks)
    ]
    demands = [rng.randint(1, demand_max) for _ in range(tasks)]
    return costs, demands, [max(demand_max, sum(demands) * 11 // (10 * nodes))] * nodes


@pytest.mark.parametrize("seed", range(3))
def test_assign_of_many_tasks_comes_near_the_cheapest_node_of_each(seed: int) -> None:
    costs, demands, capacities = random_problem(seed, 120, 10, 5)
    found = assign(costs, demands, capacities)
    assert not found.exact
    assert_sound(found, costs, demands, capacities)
    assert None not in found.choice
    # No assignment costs less than this, and one with room for all seldom costs so little.
    least = sum(min(cost for cost in row if cost is not None) for row in costs)
    assert found.total < least * 5 // 4


@pytest.mark.parametrize("seed", range(3))
def test_assign_by_search_comes_near_the_exact_flow(seed: int) -> None:
    costs, demands, capacities = random_problem(seed, 60, 8, 1)
    flow = assign(costs, demands, capacities)
    assert flow.exact
    assert_sound(flow, costs, demands, capacities)
    search = assign(costs, demands, capacities, steps_max=10_000)
    assert not search.exact
    assert flow.total <= search.total <= flow.total * 11 // 10


@pytest.mark.parametrize("steps", [0, 1_000])
def test_assign_from_a_start_is_not_worse_and_keeps_it_without_steps(steps: int) -> None:
    costs, demands, capacities = random_problem(4, 40, 5, 3)
    start = assign(costs, demands, capacities, steps_max=200)
    found = assign(costs, demands, capacities, steps, start.choice)
    assert_sound(found, costs, demands, capacities)
    assert None not in found.choice
    if steps:
        assert found.total < start.total
    else:
        assert found == start


def test_assign_with_nothing_to_choose_is_empty_or_leaves_out() -> None:
    assert assign([], [], [UNIT]) == Assignment((), 0, exact=True)
    assert assign([[]], [1], []) == Assignment((None,), 0, exact=True)
    assert assign([[None], [3]], [1, 1], [5]) == Assignment((None, 0), 3, exact=True)
    with pytest.raises(ValueError, match="demands nothing"):
        assign([[1]], [0], [1])


def test_assign_never_starts_a_search_that_could_not_end() -> None:
    tasks = EXACT_TASKS_MAX + 1
    costs, demands, capacities = random_problem(1, tasks, 2, 3)
    assert not assign(costs, demands, capacities, steps_max=10**9).exact


def test_weighted_costs_count_each_term_by_its_weight_and_round_up() -> None:
    unit = UnitCosts(1_000_000, 2_000_000, 3_000_000)
    weights = Weights(time_weight=2 * UNIT, delay_weight=UNIT // 2, price_weight=0)
    assert weighted_costs([UNIT, 2 * UNIT], [unit], weights) == [[3 * UNIT], [6 * UNIT]]
    assert weighted_costs([1], [UnitCosts(1, 0, 0)]) == [[1]]
