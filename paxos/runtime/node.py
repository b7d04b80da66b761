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
from paxos.core.config import Configurations, Governing, Part
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
    Level,
    Message,
    PeerMessage,
    Read,
    ReadAnswer,
    Reconfigure,
    SnapshotChunk,
    SnapshotRequest,
    Status,
    StatusAnswer,
    StatusRequest,
    TakeSnapshot,
    TransferLeader,
    Watch,
)
from paxos.core.replica import ALL_ROLES, Replica, ReplicaStatus, Role
from paxos.core.state_machine import StateMachine
from paxos.doorbell import Doorbell
from paxos.runtime import observe
from paxos.runtime.client import NoReplicaReachable, node_status
from paxos.runtime.departure import Departure, Removal
from paxos.runtime.errors import plain_errors
from paxos.runtime.handshake import machines_text
from paxos.runtime.links import ClientDown, ClientUp, Links, Member, PeerDown, PeerUp, Taken
from paxos.runtime.membership import Membership, part_at_start
from paxos.runtime.options import NodeOptions
from paxos.runtime.recovery import Recovery, recover
from paxos.runtime.room import RoomKeeper
from paxos.runtime.snapshot_tasks import SnapshotTasks
from paxos.runtime.status import (
    NEWS,
    ShellStatus,
    members_document,
    status_document,
    status_fields,
)
from paxos.runtime.writer import Disk, InlineDisk, ThreadDisk, Writer, room_min
from paxos.storage.base import Identity, Storage
from paxos.transport import Channel, Transport

if TYPE_CHECKING:
    import random


def read_wall_clock_us() -> int:
    """Return this machine's time of day, in microseconds since 1970."""
    return time.time_ns() // 1000


DIGEST_BYTES_MAX = 128 * 1024
"""A larger state is not read through for a status: small records take some 70 ms per MB."""

DIGEST_BYTES_MAX_QUIET = 4 * 1024 * 1024
"""The same while nothing is applied, so that nobody waits: below an election timeout."""

ASK_TIMEOUT_S = 2.0
"""For one member's answer, when a node asks whether it is a member still."""

