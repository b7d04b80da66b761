"""Changes of membership, end to end on a cluster stepped by hand."""

from __future__ import annotations

import dataclasses

import pytest

from paxos.core.config import FEATURE, Configuration, Member, Part
from paxos.core.events import (
    ClientGone,
    PeerConnected,
    PeerDisconnected,
)
from paxos.core.ids import NodeId, Voter
from paxos.core.membership import ASKERS_MAX
from paxos.core.messages import (
    AdminAnswer,
    OpenSession,
    Reconfigure,
    Redirect,
    Settle,
    Settled,
    Status,
    TransferLeader,
)
from paxos.core.quorum import Quorums
from paxos.testing.stepped import Stepped, Transit
from tests.core.changes import (
    Parts,
    ask,
    change,
    done,
    next_configuration,
    started,
    voting,
)
from tests.core.test_replica import put

# --- what one can do ------------------------------------------------------------------------------


def test_member_is_added_as_learner_and_promoted_and_another_removed() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle()
    cluster.join(4)
    done(cluster, voting((1, 2, 3), (4,)))
    cluster.run(0.5)
    assert cluster.replicas[4].digest() == cluster.replicas[leader].digest()
    done(cluster, voting((1, 2, 3, 4)))
    gone = next(node for node in (1, 2, 3) if node != leader)
    kept = [node for node in (1, 2, 3, 4) if node != gone]
    done(cluster, voting(kept, (gone,)))
    done(cluster, voting(kept))
    cluster.wipe(gone)
    cluster.submit(leader, 7, put(session, 2, b"y"))
    cluster.run(0.5)
    assert {cluster.configuration(node).version for node in kept} == {5}
    assert len({cluster.replicas[node].digest() for node in kept}) == 1
    assert cluster.replicas[leader].status(cluster.now).settled


@pytest.mark.parametrize("alpha", [1, 2, 16])
def test_all_members_at_once_are_replaced_and_the_old_ones_wiped(alpha: int) -> None:
    """Any set to any set: nothing of the old quorums is left, nothing is lost."""
    cluster, leader = started(alpha=alpha)
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle()
    for node in (4, 5, 6):
        cluster.join(node)
    done(cluster, voting((1, 2, 3), (4, 5, 6)))
    cluster.run(0.5)
    done(cluster, voting((4, 5, 6)))
    for node in (1, 2, 3):
        cluster.wipe(node)
    cluster.run(3.0)
    (new,) = cluster.leaders()
    assert new in (4, 5, 6)
    cluster.submit(new, 7, put(session, 2, b"y"))
    cluster.run(0.5)
    assert {cluster.replicas[n].executor.query("r", b"")[1] for n in (4, 5, 6)} == {b"y"}


def test_leader_that_is_removed_hands_over_and_only_then_stops() -> None:
    cluster, leader = started()
    others = [node for node in (1, 2, 3) if node != leader]
    done(cluster, voting(others))
    cluster.run(0.3)
    (new,) = cluster.leaders()
    assert new in others
    status = cluster.replicas[leader].status(cluster.now)
    assert status.removed
    assert status.role == "follower"
    before = cluster.replicas[new].proposer.ballot
    cluster.run(4.0)  # the removed node is not wiped, and is no nuisance
    assert cluster.leaders() == [new]
    assert cluster.replicas[new].proposer.ballot == before


def test_leader_that_is_removed_goes_on_until_a_successor_hears_of_it() -> None:
    cluster, leader = started()
    others = [node for node in (1, 2, 3) if node != leader]
    ask(cluster, voting(others))
    cluster.run(1.0, lambda t: type(t.message).__name__ != "TakeOver")
    assert cluster.admin_answers()[-1].status == Status.DONE
    assert cluster.leaders() == [leader]
    cluster.submit(leader, 7, OpenSession(1))
    cluster.run(0.3)
    assert cluster.leaders() != [leader]


def test_change_that_only_demotes_or_moves_members_is_carried_out() -> None:
    cluster, leader = started()
    other = next(node for node in (1, 2, 3) if node != leader)
    done(cluster, voting([n for n in (1, 2, 3) if n != other], (other,)))
    latest = cluster.configuration(leader)
    moved = tuple(m._replace(url=f"tcp://h{m.node}:1", priority=0) for m in latest.members)
    wanted = dataclasses.replace(latest, version=latest.version + 1, members=moved)
    cluster.ask(leader, Reconfigure(9, wanted))
    cluster.run(0.5)
    assert cluster.admin_answers()[-1].status == Status.DONE
    assert cluster.configuration(other) == wanted


