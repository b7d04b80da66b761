"""Shares: how a load that can be divided at will is split over nodes, at the least money or energy.

It owns two optimisation problems and solves them in integers. It looks at what nodes registered
(capacity, price, curve), never at what is placed on them, and knows no tasks.

It guards: shares are whole micro-units, none negative or above its node's capacity, and their sum
is the load; no other such shares cost less, unless the answer says that it is not ``exact``. Among
equals the lexicographically first nodes get more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from statemachines.placement import UNIT, Node, decimal

STEPS_MAX: Final = 2_000
"""Partial choices that ``split_by_energy`` looks at before it takes the best it knows. Up to ten
nodes that all differ never need more; nodes that are alike count once."""


class LoadTooLarge(ValueError):
    """The nodes cannot carry a load together."""


@dataclass(frozen=True, slots=True)
class Split:
    """A load over nodes.

    Attributes:
        shares: Of each listed node by id, micro-units; their sum is the load.
        total: Money or energy, per second, micro-units, rounded up.
        exact: Nothing else costs less. False where the search for it was cut short.
    """

    shares: dict[str, int]
    total: int
    exact: bool = True


def split_by_cost(load: int, nodes: Iterable[Node]) -> Split:
    """Split a load so that its price is the least: the linear programme's optimum.

    Args:
        load: Micro-units of capacity.
        nodes: Whose ``capacity`` may be used, at their ``price`` per unit of it.

    Raises:
        LoadTooLarge: Their capacities together are below it.
    """
    listed = _listed(load, nodes)
    shares = {node.id: 0 for node in listed}
    rest = load
    for node in sorted(listed, key=lambda node: (node.price, node.id)):
        shares[node.id] = min(rest, node.capacity)
        rest -= shares[node.id]
    spent = sum(node.price * shares[node.id] for node in listed)
    return Split(shares, -(-spent // UNIT))


def split_by_energy(
    load: int, nodes: Iterable[Node], *, idle_is_free: bool = False, steps_max: int = STEPS_MAX
) -> Split:
    """Split a load so that the energy of all nodes is the least.

    A node at load l takes square·l² + slope·l + idle.

    Args:
        load: Micro-units of capacity.
        nodes: Whose ``capacity`` may be used, along their ``curve``.
        idle_is_free: A node without a share is switched off and takes nothing. Otherwise each
            listed node takes its idle part, used or not.
        steps_max: How much work may be put into it. Only which nodes to switch off is a search.

    Raises:
        LoadTooLarge: Their capacities together are below it.
    """
    listed = _listed(load, nodes)
    if idle_is_free:
        return _Search(load, listed, steps_max).run()
    shares = _fill(load, [_Line.of(node) for node in listed])
    assert shares is not None
    return _split_of(listed, shares, idle_is_free=False)


def _listed(load: int, nodes: Iterable[Node]) -> list[Node]:
    listed = sorted(nodes, key=lambda node: node.id)
    if any(one.id == other.id for one, other in pairwise(listed)):
        raise ValueError("a node is listed twice")
    if load < 0:
        raise ValueError(f"the load {decimal(load)} is negative")
    capacity = sum(node.capacity for node in listed)
    if load > capacity:
        raise LoadTooLarge(
            f"the load {decimal(load)} is above the capacity of all nodes, {decimal(capacity)}"
        )
    return listed


# Energies here are exact, in units of 1e-18: a curve's micro-units by load's micro-units squared.


def _energy(node: Node, share: int) -> int:
    square, slope, idle = node.curve
    return (square * share + slope * UNIT) * share + idle * UNIT * UNIT


def _split_of(
    nodes: Sequence[Node], shares: Sequence[int], *, idle_is_free: bool, exact: bool = True
) -> Split:
    energy = _total(nodes, shares, idle_is_free=idle_is_free)
    by_id = {node.id: share for node, share in zip(nodes, shares, strict=True)}
    return Split(by_id, -(-energy // (UNIT * UNIT)), exact)


def _total(nodes: Sequence[Node], shares: Sequence[int], *, idle_is_free: bool) -> int:
    return sum(
        _energy(node, share)
        for node, share in zip(nodes, shares, strict=True)
        if share or not idle_is_free
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """What the k-th micro-unit of load costs on a node: square·(2k - 1) + base, rising with k."""

    square: int
    base: int
    capacity: int

    @classmethod
    def of(cls, node: Node) -> _Line:
        return cls(node.curve.square, node.curve.slope * UNIT, node.capacity)

    def count(self, level: int) -> int:
        """Return how many micro-units cost at most ``level``."""
        if level < self.base + self.square:
            return 0
        if self.square == 0:
            return self.capacity
        return min(self.capacity, ((level - self.base) // self.square + 1) // 2)

    @property
    def last(self) -> int:
        """What the last micro-unit costs."""
        return self.square * (2 * self.capacity - 1) + self.base


def _fill(load: int, lines: Sequence[_Line]) -> list[int] | None:
    """Take the cheapest micro-units until they are the load; None if there are not enough.

    Costs rise on each node, so that the cheapest ones of all are a beginning on each: an optimum,
    in whole micro-units.
    """
    if sum(line.capacity for line in lines) < load:
        return None
    # The lowest level at or below which there are enough, by bisection.
    low, high = -1, max((line.last for line in lines), default=0)
    while high - low > 1:
        middle = (low + high) // 2
        if sum(line.count(middle) for line in lines) >= load:
            high = middle
        else:
            low = middle
    # All that cost less are taken; of those that cost just this, the first nodes' until it is full.
    shares = [line.count(high - 1) for line in lines]
    rest = load - sum(shares)
    for at, line in enumerate(lines):
        more = min(rest, line.count(high) - shares[at])
        shares[at] += more
        rest -= more
    return shares


class _Search:
    """Which nodes to switch on: branch and bound over them, those that are alike in order.

    The bound of a partial choice lets each undecided node pay its idle part bit by bit, as if a
    full node: what it then pays is never more than it would.
    """

    def __init__(self, load: int, nodes: Sequence[Node], steps_max: int) -> None:
        self._load = load
        # Alike ones stand together, so that a choice among them is a count.
        self._nodes = sorted(nodes, key=lambda node: (node.curve, node.capacity, node.id))
        self._lines = [_Line.of(node) for node in self._nodes]
        self._relaxed = [
            _Line(
                line.square,
                line.base + node.curve.idle * UNIT * UNIT // node.capacity,
                line.capacity,
            )
            for node, line in zip(self._nodes, self._lines, strict=True)
        ]
        self._steps = steps_max
        self._best: tuple[int, list[int]] | None = None
        self._exact = True

    def run(self) -> Split:
        # Depth first, with a stack: there may be more nodes than a recursion may go deep.
        stack: list[tuple[bool, ...]] = [()]
        while stack:
            chosen = stack.pop()
            bound = self._bound(chosen)
            if bound is None or len(chosen) == len(self._nodes):
                continue
            if self._steps == 0:
                self._exact = False
                break
            self._steps -= 1
            at = len(chosen)
            stack.append((*chosen, False))
            if not (at and self._alike(at) and not chosen[-1]):
                stack.append((*chosen, True))
        assert self._best is not None
        shares = {node.id: share for node, share in zip(self._nodes, self._best[1], strict=True)}
        by_id = sorted(self._nodes, key=lambda node: node.id)
        return _split_of(
            by_id, [shares[node.id] for node in by_id], idle_is_free=True, exact=self._exact
        )

    def _alike(self, at: int) -> bool:
        one, other = self._nodes[at - 1], self._nodes[at]
        return (one.curve, one.capacity) == (other.curve, other.capacity)

    def _bound(self, chosen: tuple[bool, ...]) -> int | None:
        """Return the bound of a partial choice, and keep its shares if they are the best so far.

        None says that nothing better comes of it.
        """
        lines = [
            *(line for line, on in zip(self._lines, chosen, strict=False) if on),
            *self._relaxed[len(chosen) :],
        ]
        filled = _fill(self._load, lines)
        if filled is None:
            return None
        on = iter(filled)
        shares = [next(on) if switched else 0 for switched in chosen] + list(on)
        energy = _total(self._nodes, shares, idle_is_free=True)
        if self._best is None or energy < self._best[0]:
            self._best = energy, shares
        bound = 0
        for at, (node, share) in enumerate(zip(self._nodes, shares, strict=True)):
            if at < len(chosen):
                bound += _energy(node, share) if chosen[at] else 0
            else:
                line = self._relaxed[at]
                bound += (line.square * share + line.base) * share
        return bound if bound < self._best[0] else None
