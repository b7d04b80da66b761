"""A simulated node: the production replica between a simulated disk and network.

It mirrors the order of the runtime's pass: what arrived is handed over, what may leave at once
leaves, then one write, then what waited for it. It decides nothing about the protocol. Every
record, message and command that passes through is shown to the checkers.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from jepsen_like.sim.disk import SimDisk
from jepsen_like.sim.invariants import Invariants, NodeFacts, Ran, Violation, describe
from jepsen_like.sim.network import ClientLink, Network
from jepsen_like.sim.world import World
from jepsen_like.workload.registers import EDGE_CONFIG, REGISTERS, Registers
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
from paxos.core.executor import Unpack
from paxos.core.ids import ClientId, Instant, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.messages import (
    CancelWatch,
    ClientMessage,
    OpenSession,
    PeerMessage,
    Promise,
    Read,
    Submit,
    Watch,
)
from paxos.core.records import Recovered, replay
from paxos.core.replica import Replica
from paxos.core.state_machine import Stamp, StateMachine, Watchable
from statemachines.edge_config import EdgeConfig

EPOCH_US = 1_700_000_000_000_000
"""What wall clocks show when a simulation begins, in microseconds."""

ROUNDING_S = 1e-7
"""How early a wake-up may come because two clocks are converted into one another."""

STEPS_AT_ONE_INSTANT_MAX = 20_000
"""More than this without time moving on is a loop (a deadline that stays in the past)."""


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
    ) -> Replica:
        """Return a replica that has recovered."""


class Observed:
    """A state machine that tells the checkers what it runs."""

    def __init__(
        self, name: str, machine: StateMachine, facts: NodeFacts, invariants: Invariants
    ) -> None:
        self._name = name
        self._machine = machine
        self._facts = facts
        self._runs = invariants.machines.runs

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run and report."""
        try:
            result = self._machine.apply(command, at)
        except Exception as error:
            self._runs(self._facts, Ran(self._name, at, command, describe(error), True))
            raise
        self._runs(self._facts, Ran(self._name, at, command, result, False))
        return result

    def query(self, query: bytes) -> bytes:
        """Pass on."""
        return self._machine.query(query)

    def watch(self, query: bytes) -> bytes | None:
        """Pass on."""
        return self._machine.watch(query) if isinstance(self._machine, Watchable) else None

    def snapshot(self) -> Iterable[bytes]:
        """Pass on."""
        return self._machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Pass on."""
        self._machine.restore(chunks)


def make_machines(edge_config: bool) -> dict[str, StateMachine]:
    """Return the state machines that a cluster hosts, fresh."""
    machines: dict[str, StateMachine] = {REGISTERS: Registers()}
    if edge_config:
        machines[EDGE_CONFIG] = EdgeConfig()
    return machines


class Clock:
    """One node's clocks: off, fast or slow against the simulation's time."""

    def __init__(self, rate: float, offset: float) -> None:
        self._rate = rate
        self._offset = offset
        self.wall_error_us = 0

    def read(self, time: float) -> Instant:
        """Return what the clocks show at ``time``."""
        monotonic = self._offset + time * self._rate
        return Instant(monotonic, EPOCH_US + int(time * self._rate * 1e6) + self.wall_error_us)

    def when(self, monotonic: float) -> float:
        """Return the time at which the monotonic clock shows ``monotonic``."""
        return (monotonic - self._offset) / self._rate


class SimNode:
    """One node, over all its lives.

    Args:
        world: Time and chance.
        network: Its connections to its peers.
        invariants: The checkers.
        voter: Who it is.
        configurations: Who votes.
        factory: Makes its replica at each start.
        unpack: Decodes a batch for it.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        invariants: Invariants,
        voter: Voter,
        configurations: Configurations,
        factory: ReplicaFactory,
        unpack: Unpack,
    ) -> None:
        self.voter = voter
        self.facts = invariants.add(voter)
        self.disk = SimDisk()
        self.up = False
        self.life = 0
        self.paused = False
        self.slow = 1.0  # what a sync's time is multiplied by
        self.sync_fails = False  # the next one does
        self.at_write: Callable[[], None] | None = None  # happens in the middle of the next write
        self._world = world
        self._plan = world.plan
        self._network = network
        self._invariants = invariants
        self._configurations = configurations
        self._factory = factory
        self._unpack = unpack
        drift = self._plan.drift
        world.effects["clock drift"] += drift > 0
        self.clock = Clock(1.0 + world.rng.uniform(-drift, drift), world.rng.random() * 1000)
        self._replica: Replica | None = None
        self._now = self.clock.read(0.0)
        self._syncing = False
        self._inbox: list[Event | Submission | tuple[ClientId, Read]] = []
        self._to_self: deque[PeerMessage] = deque()
        self._to_peers: dict[int, list[PeerMessage]] = {}
        self._links: dict[ClientId, ClientLink] = {}
        self._clients = 0
        self._wake_at = 0.0
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
        """Begin a life: recover from what the disk kept."""
        self.life += 1
        self._now = self.clock.read(self._world.now)
        records = self.disk.durable
        if self._plan.codec:
            records = [codec.decode_record(codec.encode_record(record)) for record in records]
        self._invariants.restarting(self.facts)
        rng = random.Random(self._world.seed * 1000 + self.voter.node * 100 + self.life)
        self._replica = self._factory(
            self.voter,
            self._configurations,
            replay(records),
            {
                name: Observed(name, machine, self.facts, self._invariants)
                for name, machine in make_machines(self._plan.edge_config).items()
            },
            rng,
            self._unpack,
            self._now,
            limits=self._plan.limits,
            timing=self._plan.timing,
        )
        self.up = True
        self._wake_at = float("inf")
        if self._world.tracing:
            self._world.say(f"{self.voter} starts life {self.life} with {len(records)} records")
        self._invariants.started(self.facts, self._replica)
        self._network.join(self.voter.node)
        self._plan_wake(self._replica.next_deadline())

    def crash(self, power_cut: bool) -> int:
        """End this life. Returns how many records were lost."""
        self.up = False
        self.paused = False
        self._syncing = False
        self._replica = None
        survived, lost = self.disk.crash(self._world.rng, power_cut)
        if self._world.tracing:
            how = "loses power" if power_cut else "crashes"
            self._world.say(f"{self.voter} {how}, {lost} records lost, {len(survived)} survived")
        self._invariants.durable(self.facts, survived)
        self._inbox.clear()
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

    # --- what arrives ---

    def receive(self, sender: Voter, messages: Sequence[PeerMessage]) -> None:
        """Take messages that arrived together from a peer."""
        self._world.deliveries += len(messages)
        self._inbox.extend([Received(sender, message) for message in messages])
        self._pass()

    def peer_connected(self, peer: Voter) -> None:
        """A connection to a peer is up."""
        self._inbox.append(PeerConnected(peer))
        self._pass()

    def peer_disconnected(self, peer: Voter) -> None:
        """A connection to a peer broke."""
        self._inbox.append(PeerDisconnected(peer))
        self._pass()

    def disk_full(self, full: bool) -> None:
        """The disk has no room, or has it again."""
        if self.up:
            self._inbox.append(DiskFull(full))
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
            self._inbox.append(Submission(client, session, first, wrapped))
        elif isinstance(message, Read):
            self._inbox.append((client, message))
        elif isinstance(message, Watch):
            self._inbox.append(WatchRequested(client, message))
        elif isinstance(message, CancelWatch):
            self._inbox.append(WatchCancelled(client, message.number))
        self._pass()

    # --- a pass ---

    def _pass(self) -> None:
        if not self.up or self.paused or (self._syncing and self._plan.inline_sync):
            return
        world = self._world
        if world.steps_now > STEPS_AT_ONE_INSTANT_MAX:
            raise Violation(13, f"time does not move on: {self.voter} has a deadline in the past")
        self._now = self._read_clocks()
        inbox, self._inbox = self._inbox, []
        submissions: list[Submission] = []
        reads: list[tuple[ClientId, Read]] = []
        for item in inbox:
            if isinstance(item, Submission):
                submissions.append(item)
            elif isinstance(item, tuple):
                reads.append(item)
            else:
                if isinstance(item, DiskFull):
                    self.facts.full = item.full
                self._handle(item)
        if submissions:
            self._handle(Submitted(submissions))
        if reads:
            self._handle(ReadsRequested(reads))
        deadline = self.replica.next_deadline()
        due = self._now.monotonic >= deadline - ROUNDING_S
        if due:
            self._now = Instant(max(self._now.monotonic, deadline), self._now.wall)
            self._handle(DeadlinePassed())
        self._flush()
        if self._write() or due:
            deadline = self.replica.next_deadline()
        self._plan_wake(deadline)

    def _read_clocks(self) -> Instant:
        """Within a life the monotonic clock never goes back, not by a rounding either."""
        now = self.clock.read(self._world.now)
        return Instant(max(now.monotonic, self._now.monotonic), now.wall)

    def _handle(self, event: Event) -> None:
        """Hand one event to the replica, and what it says to itself after it."""
        self._step(event)
        while self._to_self:
            self._step(Received(self.voter, self._to_self.popleft()))

    def _step(self, event: Event) -> None:
        replica = self.replica
        if type(event) is Received and type(event.message) is Promise:
            self._invariants.promise_arrives(event.sender, event.message)
        if self._world.tracing:
            self._world.say(f"{self.voter} | {event}")
        try:
            effects = replica.handle(event, self._now)
        except Exception as error:
            text = f"{self.voter} raised {error!r} at {event}"
            raise Violation(0, text) from error
        for effect in effects:
            self._carry_out(effect)
        self._invariants.handled(self.facts, replica)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._post(effect)
        elif isinstance(effect, Persist):
            if self._world.tracing:
                self._world.say(f"{self.voter} . {effect}")
            self._invariants.staged(self.facts, self.life, effect.records, self.replica)
            self.disk.stage(effect)
        elif isinstance(effect, Reply):
            if self._world.tracing:
                self._world.say(f"{self.voter} . {effect}")
            link = self._links.get(effect.client)
            if link is not None:
                link.answer(effect.message)

    def _post(self, send: Send) -> None:
        message = send.message
        self._invariants.leaves(self.facts, self.life, message, self.replica)
        if self._world.tracing:
            self._world.say(f"{self.voter} . {send}")
        if send.to == self.voter.node:
            self._to_self.append(message)
        else:
            self._to_peers.setdefault(send.to, []).append(message)

    def _flush(self) -> None:
        if self._to_peers:
            outgoing, self._to_peers = self._to_peers, {}
            for to, messages in outgoing.items():
                self._network.send(self.voter.node, to, messages)

    # --- disk ---

    def _write(self) -> bool:
        """Begin a write if something waits for one and none is outstanding.

        Returns:
            Whether barriers without a write were passed.
        """
        released = False
        while self.disk.idle and self.disk.has_staged:
            if self.disk.begin():
                least, most = self._plan.sync_s
                self._syncing = True
                delay = self._world.rng.uniform(least, most) * self.slow
                self._world.after(delay, self._synced, self.life)
                if self.at_write is not None:
                    self._world.after(delay * self._world.rng.random(), self.at_write)
                    self.at_write = None
                break
            self._release(self.disk.finish())
            released = True
        return released

    def _synced(self, life: int) -> None:
        """The outstanding write is durable, or the process ends."""
        if life != self.life or not self.up:
            return
        if self.paused:
            self._world.after(0.01, self._synced, life)
            return
        if self.sync_fails:
            self.sync_fails = False
            self.facts.failed = True
            self._world.effects["sync failure"] += 1
            self.crash(power_cut=True)
            return
        self._syncing = False
        written = self.disk.finish()
        self._now = self._read_clocks()
        for persist in written:
            self._invariants.durable(self.facts, persist.records)
        self._release(written)
        self._pass()

    def _release(self, written: Sequence[Persist]) -> None:
        """Send what waited for a write."""
        if self._world.tracing:
            self._world.say(f"{self.voter} . synced {len(written)} writes")
        for persist in written:
            for send in persist.then:
                self._post(send)
        while self._to_self:
            self._step(Received(self.voter, self._to_self.popleft()))
        self._flush()

    # --- time ---

    def _plan_wake(self, deadline: float) -> None:
        """Plan to wake at a deadline of the replica, unless an earlier wake-up is planned."""
        when = self.clock.when(deadline)
        if when < self._wake_at:
            self._wake_at = when
            self._wakes += 1
            self._world.at(when, self._wake, self._wakes, self.life)

    def _wake(self, number: int, life: int) -> None:
        if number != self._wakes or life != self.life or not self.up:
            return
        self._wake_at = float("inf")
        deadline = self.replica.next_deadline()
        if self.clock.when(deadline) <= self._world.now + ROUNDING_S:
            self._pass()
        else:
            self._plan_wake(deadline)  # it was put off
