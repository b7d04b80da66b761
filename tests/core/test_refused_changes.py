"""What a leader refuses of a change, one reason after the other, and what it tells to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from paxos.core.config import FEATURE, Configuration, Member, Part
from paxos.core.ids import Instant, Voter
from paxos.core.membership import Membership, Standing, obstacles, refusal
from paxos.core.messages import AdminAnswer, Status
from paxos.core.quorum import Quorums

VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
MEMBERS = (*(Member(*voter, Part.VOTER, f"tcp://h{voter.node}:1") for voter in VOTERS[:2]),)
WITNESS = Member(3, 103, Part.WITNESS, "tcp://h3:1")
LATEST = Configuration(4, Quorums.majority(VOTERS), (*MEMBERS, WITNESS), FEATURE, 9)
GOOD = Standing(True, True, False, 0, True)


def following(*members: Member, **fields: int) -> Configuration:
    quorums = Quorums.majority([member.voter for member in members if member.part])
    basis = {"version": 5, "feature": FEATURE, "next_node": max(9, members[-1].node + 1)}
    return Configuration(quorums=quorums, members=members, **{**basis, **fields})


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (lambda: following(*LATEST.members, version=6), "read the members again"),
        (lambda: following(*LATEST.members, version=4), "the latest is 4"),
        (lambda: following(*LATEST.members, feature=1), "never goes down"),
        (lambda: following(*LATEST.members, feature=FEATURE + 1), "understands"),
        (lambda: following(*LATEST.members, Member(8, 1)), "ids are never used again"),
        (lambda: following(MEMBERS[0], Member(2, 7), WITNESS), "another incarnation"),
        (lambda: following(*MEMBERS, WITNESS, next_node=4), "next_node must not go back"),
        (lambda: following(*MEMBERS, Member(3, 103)), "cannot become a witness, or stop"),
        (
            lambda: following(MEMBERS[0], MEMBERS[1]._replace(part=Part.WITNESS), Member(9, 1)),
            "cannot become a witness, or stop",
        ),
        (
            lambda: following(*LATEST.members, Member(9, 109, Part.VOTER, "tcp://h2:1")),
            "n2 and n9 cannot both listen",
        ),
    ],
)
def test_change_that_breaks_a_rule_is_refused_with_the_reason(
    wanted: Callable[[], Configuration], text: str
) -> None:
    assert text in refusal(wanted(), LATEST, {})


def test_change_that_breaks_no_rule_is_not_refused() -> None:
    added = Member(9, 109, Part.LEARNER, "")
    also = Member(10, 110, Part.VOTER, "")
    assert refusal(following(*LATEST.members, added, also), LATEST, {}) == ""
    assert refusal(following(*MEMBERS), LATEST, {}) == ""


def test_member_known_not_to_understand_the_feature_is_refused_by_name() -> None:
    added = Member(9, 109, Part.LEARNER)
    wanted = following(*LATEST.members, added)
    assert "n9; start this release" in refusal(wanted, LATEST, {added.voter: 1})
    assert refusal(wanted, LATEST, {added.voter: FEATURE}) == ""


def test_obstacles_name_every_new_voter_and_what_it_lacks() -> None:
    new = tuple(Member(node, 100 + node) for node in (9, 10, 11, 12))
    wanted = following(*LATEST.members, *new)
    standings = dict.fromkeys(VOTERS, GOOD)
    standings |= {
        new[1].voter: GOOD._replace(sound=False),
        new[2].voter: GOOD._replace(outbid=True),
        new[3].voter: GOOD._replace(behind=17),
    }
    assert obstacles(wanted, LATEST, standings, 16) == [
        "n9 does not answer",
        "n10 does not vote at present: is its disk full?",
        "n11 has promised a higher ballot",
        "n12 is 17 slots behind",
    ]
    assert obstacles(wanted, LATEST, standings | {m.voter: GOOD for m in new}, 16) == []


def test_obstacles_are_the_old_voters_too_if_without_them_there_is_no_quorum() -> None:
    wanted = following(*LATEST.members)
    assert obstacles(wanted, LATEST, {VOTERS[0]: GOOD, VOTERS[1]: GOOD}, 16) == []
    assert obstacles(wanted, LATEST, {VOTERS[0]: GOOD}, 16) == [
        "n2 does not answer",
        "n3 does not answer",
    ]


def test_obstacles_are_promises_that_are_missing() -> None:
    silent = GOOD._replace(promised=False)
    wanted = following(*LATEST.members)
    standings = {VOTERS[0]: GOOD, VOTERS[1]: silent, VOTERS[2]: silent}
    expected = ["n2 has not promised", "n3 has not promised"]
    assert obstacles(wanted, LATEST, standings, 16) == expected


def test_wanted_change_is_refused_when_patience_ends_and_not_before() -> None:
    membership = Membership(5.0)
    wanted = following(*LATEST.members)
    assert membership.ask((7, 1), wanted, LATEST, {}, at(1.0)) is None
    assert membership.give_up(["n2 does not answer"], 30, at(5.9)) == []
    assert membership.give_up([], 30, at(6.1)) == []
    ((client, answer),) = membership.give_up(["n2 does not answer"], 30, at(6.1))
    assert (client, answer.number, answer.status, answer.slot) == (7, 1, Status.REFUSED, 30)
    assert "n2 does not answer. Start what is down" in answer.text
    assert membership.wanted is None
    assert membership.give_up(["n2 does not answer"], 30, at(9.0)) == []


def test_change_decided_before_the_wanted_one_refuses_it() -> None:
    membership = Membership(5.0)
    wanted = following(*LATEST.members)
    other = following(*MEMBERS)
    membership.ask((7, 1), wanted, LATEST, {}, at(1.0))
    ((_, answer),) = membership.decided(other, 12)
    assert "another change became configuration 5 first" in answer.text
    assert membership.decided(wanted, 12) == []


def test_settled_is_a_quorum_of_full_voters_of_the_new_configuration() -> None:
    """A witness has no state, and a node that was removed does not count."""
    membership = Membership(5.0)
    membership.ask((7, 1), LATEST, LATEST, {}, at(1.0))
    assert not membership.is_settled(4)
    assert membership.unsettled(LATEST) == list(VOTERS[:2])
    for voter in (VOTERS[2], Voter(8, 108), VOTERS[0], VOTERS[0]):
        assert membership.handle_settled(voter, LATEST, 40) == []
    ((client, answer),) = membership.handle_settled(VOTERS[1], LATEST, 40)
    text = "configuration 4 is settled: n1 voter, n2 voter, n3 witness"
    assert (client, answer) == (7, AdminAnswer(1, Status.DONE, 40, text))
    assert membership.is_settled(4)


def test_lead_that_is_lost_forgets_the_change_and_tells_who_waits() -> None:
    membership = Membership(5.0)
    wanted = dataclasses.replace(LATEST, version=5)
    membership.ask((7, 1), wanted, LATEST, {}, at(1.0))
    membership.ask((8, 1), wanted, LATEST, {}, at(1.0))
    membership.forget(8)
    assert membership.stop() == [7]
    assert membership.wanted is None
    assert membership.stop() == []