# --- what "done" means ----------------------------------------------------------------------------


def test_done_is_said_only_once_a_quorum_has_the_log_below_durable_as_decided() -> None:
    cluster, leader = started()
    others = [node for node in (1, 2, 3) if node != leader]
    ask(cluster, voting((1, 2, 3)))
    cluster.run(1.0, lambda t: not isinstance(t.message, Settled))
    assert cluster.configuration(leader).version == 2
    assert cluster.admin_answers() == []
    assert not cluster.replicas[leader].status(cluster.now).settled
    for node in others:
        cluster.hold_writes(node)
    cluster.run(0.3)
    assert cluster.admin_answers() == []
    cluster.sync(others[0])
    cluster.run(0.2)
    (answer,) = cluster.admin_answers()
    assert answer.status == Status.DONE
    below = cluster.replicas[leader].status(cluster.now).governing[-1].first - 1
    assert answer.slot == below


def test_node_asked_to_settle_says_so_only_with_all_of_it_decided() -> None:
    cluster, leader = started()
    other = next(node for node in (1, 2, 3) if node != leader)
    cluster.open_session(leader, 7)
    cluster.run(0.3)
    cluster.hold_writes(other)
    for through in (1, 2):
        transit = Transit(leader, other, Settle(through))
        cluster.messages.append(transit)
    cluster.settle(lambda t: isinstance(t.message, Settle))
    assert not [t for t in cluster.messages if isinstance(t.message, Settled)]
    cluster.sync(other)
    settled = [t.message for t in cluster.messages if isinstance(t.message, Settled)]
    assert settled == [Settled(1)]


def test_settled_that_reaches_a_node_which_does_not_lead_changes_nothing() -> None:
    cluster, leader = started()
    other = next(node for node in (1, 2, 3) if node != leader)
    sender = cluster.replicas[leader].status(cluster.now).node
    before = cluster.replicas[other].status(cluster.now)
    cluster.messages.append(Transit(sender, other, Settled(1)))
    cluster.settle(lambda t: isinstance(t.message, Settled))
    assert cluster.replicas[other].status(cluster.now) == before


def test_noops_bring_an_idle_log_to_where_the_change_governs() -> None:
    cluster, leader = started(alpha=5)
    done(cluster, voting((1, 2, 3)))
    replica = cluster.replicas[leader]
    assert replica.learner.decided_through == 5  # the change at 1, and no-ops through 1 + 5 - 1
    values = [replica.acceptor.held(slot) for slot in range(1, 6)]
    assert [held is not None and held.value.is_noop for held in values] == [False] + [True] * 4
    cluster.run(1.0)
    assert replica.learner.decided_through == 5


def test_change_asked_again_attaches_and_is_done_at_once_when_it_is_settled() -> None:
    cluster, leader = started()
    wanted = ask(cluster, voting((1, 2, 3)), number=1)
    cluster.ask(leader, Reconfigure(2, wanted), client=78)
    cluster.run(0.5)
    cluster.ask(leader, Reconfigure(3, wanted), client=79)
    done_by = [
        (client, answer.number, answer.status)
        for _, client, answer in cluster.replies
        if isinstance(answer, AdminAnswer)
    ]
    assert done_by == [(77, 1, Status.DONE), (78, 2, Status.DONE), (79, 3, Status.DONE)]
    assert cluster.configuration(leader).version == 2


def test_change_asked_again_while_it_settles_attaches() -> None:
    cluster, leader = started()
    wanted = ask(cluster, voting((1, 2, 3)), number=1)
    cluster.run(0.5, lambda t: not isinstance(t.message, Settled))
    cluster.ask(leader, Reconfigure(2, wanted), client=78)
    assert cluster.admin_answers() == []
    cluster.run(0.5)
    assert [answer.number for answer in cluster.admin_answers()] == [1, 2]


def test_administrator_that_is_gone_is_not_answered_and_the_change_goes_on() -> None:
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3)))
    cluster.handle(leader, ClientGone(77))
    cluster.run(0.5)
    assert cluster.admin_answers() == []
    assert cluster.configuration(leader).version == 2


# --- what is refused ------------------------------------------------------------------------------


