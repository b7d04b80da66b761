"""Divisible loads: the worked examples, brute force over all splits, and no better exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from statemachines.placement import UNIT, Curve, Node
from statemachines.placement_shares import LoadTooLarge, split_by_cost, split_by_energy

# Loads of a few micro-units, on curves so steep that every part of them matters there.
tiny_curves = (
    st.builds(Curve, st.integers(0, 10**13), st.integers(0, 10**7), st.integers(0, 100))
    | st.builds(Curve, st.just(0), st.sampled_from([0, 10**6, 2 * 10**6]), st.integers(0, 3))
    # Marginal costs that differ by one, or by nothing.
    | st.builds(Curve, st.integers(1, 4), st.just(0), st.just(0))
)
tiny_nodes = st.lists(
    st.tuples(st.integers(1, 5), tiny_curves, st.integers(0, 3)), min_size=1, max_size=4
).map(
    lambda drawn: [
        Node(f"n{number}", "edge", capacity=capacity, curve=curve, price=price)
        for number, (capacity, curve, price) in enumerate(drawn)
    ]
)
shares_of_load = st.integers(0, 20)


def energy(nodes: Sequence[Node], shares: Sequence[int], *, idle_is_free: bool) -> Fraction:
    """The definition, a·l² + b·l + c, in micro-units."""
    total = Fraction(0)
    for node, share in zip(nodes, shares, strict=True):
        load = Fraction(share, UNIT)
        if share or not idle_is_free:
            a, b, c = node.curve
            total += a * load**2 + b * load + c
    return total


def best_of_all(
    load: int, nodes: Sequence[Node], cost: Callable[[Sequence[int]], Fraction]
) -> Fraction:
    splits = product(*(range(node.capacity + 1) for node in nodes))
    return min(cost(shares) for shares in splits if sum(shares) == load)


def valid(load: int, nodes: Sequence[Node], shares: dict[str, int]) -> bool:
    within = all(0 <= shares[node.id] <= node.capacity for node in nodes)
    return within and sum(shares.values()) == load and len(shares) == len(nodes)


@pytest.mark.parametrize(
    ("capacities", "shares", "total"),
    [((10, 20), (10, 10), 3_000_000), ((30, 20), (20, 0), 2_000_000)],
)
def test_split_by_cost_of_the_worked_example_is_as_told(
    capacities: tuple[int, int], shares: tuple[int, int], total: int
) -> None:
    nodes = [
        Node("n1", "cloud", price=100_000, capacity=capacities[0] * UNIT),
        Node("n2", "cloud", price=200_000, capacity=capacities[1] * UNIT),
    ]
    split = split_by_cost(20 * UNIT, nodes)
    assert split.shares == {"n1": shares[0] * UNIT, "n2": shares[1] * UNIT}
    assert split.total == total


def test_split_at_equal_prices_or_curves_gives_the_first_nodes_more() -> None:
    nodes = [
        Node(id_, "cloud", capacity=capacity * UNIT, price=UNIT, curve=Curve(0, UNIT, 0))
        for id_, capacity in [("b", 1), ("a", 2), ("c", 1)]
    ]
    expected = {"a": 2 * UNIT, "b": UNIT, "c": 0}
    assert split_by_cost(3 * UNIT, nodes).shares == expected
    assert split_by_energy(3 * UNIT, nodes).shares == expected


def test_split_by_energy_of_the_worked_example_is_as_told() -> None:
    curve = Curve(10_000, 100_000, 10_000)
    nodes = [Node(f"n{number}", "edge", capacity=2 * UNIT, curve=curve) for number in (1, 2, 3)]
    split = split_by_energy(1_600_000, nodes)
    assert split.shares == {"n1": 533_334, "n2": 533_333, "n3": 533_333}
    assert split.total == 198_534, "0.19853, rounded up to a micro-unit"
    switched = split_by_energy(1_600_000, nodes, idle_is_free=True)
    assert switched.shares == {"n1": 800_000, "n2": 800_000, "n3": 0}
    assert switched.total == 192_800
    assert switched.exact


@given(load=shares_of_load, nodes=tiny_nodes)
def test_split_by_cost_costs_as_little_as_the_best_of_all_splits(
    load: int, nodes: list[Node]
) -> None:
    assume(load <= sum(node.capacity for node in nodes))

    def price(shares: Sequence[int]) -> Fraction:
        spent = sum(node.price * share for node, share in zip(nodes, shares, strict=True))
        return Fraction(spent, UNIT)

    split = split_by_cost(load, nodes)
    assert valid(load, nodes, split.shares)
    assert price([split.shares[node.id] for node in nodes]) == best_of_all(load, nodes, price)


@given(load=shares_of_load, nodes=tiny_nodes, idle_is_free=st.booleans())
def test_split_by_energy_takes_as_little_as_the_best_of_all_splits(
    load: int, nodes: list[Node], idle_is_free: bool
) -> None:
    assume(load <= sum(node.capacity for node in nodes))

    def taken(shares: Sequence[int]) -> Fraction:
        return energy(nodes, shares, idle_is_free=idle_is_free)

    split = split_by_energy(load, nodes, idle_is_free=idle_is_free)
    assert split.exact
    assert valid(load, nodes, split.shares)
    exact = taken([split.shares[node.id] for node in nodes])
    assert exact == best_of_all(load, nodes, taken)
    assert 0 <= split.total - exact < 1


@given(
    drawn=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=7),
    part=st.fractions(0, 1),
)
@example(drawn=[(7, 14), (5, 6), (9, 8), (4, 5)], part=Fraction(5, 25))
@example(drawn=[(3, 12), (4, 2), (1, 3), (2, 0), (6, 15), (3, 14)], part=Fraction(8, 19))
def test_split_by_energy_with_idle_alone_switches_on_the_cheapest_that_suffice(
    drawn: list[tuple[int, int]], part: Fraction
) -> None:
    # A knapsack: no rule of thumb finds it, so that the search is what is tested.
    nodes = [
        Node(f"n{number}", "edge", capacity=capacity, curve=Curve(0, 0, idle))
        for number, (capacity, idle) in enumerate(drawn)
    ]
    load = int(part * sum(capacity for capacity, _ in drawn))
    best = min(
        sum(idle for switched, (_, idle) in zip(on, drawn, strict=True) if switched)
        for on in product([False, True], repeat=len(drawn))
        if sum(capacity for switched, (capacity, _) in zip(on, drawn, strict=True) if switched)
        >= load
    )
    split = split_by_energy(load, nodes, idle_is_free=True)
    assert split.exact
    assert valid(load, nodes, split.shares)
    assert split.total == best


real_nodes = st.lists(
    st.builds(Curve, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9)).flatmap(
        lambda curve: st.tuples(st.just(curve), st.integers(1, 10**9))
    ),
    min_size=1,
    max_size=9,
).map(
    lambda drawn: [
        Node(f"n{number}", "edge", capacity=capacity, curve=curve)
        for number, (curve, capacity) in enumerate(drawn)
    ]
)


@given(nodes=real_nodes, part=st.fractions(0, 1))
def test_split_by_energy_at_real_sizes_gains_nothing_by_moving_a_micro_unit(
    nodes: list[Node], part: Fraction
) -> None:
    # The energy is convex, so that no better exchange of two nodes is no better split at all.
    load = int(part * sum(node.capacity for node in nodes))
    split = split_by_energy(load, nodes)
    assert valid(load, nodes, split.shares)
    lowest = (
        min(
            (
                energy([node], [share + 1], idle_is_free=False)
                - energy([node], [share], idle_is_free=False)
            )
            for node in nodes
            if (share := split.shares[node.id]) < node.capacity
        )
        if load < sum(node.capacity for node in nodes)
        else None
    )
    for node in nodes:
        share = split.shares[node.id]
        if share and lowest is not None:
            saved = energy([node], [share], idle_is_free=False)
            saved -= energy([node], [share - 1], idle_is_free=False)
            assert saved <= lowest


@pytest.mark.parametrize("idle_is_free", [False, True])
def test_split_by_energy_of_nodes_in_another_order_is_the_same(idle_is_free: bool) -> None:
    nodes = [
        Node(f"n{number}", "edge", capacity=UNIT, curve=Curve(number % 3, 5 - number % 2, number))
        for number in range(6)
    ]
    one = split_by_energy(3 * UNIT + 1, nodes, idle_is_free=idle_is_free)
    assert one == split_by_energy(3 * UNIT + 1, nodes[::-1], idle_is_free=idle_is_free)


def test_split_by_energy_of_many_alike_nodes_is_exact_within_its_steps() -> None:
    curve = Curve(10_000, 100_000, 10_000)
    nodes = [Node(f"n{number:02}", "edge", capacity=2 * UNIT, curve=curve) for number in range(40)]
    split = split_by_energy(10 * UNIT, nodes, idle_is_free=True)
    assert split.exact
    used = {share for share in split.shares.values() if share}
    assert used == {UNIT}, "ten nodes at 1.0: there a·l and c/l are equal"
    assert list(split.shares.values()).count(UNIT) == 10


def test_split_by_energy_cut_short_says_so_and_is_still_a_split() -> None:
    nodes = [
        Node(
            f"n{number}", "edge", capacity=(3 + number) * UNIT, curve=Curve(number, 7, 91 * number)
        )
        for number in range(9)
    ]
    split = split_by_energy(20 * UNIT, nodes, idle_is_free=True, steps_max=1)
    assert not split.exact
    assert valid(20 * UNIT, nodes, split.shares)
    assert split.total >= split_by_energy(20 * UNIT, nodes, idle_is_free=True).total


@pytest.mark.parametrize("split", [split_by_cost, split_by_energy])
def test_split_of_what_no_split_can_be_is_refused(split: Callable[..., object]) -> None:
    node = Node("a", "edge", capacity=UNIT)
    with pytest.raises(LoadTooLarge, match=r"the load 1\.5 is above the capacity of all nodes, 1$"):
        split(1_500_000, [node])
    with pytest.raises(LoadTooLarge):
        split(1, [])
    with pytest.raises(ValueError, match="negative"):
        split(-1, [node])
    with pytest.raises(ValueError, match="twice"):
        split(1, [node, node])
