"""A node's passes for writes in one process, without sockets, tasks or clocks: its hot path.

Owns how a ``paxos.runtime.node`` makes its passes without the rest of its process; and frames as
clients and the other nodes would send them, made beforehand, so that making them is no part of what
is measured. Time stands still once a node leads: nothing here is a heartbeat or is sent again.
Snapshots are made and the log is compacted as the replica wants it, a piece of a snapshot with
every pass. It never measures anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from random import Random
from typing import Any, NamedTuple, NoReturn, cast

from benchmarks import minimal_store
from benchmarks.minimal_store import MinimalStore, put
from paxos import codec, snapshot_format
from paxos.cluster import ALPHA
from paxos.core.config import FEATURE, Configuration, Configurations
from paxos.core.effects import SaveSnapshot
from paxos.core.events import SnapshotSaved
from paxos.core.ids import ClientId, Instant, NodeId, SessionId, Voter
from paxos.core.limits import DEFAULT_LIMITS, Limits
from paxos.core.messages import Accepted, OpenSession, Submit
from paxos.core.quorum import Quorums
from paxos.core.replica import Replica
from paxos.core.snapshot import Snapshot
from paxos.core.state_machine import StateMachine
from paxos.doorbell import Doorbell
from paxos.runtime.links import ClientUp, LinkEvent, Links, Member, PeerUp, Taken
from paxos.runtime.node import Node, NodeSetup
from paxos.runtime.recovery import recover
from paxos.runtime.room import RESERVE_EVERY_BYTES
from paxos.runtime.snapshot_tasks import SnapshotTasks
from paxos.runtime.snapshots import Tell
from paxos.storage.base import Identity, Storage
from paxos.storage.memory import MemoryStorage
from paxos.transport import Channel
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


_NOWHERE = cast("Channel", None)
"""What arrives here came on no channel."""


class _Wires(Links):
    """Links without sockets: what arrives is given to a pass, and what leaves is kept."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.events: list[LinkEvent] = []
        self.to_peers: dict[NodeId, list[bytes]] = {}
        self.to_clients: dict[ClientId, list[bytes]] = {}

    def follow(self, *_: object, **__: object) -> None:
        """Whoever is to be talked to is there."""

    def take(self, channels: Iterable[Channel]) -> list[Taken]:
        """Take each for what has arrived, not for where."""
        return list(cast("Iterable[Taken]", channels))

    def take_events(self) -> list[LinkEvent]:
        events, self.events = self.events, []
        return events

    def send(self, to: NodeId, frames: Sequence[bytes]) -> bool:
        self.to_peers.setdefault(to, []).extend(frames)
        return True

    def reply(self, client: ClientId, frames: Sequence[bytes]) -> bool:
        self.to_clients.setdefault(client, []).extend(frames)
        return True


class _Snapshots(SnapshotTasks):
    """Snapshots that are saved a piece at a time by whoever calls ``step``, not by a task."""

    def __init__(
        self, setup: NodeSetup, links: Links, tell: Tell, ring: Callable[[], None]
    ) -> None:
        node = setup.identity.node
        super().__init__(setup.storage, setup.options, setup.limits, node, links, tell, ring)
        self._storage = setup.storage
        self._tell = tell
        self._steps: Iterator[SnapshotSaved | None] | None = None
        self.begun = 0

    @property
    def under_way(self) -> bool:
        return self._steps is not None

    def save(self, effect: SaveSnapshot) -> None:
        self.begun += 1
        self._steps = self._save(effect.snapshot)

    def step(self) -> None:
        if self._steps is not None:
            saved = next(self._steps)
            if saved is not None:
                self._steps = None
                self._tell(saved)

    def _save(self, snapshot: Snapshot) -> Iterator[SnapshotSaved | None]:
        writer = self._storage.begin_snapshot(snapshot.head.through)
        for piece in snapshot_format.encode(snapshot):
            writer.write(piece)
            yield None
        yield SnapshotSaved(writer.finish())


