"""Configurations: which one governs a slot, against a naive twin; and what is no configuration."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.config import (
    NODES_MAX,
    Change,
    Configuration,
    Configurations,
    Governing,
    Member,
    Part,
)
from paxos.core.errors import ConfigurationInvalid, InvariantBroken
from paxos.core.ids import Slot, Voter
from paxos.core.quorum import Quorums, QuorumSets

VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
A, B, C = VOTERS
FOUNDING = Configuration(1, Quorums.majority(VOTERS))


def version(number: int) -> Configuration:
    """A configuration of its own voters, so that one is told from another."""
    voters = [Voter(node, 100 + node) for node in range(number, number + 3)]
    return Configuration(number, Quorums.majority(voters), next_node=99)


@given(
    alpha=st.integers(1, 5),
    log=st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=20),
)
def test_what_governs_is_the_latest_change_that_stands_alpha_slots_below(
    alpha: int, log: list[tuple[bool, int]]
) -> None:
    timeline = Configurations(FOUNDING, alpha)
    standing: list[tuple[Slot, Configuration]] = [(1, FOUNDING)]
    for slot, (changes, named) in enumerate(log, 1):
        if not changes:
            continue
        stands = timeline.decide(slot, Change(version(named)))
        assert stands == (named == standing[-1][1].version + 1)
        if stands:
            standing.append((slot + alpha, version(named)))
    for slot in range(1, len(log) + 2 * alpha):
        naive = [each for first, each in standing if first <= slot]
        assert timeline.at(slot) == naive[-1]
    for through in range(len(log) + alpha):
        window = range(through + 1, through + alpha + 1)
        seen = dict.fromkeys(timeline.at(slot).version for slot in window)
        assert [each.version for each in timeline.live(through)] == list(seen)
        live = timeline.live(through)
        nodes = sorted({voter.node for each in live for voter in each.voters})
        assert timeline.voter_nodes(through) == timeline.member_nodes(through) == tuple(nodes)
    assert timeline.latest == standing[-1][1]
    assert timeline.latest_first == standing[-1][0]


@given(
    alpha=st.integers(1, 4), gaps=st.lists(st.integers(1, 4), max_size=6), cut=st.integers(0, 30)
)
def test_what_a_snapshot_holds_and_what_is_forgotten_leave_the_slots_above_as_they_were(
    alpha: int, gaps: list[int], cut: int
) -> None:
    timeline, short = Configurations(FOUNDING, alpha), Configurations(FOUNDING, alpha)
    slot = 0
    for number, gap in enumerate(gaps, 2):
        slot += gap
        timeline.decide(slot, Change(version(number)))
        short.decide(slot, Change(version(number)))
    through = min(cut, slot)
    short.forget(through)
    installed = Configurations(FOUNDING, alpha)
    installed.install(timeline.governing(through))
    for each in range(through + 1, slot + alpha + 2):
        assert short.at(each) == timeline.at(each)
    for each in range(through + 1, through + alpha + 1):
        assert installed.at(each) == timeline.at(each)


def _founded_at(host: str) -> Configuration:
    members = [Member(*voter, url=f"tcp://{host}:{voter.node}") for voter in VOTERS]
    return dataclasses.replace(FOUNDING, members=tuple(members))


def test_snapshot_of_nodes_whose_files_have_other_addresses_holds_the_same() -> None:
    mine, theirs = _founded_at("10.0.0.1"), _founded_at("db.example")
    change = dataclasses.replace(theirs, version=2)
    here, there = Configurations(mine, 3), Configurations(theirs, 3)
    assert here.recorded(1) == there.recorded(1)
    here.decide(5, Change(change))
    there.decide(5, Change(change))
    assert here.recorded(6) == there.recorded(6)
    assert [each.configuration.version for each in here.recorded(6)] == [1, 2]
    restored = Configurations(mine, 3)
    restored.install(there.recorded(6))
    # What was decided, addresses too; and at founding what this node's own file says.
    assert restored.governing(6) == (Governing(1, mine), Governing(8, change))


def test_timeline_that_is_empty_or_out_of_order_is_a_broken_invariant() -> None:
    timeline = Configurations(FOUNDING, 2)
    with pytest.raises(InvariantBroken, match="without a configuration"):
        timeline.install(())
    with pytest.raises(InvariantBroken, match="out of order"):
        timeline.install((Governing(5, FOUNDING), Governing(5, version(2))))
    timeline.decide(8, Change(version(2)))
    with pytest.raises(InvariantBroken, match="out of order"):
        timeline.decide(8, Change(version(3)))


def test_configuration_names_its_members_by_their_parts() -> None:
    members = (Member(*A), Member(*B), Member(*C, Part.WITNESS), Member(7, 107, Part.LEARNER))
    configuration = Configuration(3, Quorums.majority(VOTERS), members)
    assert configuration.voters == VOTERS
    assert configuration.full_voters == {A, B}
    assert configuration.everyone == (*VOTERS, Voter(7, 107))
    assert configuration.member(7) == Member(7, 107, Part.LEARNER)
    assert configuration.member(8) is None
    assert configuration.next_node == 8
    assert Configurations(configuration, 2).member_nodes(0) == (1, 2, 3, 7)
    assert Configurations(configuration, 2).voter_nodes(0) == (1, 2, 3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: dataclasses.replace(FOUNDING, version=0), "numbered from 1"),
        (lambda: dataclasses.replace(FOUNDING, feature=0), "numbered from 1"),
        (lambda: dataclasses.replace(FOUNDING, next_node=3), "above every member"),
        (lambda: Configuration(1, FOUNDING.quorums, FOUNDING.members[::-1]), "order of their ids"),
        (lambda: Configuration(1, FOUNDING.quorums, FOUNDING.members[:2]), "not those of"),
        (
            lambda: Configuration(
                1, FOUNDING.quorums, (Member(*A), *(Member(*v, Part.WITNESS) for v in (B, C)))
            ),
            "add a full voter",
        ),
        (
            lambda: Configuration(
                1,
                FOUNDING.quorums,
                (*FOUNDING.members, *(Member(n, 1, Part.LEARNER) for n in range(4, NODES_MAX + 2))),
            ),
            "at most 99",
        ),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(
    make: Callable[[], Configuration], text: str
) -> None:
    with pytest.raises(ConfigurationInvalid, match=text):
        make()


# --- quorums by naming them -----------------------------------------------------------------------


def sets(*quorums: tuple[Voter, ...]) -> frozenset[frozenset[Voter]]:
    return frozenset(map(frozenset, quorums))


POOL = [frozenset(chosen) for n in (1, 2, 3) for chosen in itertools.combinations(VOTERS, n)]
SOME = st.frozensets(st.sampled_from(POOL), min_size=1, max_size=3)


@given(phase1=SOME, phase2=SOME)
def test_named_quorums_are_refused_exactly_when_two_do_not_meet(
    phase1: frozenset[frozenset[Voter]], phase2: frozenset[frozenset[Voter]]
) -> None:
    if all(first & second for first in phase1 for second in phase2):
        system = QuorumSets(frozenset(VOTERS), phase1, phase2)
        for answered in (*POOL, frozenset({A, Voter(9, 9)}), frozenset[Voter]()):
            assert system.is_phase1(answered) == any(each <= answered for each in phase1)
            assert system.is_phase2(answered) == any(each <= answered for each in phase2)
    else:
        with pytest.raises(ConfigurationInvalid, match="do not meet"):
            QuorumSets(frozenset(VOTERS), phase1, phase2)


@pytest.mark.parametrize(
    ("voters", "phase1", "phase2", "text"),
    [
        ((), sets((A,)), sets((A,)), "at least one voter"),
        (VOTERS, sets(), sets((A,)), "at least one quorum"),
        (VOTERS, sets((A,)), sets(), "at least one quorum"),
        (VOTERS, sets(()), sets((A,)), "a quorum needs at least one voter"),
        (VOTERS, sets((A,)), sets((A, Voter(9, 9))), "{1, 9} holds {9}, which does not vote"),
        (VOTERS, sets((A, B)), sets((C,)), "{1, 2} and the phase-2 quorum {3} do not meet"),
    ],
)
def test_named_quorums_that_make_no_sense_are_refused(
    voters: tuple[Voter, ...],
    phase1: frozenset[frozenset[Voter]],
    phase2: frozenset[frozenset[Voter]],
    text: str,
) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        QuorumSets(frozenset(voters), phase1, phase2)
    assert text in str(refused.value)
