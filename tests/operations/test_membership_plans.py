"""The next configuration: what a wish means for members, parts and quorums, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paxos.core.config import Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.quorum import Quorums, QuorumSets
from paxos.operations import plans
from paxos.operations.plans import PlanRefused, QuorumChoice
from tests.operations.clusters import THREE, configuration, member


def test_joined_node_is_a_learner_and_its_id_is_used() -> None:
    made = plans.with_joined(THREE, member(4))
    assert (made.version, made.next_node) == (2, 5)
    assert made.member(4) == member(4, Part.LEARNER)
    assert made.quorums == THREE.quorums


@pytest.mark.parametrize("node", [2, 3, 5])
def test_joining_with_an_id_that_is_not_the_next_is_refused(node: int) -> None:
    with pytest.raises(PlanRefused, match="next node of this cluster is node 4"):
        plans.with_joined(THREE, member(node))


def test_promoted_learners_make_the_majority_larger() -> None:
    joined = plans.with_joined(plans.with_joined(THREE, member(4)), member(5))
    made = plans.with_changed(joined, [member(4), member(5)])
    assert made.version == joined.version + 1
    assert made.quorums == Quorums.majority([each.voter for each in made.members])
    assert made.quorums.phase2 == 3


def test_demoted_and_then_removed_members_leave_a_smaller_majority_and_no_id_comes_back() -> None:
    five = configuration(*(member(node) for node in range(1, 6)))
    demoted = plans.demoted(five, [2, 5])
    assert [each.part for each in demoted.members] == [1, 0, 1, 1, 0]
    left = plans.without(demoted, [2, 5])
    assert [each.node for each in left.members] == [1, 3, 4]
    assert left.quorums == Quorums.majority([each.voter for each in left.members])
    assert left.next_node == five.next_node == 6


def test_replacement_takes_part_priority_and_quorums_in_one_change() -> None:
    one, two, three, four = (member(node).voter for node in (1, 2, 3, 4))
    sets = frozenset({frozenset({one, two})})
    before = replace(
        configuration(
            member(1, priority=7), member(2), member(3, Part.WITNESS), member(4, Part.LEARNER)
        ),
        quorums=QuorumSets(frozenset({one, two, three}), sets, sets),
    )
    made = plans.with_replaced(before, {1: member(4, Part.LEARNER)})
    assert made.member(4) == member(4, Part.VOTER, 7)
    assert made.member(1) == member(1, Part.LEARNER, 7)
    assert isinstance(made.quorums, QuorumSets)
    assert made.quorums.phase1_sets == {frozenset({four, two})}
    assert made.quorums.voters == {four, two, three}


def test_replaced_witness_gives_its_place_to_one_that_was_no_member() -> None:
    before = configuration(member(1), member(2), member(3, Part.WITNESS))
    made = plans.with_replaced(before, {3: member(4, Part.WITNESS)})
    assert made.members == (member(1), member(2), member(4, Part.WITNESS))
    assert (made.next_node, made.quorums) == (5, Quorums.majority(made.quorums.voters))
    with pytest.raises(PlanRefused, match="next node of this cluster is node 4"):
        plans.with_replaced(before, {3: member(5, Part.WITNESS)})
    again = plans.with_replaced(made, {3: member(4, Part.WITNESS)})
    assert plans.same_members(made, again)


def test_replacement_that_was_done_already_changes_nothing() -> None:
    before = configuration(member(1, Part.LEARNER), member(2), member(3), member(4))
    again = plans.with_replaced(before, {1: member(4, Part.LEARNER)})
    assert plans.same_members(before, again)


def test_joined_witness_votes_at_once_and_a_demoted_one_is_gone() -> None:
    two = configuration(member(1), member(2))
    made = plans.with_joined(two, member(3, Part.WITNESS))
    assert made.member(3) == member(3, Part.WITNESS)
    assert made.quorums == Quorums.majority([member(node).voter for node in (1, 2, 3)])
    assert plans.demoted(made, [3]).members == two.members
    sizes = QuorumChoice(sizes=(3, 1))
    assert plans.with_joined(two, member(3, Part.WITNESS), sizes).quorums.is_phase2(
        {member(2).voter}
    )


def test_quorums_of_ones_own_are_not_guessed_when_the_voters_change() -> None:
    own = replace(THREE, quorums=Quorums(THREE.quorums.voters, 3, 1))
    with pytest.raises(PlanRefused, match="quorums of its own") as refused:
        plans.demoted(own, [3])
    assert "--phase1" in refused.value.hint
    made = plans.demoted(own, [3], QuorumChoice(sizes=(2, 1)))
    assert made.quorums == Quorums(frozenset({member(1).voter, member(2).voter}), 2, 1)
    assert plans.demoted(own, [3], QuorumChoice(majority=True)).quorums.is_phase2(
        {member(1).voter, member(2).voter}
    )


def test_quorums_by_name_are_those_voters() -> None:
    choice = QuorumChoice(phase1_sets=((1, 2), (1, 3)), phase2_sets=((1,),))
    made = plans.with_changed(THREE, (), choice)
    assert made.quorums.is_phase2({member(1).voter})
    assert not made.quorums.is_phase1({member(2).voter, member(3).voter})
    assert plans.quorums_text(made.quorums) == "phase 1: {1,2} or {1,3}; phase 2: {1}"


def test_quorums_that_need_not_meet_are_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="need not meet"):
        plans.with_changed(THREE, (), QuorumChoice(sizes=(1, 1)))
    with pytest.raises(PlanRefused, match="names node 9"):
        plans.with_changed(THREE, (), QuorumChoice(phase1_sets=((9,),), phase2_sets=((1,),)))


def test_member_that_was_removed_is_told_apart_from_one_that_never_was() -> None:
    left = plans.without(plans.demoted(THREE, [3]), [3])
    with pytest.raises(PlanRefused, match="no longer a member"):
        plans.the_member(left, 3)
    with pytest.raises(PlanRefused, match="not a member"):
        plans.the_member(left, 4)


def test_last_voter_cannot_be_removed() -> None:
    with pytest.raises(PlanRefused, match="nobody would be left"):
        plans.without(THREE, [1, 2, 3])
    with pytest.raises(PlanRefused, match="nobody would be left"):
        plans.demoted(THREE, [1, 2, 3])


def test_feature_is_raised_and_never_lowered() -> None:
    old = replace(THREE, feature=1)
    assert plans.with_feature(old, 2).feature == 2
    with pytest.raises(PlanRefused, match="feature version 2 already"):
        plans.with_feature(THREE, 1)
