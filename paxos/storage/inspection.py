"""What is in a log and whether it is sound, for people. Reads only; nothing is locked or changed.

Owns no judgement: it asks the same functions that recovery does, and must never be kinder than they
are. A node may be running meanwhile; then its last batch may be seen half-written, which is told
apart by ``in_use_by``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from paxos.core.ballot import Ballot
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import replay
from paxos.storage.base import Damage, Identity
from paxos.storage.disk import Disk, RealDisk
from paxos.storage.reading import read_directory
from paxos.storage.snapshots import file_bytes


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment file. The sequence numbers are of its sound batches, 0 if it has none."""

    name: str
    bytes: int
    batches: int
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a data directory holds.

    Attributes:
        storage: ``segments`` or ``sqlite``.
        identity: Whose it is.
        segments: Its segment files, in order; none for SQLite.
        batches: Sound batches.
        records: Records in them, by kind: ``accepted``, ``decided``, ``promised``, ``issued``,
            ``watermark``.
        slots: The lowest and highest slot that is held, if any.
        decided: How many of these slots recovery believes decided.
        decided_through: The end of the decided slots that follow one another from 1, or from the
            end of the snapshot.
        promised: The highest ballot promised.
        issued: The highest ballot issued.
        disk_bytes: Bytes of its files.
        in_use_by: A living process that says it uses the directory: the last batch may be in
            flight.
        torn: One line per last batch that was never finished: recovery would cut it.
        damage: What is lost, or None if log and snapshots are sound.
        snapshot: The one that a start would go on from.
        snapshots: All that are not spoilt, the oldest first. Only the latest was read to its end.
        compacted_through: Up to here, records may have left the log.
        oldest_segment: Segments before this one may be gone; 0 for SQLite.
    """

    storage: str
    identity: Identity
    segments: tuple[SegmentReport, ...]
    batches: int
    records: dict[str, int]
    slots: tuple[Slot, Slot] | None
    decided: int
    decided_through: Slot
    promised: Ballot
    issued: Ballot
    disk_bytes: int
    in_use_by: int | None
    torn: tuple[str, ...]
    damage: Damage | None
    snapshot: SnapshotName | None = None
    snapshots: tuple[SnapshotName, ...] = ()
    compacted_through: Slot = 0
    oldest_segment: int = 1

    @property
    def sound(self) -> bool:
        """Whether nothing that was durable is lost."""
        return self.damage is None


def inspect(directory: Path, *, disk: Disk | None = None) -> Inspection:
    """Look at a data directory of either kind, without changing it.

    Raises:
        WrongIdentity: It is no data directory.
        DataDamaged: Its identity is damaged, or its database cannot be read at all.
        StorageError: Another version of this program wrote it.
    """
    stored = read_directory(directory, disk=RealDisk() if disk is None else disk)
    loaded = stored.loaded
    recovered = replay(loaded.records)
    held = recovered.held
    decided = sum(each.decided for each in held.values())
    through = loaded.compacted_through
    if loaded.snapshot is not None:
        through = max(through, loaded.snapshot.through)
    while through + 1 in held and held[through + 1].decided:
        through += 1
    kinds = Counter(
        type(record).__name__.removesuffix("Record").lower() for record in loaded.records
    )
    return Inspection(
        storage=stored.storage,
        identity=stored.identity,
        segments=tuple(
            SegmentReport(
                each.name, each.bytes, each.batches, each.first_sequence, each.last_sequence
            )
            for each in stored.segments
        ),
        batches=stored.batches,
        records=dict(sorted(kinds.items())),
        slots=(min(held), max(held)) if held else None,
        decided=decided,
        decided_through=through,
        promised=recovered.promised,
        issued=recovered.issued,
        disk_bytes=stored.log_bytes + sum(file_bytes(each.size) for each in stored.snapshots),
        in_use_by=stored.in_use_by,
        torn=stored.torn,
        damage=loaded.damage,
        snapshot=loaded.snapshot,
        snapshots=stored.snapshots,
        compacted_through=loaded.compacted_through,
        oldest_segment=stored.oldest_segment,
    )
