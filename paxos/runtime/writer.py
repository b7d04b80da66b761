"""The way to disk: groups of records, one write outstanding, room looked at before each.

Owns the order of writes and when what waits for them is released. It guards invariant 7: a ``then``
leaves ``write`` only when its records and all earlier ones are durable, and none ever leaves after
a write has failed. Knows nothing of channels, or of what a record means beyond its size.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from paxos.core.records import AcceptedRecord, DecidedRecord, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paxos.core.effects import Persist, Send
    from paxos.core.ids import Slot
    from paxos.core.limits import Limits
    from paxos.storage.base import Storage

RECORD_OVERHEAD = 128
"""Bytes: more than a record takes on disk beside its value's commands."""
CHANGE_BYTES_MAX = 96 * 1024
"""Bytes: a configuration of the most members with the longest URLs takes no more."""
WRITE_OVERHEAD = 16 * 1024
"""Bytes: more than a write takes beside its records, for its header and padding to whole blocks."""


def record_bytes(records: Sequence[Record]) -> int:
    """Return an upper bound for the bytes that ``records`` take on disk."""
    total = RECORD_OVERHEAD * len(records)
    for record in records:
        if isinstance(record, AcceptedRecord | DecidedRecord):
            total += len(record.value.commands)
            if record.value.change is not None:
                total += CHANGE_BYTES_MAX
    return total


def room_min(limits: Limits) -> int:
    """Return the bytes of room without which a node must not vote: any one record must fit."""
    largest = max(limits.batch_bytes_max, limits.submission_bytes_max, CHANGE_BYTES_MAX)
    return largest + RECORD_OVERHEAD + WRITE_OVERHEAD


class Disk(Protocol):
    """Where a sync runs."""

    def begin(self) -> None:
        """Make what was appended durable, now or soon."""

    def finished(self) -> bool:
        """Whether the sync that was begun has ended.

        Raises:
            StorageFailed: It failed. Fatal.
        """

    def close(self) -> None:
        """Wait for the sync that was begun, if any, and use the storage no more."""


class InlineDisk:
    """Syncs in the caller: cheapest where a sync takes well under a millisecond."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def begin(self) -> None:
        """Sync before returning."""
        self._storage.sync()

    def finished(self) -> bool:
        """Whether the sync has ended: always."""
        return True

    def close(self) -> None:
        """Nothing is under way between two calls."""


class ThreadDisk:
    """Syncs on a thread of its own, so that a slow disk holds up nothing but what waits for it.

    Args:
        storage: Used by the thread only between ``begin`` and ``finished``.
        ring: Called from the thread when a sync has ended.
    """

    def __init__(self, storage: Storage, ring: Callable[[], None]) -> None:
        self._storage = storage
        self._ring = ring
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._ended = True
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="paxos-sync", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Hand the sync over to the thread."""
        self._ended = False
        self._wanted.put(True)

    def finished(self) -> bool:
        """Whether the thread has ended the sync; raises what the sync raised."""
        if self._ended and self._failure is not None:
            raise self._failure
        return self._ended

    def close(self) -> None:
        """Wait for the thread."""
        self._wanted.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.get() and self._failure is None:
            try:
                self._storage.sync()
            except BaseException as failure:  # noqa: BLE001 - raised again by `finished`
                self._failure = failure
            self._ended = True
            self._ring()


class Writer:
    """Groups what is staged while a write is under way into the next one.

    Args:
        storage: Where to.
        disk: Where its syncs run.
    """

    def __init__(self, storage: Storage, disk: Disk) -> None:
        self._storage = storage
        self._disk = disk
        self._staged: deque[tuple[Persist, int]] = deque()  # with their size on disk at most
        self._outstanding: list[Persist] = []  # appended, and not known to be durable
        self._syncing = False  # a sync was begun and is not known to have ended
        self._compacting = False  # the next sync carries a compaction
        self._compacted = False  # the sync under way does
        self.syncs = 0
        self.written_bytes = 0
        self.compactions = 0
        """How many are durable: what they made needless can be removed."""

    @property
    def outstanding(self) -> bool:
        """Whether a write has begun and is not known to have ended."""
        return self._syncing

    def can_write(self) -> bool:
        """Whether something is staged that ``write`` would begin with at once."""
        if self._syncing:
            return False
        return self._may_compact() or bool(self._staged and self._fits(self._staged[0][1]))

    def stage(self, persist: Persist) -> None:
        """Put records, and what waits for them, behind all earlier ones."""
        self._staged.append((persist, record_bytes(persist.records)))

    def compact(self, through: Slot) -> None:
        """Let the log go of what is at or below ``through``, durably with the next write."""
        self._storage.compact(through)
        self._compacting = True

    def write(self) -> list[Send]:
        """Begin the next write unless one is outstanding; return what may leave now.

        Raises:
            StorageFailed: Fatal: nothing that still waits may ever leave.
        """
        released: list[Send] = []
        if self._syncing and self._disk.finished():
            self._release(released)
        compacts = self._may_compact()
        if self._syncing or not (self._staged or compacts):
            return released
        records = self._next_group()
        if records or compacts:
            if records:
                self._storage.append(records)
            self.syncs += 1
            self._compacted, self._compacting = compacts, self._compacting and not compacts
            self._syncing = True
            self._disk.begin()
            if self._disk.finished():
                self._release(released)
        else:
            self._release(released)  # barriers only, and no write is under way
        return released

    def close(self) -> None:
        """Wait for the outstanding write, if any. What was staged or waits is dropped."""
        self._disk.close()

    def _release(self, released: list[Send]) -> None:
        for persist in self._outstanding:
            released.extend(persist.then)
        self._outstanding.clear()
        self._syncing = False
        if self._compacted:
            self._compacted = False
            self.compactions += 1

    def _may_compact(self) -> bool:
        return self._compacting and self._fits(1)

    def _fits(self, size: int) -> bool:
        return size == 0 or size + WRITE_OVERHEAD <= self._storage.room_bytes

    def _next_group(self) -> list[Record]:
        """Move what there is room for from staged to outstanding; return its records."""
        records: list[Record] = []
        total = 0
        while self._staged and self._fits(total + self._staged[0][1]):
            persist, size = self._staged.popleft()
            total += size
            records.extend(persist.records)
            self._outstanding.append(persist)
        self.written_bytes += total
        return records
