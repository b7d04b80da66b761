"""Handing over the lead: on request, to a higher priority, and whom nobody may hand it to."""

from __future__ import annotations

import dataclasses

import pytest

from paxos.core.ballot import Ballot
from paxos.core.config import Configuration, Member, Part
from paxos.core.events import ClientGone, DiskFull, Received
from paxos.core.ids import NodeId, Voter
from paxos.core.messages import (
    OpenSession,
    Reconfigure,
    Redirect,
    Status,
    TakeOver,
    TransferLeader,
)
from paxos.core.quorum import Quorums
from paxos.testing.stepped import Stepped, Transit
from tests.core.changes import done, started, voting


def others(cluster: Stepped, leader: NodeId) -> list[NodeId]:
    return [node for node in cluster.replicas if node != leader]


def not_take_over(transit: Transit) -> bool:
    return not isinstance(transit.message, TakeOver)


@pytest.mark.parametrize("named", [True, False])
def test_lead_is_handed_over_to_whom_one_names_or_to_the_best(named: bool) -> None:
    cluster, leader = started()
    target = others(cluster, leader)[1]
    cluster.ask(leader, TransferLeader(1, target if named else 0))
    cluster.run(0.2)
    (new,) = cluster.leaders()
    assert new == target if named else new != leader
    (answer,) = cluster.admin_answers()
    assert answer.status == Status.DONE
    assert f"n{new} takes over" in answer.text
    ballot = cluster.replicas[new].proposer.ballot
    cluster.run(3.0)  # and there it stays
    assert cluster.replicas[new].proposer.ballot == ballot


def test_lead_that_is_handed_over_pauses_no_write() -> None:
    """The old leader goes on until it is outbid; what it had in flight the new one proposes."""
    cluster, leader = started()
    target = others(cluster, leader)[0]
    cluster.ask(leader, TransferLeader(1, target))
    cluster.submit(leader, 7, OpenSession(1))
    assert cluster.leaders() == [leader]
    cluster.run(0.5)
    assert cluster.leaders() == [target]
    assert cluster.replicas[target].learner.decided_through == 1


def test_lead_asked_for_where_it_is_already_is_done_at_once() -> None:
    cluster, leader = started()
    cluster.ask(leader, TransferLeader(1, leader))
    assert [answer.status for answer in cluster.admin_answers()] == [Status.DONE]
    cluster.ask(others(cluster, leader)[0], TransferLeader(2, 0))
    assert cluster.replies[-1][2] == Redirect(leader)


def test_lead_is_refused_to_a_learner_a_stranger_and_who_does_not_answer() -> None:
    cluster, leader = started()
    cluster.join(4)
    done(cluster, voting((1, 2, 3), (4,)))
    down = others(cluster, leader)[0]
    cluster.stop(down)
    cluster.run(1.0)
    cluster.replies.clear()
    for number, node in enumerate((4, 9, down)):
        cluster.ask(leader, TransferLeader(number, node))
    answers = cluster.admin_answers()
    assert [answer.status for answer in answers] == [Status.REFUSED] * 3
    able = next(node for node in others(cluster, leader) if node != 4)
    assert f"n{down} cannot lead now" in answers[-1].text
    assert f"(at present: n{able})" in answers[-1].text
    cluster.stop(able)
    cluster.run(0.6, lambda t: True)
    assert cluster.leaders() == []


def test_lead_with_nobody_to_take_it_is_refused() -> None:
    cluster = Stepped(voters=(1,))
    cluster.run(2.0)
    cluster.ask(1, TransferLeader(1, 0))
    (answer,) = cluster.admin_answers()
    assert "nobody could lead instead" in answer.text


def test_handover_that_does_not_happen_is_refused_and_the_leader_still_leads() -> None:
    cluster, leader = started()
    first, second = others(cluster, leader)
    cluster.ask(leader, TransferLeader(1, first))
    cluster.ask(leader, TransferLeader(2, second))
    cluster.ask(leader, TransferLeader(3, first), client=78)
    (refused,) = cluster.admin_answers()
    assert (refused.number, refused.status) == (2, Status.REFUSED)
    assert f"handed over to n{first} already" in refused.text
    cluster.handle(leader, ClientGone(78))
    cluster.run(5.5, not_take_over)
    late = cluster.admin_answers()[1:]
    assert [(answer.number, answer.status) for answer in late] == [(1, Status.REFUSED)]
    assert cluster.leaders() == [leader]
    cluster.run(0.5)
    assert cluster.leaders() == [leader]


def test_handover_under_way_when_the_lead_is_lost_sends_its_asker_elsewhere() -> None:
    cluster, leader = started()
    cluster.ask(leader, TransferLeader(1, others(cluster, leader)[0]))
    cluster.messages.clear()
    cluster.handle(leader, DiskFull(True))
    assert [type(answer) for *_, answer in cluster.replies] == [Redirect]


