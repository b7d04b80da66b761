"""The log that ships, written by the writer that ships, on a simulated file system.

Torn writes, names that a power cut takes back, failed syncs, a full disk and rotten bytes go
through production code here. It holds that code to the port's law: whatever was durable is found
again, in order, or the log says that it is damaged. It knows no protocol.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jepsen_like.sim.disk import Found
from jepsen_like.sim.invariants import Violation, require
from paxos.core.effects import Persist, Send
from paxos.core.ids import Slot, Voter
from paxos.core.limits import Limits
from paxos.core.messages import SnapshotName
from paxos.core.records import AcceptedRecord, DecidedRecord, Record, replay
from paxos.runtime.writer import CHANGE_BYTES_MAX, WRITE_OVERHEAD, Writer
from paxos.storage.base import (
    DataDamaged,
    DirectoryInUse,
    Identity,
    Loaded,
    SnapshotWriter,
    StorageError,
    StorageFull,
)
from paxos.storage.layout import BLOCK
from paxos.storage.segments import SegmentStorage, create, open_segments
from paxos.testing.disk import Crashed, ModelDisk

if TYPE_CHECKING:
    from paxos.storage.base import Storage

SEGMENT_BYTES_MIN = 16 * BLOCK
"""Small, so that a run goes through many segments. Two hold what there must be room for."""

CRASH_STEPS = (0, 1, 1, 1, 2, 4)
"""After how many steps of a write it is cut short: mostly between the write and its sync."""

CLUSTER = "00c0ffee"
"""The simulated cluster's id."""

NEVER = 2**62
"""No run has so many syncs."""

DIRECTORY = Path("/data")

LATEST_SHARE = 0.5
LATEST_BYTES = 1_500
"""How often rot strikes what was written last, so that slots are lost that are not decided yet, and
how many bytes of it: some batches."""

ROTTING = ("segment-", "snapshot-")
"""How the names of files begin that may rot. Others are small and are read at every start."""


