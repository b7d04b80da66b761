"""The replica: what passes between roles and to clients, on a cluster stepped by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import pytest

from paxos.codec import unpack_batch
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.effects import Effect, Persist, Reply, Send
from paxos.core.events import (
    ClientGone,
    DeadlinePassed,
    DiskFull,
    PeerConnected,
    PeerDisconnected,
    ReadsRequested,
    Received,
    Submission,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.ids import Instant, NodeId, Slot, Voter
from paxos.core.limits import DEFAULT_TIMING, Limits
from paxos.core.messages import (
    Accept,
    Accepted,
    CatchUp,
    ClientAnswer,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    Nack,
    OpenSession,
    Overloaded,
    PeerMessage,
    Prepare,
    Promise,
    Read,
    ReadAnswer,
    Redirect,
    Report,
    Results,
    Status,
    Submit,
    Watch,
)
from paxos.core.quorum import Quorums
from paxos.core.records import DecidedRecord, WatermarkRecord, replay
from paxos.core.replica import CATCH_UP_PATIENCE, CATCH_UP_REPEAT, Replica, Role
from paxos.core.state_machine import Stamp, StateMachine
from paxos.core.value import NOOP, Value
from paxos.testing.stepped import Stepped, Transit


class Register:
    """Holds the last command; can be watched for a number of commands."""

    def __init__(self) -> None:
        self.value, self.count = b"", 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.value, self.count = command, self.count + 1
        return b"%d" % self.count

    def query(self, query: bytes) -> bytes:
        return self.value

    def watch(self, query: bytes) -> bytes | None:
        return self.value if self.count >= int(query) else None

    def snapshot(self) -> Iterable[bytes]:
        return [self.value]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.value = b"".join(chunks)


def machines() -> Mapping[str, StateMachine]:
    return {"r": Register()}


def started(seed: int = 0, limits: Limits | None = None, alpha: int = 16) -> tuple[Stepped, NodeId]:
    cluster = Stepped(machines=machines, seed=seed, limits=limits, alpha=alpha)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    return cluster, leader


def others(cluster: Stepped, node: NodeId) -> list[NodeId]:
    return [each for each in cluster.identity if each != node]


def answers(cluster: Stepped, kind: type[ClientAnswer]) -> list[tuple[NodeId, int, ClientAnswer]]:
    return [entry for entry in cluster.replies if isinstance(entry[2], kind)]


def read(number: int, level: Level = Level.LINEARIZABLE, at_least: int = 0) -> Read:
    return Read(number, level, "r", b"", at_least)


def put(session: int, request: int, command: bytes) -> Submit:
    return Submit(session, request, 0, "r", (command,))


def alone(roles: frozenset[Role] | None = None) -> Stepped:
    """One voter: every quorum is itself."""
    cluster = Stepped(voters=(1,), machines=machines)
    cluster.run(2.0)
    return cluster


# --- one node by itself ---


def test_cluster_of_one_decides_and_reads_by_itself() -> None:
    cluster = alone()
    session = cluster.open_session(1, 7)
    cluster.submit(1, 7, put(session, 1, b"x"))
    cluster.handle(1, ReadsRequested([(7, read(5)), (7, read(6))]))
    data = [m.data for _, _, m in cluster.replies if isinstance(m, ReadAnswer)]
    assert data == [b"x", b"x"]


def test_restarted_node_has_applied_what_its_log_knows_decided() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.run(0.5)
    cluster.submit(leader, 7, put(session, 2, b"y"))  # its Accept carries the watermark of slot 2
    cluster.run(0.5)
    for node in cluster.identity:
        recovered = replay(cluster.log[node])
        assert [s for s, held in sorted(recovered.held.items()) if held.decided][:2] == [1, 2]
    cluster.stop(leader)
    replica = cluster.start(leader)
    assert replica.executor.applied_through >= 2


# --- durable before visible ---


def test_votes_and_prepares_appear_only_behind_writes() -> None:
    """Invariant 7, structurally: over a whole run, no bare Send carries one."""
    cluster, _ = started()
    seen: list[Effect] = []
    for node in cluster.identity:
        replica = cluster.replicas[node]
        for at in (5.0, 6.0, 7.0, 8.0):
            seen += replica.handle(DeadlinePassed(), Instant(at, 0))
        seen += replica.handle(PeerConnected(cluster.identity[1]), Instant(8.0, 0))
    bare = [effect.message for effect in seen if isinstance(effect, Send)]
    assert bare
    assert not [m for m in bare if isinstance(m, (Prepare, Promise, Accepted))]


def test_leaders_accept_leaves_before_its_own_write_and_its_vote_after() -> None:
    cluster, leader = started()
    cluster.hold_writes(leader)
    cluster.submit(leader, 7, OpenSession(1))
    assert {t.target for t in cluster.messages if isinstance(t.message, Accept)} == set(
        others(cluster, leader)
    )
    silent = others(cluster, leader)[0]
    cluster.settle(lambda t: silent not in (t.source, t.target))
    assert cluster.replicas[leader].learner.decided_through == 0  # one vote of two
    cluster.sync(leader)
    assert cluster.replicas[leader].learner.decided_through == 1


def test_ballot_not_yet_durable_is_not_prepared_again_by_a_timer() -> None:
    """A slow disk: the repeat of a Prepare waits behind the write that issued its ballot."""
    cluster, leader = started()
    cluster.stop(leader)
    for node in cluster.replicas:
        cluster.hold_writes(node)
    prepared: list[Transit] = []

    def unless_prepare(transit: Transit) -> bool:
        if isinstance(transit.message, Prepare):
            prepared.append(transit)
        return not isinstance(transit.message, Prepare)

    cluster.run(3.0, unless_prepare)
    assert any(replica.proposer.issuing for replica in cluster.replicas.values())
    assert prepared == []
    # However long the disk hangs, it is asked for one ballot.
    assert max(len(writes) for writes in cluster.unsynced.values()) == 1
    for node in cluster.replicas:
        cluster.sync(node)
    cluster.run(0.1, unless_prepare)
    assert prepared != []


def test_leader_whose_disk_hangs_gives_way_though_reads_go_on() -> None:
    """Without its own writes no batch forms; barriers that complete must not hide that."""
    cluster, leader = started()
    cluster.hold_writes(leader)
    cluster.submit(leader, 7, OpenSession(1))
    cluster.run(0.1)
    cluster.submit(leader, 7, OpenSession(2))
    for number in range(60):
        cluster.handle(leader, ReadsRequested([(8, read(number))]))
        cluster.run(0.1)
    assert cluster.leaders() != [leader]


def test_campaign_cut_off_in_the_middle_is_given_up() -> None:
    """Kept, it would depose a leader elected meanwhile, once the link heals."""
    cluster, old = started()
    cluster.stop(old)
    cut: NodeId | None = None
    while cut is None:
        cluster.advance(0.005)
        cluster.settle(lambda t: not isinstance(t.message, Prepare))
        cut = next((t.source for t in cluster.messages), None)
    cluster.messages.clear()
    cluster.start(old)
    cluster.run(5.0, lambda t: cut not in (t.source, t.target))
    assert cluster.replicas[cut].proposer.phase.value == "idle"
    assert len(cluster.leaders()) == 1


# --- the watermark ---


def test_follower_learns_from_the_watermark_only_what_it_accepted_at_that_ballot() -> None:
    cluster, leader = started()
    deaf = others(cluster, leader)[0]
    cluster.submit(leader, 7, OpenSession(1))
    cluster.settle(lambda t: t.target != deaf)
    cluster.messages.clear()
    heartbeat = Heartbeat(1, cluster.replicas[leader].proposer.ballot, True, 1)
    cluster.handle(deaf, Received(cluster.identity[leader], heartbeat))
    assert cluster.replicas[deaf].learner.decided_through == 0
    asked = [t for t in cluster.messages if isinstance(t.message, CatchUp)]
    assert [(t.source, t.target, t.message) for t in asked] == [(deaf, leader, CatchUp(0))]
    cluster.settle()
    assert cluster.replicas[deaf].learner.decided_through == 1
    assert any(isinstance(record, DecidedRecord) for record in cluster.log[deaf])


def test_followers_hear_of_a_decision_soon_without_further_traffic() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.run(0.06)
    assert {r.learner.decided_through for r in cluster.replicas.values()} == {1}


def test_accept_with_a_watermark_beyond_what_is_held_asks_for_the_rest() -> None:
    cluster, leader = started()
    deaf = others(cluster, leader)[0]
    session = cluster.open_session(leader, 7)
    cluster.run(0.2)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle(lambda t: t.target != deaf)
    cluster.messages.clear()
    cluster.submit(leader, 7, put(session, 2, b"y"))
    accepts = [t for t in cluster.messages if t.target == deaf and isinstance(t.message, Accept)]
    for transit in accepts:
        cluster.handle(deaf, Received(cluster.identity[leader], transit.message))
    assert [t.target for t in cluster.messages if isinstance(t.message, CatchUp)] == [leader]


# --- catch-up ---


def test_catch_up_asks_again_only_after_patience_or_a_broken_connection() -> None:
    cluster, leader = started()
    node, other = others(cluster, leader)

    def asked() -> list[NodeId]:
        targets = [t.target for t in cluster.messages if isinstance(t.message, CatchUp)]
        cluster.messages.clear()
        return targets

    def hear(source: NodeId) -> None:
        heartbeat = Heartbeat(1, BALLOT_ZERO, False, 9)
        cluster.handle(node, Received(cluster.identity[source], heartbeat))

    cluster.messages.clear()
    hear(other)
    assert asked() == [other]
    for _ in range(CATCH_UP_PATIENCE):
        hear(other)
    assert asked() == []
    hear(leader)  # whoever is the next to know more
    assert asked() == [leader]
    for _ in range(CATCH_UP_PATIENCE):
        hear(leader)
    hear(other)
    assert asked() == [other]
    for _ in range(CATCH_UP_PATIENCE + CATCH_UP_REPEAT - 1):
        hear(other)
    assert asked() == []
    hear(other)  # nobody else does
    assert asked() == [other]
    cluster.handle(node, PeerDisconnected(cluster.identity[leader]))
    hear(other)
    assert asked() == []
    cluster.handle(node, PeerDisconnected(cluster.identity[other]))
    hear(other)
    assert asked() == [other]


def test_catch_up_asked_of_a_peer_that_is_no_further_itself_is_asked_of_another() -> None:
    cluster, leader = started()
    node, other = others(cluster, leader)
    ahead = Heartbeat(1, BALLOT_ZERO, False, 9)
    cluster.handle(node, Received(cluster.identity[other], ahead))
    cluster.messages.clear()
    cluster.handle(node, Received(cluster.identity[other], Heartbeat(2, BALLOT_ZERO, False, 0)))
    cluster.handle(node, Received(cluster.identity[leader], ahead))
    assert [t.target for t in cluster.messages if isinstance(t.message, CatchUp)] == [leader]


def test_catch_up_of_what_the_leaders_watermark_will_tell_is_not_asked_of_a_follower() -> None:
    cluster, leader = started()
    node, other = others(cluster, leader)
    ballot = cluster.replicas[leader].proposer.ballot
    accept = Received(cluster.identity[leader], Accept(ballot, 1, NOOP, 0))
    cluster.handle(node, accept)
    cluster.messages.clear()
    ahead = Received(cluster.identity[other], Heartbeat(1, BALLOT_ZERO, False, 1))
    cluster.handle(node, ahead)
    assert [t for t in cluster.messages if isinstance(t.message, CatchUp)] == []
    cluster.advance(2.0)  # nothing is heard of the leader any more
    cluster.messages.clear()
    cluster.handle(node, ahead)
    assert [t.target for t in cluster.messages if isinstance(t.message, CatchUp)] == [other]


def test_catch_up_on_a_slow_link_is_asked_of_one_peer() -> None:
    cluster = Stepped(voters=(1, 2, 3, 4, 5))
    cluster.run(3.0)
    (leader,) = cluster.leaders()
    node = others(cluster, leader)[0]
    for client in range(10):
        cluster.submit(leader, client, OpenSession(client))
        cluster.settle(lambda t: node not in (t.source, t.target))
    cluster.messages.clear()
    asked: list[NodeId] = []
    busy: set[NodeId] = set()

    def overtaken(transit: Transit) -> bool:
        return transit.target == node and transit.source in busy

    for _ in range(40):  # 0.4 s; a Decided takes longer, and what follows it waits behind it
        cluster.advance(0.01)
        while cluster.messages:
            asked += [t.target for t in cluster.messages if isinstance(t.message, CatchUp)]
            busy.update(t.source for t in cluster.messages if isinstance(t.message, Decided))
            cluster.lose(overtaken)
            cluster.deliver()
    assert len(asked) == 1


def test_catch_up_serves_only_what_is_known_decided() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.hold_writes(leader)
    cluster.submit(leader, 7, OpenSession(2))
    cluster.messages.clear()
    asker = cluster.identity[others(cluster, leader)[0]]
    for after, expected in ((0, 1), (1, 0), (2**60, 0)):
        cluster.handle(leader, Received(asker, CatchUp(after)))
        sent = [t.message for t in cluster.messages if isinstance(t.message, Decided)]
        assert [len(message.values) for message in sent] == ([expected] if expected else [])
        cluster.messages.clear()


def test_decided_values_in_parts_are_asked_for_until_nothing_is_missing() -> None:
    cluster, leader = started(limits=Limits(promise_bytes_max=40))
    away = others(cluster, leader)[0]
    cluster.stop(away)
    for number in range(1, 8):
        cluster.submit(leader, 7, OpenSession(number))
        cluster.settle()
    cluster.start(away)
    cluster.run(0.5)
    assert cluster.replicas[away].learner.decided_through == 7
    assert cluster.replicas[away].digest() == cluster.replicas[leader].digest()


def test_decided_values_that_are_known_are_neither_executed_nor_recorded_again() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.run(0.2)
    node, other = others(cluster, leader)
    written = len(cluster.log[node])
    known = cluster.replicas[leader].acceptor.held(1)
    assert known is not None
    answer = Decided(1, (known.value, NOOP), 2)
    cluster.handle(node, Received(cluster.identity[other], answer))
    assert cluster.replicas[node].executor.applied_through == 2
    assert cluster.log[node][written:] == [DecidedRecord(2, NOOP)]


def test_decided_by_marks_in_a_promise_are_learned_and_recorded() -> None:
    """A node far behind that wins phase 1 learns from the promises what is decided."""
    cluster = Stepped(machines=machines)
    replica = cluster.replicas[1]
    cluster.advance(0.0)
    now = Instant(5.0, 0)
    heartbeats = [e for e in replica.handle(DeadlinePassed(), now) if isinstance(e, Send)]
    assert isinstance(heartbeats[0].message, Heartbeat)
    answer = HeartbeatAnswer(heartbeats[0].message.number, BALLOT_ZERO, BALLOT_ZERO, True, 0, 0)
    (campaign,) = replica.handle(Received(cluster.identity[2], answer), now)
    assert isinstance(campaign, Persist)
    for send in campaign.then:
        if send.to == 1:
            (own,) = replica.handle(Received(cluster.identity[1], send.message), now)
            assert isinstance(own, Persist)
            replica.handle(Received(cluster.identity[1], own.then[0].message), now)
    ballot = replica.proposer.ballot
    reports = (Report(1, None, NOOP), Report(3, None, Value(1, b"")))
    promise = Promise(ballot, 0, None, 1, 0, 0, reports)
    effects = replica.handle(Received(cluster.identity[2], promise), now)
    recorded = [r for e in effects if isinstance(e, Persist) for r in e.records]
    assert DecidedRecord(1, NOOP) in recorded
    assert DecidedRecord(3, Value(1, b"")) in recorded
    proposed = {
        e.message.slot: e.message.value
        for e in effects
        if isinstance(e, Send) and isinstance(e.message, Accept)
    }
    assert proposed == {2: NOOP}


# --- losing the lead ---


def test_leader_that_hears_a_connected_leader_above_it_stops_and_redirects_its_clients() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    other = others(cluster, leader)[0]
    cluster.handle(leader, ReadsRequested([(8, read(1))]))
    above = Heartbeat(1, Ballot(50, other), True, 0)
    cluster.handle(leader, Received(cluster.identity[other], above))
    assert not cluster.replicas[leader].proposer.leading
    redirects = [(client, message) for _, client, message in answers(cluster, Redirect)]
    assert redirects == [(7, Redirect(other)), (8, Redirect(other))]


def test_leader_whose_proposal_lost_to_another_value_stops() -> None:
    cluster, leader = started()
    cluster.hold_writes(leader)
    cluster.submit(leader, 7, OpenSession(1))
    other = cluster.identity[others(cluster, leader)[0]]
    cluster.handle(leader, Received(other, Decided(1, (Value(9, b""),), 1)))
    replica = cluster.replicas[leader]
    assert not replica.proposer.leading
    assert replica.learner.decided_through == 1


def test_leader_without_progress_gives_way() -> None:
    """Reached but never accepted: votes are lost while heartbeats are answered."""
    cluster, leader = started()
    cluster.submit(leader, 7, OpenSession(1))
    stopped = False
    for _ in range(300):
        cluster.run(0.01, lambda t: not isinstance(t.message, Accepted))
        stopped = stopped or not cluster.replicas[leader].proposer.leading
    assert stopped


def test_nack_of_an_old_ballot_changes_nothing_but_what_to_go_above() -> None:
    cluster, leader = started()
    other = cluster.identity[others(cluster, leader)[0]]
    nack = Nack(Ballot(0, leader), Ballot(70, 9), BALLOT_ZERO, 0)
    cluster.handle(leader, Received(other, nack))
    replica = cluster.replicas[leader]
    assert replica.proposer.leading
    assert replica.elector.highest_promised == Ballot(70, 9)


def test_nack_of_the_present_ballot_ends_it() -> None:
    cluster, leader = started()
    other = cluster.identity[others(cluster, leader)[0]]
    ballot = cluster.replicas[leader].proposer.ballot
    nack = Nack(ballot, Ballot(70, other.node), BALLOT_ZERO, 0)
    cluster.handle(leader, Received(other, nack))
    assert not cluster.replicas[leader].proposer.leading


# --- what a peer may send ---


def test_nonsense_of_a_peer_is_dropped_and_counted() -> None:
    cluster, leader = started()
    replica, other = cluster.replicas[leader], cluster.identity[others(cluster, leader)[0]]
    ballot = Ballot(80, other.node)
    before = replica.acceptor.promised
    nonsense: list[tuple[PeerMessage, str]] = [
        (Prepare(Ballot(80, 9), 0), "a ballot of another node"),
        (Accept(Ballot(80, 9), 1, NOOP, 0), "a ballot of another node"),
        (Accept(ballot, 2**60, NOOP, 0), "beyond the window"),
        (Redirect(1), "not a message between replicas"),  # type: ignore[list-item]
    ]
    for message, reason in nonsense:
        count = replica.status(cluster.now).dropped.get(reason, 0)
        cluster.handle(leader, Received(other, message))
        assert replica.status(cluster.now).dropped[reason] == count + 1
    assert replica.acceptor.promised == before


def test_contradiction_of_a_peer_is_dropped_and_counted() -> None:
    cluster, leader = started()
    ballot = cluster.replicas[leader].proposer.ballot
    follower = others(cluster, leader)[0]
    for value in (NOOP, Value(1, b"")):
        accept = Accept(ballot, 1, value, 0)
        cluster.handle(follower, Received(cluster.identity[leader], accept))
    dropped = cluster.replicas[follower].status(cluster.now).dropped
    assert dropped == {"contradicts what is known": 1}


# --- submissions ---


def test_submission_to_a_follower_is_redirected_to_the_leader_once_per_client() -> None:
    cluster, leader = started()
    follower = others(cluster, leader)[0]
    submission = Submission(7, 1, 1, b"")
    cluster.handle(follower, Submitted([submission, submission]))
    assert cluster.replies == [(follower, 7, Redirect(leader))]


def test_submission_over_its_bound_is_refused_with_the_bound() -> None:
    cluster, leader = started(limits=Limits(submission_bytes_max=10))
    cluster.handle(leader, Submitted([Submission(7, 1, 3, b"x" * 11)]))
    ((_, _, answer),) = answers(cluster, Overloaded)
    assert isinstance(answer, Overloaded)
    assert (answer.session, answer.first, answer.retry_after_ms) == (1, 3, 0)
    assert "10 bytes" in answer.reason


def test_submission_when_too_much_waits_is_refused_with_a_hint() -> None:
    cluster, leader = started(limits=Limits(pending_bytes_max=10), alpha=1)
    cluster.hold_writes(leader)
    for first in range(1, 4):
        cluster.handle(leader, Submitted([Submission(7, 1, first, b"x" * 9)]))
    refused = [m for _, _, m in answers(cluster, Overloaded) if isinstance(m, Overloaded)]
    assert [(m.first, m.retry_after_ms > 0) for m in refused] == [(3, True)]


def test_results_go_to_the_connection_that_asked_last() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.submit(leader, 8, put(session, 1, b"x"))
    cluster.settle()
    results = answers(cluster, Results)
    assert {client for _, client, _ in results} == {8}
    assert len({m.results for _, _, m in results if isinstance(m, Results)}) == 1


def test_results_for_a_client_that_left_are_not_sent() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.handle(leader, ClientGone(7))
    cluster.settle()
    assert answers(cluster, Results) == []
    cluster.submit(leader, 9, OpenSession(5))
    cluster.handle(leader, ClientGone(9))
    before = len(cluster.replies)
    cluster.settle()
    assert len(cluster.replies) == before


def test_submission_of_a_client_that_left_before_it_had_a_slot_is_never_proposed() -> None:
    """Nobody waits for it, and the client asks again where it turns to."""
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.hold_writes(leader)
    cluster.submit(leader, 7, put(session, 1, b"proposed"))
    cluster.submit(leader, 7, put(session, 2, b"waiting"))
    cluster.submit(leader, 8, OpenSession(5))
    before = cluster.replicas[leader].status(cluster.now).pending_bytes
    for client in (7, 8):
        cluster.handle(leader, ClientGone(client))
    assert before > cluster.replicas[leader].status(cluster.now).pending_bytes == 0
    cluster.sync(leader)
    cluster.settle()
    status = cluster.replicas[leader].status(cluster.now)
    assert (status.applied_through, status.sessions) == (2, 1)
    cluster.replies.clear()
    cluster.submit(leader, 9, put(session, 1, b"proposed"))
    cluster.submit(leader, 9, put(session, 2, b"waiting"))
    cluster.settle()
    results = [r for _, _, m in cluster.replies if isinstance(m, Results) for r in m.results]
    assert results == [(1, Status.DONE, 2, b"1"), (2, Status.DONE, 4, b"2")]


def test_node_that_is_no_acceptor_votes_on_nothing() -> None:
    cluster = Stepped(others={4: frozenset({Role.EXECUTOR})}, machines=machines)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    cluster.messages.clear()
    ballot = cluster.replicas[leader].proposer.ballot
    for request in (Prepare(ballot, 0), Accept(ballot, 1, NOOP, 0)):
        cluster.handle(4, Received(cluster.identity[leader], request))
    assert cluster.messages == []
    assert cluster.replicas[4].status(cluster.now).dropped == {"not an acceptor": 2}


# --- reads and watches ---


def test_linearizable_read_is_answered_after_a_quorum_confirms_and_writes_nothing() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle()
    cluster.replies.clear()
    written = len(cluster.log[leader])
    cluster.handle(leader, ReadsRequested([(7, read(1)), (8, read(2))]))
    assert cluster.replies == []
    cluster.handle(leader, ReadsRequested([(7, read(3))]))
    cluster.settle()
    assert cluster.replies == [
        (leader, client, ReadAnswer(number, Status.DONE, 2, b"x"))
        for client, number in ((7, 1), (8, 2), (7, 3))
    ]
    assert len(cluster.log[leader]) == written


def asked_by(cluster: Stepped, leader: NodeId) -> list[NodeId]:
    """Return whom the leader has sent a heartbeat that is on its way."""
    heartbeats = [t for t in cluster.messages if isinstance(t.message, Heartbeat)]
    return [t.target for t in heartbeats if t.source == leader]


def test_linearizable_read_asks_no_more_voters_than_are_enough() -> None:
    cluster, leader = started()
    cluster.messages.clear()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    assert len(asked_by(cluster, leader)) == 1
    cluster.settle()
    assert len(answers(cluster, ReadAnswer)) == 1


def test_linearizable_read_whose_voter_is_silent_asks_all_with_the_next_heartbeat() -> None:
    cluster, leader = started()
    cluster.messages.clear()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    (silent,) = asked_by(cluster, leader)
    cluster.run(
        2 * DEFAULT_TIMING.heartbeat_interval_s, lambda t: silent not in (t.source, t.target)
    )
    assert len(answers(cluster, ReadAnswer)) == 1
    cluster.messages.clear()
    cluster.handle(leader, ReadsRequested([(7, read(2))]))
    (prompt,) = asked_by(cluster, leader)
    assert prompt != silent


def test_linearizable_read_asks_all_when_too_few_were_heard_of_late() -> None:
    cluster, leader = started()
    cluster.messages.clear()
    late = cluster.now.monotonic + DEFAULT_TIMING.election_timeout_s + 0.1
    cluster.now = Instant(late, cluster.now.wall)
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    assert sorted(asked_by(cluster, leader)) == others(cluster, leader)
    cluster.settle()
    assert len(answers(cluster, ReadAnswer)) == 1


def test_linearizable_read_asks_all_at_once_when_a_connection_breaks() -> None:
    cluster, leader = started()
    cluster.messages.clear()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    (gone,) = asked_by(cluster, leader)
    cluster.messages.clear()
    cluster.handle(leader, PeerDisconnected(cluster.identity[gone]))
    assert sorted(asked_by(cluster, leader)) == others(cluster, leader)
    cluster.settle(lambda t: gone not in (t.source, t.target))
    assert len(answers(cluster, ReadAnswer)) == 1


def test_linearizable_read_after_a_connection_broke_asks_another_at_once() -> None:
    cluster, leader = started()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    (gone,) = asked_by(cluster, leader)
    cluster.settle()
    cluster.handle(leader, PeerDisconnected(cluster.identity[gone]))
    cluster.handle(leader, ReadsRequested([(7, read(2))]))
    assert asked_by(cluster, leader) == [node for node in others(cluster, leader) if node != gone]
    cluster.settle(lambda t: gone not in (t.source, t.target))
    assert len(answers(cluster, ReadAnswer)) == 2


def test_linearizable_read_tells_whom_it_asks_of_this_nodes_state_as_a_heartbeat_does() -> None:
    """A node that is told nothing counts it as a comparison all the same, and gives up too soon."""
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    (question,) = [t.message for t in cluster.messages if isinstance(t.message, Heartbeat)]
    applied = cluster.replicas[leader].status(cluster.now).applied_through
    assert question.results.slot == applied > 0


def decided(cluster: Stepped) -> dict[NodeId, Slot]:
    """Return through which slot each node knows what is decided."""
    return {
        node: replica.status(cluster.now).decided_through
        for node, replica in cluster.replicas.items()
    }


def test_linearizable_read_after_a_decision_leaves_the_notice_to_all() -> None:
    """Whom it does not ask hears of the decision no later for it."""
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    while sorted(asked_by(cluster, leader)) != others(cluster, leader):
        cluster.settle()
        cluster.advance(0.005)
    cluster.settle()  # the next heartbeat is an interval away
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle()
    cluster.handle(leader, ReadsRequested([(8, read(1))]))
    cluster.settle()
    known = decided(cluster)
    assert min(known.values()) < known[leader]
    cluster.run(2 * DEFAULT_TIMING.notice_interval_s)
    assert set(decided(cluster).values()) == {known[leader]}


def test_linearizable_read_at_a_cut_off_leader_is_never_answered() -> None:
    """What it holds may be old, and it cannot know."""
    cluster, leader = started()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    cluster.run(3.0, lambda t: leader not in (t.source, t.target))
    assert answers(cluster, ReadAnswer) == []
    assert [(client, type(m)) for _, client, m in cluster.replies] == [(7, Redirect)]


def test_answer_to_a_heartbeat_of_an_earlier_life_confirms_no_read() -> None:
    """It left before the read came, and its number may be above any of this life.

    Seeds 330 and 515 of the simulator, of November 2026: a frame replayed after a restart.
    """
    cluster, leader = started()
    cluster.handle(leader, ReadsRequested([(7, read(1))]))
    ballot = cluster.replicas[leader].proposer.ballot
    for number in (1, 2**50):
        stale = HeartbeatAnswer(number, ballot, ballot, True, 0, 0)
        for other in others(cluster, leader):
            cluster.handle(leader, Received(cluster.identity[other], stale))
    assert answers(cluster, ReadAnswer) == []
    cluster.settle()
    assert len(answers(cluster, ReadAnswer)) == 1


def test_linearizable_read_right_after_an_election_waits_for_what_was_reported() -> None:
    """Chosen under the old leader, not yet decided under the new one."""
    cluster, old = started()
    session = cluster.open_session(old, 7)
    cluster.submit(old, 7, put(session, 1, b"x"))
    cluster.settle(lambda t: not isinstance(t.message, Accepted))
    cluster.stop(old)
    cluster.messages.clear()
    for _ in range(400):
        cluster.run(0.01, lambda t: not isinstance(t.message, Accepted))
        if cluster.leaders():
            break
    (new,) = cluster.leaders()
    cluster.handle(new, ReadsRequested([(7, read(1))]))
    cluster.settle(lambda t: not isinstance(t.message, Accepted))
    assert answers(cluster, ReadAnswer) == []
    cluster.run(1.0)
    ((_, _, answer),) = answers(cluster, ReadAnswer)
    assert isinstance(answer, ReadAnswer)
    assert answer.data == b"x"


def test_local_read_is_answered_at_once_and_a_session_read_waits_for_its_slot() -> None:
    cluster, leader = started()
    follower = others(cluster, leader)[0]
    cluster.handle(
        follower,
        ReadsRequested([(7, read(1, Level.LOCAL, 9)), (7, read(2, Level.SESSION, 1))]),
    )
    cluster.handle(follower, ReadsRequested([(7, read(3, Level.SESSION, 0))]))
    done = [ReadAnswer(number, Status.DONE, 0, b"") for number in (1, 3)]
    assert [m for _, _, m in cluster.replies] == done
    cluster.open_session(leader, 8)
    cluster.run(0.2)
    numbers = [m.number for _, _, m in cluster.replies if isinstance(m, ReadAnswer)]
    assert numbers == [1, 3, 2]


def test_reads_over_the_bound_are_refused() -> None:
    cluster, leader = started(limits=Limits(reads_max=1))
    cluster.handle(leader, ReadsRequested([(7, read(1)), (7, read(2)), (8, read(3))]))
    ((_, client, answer),) = cluster.replies
    assert isinstance(answer, ReadAnswer)
    assert (client, answer.number, answer.status) == (7, 2, Status.REFUSED)
    cluster.handle(leader, ClientGone(7))
    cluster.settle()
    assert [client for _, client, _ in cluster.replies[1:]] == [8]


def test_node_without_state_machines_sends_reads_and_watches_to_the_leader() -> None:
    cluster = Stepped(voters=(1, 2, 3), voter_roles=frozenset({Role.ACCEPTOR}))
    cluster.handle(1, ReadsRequested([(7, read(1, Level.LOCAL))]))
    cluster.handle(1, WatchRequested(7, Watch(2, "r", b"1", 0)))
    assert [type(m) for _, _, m in cluster.replies] == [Redirect, Redirect]


def test_leader_without_state_machines_refuses_reads_and_watches() -> None:
    voter_roles = frozenset({Role.ACCEPTOR, Role.PROPOSER})
    cluster = Stepped(voters=(1,), voter_roles=voter_roles)
    cluster.run(2.0)
    cluster.handle(1, ReadsRequested([(7, read(1))]))
    cluster.handle(1, WatchRequested(7, Watch(2, "r", b"1", 0)))
    assert [m.status for _, _, m in cluster.replies if isinstance(m, ReadAnswer)] == [
        Status.REFUSED,
        Status.REFUSED,
    ]
    cluster.submit(1, 7, OpenSession(1))
    assert cluster.replicas[1].learner.decided_through == 1
    assert cluster.replicas[1].executor.applied_through == 0


def test_watch_is_answered_once_there_is_something_by_any_replica() -> None:
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.run(0.2)
    cluster.replies.clear()
    for node in cluster.identity:
        cluster.handle(node, WatchRequested(20 + node, Watch(1, "r", b"1", 0)))
        cluster.handle(node, WatchRequested(20 + node, Watch(2, "r", b"1", 99)))
        cluster.handle(node, WatchRequested(30 + node, Watch(3, "r", b"1", 0)))
        cluster.handle(node, WatchCancelled(30 + node, 3))
    assert cluster.replies == []
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.run(0.2)
    assert sorted((node, client, m) for node, client, m in answers(cluster, ReadAnswer)) == [
        (node, 20 + node, ReadAnswer(1, Status.DONE, 2, b"x")) for node in sorted(cluster.identity)
    ]


def test_watches_over_the_bound_are_refused() -> None:
    cluster, leader = started(limits=Limits(watches_max=1))
    for number in (1, 2):
        cluster.handle(leader, WatchRequested(7, Watch(number, "r", b"1", 0)))
    ((_, _, answer),) = cluster.replies
    assert isinstance(answer, ReadAnswer)
    assert (answer.number, answer.status) == (2, Status.REFUSED)


# --- the disk is full ---


def test_full_disk_no_vote_no_write_no_campaign_but_reads_and_then_on_again() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.run(0.2)
    cluster.handle(leader, DiskFull(True))
    full = cluster.replicas[leader]
    assert not full.proposer.leading
    assert full.status(cluster.now).disk_full
    written = len(cluster.log[leader])
    cluster.run(3.0)
    (new,) = cluster.leaders()
    assert new != leader
    cluster.submit(new, 8, OpenSession(9))
    cluster.run(0.5)
    assert cluster.replicas[new].learner.decided_through >= 2
    assert len(cluster.log[leader]) == written
    cluster.replies.clear()
    cluster.handle(leader, ReadsRequested([(7, read(1, Level.LOCAL))]))
    assert len(answers(cluster, ReadAnswer)) == 1
    decided = Decided(2, (NOOP,), 2)
    cluster.handle(leader, Received(cluster.identity[new], decided))
    assert full.learner.decided_through == 1
    assert full.next_deadline() > cluster.now.monotonic
    cluster.handle(leader, DiskFull(False))
    cluster.run(1.0)
    assert full.learner.decided_through == cluster.replicas[new].learner.decided_through


def test_full_disk_a_watermark_above_a_hole_writes_nothing() -> None:
    """Found by the simulator, seed 29: what a watermark covers above a hole was recorded."""
    cluster, leader = started()
    follower = others(cluster, leader)[0]
    ballot = cluster.replicas[leader].proposer.ballot
    accept = Received(cluster.identity[leader], Accept(ballot, 2, NOOP, 0))
    cluster.handle(follower, accept)
    cluster.handle(follower, DiskFull(True))
    written = len(cluster.log[follower])
    heartbeat = Heartbeat(1, ballot, True, 2)
    cluster.handle(follower, Received(cluster.identity[leader], heartbeat))
    assert len(cluster.log[follower]) == written


def test_full_disk_of_a_follower_changes_nothing_for_the_leader() -> None:
    cluster, leader = started()
    follower = others(cluster, leader)[0]
    cluster.handle(follower, DiskFull(True))
    cluster.run(3.0)
    assert cluster.leaders() == [leader]
    cluster.open_session(leader, 7)


# --- time and status ---


def test_deadlines_never_stand_still() -> None:
    """A deadline in the past that handling it does not move would spin for ever."""
    cluster, leader = started()
    for node, replica in cluster.replicas.items():
        now = cluster.now
        for _ in range(400):
            now = Instant(max(replica.next_deadline(), now.monotonic), 0)
            replica.handle(DeadlinePassed(), now)
            assert replica.next_deadline() > now.monotonic, node
    assert leader


def test_leader_kept_busy_by_reads_still_notices_that_it_is_alone() -> None:
    """Barrier rounds send heartbeats too; they must not put off the leader's own judgement."""
    cluster, leader = started()
    for number in range(200):
        cluster.handle(leader, ReadsRequested([(7, read(number))]))
        cluster.run(0.02, lambda t: leader not in (t.source, t.target))
        if not cluster.replicas[leader].proposer.leading:
            return
    pytest.fail("the leader never gave way")


