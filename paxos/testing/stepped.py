"""A cluster stepped by hand: every message waits until a test delivers it, loses it, or copies it.

For tests that name one schedule. It drives the production Replica, with a log in memory per node
whose writes become durable when the test says so (or at once). It knows nothing of real time: the
test moves the clock.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from paxos.codec import encode_submission, submission_header, unpack_batch, wrap_submission
from paxos.core.config import Configuration, Configurations, Part
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
from paxos.core.events import (
    AdminRequested,
    DeadlinePassed,
    Event,
    Received,
    SnapshotFetched,
    SnapshotSaved,
    SnapshotSpoilt,
    Submission,
    Submitted,
)
from paxos.core.ids import ClientId, Instant, NodeId, SessionId, Slot, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.messages import (
    AdminAnswer,
    AdminMessage,
    ClientAnswer,
    OpenSession,
    PeerMessage,
    SessionOpened,
    SnapshotChunk,
    SnapshotName,
    Submit,
)
from paxos.core.quorum import Quorums
from paxos.core.records import AcceptedRecord, DecidedRecord, Record, replay
from paxos.core.replica import ALL_ROLES, Replica, Role
from paxos.core.snapshot import Snapshot
from paxos.core.state_machine import StateMachine
from paxos.snapshot_format import encode, read

Machines = Mapping[str, StateMachine]


class Transit(NamedTuple):
    """A message on its way."""

    source: NodeId
    target: NodeId
    message: PeerMessage


Wanted = Callable[[Transit], bool]
"""Picks messages."""


WITNESS_ROLES = frozenset({Role.ACCEPTOR})


def everything(_: Transit) -> bool:
    """Pick every message."""
    return True


class Stepped:
    """Nodes, the messages between them, and their disks.

    Args:
        voters: Node ids of the acceptors.
        others: Node ids of further nodes, with the roles they play.
        machines: Makes one node's state machines.
        voter_roles: The roles that the voters play.
        quorums: Phase-1 and phase-2 quorum sizes; majorities if not given.
        founding: The founding configuration, instead of ``voters`` and ``quorums``.
        alpha: See ``Configurations``.
        limits: See ``Limits``.
        timing: See ``Timing``.
        seed: Seeds every node's random numbers.
    """

    def __init__(
        self,
        voters: Iterable[NodeId] = (1, 2, 3),
        others: Mapping[NodeId, frozenset[Role]] | None = None,
        machines: Callable[[], Machines] = dict,
        *,
        voter_roles: frozenset[Role] = ALL_ROLES,
        quorums: tuple[int, int] | None = None,
        founding: Configuration | None = None,
        alpha: int = 16,
        limits: Limits | None = None,
        timing: Timing | None = None,
        seed: int = 0,
    ) -> None:
        if founding is None:
            asked = frozenset(Voter(node, 100 + node) for node in voters)
            majority = Quorums.majority(asked)
            system = majority if quorums is None else Quorums(asked, *quorums)
            founding = Configuration(1, system)
        self.founding = founding
        self.alpha = alpha
        self.voters = founding.voters
        self.identity = {voter.node: voter for voter in founding.everyone}
        self.roles = {member.node: voter_roles for member in founding.members}
        for member in founding.members:
            if member.part is Part.WITNESS:
                self.roles[member.node] = WITNESS_ROLES
        for node, roles in (others or {}).items():
            self.identity[node] = Voter(node, 100 + node)
            self.roles[node] = roles
        self._machines = machines
        self._limits = limits or Limits()
        self._timing = timing or Timing()
        self._rng = random.Random(seed)
        self.now = Instant(0.0, 1_000_000)
        self.log: dict[NodeId, list[Record]] = {node: [] for node in self.identity}
        self.unsynced: dict[NodeId, list[Persist]] = {node: [] for node in self.identity}
        self.held_writes: set[NodeId] = set()
        self.snapshots: dict[NodeId, tuple[SnapshotName, bytes]] = {}  # each node's durable one
        self.compacted_through: dict[NodeId, Slot] = {}
        self.fetching: dict[NodeId, bytes] = {}
        self.unknown: dict[NodeId, tuple[tuple[Slot, Slot], ...]] = {}  # hidden by damage
        self._depth = 0  # of events that are being handled
        self._later: list[tuple[NodeId, Event]] = []  # what the nodes' snapshots came to
        self.messages: list[Transit] = []
        self.replies: list[tuple[NodeId, ClientId, ClientAnswer]] = []
        self.replicas: dict[NodeId, Replica] = {}
        for node in self.identity:
            self.start(node)

    # --- nodes ---

    def start(self, node: NodeId) -> Replica:
        """Start a node, or start it again from what is durable on its disk."""
        self.unsynced[node].clear()
        self.fetching.pop(node, None)
        roles = self.roles[node]
        stored = self.snapshots.get(node)
        self.replicas[node] = Replica(
            self.identity[node],
            Configurations(self.founding, self.alpha),
            replay(
                self.log[node],
                None if stored is None else (stored[0], _snapshot(stored[1])),
                self.compacted_through.get(node, 0),
                self.unknown.get(node, ()),
            ),
            self._machines() if Role.EXECUTOR in roles else {},
            random.Random(self._rng.getrandbits(64)),
            unpack_batch,
            self.now,
            limits=self._limits,
            timing=self._timing,
            roles=roles,
        )
        return self.replicas[node]

    def stop(self, node: NodeId) -> None:
        """Stop a node: what it had not made durable is gone, and so are messages to it."""
        del self.replicas[node]
        self.unsynced[node].clear()
        self.lose(lambda transit: transit.target == node)

    def join(self, node: NodeId, roles: frozenset[Role] = ALL_ROLES) -> Voter:
        """Make and start a node that the founding configuration does not name."""
        self.identity[node] = Voter(node, 100 + node)
        self.roles[node] = roles
        self.log[node], self.unsynced[node] = [], []
        self.start(node)
        return self.identity[node]

    def wipe(self, node: NodeId) -> None:
        """Stop a node and lose all it ever stored; what it sent may still arrive."""
        if node in self.replicas:
            self.stop(node)
        for kept in (self.log, self.unsynced, self.snapshots, self.compacted_through):
            kept.pop(node, None)

    def configuration(self, node: NodeId) -> Configuration:
        """Return the latest configuration that a node knows decided."""
        latest = self.replicas[node].status(self.now).configuration
        assert latest is not None
        return latest

    def ask(self, node: NodeId, request: AdminMessage, client: ClientId = 77) -> None:
        """An administrator's request arrives at a node."""
        self.handle(node, AdminRequested(client, request))

    def admin_answers(self) -> list[AdminAnswer]:
        """Return all answers to administrators so far."""
        return [answer for _, _, answer in self.replies if isinstance(answer, AdminAnswer)]

    def handle(self, node: NodeId, event: Event) -> None:
        """Give a node an event and run its effects, and what comes of its snapshots."""
        self._depth += 1
        self._run(node, self.replicas[node].handle(event, self.now))
        self._depth -= 1
        while self._later and not self._depth:
            of, later = self._later.pop(0)
            if of in self.replicas:
                self.handle(of, later)

    def submit(self, node: NodeId, client: ClientId, message: Submit | OpenSession) -> None:
        """A client's submission arrives at a node."""
        payload = encode_submission(message)
        session, first = submission_header(payload)
        wrapped = wrap_submission(payload)
        self.handle(node, Submitted([Submission(client, session, first, wrapped)]))

    def open_session(self, node: NodeId, client: ClientId) -> SessionId:
        """Open a session through a leader, with every message delivered; return its id."""
        self.submit(node, client, OpenSession(1000 + client))
        self.settle()
        answers = [answer for _, _, answer in self.replies if isinstance(answer, SessionOpened)]
        return answers[-1].session

    # --- disks ---

    def hold_writes(self, node: NodeId) -> None:
        """From now on the node's writes become durable only by ``sync``."""
        self.held_writes.add(node)

    def sync(self, node: NodeId) -> None:
        """Make everything the node has written so far durable, and do what waited for it."""
        self.held_writes.discard(node)
        persists, self.unsynced[node] = self.unsynced[node], []
        for persist in persists:
            self._persist(node, persist)

    # --- messages ---

    def deliver(self, wanted: Wanted = everything) -> int:
        """Deliver, in order, the messages that wait now and are ``wanted``; return how many."""
        chosen = [entry for entry in self.messages if wanted(entry)]
        self.messages = [entry for entry in self.messages if not wanted(entry)]
        for source, target, message in chosen:
            if target in self.replicas:
                self.handle(target, Received(self.identity[source], message))
        return len(chosen)

    def lose(self, unwanted: Wanted) -> int:
        """Lose the messages that wait now and are ``unwanted``; return how many."""
        before = len(self.messages)
        self.messages = [entry for entry in self.messages if not unwanted(entry)]
        return before - len(self.messages)

    def settle(self, wanted: Wanted = everything) -> None:
        """Deliver until nothing ``wanted`` waits any more."""
        while self.deliver(wanted):
            pass

    # --- time ---

    def advance(self, seconds: float) -> None:
        """Move the clocks, waking each node at its own deadlines on the way; deliver nothing."""
        end = self.now.monotonic + seconds
        while True:
            due = {n: r.next_deadline() for n, r in self.replicas.items()}
            node = min(due, key=lambda n: (due[n], n), default=None)
            if node is None or due[node] > end:
                break
            self._set_clock(max(due[node], self.now.monotonic))
            self.handle(node, DeadlinePassed())
        self._set_clock(end)

    def run(
        self,
        seconds: float,
        wanted: Wanted = everything,
        step: float = 0.01,
    ) -> None:
        """Let time pass in small steps, delivering what is ``wanted`` and losing the rest."""
        end = self.now.monotonic + seconds
        while self.now.monotonic < end:
            self.advance(step)
            self.settle(wanted)
            self.messages.clear()

    def leaders(self) -> list[NodeId]:
        """Return the nodes that lead now."""
        return [node for node, replica in self.replicas.items() if replica.proposer.leading]

    def _set_clock(self, monotonic: float) -> None:
        wall = 1_000_000 + int(monotonic * 1e6)
        self.now = Instant(monotonic, wall)

    def _run(self, node: NodeId, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(node, effect)
            elif isinstance(effect, Reply):
                self.replies.append((node, effect.client, effect.message))
            elif isinstance(effect, Persist):
                if node in self.held_writes or self.unsynced[node]:
                    self.unsynced[node].append(effect)
                else:
                    self._persist(node, effect)
            else:
                self._run_snapshot(node, effect)

    def _run_snapshot(
        self, node: NodeId, effect: SaveSnapshot | Compact | ServeSnapshot | StoreChunk
    ) -> None:
        """Do what an effect asks of a node's snapshots; writes of them are durable at once."""
        if isinstance(effect, SaveSnapshot):
            data = b"".join(encode(effect.snapshot))
            name = SnapshotName(effect.snapshot.head.through, len(data), _digest(data))
            self.snapshots[node] = (name, data)
            self._later.append((node, SnapshotSaved(name)))
        elif isinstance(effect, Compact):
            self.compacted_through[node] = effect.through
            self.log[node] = [
                record
                for record in self.log[node]
                if not isinstance(record, AcceptedRecord | DecidedRecord)
                or record.slot > effect.through
            ]
        elif isinstance(effect, ServeSnapshot):
            stored = self.snapshots.get(node)
            held = stored[1] if stored is not None and stored[0] == effect.name else b""
            piece = held[effect.offset : effect.offset + self._limits.snapshot_chunk_bytes]
            chunk = SnapshotChunk(effect.name, effect.offset, piece)
            self._send(node, Send(effect.to, chunk))
        else:
            self._store(node, effect)

    def _store(self, node: NodeId, chunk: StoreChunk) -> None:
        held = self.fetching.get(node, b"") if chunk.offset else b""
        if chunk.offset != len(held):
            return
        data = self.fetching[node] = held + chunk.data
        if len(data) < chunk.name.size:
            return
        del self.fetching[node]
        if _digest(data) != chunk.name.digest:
            self._later.append((node, SnapshotSpoilt(chunk.name)))
            return
        self.snapshots[node] = (chunk.name, data)
        self._later.append((node, SnapshotFetched(chunk.name, _snapshot(data))))

    def _persist(self, node: NodeId, persist: Persist) -> None:
        self.log[node].extend(persist.records)
        for send in persist.then:
            self._send(node, send)

    def _send(self, node: NodeId, send: Send) -> None:
        if send.to == node:
            self.handle(node, Received(self.identity[node], send.message))
        else:
            self.messages.append(Transit(node, send.to, send.message))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _snapshot(data: bytes) -> Snapshot:
    return read(len(data), lambda offset, length: data[offset : offset + length])
