"""Snapshots in a cluster stepped by hand: taken, compacted by, fetched, installed, compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos import snapshot_format
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.compaction import PIN_PATIENCE_S
from paxos.core.config import FEATURE_FIRST, Configuration, Governing, Member, Part
from paxos.core.effects import (
    Compact,
    Effect,
    Persist,
    Reply,
    SaveSnapshot,
    Send,
    ServeSnapshot,
    StoreChunk,
)
from paxos.core.errors import InvariantBroken
from paxos.core.events import (
    AdminRequested,
    ClientGone,
    DeadlinePassed,
    PeerDisconnected,
    ReadsRequested,
    Received,
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
)
from paxos.core.ids import Instant, NodeId, Voter
from paxos.core.limits import Limits
from paxos.core.messages import (
    NO_DIGEST,
    Accept,
    AdminAnswer,
    CatchUp,
    Compacted,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    Prepare,
    Promise,
    Read,
    Results,
    Settle,
    Settled,
    SnapshotChunk,
    SnapshotName,
    SnapshotOffer,
    SnapshotRequest,
    StateDigest,
    Status,
    Submit,
    TakeSnapshot,
)
from paxos.core.quorum import Quorums
from paxos.core.records import AcceptedRecord, DecidedRecord, WatermarkRecord
from paxos.core.snapshot import Snapshot
from paxos.core.snapshots import REQUESTS_MAX
from paxos.core.state_machine import Stamp, StateMachine
from paxos.core.value import Value
from paxos.testing.stepped import Stepped

TINY = Limits(
    snapshot_entries=10,
    kept_entries=3,
    snapshot_chunk_bytes=100,
    promise_bytes_max=400,
    sessions_max=4,
)


AnEffect = TypeVar("AnEffect", bound=Effect)


class Ledger:
    """Keeps all it was told; its snapshot shows the moment at which it was asked for."""

    def __init__(self) -> None:
        self.entries: tuple[bytes, ...] = ()

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.entries = (*self.entries, command)
        return b"%d" % len(self.entries)

    def query(self, query: bytes) -> bytes:
        return b" ".join(self.entries)

    def snapshot(self) -> Iterable[bytes]:
        return list(self.entries)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.entries = tuple(chunks)


def machines() -> Mapping[str, StateMachine]:
    return {"l": Ledger()}


class World(Stepped):
    """A cluster with one client, and every effect that concerned a snapshot."""

    def __init__(self, limits: Limits = TINY, founding: Configuration | None = None) -> None:
        self.seen: list[tuple[NodeId, Effect]] = []
        super().__init__(machines=machines, limits=limits, founding=founding, alpha=4)
        self.sent = 0
        self.run(2.0)
        self.session = self.open_session(self.leader, 7)

    @property
    def leader(self) -> NodeId:
        """Who leads at the highest ballot; waits for somebody to."""
        while not self.leaders():
            self.run(0.5)
        return max(self.leaders(), key=lambda node: self.replicas[node].proposer.ballot)

    @property
    def follower(self) -> NodeId:
        return next(node for node in sorted(self.replicas) if node != self.leader)

    def put(self, count: int, without: NodeId = 0) -> None:
        """Decide so many slots with a command each; ``without`` hears nothing of them."""
        for _ in range(count):
            self.ask_for_one()
            self.run(0.03, lambda t: without not in (t.source, t.target))

    def put_at_once(self, count: int) -> None:
        """The same while no time passes: no heartbeat tells of them."""
        for _ in range(count):
            self.ask_for_one()
            self.settle()

    def ask_for_one(self) -> None:
        """Submit a command."""
        self.sent += 1
        put = Submit(self.session, self.sent, self.sent - 1, "l", (b"c%d" % self.sent,))
        self.submit(self.leader, 7, put)

    def run_effects(self, node: NodeId, kind: type[AnEffect]) -> list[AnEffect]:
        return [effect for of, effect in self.seen if of == node and isinstance(effect, kind)]

    def _run(self, node: NodeId, effects: list[Effect]) -> None:
        of_snapshots = (SaveSnapshot, Compact, ServeSnapshot, StoreChunk)
        self.seen += [(node, effect) for effect in effects if isinstance(effect, of_snapshots)]
        super()._run(node, effects)

    def entries(self, node: NodeId) -> bytes:
        return self.replicas[node].executor.query("l", b"")[1]


def admin(client: int) -> AdminRequested:
    return AdminRequested(client, TakeSnapshot(client))


def fetching(world: World, node: NodeId) -> NodeId:
    """Go on until ``node`` has fetched a part of a snapshot; return who helps it."""
    fetcher = world.replicas[node].snapshots.fetcher
    while not fetcher.offset:
        world.advance(0.01)
        world.deliver()
    assert fetcher.helper is not None
    return fetcher.helper.node


# --- taking, and compacting by it ---


def test_snapshots_stand_at_the_same_slots_on_all_nodes_and_the_log_goes_after() -> None:
    world = World()
    world.put(25)
    world.run(0.5)
    names = {node: world.replicas[node].snapshots.latest for node in world.replicas}
    assert len(set(names.values())) == 1
    for node, replica in world.replicas.items():
        saved = [e.snapshot.head.through for e in world.run_effects(node, SaveSnapshot)]
        assert saved == [10, 20]
        assert [e.through for e in world.run_effects(node, Compact)] == [7, 17]
        assert replica.acceptor.compacted_through == 17
        assert replica.acceptor.held(17) is None
        assert replica.acceptor.held(18) is not None
        assert replica.status(world.now).snapshot_through == 20


def test_snapshots_of_a_cluster_of_the_first_feature_are_never_taken() -> None:
    voters = [Voter(n, 100 + n) for n in (1, 2, 3)]
    world = World(founding=Configuration(1, Quorums.majority(voters), feature=FEATURE_FIRST))
    world.put(25)
    world.ask(world.leader, TakeSnapshot(5))
    assert not world.seen
    (answer,) = world.admin_answers()
    assert (answer.status, "upgrade" in answer.text) == (Status.REFUSED, True)
    assert world.replicas[1].snapshots.results(None).slot == 0


def test_restart_from_snapshot_and_log_gives_the_state_of_before() -> None:
    world = World()
    world.put(25)
    world.run(0.5)
    node = world.follower
    before = world.replicas[node].digest()
    assert not [
        record
        for record in world.log[node]
        if isinstance(record, AcceptedRecord | DecidedRecord) and record.slot <= 17
    ]
    world.stop(node)
    replica = world.start(node)
    assert replica.executor.applied_through >= 20
    assert replica.learner.ahead == {}
    world.run(1.0)
    assert replica.digest() == before
    world.put(1)
    assert world.entries(node) == world.entries(world.leader)


def test_restart_repeats_no_request_that_only_the_snapshot_remembers() -> None:
    """The session table is part of the state."""
    world = World()
    world.put(12)
    for node in (1, 2, 3):
        world.stop(node)
    for node in (1, 2, 3):
        world.start(node)
    world.run(2.0)
    world.replies.clear()
    world.submit(world.leader, 7, Submit(world.session, 12, 0, "l", (b"again",)))
    world.run(0.1)
    (results,) = [m for _, _, m in world.replies if isinstance(m, Results)]
    assert results.results[0].data == b"12"
    assert b"again" not in world.entries(world.leader)


def test_snapshot_on_request_is_of_this_moment_and_offered_once_durable() -> None:
    world = World()
    world.put(3)
    node = world.follower
    through = world.replicas[node].executor.applied_through
    world.ask(node, TakeSnapshot(5), client=77)
    world.ask(node, TakeSnapshot(6), client=78)
    offers = [(c, m) for _, c, m in world.replies if isinstance(m, SnapshotOffer)]
    assert [(c, m.name.through) for c, m in offers] == [(77, through), (78, through)]
    assert len(world.run_effects(node, SaveSnapshot)) == 1
    assert world.replicas[node].acceptor.compacted_through == through - TINY.kept_entries


def test_snapshot_that_is_under_way_is_followed_by_one_that_was_asked_for_meanwhile() -> None:
    world = World()
    world.put(3)
    replica, now = world.replicas[world.follower], world.now
    taken = [e for e in replica.handle(admin(1), now) if isinstance(e, SaveSnapshot)]
    first = SnapshotName(taken[0].snapshot.head.through, 9, bytes(16))
    world.put(1)
    assert replica.handle(admin(2), now) == []
    effects = replica.handle(SnapshotSaved(first), now)
    assert [e.client for e in effects if isinstance(e, Reply)] == [1]
    again = [e for e in effects if isinstance(e, SaveSnapshot)]
    assert again[0].snapshot.head.through == first.through + 1
    second = SnapshotName(first.through + 1, 9, bytes(16))
    effects = replica.handle(SnapshotSaved(second), now)
    assert [e.client for e in effects if isinstance(e, Reply)] == [2]


def test_snapshot_without_room_is_refused_and_taken_again_when_the_next_is_due() -> None:
    world = World()
    world.put(3)
    replica, now = world.replicas[world.follower], world.now
    through = replica.executor.applied_through
    replica.handle(admin(1), now)
    replica.handle(admin(2), now)
    replica.handle(ClientGone(2), now)
    (reply,) = replica.handle(SnapshotNotSaved(through), now)
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, AdminAnswer)
    assert (reply.client, reply.message.status) == (1, Status.REFUSED)
    assert replica.acceptor.compacted_through == 0
    world.put(10)
    assert world.run_effects(world.follower, SaveSnapshot)


def test_snapshot_is_refused_to_too_many_who_wait_and_before_anything_is_decided() -> None:
    world = Stepped(voters=(1, 2, 3), machines=machines, limits=TINY)
    (effect,) = world.replicas[1].handle(admin(1), world.now)
    assert isinstance(effect, Reply)
    assert isinstance(effect.message, AdminAnswer)
    larger = World()
    larger.put(1)
    replica = larger.replicas[1]
    for client in range(REQUESTS_MAX):
        replica.handle(admin(client), larger.now)
    (effect,) = replica.handle(admin(99), larger.now)
    assert isinstance(effect, Reply)
    assert isinstance(effect.message, AdminAnswer)
    assert "too many" in effect.message.text


def test_snapshot_that_is_the_latest_already_is_offered_at_once() -> None:
    world = World()
    world.put(2)
    world.ask(1, TakeSnapshot(5))
    world.ask(1, TakeSnapshot(6))
    assert len(world.run_effects(1, SaveSnapshot)) == 1
    assert len([m for _, _, m in world.replies if isinstance(m, SnapshotOffer)]) == 2


# --- catching up ---


def test_node_far_behind_fetches_a_snapshot_in_chunks_and_then_the_log() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    world.run(1.0)
    stored = world.run_effects(node, StoreChunk)
    assert len(stored) > 3
    assert [e.offset for e in stored] == [100 * i for i in range(len(stored))]
    assert world.entries(node) == world.entries(world.leader)
    replica = world.replicas[node]
    assert replica.acceptor.compacted_through >= 40
    assert replica.snapshots.latest == world.replicas[world.leader].snapshots.latest
    assert not replica.snapshots.fetcher.name
    assert replica.digest() == world.replicas[world.leader].digest()


def test_compaction_goes_on_once_a_peer_has_fetched_all() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    helper = world.replicas[fetching(world, node)]
    fetched = world.replicas[node].snapshots.fetcher.name
    assert fetched is not None
    world.run(1.0)
    world.put(30)
    assert helper.acceptor.compacted_through > fetched.through


def test_node_a_little_behind_is_served_from_the_log_that_was_kept() -> None:
    world = World()
    node = world.follower
    world.put(17)
    world.put(5, without=node)
    world.run(1.0)
    assert world.entries(node) == world.entries(world.leader)
    assert not world.run_effects(node, StoreChunk)


def test_fetch_goes_on_at_another_helper_where_it_was() -> None:
    world = World()
    node, leader = world.follower, world.leader
    world.put(40, without=node)
    other = next(n for n in (1, 2, 3) if n not in (node, leader))
    helper = fetching(world, node)
    world.lose(lambda t: True)
    (left,) = {leader, other} - {helper}
    before = world.replicas[node].snapshots.fetcher.offset
    assert before > 0
    world.handle(node, PeerDisconnected(world.identity[helper]))
    world.run(1.0, lambda t: helper not in (t.source, t.target) or node not in (t.source, t.target))
    assert world.entries(node) == world.entries(leader)
    stored = world.run_effects(node, StoreChunk)
    assert len({e.offset for e in stored}) == len(stored)
    assert world.run_effects(left, ServeSnapshot)


def test_fetch_whose_helper_restarts_is_resumed_and_one_that_restarts_begins_anew() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    helper = fetching(world, node)
    world.stop(helper)
    world.start(helper)
    world.handle(node, PeerDisconnected(world.identity[helper]))
    world.settle(lambda t: node in (t.source, t.target))
    world.stop(node)
    world.start(node)
    world.run(2.0)
    world.put(1)
    assert world.entries(node) == world.entries(world.leader)


def test_compaction_waits_for_a_peer_that_fetches_and_snapshots_wait_too() -> None:
    """It must find every slot above the snapshot that it has at the end."""
    world = World()
    node = world.follower
    world.put(40, without=node)
    helper = fetching(world, node)
    replica = world.replicas[helper]
    fetched = world.replicas[node].snapshots.fetcher.name
    assert fetched is not None
    world.put(40, without=node)
    assert replica.acceptor.compacted_through <= fetched.through
    assert replica.snapshots.latest is not None
    assert replica.snapshots.latest.through <= fetched.through + 10
    world.handle(helper, PeerDisconnected(world.identity[node]))
    world.put(20, without=node)
    assert replica.acceptor.compacted_through > fetched.through


def test_compaction_does_not_wait_for_ever_for_a_peer_that_no_longer_asks() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    helper = fetching(world, node)
    fetched = world.replicas[node].snapshots.fetcher.name
    assert fetched is not None
    world.run(PIN_PATIENCE_S + 1, lambda t: node not in (t.source, t.target), step=0.1)
    world.put(30, without=node)
    assert world.replicas[helper].acceptor.compacted_through > fetched.through


def test_spoilt_snapshot_is_fetched_anew_after_a_pause() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    fetching(world, node)
    name = world.replicas[node].snapshots.fetcher.name
    assert name is not None
    world.handle(node, SnapshotSpoilt(name))
    world.run(1.0)
    assert not world.entries(node).endswith(b"c40")
    world.run(6.0)
    assert world.entries(node) == world.entries(world.leader)


def test_own_snapshot_that_can_no_longer_be_read_is_taken_again() -> None:
    world = World()
    world.put(12)
    replica = world.replicas[1]
    name = replica.snapshots.latest
    assert name is not None
    (effect,) = replica.handle(SnapshotSpoilt(name), world.now)
    assert isinstance(effect, SaveSnapshot)
    assert replica.snapshots.latest is None
    request = Received(world.identity[2], SnapshotRequest(name, 0))
    (answer,) = replica.handle(request, world.now)
    assert isinstance(answer, Send)
    assert answer.message == SnapshotChunk(name, 0, b"")


def test_snapshot_older_than_the_state_is_never_installed() -> None:
    """It would roll the state back."""
    world = World()
    world.put(12)
    name, data = world.snapshots[1]
    old = snapshot_format.read(len(data), lambda at, length: data[at : at + length])
    world.put(12)
    replica = world.replicas[1]
    applied, entries = replica.executor.applied_through, world.entries(1)
    compacted = replica.acceptor.compacted_through
    effects = replica.handle(SnapshotFetched(name, old), world.now)
    assert effects == []
    assert replica.executor.applied_through == applied
    assert world.entries(1) == entries
    assert replica.acceptor.compacted_through == compacted
    assert replica.snapshots.latest is not None
    assert replica.snapshots.latest.through > name.through


def test_snapshot_of_the_slot_of_one_that_is_being_saved_begins_no_second_one() -> None:
    """It came whole while the log brought this node to the same slot by itself."""
    world = World()
    world.put(12)
    node = world.follower
    replica = world.replicas[node]
    through = replica.executor.applied_through
    replica.handle(AdminRequested(5, TakeSnapshot(1)), world.now)  # is being saved from now on
    fetched = brought(world, through)
    replica.handle(fetched, world.now)
    value = Value(None, b"")
    sender = world.identity[world.leader]
    replica.handle(Received(sender, Decided(through + 1, (value,), through + 1)), world.now)
    effects = replica.handle(AdminRequested(5, TakeSnapshot(2)), world.now)
    assert [effect for effect in effects if isinstance(effect, SaveSnapshot)] == []
    effects = replica.handle(SnapshotSaved(fetched.name), world.now)
    (save,) = [effect for effect in effects if isinstance(effect, SaveSnapshot)]
    assert save.snapshot.head.through == through + 1


def test_snapshot_that_the_log_has_overtaken_is_not_fetched_to_its_end() -> None:
    world = World()
    world.run(0.1)
    node, leader = world.follower, world.leader
    replica, values = world.replicas[node], []
    first = replica.learner.decided_through + 1
    for _ in range(40):
        world.put(1, without=node)
        slot = world.replicas[leader].learner.decided_through
        held = world.replicas[leader].acceptor.held(slot)
        assert held is not None
        values.append(held.value)
    fetching(world, node)
    replica.handle(Received(world.identity[leader], Decided(first, tuple(values), 0)), world.now)
    assert world.entries(node) == world.entries(leader)
    assert replica.snapshots.fetcher.name is None


def test_node_that_lost_its_snapshot_keeps_its_votes_and_fetches_the_state() -> None:
    world = World()
    world.put(25)
    node = world.follower
    promised, held = world.replicas[node].acceptor.promised, world.replicas[node].acceptor.held(19)
    world.stop(node)
    del world.snapshots[node]
    replica = world.start(node)
    assert (replica.executor.applied_through, replica.learner.decided_through) == (0, 0)
    assert replica.acceptor.compacted_through == 17
    assert replica.acceptor.promised == promised
    assert replica.acceptor.held(19) == held
    world.run(1.0)
    assert world.entries(node) == world.entries(world.leader)


def test_leader_to_be_that_lost_its_state_catches_up_before_it_leads() -> None:
    """Its own acceptor says that there is more than it knows."""
    world = World()
    world.put(25)
    for node in (1, 2, 3):
        world.stop(node)
    del world.snapshots[1]
    for node in (1, 2, 3):
        world.start(node)
    first = world.replicas[1]
    while first.learner.decided_through < 20:
        assert not first.proposer.leading
        world.advance(0.01)
        world.deliver()
    world.run(3.0)
    world.put(1)
    assert len({world.entries(node) for node in (1, 2, 3)}) == 1


def test_proposer_that_is_told_of_compacted_slots_leads_once_it_has_caught_up() -> None:
    """What acceptors have forgotten is decided: it must never look empty."""
    world = World()
    node = world.follower
    world.put(40, without=node)
    replica = world.replicas[node]
    world.messages.clear()
    behind = replica.learner.decided_through
    campaign: list[Effect] = []
    replica._campaign(world.now, campaign)
    world._run(node, campaign)
    others = [n for n in world.replicas if n != node]
    while not replica.snapshots.fetcher.offset:
        world.deliver(lambda t: not isinstance(t.message, Heartbeat | HeartbeatAnswer))
        assert not replica.proposer.leading
    assert replica.proposer.is_catching_up(behind)
    world.settle()
    assert replica.proposer.leading
    assert replica.learner.decided_through >= 40
    assert {world.replicas[n].proposer.leading for n in others} == {False}
    assert world.entries(node) == world.entries(others[0])


def test_accept_for_a_forgotten_slot_is_answered_compacted_and_makes_its_sender_catch_up() -> None:
    world = World()
    world.put(25)
    node, leader = world.follower, world.leader
    replica, ballot = world.replicas[node], world.replicas[leader].proposer.ballot
    accept = Accept(ballot, 4, Value(1, b""), 3)
    (effect,) = replica.handle(Received(world.identity[leader], accept), world.now)
    assert isinstance(effect, Send)
    assert effect.message == Compacted(ballot, ballot, 17, replica.learner.decided_through)
    asker = Stepped(voters=(1, 2, 3), machines=machines, limits=TINY).replicas[leader]
    answers = asker.handle(Received(world.identity[node], effect.message), world.now)
    assert Send(node, CatchUp(0)) in answers


def test_leader_that_is_told_of_forgotten_slots_proposes_nothing_there() -> None:
    world = World()
    world.put(5)
    leader, node = world.replicas[world.leader], world.follower
    ballot = leader.proposer.ballot
    leader.handle(Received(world.identity[node], Compacted(ballot, ballot, 40, 50)), world.now)
    assert leader.proposer.leading
    world.submit(world.leader, 7, Submit(world.session, 6, 5, "l", (b"x",)))
    assert not leader.proposer.in_flight


def test_node_that_regains_from_values_what_its_lost_snapshot_held_takes_another_at_once() -> None:
    world = World()
    world.put(6)
    node = world.follower
    world.ask(node, TakeSnapshot(1))
    world.stop(node)
    del world.snapshots[node]
    replica = world.start(node)
    assert replica.acceptor.compacted_through > 0
    world.run(1.0)
    assert world.entries(node) == world.entries(world.leader)
    assert replica.snapshots.digest.slot >= replica.acceptor.compacted_through
    assert replica.acceptor.held(replica.acceptor.compacted_through) is None


def test_node_whose_snapshot_is_spoilt_is_not_settled_before_the_next_is_durable() -> None:
    """Whom a change removes may be wiped then: what is only in memory here does not count."""
    world = World()
    node = world.follower
    world.put(40)
    replica = world.replicas[node]
    through = replica.learner.decided_through
    assert replica.acceptor.compacted_through > 0

    def settles() -> bool:
        asked = Received(world.identity[world.leader], Settle(1))
        effects = replica.handle(asked, world.now)
        (then,) = [e.then for e in effects if isinstance(e, Persist)] or [()]
        return [send.message for send in then] == [Settled(1)]

    assert settles()
    latest = replica.snapshots.latest
    assert latest is not None
    while replica.snapshots.latest is not None:
        replica.handle(SnapshotSpoilt(replica.snapshots.latest), world.now)
    assert not settles()
    replica.handle(SnapshotSaved(latest._replace(through=through)), world.now)
    assert settles()


def test_older_snapshot_fetched_for_a_lost_one_lets_go_of_nothing_more() -> None:
    """Its log was compacted by the one that is lost: the slots between the two come from peers."""
    world = World()
    node = world.follower
    world.put(12)
    name, data = world.snapshots[world.leader]
    old = snapshot_format.read(len(data), lambda at, length: data[at : at + length])
    world.put(24)
    world.stop(node)
    del world.snapshots[node]
    replica = world.start(node)
    compacted = replica.acceptor.compacted_through
    assert name.through < compacted
    effects = replica.handle(SnapshotFetched(name, old), world.now)
    assert not [effect for effect in effects if isinstance(effect, Compact)]
    assert replica.learner.decided_through == name.through
    world.run(1.0)
    assert world.entries(node) == world.entries(world.leader)
    assert replica.acceptor.compacted_through >= compacted


def test_heartbeats_and_answers_say_what_the_state_is() -> None:
    world = World()
    world.put(12)
    beat = Heartbeat(1, BALLOT_ZERO, False, 12)
    sends = world.replicas[1].handle(Received(world.identity[2], beat), world.now)
    (answer,) = [e.message for e in sends if isinstance(e, Send)]
    assert isinstance(answer, HeartbeatAnswer)
    latest = world.replicas[1].snapshots.latest
    assert latest is not None
    assert answer.snapshot == StateDigest(10, latest.digest)
    assert answer.results.slot == world.replicas[1].executor.applied_through


def test_fetch_without_a_helper_goes_on_with_whoever_is_heard_next() -> None:
    world = World()
    node = world.follower
    world.put(40, without=node)
    helper = fetching(world, node)
    replica = world.replicas[node]
    late = Instant(world.now.monotonic + 100.0, world.now.wall)
    replica.handle(DeadlinePassed(), late)
    assert replica.snapshots.fetcher.helper is None
    beat = Heartbeat(1, BALLOT_ZERO, False, 12)
    effects = replica.handle(Received(world.identity[helper], beat), late)
    assert [e for e in effects if isinstance(e, Send) and isinstance(e.message, SnapshotRequest)]


def test_leader_that_is_told_of_forgotten_slots_gives_way_if_they_are_of_a_higher_ballot() -> None:
    world = World()
    world.put(5)
    leader = world.replicas[world.leader]
    ballot, node = leader.proposer.ballot, world.follower
    compacted = Compacted(ballot, Ballot(99, node), 40, 50)
    effects = leader.handle(Received(world.identity[node], compacted), world.now)
    assert not leader.proposer.leading
    assert Send(node, CatchUp(leader.learner.decided_through)) in effects


def brought(world: World, through: int, version: int = 1) -> SnapshotFetched:
    """The state of the last snapshot, as if it were of a much later slot."""
    name, data = world.snapshots[1]
    snapshot = snapshot_format.read(len(data), lambda at, length: data[at : at + length])
    (first,) = snapshot.head.governing
    governing = (Governing(through - 2, replace(first.configuration, version=version)),)
    head = snapshot.head._replace(through=through, governing=governing)
    return SnapshotFetched(name._replace(through=through), Snapshot(head, snapshot.parts))


def test_leader_with_proposals_that_a_snapshot_covers_gives_way() -> None:
    """What came of them is not told: some other ballot may have decided something else."""
    world = World()
    world.put(12)
    leader = world.replicas[world.leader]
    put = Submit(world.session, 13, 12, "l", (b"lost",))
    world.submit(world.leader, 7, put)  # proposed, and heard by nobody yet
    assert leader.proposer.in_flight
    leader.handle(brought(world, 90), world.now)
    assert not leader.proposer.leading
    assert leader.learner.decided_through == 90


def test_snapshot_of_another_slot_than_its_name_says_is_not_installed() -> None:
    world = World()
    world.put(12)
    event = brought(world, 90)
    spoilt = SnapshotFetched(event.name._replace(through=91), event.snapshot)
    assert world.replicas[2].handle(spoilt, world.now) == []
    assert world.replicas[2].learner.decided_through < 90


def test_configuration_that_a_snapshot_brings_is_taken_over_with_it() -> None:
    world = World()
    world.put(12)
    replica = world.replicas[2]
    replica.handle(brought(world, 90, version=3), world.now)
    latest = replica.status(world.now).configuration
    assert latest is not None
    assert latest.version == 3


def test_promise_says_what_is_compacted_and_reports_only_what_is_above() -> None:
    world = World()
    world.put(25)
    replica, ballot = world.replicas[1], Ballot(99, 2)
    effects = replica.handle(Received(world.identity[2], Prepare(ballot, 0)), world.now)
    promises = [s.message for e in effects if isinstance(e, Persist) for s in e.then]
    assert all(isinstance(m, Promise) and m.compacted_through == 17 for m in promises)
    slots = [r.slot for m in promises if isinstance(m, Promise) for r in m.reports]
    assert slots == list(range(18, replica.acceptor.highest + 1))


def test_catch_up_from_a_value_that_is_not_known_decided_is_answered_with_the_snapshot() -> None:
    """After a restart the log may hold less knowledge than the snapshot does."""
    world = World()
    world.put(21)
    world.stop(1)
    world.log[1] = [
        record for record in world.log[1] if not isinstance(record, WatermarkRecord | DecidedRecord)
    ]
    replica = world.start(1)
    held = replica.acceptor.held(19)
    assert held is not None
    assert not held.decided
    (effect,) = replica.handle(Received(world.identity[2], CatchUp(18)), world.now)
    assert isinstance(effect, Send)
    assert isinstance(effect.message, SnapshotOffer)
    assert replica.handle(Received(world.identity[2], CatchUp(30)), world.now) == []


# --- witnesses ---


def with_witness() -> World:
    members = tuple(Member(n, 100 + n, Part.WITNESS if n == 3 else Part.VOTER) for n in (1, 2, 3))
    voters = [member.voter for member in members]
    return World(founding=Configuration(1, Quorums.majority(voters), members))


def test_witness_forgets_only_what_full_voters_that_form_a_quorum_have_saved() -> None:
    world = with_witness()
    world.put(12)
    witness = world.replicas[3]
    assert witness.acceptor.compacted_through == 10 - TINY.kept_entries
    assert witness.snapshots.latest is None
    assert witness.executor.applied_through == 0
    (saved,) = world.run_effects(3, SaveSnapshot)
    assert saved.snapshot.head.governing
    assert list(saved.snapshot.parts()) == []
    follower = world.follower
    world.put(10, without=follower)  # one full voter alone is no phase-2 quorum of them
    assert witness.acceptor.compacted_through == 10 - TINY.kept_entries
    world.run(1.0)
    assert witness.acceptor.compacted_through == 20 - TINY.kept_entries


def test_witness_saves_one_head_at_a_time_and_then_the_latest() -> None:
    world = with_witness()
    world.put(12)
    witness, now = world.replicas[3], world.now

    def hear(slot: int) -> list[SaveSnapshot]:
        out: list[Effect] = []
        for voter in (world.identity[1], world.identity[2]):
            beat = Heartbeat(1, BALLOT_ZERO, False, 12, StateDigest(slot, b"s"))
            out += witness.handle(Received(voter, beat), now)
        return [effect for effect in out if isinstance(effect, SaveSnapshot)]

    assert [save.snapshot.head.through for save in hear(11)] == [11]
    assert hear(12) == []
    effects = witness.handle(SnapshotSaved(SnapshotName(11, 9, bytes(16))), now)
    assert [e.snapshot.head.through for e in effects if isinstance(e, SaveSnapshot)] == [12]


def test_witness_no_longer_counts_a_snapshot_that_its_voter_has_found_damaged() -> None:
    world = with_witness()
    world.put(12)
    witness, now = world.replicas[3], world.now

    def hear(voter: NodeId, slot: int) -> list[Effect]:
        digest = StateDigest(slot, b"s") if slot else NO_DIGEST
        beat = Heartbeat(1, BALLOT_ZERO, False, 12, digest)
        out = witness.handle(Received(world.identity[voter], beat), now)
        return [effect for effect in out if isinstance(effect, SaveSnapshot)]

    assert hear(1, 12) == []
    assert hear(1, 0) == []
    assert hear(2, 12) == []
    assert len(hear(1, 12)) == 1


def test_witness_restarts_from_its_head_and_goes_on_voting() -> None:
    world = with_witness()
    world.put(12)
    world.stop(3)
    witness = world.start(3)
    assert witness.learner.decided_through >= 10
    assert witness.snapshots.digest.slot == 0
    world.stop(next(node for node in (1, 2) if node != world.leader))
    world.put(2)
    assert world.entries(world.leader).endswith(b"c14")
    world.ask(3, TakeSnapshot(1))
    assert "state machine" in world.admin_answers()[-1].text


def test_witness_far_behind_fetches_a_snapshot_and_still_forgets_by_its_own_rule() -> None:
    """Were that full voter lost, nobody might have what the witness forgot."""
    world = with_witness()
    world.put(12)
    compacted = world.replicas[3].acceptor.compacted_through
    (other,) = {1, 2} - {world.leader}
    world.put(40, without=3)
    world.run(1.0, lambda t: (t.source, t.target) != (other, 3))
    witness = world.replicas[3]
    assert witness.learner.decided_through >= 50
    assert witness.executor.applied_through == 0
    assert witness.acceptor.compacted_through == compacted
    world.stop(3)
    witness = world.start(3)
    assert witness.learner.decided_through >= 50
    for voter in (world.identity[1], world.identity[2]):
        beat = Heartbeat(1, BALLOT_ZERO, False, 12, StateDigest(10, b"s"))
        witness.handle(Received(voter, beat), world.now)
    assert witness.acceptor.compacted_through == compacted
    world.run(0.5)
    assert witness.acceptor.compacted_through >= 47


def test_node_that_is_behind_and_hears_a_witness_first_turns_to_a_full_voter() -> None:
    """The witness knows that all is decided, has forgotten it, and has no snapshot to offer."""
    world = with_witness()
    world.put(5)
    behind = world.follower
    world.put(10)
    assert world.replicas[3].acceptor.compacted_through > 0
    world.wipe(behind)
    world.join(behind)
    for _ in range(100):
        world.advance(0.01)
        while world.deliver(lambda t: 3 in (t.source, t.target)) or world.deliver():
            pass
    assert world.replicas[behind].digest() == world.replicas[world.leader].digest()


def test_former_witness_finds_that_its_head_has_no_state_and_fetches_one() -> None:
    world = with_witness()
    world.put(12)
    world.stop(3)
    world.roles[3] = world.roles[1]
    replica = world.start(3)
    assert replica.learner.decided_through == 0
    world.run(1.0)
    assert world.entries(3) == world.entries(1)


# --- comparing states ---


def spoil(world: World, node: NodeId) -> None:
    ledger = world.replicas[node].executor._machines["l"]
    assert isinstance(ledger, Ledger)
    ledger.entries = (*ledger.entries[:-1], b"rotten")


def test_node_whose_results_differ_stops_and_names_the_first_slot_that_did() -> None:
    world = World()
    world.put(6)
    node = world.follower
    ledger = world.replicas[node].executor._machines["l"]
    assert isinstance(ledger, Ledger)
    ledger.entries = ledger.entries[:-1]  # its next answer will be another
    wrong = world.replicas[world.leader].learner.decided_through + 1
    world.put(1, without=node)
    world.put(3, without=node)
    with pytest.raises(InvariantBroken, match=f"; slot {wrong} is the first to differ"):
        world.run(3.0)


def test_node_whose_state_alone_differs_stops_at_the_next_snapshot() -> None:
    world = World()
    world.put(4)
    spoil(world, world.follower)
    with pytest.raises(InvariantBroken, match=r"at slot 10 .* though all results"):
        world.put(10)


def test_leader_whose_state_differs_stops_too() -> None:
    world = World()
    world.put(4)
    spoil(world, world.leader)
    with pytest.raises(InvariantBroken, match="replace"):
        world.put(10)


def asked_for_a_read(world: World) -> list[tuple[NodeId, Heartbeat]]:
    """Let the leader be asked for a read; return whom it asks, and what it tells them."""
    world.handle(world.leader, ReadsRequested([(9, Read(1, Level.LINEARIZABLE, "l", b"", 0))]))
    sent = [(t.target, t.message) for t in world.messages if t.source == world.leader]
    world.settle()
    return [(node, message) for node, message in sent if isinstance(message, Heartbeat)]


def test_leader_that_differs_from_two_tells_whom_a_read_asks_what_that_one_must_hear() -> None:
    """Told of the other's slots, the two would never find the slot since when they differ."""
    world = World(Limits())
    world.put(4)
    world.run(0.3)
    replica = world.replicas[world.leader]
    agreed = replica.executor.applied_through
    world.put_at_once(12)
    ((asked, _),) = asked_for_a_read(world)
    (other,) = {1, 2, 3} - {world.leader, asked}
    for node, slot in ((other, agreed + 12), (asked, agreed + 4)):
        differs = StateDigest(slot, b"another state!!!")
        beat = Heartbeat(1, BALLOT_ZERO, False, agreed, NO_DIGEST, differs)
        replica.handle(Received(world.identity[node], beat), world.now)
    assert replica.status(world.now).differs == {other: agreed + 12, asked: agreed + 4}
    ((again, question),) = asked_for_a_read(world)
    assert again == asked
    assert agreed < question.results.slot <= agreed + 4


