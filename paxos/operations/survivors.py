"""What is left of a cluster whose quorum is gone for good, and the most that can be made of it.

Owns the judgement: which state the surviving directories hold together, which slots nobody holds,
and whether anything that was acknowledged can be among what is lost. It only reads: the directories
stay evidence. It guards that nobody recovers a cluster like this that still has its quorum, and
that the state is one that the cluster could have had: it ends before the first unknown slot.

For a slot that is not known decided the value of the highest ballot among the survivors stands. If
a value was chosen, and one survivor accepted it, this is that value (Paxos Made Simple, section
2.2: every later proposal carries it).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paxos import codec, service
from paxos.cluster import ClusterFile
from paxos.core.config import Configuration, Governing
from paxos.core.executor import Executor
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.messages import SnapshotName
from paxos.core.records import Held, replay
from paxos.core.snapshot import Snapshot
from paxos.core.value import Value
from paxos.operations.plans import PlanRefused
from paxos.snapshot_format import read
from paxos.storage.base import Damage, Identity
from paxos.storage.reading import read_directory, read_snapshot_file


@dataclass(frozen=True, slots=True)
class Survivor:
    """A directory that is left.

    Attributes:
        directory: Where it is.
        identity: Whose it is.
        held: By slot, what it accepted or knows decided, above what it compacted.
        snapshot: Its latest sound one.
        damage: What it lost, if anything.
        compacted_through: Up to here the log may hold nothing any more.
    """

    directory: Path
    identity: Identity
    held: dict[Slot, Held]
    snapshot: SnapshotName | None
    damage: Damage | None
    compacted_through: Slot = 0

    @property
    def voter(self) -> Voter:
        """The node in the life that the directory is of."""
        return Voter(self.identity.node, self.identity.incarnation)

    @property
    def knows_all(self) -> bool:
        """Whether it lost nothing that it ever accepted."""
        return self.damage is None or not (self.damage.unknown or self.damage.hides_promise)


def read_survivors(file: ClusterFile, directories: Sequence[Path]) -> list[Survivor]:
    """Read the directories that are left, changing nothing.

    Raises:
        PlanRefused: One is in use, of another cluster, or given twice.
        StorageError: One cannot be read at all.
    """
    survivors: list[Survivor] = []
    for directory in directories:
        stored = read_directory(directory)
        identity, loaded = stored.identity, stored.loaded
        if stored.in_use_by is not None:
            raise PlanRefused(
                f"{directory} is in use by process {stored.in_use_by}: the node still runs",
                "If a quorum still runs there is nothing to recover. Else stop every node first.",
            )
        if identity.cluster != file.cluster:
            raise PlanRefused(
                f"{directory} is of cluster {identity.cluster}, not of {file.cluster}",
                "Give --config the cluster.toml of that cluster.",
            )
        held = replay(loaded.records, compacted_through=loaded.compacted_through).held
        compacted_through = loaded.compacted_through
        survivors.append(
            Survivor(directory, identity, held, loaded.snapshot, loaded.damage, compacted_through)
        )
    nodes = [survivor.identity.node for survivor in survivors]
    for node in nodes:
        if nodes.count(node) > 1:
            raise PlanRefused(f"two directories are of node {node}", "Give each node's once.")
    return survivors


@dataclass(frozen=True, slots=True)
class Remains:
    """What the survivors know together.

    Attributes:
        survivors: All of them.
        base: Whose snapshot the state begins with; None: it begins with an empty state.
        values: By slot, in order and without a gap, what comes above the base.
        decided_through: Up to here the survivors know all slots decided.
        dropped: Slots above the first that nobody holds, of which somebody holds a value.
        live: The configurations that govern the slots after the state.
    """

    survivors: tuple[Survivor, ...]
    base: Survivor | None
    values: dict[Slot, Value]
    decided_through: Slot
    dropped: tuple[Slot, ...]
    live: tuple[Configuration, ...]

    @property
    def through(self) -> Slot:
        """The slot that the recovered state reflects."""
        return max(self.values, default=self.base_through)

    @property
    def base_through(self) -> Slot:
        """The slot of the snapshot that the state begins with."""
        return 0 if self.base is None or self.base.snapshot is None else self.base.snapshot.through

    @property
    def accepted_only(self) -> tuple[Slot, ...]:
        """Slots of the recovered state that no survivor knows decided."""
        return tuple(slot for slot in self.values if slot > self.decided_through)

    @property
    def missing(self) -> tuple[NodeId, ...]:
        """Members whose directories are not there."""
        here = {survivor.voter for survivor in self.survivors}
        members = {member for each in self.live for member in each.members}
        return tuple(sorted({each.node for each in members if each.voter not in here}))

    @property
    def has_quorum(self) -> bool:
        """Whether the survivors that may still vote could elect and decide: then they should.

        They could not if nobody has the state that one of them has compacted its log by.
        """
        if self._lacks_state:
            return False
        able = {
            survivor.voter
            for survivor in self.survivors
            if survivor.damage is None or not survivor.damage.hides_promise
        }
        return all(
            each.quorums.is_phase1(able) and each.quorums.is_phase2(able) for each in self.live
        )

    @property
    def may_lose(self) -> bool:
        """Whether something that was acknowledged may be known to none of the survivors."""
        knowing = {survivor.voter for survivor in self.survivors if survivor.knows_all}
        decided_without_them = any(
            each.quorums.is_phase2(each.quorums.voters - knowing) for each in self.live
        )
        return decided_without_them or bool(self.dropped) or self._lacks_state

    @property
    def _lacks_state(self) -> bool:
        return any(survivor.compacted_through > self.through for survivor in self.survivors)


def sum_up(file: ClusterFile, survivors: Sequence[Survivor]) -> Remains:
    """Judge what the survivors know together.

    Raises:
        PlanRefused: They hold no state at all.
    """
    base = _base(survivors)
    configurations = file.configurations()
    through = 0
    if base is not None:
        with opened_snapshot(base) as snapshot:
            through = snapshot.head.through
            configurations.install(snapshot.head.governing)
    held = _together(survivors)
    values: dict[Slot, Value] = {}
    decided_through, all_decided = through, True  # a snapshot is of decided slots
    while (best := held.get(through + 1)) is not None:
        through += 1
        values[through] = best.value
        all_decided = all_decided and best.decided
        if all_decided:
            decided_through = through
        if best.value.change is not None:
            configurations.decide(through, best.value.change)
    if not through:
        raise PlanRefused(
            "the directories hold no state: slot 1 is in none of them, and no snapshot",
            "There is nothing to recover; `paxos init` founds an empty cluster.",
        )
    return Remains(
        survivors=tuple(survivors),
        base=base,
        values=values,
        decided_through=decided_through,
        dropped=tuple(sorted(slot for slot in held if slot > through)),
        live=configurations.live(through),
    )


def _base(survivors: Sequence[Survivor]) -> Survivor | None:
    """Return whose snapshot is the latest that holds state: those of a witness hold none."""

    def latest(survivor: Survivor) -> SnapshotName:
        return survivor.snapshot or SnapshotName(0, 0, b"")

    for survivor in sorted(survivors, key=latest, reverse=True):
        if survivor.snapshot is None:
            break
        with opened_snapshot(survivor) as snapshot:
            if next(iter(snapshot.parts()), None) is not None:
                return survivor
    return None


def _together(survivors: Sequence[Survivor]) -> dict[Slot, Held]:
    """By slot, the decided value if anybody knows it, else that of the highest ballot."""
    best: dict[Slot, Held] = {}
    for survivor in survivors:
        for slot, held in survivor.held.items():
            before = best.get(slot)
            if before is None or (held.decided, held.ballot) > (before.decided, before.ballot):
                best[slot] = held
    return best


@contextmanager
def opened_snapshot(survivor: Survivor) -> Iterator[Snapshot]:
    """Give a survivor's snapshot inside the context, from a copy of its own."""
    assert survivor.snapshot is not None
    with tempfile.TemporaryFile() as copy:
        for piece in read_snapshot_file(survivor.directory, survivor.snapshot):
            copy.write(piece)

        def read_at(offset: int, length: int) -> bytes:
            copy.seek(offset)
            return copy.read(length)

        yield read(survivor.snapshot.size, read_at)


def recovered_state(file: ClusterFile, remains: Remains) -> Snapshot:
    """Return the state that the survivors give together. Runs the state machines over it.

    Raises:
        MachineInvalid: A state machine cannot be loaded.
        SnapshotInvalid: The survivor's snapshot is damaged after all.
    """
    limits = file.limits
    executor = Executor(
        service.load_machines(file.machines),
        codec.unpack_batch,
        limits.sessions_max,
        limits.session_requests_max,
    )
    if remains.base is not None:
        with opened_snapshot(remains.base) as snapshot:
            executor.restore(snapshot)
    for slot, value in remains.values.items():
        executor.apply(slot, value)
    governing = tuple(Governing(1, each) for each in remains.live[-1:])
    return executor.snapshot(governing)
