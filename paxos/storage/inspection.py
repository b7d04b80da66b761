"""What is in a log and whether it is sound, for people. Reads only; nothing is locked or changed.

Owns no judgement: it asks the same functions that recovery does, and must never be kinder than they
are. A node may be running meanwhile; then its last batch may be seen half-written, which is told
apart by ``in_use_by``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paxos.core.ballot import Ballot
from paxos.core.ids import Slot
from paxos.core.records import Record, replay
from paxos.storage.base import SLOT_UNBOUNDED, Damage, Identity
from paxos.storage.directory import read_identity
from paxos.storage.disk import Disk, RealDisk
from paxos.storage.recovery import judge, read_contents
from paxos.storage.segment_file import read_segments


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
        decided: How many slots recovery believes decided.
        decided_through: The end of the decided slots that follow one another from 1.
        promised: The highest ballot promised.
        issued: The highest ballot issued.
        disk_bytes: Bytes of its files.
        in_use_by: A living process that says it uses the directory: the last batch may be in
            flight.
        torn: One line per last batch that was never finished: recovery would cut it.
        damage: What is lost, or None if the log is sound.
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
    disk = RealDisk() if disk is None else disk
    identity = read_identity(disk, directory)
    if "log.sqlite3" in disk.names(directory):
        return _inspect_sqlite(disk, directory, identity)
    segments = read_segments(disk, directory)
    verdict = judge(segments, identity)
    contents = read_contents(verdict, identity)
    damage = contents.damage
    if damage is None and not verdict.batches:
        finding = f"{directory}: there are no segments"
        damage = Damage(((1, SLOT_UNBOUNDED),), True, (finding,))
    reports = []
    for segment in segments:
        sequences = [
            batch.header.sequence for batch in verdict.batches if batch.segment == segment.name
        ]
        first, last = (sequences[0], sequences[-1]) if sequences else (0, 0)
        reports.append(SegmentReport(segment.name, len(segment.data), len(sequences), first, last))
    return _summed_up(
        storage="segments",
        identity=identity,
        segments=tuple(reports),
        batches=len(verdict.batches),
        records=contents.records,
        disk_bytes=sum(report.bytes for report in reports),
        in_use_by=disk.holder(directory),
        torn=tuple(verdict.torn),
        damage=damage,
    )


def _inspect_sqlite(disk: Disk, directory: Path, identity: Identity) -> Inspection:
    from paxos.storage.sqlite import DATABASE_NAME, SqliteStorage

    # SQLite changes files even when it only reads: give it copies.
    with tempfile.TemporaryDirectory() as copies:
        size = 0
        for name in (DATABASE_NAME, DATABASE_NAME + "-wal"):
            if (directory / name).exists():
                shutil.copyfile(directory / name, Path(copies) / name)
                size += (Path(copies) / name).stat().st_size
        log = SqliteStorage(Path(copies), identity, None)
        try:
            loaded = log.load()
            batches = log.batches
        finally:
            log.close()
    return _summed_up(
        storage="sqlite",
        identity=identity,
        segments=(),
        batches=batches,
        records=loaded.records,
        disk_bytes=size,
        in_use_by=disk.holder(directory),
        torn=(),
        damage=loaded.damage,
    )


def _summed_up(
    *,
    storage: str,
    identity: Identity,
    segments: tuple[SegmentReport, ...],
    batches: int,
    records: Sequence[Record],
    disk_bytes: int,
    in_use_by: int | None,
    torn: tuple[str, ...],
    damage: Damage | None,
) -> Inspection:
    recovered = replay(records)
    held = recovered.held
    decided = sum(each.decided for each in held.values())
    through = 0
    while through + 1 in held and held[through + 1].decided:
        through += 1
    kinds = Counter(type(record).__name__.removesuffix("Record").lower() for record in records)
    return Inspection(
        storage=storage,
        identity=identity,
        segments=segments,
        batches=batches,
        records=dict(sorted(kinds.items())),
        slots=(min(held), max(held)) if held else None,
        decided=decided,
        decided_through=through,
        promised=recovered.promised,
        issued=recovered.issued,
        disk_bytes=disk_bytes,
        in_use_by=in_use_by,
        torn=torn,
        damage=damage,
    )