def test_nodes_that_agree_say_that_another_differs_and_go_on() -> None:
    world = World()
    world.put(12)
    follower, leader = world.follower, world.leader
    replica = world.replicas[leader]
    theirs = StateDigest(10, b"another state!!!")
    (other,) = {1, 2, 3} - {follower, leader}
    beat = Heartbeat(1, BALLOT_ZERO, False, 12, theirs)
    replica.handle(Received(world.identity[follower], beat), world.now)
    status = replica.status(world.now)
    assert status.dropped == {"another state at an equal slot": 1}
    assert status.differs == {}
    with pytest.raises(InvariantBroken, match=f"nodes {min(other, follower)}, "):
        replica.handle(Received(world.identity[other], beat), world.now)


# --- any order of anything ---


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "deaf", "restart", "lose snapshot", "pause", "take", "some"]),
            st.integers(1, 3),
            st.integers(1, 12),
        ),
        max_size=12,
    )
)
def test_nodes_end_alike_wherever_they_restart_fetch_and_lose_snapshots(
    steps: list[tuple[str, int, int]],
) -> None:
    """One node at a time is disturbed; nothing that was answered is lost, and all end equal."""
    world = World()
    for step, node, number in steps:
        if step in {"put", "deaf"}:
            world.put(number, without=node if step == "deaf" and node != world.leader else 0)
        elif step in {"restart", "lose snapshot"}:
            if step == "lose snapshot":
                world.run(3.0)  # or the state could be lost on all who had it
            world.stop(node)
            if step == "lose snapshot":
                world.snapshots.pop(node, None)
            world.start(node)
        elif step == "pause":
            world.run(0.1 * number, lambda t: node not in (t.source, t.target))  # noqa: B023
        elif step == "take":
            world.ask(node, TakeSnapshot(1))
        else:  # stop in the middle of whatever is under way
            world.deliver(lambda t: t.target == node)  # noqa: B023
    world.run(5.0)
    answered = {
        result.data: result.request
        for _, _, m in world.replies
        if isinstance(m, Results)
        for result in m.results
    }
    world.put(1)
    world.run(1.0)
    entries = world.entries(world.leader).split()
    assert [world.entries(n).split() for n in (1, 2, 3)] == [entries] * 3
    assert len({world.replicas[n].digest() for n in (1, 2, 3)}) == 1
    for place, request in answered.items():
        assert entries[int(place) - 1] == b"c%d" % request
    for replica in world.replicas.values():
        compacted, snapshot = replica.acceptor.compacted_through, replica.snapshots.digest.slot
        assert compacted <= snapshot <= replica.executor.applied_through