class _Silent(Doorbell):
    """A doorbell that nobody waits on: passes are made by whoever drives the node."""

    def __init__(self) -> None:
        """Open nothing."""

    def ring(self, channel: Channel | None = None) -> None:
        """Nobody listens."""


class PassingNode(Node):
    """The product's node, but for its tasks, sockets and clocks: stepped a pass at a time.

    Args:
        node: Which of the three.
        machine: The name of its state machine, one of ``MACHINES``.
        storage: Its log, not loaded yet.
        limits: See ``Limits``.

    Attributes:
        now: What its clocks show.
    """

    _links: _Wires
    _snapshots: _Snapshots

    def __init__(
        self, node: NodeId, machine: str, storage: Storage, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.now = Instant(0.0, 1_700_000_000_000_000)
        founding = Configuration(1, Quorums.majority(VOTERS))
        setup = NodeSetup(
            identity(node),
            {voter.node: Member("", voter.incarnation) for voter in VOTERS},
            Configurations(founding, ALPHA),
            {machine: MACHINES[machine]()},
            storage,
            _no_transport,
            Random(node),
            limits,
        )
        super().__init__(setup, recover(storage, setup.identity), _Silent())
        self._links.events += [PeerUp(each, FEATURE) for each in VOTERS if each != self._me]
        storage.reserve()
        self._reserved_at = 0
        self._known_clients: set[ClientId] = set()

    def _make_links(self, machines: Mapping[str, StateMachine]) -> _Wires:
        return _Wires(
            identity=self._setup.identity,
            boot=self._me.node,
            members=self._setup.members,
            doorbell=self._doorbell,
            transport_for=self._setup.transport_for,
            rng=self._setup.rng,
            options=self._setup.options,
            election_timeout_s=self._setup.timing.election_timeout_s,
        )

    def _make_snapshots(self) -> _Snapshots:
        return _Snapshots(self._setup, self._links, self._tell, self._doorbell.ring)

    def _read_clocks(self) -> Instant:
        return self.now

    @property
    def replica(self) -> Replica:
        """The replica."""
        return self._replica

    @property
    def to_peers(self) -> dict[NodeId, list[bytes]]:
        """Frames of the last pass, by node."""
        return self._links.to_peers

    @property
    def to_clients(self) -> dict[ClientId, list[bytes]]:
        """Frames of the last pass, by client."""
        return self._links.to_clients

    @property
    def saving(self) -> bool:
        """Whether a snapshot is being made."""
        return self._snapshots.under_way

    @property
    def snapshots(self) -> int:
        """How many were begun so far."""
        return self._snapshots.begun

    def take(
        self,
        clients: Iterable[tuple[ClientId, bytes]] = (),
        peers: Iterable[tuple[Voter, bytes]] = (),
    ) -> None:
        """Make a pass with frames that arrived together, each on a connection of its own."""
        links = self._links
        links.to_peers, links.to_clients = {}, {}
        arrived = [Taken(_NOWHERE, peer, [frame]) for peer, frame in peers]
        for client, frame in clients:
            arrived.append(Taken(_NOWHERE, client, [frame]))
            if client not in self._known_clients:
                self._known_clients.add(client)
                links.events.append(ClientUp(client))
        self._due = self._replica.next_deadline()
        self._pass(cast("list[Channel]", arrived))
        self._snapshots.step()
        # What the node's other tasks would do by now.
        written = self._writer.written_bytes
        if written - self._reserved_at >= RESERVE_EVERY_BYTES:
            self._reserved_at = written
            self._storage.reserve()

    def wake(self, now: Instant) -> None:
        """Let the time have come that the replica waits for."""
        self.now = now
        self.take()


def _no_transport(url: str) -> NoReturn:
    raise AssertionError(f"nobody connects to {url}")


def elect(nodes: Sequence[PassingNode]) -> None:
    """Let the first of three nodes lead: time goes on for it alone, and messages take none."""
    leader = nodes[0]
    while not leader.replica.proposer.leading:
        leader.wake(Instant(leader.replica.next_deadline(), leader.now.wall))
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
