"""A simulated disk of records: staged, then under way in one write, then durable.

It keeps the law of the storage port: one write is outstanding, a write holds whatever was staged
when it began, and what a crash leaves of it is a prefix (a torn batch is cut). It is quick, and
kind: it cannot rot. ``log_disk`` puts the log that ships on a disk that can.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from paxos.core.effects import Persist, Send
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import Record
from paxos.storage.base import SnapshotWriter, StorageFailed, StorageFull
from paxos.storage.body import summarised

SNAPSHOTS_KEPT = 2
"""As the port says."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a node finds on its disk when it starts.

    Attributes:
        records: Everything, in order.
        survived: Those at the end that were not known to be durable.
        torn: Whether a write that had been cut short was cut off.
        snapshot: The latest sound snapshot, if there is one.
        compacted_through: What stood at or below this slot may be gone from the log.
        unknown: Slots of which damage hides what was accepted, in ranges.
    """

    records: Sequence[Record]
    survived: Sequence[Record] = ()
    torn: bool = False
    snapshot: SnapshotName | None = None
    compacted_through: Slot = 0
    unknown: tuple[tuple[Slot, Slot], ...] = ()


class NodeDisk(Protocol):
    """Where a simulated node keeps its log, over all its lives."""

    def stage(self, persist: Persist) -> None:
        """Let a write wait behind all earlier ones."""

    def write(self) -> tuple[list[Send], bool]:
        """Release what waited for finished writes, and begin the next unless one is outstanding.

        Returns:
            What may leave now, and whether a write has begun that takes time.
        """

    def complete(self) -> Sequence[Record]:
        """Make the outstanding write durable. Returns its records.

        Raises:
            StorageFailed: It failed; the process must end.
        """

    def fail(self, nth: int = 1) -> None:
        """Let the ``nth`` sync from now fail, or none if it is 0; a ``complete`` may be several."""

    def fill(self, full: bool) -> None:
        """Leave no more room than is reserved, or as much as is wanted."""

    def has_room(self) -> bool:
        """Whether another batch is sure to fit; reserves space ahead as the runtime does."""

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[Sequence[Record], int]:
        """Lose what is not durable: what is staged always, what is under way perhaps.

        Args:
            rng: Decides how much of the outstanding write survived.
            power_cut: The machine went, and not only the process.

        Returns:
            The records known to have turned out durable, and how many may be lost.
        """

    def load(self) -> Found:
        """Read everything back, at a start.

        Raises:
            StorageError: It is damaged, and the node must not run.
        """

    # --- snapshots ---

    def begin_snapshot(self, through: Slot) -> SnapshotWriter:
        """Begin to write a snapshot beside everything that is durable."""

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of a durable snapshot.

        Raises:
            LookupError: It is not there.
            DataDamaged: They are not what was written.
        """

    def finish_in_crash(self, draft: SnapshotWriter, rng: random.Random) -> None:
        """Let a snapshot become durable, or not quite, just before a crash."""

    def compact(self, through: Slot) -> None:
        """Let go of what only says something of slots at or below ``through``, soon."""


class SimDisk:
    """Records in a list. Implements ``NodeDisk``."""

    def __init__(self) -> None:
        self.durable: list[Record] = []
        self._staged: list[Persist] = []
        self._under_way: list[Persist] = []
        self._released: list[Send] = []  # by writes that are durable
        self._fails = False
        self._full = False
        self._snapshots: dict[SnapshotName, bytes] = {}  # the oldest first
        self._compacted_through: Slot = 0
        self._compacting: Slot = 0  # with the next write

    def stage(self, persist: Persist) -> None:
        """Let a write wait behind all earlier ones."""
        self._staged.append(persist)

    def write(self) -> tuple[list[Send], bool]:
        """Release, and begin. A barrier alone behind an idle disk takes no time."""
        released = self._released
        if self._under_way or not self._staged:
            if released:
                self._released = []
            return released, False
        self._released = []
        group, self._staged = self._staged, []
        if any(persist.records for persist in group):
            self._under_way = group
            return released, True
        for persist in group:
            released.extend(persist.then)
        return released, False

    def complete(self) -> Sequence[Record]:
        """Take the outstanding write as durable."""
        if self._fails:
            raise StorageFailed("the sync failed")
        records: list[Record] = []
        for persist in self._under_way:
            records.extend(persist.records)
            self._released.extend(persist.then)
        self._under_way = []
        self.durable.extend(records)
        if self._compacting > self._compacted_through:
            self._compacted_through = self._compacting
            self.durable = summarised(self.durable, self._compacting)
        return records

    def fail(self, nth: int = 1) -> None:
        """Let the next ``complete`` fail: it is one sync."""
        self._fails = nth > 0

    def fill(self, full: bool) -> None:
        """Be full at once, or not at all."""
        self._full = full

    def has_room(self) -> bool:
        """Whether it was not filled."""
        return not self._full

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[Sequence[Record], int]:
        """Keep a prefix of the outstanding write, or nothing of it after a power cut."""
        kept = 0 if power_cut else rng.choice((0, rng.randint(0, len(self._under_way))))
        survived = _records(self._under_way[:kept])
        lost = len(_records(self._under_way[kept:])) + len(_records(self._staged))
        self._under_way, self._staged, self._released = [], [], []
        self._fails = False
        self._compacting = self._compacted_through
        self.durable.extend(survived)
        return survived, lost

    def load(self) -> Found:
        """Return the list."""
        latest = max(self._snapshots, default=None)
        return Found(self.durable, snapshot=latest, compacted_through=self._compacted_through)

    # --- snapshots ---

    def begin_snapshot(self, through: Slot) -> SnapshotWriter:
        """Begin to write one."""
        if self._full:
            raise StorageFull("no room for a snapshot")
        return _Draft(self, through)

    def keep(self, name: SnapshotName, data: bytes) -> None:
        """A snapshot has become durable; the latest two stay."""
        self._snapshots[name] = data
        for old in sorted(self._snapshots)[:-SNAPSHOTS_KEPT]:
            del self._snapshots[old]

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of one."""
        return self._snapshots[name][offset : offset + length]

    def finish_in_crash(self, draft: SnapshotWriter, rng: random.Random) -> None:
        """It became durable."""
        draft.finish()

    def compact(self, through: Slot) -> None:
        """Let go with the next write."""
        self._compacting = max(self._compacting, through)


class _Draft:
    """A snapshot that is being written. Implements ``SnapshotWriter``."""

    def __init__(self, disk: SimDisk, through: Slot) -> None:
        self._disk = disk
        self._through = through
        self._data = bytearray()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return len(self._data)

    @property
    def digest(self) -> bytes:
        """BLAKE2b of them, 16 bytes."""
        return hashlib.blake2b(self._data, digest_size=16).digest()

    def write(self, data: bytes) -> None:
        """Write what comes next."""
        self._data += data

    def finish(self) -> SnapshotName:
        """Make it durable."""
        data = bytes(self._data)
        name = SnapshotName(self._through, len(data), self.digest)
        self._disk.keep(name, data)
        return name

    def abandon(self) -> None:
        """Let go of it: nothing of it is anywhere."""


def _records(writes: Sequence[Persist]) -> list[Record]:
    return [record for persist in writes for record in persist.records]
