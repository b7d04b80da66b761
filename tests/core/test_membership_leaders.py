"""Changes of membership while leaders are lost, compete, come back and must catch up."""

from __future__ import annotations

import pytest

from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.events import (
    ReadsRequested,
    Received,
)
from paxos.core.ids import NodeId
from paxos.core.limits import Limits
from paxos.core.messages import (
    Accept,
    Accepted,
    AdminAnswer,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    OpenSession,
    Prepare,
    Promise,
    Read,
    ReadAnswer,
    Reconfigure,
    Redirect,
    Results,
    SessionOpened,
    Settle,
    Status,
    TakeOver,
)
from paxos.core.value import Value
from paxos.testing.stepped import Stepped, Transit
from tests.core.changes import (
    ask,
    done,
    next_configuration,
    started,
    voting,
)
from tests.core.test_replica import put

# --- the leader changes in the middle -------------------------------------------------------------


def lost_leader(cluster: Stepped, leader: NodeId) -> NodeId:
    """Stop the leader for good; return the next one."""
    cluster.stop(leader)
    cluster.messages.clear()
    cluster.run(3.0)
    (new,) = cluster.leaders()
    return new


def finish(cluster: Stepped, leader: NodeId, wanted: Configuration) -> None:
    """The administrator asks again, and it is done."""
    cluster.replies.clear()
    cluster.ask(leader, Reconfigure(2, wanted))
    cluster.run(1.0)
    assert [a.status for a in cluster.admin_answers()] == [Status.DONE]
    assert cluster.configuration(leader) == wanted


def test_leader_lost_while_it_gathers_promises_leaves_nothing_behind() -> None:
    cluster, leader = started()
    wanted = ask(cluster, voting((1, 2, 3, 4)))
    cluster.run(0.1)
    cluster.join(4)
    new = lost_leader(cluster, leader)
    assert cluster.configuration(new).version == 1
    finish(cluster, new, wanted)


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_leader_lost_with_a_change_in_flight_is_followed_by_one_that_knows_or_not(
    seen: int,
) -> None:
    """Its Accept reached ``seen`` of the two others; whatever became of it, asking again helps."""
    cluster, leader = started()
    others = [node for node in (1, 2, 3) if node != leader][:seen]
    wanted = ask(cluster, voting((1, 2, 3), (4,)))
    cluster.settle(lambda t: isinstance(t.message, (HeartbeatAnswer, Promise)))
    cluster.settle(lambda t: isinstance(t.message, Accept) and t.target in others)
    new = lost_leader(cluster, leader)
    assert cluster.configuration(new).version == (2 if seen else 1)
    finish(cluster, new, wanted)


def test_new_leader_pushes_the_noops_that_were_lost_with_the_old_one() -> None:
    """The change is decided and known; then the leader dies before the log reaches it."""
    cluster, leader = started(alpha=8)
    wanted = ask(cluster, voting((1, 2, 3), (4,)))

    def no_later_slot(transit: Transit) -> bool:
        message = transit.message
        return not (isinstance(message, (Accept, Accepted)) and message.slot > 1)

    cluster.run(0.3, no_later_slot)
    assert {replica.learner.decided_through for replica in cluster.replicas.values()} == {1}
    new = lost_leader(cluster, leader)
    assert cluster.replicas[new].learner.decided_through == 8
    assert cluster.replicas[new].status(cluster.now).settled
    finish(cluster, new, wanted)


def test_administrator_of_a_leader_that_lost_the_lead_is_sent_to_the_next() -> None:
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3, 4)))
    cluster.run(3.0, lambda t: leader not in (t.source, t.target))
    assert [type(answer) for _, client, answer in cluster.replies if client == 77] == [Redirect]


def test_node_that_restarts_in_a_change_knows_it_from_its_log() -> None:
    cluster, leader = started()
    ask(cluster, voting((1, 2, 3), (4,)))
    cluster.run(0.5)
    for node in (1, 2, 3):
        cluster.stop(node)
    for node in (1, 2, 3):
        cluster.start(node)
        assert cluster.configuration(node).version == 2
    cluster.run(3.0)
    assert len(cluster.leaders()) == 1
    assert leader


