"""Many tasks at once: never worse than one by one, the best where that is known, and bounded."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import product
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines import placement_batch
from statemachines.placement import (
    POLICIES,
    UNIT,
    Curve,
    Job,
    Node,
    Policy,
    Weights,
    candidate,
    obstacle,
    place_one,
    terms,
)
from statemachines.placement_assignment import Assignment, assign
from statemachines.placement_batch import place_many

SECOND = 1_000_000
ROUNDING = 8
"""Micro-units by which costs of the two ways may differ: some terms, each rounded once."""

amounts = st.integers(0, 5 * UNIT)
positive = st.integers(1, 5 * UNIT)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Node]:
    nodes = {}
    for number in range(draw(st.integers(0, 4))):
        placed = draw(st.sampled_from([0, UNIT, 2 * UNIT]))
        nodes[f"n{number}"] = Node(
            id=f"n{number}",
            kind=draw(st.sampled_from(["cloud", "edge"])),
            labels=draw(st.dictionaries(st.just("gpu"), st.sampled_from(["yes", "no"]))),
            capacity=draw(positive),
            # Slower, and a micro-unit of size would take longer than costs are rounded to.
            speed=draw(st.integers(UNIT, 9 * UNIT)),
            price=draw(amounts),
            curve=draw(st.builds(Curve, amounts, amounts, amounts)),
            delay=draw(amounts),
            bandwidth=draw(st.integers(1_000, 10**9)),
            closed=draw(st.sampled_from(["", "", "", "draining"])),
            placed=placed,
            backlog=placed * draw(st.integers(1, 3)),
        )
    return nodes


jobs_of = st.builds(
    Job,
    size=amounts,
    demand=positive,
    kind=st.sampled_from(["cloud", "edge", "any", "any"]),
    labels=st.dictionaries(st.just("gpu"), st.just("yes")),
    deadline=st.sampled_from([0, 1, 2 * SECOND, 10 * SECOND]),
    data=st.sampled_from(["", "n0", "n1", "gone"]),
    transfer=st.sampled_from([0, 1000, 10**6]),
    policy=st.sampled_from(POLICIES),
)
weights_of = st.builds(Weights, amounts, amounts, amounts)


@pytest.mark.parametrize("cells_max", [-1, 1_000], ids=["as-many", "as-few"])
@given(job=jobs_of, nodes=fleets(), now=st.integers(0, SECOND), weights=weights_of)
def test_place_many_of_one_task_chooses_as_well_as_place_one(
    cells_max: int, job: Job, nodes: dict[str, Node], now: int, weights: Weights
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement_batch, "_ASSIGN_CELLS_MAX", cells_max)
        [chosen] = place_many([job], nodes, now, weights)
    alone = place_one(job, nodes, now, weights)
    if chosen == alone:
        return
    assert chosen is not None
    assert alone is not None
    holder = nodes.get(job.data)
    got = candidate(job, nodes[chosen], holder, now, weights)
    best = candidate(job, nodes[alone], holder, now, weights)
    if best.late or got.late:
        # Both too late, or one only by what is rounded: then it is about when it ends.
        assert got.finish <= max(best.finish, job.deadline) + ROUNDING
    else:
        assert got.preferred == best.preferred
        # Energies are compared per unit of size, in another order of rounding.
        assert got.cost <= best.cost + ROUNDING * (1 + sum(weights) // UNIT)


@given(jobs=st.lists(jobs_of, max_size=8), nodes=fleets())
def test_place_many_chooses_open_nodes_that_can_run_the_task_wherever_there_are_any(
    jobs: list[Job], nodes: dict[str, Node]
) -> None:
    before = deepcopy(nodes)
    chosen = place_many(jobs, nodes, 0)
    assert nodes == before
    assert chosen == place_many(jobs, dict(reversed(nodes.items())), 0)
    assert len(chosen) == len(jobs)
    for job, id_ in zip(jobs, chosen, strict=True):
        if id_ is None:
            assert place_one(job, nodes, 0) is None
        else:
            assert not nodes[id_].closed
            assert not obstacle(job, nodes[id_])


def one_by_one(jobs: Sequence[Job], nodes: dict[str, Node]) -> list[str | None]:
    nodes = deepcopy(nodes)
    chosen = []
    for job in jobs:
        id_ = place_one(job, nodes, 0)
        if id_ is not None:
            nodes[id_].take(job)
        chosen.append(id_)
    return chosen


def price_of(jobs: Sequence[Job], nodes: dict[str, Node], chosen: Sequence[str | None]) -> int:
    pairs = zip(jobs, chosen, strict=True)
    return sum(terms(job, nodes[id_], None).price for job, id_ in pairs if id_ is not None)


@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    prices=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    seats=st.integers(1, 5),
    labelled=st.integers(0, 31),
)
def test_place_many_with_room_for_all_costs_as_little_as_the_best_of_all(
    sizes: list[int], prices: list[int], seats: int, labelled: int
) -> None:
    # In whole units, so that nothing is rounded. Under `cost` no task waits while there is room.
    nodes = {
        f"n{number}": Node(
            f"n{number}",
            "edge",
            capacity=seats * UNIT,
            price=price * UNIT,
            labels={"gpu": "yes"} if number == 0 else {},
        )
        for number, price in enumerate(prices)
    }
    jobs = [
        Job(size=size * UNIT, policy="cost", labels={"gpu": "yes"} if labelled >> at & 1 else {})
        for at, size in enumerate(sizes)
    ]
    totals = [
        price_of(jobs, nodes, choice)
        for choice in product(nodes, repeat=len(jobs))
        if max(choice.count(id_) for id_ in nodes) <= seats
        and not any(obstacle(job, nodes[id_]) for job, id_ in zip(jobs, choice, strict=True))
    ]
    if totals:
        assert price_of(jobs, nodes, place_many(jobs, nodes, 0)) == min(totals)


def test_place_many_gives_the_only_cheap_node_to_whom_it_spares_most() -> None:
    nodes = {
        "cheap": Node("cheap", "cloud", price=UNIT),
        "dear": Node("dear", "cloud", price=3 * UNIT),
    }
    jobs = [Job(policy="cost", size=UNIT), Job(policy="cost", size=5 * UNIT)]
    assert one_by_one(jobs, nodes) == ["cheap", "dear"]
    assert place_many(jobs, nodes, 0) == ["dear", "cheap"]


def test_place_many_beyond_the_room_waits_rather_than_goes_where_it_costs_more() -> None:
    nodes = {"far": Node("far", "cloud", delay=1000 * SECOND), "near": Node("near", "edge")}
    assert place_many([Job(), Job(), Job()], nodes, 0) == ["near"] * 3


def test_place_many_keeps_from_others_the_room_of_a_task_that_is_late_everywhere() -> None:
    nodes = {
        "fast": Node("fast", "cloud", speed=2 * UNIT),
        "slow": Node("slow", "cloud", speed=UNIT * 5 // 4),
    }
    # The first goes where it ends first, and there the second would have to wait.
    assert place_many([Job(deadline=1), Job()], nodes, 0) == ["fast", "slow"]


@pytest.mark.parametrize("policy", POLICIES)
def test_place_many_with_a_deadline_takes_a_dearer_node_that_is_in_time(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement_batch, "_ASSIGN_CELLS_MAX", -1)
    nodes = {
        "near": Node("near", "edge"),
        "fast": Node("fast", "cloud", speed=2 * UNIT, price=9 * UNIT, curve=Curve(UNIT, 0, 0)),
    }
    late, soon = (
        Job(deadline=SECOND - 1, data="near", policy=policy),
        Job(data="near", policy=policy),
    )
    assert place_many([late], nodes, 0) == ["fast"]
    assert place_many([soon], nodes, 0) == ["fast" if policy == "latency" else "near"]


@pytest.mark.parametrize(
    ("policy", "chosen"), [("cost", "b"), ("energy", "b"), ("balanced", "a"), ("latency", "b")]
)
def test_place_many_among_equal_costs_takes_who_finishes_first_or_the_first(
    policy: Policy, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement_batch, "_ASSIGN_CELLS_MAX", -1)
    fast_price = 2 * UNIT if policy == "cost" else 3 * UNIT
    nodes = {
        "a": Node("a", "cloud", speed=UNIT, price=UNIT),
        "b": Node("b", "cloud", speed=2 * UNIT, price=fast_price),
    }
    # Balanced: 1 s and 1.0 · 1 s, or 0.5 s and 3.0 · 0.5 s.
    assert place_many([Job(policy=policy)], nodes, 0) == [chosen]


def random_fleet(rng: random.Random, count: int) -> dict[str, Node]:
    return {
        f"n{number:03}": Node(
            f"n{number:03}",
            rng.choice(["cloud", "edge"]),
            labels={"gpu": rng.choice(["yes", "no"])},
            capacity=4 * UNIT,
            speed=rng.randint(UNIT, 8 * UNIT),
            price=rng.randint(0, UNIT),
            curve=Curve(rng.randint(0, UNIT), rng.randint(0, UNIT), 0),
            delay=rng.randint(0, 50_000),
            bandwidth=rng.randint(10**6, 10**9),
        )
        for number in range(count)
    }


def random_jobs(rng: random.Random, count: int, policy: Policy) -> list[Job]:
    return [
        Job(
            size=rng.randint(UNIT // 10, 10 * UNIT),
            demand=rng.choice([UNIT // 2, UNIT, 2 * UNIT]),
            labels=rng.choice([{}, {"gpu": "yes"}]),
            data=rng.choice(["", "n001", "n002"]),
            transfer=rng.randint(0, 10**7),
            policy=policy,
        )
        for _ in range(count)
    ]


@given(
    nodes=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(0, 6)),
        min_size=1,
        max_size=4,
    ),
    drawn=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=8),
)
def test_place_many_of_any_tasks_never_costs_more_than_one_by_one(
    nodes: list[tuple[int, int, int]], drawn: list[tuple[int, int]]
) -> None:
    # In units that both ways count exactly: otherwise one may see equals where the other does not.
    by_id = {
        f"n{number}": Node(
            f"n{number}", "edge", capacity=seats * UNIT, speed=speed * UNIT, price=price * UNIT
        )
        for number, (seats, speed, price) in enumerate(nodes)
    }
    jobs = [Job(size=size * 12 * UNIT, demand=demand * UNIT) for size, demand in drawn]
    jobs = [job for job in jobs if place_one(job, by_id, 0)]
    together = total_of(jobs, by_id, place_many(jobs, by_id, 0))
    assert together <= total_of(jobs, by_id, one_by_one(jobs, by_id))


@pytest.mark.parametrize("policy", ["balanced", "latency", "cost"])
def test_place_many_with_room_for_all_costs_less_than_one_by_one(policy: Policy) -> None:
    together = alone = 0
    for seed in range(5):
        rng = random.Random(seed)
        nodes = random_fleet(rng, 20)
        jobs = random_jobs(rng, 40, policy)
        together += total_of(jobs, nodes, place_many(jobs, nodes, 0))
        alone += total_of(jobs, nodes, one_by_one(jobs, nodes))
    assert together < alone


@pytest.mark.parametrize("policy", POLICIES)
def test_place_many_where_tasks_must_wait_chooses_as_one_by_one(policy: Policy) -> None:
    rng = random.Random(3)
    nodes = random_fleet(rng, 5)
    jobs = random_jobs(rng, 60, policy)
    assert place_many(jobs, nodes, 0) == one_by_one(jobs, nodes)


def total_of(jobs: Sequence[Job], nodes: dict[str, Node], chosen: Sequence[str | None]) -> int:
    """What all cost if each, as it comes, waits for those before it."""
    nodes = deepcopy(nodes)
    total = 0
    for job, id_ in zip(jobs, chosen, strict=True):
        assert id_ is not None
        total += candidate(job, nodes[id_], nodes.get(job.data), 0).cost
        nodes[id_].take(job)
    return total


def calls_of(run: Callable[[], object]) -> int:
    """Count the calls of Python functions and of built-in ones."""
    count = 0

    def count_call(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("policy", POLICIES)
def test_place_many_of_more_tasks_or_nodes_does_no_more_calls_for_each(policy: Policy) -> None:
    rng = random.Random(1)
    jobs = random_jobs(rng, 1000, policy)
    nodes = random_fleet(rng, 100)
    few = calls_of(lambda: place_many(jobs[:500], nodes, 0))
    assert calls_of(lambda: place_many(jobs, nodes, 0)) < 2.2 * few
    # A hundred nodes are looked at by loops within a call, not by calls.
    assert few < 500 * 60


def test_place_many_of_few_tasks_asks_for_the_optimum_and_of_many_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def counted(costs: list[list[int | None]], *rest: Any) -> Assignment:
        asked.append(len(costs))
        return assign(costs, *rest)

    monkeypatch.setattr(placement_batch, "assign", counted)
    nodes = {f"n{number}": Node(f"n{number}", "edge", capacity=9 * UNIT) for number in range(10)}
    place_many([Job()] * 100, nodes, 0)
    place_many([Job()] * 101, nodes, 0)
    assert asked == [100]