def test_status_tells_role_leader_and_watermarks() -> None:
    cluster, leader = started()
    cluster.open_session(leader, 7)
    cluster.run(0.2)
    ballot = cluster.replicas[leader].proposer.ballot
    for node, replica in cluster.replicas.items():
        status = replica.status(cluster.now)
        assert status.role == ("leader" if node == leader else "follower")
        assert (status.ballot, status.leader) == (ballot, leader)
        assert (status.decided_through, status.applied_through) == (1, 1)
        assert (status.sessions, status.pending_bytes, status.node) == (1, 0, node)


def test_new_leader_records_the_old_ones_watermark_before_its_own() -> None:
    """What was decided at ballot b1 is durable before a watermark of b2 passes it."""
    cluster, leader = started()
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.run(0.3)
    cluster.stop(leader)
    cluster.run(3.0)
    (new,) = cluster.leaders()
    cluster.submit(new, 8, put(session, 2, b"y"))
    cluster.run(0.3)
    for node in cluster.replicas:
        rounds = [r.ballot.round for r in cluster.log[node] if isinstance(r, WatermarkRecord)]
        assert rounds == sorted(rounds)
        recovered = replay(cluster.log[node])
        assert recovered.held[2].decided


def test_recorded_watermark_says_no_more_than_its_leader_did() -> None:
    """Else it would vouch for what was accepted where a decision is hidden by damage."""
    cluster = Stepped()
    ballot, lost, chosen = Ballot(1, 2), Value(2, b""), Value(3, b"")
    two, three = cluster.identity[2], cluster.identity[3]
    cluster.handle(1, Received(two, Accept(ballot, 1, Value(1, b""), 0)))
    cluster.handle(1, Received(two, Accept(ballot, 2, lost, 0)))
    cluster.handle(1, Received(three, Decided(2, (chosen,), 2)))
    cluster.handle(1, Received(two, Heartbeat(1, ballot, True, 1)))
    assert cluster.replicas[1].learner.decided_through == 2
    cluster.handle(1, Received(two, Accept(ballot, 3, NOOP, 1)))
    assert WatermarkRecord(ballot, 1) in cluster.log[1]
    damaged = [record for record in cluster.log[1] if not isinstance(record, DecidedRecord)]
    state = replay(damaged, unknown=((2, 2),))
    assert state.held[1].decided
    assert not state.held[2].decided
    assert state.unknown == ((2, 2),)


def test_reply_is_for_clients_and_send_for_nodes() -> None:
    replica = Replica(
        Voter(1, 101),
        Configurations(Configuration(1, Quorums.majority([Voter(1, 101)])), 16),
        replay([]),
        {},
        random.Random(1),
        unpack_batch,
        Instant(0.0, 0),
    )
    effects = replica.handle(Submitted([Submission(3, 1, 1, b"")]), Instant(0.0, 0))
    assert effects == [Reply(3, Redirect(0))]
