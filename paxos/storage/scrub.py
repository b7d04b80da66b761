"""Reading and verifying all that a node keeps, before somebody needs it.

Owns no judgement: what recovery would call damage is damage here, and nothing else is. It may run
beside the node, in bounded memory, at the pace that its caller sets; what a write in flight looks
like is read again before it is called bad. On Linux it asks for what the disk holds, not for what
the kernel remembers of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.storage.base import Damage, Identity
from paxos.storage.directory import read_identity
from paxos.storage.disk import ReadableDisk, RealDisk
from paxos.storage.layout import owner_digest
from paxos.storage.reading import read_directory, snapshot_names
from paxos.storage.snapshots import SnapshotSpoilt, read_pieces

READ_AGAIN = 3
"""So often a directory in use is read before what looks bad is called so."""

Progress = Callable[[int, int], None]
"""Called with the bytes read so far, and those there are to read. May sleep, to set the pace."""


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What was read, and what is wrong with it.

    Attributes:
        identity: Whose it is.
        storage: ``segments`` or ``sqlite``.
        files: How many were read.
        bytes_read: Of them.
        batches: Sound batches in the log.
        snapshots: The sound snapshots, the oldest first, each read from end to end.
        spoilt: The others that have a file.
        compacted_through: Up to here, records may have left the log.
        damage: What is lost, slots and promises too, or None.
        torn: One line per last batch that was never finished. It is no damage.
        in_use_by: A living process that says it uses the directory.
    """

    identity: Identity
    storage: str
    files: int
    bytes_read: int
    batches: int
    snapshots: tuple[SnapshotName, ...]
    spoilt: tuple[SnapshotName, ...]
    compacted_through: Slot
    damage: Damage | None
    torn: tuple[str, ...]
    in_use_by: int | None

    @property
    def sound(self) -> bool:
        """Whether nothing that was durable is lost."""
        return self.damage is None

    @property
    def findings(self) -> tuple[str, ...]:
        """One line per place that is damaged."""
        return () if self.damage is None else self.damage.findings


def scrub(
    directory: Path, *, disk: ReadableDisk | None = None, progress: Progress | None = None
) -> ScrubReport:
    """Read and verify everything in a data directory, also while its node runs on it.

    Args:
        directory: Of either kind of storage.
        disk: Where; the file system of this machine by default.
        progress: Is told how far it got, after a segment or a piece of a snapshot.

    Raises:
        WrongIdentity: It is no data directory.
        DataDamaged: Its identity is damaged, or its database cannot be read at all.
        StorageError: Another version of this program wrote it.
    """
    disk = RealDisk() if disk is None else disk
    report = _scrub_once(disk, directory, progress)
    for _ in range(READ_AGAIN - 1):
        if report.sound or report.in_use_by is None:
            break
        report = _scrub_once(disk, directory, progress)
    return report


def _scrub_once(disk: ReadableDisk, directory: Path, progress: Progress | None) -> ScrubReport:
    watched = _WatchedDisk(disk, directory, progress)
    identity = read_identity(watched, directory)
    stored = read_directory(directory, disk=watched, keep=False)
    findings: list[str] = []
    sound: list[SnapshotName] = []
    spoilt: list[SnapshotName] = []
    for name in snapshot_names(disk, directory):
        try:
            for _ in read_pieces(watched, directory, name, owner_digest(identity)):
                pass
        except SnapshotSpoilt as error:
            findings.append(str(error))
            spoilt.append(name)
        except FileNotFoundError:
            continue  # the node has replaced it meanwhile
        else:
            sound.append(name)
    damage = stored.loaded.damage
    known = () if damage is None else damage.findings
    if new := [finding for finding in findings if finding not in known]:
        before = Damage((), False, ()) if damage is None else damage
        damage = Damage(before.unknown, before.hides_promise, (*before.findings, *new))
    if stored.storage == "sqlite":
        watched.count(stored.log_bytes)
    return ScrubReport(
        identity=identity,
        storage=stored.storage,
        files=len(watched.files),
        bytes_read=watched.bytes_read,
        batches=stored.batches,
        snapshots=tuple(sound),
        spoilt=tuple(spoilt),
        compacted_through=stored.loaded.compacted_through,
        damage=damage,
        torn=stored.torn,
        in_use_by=stored.in_use_by,
    )


class _WatchedDisk:
    """Reads from the medium, and counts."""

    def __init__(self, below: ReadableDisk, directory: Path, progress: Progress | None) -> None:
        self._below = below
        self._progress = progress
        self._total = _total_bytes(below, directory)
        self.bytes_read = 0
        self.files: set[Path] = set()

    def names(self, directory: Path) -> list[str]:
        """See the port."""
        return self._below.names(directory)

    def size(self, path: Path) -> int:
        """See the port."""
        return self._below.size(path)

    def holder(self, directory: Path) -> int | None:
        """See the port."""
        return self._below.holder(directory)

    def uncache(self, path: Path) -> None:
        """See the port."""
        self._below.uncache(path)

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """See the port."""
        if path not in self.files:
            self._below.uncache(path)
            self.files.add(path)
        data = self._below.read(path, offset, length)
        self.count(len(data))
        return data

    def count(self, read: int) -> None:
        """Note bytes that were read."""
        self.bytes_read += read
        if self._progress is not None:
            self._progress(self.bytes_read, max(self._total, self.bytes_read))


def _total_bytes(disk: ReadableDisk, directory: Path) -> int:
    total = 0
    for name in disk.names(directory):
        # A running node renames and removes files between the listing and the look.
        with suppress(FileNotFoundError):
            total += disk.size(directory / name)
    return total