DIGEST_QUIET_S = 1.0
"""Nothing was applied for this long, as far as those who asked for a status could see."""


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """Everything a node is made of.

    Attributes:
        identity: Who it is. The storage must say the same.
        members: Where to look for nodes: every node of the cluster file by id, this one included.
            Those of the replicated configuration come first, once they are known.
        configurations: Who votes: the founding configuration. What the log says about it is added.
        machines: The state machines by name, fresh: the log is applied to them.
        storage: Its log, not loaded yet. Closed when the node ends.
        transport_for: Finds the transport for a URL.
        rng: For everything random: timeouts, jitter, the number of this process.
        limits: The core's bounds.
        timing: The core's durations.
        options: The shell's bounds.
        part: What the node takes part in while no configuration that it knows says so.
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
    part: Part = Part.VOTER
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
            recovery = await trio.to_thread.run_sync(recover, setup.storage, setup.identity)
            with Doorbell() as doorbell:
                node = Node(setup, recovery, doorbell)
                try:
                    async with trio.open_nursery() as nursery:
                        await node.start(nursery)
                        yield node
                        nursery.cancel_scope.cancel()
                finally:
                    node.close()
        finally:
            setup.storage.close()


def _disk_for(setup: NodeSetup, doorbell: Doorbell) -> Disk:
    if setup.options.sync == "thread":
        return ThreadDisk(setup.storage, doorbell.ring)
    return InlineDisk(setup.storage)


class Node:
    """A replica on a real clock, disk and network. Made by ``running``."""

    def __init__(self, setup: NodeSetup, recovery: Recovery, doorbell: Doorbell) -> None:
        self._setup = setup
        self._storage = setup.storage
        self._wall_clock_us = setup.wall_clock_us
        self._doorbell = doorbell
        self._me = Voter(setup.identity.node, setup.identity.incarnation)
        self._log = observe.logger(node=self._me.node)
        self.part = part_at_start(self._me, setup.configurations, recovery.recovered, setup.part)
        """What the node takes part in, as it was started."""
        # A witness runs none.
        machines = {} if self.part is Part.WITNESS else setup.machines
        self._links = self._make_links(machines)
        self._writer = Writer(self._storage, _disk_for(setup, doorbell))
        self._now = self._read_clocks()
        self._due = self._now.monotonic  # what the pass waited for, at the latest
        self._membership = Membership(self._me, setup.configurations, setup.members)
        self._findings = recovery.findings
        self._replica = Replica(
            self._me,
            setup.configurations,
            recovery.recovered,
            machines,
            setup.rng,
            codec.unpack_batch,
            self._now,
            limits=setup.limits,
            timing=setup.timing,
            roles=frozenset({Role.ACCEPTOR}) if self.part is Part.WITNESS else ALL_ROLES,
        )
        self._still = (0, 0.0)  # the slot applied at the last status, and since when
        # What the present pass has gathered, by whom it is for.
        self._to_self: deque[PeerMessage] = deque()
        self._to_peers: dict[NodeId, list[bytes]] = {}
        self._to_clients: dict[ClientId, list[bytes]] = {}
        self._last_sent: tuple[Message | None, bytes] = (None, b"")
        self._peers: set[NodeId] = set()  # connected now, as the replica was told
        self._clients: set[ClientId] = set()  # likewise
        self._leader: NodeId = 0  # as last logged
        self._waiters: list[tuple[Callable[[ReplicaStatus], bool], trio.Event]] = []
        self._told: deque[Event] = deque()  # by the node's other tasks, for the next pass
        self._disk_full_told = False
        self._room = RoomKeeper(
            self._storage,
            self._writer,
            room_min(setup.limits),
            setup.options.disk_retry_s,
            self._me.node,
            doorbell.ring,
        )
        self._snapshots = self._make_snapshots()
        self._departure = self._make_departure()
        self.url = setup.members[self._me.node].url
        """Where the node listens; the port that was really bound."""

    def _make_links(self, machines: Mapping[str, StateMachine]) -> Links:
        setup = self._setup
        return Links(
            identity=setup.identity,
            boot=setup.rng.getrandbits(62),
            members=setup.members,
            doorbell=self._doorbell,
            transport_for=setup.transport_for,
            rng=setup.rng,
            options=setup.options,
            election_timeout_s=setup.timing.election_timeout_s,
            machines=machines_text(machines),
        )

    def _make_snapshots(self) -> SnapshotTasks:
        return SnapshotTasks(
            self._storage,
            self._setup.options,
            self._setup.limits,
            self._me.node,
            self._links,
            self._tell,
            self._doorbell.ring,
        )

    def _make_departure(self) -> Departure:
        timeout_s = self._setup.timing.election_timeout_s
        urls = self._membership.urls
        return Departure(self._me, timeout_s, self._status, urls, self._ask_member)

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
        """Return what ``paxos status`` shows of this node.

        The digest of the state is left out where reading it would hold up everything else: then
        it comes once somebody asks again and nothing was applied in between.
        """
        replica = self._status()
        slot, since = self._still
        if slot != replica.applied_through:
            since = self._now.monotonic
            self._still = (replica.applied_through, since)
        is_quiet = self._now.monotonic >= since + DIGEST_QUIET_S
        bytes_max = DIGEST_BYTES_MAX_QUIET if is_quiet else DIGEST_BYTES_MAX
        return status_fields(replica, self._replica.digest(bytes_max), self._shell_status())

    async def wait_applied(self, slot: Slot) -> None:
        """Wait until this node's state machines reflect ``slot``."""
        await self.wait_status(lambda status: status.applied_through >= slot)

    async def wait_leader(self) -> NodeId:
        """Wait until this node knows of a leader; return it, a hint like any other."""
        leader = 0

        def is_known(status: ReplicaStatus) -> bool:
            nonlocal leader
            leader = status.leader or leader  # it may be lost again before this task goes on
            return leader != 0

        await self.wait_status(is_known)
        return leader

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

    async def released(self) -> Removal:
        """Wait until this node was removed and a leader has said that nobody needs it any more.

        Then its process may end, and its directory be deleted. Nothing ends by itself here.
        """
        return await self._departure.released()

    # --- life -------------------------------------------------------------------------------------

    async def start(self, nursery: trio.Nursery) -> None:
        """Listen, then serve in ``nursery`` until it is cancelled.

        Raises:
            TransportError: The URL cannot be listened on.
        """
        self._follow_members()
        self.url = await nursery.start(self._links.run, self.url)
        for task in (self._room.run, *self._snapshots.tasks, self._departure.run, self._serve):
            nursery.start_soon(task)
        for finding in self._findings:
            self._log.error("damaged", what=finding)
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
            self._due = self._replica.next_deadline()
            self._pass(await self._doorbell.wait(self._due))

    def _read_clocks(self) -> Instant:
        return Instant(trio.current_time(), self._wall_clock_us())

    # --- a pass -----------------------------------------------------------------------------------

    def _pass(self, channels: Sequence[Channel]) -> None:
        taken = self._links.take(channels)
        # After the frames: whatever the replica concludes from this time, it has heard them all.
        self._now = self._read_clocks()
        self._handle_links()
        self._handle_told()
        for channel, origin, frames in taken:
            if type(origin) is Voter:
                self._handle_peer(channel, origin, frames)
        self._handle_clients(taken)
        # What was handled may have put the deadline off; a nearer one is found by the next pass.
        now = self._now.monotonic
        if now >= self._due and now >= self._replica.next_deadline():
            self._handle(DeadlinePassed())
            self._note_leader()
        # A leader's Accept leaves before its own write, which it then waits out beside the others.
        self._flush()
        released = self._writer.write()
        if released:
            self._send(released)
            self._flush()
        self._room.look()
        if self._findings:
            self._look_for_mending()
        self._follow_members()
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
            elif isinstance(effect, SaveSnapshot):
                self._snapshots.save(effect)
            elif isinstance(effect, Compact):
                self._writer.compact(effect.through)
            elif isinstance(effect, ServeSnapshot):
                self._snapshots.serve_peer(effect.to, effect.name, effect.offset)
            elif isinstance(effect, StoreChunk):
                self._snapshots.store(effect)
            else:
                assert_never(effect)

    def _send(self, sends: Iterable[Send]) -> None:
        """Send what waited for a write."""
        for send in sends:
            self._post(send)
        if self._to_self:
            self._now = self._read_clocks()
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
                case PeerUp(peer, feature):
                    self._peers.add(peer.node)
                    self._handle(PeerConnected(peer, feature))
                case PeerDown(peer):
                    self._peers.discard(peer.node)
                    self._snapshots.forget_peer(peer.node)
                    self._handle(PeerDisconnected(peer))
                case ClientUp(client):
                    self._clients.add(client)
                case ClientDown(client):
                    self._clients.discard(client)
                    self._snapshots.forget_client(client)
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
            if type(message) is not SnapshotChunk or not self._snapshots.hold_back(peer, message):
                self._handle(Received(peer, message))

    def _handle_clients(self, taken: Iterable[Taken]) -> None:
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
            if isinstance(message, Read | Watch) and self._is_stale_for(message):
                text = f"n{self._me.node} was {self._departure.removal}: ask a member".encode()
                refused = ReadAnswer(message.number, Status.REFUSED, self.applied_through, text)
                self._answer(client, refused)
            elif isinstance(message, Read):
                reads.append((client, message))
            elif isinstance(message, Watch):
                self._handle(WatchRequested(client, message))
            elif isinstance(message, CancelWatch):
                self._handle(WatchCancelled(client, message.number))
            elif isinstance(message, StatusRequest):
                document = status_document(self.status())
                self._answer(client, StatusAnswer(message.number, document))
            elif isinstance(message, SnapshotRequest):
                self._snapshots.serve_client(client, message.name, message.offset)
            elif isinstance(message, Reconfigure | TransferLeader | TakeSnapshot):
                self._handle(AdminRequested(client, message))

    def _is_stale_for(self, message: Read | Watch) -> bool:
        """Whether a removed node would answer from a state that never moves again."""
        if self._departure.removal is None:
            return False
        return isinstance(message, Watch) or message.level is not Level.LINEARIZABLE

    # --- snapshots, disk and members --------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        """Take an event from one of the node's other tasks; the next pass handles it."""
        self._told.append(event)
        self._doorbell.ring()

    def _handle_told(self) -> None:
        if self._room.full is not self._disk_full_told:
            self._disk_full_told = self._room.full
            self._handle(DiskFull(self._room.full))
        while self._told:
            self._handle(self._told.popleft())
        # Pieces of a snapshot are taken in no faster than the disk takes them.
        for peer, chunk in self._snapshots.take_held_back():
            self._handle(Received(peer, chunk))

    def _look_for_mending(self) -> None:
        """Forget what was found damaged once nothing is in doubt or lacking any more."""
        replica = self._replica
        lost = replica.executor.applied_through < replica.acceptor.compacted_through
        if not (replica.acceptor.unknown or lost):
            self._log.info("damage mended", applied_through=replica.executor.applied_through)
            self._findings = ()

    def _follow_members(self) -> None:
        """Talk to the members of every configuration that matters now."""
        roll = self._membership.changed(self._replica.learner.decided_through)
        if roll is not None:
            self._links.follow(roll.members, roll.next_node, roll.feature)
            self._log.info("members", version=roll.version, nodes=list(roll.members))
            # Clients stay connected for years too, and must know where to go when this node goes.
            urls = {node: member.url for node, member in roll.members.items()}
            for client in self._clients:
                self._answer(client, StatusAnswer(NEWS, members_document(urls)))
            self._flush()
            self._departure.look()

    async def _ask_member(self, url: str) -> dict[str, Any] | None:
        try:
            return await node_status(
                url,
                self._setup.transport_for,
                cluster=self._setup.identity.cluster,
                timeout_s=ASK_TIMEOUT_S,
            )
        except (NoReplicaReachable, ValueError) as error:
            self._log.debug("asked in vain whether this is a member", url=url, why=str(error))
            return None

    # --- telling ----------------------------------------------------------------------------------

    def _note_leader(self) -> None:
        leader = self._replica.leader(self._now)
        if leader != self._leader:
            self._leader = leader
            ballot = self._status().ballot
            self._log.info("leader changed", leader=leader, ballot=str(ballot))

    def _status(self) -> ReplicaStatus:
        return self._replica.status(self._now)

    def _shell_status(self) -> ShellStatus:
        links = self._links.status()
        configurations = self._setup.configurations
        helper = self._replica.snapshots.fetcher.helper
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
            incarnation=self._me.incarnation,
            part=self.part,
            governing=Governing(configurations.latest_first, configurations.latest),
            snapshot=self._replica.snapshots.latest,
            unknown=self._replica.acceptor.unknown,
            damage=self._findings,
            saving=self._snapshots.saving,
            fetching=self._snapshots.fetching,
            helper=0 if helper is None else helper.node,
            trouble=self._snapshots.trouble,
            served_bytes=self._snapshots.served_bytes,
            troubles={peer.node: peer.trouble for peer in links.peers if peer.trouble},
            removal=self._departure.removal,
        )


_SUBMISSIONS = (bytes([codec.SUBMIT]), bytes([codec.OPEN_SESSION]))
