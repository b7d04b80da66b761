"""A data directory of either kind as it stands, read without a lock and without a change.

Owns the order in which files are read that a running node may be removing. It must never judge: the
functions that recovery asks do. A node that runs on the directory may be seen in the middle of a
write; whoever reads tells that apart by ``in_use_by`` and by reading again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paxos.core.messages import SnapshotName
from paxos.storage.base import SLOT_UNBOUNDED, Damage, Identity, Loaded
from paxos.storage.directory import read_identity
from paxos.storage.disk import ReadableDisk, RealDisk
from paxos.storage.layout import owner_digest
from paxos.storage.recovery import SegmentVerdict, Verdict, judge
from paxos.storage.resume import loaded, resume
from paxos.storage.segment_file import find_segments
from paxos.storage.snapshots import find_snapshots, read_pieces, snapshot_name

DATABASE_NAME = "log.sqlite3"

TRIES = 8
"""So often reading begins anew because a node that runs has removed what was just found."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a data directory holds.

    Attributes:
        storage: ``segments`` or ``sqlite``.
        identity: Whose it is.
        loaded: What a start would load.
        segments: Its segment files that are kept, in order; none for SQLite.
        batches: Sound batches.
        torn: One line per last batch that was never finished: recovery would cut it.
        oldest_segment: What is older than this one may be gone; 0 for SQLite.
        log_bytes: Bytes of the log's files.
        snapshots: The snapshots that are not spoilt, the oldest first. Of any but the latest only
            the header was looked at.
        in_use_by: A living process that says it uses the directory.
    """

    storage: str
    identity: Identity
    loaded: Loaded
    segments: tuple[SegmentVerdict, ...]
    batches: int
    torn: tuple[str, ...]
    oldest_segment: int
    log_bytes: int
    snapshots: tuple[SnapshotName, ...]
    in_use_by: int | None


def read_directory(
    directory: Path, *, disk: ReadableDisk | None = None, keep: bool = True
) -> Stored:
    """Read a data directory of either kind as a start would, without changing it.

    Args:
        directory: Of a node that is stopped, dead, or runs.
        disk: Where; the file system of this machine by default.
        keep: Whether to keep the records in memory. If not, the snapshots are not read either, only
            their headers: for somebody who reads all of them anyway.

    Raises:
        WrongIdentity: It is no data directory.
        DataDamaged: Its identity is damaged, or its database cannot be read at all.
        StorageError: Another version of this program wrote it.
    """
    disk = RealDisk() if disk is None else disk
    identity = read_identity(disk, directory)
    read = _read_sqlite if DATABASE_NAME in disk.names(directory) else _read_segments
    return _while_files_go(lambda: read(disk, directory, identity, keep))


def read_snapshot_file(
    directory: Path, name: SnapshotName, *, disk: ReadableDisk | None = None
) -> Iterator[bytes]:
    """Yield the bytes of a snapshot in a data directory, verified from end to end, read only.

    Raises:
        SnapshotSpoilt: Something is not what was written.
        DataDamaged: The identity of the node is, without which no snapshot can be checked.
        LookupError: It is not there.
    """
    disk = RealDisk() if disk is None else disk
    owner = owner_digest(read_identity(disk, directory))
    try:
        yield from read_pieces(disk, directory, name, owner)
    except FileNotFoundError:
        raise LookupError(f"{directory}: there is no snapshot {name}") from None


def snapshot_names(disk: ReadableDisk, directory: Path) -> list[SnapshotName]:
    """Return which snapshots have a file in a directory, the oldest first, sound or not."""
    found = map(snapshot_name, disk.names(directory))
    return sorted(name for name in found if name is not None)


def _while_files_go(read: Callable[[], _T]) -> _T:
    for _ in range(TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue  # a running node has removed it, and says so in what is read next
    return read()


def _read_segments(disk: ReadableDisk, directory: Path, identity: Identity, keep: bool) -> Stored:
    # The snapshots first: what is compacted later than they were read only makes them too old.
    owner = owner_digest(identity)
    found_snapshots = find_snapshots(disk, directory, owner, verify=keep)
    snapshots = tuple(each.name for each in found_snapshots.sound)
    spoilt = found_snapshots.findings
    segments = find_segments(disk, directory)
    verdict = judge(segments, identity, keep=keep)
    found = _loaded(verdict, snapshots, spoilt, directory)
    return Stored(
        storage="segments",
        identity=identity,
        loaded=found,
        segments=tuple(verdict.segments),
        batches=verdict.batches,
        torn=tuple(verdict.torn),
        oldest_segment=verdict.oldest_segment,
        log_bytes=sum(segment.size for segment in segments),
        snapshots=snapshots,
        in_use_by=disk.holder(directory),
    )


def _loaded(
    verdict: Verdict, snapshots: tuple[SnapshotName, ...], spoilt: list[str], directory: Path
) -> Loaded:
    if not verdict.batches:
        findings = tuple(verdict.findings) or (f"{directory}: there are no segments",)
        return Loaded((), Damage(((1, SLOT_UNBOUNDED),), True, (*findings, *spoilt)))
    records = verdict.contents.records
    snapshot, compacted_through = resume(
        records, snapshots, spoilt, verdict.compacted_through, verdict.complete_above
    )
    return loaded(
        records,
        snapshot,
        compacted_through,
        (*verdict.findings, *spoilt),
        verdict.contents.unknown,
        verdict.end_lost,
    )


def _read_sqlite(disk: ReadableDisk, directory: Path, identity: Identity, keep: bool) -> Stored:
    from paxos.storage.sqlite import SqliteStorage

    # SQLite changes files even when it only reads: give it copies.
    with tempfile.TemporaryDirectory() as copies:
        size = 0
        for name in (DATABASE_NAME, DATABASE_NAME + "-wal"):
            if (directory / name).exists():
                shutil.copyfile(directory / name, Path(copies) / name)
                size += (Path(copies) / name).stat().st_size
        log = SqliteStorage(Path(copies), identity, None, snapshots=directory)
        try:
            found = log.load()
            batches, snapshots = log.batches, log.snapshots
        finally:
            log.close()
    if not keep:
        found = Loaded((), found.damage, found.snapshot, found.compacted_through)
    return Stored(
        storage="sqlite",
        identity=identity,
        loaded=found,
        segments=(),
        batches=batches,
        torn=(),
        oldest_segment=0,
        log_bytes=size,
        snapshots=snapshots,
        in_use_by=disk.holder(directory),
    )