# --- counterexamples ------------------------------------------------------------------------------


def test_two_leaders_that_each_start_a_change_end_in_one_configuration() -> None:
    """The old leader's change is in flight, unchosen; the new one's is decided; then they meet."""
    cluster, old = started()
    ask(cluster, voting((1, 2, 3), (4,)))
    cluster.settle(lambda t: isinstance(t.message, (HeartbeatAnswer, Promise)))
    assert any(isinstance(t.message, Accept) for t in cluster.messages)
    cluster.messages.clear()  # nobody else has it
    apart = {old}
    cluster.run(3.0, lambda t: (t.source in apart) == (t.target in apart))
    new = next(node for node in cluster.leaders() if node != old)
    wanted = next_configuration(cluster.configuration(new), voting((1, 2, 3), (5,)))
    cluster.ask(new, Reconfigure(1, wanted), client=78)
    cluster.run(2.0, lambda t: (t.source in apart) == (t.target in apart))
    assert cluster.configuration(new) == wanted
    cluster.run(2.0)
    assert {cluster.configuration(node) for node in (1, 2, 3)} == {wanted}
    assert [client for _, client, a in cluster.replies if isinstance(a, AdminAnswer)] == [78]


def test_change_that_another_leader_had_in_flight_comes_first_and_refuses_the_next() -> None:
    cluster, old = started()
    helper = next(node for node in (1, 2, 3) if node != old)
    ask(cluster, voting((1, 2, 3), (4,)))
    cluster.settle(lambda t: isinstance(t.message, (HeartbeatAnswer, Promise)))
    cluster.settle(lambda t: isinstance(t.message, Accept) and t.target == helper)
    cluster.stop(old)
    cluster.messages.clear()
    while not cluster.leaders():  # it has the change from the promises, and nothing is decided yet
        cluster.run(0.01, lambda t: not isinstance(t.message, Accepted))
    (new,) = cluster.leaders()
    wanted = next_configuration(cluster.configuration(new), voting((1, 2, 3), (5,)))
    cluster.ask(new, Reconfigure(1, wanted), client=78)
    cluster.run(2.0)
    (answer,) = cluster.admin_answers()
    assert answer.status == Status.REFUSED
    assert "another change became configuration 2" in answer.text
    cluster.start(old)
    cluster.run(1.0)
    members = {tuple(m.node for m in cluster.configuration(n).members) for n in (1, 2, 3)}
    assert members == {(1, 2, 3, 4)}


def test_second_change_of_one_version_in_the_log_is_void_on_every_node() -> None:
    """Two leaders each had one in flight, unchosen; a third finds both and decides both."""
    cluster, first = started()
    cluster.submit(first, 7, OpenSession(1))
    ask(cluster, voting((1, 2, 3), (4,)))
    cluster.stop(first)  # alone it has: 1 a batch, 2 a change
    cluster.messages.clear()
    cluster.run(3.0)
    (second,) = cluster.leaders()
    ask(cluster, voting((1, 2, 3), (5,)))
    cluster.stop(second)  # alone it has: 1 another change
    cluster.messages.clear()
    for node in (first, second):
        cluster.start(node)
    cluster.replicas[first].elector._may_campaign = False

    def in_time(transit: Transit) -> bool:
        late = transit.source == first and isinstance(transit.message, Promise)
        return not late and not isinstance(transit.message, Accept)

    while not cluster.leaders():
        cluster.advance(0.01)
        cluster.settle(in_time)
    cluster.settle(lambda t: isinstance(t.message, Promise))
    cluster.run(1.0)
    for node in (1, 2, 3):
        held = [cluster.replicas[node].acceptor.held(slot) for slot in (1, 2)]
        assert [each is not None and each.value.change is not None for each in held] == [True, True]
        assert [member.node for member in cluster.configuration(node).members] == [1, 2, 3, 5]
        cluster.stop(node)
        cluster.start(node)
        assert [member.node for member in cluster.configuration(node).members] == [1, 2, 3, 5]


