"""The next configuration, made from the latest one: what an administrator would ask for.

Pure functions; quorums are drawn, so that sizes and sets of every shape come up. It knows neither
nodes nor how a change is carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import combinations

from paxos.core.config import Configuration, Member, Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums, QuorumSets, QuorumSystem

Maker = Callable[[Configuration], Configuration | None]
"""Makes the next configuration from the latest one, or says that there is nothing to make."""

DRAWS = 5
"""How often quorums are drawn before a majority has to do."""


def following(
    latest: Configuration, members: Iterable[Member], rng: random.Random
) -> Configuration | None:
    """Return the configuration after ``latest`` with these members, or None if there is none."""
    ordered = tuple(sorted(members))
    voters = frozenset(member.voter for member in ordered if member.part)
    next_node = max(latest.next_node, *(member.node + 1 for member in ordered), 1)
    for number in range(DRAWS + 1):
        try:
            quorums = draw_quorums(voters, rng) if number < DRAWS else Quorums.majority(voters)
            return Configuration(latest.version + 1, quorums, ordered, latest.feature, next_node)
        except ConfigurationInvalid:
            continue
    return None


def draw_quorums(voters: Collection[Voter], rng: random.Random) -> QuorumSystem:
    """Return majorities mostly, else sizes, else sets."""
    ordered, chance = sorted(voters), rng.random()
    count = len(ordered)
    if chance < 0.6 or count < 2:
        return Quorums.majority(ordered)
    if chance < 0.8:
        phase2 = rng.randint(1, count)
        return Quorums(frozenset(ordered), count - phase2 + 1, phase2)
    return _draw_sets(ordered, rng)


def _draw_sets(voters: list[Voter], rng: random.Random) -> QuorumSets:
    """Return some sets for phase 2, and for phase 1 every least set that meets all of them."""
    size = rng.randint(1, len(voters))
    phase2 = {frozenset(rng.sample(voters, size)) for _ in range(rng.randint(1, 4))}
    phase1 = [
        frozenset(some)
        for count in range(1, len(voters) + 1)
        for some in combinations(voters, count)
        if all(set(some) & quorum for quorum in phase2)
    ]
    least = [each for each in phase1 if not any(other < each for other in phase1)]
    return QuorumSets(frozenset(voters), frozenset(least), frozenset(phase2))


def joined(
    latest: Configuration, new: Iterable[Member], rng: random.Random
) -> Configuration | None:
    """Return it with new members."""
    fresh = list(new)
    if any(member.node < latest.next_node for member in fresh):
        return None
    return following(latest, (*latest.members, *fresh), rng)


def with_parts(
    latest: Configuration, parts: dict[int, Part], rng: random.Random
) -> Configuration | None:
    """Return it with other parts for some members; those that are none are passed over."""
    members = [
        member._replace(part=parts.get(member.node, member.part)) for member in latest.members
    ]
    if tuple(members) == latest.members or not any(member.part for member in members):
        return None
    return following(latest, members, rng)


def without(
    latest: Configuration, nodes: Collection[int], rng: random.Random
) -> Configuration | None:
    """Return it without some members."""
    left = [member for member in latest.members if member.node not in nodes]
    if len(left) == len(latest.members) or not any(member.part for member in left):
        return None
    return following(latest, left, rng)


def with_quorums(latest: Configuration, rng: random.Random) -> Configuration | None:
    """Return it with other quorums, or another priority of one member."""
    if rng.random() < 0.2:
        members = list(latest.members)
        place = rng.randrange(len(members))
        members[place] = members[place]._replace(priority=rng.randint(0, 3))
        return replace(latest, version=latest.version + 1, members=tuple(members))
    return following(latest, latest.members, rng)
