"""One task's node: the terms against exact fractions, each policy's choice, and the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines.placement import (
    POLICIES,
    UNIT,
    Curve,
    Job,
    Node,
    Policy,
    Terms,
    Weights,
    decimal,
    explain,
    impossible,
    obstacle,
    place_one,
    terms,
)

SECOND = 1_000_000
amounts = st.integers(0, 5 * UNIT)
positive = st.integers(1, 5 * UNIT)
few = st.sampled_from([0, UNIT // 2, UNIT, 2 * UNIT])


def fleet(*nodes: Node) -> dict[str, Node]:
    return {node.id: node for node in nodes}


@st.composite
def node_of(draw: st.DrawFn, id_: str) -> Node:
    placed = draw(few)
    return Node(
        id=id_,
        kind=draw(st.sampled_from(["cloud", "edge"])),
        labels=draw(st.dictionaries(st.just("gpu"), st.sampled_from(["yes", "no"]))),
        capacity=draw(positive),
        speed=draw(positive),
        price=draw(amounts),
        curve=draw(st.builds(Curve, amounts, amounts, amounts)),
        delay=draw(amounts),
        bandwidth=draw(st.integers(1, 10**9)),
        closed=draw(st.sampled_from(["", "", "", "draining"])),
        placed=placed,
        backlog=placed * draw(st.integers(0, 3)),
        reported=draw(few),
    )


nodes_of = st.integers(0, 4).flatmap(
    lambda count: st.tuples(*(node_of(f"n{number}") for number in range(count)))
)
jobs = st.builds(
    Job,
    size=amounts,
    demand=positive,
    kind=st.sampled_from(["cloud", "edge", "any"]),
    labels=st.dictionaries(st.just("gpu"), st.just("yes")),
    deadline=st.integers(0, 20 * SECOND),
    data=st.sampled_from(["", "n0", "n1", "gone"]),
    transfer=st.integers(0, 10**9),
    policy=st.sampled_from(POLICIES),
)
weights_of = st.builds(Weights, amounts, amounts, amounts)


def exact_terms(job: Job, node: Node, nodes: dict[str, Node]) -> tuple[Fraction, ...]:
    """The definition, in units and seconds: nothing rounded but the compute time it builds on."""
    units = Fraction(1, UNIT)
    compute = units * ceil(SECOND * Fraction(job.size, node.speed))
    foreign = max(0, node.reported - node.placed)
    load = units * (node.placed + foreign)
    demand, capacity = units * job.demand, units * node.capacity
    wait = Fraction(0)
    if load + demand > capacity:
        backlog = units * (node.backlog + foreign * job.size // UNIT)
        wait = backlog / (capacity * units * node.speed)
        load = capacity - demand
    delay = Fraction(0)
    if job.data != node.id:
        links = [node, nodes[job.data]] if job.data in nodes else [node]
        delay = units * sum(link.delay for link in links)
        delay += Fraction(job.transfer, min(link.bandwidth for link in links))

    def power(at: Fraction) -> Fraction:
        return units * (node.curve.square * at**2 + node.curve.slope * at + node.curve.idle)

    energy = (power(load + demand) - power(load)) * compute
    return wait, delay, compute, units * node.price * demand * compute, energy


@given(job=jobs, nodes=nodes_of)
def test_terms_of_a_node_are_the_exact_ones_rounded_up(job: Job, nodes: Iterable[Node]) -> None:
    by_id = fleet(*nodes)
    for node in nodes:
        if not obstacle(job, node):
            exact = exact_terms(job, node, by_id)
            assert terms(job, node, by_id.get(job.data)) == tuple(
                ceil(UNIT * each) for each in exact
            )


def naive_choice(job: Job, nodes: dict[str, Node], now: int, weights: Weights) -> str | None:
    """Every rule of the policies once more, as the documentation has them."""
    by_rank: list[tuple[tuple[int, ...], str]] = []
    for id_, node in sorted(nodes.items()):
        wrong_kind = job.kind not in ("any", node.kind)
        wrong_label = any(node.labels.get(name) != value for name, value in job.labels.items())
        if node.closed or wrong_kind or wrong_label or job.demand > node.capacity:
            continue
        cost = terms(job, node, nodes.get(job.data))
        lasts = cost.wait + cost.delay + cost.compute
        weighted = Fraction(
            weights.time_weight * (cost.wait + cost.compute)
            + weights.delay_weight * cost.delay
            + weights.price_weight * cost.price,
            UNIT,
        )
        if job.deadline and now + lasts > job.deadline:
            by_rank.append(((1, lasts), id_))
            continue
        full = node.capacity < job.demand + max(node.placed, node.reported)
        at_data = node.kind == "edge" and id_ == job.data
        first = at_data if job.deadline else node.kind == "cloud"
        key = {
            "balanced": (0, ceil(weighted)),
            "cost": (int(full), cost.price, lasts),
            "energy": (int(full), cost.energy, lasts),
            "latency": (int(not first), lasts),
        }[job.policy]
        by_rank.append(((0, *key), id_))
    return min(by_rank)[1] if by_rank else None


@given(job=jobs, nodes=nodes_of, now=st.integers(0, SECOND), weights=weights_of)
def test_place_one_given_any_nodes_chooses_as_the_naive_twin(
    job: Job, nodes: Iterable[Node], now: int, weights: Weights
) -> None:
    by_id = fleet(*nodes)
    assert place_one(job, by_id, now, weights) == naive_choice(job, by_id, now, weights)


@given(job=jobs, nodes=nodes_of, now=st.integers(0, SECOND), weights=weights_of)
def test_explain_given_any_nodes_tells_of_each_once_and_begins_with_the_chosen(
    job: Job, nodes: tuple[Node, ...], now: int, weights: Weights
) -> None:
    by_id = fleet(*nodes)
    told = explain(job, by_id, now, weights)
    assert told.chosen == place_one(job, by_id, now, weights)
    assert told.chosen == (told.candidates[0].id if told.candidates else None)
    assert list(told.candidates) == sorted(told.candidates, key=lambda each: each.rank)
    assert sorted([each.id for each in told.candidates] + [id_ for id_, _ in told.refused]) == list(
        by_id
    )
    assert all(reason for _, reason in told.refused)


@given(job=jobs, nodes=nodes_of)
def test_place_one_given_nodes_in_another_order_chooses_the_same(
    job: Job, nodes: tuple[Node, ...]
) -> None:
    assert place_one(job, fleet(*nodes), 0) == place_one(job, fleet(*reversed(nodes)), 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_place_one_among_equals_takes_the_lexicographically_first(policy: Policy) -> None:
    nodes = fleet(Node("b", "cloud"), Node("a10", "cloud"), Node("a9", "cloud"))
    assert place_one(Job(policy=policy), nodes, 0) == "a10"


def test_place_one_under_latency_takes_a_deadline_to_its_data_and_the_rest_to_the_cloud() -> None:
    nodes = fleet(
        Node("cloud", "cloud", speed=10 * UNIT, delay=50_000),
        Node("edge-a", "edge", speed=UNIT, delay=1_000),
        Node("edge-b", "edge", speed=2 * UNIT, delay=1_000),
    )
    bound = Job(policy="latency", deadline=5 * SECOND, data="edge-a", transfer=1_000)
    assert place_one(bound, nodes, 0) == "edge-a"
    assert place_one(replace(bound, deadline=0), nodes, 0) == "cloud"
    too_short = replace(bound, deadline=SECOND // 2)
    assert place_one(too_short, nodes, 0) == "cloud", "the edge would come too late"
    elsewhere = replace(bound, data="")
    assert place_one(elsewhere, nodes, 0) == "cloud", "nobody holds it: who finishes first"
    at_cloud = replace(bound, data="cloud", transfer=0)
    nodes["cloud"].speed = UNIT
    assert place_one(at_cloud, nodes, 0) == "edge-b", "the data is on no edge"
    only_edges = {id_: node for id_, node in nodes.items() if id_ != "cloud"}
    assert place_one(replace(bound, deadline=0, data=""), only_edges, 0) == "edge-b"


def test_place_one_under_cost_fills_the_cheapest_first_and_then_queues_there() -> None:
    nodes = fleet(
        Node("dear", "cloud", price=2 * UNIT, capacity=2 * UNIT),
        Node("cheap", "cloud", price=UNIT, capacity=UNIT),
    )
    went = []
    for _ in range(4):
        chosen = place_one(Job(policy="cost"), nodes, 0)
        assert chosen is not None
        nodes[chosen].take(Job())
        went.append(chosen)
    assert went == ["cheap", "dear", "dear", "cheap"]


def test_place_one_under_balanced_weighs_waiting_against_a_dearer_node() -> None:
    busy = Node("a", "cloud", placed=UNIT, backlog=3 * UNIT)
    dear = Node("b", "cloud", price=2 * UNIT)
    assert place_one(Job(), fleet(busy, dear), 0) == "b"
    assert place_one(Job(), fleet(busy, dear), 0, Weights(price_weight=2 * UNIT)) == "a"


def test_place_one_past_every_estimate_takes_who_finishes_first() -> None:
    slow = Node("a", "cloud", speed=UNIT)
    fast = Node("b", "cloud", speed=2 * UNIT, price=100 * UNIT)
    assert place_one(Job(deadline=1, policy="cost"), fleet(slow, fast), 0) == "b"


@pytest.mark.parametrize(("deadline", "chosen"), [(2 * SECOND, "cheap"), (2 * SECOND - 1, "fast")])
def test_place_one_just_in_time_for_the_deadline_is_not_late(deadline: int, chosen: str) -> None:
    nodes = fleet(Node("cheap", "cloud"), Node("fast", "cloud", speed=2 * UNIT, price=9 * UNIT))
    assert place_one(Job(deadline=deadline, policy="cost"), nodes, SECOND) == chosen


@pytest.mark.parametrize(
    ("policy", "chosen"), [("cost", "b"), ("energy", "b"), ("balanced", "a"), ("latency", "b")]
)
def test_place_one_among_equal_costs_takes_who_finishes_first_or_the_first(
    policy: Policy, chosen: str
) -> None:
    # The slower saves in price, of a second and 1.0, what it takes longer.
    slow = Node("a", "cloud", speed=UNIT, price=UNIT)
    fast = Node("b", "cloud", speed=2 * UNIT, price=3 * UNIT)
    if policy == "cost":
        fast.price = 2 * UNIT
    assert place_one(Job(policy=policy), fleet(slow, fast), 0) == chosen


@given(
    curves=st.lists(
        st.builds(Curve, st.integers(0, 5), st.integers(0, 5), st.just(0)), min_size=1, max_size=3
    ),
    count=st.integers(0, 5),
)
def test_place_one_under_energy_one_by_one_reaches_the_optimum_of_all(
    curves: list[Curve], count: int
) -> None:
    # In whole units, so that nothing is rounded; with convex curves the next best stays right.
    nodes = fleet(
        *(
            Node(f"n{number}", "edge", capacity=5 * UNIT, curve=Curve(*(UNIT * x for x in curve)))
            for number, curve in enumerate(curves)
        )
    )
    for _ in range(count):
        chosen = place_one(Job(policy="energy"), nodes, 0)
        assert chosen is not None
        nodes[chosen].take(Job())

    def energy(loads: Iterable[int]) -> int:
        return sum(a * load**2 + b * load for (a, b, _), load in zip(curves, loads, strict=True))

    splits = product(range(count + 1), repeat=len(curves))
    best = min(energy(loads) for loads in splits if sum(loads) == count)
    assert energy(node.placed // UNIT for node in nodes.values()) == best


def test_place_one_without_an_open_node_that_fits_finds_none() -> None:
    assert place_one(Job(), {}, 0) is None
    nodes = fleet(Node("a", "edge", closed="draining"), Node("b", "edge", capacity=UNIT // 2))
    assert place_one(Job(), nodes, 0) is None
    assert explain(Job(), nodes, 0).refused == (
        ("a", "draining"),
        ("b", "its capacity 0.5 is below the demand 1"),
    )


def test_impossible_requirement_is_told_with_each_nodes_reason() -> None:
    nodes = fleet(
        Node("e", "edge"),
        Node("c1", "cloud", capacity=UNIT // 4),
        Node("c2", "cloud", labels={"gpu": "no"}),
        Node("c3", "cloud", labels={"gpu": "no"}),
    )
    job = Job(kind="cloud", labels={"gpu": "yes"}, demand=UNIT // 2)
    assert impossible(job, nodes) == (
        "no node could run it: c1: its capacity 0.25 is below the demand 0.5;"
        " c2: it lacks the label gpu=yes; c3: it lacks the label gpu=yes; and 1 more"
    )
    assert impossible(job, {"e": nodes["e"]}) == (
        "no node could run it: e: it is a node of kind edge, not cloud"
    )
    assert impossible(job, {}) == "", "a node that could may still come"


def test_impossible_requirement_is_not_one_that_a_closed_or_busy_node_could_meet() -> None:
    assert impossible(Job(), fleet(Node("a", "edge", closed="draining", placed=9 * UNIT))) == ""


@given(held=st.lists(st.tuples(amounts, positive)))
def test_node_that_released_all_it_took_is_as_before(held: list[tuple[int, int]]) -> None:
    node = Node("a", "edge")
    for size, demand in held:
        node.take(Job(size=size, demand=demand))
    assert node.placed == sum(demand for _, demand in held)
    for size, demand in reversed(held):
        node.release(Job(size=size, demand=demand))
    assert node == Node("a", "edge")


def test_terms_of_a_full_node_count_its_backlog_and_what_it_reports_besides() -> None:
    node = Node("a", "edge", capacity=2 * UNIT, placed=2 * UNIT, backlog=6 * UNIT)
    assert terms(Job(), node, None) == Terms(3 * SECOND, 0, SECOND, 0, 0)
    node.reported = 4 * UNIT
    assert terms(Job(size=2 * UNIT), node, None).wait == 5 * SECOND


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1_500_000, "1.5"), (-1, "-0.000001"), (20 * UNIT, "20"), (100 * UNIT, "100")],
)
def test_decimal_of_micro_units_is_as_people_write_them(number: int, text: str) -> None:
    assert decimal(number) == text