def test_leader_of_an_old_configuration_that_comes_back_decides_nothing_and_learns() -> None:
    cluster, old = started()
    for node in (4, 5, 6):
        cluster.join(node)
    done(cluster, voting((1, 2, 3), (4, 5, 6)))
    cluster.run(0.5)
    others = [node for node in (1, 2, 3) if node != old]

    def without_old(transit: Transit) -> bool:
        return old not in (transit.source, transit.target)

    cluster.submit(old, 7, OpenSession(1))
    cluster.messages.clear()  # chosen by nobody
    cluster.run(3.0, without_old)
    new = next(node for node in cluster.leaders() if node != old)
    ask_at = next_configuration(cluster.configuration(new), voting((4, 5, 6)))
    cluster.replies.clear()
    cluster.ask(new, Reconfigure(1, ask_at), client=78)
    cluster.run(3.0, without_old)
    assert any(isinstance(a, AdminAnswer) and a.status == Status.DONE for *_, a in cluster.replies)
    for node in others:
        cluster.wipe(node)
    cluster.replies.clear()
    cluster.submit(old, 7, OpenSession(2))
    cluster.run(3.0)
    assert not [a for *_, a in cluster.replies if isinstance(a, SessionOpened)]
    (leader,) = cluster.leaders()
    assert leader in (4, 5, 6)
    # Nobody sends it anything any more; what it hears, it hears from its own heartbeats.
    assert cluster.replicas[old].status(cluster.now).role == "follower"


def test_node_whose_snapshot_spans_changes_knows_what_governs() -> None:
    """It was away for two changes and what they decided is compacted: only a snapshot is left."""
    limits = Limits(snapshot_entries=4, kept_entries=1)
    cluster, leader = started(alpha=3, limits=limits)
    away = next(node for node in (1, 2, 3) if node != leader)
    cluster.stop(away)
    done(cluster, voting((1, 2, 3), (4,)))
    done(cluster, voting((1, 2, 3), (4, 5)))
    for client in range(20):
        cluster.submit(leader, client, OpenSession(client))
        cluster.run(0.02)
    assert cluster.compacted_through[leader] > 8
    cluster.start(away)
    cluster.run(2.0)
    assert cluster.configuration(away) == cluster.configuration(leader)
    assert cluster.replicas[away].digest() == cluster.replicas[leader].digest()
    cluster.stop(leader)
    cluster.run(3.0)
    assert len(cluster.leaders()) == 1
    cluster.stop(away)
    cluster.start(away)
    assert [m.node for m in cluster.configuration(away).members] == [1, 2, 3, 4, 5]


def test_read_at_a_new_leader_waits_for_promises_of_a_configuration_it_learns_of_later() -> None:
    """A read must not miss what an older ballot chose in a configuration not known at election.

    The old leader decided a change, and then a command by the new voters alone, and told its client
    so. A new leader is elected by the old voters, who have accepted the change and know nothing of
    the command; then the new voters confirm, by their heartbeats' answers, that it may still lead.
    """
    cluster, old = started(alpha=2)
    for node in (4, 5, 6):
        cluster.join(node)
    done(cluster, voting((1, 2, 3), (4, 5, 6)))
    session = cluster.open_session(old, 7)
    cluster.run(0.5)
    before = cluster.replicas[old].learner.decided_through
    ask(cluster, voting((4, 5, 6)))

    def only_votes(transit: Transit) -> bool:
        """Only the old leader hears what is decided."""
        message = transit.message
        told = isinstance(message, (Decided, Heartbeat)) and message.decided_through > before
        return transit.target == old or isinstance(message, Accept) or not told

    cluster.settle(lambda t: not isinstance(t.message, Accept))
    cluster.submit(old, 7, put(session, 1, b"soon"))  # in flight beside the change
    for command in (b"", b"late"):
        if command:
            cluster.submit(old, 7, put(session, 2, command))
        cluster.settle(only_votes)
        cluster.messages.clear()
    assert len([a for *_, a in cluster.replies if isinstance(a, Results)]) == 2
    cluster.stop(old)
    cluster.messages.clear()
    known = {replica.learner.decided_through for replica in cluster.replicas.values()}
    assert known == {before}

    def unprepared(transit: Transit) -> bool:
        return not isinstance(transit.message, Prepare | Settle) or transit.target in (1, 2, 3)

    while not cluster.leaders() or cluster.configuration(cluster.leaders()[0]).version < 3:
        cluster.run(0.01, unprepared)
    (new,) = cluster.leaders()
    cluster.handle(new, ReadsRequested([(9, Read(1, Level.LINEARIZABLE, "r", b"", 0))]))
    cluster.run(0.5, unprepared)
    assert cluster.leaders() == [new]
    assert not [a for *_, a in cluster.replies if isinstance(a, ReadAnswer)]
    cluster.run(0.5, lambda t: not isinstance(t.message, Settle))  # else it hands over
    (answer,) = [a for *_, a in cluster.replies if isinstance(a, ReadAnswer)]
    assert answer.data == b"late"