def test_take_over_that_is_old_or_not_from_the_leader_is_dropped() -> None:
    cluster, leader = started()
    target, other = others(cluster, leader)
    ballot = cluster.replicas[leader].proposer.ballot
    for sender, named in ((other, ballot), (leader, Ballot(0, leader))):
        take_over = Received(cluster.identity[sender], TakeOver(named))
        cluster.handle(target, take_over)
    cluster.handle(target, DiskFull(True))
    cluster.handle(target, Received(cluster.identity[leader], TakeOver(ballot)))
    cluster.handle(target, DiskFull(False))
    dropped = cluster.replicas[target].status(cluster.now).dropped
    assert dropped == {"not to take over now": 3}
    assert cluster.replicas[target].proposer.issued < ballot
    cluster.handle(target, Received(cluster.identity[leader], TakeOver(ballot)))
    assert cluster.replicas[target].proposer.issued > ballot
    cluster.handle(target, Received(cluster.identity[leader], TakeOver(ballot)))
    cluster.run(0.5)
    assert cluster.leaders() == [target]


def test_lead_is_not_handed_over_before_feature_2() -> None:
    voters = [Voter(node, 100 + node) for node in (1, 2, 3)]
    cluster, leader = started(founding=Configuration(1, Quorums.majority(voters), feature=1))
    cluster.ask(leader, TransferLeader(1, 0))
    (answer,) = cluster.admin_answers()
    assert answer.status == Status.REFUSED
    assert "upgrade" in answer.text


# --- priorities -----------------------------------------------------------------------------------


def preferring(*priorities: int) -> Configuration:
    members = tuple(
        Member(node, 100 + node, Part.VOTER, "", priority)
        for node, priority in enumerate(priorities, 1)
    )
    return Configuration(1, Quorums.majority([m.voter for m in members]), members)


@pytest.mark.parametrize("seed", range(6))
def test_node_of_the_highest_priority_is_elected_first(seed: int) -> None:
    assert started(founding=preferring(0, 1, 2), seed=seed)[1] == 3


@pytest.mark.parametrize("seed", range(4))
def test_node_of_lower_priority_campaigns_when_the_higher_one_does_not(seed: int) -> None:
    """It answers, it is sound, and it does not campaign: the others wait for one timeout only."""
    cluster, leader = started(founding=preferring(0, 0, 2), seed=seed)
    assert leader == 3
    cluster.handle(3, DiskFull(True))  # it gives way, and will wait; then it has room again
    cluster.handle(3, DiskFull(False))
    cluster.replicas[3].elector._may_campaign = False
    cluster.run(2.5)
    (new,) = cluster.leaders()
    assert new != 3


def test_leader_hands_over_to_a_higher_priority_that_stayed_connected() -> None:
    cluster = Stepped(founding=preferring(0, 0, 2))
    cluster.stop(3)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    for client in range(5):
        cluster.submit(leader, client, OpenSession(client))
        cluster.run(0.05)
    cluster.start(3)
    cluster.run(1.0)
    assert cluster.leaders() == [leader]  # not at once: it may be gone again
    cluster.run(2.5)
    assert cluster.leaders() == [3]
    ballot = cluster.replicas[3].proposer.ballot
    cluster.run(6.0)
    assert cluster.replicas[3].proposer.ballot == ballot


def test_leader_does_not_hand_over_before_feature_2() -> None:
    """An older release does not know the message."""
    cluster = Stepped(founding=dataclasses.replace(preferring(0, 0, 2), feature=1))
    cluster.stop(3)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    cluster.start(3)
    cluster.run(5.0)
    assert cluster.leaders() == [leader]


def test_leader_does_not_hand_over_to_a_higher_priority_that_is_behind_or_unsound() -> None:
    cluster = Stepped(founding=preferring(0, 0, 2), alpha=2)
    cluster.stop(3)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    for client in range(5):
        cluster.submit(leader, client, OpenSession(client))
        cluster.run(0.05)
    cluster.start(3)
    cluster.run(4.0, lambda t: t.target != 3 or type(t.message).__name__ != "Decided")
    assert cluster.leaders() == [leader]
    cluster.handle(3, DiskFull(True))
    cluster.run(4.0)
    assert cluster.leaders() == [leader]


def prefer(cluster: Stepped, leader: NodeId, target: NodeId) -> None:
    """Ask the leader to give one member alone a priority."""
    latest = cluster.configuration(leader)
    members = tuple(m._replace(priority=int(m.node == target)) for m in latest.members)
    cluster.ask(leader, Reconfigure(1, dataclasses.replace(latest, version=2, members=members)))


def test_priority_that_is_changed_moves_the_lead() -> None:
    cluster, leader = started()
    target = others(cluster, leader)[0]
    prefer(cluster, leader, target)
    cluster.run(4.0)
    assert cluster.leaders() == [target]


def test_priority_does_not_move_the_lead_before_a_change_is_settled() -> None:
    cluster, leader = started()
    target = others(cluster, leader)[0]
    prefer(cluster, leader, target)
    cluster.run(4.0, lambda t: type(t.message).__name__ != "Settled")
    assert cluster.leaders() == [leader]
