"""A simulated node: the production replica between a simulated disk and network.

It mirrors the order of the runtime's pass: what arrived is handed over, what may leave at once
leaves, then one write, then what waited for it. It decides nothing about the protocol. Every
record, message and command that passes through is shown to the checkers.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from jepsen_like.sim.disk import Found, NodeDisk, SimDisk
from jepsen_like.sim.invariants import Invariants, NodeFacts, Violation, describe
from jepsen_like.sim.log_disk import LogDisk
from jepsen_like.sim.network import Network
from jepsen_like.sim.plan import Plan
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.config import Configurations
from paxos.core.effects import Persist, Reply, Send
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
from paxos.core.executor import Unpack
from paxos.core.ids import ClientId, Instant, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.messages import (
    CancelWatch,
    ClientMessage,
    OpenSession,
    PeerMessage,
    Read,
    Submit,
    Watch,
)
from paxos.core.records import Record, Recovered, replay
from paxos.core.replica import ALL_ROLES, Replica, Role
from paxos.core.state_machine import Stamp, StateMachine, Watchable
from paxos.storage.base import StorageError, StorageFailed, StorageFull

if TYPE_CHECKING:
    from jepsen_like.sim.client_link import ClientLink

EPOCH_US = 1_700_000_000_000_000
"""What wall clocks show when a simulation begins, in microseconds."""

_new_instant: Callable[[tuple[float, int]], Instant] = partial(tuple.__new__, Instant)
# A tuple's own constructor: one is made for every pass.

ROUNDING_S = 1e-7
"""How early a wake-up may come because two clocks are converted into one another."""

RETRY_START_S = 0.2
"""A node that finds no room to begin with is started again after this long."""


class ReplicaFactory(Protocol):
    """Makes what is simulated: the production Replica, or a variant of it."""

    def __call__(
        self,
        me: Voter,
        configurations: Configurations,
        recovered: Recovered,
        machines: Mapping[str, StateMachine],
        rng: random.Random,
        unpack: Unpack,
        now: Instant,
        *,
        limits: Limits,
        timing: Timing,
        roles: frozenset[Role] = ...,
    ) -> Replica:
        """Return a replica that has recovered."""


class Observed:
    """A state machine that tells the checkers what it runs."""

    def __init__(
        self, name: str, machine: StateMachine, facts: NodeFacts, invariants: Invariants
    ) -> None:
        self._name = name
        self._machine = machine
        self._watched = machine if isinstance(machine, Watchable) else None
        self._facts = facts
        self._runs = invariants.machines.runs

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run and report."""
        try:
            result = self._machine.apply(command, at)
        except Exception as error:
            self._runs(self._facts, self._name, at, command, describe(error), True)
            raise
        self._runs(self._facts, self._name, at, command, result, False)
        return result

    def query(self, query: bytes) -> bytes:
        """Pass on."""
        return self._machine.query(query)

    def watch(self, query: bytes) -> bytes | None:
        """Pass on."""
        return None if self._watched is None else self._watched.watch(query)

    def snapshot(self) -> Iterable[bytes]:
        """Pass on."""
        return self._machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Pass on."""
        self._machine.restore(chunks)


class Clock:
    """One node's clocks: off, fast or slow against the simulation's time."""

    def __init__(self, rate: float, offset: float) -> None:
        self._rate = rate
        self._offset = offset
        self.wall_error_us = 0

    def leap(self, seconds: float) -> None:
        """Let the monotonic clock show that more time has passed."""
        self._offset += seconds

    def read(self, time: float) -> Instant:
        """Return what the clocks show at ``time``."""
        elapsed = time * self._rate
        wall = EPOCH_US + int(elapsed * 1e6) + self.wall_error_us
        return _new_instant((self._offset + elapsed, wall))

    def when(self, monotonic: float) -> float:
        """Return the time at which the monotonic clock shows ``monotonic``."""
        return (monotonic - self._offset) / self._rate


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What every node of a cluster is made with.

    Attributes:
        configurations: Who votes.
        factory: Makes a node's replica, at each start.
        machines: Makes the state machines that a node hosts, at each start.
        unpack: Decodes a batch.
    """

    configurations: Configurations
    factory: ReplicaFactory
    machines: Callable[[], Mapping[str, StateMachine]]
    unpack: Unpack


