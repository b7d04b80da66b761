"""The worked examples of docs/tasks.md: what each policy chooses, and that nothing is better."""

from collections.abc import Sequence
from itertools import product

from statemachines.placement import UNIT, Curve, Job, Node, Policy, decimal, explain
from statemachines.placement_assignment import UnitCosts, assign, weighted_costs
from statemachines.placement_shares import Split, split_by_cost, split_by_energy


def cost(*capacities: int) -> None:
    prices = [100_000, 200_000]  # micro-units: 0.1 and 0.2 per second
    nodes = [
        Node(f"n{number}", "cloud", price=price, capacity=capacity * UNIT)
        for number, (price, capacity) in enumerate(zip(prices, capacities, strict=True), 1)
    ]
    show(f"capacities {capacities[0]} and {capacities[1]}", split_by_cost(20 * UNIT, nodes))


def energy(*, idle_is_free: bool) -> None:
    curve = Curve(square=10_000, slope=100_000, idle=10_000)
    nodes = [Node(f"n{number}", "edge", capacity=2 * UNIT, curve=curve) for number in (1, 2, 3)]
    split = split_by_energy(1_600_000, nodes, idle_is_free=idle_is_free)
    assert sum(split.shares.values()) == 1_600_000
    show("idle is free" if idle_is_free else "idle is paid", split)


def show(title: str, split: Split) -> None:
    shares = ", ".join(f"{id_} {decimal(share)}" for id_, share in split.shares.items())
    print(f"  {title + ':':23}{shares}; total {decimal(split.total)}")


def assignment() -> None:
    names = ["c1", "c2", "c3", "e1", "e2"]
    sizes = [size * UNIT for size in (1, 1, 2, 2, 3)]
    capacities = [capacity * UNIT for capacity in (3, 3, 3, 2, 2)]
    per_unit = [
        UnitCosts(compute=1_000_000, transfer=1_000_000, price=4_000_000),
        UnitCosts(compute=1_500_000, transfer=1_200_000, price=3_000_000),
        UnitCosts(compute=2_000_000, transfer=1_400_000, price=2_000_000),
        UnitCosts(compute=4_000_000, transfer=100_000, price=1_000_000),
        UnitCosts(compute=5_000_000, transfer=200_000, price=1_000_000),
    ]
    costs = weighted_costs(sizes, per_unit)
    found = assign(costs, sizes, capacities)
    chosen = ", ".join(names[at] for at in found.choice if at is not None)
    print(f"  jobs of 1, 1, 2, 2, 3:  {chosen}; total {decimal(found.total)}")

    def fits(choice: Sequence[int]) -> bool:
        loads = [0] * len(names)
        for at, size in zip(choice, sizes, strict=True):
            loads[at] += size
        return all(load <= capacity for load, capacity in zip(loads, capacities, strict=True))

    every = list(product(range(len(names)), repeat=len(sizes)))
    totals = {
        choice: sum(row[at] for row, at in zip(costs, choice, strict=True))
        for choice in every
        if fits(choice)
    }
    best = min(totals.values())
    first = min(choice for choice, total in totals.items() if total == best)
    assert (found.total, found.choice) == (best, first)
    print(f"  the first of the best of all {len(every)}, {len(totals)} of which fit")


def one_task() -> None:
    sparing, hungry = Curve(10_000, 50_000), Curve(20_000, 900_000)
    nodes = {
        "cloud": Node(
            "cloud", "cloud", speed=8 * UNIT, price=UNIT // 2, curve=hungry, delay=40_000
        ),
        "edge-a": Node("edge-a", "edge", price=UNIT // 8, curve=sparing, bandwidth=2_000_000),
        "edge-b": Node("edge-b", "edge", price=UNIT // 8, curve=sparing, closed="draining"),
    }
    for policy, deadline in every_policy():
        # Its input, 4 MB, is on edge-a.
        job = Job(data="edge-a", transfer=4_000_000, policy=policy, deadline=deadline)
        told = explain(job, nodes, now=0)
        costs = ", ".join(f"{each.id} {decimal(each.cost)}" for each in told.candidates)
        name = policy + (" in 5 s:" if deadline else ":")
        print(f"  {name:23} {told.chosen}, of {costs}")
    for each in explain(Job(data="edge-a", transfer=4_000_000), nodes, now=0).candidates:
        wait, delay, compute, price, energy = (decimal(term) for term in each.terms)
        took = f"wait {wait}, delay {delay}, compute {compute}"
        print(f"  {each.id + ':':7} {took}, price {price}, energy {energy}")
    print(f"  edge-b: {dict(told.refused)['edge-b']}")


def every_policy() -> list[tuple[Policy, int]]:
    return [("balanced", 0), ("cost", 0), ("energy", 0), ("latency", 5_000_000), ("latency", 0)]


print("cost: 20 over nodes at 0.1 and 0.2")
cost(10, 20)
cost(30, 20)
print("energy: 1.6 over three nodes with 0.01·l² + 0.1·l + 0.01")
energy(idle_is_free=False)
energy(idle_is_free=True)
print("assignment: compute, transfer and price, weighted 1, 1, 1")
assignment()
print("one task, whose data is on edge-a")
one_task()