def test_request_at_a_node_that_does_not_lead_is_sent_to_the_leader() -> None:
    cluster, leader = started()
    other = next(node for node in (1, 2, 3) if node != leader)
    wanted = next_configuration(cluster.configuration(leader), voting((1, 2, 3)))
    cluster.ask(other, Reconfigure(1, wanted))
    assert cluster.replies == [(other, 77, Redirect(leader))]


def test_new_voter_that_does_not_answer_is_named_and_the_change_refused() -> None:
    """A mistyped new member must not take the quorum of a small cluster with it."""
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3, 4)))
    cluster.run(0.2)
    assert "n4 does not answer" in cluster.replicas[leader].status(cluster.now).change
    cluster.run(5.5)
    (answer,) = cluster.admin_answers()
    assert answer.status == Status.REFUSED
    assert "n4 does not answer" in answer.text
    assert cluster.configuration(leader).version == 1
    assert cluster.leaders() == [leader]
    cluster.join(4)
    done(cluster, voting((1, 2, 3, 4)))


def test_new_voter_that_is_far_behind_is_named_and_waited_for() -> None:
    cluster, leader = started(alpha=2)
    for client in range(10):
        cluster.submit(leader, client, OpenSession(client))
        cluster.settle()
    cluster.run(0.5)
    cluster.join(4)

    def starving(transit: Transit) -> bool:
        return type(transit.message).__name__ not in ("Decided", "SnapshotOffer")

    ask(cluster, voting((1, 2, 3, 4)))
    cluster.run(0.4, starving)
    assert "n4 is 10 slots behind" in cluster.replicas[leader].status(cluster.now).change
    assert cluster.configuration(leader).version == 1
    cluster.run(1.0)
    assert cluster.admin_answers()[-1].status == Status.DONE


def test_quorum_of_the_new_set_that_does_not_answer_refuses_the_change() -> None:
    """A set to which nobody new belongs can be out of reach as well."""
    cluster, leader = started(voters=(1, 2, 3, 4, 5))
    down = [node for node in (1, 2, 3, 4, 5) if node != leader][:2]
    for node in down:
        cluster.stop(node)
    cluster.run(1.0)
    refused = change(cluster, voting((leader, *down)), seconds=6.0)
    assert refused.status == Status.REFUSED
    assert all(f"n{node} does not answer" in refused.text for node in down)
    rest = [node for node in (1, 2, 3, 4, 5) if node not in down]
    done(cluster, voting(rest, down))
    done(cluster, voting(rest))


def test_learner_that_does_not_answer_holds_nothing_up() -> None:
    cluster, _ = started()
    done(cluster, voting((1, 2, 3), (4,)))
    done(cluster, voting((1, 2, 3), (4, 5)))


def test_second_change_while_one_is_under_way_is_refused() -> None:
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3), (4,)))
    answer = change(cluster, voting((1, 2, 3), (5,)), seconds=0.001)
    assert answer.status == Status.REFUSED
    assert "another change is under way" in answer.text
    cluster.run(0.5)
    assert cluster.admin_answers()[-1].status == Status.DONE
    assert [m.node for m in cluster.configuration(leader).members] == [1, 2, 3, 4]


def test_change_made_from_one_that_is_decided_but_not_settled_waits_for_it() -> None:
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3), (4,)), number=1)
    cluster.run(0.5, lambda t: not isinstance(t.message, Settled))
    ask(cluster, voting((1, 2, 3)), number=2)
    cluster.run(0.5, lambda t: not isinstance(t.message, Settled))
    assert cluster.admin_answers() == []
    assert "configuration 2 is not settled" in cluster.replicas[leader].status(cluster.now).change
    cluster.run(0.5)
    assert [(a.number, a.status) for a in cluster.admin_answers()] == [
        (1, Status.DONE),
        (2, Status.DONE),
    ]


# --- who may campaign -----------------------------------------------------------------------------


@pytest.mark.parametrize("part", [Part.LEARNER, Part.WITNESS])
def test_learner_or_witness_alone_never_campaigns(part: Part) -> None:
    cluster, _ = started()
    cluster.join(4)
    done(cluster, voting((1, 2, 3)) | {4: part})
    cluster.run(0.5)
    for node in (1, 2, 3):
        cluster.stop(node)
    cluster.run(5.0)
    assert cluster.replicas[4].proposer.issued.round == 0