# --- a winner that must catch up first ------------------------------------------------------------


def winner_behind() -> tuple[Stepped, NodeId, list[Value]]:
    """A node that has won a ballot, and lacks slots that all others have forgotten."""
    cluster, leader = started(limits=Limits(snapshot_entries=8, kept_entries=0))
    away = next(node for node in (1, 2, 3) if node != leader)
    cluster.stop(away)
    values = []
    for slot in range(1, 9):
        cluster.submit(leader, slot, OpenSession(slot))
        held = cluster.replicas[leader].acceptor.held(slot)
        assert held is not None
        values.append(held.value)
        cluster.run(0.05)
    assert cluster.compacted_through[leader] == 8
    cluster.start(away)
    ballot = cluster.replicas[leader].proposer.ballot
    cluster.handle(away, Received(cluster.identity[leader], TakeOver(ballot)))
    cluster.settle(lambda t: isinstance(t.message, Prepare | Promise))
    cluster.messages.clear()
    assert cluster.replicas[away].proposer.is_catching_up(0)
    return cluster, away, values


def test_winner_keeps_its_ballot_while_catching_up_makes_progress() -> None:
    cluster, away, values = winner_behind()
    proposer = cluster.replicas[away].proposer
    ballot = proposer.ballot
    helper = next(node for node in (1, 2, 3) if node != away)
    for slot, value in enumerate(values[:-1], 1):
        cluster.run(0.45, lambda t: False)
        cluster.handle(away, Received(cluster.identity[helper], Decided(slot, (value,), 8)))
        assert proposer.is_catching_up(slot)
        assert not proposer.leading
    cluster.handle(away, Received(cluster.identity[helper], Decided(8, (values[-1],), 8)))
    assert proposer.leading
    assert proposer.ballot == ballot


def test_winner_that_catches_up_with_nothing_drops_its_ballot() -> None:
    cluster, away, _ = winner_behind()
    cluster.run(1.1, lambda t: False)
    assert not cluster.replicas[away].proposer.is_catching_up(0)
    assert cluster.replicas[away].proposer.phase.value == "idle"
    cluster.run(4.0)
    assert len(cluster.leaders()) == 1
    assert cluster.replicas[away].learner.decided_through == 8


def test_campaign_of_a_node_that_learns_of_its_removal_is_given_up() -> None:
    """Left open, its Prepares would go on and disturb those that lead without it."""
    cluster, leader = started()
    away = next(node for node in (1, 2, 3) if node != leader)
    rest = [node for node in (1, 2, 3) if node != away]
    ask(cluster, voting(rest))
    cluster.run(1.0, lambda t: away not in (t.source, t.target))
    values = []
    replica = cluster.replicas[leader]
    for slot in range(1, replica.learner.decided_through + 1):
        held = replica.acceptor.held(slot)
        assert held is not None
        values.append(held.value)
    ballot = Ballot(5, leader)
    cluster.handle(away, Received(cluster.identity[leader], TakeOver(ballot)))
    proposer = cluster.replicas[away].proposer
    assert proposer.phase.value == "preparing"
    decided = Decided(1, tuple(values), len(values))
    cluster.handle(away, Received(cluster.identity[leader], decided))
    cluster.run(1.2, lambda t: False)
    assert proposer.phase.value == "idle"
    assert cluster.replicas[away].status(cluster.now).removed