class SimNode:
    """One node, over all its lives.

    Args:
        world: Time and chance.
        network: Its connections to its peers.
        invariants: The checkers.
        voter: Who it is.
        setup: What its replicas are made with.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        invariants: Invariants,
        voter: Voter,
        setup: NodeSetup,
    ) -> None:
        self.voter = voter
        self.facts = invariants.add(voter)
        self.disk: NodeDisk = _make_disk(voter, world.plan)
        self.up = False
        self.life = 0
        self.paused = False
        self.lost = False  # what it promised is gone for ever: it will never be a voter again
        self.slow = 1.0  # what a sync's time is multiplied by
        self.sync_fails: Callable[[], None] | None = None  # the next one does, and this is told
        self.fills: Callable[[], None] | None = None  # its disk is full; told when it notices
        self.at_write: Callable[[], None] | None = None  # happens in the middle of the next write
        # Is told of every write that has become durable.
        self.at_durable: Callable[[SimNode, Sequence[Record]], None] | None = None
        self._world = world
        self._plan = world.plan
        self._inline_sync = world.plan.inline_sync
        self._network = network
        self._invariants = invariants
        self._setup = setup
        self._disk_rng = stream(world.seed, "disk", voter.node)
        drift, rng = self._plan.drift, stream(world.seed, "clock", voter.node)
        world.effects["clock rate"] += drift > 0
        self.clock = Clock(1.0 + rng.uniform(-drift, drift), rng.random() * 1000)
        self._replica: Replica | None = None
        self._now = self.clock.read(0.0)
        self._syncing = False
        self._fail_armed = False  # a sync to come will fail
        self._full_told = False  # what the replica was told of room on its disk
        self._roles = ALL_ROLES
        self._inbox: list[Event] = []
        self._submissions: list[Submission] = []
        self._reads: list[tuple[ClientId, Read]] = []
        self._staged = False  # the disk was given something since it was last asked to write
        self._to_self: deque[PeerMessage] = deque()
        self._to_peers: dict[int, list[PeerMessage]] = {}
        self._links: dict[ClientId, ClientLink] = {}
        self._clients = 0
        self._wake_at = 0.0  # as its monotonic clock will show
        self._wakes = 0

    @property
    def replica(self) -> Replica:
        """The replica of the present life."""
        if self._replica is None:
            raise LookupError(f"{self.voter} is down")
        return self._replica

    @property
    def leading(self) -> bool:
        """Whether it is up and leads."""
        return self._replica is not None and self._replica.proposer.leading

    # --- life ---

    def start(self) -> None:
        """Begin a life: recover from what the disk kept, unless that is damaged."""
        self.life += 1
        found = self._load()
        if found is None:
            return
        records = found.records
        if self._plan.codec:
            records = [codec.decode_record(codec.encode_record(record)) for record in records]
        self._now = self.clock.read(self._world.now)
        self._invariants.found(self.facts, found.survived, found.torn)
        self._invariants.restarting(self.facts)
        self._replica = self._setup.factory(
            self.voter,
            self._setup.configurations,
            replay(records),
            self._observed_machines(),
            stream(self._world.seed, "replica", self.voter.node, self.life),
            self._setup.unpack,
            self._now,
            limits=self._plan.limits,
            timing=self._plan.timing,
            **self._chosen_roles(),
        )
        self.up = True
        self._wake_at = float("inf")
        if self._world.tracing:
            self._world.say(f"{self.voter} starts life {self.life} with {len(records)} records")
        self._invariants.started(self.facts, self._replica)
        self._network.join(self.voter.node)
        self._plan_wake(self._replica.next_deadline())

    def _load(self) -> Found | None:
        try:
            return self.disk.load()
        except StorageFull:
            self._world.after(RETRY_START_S, self._start_again, self.life)
        except StorageError as error:
            self.lose()
            self._invariants.marks.hit("damaged node stayed down")
            if self._world.tracing:
                self._world.say(f"{self.voter} refuses to start: {error}")
        return None

    def _start_again(self, life: int) -> None:
        if not self.up and life == self.life:
            self.start()

    def _observed_machines(self) -> dict[str, StateMachine]:
        if Role.EXECUTOR not in self._roles:
            return {}
        return {
            name: Observed(name, machine, self.facts, self._invariants)
            for name, machine in self._setup.machines().items()
        }

    def _chosen_roles(self) -> dict[str, frozenset[Role]]:
        # A variant of the replica need not know of roles to be simulated with all of them.
        return {} if self._roles == ALL_ROLES else {"roles": self._roles}

    def lose(self) -> None:
        """Note that what this voter promised is gone for ever."""
        self.lost = True
        self.facts.condemned = True

    def wipe(self, incarnation: int) -> None:
        """Make the data directory of a node that is down anew: it is another voter from now on.

        What its peers do not let in, a handshake with it, is let in here; but it asks for no votes,
        as it could ask for them at a ballot that the voter it was had asked for.
        """
        self.lose()
        self.voter = Voter(self.voter.node, incarnation)
        self.facts = self._invariants.add(self.voter)
        self.disk = _make_disk(self.voter, self._plan)
        self._roles = frozenset({Role.ACCEPTOR, Role.EXECUTOR})

    def crash(self, power_cut: bool) -> int:
        """End this life. Returns how many records may be lost."""
        self.up = False
        self.paused = False
        self._syncing = self._fail_armed = False
        self._full_told = False
        self._replica = None
        survived, lost = self.disk.crash(self._disk_rng, power_cut)
        if self._world.tracing:
            how = "loses power" if power_cut else "crashes"
            self._world.say(f"{self.voter} {how}, {lost} records in doubt")
        self._invariants.died(self.facts, survived)
        self._inbox.clear()
        self._submissions.clear()
        self._reads.clear()
        self._staged = False
        self._to_self.clear()
        self._to_peers.clear()
        self._network.leave(self.voter.node, silent=power_cut)
        links, self._links = self._links, {}
        for link in links.values():
            link.break_off()
        return lost

    def pause(self) -> None:
        """Do nothing until ``resume``, and do not notice (SIGSTOP, a hypervisor, a long GC)."""
        self.paused = True

    def resume(self) -> None:
        """Go on: all that arrived meanwhile is there at once."""
        if self.up and self.paused:
            self.paused = False
            self._pass()

    def mend(self) -> None:
        """Be a good machine from now on, up and running."""
        self.spare_sync()
        self.at_write = self.at_durable = None
        self.slow = 1.0
        self.resume()
        if self.fills is not None:
            self.clear_disk()
        if not self.up:
            self.start()

    # --- what arrives ---

    def receive(self, sender: Voter, messages: Sequence[PeerMessage]) -> None:
        """Take messages that arrived together from a peer."""
        self._world.deliveries += len(messages)
        for message in messages:
            self._inbox.append(Received(sender, message))
        self._pass()

    def peer_connected(self, peer: Voter) -> None:
        """A connection to a peer is up."""
        self._inbox.append(PeerConnected(peer))
        self._pass()

    def peer_disconnected(self, peer: Voter) -> None:
        """A connection to a peer broke."""
        self._inbox.append(PeerDisconnected(peer))
        self._pass()

    def spare_sync(self) -> None:
        """Let no sync fail that was to fail."""
        self.sync_fails = None
        if self._fail_armed:
            self._fail_armed = False
            self.disk.fail(0)

    def fill_disk(self, told: Callable[[], None]) -> None:
        """Leave its disk no more room. ``told`` is called when it notices."""
        self.fills = told
        self.disk.fill(True)
        self._look_for_room(self.life)

    def clear_disk(self) -> None:
        """Give its disk room again."""
        self.fills = None
        self.disk.fill(False)
        self._look_for_room(self.life)

    def leap(self, seconds: float) -> None:
        """Let its monotonic clock leap ahead, as over a suspend that nobody else sees."""
        self.clock.leap(seconds)
        self._wake_at = float("inf")
        self._pass()

    def client_connected(self, link: ClientLink) -> ClientId:
        """A client connected. Returns its number here."""
        self._clients += 1
        self._links[self._clients] = link
        return self._clients

    def client_gone(self, client: ClientId, life: int) -> None:
        """A client's connection closed."""
        if self.up and life == self.life and self._links.pop(client, None) is not None:
            self._inbox.append(ClientGone(client))
            self._pass()

    def client_sent(self, client: ClientId, message: ClientMessage) -> None:
        """A client's message arrived."""
        self._world.deliveries += 1
        if client not in self._links:
            return
        if isinstance(message, Submit | OpenSession):
            payload = codec.encode(message)
            session, first = codec.submission_header(payload)
            wrapped = codec.wrap_submission(payload)
            self._submissions.append(Submission(client, session, first, wrapped))
        elif isinstance(message, Read):
            self._reads.append((client, message))
        elif isinstance(message, Watch):
            self._inbox.append(WatchRequested(client, message))
        elif isinstance(message, CancelWatch):
            self._inbox.append(WatchCancelled(client, message.number))
        self._pass()

    # --- a pass ---

    def _pass(self) -> None:
        if not self.up or self.paused or (self._syncing and self._inline_sync):
            return
        now, replica = self._read_clocks(), self.replica
        if self._inbox:
            inbox, self._inbox = self._inbox, []
            for event in inbox:
                self._handle(event, replica)
        if self._submissions:
            submissions, self._submissions = self._submissions, []
            self._handle(Submitted(submissions), replica)
        if self._reads:
            reads, self._reads = self._reads, []
            self._handle(ReadsRequested(reads), replica)
        deadline = replica.next_deadline()
        if now.monotonic >= deadline - ROUNDING_S:
            self._now = Instant(max(now.monotonic, deadline), now.wall)
            self._handle(DeadlinePassed(), replica)
            deadline = replica.next_deadline()
        if self._to_peers:
            self._flush()
        if self._staged and not self._syncing and self._write():
            deadline = replica.next_deadline()
        self._plan_wake(deadline)

    def _read_clocks(self) -> Instant:
        """Within a life the monotonic clock never goes back, not by a rounding either."""
        now, before = self.clock.read(self._world.now), self._now
        if now[0] < before[0]:
            now = Instant(before.monotonic, now.wall)
        self._now = now
        return now

    def _handle(self, event: Event, replica: Replica) -> None:
        """Hand one event to the replica, and what it says to itself after it."""
        self.facts.now = self._now.monotonic
        self._step(event, replica)
        while self._to_self:
            self._step(Received(self.voter, self._to_self.popleft()), replica)

    def _step(self, event: Event, replica: Replica) -> None:
        facts, invariants, tracing = self.facts, self._invariants, self._world.tracing
        invariants.before(facts, event, replica)
        if tracing:
            self._world.say(f"{self.voter} | {event}")
        try:
            effects = replica.handle(event, self._now)
        except Exception as error:
            text = f"{self.voter} raised {error!r} at {event}"
            raise Violation(0, text) from error
        for effect in effects:
            if type(effect) is Send:
                self._post(effect, replica)
                continue
            if tracing:
                self._world.say(f"{self.voter} . {effect}")
            if type(effect) is Persist:
                invariants.staged(facts, effect.records, replica)
                self.disk.stage(effect)
                self._staged = True
            elif type(effect) is Reply:
                invariants.answers(facts, event, effect)
                link = self._links.get(effect.client)
                if link is not None:
                    link.answer(effect.message)
        invariants.handled(facts, event, replica)

    def _post(self, send: Send, replica: Replica) -> None:
        message, to = send.message, send.to
        self._invariants.leaves(self.facts, message, replica)
        if self._world.tracing:
            self._world.say(f"{self.voter} . {send}")
        if to == self.voter.node:
            self._to_self.append(message)
        elif to in self._to_peers:
            self._to_peers[to].append(message)
        else:
            self._to_peers[to] = [message]

    def _flush(self) -> None:
        outgoing, self._to_peers = self._to_peers, {}
        for to, messages in outgoing.items():
            self._network.send(self.voter.node, to, messages)

    # --- disk ---

    def _write(self) -> bool:
        """Send what writes have released, and begin a write if something waits for one.

        Returns:
            Whether anything was released.
        """
        released = self._staged = False
        while True:
            sends, began = self.disk.write()
            if began:
                self._syncing = True
                least, most = self._plan.sync_s
                delay = self._disk_rng.uniform(least, most) * self.slow
                self._world.after(delay, self._synced, self.life)
                if self.at_write is not None:
                    self._world.after(delay * self._disk_rng.random(), self.at_write)
                    self.at_write = None
            if not sends:
                return released
            released = True
            self._release(sends)

    def _synced(self, life: int) -> None:
        """The outstanding write is durable, or the process ends."""
        if life != self.life or not self.up:
            return
        if self.paused:
            self._world.after(0.01, self._synced, life)
            return
        if self.sync_fails is not None and not self._fail_armed:
            self._fail_armed = True
            self.disk.fail(self._disk_rng.choice((1, 1, 2, 3)))
        try:
            records = self.disk.complete()
        except StorageFailed:
            self._sync_failed()
            return
        self._syncing = False
        self._read_clocks()
        self._invariants.durable(self.facts, records)
        if self.at_durable is not None:
            self.at_durable(self, records)
        if self._world.tracing:
            self._world.say(f"{self.voter} . synced {len(records)} records")
        self._write()
        self._pass()
        self._look_for_room(life)

    def _sync_failed(self) -> None:
        """Nobody knows what the disk kept: the process ends."""
        self._fail_armed = False
        if self.sync_fails is not None:
            self.sync_fails()
            self.sync_fails = None
        self.facts.failed = True
        self.crash(power_cut=False)

    def _release(self, sends: Sequence[Send]) -> None:
        """Send what waited for a write."""
        for send in sends:
            self._post(send, self.replica)
        while self._to_self:
            self._step(Received(self.voter, self._to_self.popleft()), self.replica)
        if self._to_peers:
            self._flush()

    def _look_for_room(self, life: int) -> None:
        """Tell the replica if there is too little room on disk, or enough again."""
        if not self.up or life != self.life:
            return
        try:
            full = not self.disk.has_room()
        except StorageFailed:
            self._sync_failed()
            return
        if full and self.fills is None:
            raise Violation(0, f"{self.voter} finds no room on a disk that has it")
        if full is not self._full_told:
            self._full_told = full
            if full and self.fills is not None:
                self.fills()
            self._inbox.append(DiskFull(full))
            self._staged = True  # what waited for room may be written now
            self._pass()

    # --- time ---

    def _plan_wake(self, deadline: float) -> None:
        """Plan to wake at a deadline of the replica, unless an earlier wake-up is planned."""
        if deadline < self._wake_at:
            self._wake_at = deadline
            self._wakes += 1
            self._world.at(self.clock.when(deadline), self._wake, self._wakes, self.life)

    def _wake(self, number: int, life: int) -> None:
        if number != self._wakes or life != self.life or not self.up:
            return
        self._wake_at = float("inf")
        deadline = self.replica.next_deadline()
        if self.clock.when(deadline) <= self._world.now + ROUNDING_S:
            self._pass()
        else:
            self._plan_wake(deadline)  # it was put off


def _make_disk(voter: Voter, plan: Plan) -> NodeDisk:
    return LogDisk(voter, plan.limits) if plan.real_log else SimDisk()
