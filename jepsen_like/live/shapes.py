"""The shapes of partitions, as the directed links that each one cuts.

Knows parties and chance, and nothing of how links are cut. Every shape is a function of the nodes,
who leads, and a random stream, so that a seed tells which links were meant.
"""

# ruff: noqa: ARG001 - all shapes have the same arguments, and not each needs the leader

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from jepsen_like.live.network import Link, Party

Shape = Callable[[Sequence[Party], Party | None, random.Random], list[Link]]
"""From the nodes and the one that leads, if any, to the links that are cut."""


def between(left: Sequence[Party], right: Sequence[Party]) -> list[Link]:
    """Return every link between two groups, both ways."""
    return [link for a in left for b in right for link in (Link(a, b), Link(b, a))]


def halves(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Cut the nodes into two groups that differ by one node at most."""
    mixed = rng.sample(nodes, len(nodes))
    return between(mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :])


def minority(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Cut off fewer than half of the nodes."""
    mixed = rng.sample(nodes, len(nodes))
    size = rng.randint(1, max(1, (len(nodes) - 1) // 2))
    return between(mixed[:size], mixed[size:])


def isolated_leader(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Cut off the node that leads, or any if none does."""
    one = leader if leader is not None else rng.choice(nodes)
    return between([one], [node for node in nodes if node != one])


def bridge(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Cut the nodes into two groups, but for one node that both still reach."""
    mixed = rng.sample(nodes, len(nodes))
    half = 1 + (len(mixed) - 1) // 2
    return between(mixed[1:half], mixed[half:])


def ring(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Leave each node its two neighbours on a ring; of four nodes or more."""
    mixed = rng.sample(nodes, len(nodes))
    near = {frozenset(pair) for pair in zip(mixed, mixed[1:] + mixed[:1], strict=True)}
    return [Link(a, b) for a in mixed for b in mixed if a != b and frozenset((a, b)) not in near]


def star(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Leave each node only one other, the same for all: not the leader, if possible."""
    centre = rng.choice([node for node in nodes if node != leader] or list(nodes))
    rest = [node for node in nodes if node != centre]
    return [Link(a, b) for a in rest for b in rest if a != b]


def deaf(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Let one node, often the leader, be heard by others, but not hear them."""
    one = _leader_or_any(nodes, leader, rng)
    return [Link(node, one) for node in nodes if node != one]


def mute(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> list[Link]:
    """Let one node, often the leader, hear others, but not be heard by them."""
    one = _leader_or_any(nodes, leader, rng)
    return [Link(one, node) for node in nodes if node != one]


def _leader_or_any(nodes: Sequence[Party], leader: Party | None, rng: random.Random) -> Party:
    return leader if leader is not None and rng.random() < 0.7 else rng.choice(nodes)


SHAPES: Mapping[str, Shape] = {
    "halves": halves,
    "minority": minority,
    "leader": isolated_leader,
    "bridge": bridge,
    "ring": ring,
    "star": star,
    "deaf": deaf,
    "mute": mute,
}
"""By the name that a report shows."""

ONE_WAY = frozenset({"deaf", "mute"})
"""Shapes of single directions: such links can be held, and not reset."""

NODES_MIN: Mapping[str, int] = {"ring": 4, "bridge": 3, "star": 3}
"""With fewer nodes these shapes cut nothing; two nodes are enough for every other."""


def shapes_for(nodes: int) -> list[str]:
    """Return the shapes that cut something among so many nodes."""
    return [name for name in SHAPES if nodes >= NODES_MIN.get(name, 2)]
