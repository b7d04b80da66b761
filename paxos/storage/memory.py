"""A log in memory, for tests and for clusters inside one process.

Owns what would have survived a crash: everything ends with the process, so a crash is something one
calls. It must never be kinder than a disk: what was not synced is gone after ``power_cut``, and
after ``kill`` it can be read although it is not durable.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.storage.base import (
    DirectoryInUse,
    Identity,
    Loaded,
    StorageError,
    StorageFailed,
    StorageFull,
    WrongIdentity,
)

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
        return self._medium.used

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable: for as long as the process lives."""
        return "memory"

    @property
    def room_bytes(self) -> int:
        """Bytes that still fit."""
        if self._refusal is not None:
            return 0
        return max(0, self._medium.capacity - self._medium.used)

    @property
    def reserve_due(self) -> bool:
        """Whether ``reserve`` has something to do: only to say that there is no room."""
        return self._refusal is None and self.room_bytes == 0

    def load(self) -> Loaded:
        """Return all records. What was written but not synced is durable from here on."""
        if self._medium.user is not self:
            self._require_usable()
        medium = self._medium
        medium.durable += medium.unsynced
        medium.unsynced.clear()
        self._refusal = None
        return Loaded(tuple(medium.durable), None)

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

    def reserve(self) -> None:
        """Say so if there is no room.

        Raises:
            StorageFull: There is none.
        """
        self._require_usable()
        if self.room_bytes == 0:
            raise StorageFull("the memory log is full; raise its capacity")

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

    def _require_usable(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))


def _size(record: Record) -> int:
    if isinstance(record, AcceptedRecord | DecidedRecord):
        return _RECORD_BYTES + record.value.size
    return _RECORD_BYTES
