"""The port for durable logs: a few verbs, and what each promises.

A log is one node's, written by one process, one batch at a time. The law: when ``sync`` returns,
everything appended before it survives SIGKILL and loss of power; when it raises, the process must
end without having said anything that depended on it, and must not try again.

Back ends are plain blocking objects that know nothing of trio: the runtime decides where they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId, Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import Record

SLOT_UNBOUNDED: Slot = 2**63 - 1
"""End of an unknown range of which nobody knows the end. Compare with it; never count up to it."""


class Identity(NamedTuple):
    """Whose data directory this is.

    ``cluster`` is the cluster's id in lower-case hex; ``incarnation`` was drawn when the directory
    was made and is never changed.
    """

    cluster: str
    node: NodeId
    incarnation: int


class StorageError(PaxosError):
    """Base of what a log can raise. The text names the file and what to do."""


class StorageFailed(StorageError):
    """A write or sync of reserved space failed. Fatal: the process must end, never retry."""


class StorageFull(StorageError):
    """There is no room to reserve. Nothing was lost; reserve again when there is room."""


class DirectoryInUse(StorageError):
    """Another process holds the data directory."""


class WrongIdentity(StorageError):
    """The data directory belongs to another node, cluster or incarnation, or to nobody yet."""


class DataDamaged(StorageError):
    """What was durable cannot be read back. The text says which file, and what is in doubt."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What a damaged log no longer knows.

    Attributes:
        unknown: Inclusive slot ranges whose contents are in doubt, in order, apart from each other.
            A range may be long, or end at ``SLOT_UNBOUNDED``.
        hides_promise: Whether a promise or accepted ballot may be lost: such a node never votes
            again and must be replaced. Its log takes no more records.
        findings: One line for a person per place: file, offset, what is wrong.
    """

    unknown: tuple[tuple[Slot, Slot], ...]
    hides_promise: bool
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What ``load`` read: all records in the order they were made durable, and any damage."""

    records: Sequence[Record]
    damage: Damage | None
    snapshot: SnapshotName | None = None
    compacted_through: Slot = 0


class SnapshotWriter(Protocol):
    """A snapshot that is being written, beside everything that is durable.

    Used by one thread at a time, which may be another than the one that appends and syncs.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""

    @property
    def digest(self) -> bytes:
        """BLAKE2b of them, 16 bytes: what a fetched snapshot is compared with before ``finish``."""

    def write(self, data: bytes) -> None:
        """Write what comes next; makes it durable bit by bit, so that ``finish`` is short.

        Raises:
            StorageFull: There is no room. Nothing is lost; abandon it.
            StorageFailed: The disk failed. Fatal.
        """

    def finish(self) -> SnapshotName:
        """Make it durable and the latest one: checksummed, synced, renamed, directory synced.

        Raises:
            StorageFull: As ``write``.
            StorageFailed: As ``write``.
        """

    def abandon(self) -> None:
        """Delete what was written."""


class Storage(Protocol):
    """One node's durable log, and its snapshots."""

    identity: Identity

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable, for the log: platforms differ in what they offer."""

    @property
    def disk_bytes(self) -> int:
        """Bytes the log occupies on disk, reserved space included."""

    @property
    def room_bytes(self) -> int:
        """Bytes that can still be appended without new space being reserved by ``reserve``.

        The runtime stops handing out votes (``DiskFull``) while this is too small for a full
        batch, so that a full disk is seen before a write and never in it.
        """

    def load(self) -> Loaded:
        """Read the whole log, once, before anything is appended. Cuts a torn last batch.

        What it returns is durable, whether or not it was before: a process may have been killed
        before it had synced what can be read now. A log whose damage may hide a promise is read,
        and refuses every later ``append`` and ``sync``.

        Raises:
            StorageFull: There is no room to begin with.
            DataDamaged: Nothing usable is left (for example no valid header at all).
        """

    def append(self, records: Sequence[Record]) -> None:
        """Stage records for the next ``sync``, behind those already staged. Writes nothing."""

    def sync(self) -> None:
        """Make everything staged durable as one batch; a no-op if nothing is.

        Raises:
            StorageFailed: Fatal. The object accepts nothing afterwards.
            StorageFull: There was no reserved room after all, and none to be had. What is staged
                stays staged, and nothing of it may be acted on. Whoever heeds ``room_bytes`` never
                sees this.
        """

    def reserve(self) -> None:
        """Reserve more space ahead if less than a segment is left. Blocking.

        Safe to run in a thread beside ``append`` and ``sync``, which themselves are called by one
        thread at a time.

        Raises:
            StorageFull: No room; call again later.
            StorageFailed: The disk failed. Fatal.
        """

    @property
    def snapshots(self) -> tuple[SnapshotName, ...]:
        """The durable snapshots, the oldest first. At most the latest two are kept."""

    def begin_snapshot(self, through: Slot) -> SnapshotWriter:
        """Begin to write a snapshot that reflects ``through``. At most two writers at a time.

        Raises:
            StorageFull: There is no room.
            StorageFailed: The disk failed. Fatal.
        """

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of a durable snapshot; fewer than ``length`` only at its end.

        May be called from any thread.

        Raises:
            LookupError: It is not (or no longer) there.
            DataDamaged: These bytes are not what was written.
        """

    def compact(self, through: Slot) -> None:
        """Let go of what only says something of slots at or below ``through``.

        A durable snapshot must cover them. Quick; called where ``append`` is. Segments are removed,
        the oldest first, by a later ``reserve``, once a durable batch in a kept one says so.
        """

    def close(self) -> None:
        """Release the directory. Staged records that were not synced are gone."""
