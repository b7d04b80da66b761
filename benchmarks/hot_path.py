"""A node's passes for writes in one process, without sockets, tasks or clocks: its hot path.

Owns what a pass of ``paxos.runtime.node`` does with frames of clients and peers, with the product's
own replica, writer, storage and codec; and frames as clients and the other nodes would send them,
made beforehand, so that making them is no part of what is measured. Time stands still once a node
leads: nothing here is a heartbeat or is sent again. Snapshots are made and the log is compacted as
the replica wants it, a piece of a snapshot with every pass. It never measures anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from benchmarks import minimal_store
from benchmarks.minimal_store import MinimalStore, put
from paxos import codec, snapshot_format
from paxos.cluster import ALPHA
from paxos.core.config import Configuration, Configurations
from paxos.core.effects import Compact, Effect, Persist, Reply, SaveSnapshot, Send
from paxos.core.events import (
    DeadlinePassed,
    Event,
    Received,
    SnapshotSaved,
    Submission,
    Submitted,
)
from paxos.core.ids import ClientId, Instant, NodeId, SessionId, Voter
from paxos.core.limits import DEFAULT_LIMITS, Limits
from paxos.core.messages import Accepted, Message, OpenSession, PeerMessage, Submit
from paxos.core.quorum import Quorums
from paxos.core.replica import Replica
from paxos.core.snapshot import Snapshot
from paxos.core.state_machine import StateMachine
from paxos.runtime.recovery import recover
from paxos.runtime.room import RESERVE_EVERY_BYTES
from paxos.runtime.writer import InlineDisk, Writer
from paxos.storage.base import Identity, Storage
from paxos.storage.memory import MemoryStorage
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import put_command

LEADER: NodeId = 1
VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
CONFIG = "config"
MINIMAL = minimal_store.MACHINE
MACHINES: Mapping[str, Callable[[], StateMachine]] = {CONFIG: EdgeConfig, MINIMAL: MinimalStore}
VALUE_BYTES = 64
OPENINGS_MAX = 100
"""Sessions opened in one slot."""


def identity(node: NodeId) -> Identity:
    """Return what the data directory of a node must say it is."""
    return Identity("00" * 16, node, VOTERS[node - 1].incarnation)


class Slot(NamedTuple):
    """What arrives at the leader for one slot: submissions, then the votes of the others."""

    clients: Sequence[tuple[ClientId, bytes]]
    votes: Sequence[tuple[Voter, bytes]]


class PassingNode:
    """One node, stepped a pass at a time.

    Args:
        node: Which of the three.
        machine: The name of its state machine, one of ``MACHINES``.
        storage: Its log, not loaded yet.
        limits: See ``Limits``.

    Attributes:
        replica: The replica.
        to_peers: Frames of the last pass, by node.
        to_clients: Frames of the last pass, by client.
        snapshots: How many were begun so far.
    """

    def __init__(
        self, node: NodeId, machine: str, storage: Storage, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._me = VOTERS[node - 1]
        self._storage = storage
        self.now = Instant(0.0, 1_700_000_000_000_000)
        founding = Configuration(1, Quorums.majority(VOTERS))
        self.replica = Replica(
            self._me,
            Configurations(founding, ALPHA),
            recover(storage, identity(node)).recovered,
            {machine: MACHINES[machine]()},
            Random(node),
            codec.unpack_batch,
            self.now,
            limits=limits,
        )
        storage.reserve()
        self._writer = Writer(storage, InlineDisk(storage))
        self._reserved_at = 0
        self._to_self: deque[PeerMessage] = deque()
        self.to_peers: dict[NodeId, list[bytes]] = {}
        self.to_clients: dict[ClientId, list[bytes]] = {}
        self._last_sent: tuple[Message | None, bytes] = (None, b"")
        self.snapshots = 0
        self._saving: Iterator[SnapshotSaved | None] | None = None

    def take(
        self,
        clients: Iterable[tuple[ClientId, bytes]] = (),
        peers: Iterable[tuple[Voter, bytes]] = (),
    ) -> None:
        """Make a pass with frames that arrived together."""
        self.to_peers, self.to_clients = {}, {}
        decode = codec.decode_peer
        for peer, frame in peers:
            self._handle(Received(peer, decode(frame)))
        header, wrap = codec.submission_header, codec.wrap_submission
        submissions = [Submission(client, *header(frame), wrap(frame)) for client, frame in clients]
        if submissions:
            self._handle(Submitted(submissions))
        self.replica.next_deadline()  # a pass asks; here nothing is ever due
        self._write()
        if self._saving is not None:
            self._save_more()
        written = self._writer.written_bytes
        if written - self._reserved_at >= RESERVE_EVERY_BYTES:
            self._reserved_at = written
            self._storage.reserve()

    @property
    def id(self) -> NodeId:
        """The node's id."""
        return self._me.node

    def wake(self, now: Instant) -> None:
        """Let the time have come that the replica waits for."""
        self.to_peers, self.now = {}, now
        self._handle(DeadlinePassed())
        self._write()

    @property
    def saving(self) -> bool:
        """Whether a snapshot is being made."""
        return self._saving is not None

    def _write(self) -> None:
        for send in self._writer.write():
            self._post(send)
        self._last_sent = (None, b"")
        while self._to_self:
            self._handle(Received(self._me, self._to_self.popleft()))

    def _handle(self, event: Event) -> None:
        self._carry_out(self.replica.handle(event, self.now))
        while self._to_self:
            message = self._to_self.popleft()
            self._carry_out(self.replica.handle(Received(self._me, message), self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._post(effect)
            elif isinstance(effect, Persist):
                self._writer.stage(effect)
            elif isinstance(effect, Reply):
                self.to_clients.setdefault(effect.client, []).append(codec.encode(effect.message))
            elif isinstance(effect, SaveSnapshot):
                self.snapshots += 1
                self._saving = self._save(effect.snapshot)
            elif isinstance(effect, Compact):
                self._writer.compact(effect.through)

    def _post(self, send: Send) -> None:
        if send.to == self._me.node:
            self._to_self.append(send.message)
            return
        if self._last_sent[0] is not send.message:
            self._last_sent = (send.message, codec.encode(send.message))
        self.to_peers.setdefault(send.to, []).append(self._last_sent[1])

    def _save(self, snapshot: Snapshot) -> Iterator[SnapshotSaved | None]:
        writer = self._storage.begin_snapshot(snapshot.head.through)
        for piece in snapshot_format.encode(snapshot):
            writer.write(piece)
            yield None
        yield SnapshotSaved(writer.finish())

    def _save_more(self) -> None:
        assert self._saving is not None
        saved = next(self._saving)
        if saved is not None:
            self._saving = None
            self._handle(saved)
            self._write()


def elect(nodes: Sequence[PassingNode]) -> None:
    """Let the first of three nodes lead; what anybody says arrives at once."""
    leader = nodes[0]
    while not leader.replica.proposer.leading:
        now = Instant(leader.replica.next_deadline(), leader.now.wall)
        for node in nodes:
            node.now = now
        leader.wake(now)
        under_way = deque(_frames(leader))
        while under_way:
            source, target, frame = under_way.popleft()
            node = nodes[target - 1]
            node.take(peers=[(VOTERS[source - 1], frame)])
            under_way.extend(_frames(node))


def _frames(node: PassingNode) -> list[tuple[NodeId, NodeId, bytes]]:
    source = node.id
    return [(source, to, frame) for to, frames in node.to_peers.items() for frame in frames]


class Load:
    """Submissions of puts, as clients would send them: each key twice, then keys at random.

    Args:
        machine: Which state machine they are for.
        keys: How many keys there are.
        sessions: How many sessions take turns, one connection each.
        submissions: In each slot.
        commands: In each submission.

    Attributes:
        commands: As given. Assign to it to change what comes.
    """

    def __init__(
        self, machine: str, keys: int, sessions: int, submissions: int, commands: int
    ) -> None:
        self.machine = machine
        self.sessions = sessions
        self._submissions = submissions
        self.commands = commands
        self._keys = keys
        self._rng = Random(keys)
        self._made = count()
        self._padding = self._rng.randbytes(VALUE_BYTES - 8)
        self._session: SessionId = 0  # whose turn was last
        self._following = [1] * (sessions + 1)  # by session, the next request number

    @property
    def writes(self) -> int:
        """Commands in each slot."""
        return self._submissions * self.commands

    def openings(self) -> Iterator[list[tuple[ClientId, bytes]]]:
        """Yield what opens the sessions, a slot at a time."""
        for first in range(1, self.sessions + 1, OPENINGS_MAX):
            clients = range(first, min(first + OPENINGS_MAX, self.sessions + 1))
            yield [(each, codec.encode_submission(OpenSession(each))) for each in clients]

    def slot(self) -> list[tuple[ClientId, bytes]]:
        """Return the submissions of the next slot; everything before it has been answered."""
        frames: list[tuple[ClientId, bytes]] = []
        acked: dict[SessionId, int] = {}
        for _ in range(self._submissions):
            session = self._session = self._session % self.sessions + 1
            first = self._following[session]
            self._following[session] = first + self.commands
            through = acked.setdefault(session, first - 1)
            commands = tuple(self._put() for _ in range(self.commands))
            submit = Submit(session, first, through, self.machine, commands)
            frames.append((session, codec.encode_submission(submit)))
        return frames

    def _put(self) -> bytes:
        """Return the next put."""
        number = next(self._made)
        key = number % self._keys if number < 2 * self._keys else self._rng.randrange(self._keys)
        value = number.to_bytes(8, "big") + self._padding
        if self.machine == MINIMAL:
            return put(b"bench/%07d" % key, value)
        return put_command(f"bench/{key:07}", value)


class Leading:
    """A node that leads, with its sessions open, and what it is given.

    Args:
        load: What it is given.
        storage: Its log, not loaded yet; in memory if none is given.

    Attributes:
        node: The leader.
        follower: Another node, level with it until ``run`` is called; see there.
    """

    def __init__(self, load: Load, storage: Storage | None = None) -> None:
        storages = [storage or MemoryStorage(identity(LEADER))]
        storages += [MemoryStorage(identity(voter.node)) for voter in VOTERS[1:]]
        nodes = [PassingNode(n, load.machine, each) for n, each in enumerate(storages, 1)]
        elect(nodes)
        self._load = load
        self.node, self.follower = nodes[0], nodes[1]
        self._ballot = self.node.replica.proposer.ballot
        self._slot = self.node.replica.learner.decided_through
        for accepts in self.run([self._slot_of(clients) for clients in load.openings()]):
            self.follow(accepts)

    def prepare(self, slots: int) -> list[Slot]:
        """Make what arrives for the next slots. All of it must be run before more is made."""
        return [self._slot_of(self._load.slot()) for _ in range(slots)]

    def run(self, slots: Sequence[Slot]) -> list[list[bytes]]:
        """Let the leader decide and apply slots; return, for each, its frames to the follower."""
        node, accepts = self.node, []
        for slot in slots:
            node.take(clients=slot.clients)
            accepts.append(node.to_peers[self.follower.id])
            node.take(peers=slot.votes)
        return accepts

    def follow(self, frames: Sequence[bytes]) -> None:
        """Let the follower take what the leader sent for a slot: it applies the one before."""
        leader = VOTERS[LEADER - 1]
        self.follower.take(peers=[(leader, frame) for frame in frames])

    def _slot_of(self, clients: Sequence[tuple[ClientId, bytes]]) -> Slot:
        self._slot += 1
        vote = codec.encode(Accepted(self._ballot, self._slot, self._slot - 1))
        return Slot(clients, [(voter, vote) for voter in VOTERS[1:]])
