"""A node: one task that gives a replica what arrived, and carries out what it wants done.

Owns the replica, the order of a pass, and the only clock readings. A pass reads everything that is
ready, hands it over, sends once per connection, writes once, and sends what waited for the write.
It guards invariant 7 with the writer, and invariant 14: when a write, or the replica itself, has
failed, the pass ends there and nothing leaves after it. Knows no transport, storage or state
machine by name, and decides nothing about the protocol.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

import trio

from paxos import codec
from paxos.core.config import Configurations
from paxos.core.effects import Effect, Persist, Reply, Send
from paxos.core.events import (
    ClientGone,
    DeadlinePassed,
    DiskFull,
    Event,
    PeerConnected,
    PeerDisconnected,
    ReadsRequested,
    Received,
    Submission,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.ids import ClientId, Instant, NodeId, Slot, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.messages import (
    CancelWatch,
    Message,
    PeerMessage,
    Read,
    StatusAnswer,
    StatusRequest,
    Watch,
)
from paxos.core.records import Recovered, replay
from paxos.core.replica import Replica, ReplicaStatus
from paxos.core.state_machine import StateMachine
from paxos.doorbell import Doorbell
from paxos.runtime import observe
from paxos.runtime.errors import plain_errors
from paxos.runtime.links import ClientDown, ClientUp, Links, Member, PeerDown, PeerUp
from paxos.runtime.options import NodeOptions
from paxos.runtime.status import ShellStatus, status_document, status_fields
from paxos.runtime.writer import WRITE_OVERHEAD, InlineDisk, ThreadDisk, Writer
from paxos.storage.base import Damage, DataDamaged, Identity, Storage, StorageFull, WrongIdentity
from paxos.transport import Channel, Transport

if TYPE_CHECKING:
    import random

RESERVE_EVERY_BYTES = 1024 * 1024
"""Space ahead is looked at again after this much was written: cheap beside writing it."""


def read_wall_clock_us() -> int:
    """Return this machine's time of day, in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """Everything a node is made of.

    Attributes:
        identity: Who it is. The storage must say the same.
        members: Every node of the cluster by id, this one included.
        configurations: Who votes.
        machines: The state machines by name, fresh: the log is applied to them.
        storage: Its log, not loaded yet. Closed when the node ends.
        transport_for: Finds the transport for a URL.
        rng: For everything random: timeouts, jitter, the number of this process.
        limits: The core's bounds.
        timing: The core's durations.
        options: The shell's bounds.
        wall_clock_us: The time of day, in microseconds since 1970, as it stamps what a leader
            proposes. It may jump; deadlines are on trio's clock alone.
    """

    identity: Identity
    members: Mapping[NodeId, Member]
    configurations: Configurations
    machines: Mapping[str, StateMachine]
    storage: Storage
    transport_for: Callable[[str], Transport]
    rng: random.Random
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    options: NodeOptions = field(default_factory=NodeOptions)
    wall_clock_us: Callable[[], int] = read_wall_clock_us


@asynccontextmanager
async def running(setup: NodeSetup) -> AsyncIterator[Node]:
    """Run a node inside the context: recovered from its log, and answering when the body begins.

    Leaving the context closes everything. Nothing acknowledged is lost then, nor by a crash.

    Raises:
        StorageError: The log belongs to somebody else, is damaged, or failed while running.
        TransportError: The node's URL cannot be listened on.
        InvariantBroken: The node found that it broke its own rules, and stopped.
    """
    with plain_errors():
        try:
            recovered = await _recover(setup)
            with Doorbell() as doorbell:
                node = Node(setup, recovered, doorbell)
                try:
                    async with trio.open_nursery() as nursery:
                        await node.start(nursery)
                        yield node
                        nursery.cancel_scope.cancel()
                finally:
                    node.close()
        finally:
            setup.storage.close()


async def _recover(setup: NodeSetup) -> Recovered:
    """Read the log, and refuse one whose votes this node could not stand by."""
    storage = setup.storage
    if storage.identity != setup.identity:
        raise WrongIdentity(
            f"the data directory belongs to {_describe(storage.identity)}, but this is"
            f" {_describe(setup.identity)}: check the configuration file and the node's number"
        )
    loaded = await trio.to_thread.run_sync(storage.load)
    if loaded.damage is not None:
        raise DataDamaged(_damage_text(setup.identity.node, loaded.damage))
    return replay(loaded.records)


def _damage_text(node: NodeId, damage: Damage) -> str:
    doubt = ", ".join(f"{first} to {last}" for first, last in damage.unknown) or "none"
    lost = "; a promise may be lost" if damage.hides_promise else ""
    head = (
        f"the log of node {node} is damaged (slots in doubt: {doubt}{lost}). It is not run, because"
        " it could forget what it voted for; look at it with 'paxos inspect'"
    )
    return "\n  ".join([head, *damage.findings])


def _describe(identity: Identity) -> str:
    return (
        f"node {identity.node} of cluster {identity.cluster} (incarnation {identity.incarnation})"
    )


class Node:
    """A replica on a real clock, disk and network. Made by ``running``."""

    def __init__(self, setup: NodeSetup, recovered: Recovered, doorbell: Doorbell) -> None:
        self._setup = setup
        self._storage = setup.storage
        self._wall_clock_us = setup.wall_clock_us
        self._doorbell = doorbell
        self._me = Voter(setup.identity.node, setup.identity.incarnation)
        self._log = observe.logger(node=self._me.node)
        self._links = Links(
            identity=setup.identity,
            boot=setup.rng.getrandbits(62),
            members=setup.members,
            doorbell=doorbell,
            transport_for=setup.transport_for,
            rng=setup.rng,
            options=setup.options,
            election_timeout_s=setup.timing.election_timeout_s,
        )
        threaded = setup.options.sync == "thread"
        self._writer = Writer(
            self._storage,
            ThreadDisk(self._storage, doorbell.ring) if threaded else InlineDisk(self._storage),
        )
        self._now = self._read_clocks()
        self._replica = Replica(
            self._me,
            setup.configurations,
            recovered,
            setup.machines,
            setup.rng,
            codec.unpack_batch,
            self._now,
            limits=setup.limits,
            timing=setup.timing,
        )
        # What the present pass has gathered, by whom it is for.
        self._to_self: deque[PeerMessage] = deque()
        self._to_peers: dict[NodeId, list[bytes]] = {}
        self._to_clients: dict[ClientId, list[bytes]] = {}
        self._last_sent: tuple[Message | None, bytes] = (None, b"")
        self._peers: set[NodeId] = set()  # connected now, as the replica was told
        self._clients: set[ClientId] = set()  # likewise
        self._leader: NodeId = 0  # as last logged
        self._waiters: list[tuple[Callable[[ReplicaStatus], bool], trio.Event]] = []
        # Room on disk: whether there is too little, as found out and as the replica was told.
        self._room_min = (
            max(setup.limits.batch_bytes_max, setup.limits.submission_bytes_max) + WRITE_OVERHEAD
        )
        self._reserved_at = 0  # Writer.written_bytes when space was last reserved
        self._reserve_wanted = trio.Event()
        self._disk_full = False
        self._disk_full_told = False
        self.url = setup.members[self._me.node].url
        """Where the node listens; the port that was really bound."""

    # --- for the program that runs the node -------------------------------------------------------

    @property
    def id(self) -> NodeId:
        """This node's id."""
        return self._me.node

    @property
    def applied_through(self) -> int:
        """The last slot that this node's state machines reflect."""
        return self._status().applied_through

    def status(self) -> dict[str, Any]:
        """Return what ``paxos status`` shows of this node; the digest reads the whole state."""
        return status_fields(self._status(), self._replica.digest(), self._shell_status())

    async def wait_applied(self, slot: Slot) -> None:
        """Wait until this node's state machines reflect ``slot``."""
        await self.wait_status(lambda status: status.applied_through >= slot)

    async def wait_leader(self) -> NodeId:
        """Wait until this node knows of a leader; return it, a hint like any other."""
        await self.wait_status(lambda status: status.leader != 0)
        return self._status().leader

    async def wait_status(self, condition: Callable[[ReplicaStatus], bool]) -> None:
        """Wait until a condition of the replica's status holds.

        Args:
            condition: Looked at after every pass of the node, so it must be cheap.
        """
        changed = trio.Event()
        self._waiters.append((condition, changed))
        try:
            if not condition(self._status()):
                await changed.wait()
        finally:
            self._waiters.remove((condition, changed))

    # --- life -------------------------------------------------------------------------------------

    async def start(self, nursery: trio.Nursery) -> None:
        """Listen, then serve in ``nursery`` until it is cancelled.

        Raises:
            TransportError: The URL cannot be listened on.
        """
        self.url = await nursery.start(self._links.run, self.url)
        nursery.start_soon(self._keep_room)
        nursery.start_soon(self._serve)
        self._log.info(
            "ready",
            url=self.url,
            applied_through=self.applied_through,
            sync=self._storage.sync_method,
        )

    def close(self) -> None:
        """Wait for the write that is under way, if any."""
        self._writer.close()

    async def _serve(self) -> None:
        while True:
            if self._writer.can_write():
                # What was staged since the last write: take in what has arrived, do not wait.
                self._doorbell.ring()
            self._pass(await self._doorbell.wait(self._replica.next_deadline()))

    def _read_clocks(self) -> Instant:
        return Instant(trio.current_time(), self._wall_clock_us())

    # --- a pass -----------------------------------------------------------------------------------

    def _pass(self, channels: Sequence[Channel]) -> None:
        take = self._links.take
        taken = [(channel, *take(channel)) for channel in channels]
        # After the frames: whatever the replica concludes from this time, it has heard them all.
        self._now = self._read_clocks()
        self._handle_links()
        self._handle_disk()
        for channel, origin, frames in taken:
            if type(origin) is Voter:
                self._handle_peer(channel, origin, frames)
        self._handle_clients(taken)
        if self._now.monotonic >= self._replica.next_deadline():
            self._handle(DeadlinePassed())
            self._note_leader()
        # A leader's Accept leaves before its own write, which it then waits out beside the others.
        self._flush()
        released = self._writer.write()
        if released:
            self._now = self._read_clocks()
            self._send(released)
            self._flush()
        self._look_for_room()
        if self._waiters:
            status = self._status()
            for condition, changed in self._waiters:
                if condition(status):
                    changed.set()

    def _handle(self, event: Event) -> None:
        """Hand one event to the replica, and what it says to itself after it."""
        self._carry_out(self._replica.handle(event, self._now))
        while self._to_self:
            message = self._to_self.popleft()
            self._carry_out(self._replica.handle(Received(self._me, message), self._now))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._post(effect)
            elif isinstance(effect, Persist):
                self._writer.stage(effect)
            elif isinstance(effect, Reply):
                self._answer(effect.client, effect.message)
            else:
                assert_never(effect)

    def _send(self, sends: Iterable[Send]) -> None:
        """Send what waited for a write."""
        for send in sends:
            self._post(send)
        while self._to_self:
            self._handle(Received(self._me, self._to_self.popleft()))

    def _post(self, send: Send) -> None:
        if send.to == self._me.node:
            self._to_self.append(send.message)
        elif send.to in self._peers:
            # The same message often goes to every peer in turn: encode it once.
            if self._last_sent[0] is not send.message:
                self._last_sent = (send.message, codec.encode(send.message))
            self._to_peers.setdefault(send.to, []).append(self._last_sent[1])

    def _answer(self, client: ClientId, message: Message) -> None:
        if client in self._clients:
            self._to_clients.setdefault(client, []).append(codec.encode(message))

    def _flush(self) -> None:
        """One send per connection."""
        self._last_sent = (None, b"")
        if self._to_peers:
            for node, frames in self._to_peers.items():
                self._links.send(node, frames)
            self._to_peers = {}
        if self._to_clients:
            for client, frames in self._to_clients.items():
                self._links.reply(client, frames)
            self._to_clients = {}

    # --- what arrived -----------------------------------------------------------------------------

    def _handle_links(self) -> None:
        for event in self._links.take_events():
            match event:
                case PeerUp(peer):
                    self._peers.add(peer.node)
                    self._handle(PeerConnected(peer))
                case PeerDown(peer):
                    self._peers.discard(peer.node)
                    self._handle(PeerDisconnected(peer))
                case ClientUp(client):
                    self._clients.add(client)
                case ClientDown(client):
                    self._clients.discard(client)
                    self._handle(ClientGone(client))
                case _:
                    assert_never(event)

    def _handle_peer(self, channel: Channel, peer: Voter, frames: list[bytes]) -> None:
        for frame in frames:
            try:
                message = codec.decode_peer(frame)
            except codec.ProtocolError as error:
                self._links.reject(channel, str(error))
                return
            self._handle(Received(peer, message))

    def _handle_clients(self, taken: list[tuple[Channel, Any, list[bytes]]]) -> None:
        """Hand over everything that clients sent, submissions and reads as one event each."""
        submissions: list[Submission] = []
        reads: list[tuple[ClientId, Read]] = []
        for channel, origin, frames in taken:
            # A client that is gone already, by an event of this pass, must not be remembered.
            if origin in self._clients:
                try:
                    self._take_client(origin, frames, submissions, reads)
                except codec.ProtocolError as error:
                    self._links.reject(channel, str(error))
        if submissions:
            self._handle(Submitted(submissions))
        if reads:
            self._handle(ReadsRequested(reads))

    def _take_client(
        self,
        client: ClientId,
        frames: list[bytes],
        submissions: list[Submission],
        reads: list[tuple[ClientId, Read]],
    ) -> None:
        header, wrap = codec.submission_header, codec.wrap_submission
        for frame in frames:
            if frame[:1] in _SUBMISSIONS:
                session, first = header(frame)
                submissions.append(Submission(client, session, first, wrap(frame)))
                continue
            message = codec.decode_client(frame)
            if isinstance(message, Read):
                reads.append((client, message))
            elif isinstance(message, Watch):
                self._handle(WatchRequested(client, message))
            elif isinstance(message, CancelWatch):
                self._handle(WatchCancelled(client, message.number))
            elif isinstance(message, StatusRequest):
                document = status_document(self.status())
                self._answer(client, StatusAnswer(message.number, document))

    # --- room on disk -----------------------------------------------------------------------------

    def _look_for_room(self) -> None:
        written_bytes = self._writer.written_bytes - self._reserved_at
        if written_bytes >= RESERVE_EVERY_BYTES or self._storage.room_bytes < self._room_min:
            self._reserved_at = self._writer.written_bytes
            self._reserve_wanted.set()

    def _handle_disk(self) -> None:
        if self._disk_full is not self._disk_full_told:
            self._disk_full_told = self._disk_full
            self._handle(DiskFull(self._disk_full))

    async def _keep_room(self) -> None:
        """Reserve space ahead of the log, on a thread: once at the start, then when asked."""
        while True:
            self._reserve_wanted = trio.Event()
            why = None
            try:
                await trio.to_thread.run_sync(self._storage.reserve)
            except StorageFull as error:
                why = str(error)
            room_bytes = self._storage.room_bytes
            full = room_bytes < self._room_min
            if full and why is None and self._writer.outstanding:
                # Seen in the middle of a write on the other thread, which may be changing over to
                # the space that was reserved: to be looked at again after it.
                full = self._disk_full
            self._note_room(full, why or f"room for {room_bytes} bytes")
            if why is None and not self._disk_full:
                await self._reserve_wanted.wait()
            else:
                await trio.sleep(self._setup.options.disk_retry_s)

    def _note_room(self, full: bool, why: str) -> None:
        if full and not self._disk_full:
            self._log.error("disk full", why=why)
        elif self._disk_full and not full:
            self._log.info("disk has room again")
        self._disk_full = full
        # For the replica to be told, and for what waits for room to be written.
        self._doorbell.ring()

    # --- telling ----------------------------------------------------------------------------------

    def _note_leader(self) -> None:
        known = self._status()
        if known.leader != self._leader:
            self._leader = known.leader
            self._log.info("leader changed", leader=known.leader, ballot=str(known.ballot))

    def _status(self) -> ReplicaStatus:
        return self._replica.status(self._now)

    def _shell_status(self) -> ShellStatus:
        links = self._links.status()
        return ShellStatus(
            cluster=self._setup.identity.cluster,
            url=self.url,
            connections=links.clients,
            peers=tuple(peer.node for peer in links.peers if peer.connected),
            disk_bytes=self._storage.disk_bytes,
            syncs=self._writer.syncs,
            dropped={
                "bad frames": links.frames_bad,
                "peer outbox full": sum(peer.sends_dropped for peer in links.peers),
            },
        )


_SUBMISSIONS = (bytes([codec.SUBMIT]), bytes([codec.OPEN_SESSION]))
