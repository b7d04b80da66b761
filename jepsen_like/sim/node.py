"""A simulated node: the production replica between a simulated disk and network.

It mirrors the order of the runtime's pass: what arrived is handed over, what may leave at once
leaves, then one write, then what waited for it. It decides nothing about the protocol. Every
record, message and command that passes through is shown to the checkers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jepsen_like.sim.disk import Found
from jepsen_like.sim.invariants import Invariants, Violation
from jepsen_like.sim.machine import Machine, make_disk
from jepsen_like.sim.network import Network
from jepsen_like.sim.setup import NodeSetup, Observed
from jepsen_like.sim.snapshots import SnapshotDesk, recall
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos import codec
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
    Event,
    PeerConnected,
    PeerDisconnected,
    ReadsRequested,
    Received,
    SnapshotSaved,
    Submission,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.ids import ClientId, Instant, NodeId, Voter
from paxos.core.messages import (
    CancelWatch,
    ClientMessage,
    OpenSession,
    PeerMessage,
    Read,
    Reconfigure,
    Submit,
    TakeSnapshot,
    TransferLeader,
    Watch,
)
from paxos.core.records import Recovered, replay
from paxos.core.replica import ALL_ROLES, Replica, Role
from paxos.core.state_machine import StateMachine
from paxos.storage.base import StorageError, StorageFull

if TYPE_CHECKING:
    from jepsen_like.sim.client_link import ClientLink

ROUNDING_S = 1e-7
"""How early a wake-up may come because two clocks are converted into one another."""

RETRY_START_S = 0.2
"""A node that finds no room to begin with is started again after this long."""


class SimNode(Machine):
    """One node, over all its lives.

    Args:
        world: Time and chance.
        network: Its connections to its peers.
        invariants: The checkers.
        voter: Who it is.
        setup: What its replicas are made with.
        witness: It votes and keeps no state.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        invariants: Invariants,
        voter: Voter,
        setup: NodeSetup,
        witness: bool = False,
    ) -> None:
        super().__init__(world, invariants, voter, witness)
        self.lost = False  # what it promised is gone for ever: it will never be a voter again
        self.retired = False  # the machine is gone, and with it all it had
        self._inline_sync = world.plan.inline_sync
        self._network = network
        self._setup = setup
        self.witness = witness
        self.configurations = setup.configurations()  # what it believes; anew in each life
        self._replica: Replica | None = None
        self._desk: SnapshotDesk | None = None
        self._now = self.clock.read(0.0)
        self._roles = frozenset({Role.ACCEPTOR}) if witness else ALL_ROLES
        self._submissions: list[Submission] = []
        self._reads: list[tuple[ClientId, Read]] = []
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
    def mended(self) -> bool:
        """Whether it knows all that it once did, as far as that matters."""
        replica = self._replica
        if replica is None or self.facts.doubt:
            return False
        return self.witness or replica.executor.applied_through >= self.facts.compacted_through

    @property
    def leading(self) -> bool:
        """Whether it is up and leads."""
        return self._replica is not None and self._replica.proposer.leading

    # --- life ---

    def start(self) -> None:
        """Begin a life: recover from what the disk kept, unless that is damaged."""
        if self.retired:
            return
        self.life += 1
        found = self._load()
        if found is None:
            return
        kept = self._replay(found)
        self._now = self.clock.read(self._world.now)
        self._invariants.found(self.facts, found.survived, found.torn, kept)
        self._invariants.restarting(self.facts)
        self.configurations = self._setup.configurations()
        self._replica = self._setup.factory(
            self.voter,
            self.configurations,
            kept,
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
        self._desk = self._open_desk()
        if self._world.tracing:
            self._world.say(f"{self.voter} starts life {self.life} with {_contents(found)}")
        self.facts.configurations = self.configurations
        self._invariants.started(self.facts, self._replica)
        self._network.join(self.voter.node)
        self._plan_wake(self._replica.next_deadline())

    def _replay(self, found: Found) -> Recovered:
        records = found.records
        if self._plan.codec:
            records = [codec.decode_record(codec.encode_record(record)) for record in records]
        snapshot = None
        if found.snapshot is not None:
            snapshot = found.snapshot, recall(self.disk, found.snapshot)
        return replay(records, snapshot, found.compacted_through, found.unknown)

    def _open_desk(self) -> SnapshotDesk:
        rng = stream(self._world.seed, "snapshots", self.voter.node, self.life)
        return SnapshotDesk(
            self._world, rng, self.disk, self._snapshot_event, self._serve, self._sync_failed
        )

    def _snapshot_event(self, event: Event) -> None:
        if isinstance(event, SnapshotSaved):
            self._invariants.snapshots.durable(self.facts, event.name, not self.witness)
        self._inbox.append(event)
        self._pass()

    def _serve(self, to: NodeId, chunk: PeerMessage) -> None:
        if self._world.tracing:
            self._world.say(f"{self.voter} . -> n{to} {chunk}")
        self._network.send(self.voter.node, to, [chunk])

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
        self.facts = self._invariants.add(self.voter, executes=not self.witness)
        self.disk = make_disk(self.voter, self._plan)
        self._roles -= {Role.PROPOSER}

    def retire(self) -> None:
        """Be wiped, and never come back."""
        self.retired = True
        if self.up:
            self.crash(power_cut=False)
        self.disk = make_disk(self.voter, self._plan)
        self.facts.wiped()
        if self._world.tracing:
            self._world.say(f"{self.voter} is wiped")

    def crash(self, power_cut: bool) -> int:
        """End this life. Returns how many records may be lost."""
        if self._desk is not None:
            self._desk.crash()
            self._desk = None
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
        if self._desk is not None:
            self._desk.paused = True

    def resume(self) -> None:
        """Go on: all that arrived meanwhile is there at once."""
        if self.up and self.paused:
            self.paused = False
            if self._desk is not None:
                self._desk.paused = False
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
        elif isinstance(message, Reconfigure | TransferLeader | TakeSnapshot):
            self._inbox.append(AdminRequested(client, message))
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

    def _look_at_clocks(self) -> None:
        self.facts.now = self._read_clocks().monotonic

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
        facts.learned_through = replica.learner.decided_through
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
            else:
                self._keep(effect, replica)
        invariants.handled(facts, event, replica)

    def _keep(self, effect: Effect, replica: Replica) -> None:
        """Carry out what concerns snapshots."""
        facts, invariants, desk = self.facts, self._invariants, self._desk
        if desk is None:
            raise LookupError(f"{self.voter} is down")
        if isinstance(effect, SaveSnapshot):
            invariants.snapshots.saves(facts, effect.snapshot.head, replica)
            desk.save(effect.snapshot)
        elif isinstance(effect, Compact):
            invariants.snapshots.compacts(facts, effect.through, replica)
            self.disk.compact(effect.through)
        elif isinstance(effect, ServeSnapshot):
            desk.serve(effect)
        elif isinstance(effect, StoreChunk):
            desk.store(effect)

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

    def _release(self, sends: Sequence[Send]) -> None:
        """Send what waited for a write."""
        for send in sends:
            self._post(send, self.replica)
        while self._to_self:
            self._step(Received(self.voter, self._to_self.popleft()), self.replica)
        if self._to_peers:
            self._flush()

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


def _contents(found: Found) -> str:
    snapshot = "" if found.snapshot is None else f", snapshot {found.snapshot}"
    doubt = "".join(f", unknown {first}..{last}" for first, last in found.unknown)
    return f"{len(found.records)} records{snapshot}{doubt}"
