"""Quorums: the intersection law, and the arithmetic against a naive twin."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.config import Configuration, Configurations
from paxos.core.errors import ConfigurationInvalid, InvariantBroken, ensure
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums


def voters(count: int) -> frozenset[Voter]:
    return frozenset(Voter(node, 100 + node) for node in range(1, count + 1))


def subsets(members: frozenset[Voter]) -> list[frozenset[Voter]]:
    ordered = sorted(members)
    return [
        frozenset(chosen)
        for size in range(len(ordered) + 1)
        for chosen in itertools.combinations(ordered, size)
    ]


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 6))
def test_quorums_are_refused_exactly_when_two_need_not_meet(n: int, q1: int, q2: int) -> None:
    everyone = voters(n)
    first = [s for s in subsets(everyone) if len(s) == q1]
    second = [s for s in subsets(everyone) if len(s) == q2]
    possible = bool(first) and bool(second) and q1 > 0 and q2 > 0
    safe = possible and all(a & b for a in first for b in second)
    if safe:
        quorums = Quorums(everyone, q1, q2)
        for answered in subsets(everyone):
            assert quorums.is_phase1(answered) == any(q <= answered for q in first)
            assert quorums.is_phase2(answered) == any(q <= answered for q in second)
    else:
        with pytest.raises(ConfigurationInvalid):
            Quorums(everyone, q1, q2)


def test_quorums_of_nobody_are_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="at least one voter"):
        Quorums(frozenset(), 1, 1)


def test_quorums_strangers_do_not_count() -> None:
    quorums = Quorums.majority(voters(3))
    strangers = {Voter(1, 100 + 1), Voter(2, 999), Voter(9, 109)}
    assert not quorums.is_phase1(strangers)
    assert not quorums.is_phase2(strangers)


def test_configuration_two_incarnations_of_one_node_are_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="share a node id"):
        Configuration(1, Quorums.majority([Voter(1, 1), Voter(1, 2), Voter(2, 1)]))


def test_configurations_alpha_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="alpha"):
        Configurations(Configuration(1, Quorums.majority(voters(3))), 0)


def test_ensure_false_condition_stops_the_node() -> None:
    with pytest.raises(InvariantBroken, match="why"):
        ensure([], "why")
    ensure([1], "why")