class LogDisk:
    """One node's data directory on a machine of its own. Implements ``NodeDisk``.

    Args:
        voter: Whose directory it is.
        limits: What the node must always have room for.
        changes: Whether that includes a change of the configuration: larger segments, so fewer.
    """

    def __init__(self, voter: Voter, limits: Limits, changes: bool = False) -> None:
        self._identity = Identity(CLUSTER, voter.node, voter.incarnation)
        self._disk = ModelDisk()
        largest = max(limits.batch_bytes_max, limits.submission_bytes_max)
        self._room_min = max(largest, CHANGE_BYTES_MAX * changes) + WRITE_OVERHEAD
        self._segment_bytes = max(SEGMENT_BYTES_MIN, -(-2 * self._room_min // BLOCK) * BLOCK)
        create(DIRECTORY, self._identity, disk=self._disk)
        self._durable: list[Record] = []  # everything that was said to be
        self._unwritten: list[Record] = []  # staged or under way
        self._in_doubt: list[Record] = []  # the same, when the process died
        self._rotten = False  # bytes were changed behind the log's back
        self._storage: SegmentStorage | None = None
        self._writer: Writer | None = None
        self._sync: _Sync | None = None

    # --- what a node does ---

    def load(self) -> Found:
        """Open, read and judge the log; hold it to what was durable."""
        storage = open_segments(
            DIRECTORY, self._identity, segment_bytes=self._segment_bytes, disk=self._disk
        )
        self._storage = storage
        try:
            loaded = storage.load()
            if loaded.damage is not None and loaded.damage.hides_promise:
                raise DataDamaged("; ".join(loaded.damage.findings))
        except StorageFull:
            self.close()
            raise
        except StorageError as error:
            require(self._rotten, 10, "n{}: a mere crash is damage: {}", self._identity.node, error)
            self.close()
            raise
        survived = self._compare(loaded)
        self._durable = list(loaded.records)
        self._sync = _Sync(storage)
        # A writer appends, and asks for the room there is: no more of a storage is needed.
        self._writer = Writer(cast("Storage", self._sync), self._sync)
        unknown = () if loaded.damage is None else loaded.damage.unknown
        return Found(
            self._durable,
            survived,
            bool(storage.torn),
            loaded.snapshot,
            loaded.compacted_through,
            unknown,
        )

    def _compare(self, loaded: Loaded) -> Sequence[Record]:
        """Hold what was found to what was durable. Returns what is there beyond that."""
        node, damage = self._identity.node, loaded.damage
        require(damage is None or self._rotten, 10, "n{}: a crash is damage: {}", node, damage)
        survived = self._survived(loaded.records)
        kept = loaded.records[: len(loaded.records) - len(survived)]
        text = "n{} finds {} records, and not the {} that were durable"
        if damage is None and not loaded.compacted_through:
            found = list(kept)
            require(found == self._durable, 7, text, node, len(found), len(self._durable))
        elif damage is None:
            wanted = [each for each in self._durable if _says(each, loaded.compacted_through)]
            found = [each for each in kept if _says(each, loaded.compacted_through)]
            require(found == wanted, 7, text, node, len(found), len(wanted))
        else:
            self._compare_damaged(kept, survived, loaded.compacted_through, damage.unknown)
        return survived

    def _compare_damaged(
        self,
        kept: Sequence[Record],
        survived: Sequence[Record],
        above: Slot,
        unknown: Sequence[tuple[Slot, Slot]],
    ) -> None:
        """What a damaged log does not say is in doubt must be as it was.

        Unless what survived beyond the durable says it: that stands behind the loss, and mends it.
        """
        before, after = replay(self._durable).held, replay(kept).held
        mended = replay(survived).held
        text = "n{} held {} in slot {}, has lost it to damage, and does not say so"
        for slot, held in before.items():
            if slot <= above or any(first <= slot <= last for first, last in unknown):
                continue
            if slot in mended:
                continue
            found = after.get(slot)
            same = found is not None and found.value == held.value
            require(same, 10, text, self._identity.node, held.value, slot)

    def _survived(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the most of what was in doubt that stands at the end."""
        for count in range(min(len(self._in_doubt), len(records)), 0, -1):
            if list(records[-count:]) == self._in_doubt[:count]:
                return records[-count:]
        return ()

    def stage(self, persist: Persist) -> None:
        """Hand a write over to the writer."""
        self._unwritten += persist.records
        self._open_writer().stage(persist)

    def write(self) -> tuple[list[Send], bool]:
        """Let the writer do its turn."""
        writer, sync = self._open_writer(), self._open_sync()
        before = writer.syncs
        released = writer.write()
        return released, writer.syncs > before and not sync.finished()

    def complete(self) -> Sequence[Record]:
        """Let the sync that was begun happen."""
        sync = self._open_sync()
        try:
            records = sync.complete()
        except StorageFull as error:
            text = "n{} wrote what there was no room for: {}"
            raise Violation(0, text.format(self._identity.node, error)) from error
        self._durable += records
        del self._unwritten[: len(records)]
        return records

    def has_room(self) -> bool:
        """Reserve if the runtime would; whether there is room for another batch now."""
        storage = self._storage
        if storage is None:
            return True
        if storage.room_bytes >= self._room_min and not storage.reserve_due:
            return True
        try:
            storage.reserve()
        except StorageFull:
            return False
        return storage.room_bytes >= self._room_min

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[Sequence[Record], int]:
        """Die, perhaps in the middle of a write. What is left shows at the next load."""
        if self._storage is None:
            return (), 0
        sync = self._open_sync()
        if not sync.finished():
            self._disk.crash_at(self._disk.steps + rng.choice(CRASH_STEPS))
            try:
                sync.complete()
            except (Crashed, StorageError):
                pass  # it ends here, with the write torn or never begun
        if power_cut:
            kept = rng.choice((0.0, 0.5, 1.0))
            self._disk.power_cut([each for each in self._disk.unsynced() if rng.random() < kept])
        else:
            self._disk.kill()
        self._in_doubt, self._unwritten = self._unwritten, []
        self._storage = self._writer = self._sync = None
        return (), len(self._in_doubt)

    # --- snapshots ---

    def begin_snapshot(self, through: Slot) -> SnapshotWriter:
        """Begin to write one."""
        return self._open_storage().begin_snapshot(through)

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of one."""
        return self._open_storage().read_snapshot(name, offset, length)

    def finish_in_crash(self, draft: SnapshotWriter, rng: random.Random) -> None:
        """Let the process die somewhere on the way."""
        self._disk.crash_at(self._disk.steps + rng.choice(CRASH_STEPS))
        try:
            draft.finish()
        except (Crashed, StorageError):
            pass  # it ends here

    def compact(self, through: Slot) -> None:
        """Let go, with the next write."""
        self._open_storage().compact(through)

    # --- what goes wrong ---

    def fail(self, nth: int = 1) -> None:
        """Let the ``nth`` sync from now fail, of a file or of the directory; 0 for none."""
        self._disk.fail_sync(nth or NEVER)

    def fill(self, full: bool) -> None:
        """Let nothing grow, or let it."""
        self._disk.capacity = 0 if full else None

    def rot(self, rng: random.Random) -> int:
        """Flip bits where something was durably written: in the log, or in a snapshot.

        Returns:
            How many.
        """
        names = [name for name in self._disk.names(DIRECTORY) if name.startswith(ROTTING)]
        written = [DIRECTORY / name for name in names if any(self._disk.read(DIRECTORY / name))]
        flips = 0
        for _ in range(rng.choice((1, 1, 2, 3)) if written else 0):
            path = rng.choice(written)
            data = self._disk.read(path)
            places = [offset for offset, byte in enumerate(data) if byte]
            latest = rng.random() < LATEST_SHARE
            start = rng.choice(places[-LATEST_BYTES:] if latest else places)
            for offset in range(start, min(start + rng.choice((1, 1, 100)), len(data))):
                self._disk.flip(path, offset, rng.randrange(8))
                flips += 1
        self._rotten = self._rotten or flips > 0
        return flips

    def refuses_second(self) -> bool:
        """Whether a second process on the same directory is turned away."""
        try:
            open_segments(DIRECTORY, self._identity, disk=self._disk)
        except DirectoryInUse:
            return True
        return False

    def close(self) -> None:
        """Let go of the directory, as a process does that ends by itself."""
        if self._storage is not None:
            self._storage.close()
        self._disk.kill()
        self._storage = self._writer = self._sync = None

    def _open_storage(self) -> SegmentStorage:
        if self._storage is None:
            raise LookupError(f"the log of n{self._identity.node} is not open")
        return self._storage

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise LookupError(f"the log of n{self._identity.node} is not open")
        return self._writer

    def _open_sync(self) -> _Sync:
        if self._sync is None:
            raise LookupError(f"the log of n{self._identity.node} is not open")
        return self._sync


class _Sync:
    """Stands between the writer and the log: notes what is written, and lets a sync take time.

    The writer's ``Disk``, and as much of its ``Storage`` as it uses.
    """

    def __init__(self, storage: SegmentStorage) -> None:
        self._storage = storage
        self._records: list[Record] = []  # of the sync under way
        self._under_way = False

    @property
    def room_bytes(self) -> int:
        """The log's."""
        return self._storage.room_bytes

    def append(self, records: Sequence[Record]) -> None:
        """Stage records in the log."""
        self._records.extend(records)
        self._storage.append(records)

    def begin(self) -> None:
        """Let the sync be under way until ``complete``."""
        self._under_way = True

    def finished(self) -> bool:
        """Whether none is under way."""
        return not self._under_way

    def complete(self) -> list[Record]:
        """Let the log sync. Returns the records that are durable by that."""
        self._storage.sync()
        self._under_way = False
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Nothing runs beside the simulation."""


def _says(record: Record, above: Slot) -> bool:
    """Whether a record says what is in a slot above ``above``."""
    return isinstance(record, AcceptedRecord | DecidedRecord) and record.slot > above