def test_node_that_no_configuration_names_yet_waits_and_is_no_nuisance() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.join(4)
    ballot = cluster.replicas[leader].proposer.ballot
    cluster.run(4.0)
    replica = cluster.replicas[4]
    assert replica.proposer.issued.round == 0
    assert not replica.status(cluster.now).removed
    assert replica.learner.decided_through == 1  # it asks by itself
    assert cluster.leaders() == [leader]
    assert cluster.replicas[leader].proposer.ballot == ballot


# --- features -------------------------------------------------------------------------------------


def old_cluster() -> tuple[Stepped, NodeId]:
    """A cluster founded by a release that knows feature 1 only."""
    voters = [Voter(node, 100 + node) for node in (1, 2, 3)]
    return started(founding=Configuration(1, Quorums.majority(voters), feature=1))


def test_feature_is_raised_once_every_member_is_known_to_understand_it() -> None:
    cluster, leader = old_cluster()
    latest = cluster.configuration(leader)
    wanted = dataclasses.replace(latest, version=2, feature=FEATURE)
    others = [node for node in (1, 2, 3) if node != leader]
    cluster.handle(leader, PeerConnected(cluster.identity[others[0]], 2))
    cluster.handle(leader, PeerConnected(cluster.identity[others[1]], 1))
    cluster.ask(leader, Reconfigure(1, wanted))
    (refused,) = cluster.admin_answers()
    assert refused.status == Status.REFUSED
    assert f"n{others[1]}" in refused.text
    assert f"n{others[0]}" not in refused.text
    cluster.handle(leader, PeerConnected(cluster.identity[others[1]], 2))
    cluster.ask(leader, Reconfigure(2, wanted))
    cluster.run(0.5)
    assert cluster.admin_answers()[-1].status == Status.DONE
    done(cluster, voting((1, 2, 3), (4,)))


def test_members_at_feature_1_are_fixed() -> None:
    cluster, _ = old_cluster()
    answer = change(cluster, voting((1, 2, 3), (4,)))
    assert answer.status == Status.REFUSED
    assert "paxos upgrade" in answer.text


def parts_of(configuration: Configuration) -> Parts:
    return {member.node: member.part for member in configuration.members}


def test_members_stand_as_asked_for() -> None:
    cluster, leader = started()
    parts: Parts = voting((1, 2, 3), (4,))
    done(cluster, parts)
    assert parts_of(cluster.configuration(leader)) == parts
    assert cluster.configuration(leader).member(4) == Member(4, 104, Part.LEARNER)


@pytest.mark.parametrize("alpha", [1, 16])
def test_cluster_of_one_grows_to_three_and_shrinks_again(alpha: int) -> None:
    cluster, _ = started(voters=(1,), alpha=alpha)
    for node in (2, 3):
        cluster.join(node)
    done(cluster, voting((1,), (2, 3)))
    cluster.run(0.5)
    done(cluster, voting((1, 2, 3)))
    cluster.stop(2)
    cluster.open_session(1, 7)
    cluster.start(2)
    cluster.run(0.5)
    done(cluster, voting((3,)))
    for node in (1, 2):
        cluster.wipe(node)
    cluster.run(2.0)
    assert cluster.leaders() == [3]
    assert cluster.replicas[3].executor.sessions == 1


def test_requests_that_wait_are_bounded() -> None:
    cluster, leader = started()
    wanted = next_configuration(cluster.configuration(leader), voting((1, 2, 3, 4)))
    target = next(node for node in (1, 2, 3) if node != leader)
    for number in range(ASKERS_MAX + 1):
        cluster.ask(leader, Reconfigure(number, wanted))
        cluster.ask(leader, TransferLeader(1000 + number, target))
    answers = [(a.number, a.status, a.text[:13]) for a in cluster.admin_answers()]
    assert answers == [
        (ASKERS_MAX, Status.REFUSED, "too many wait"),
        (1000 + ASKERS_MAX, Status.REFUSED, "too many wait"),
    ]


def test_feature_of_a_stranger_is_forgotten_and_a_members_is_kept() -> None:
    cluster, leader = old_cluster()
    latest = cluster.configuration(leader)
    wanted = dataclasses.replace(latest, version=2, feature=FEATURE)
    stranger = Voter(9, 9)
    for voter in (*latest.voters, stranger):
        if voter.node != leader:
            cluster.handle(leader, PeerConnected(voter, 2))
            cluster.handle(leader, PeerDisconnected(voter))
    assert stranger not in cluster.replicas[leader].administration._features
    cluster.ask(leader, Reconfigure(1, wanted))
    assert cluster.admin_answers() == []
