"""A log in memory, for tests and for clusters inside one process.

Owns what would have survived a crash: everything ends with the process, so a crash is something one
calls. It must never be kinder than a disk: what was not synced is gone after ``power_cut``, and
after ``kill`` it can be read although it is not durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.storage.base import (
    Damage,
    DataDamaged,
    DirectoryInUse,
    Identity,
    Loaded,
    StorageError,
    StorageFailed,
    StorageFull,
    WrongIdentity,
)
from paxos.storage.body import summarised
from paxos.storage.snapshots import KEPT

CAPACITY = 2**40
"""Default bytes that fit: more than a test writes."""

_RECORD_BYTES = 64


class _Medium:
    """What outlives a process."""

    def __init__(self, identity: Identity, capacity: int) -> None:
        self.identity = identity
        self.capacity = capacity
        self.used = 0
        self.durable: list[Record] = []
        self.unsynced: list[Record] = []
        self.compacted_through = 0
        self.snapshots: dict[SnapshotName, bytes] = {}  # the oldest first
        self.spoilt: set[SnapshotName] = set()
        self.user: MemoryStorage | None = None


class MemoryStorage:
    """One node's log in memory.

    Args:
        identity: Whose log it is.
        capacity: Bytes that fit, counted roughly.

    Attributes:
        identity: Whose log it is.
        fails_next_sync: Set it to let the next ``sync`` fail as a broken disk would.
    """

    def __init__(self, identity: Identity, *, capacity: int = CAPACITY) -> None:
        self.identity = identity
        self.fails_next_sync = False
        self._staged: list[Record] = []
        self._compacting: Slot = 0  # asked for, and not yet durable
        self._refusal: StorageError | None = StorageError("load the log before appending to it")
        self._medium = _Medium(identity, capacity)
        self._medium.user = self

    @property
    def capacity(self) -> int:
        """Bytes that fit. May be changed at any time."""
        return self._medium.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._medium.capacity = capacity

    @property
    def disk_bytes(self) -> int:
        """Bytes in use, counted roughly."""
        return self._medium.used + sum(map(len, self._medium.snapshots.values()))

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable: for as long as the process lives."""
        return "memory"

    @property
    def room_bytes(self) -> int:
        """Bytes that still fit."""
        if self._refusal is not None:
            return 0
        return max(0, self._medium.capacity - self.disk_bytes)

    @property
    def reserve_due(self) -> bool:
        """Whether ``reserve`` has something to do: only to say that there is no room."""
        return self._refusal is None and self.room_bytes == 0

    @property
    def snapshots(self) -> tuple[SnapshotName, ...]:
        """The snapshots that were finished and not spoilt, the oldest first."""
        return tuple(name for name in self._medium.snapshots if name not in self._medium.spoilt)

    def load(self) -> Loaded:
        """Return all records. What was written but not synced is durable from here on."""
        if self._medium.user is not self:
            self._require_usable()
        medium = self._medium
        medium.durable += medium.unsynced
        medium.unsynced.clear()
        self._refusal = None
        self._compacting = medium.compacted_through
        damage = None
        if medium.spoilt:
            lines = [f"snapshot {name}: spoilt" for name in sorted(medium.spoilt)]
            damage = Damage((), False, tuple(lines))
        # Nothing of an older snapshot can be gone on from: the records in between are gone.
        usable = [each for each in self.snapshots if each.through >= medium.compacted_through]
        snapshot = usable[-1] if usable else None
        return Loaded(tuple(medium.durable), damage, snapshot, medium.compacted_through)

    def append(self, records: Sequence[Record]) -> None:
        """Stage records for the next ``sync``."""
        self._require_usable()
        self._staged += records

    def write(self) -> None:
        """Write what is staged without a sync: what a process leaves that dies in between.

        Raises:
            StorageFull: It does not fit. It stays staged.
        """
        self._require_usable()
        size = sum(map(_size, self._staged))
        if size > self.room_bytes:
            raise StorageFull("the memory log is full; raise its capacity")
        self._medium.used += size
        self._medium.unsynced += self._staged
        self._staged.clear()

    def sync(self) -> None:
        """Make everything staged durable."""
        self.write()
        medium = self._medium
        if self.fails_next_sync:
            # As on a real disk, it can still be read, and nobody knows whether it will stay.
            self._refusal = StorageFailed("the sync of the memory log failed; the node must stop")
            self._require_usable()
        medium.durable += medium.unsynced
        medium.unsynced.clear()
        if self._compacting > medium.compacted_through:
            self._compact()

    def _compact(self) -> None:
        medium = self._medium
        medium.compacted_through = self._compacting
        medium.durable = summarised(medium.durable, self._compacting)
        medium.used = sum(map(_size, medium.durable))

    def reserve(self) -> None:
        """Say so if there is no room.

        Raises:
            StorageFull: There is none.
        """
        self._require_usable()
        if self.room_bytes == 0:
            raise StorageFull("the memory log is full; raise its capacity")

    def begin_snapshot(self, through: Slot) -> MemorySnapshot:
        """Begin to write a snapshot. It is there when it is finished, and durable then."""
        self._require_usable()
        return MemorySnapshot(through, self._room_left, self._keep)

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of a finished snapshot.

        Raises:
            LookupError: It is not there, or not any more.
            DataDamaged: It was spoilt.
        """
        data = self._medium.snapshots.get(name)
        if data is None:
            raise LookupError(f"the memory log has no snapshot {name}")
        if name in self._medium.spoilt:
            raise DataDamaged(f"snapshot {name} of the memory log is spoilt")
        return data[offset : offset + length]

    def spoil_snapshot(self, name: SnapshotName) -> None:
        """Damage a snapshot as a bad disk would."""
        self._medium.spoilt.add(name)

    def compact(self, through: Slot) -> None:
        """Let the next ``sync`` drop what stands at or below ``through``."""
        self._require_usable()
        self._compacting = max(self._compacting, through)

    def close(self) -> None:
        """End the use of this object; ``reopen`` gives another. What is staged is gone."""
        self._end("this log is closed")

    def kill(self) -> None:
        """End as by SIGKILL: staged records are gone, unsynced ones stay readable."""
        self._end("the process that used this log was killed")

    def power_cut(self) -> None:
        """End as by loss of power: unsynced records are gone."""
        self._end("the machine that used this log lost power")
        self._medium.unsynced.clear()

    def reopen(self, expected: Identity | None = None) -> MemoryStorage:
        """Open the same log as a new process would.

        Raises:
            DirectoryInUse: This or another object still uses it.
            WrongIdentity: It is not ``expected``'s.
        """
        if expected is not None and expected != self.identity:
            raise WrongIdentity(f"the memory log belongs to {self.identity}, not to {expected}")
        if self._medium.user is not None:
            raise DirectoryInUse("the memory log is in use; close it first")
        again = MemoryStorage(self.identity)
        again._medium = self._medium
        again._medium.user = again
        return again

    def _end(self, text: str) -> None:
        self._staged.clear()
        self._refusal = StorageError(text)
        if self._medium.user is self:
            self._medium.user = None

    def _room_left(self) -> int:
        self._require_usable()
        return self.room_bytes

    def _keep(self, name: SnapshotName, data: bytes) -> None:
        self._require_usable()
        medium = self._medium
        others = [each for each in self.snapshots if each != name]
        at = sum(each.through <= name.through for each in others)
        others.insert(at, name)
        held = {**medium.snapshots, name: data}
        medium.snapshots = {each: held[each] for each in others[-KEPT:]}
        medium.spoilt.clear()

    def _require_usable(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))


class MemorySnapshot:
    """A snapshot on its way into a log in memory."""

    def __init__(
        self,
        through: Slot,
        room: Callable[[], int],
        keep: Callable[[SnapshotName, bytes], None],
    ) -> None:
        self._through = through
        self._room = room
        self._keep = keep
        self._data: bytearray | None = bytearray()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    @property
    def digest(self) -> bytes:
        """BLAKE2b of them, 16 bytes."""
        return hashlib.blake2b(self._taken(), digest_size=16).digest()

    def write(self, data: bytes) -> None:
        """Take what comes next.

        Raises:
            StorageFull: It does not fit.
        """
        taken = self._taken()
        if len(taken) + len(data) > self._room():
            raise StorageFull("the memory log is full; raise its capacity")
        taken += data
        self._size = len(taken)

    def finish(self) -> SnapshotName:
        """Make it the latest."""
        data = bytes(self._taken())
        name = SnapshotName(self._through, len(data), self.digest)
        self._keep(name, data)
        self._data = None
        return name

    def abandon(self) -> None:
        """Forget it."""
        self._data = None

    def _taken(self) -> bytearray:
        if self._data is None:
            raise ValueError("this snapshot is finished or abandoned")
        return self._data


def _size(record: Record) -> int:
    if isinstance(record, AcceptedRecord | DecidedRecord):
        return _RECORD_BYTES + record.value.size
    return _RECORD_BYTES
