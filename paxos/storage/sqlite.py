"""The second log: an SQLite database in WAL mode with ``synchronous=FULL``.

Owns one table, a row per batch, each with a checksum that goes on from the row before; and once the
log was compacted another one, of one row, that says what came before the first batch that is left.
Snapshots are files beside the database, as with the default log. It must never know how that one
works: it is what that one is compared with, and the choice for who would rather trust an old
database than our files. It costs about twice as much per sync. It guards the same law of the port.

What it cannot do, and the default can: SQLite takes a damaged end of its write-ahead log for a
transaction that was never finished, and drops it and what follows. Until a checkpoint has moved
them into the database (at each start and close, and every few thousand pages), batches are
therefore safe from a crash and from loss of power, but not from a disk that changes bits.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from paxos.codec import ProtocolError
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.storage.base import (
    SLOT_UNBOUNDED,
    DataDamaged,
    Identity,
    Loaded,
    StorageError,
    StorageFailed,
    StorageFull,
)
from paxos.storage.body import Tally, frame_record, read_records
from paxos.storage.directory import (
    TEMPORARY_SUFFIX,
    start_directory,
    take_directory,
    write_identity,
)
from paxos.storage.disk import Disk, Lock, RealDisk
from paxos.storage.layout import owner_digest
from paxos.storage.reading import DATABASE_NAME
from paxos.storage.resume import loaded, resume
from paxos.storage.snapshots import SnapshotFile, SnapshotFiles

__all__ = ["DATABASE_NAME", "SPARE_BYTES", "SqliteStorage", "create", "open_sqlite"]

FORMAT = 1
"""Kept in the database's ``user_version``, as long as there is nothing in it that is new since."""

FORMAT_REMOVED = 2
"""With the table that says what came before, and with records that hold changes of membership."""

REMOVED_ROWS_MAX = 256
"""Batches that one sync removes at most, so that none takes long."""

SPARE_BYTES = 64 * 1024 * 1024
"""Less free space than this on the file system counts as full: SQLite cannot reserve any, and needs
some for its checkpoints."""

_APPLICATION_ID = 0x4D50584C
_CHECKPOINT_PAGES = 4000
_LINK = struct.Struct(">QI")
_REMOVED = struct.Struct(">QIQQQQQQ")


class _Row(NamedTuple):
    """A batch that is there, or the last one that was removed: what must be known once it is gone.

    ``highest`` is the highest slot in it or in any batch before it.
    """

    sequence: int
    checksum: int
    promised: Ballot
    issued: Ballot
    highest: Slot


def create(directory: Path, identity: Identity) -> None:
    """Make a node's data directory: batch 1, then the identity. Once in the life of a node.

    Args:
        directory: Is made if it does not exist; must be empty if it does.
        identity: Whose it will be, for ever.

    Raises:
        StorageError: The directory is not empty, or could not be made.
    """
    disk = RealDisk()
    lock = start_directory(disk, directory)
    log = SqliteStorage(directory, identity, lock)
    try:
        log.begin()
        disk.sync_directory(directory)
        write_identity(disk, directory, identity)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{directory}: cannot be made: {error}") from error
    finally:
        log.close()


def open_sqlite(
    directory: Path,
    expected: Identity | None = None,
    *,
    free_bytes: Callable[[Path], int] | None = None,
    disk: Disk | None = None,
) -> SqliteStorage:
    """Open a node's log and hold its directory. Call ``load`` next.

    Args:
        directory: Made by ``create`` of this module.
        expected: Whose log it must be, or None to take it as it is.
        free_bytes: Tells the free space of the file system at a directory.
        disk: Where the snapshots are; the file system of this machine by default.

    Raises:
        WrongIdentity: It belongs to another node, cluster or incarnation, or to nobody.
        DirectoryInUse: Another process holds it.
        DataDamaged: The identity file is damaged, or the database is gone.
    """
    lock, identity = take_directory(RealDisk(), directory, expected)
    if not (directory / DATABASE_NAME).exists():
        lock.release()
        raise DataDamaged(
            f"{directory}: there is an identity but no {DATABASE_NAME}; if it was kept by the other"
            " kind of storage, say so in the configuration, else replace the node"
        )
    return SqliteStorage(directory, identity, lock, free_bytes=free_bytes, disk=disk)


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


class SqliteStorage:
    """One node's log in SQLite. Made by ``open_sqlite``.

    ``snapshots`` is where its snapshots are, if not beside the database.

    Attributes:
        identity: Whose log it is.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        lock: Lock | None,
        *,
        free_bytes: Callable[[Path], int] | None = None,
        snapshots: Path | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.identity = identity
        self._directory = directory
        self._path = directory / DATABASE_NAME
        self._lock = lock
        self._free_bytes = _free_bytes if free_bytes is None else free_bytes
        self._refusal: StorageError | None = StorageError("load the log before appending to it")
        self._connection: sqlite3.Connection | None = None
        self._staged: list[bytes] = []
        self._sequence = 0  # of the last durable batch
        self._checksum = 0
        self._room = 0
        self._tally = Tally()  # behind everything staged
        self._rows: deque[_Row] = deque()  # the batches that are there, the oldest first
        self._removed = _Row(0, 0, BALLOT_ZERO, BALLOT_ZERO, 0)  # the last one that is not
        self._compacted: Slot = 0  # asked for
        self._compacted_durably: Slot = 0
        self._format = FORMAT
        self._format_due = FORMAT  # of what is staged
        self._disk = RealDisk() if disk is None else disk
        self._snapshots = SnapshotFiles(
            self._disk,
            directory if snapshots is None else snapshots,
            owner_digest(identity),
            self._fail,
        )

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable."""
        return "SQLite WAL, synchronous=FULL"

    @property
    def batches(self) -> int:
        """How many batches are there."""
        return len(self._rows)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the database and its write-ahead log, and of all snapshots."""
        files = (self._path, self._path.with_name(DATABASE_NAME + "-wal"))
        log = sum(file.stat().st_size for file in files if file.exists())
        return log + self._snapshots.disk_bytes

    @property
    def snapshots(self) -> tuple[SnapshotName, ...]:
        """The durable snapshots that are not known to be spoilt, the oldest first."""
        return self._snapshots.names

    @property
    def room_bytes(self) -> int:
        """Free space when it was last looked at, less what went into the log since.

        Others may use it up too: SQLite reserves nothing. A write that then fails is fatal.
        """
        return max(0, self._room) if self._refusal is None else 0

    @property
    def reserve_due(self) -> bool:
        """Whether the free space should be looked at again."""
        return self._refusal is None and self._room < SPARE_BYTES

    def load(self) -> Loaded:
        """Read all batches, and make durable what a killed process may have left unsynced.

        Raises:
            DataDamaged: The database cannot be read.
            StorageError: Another version wrote it.
        """
        if self._connection is not None:
            raise StorageError(f"{self._directory}: load was called before")
        try:
            spoilt = self._find_snapshots()
            connection = self._connect()
            self._format = self._format_due = self._check_format(connection)
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                self._damaged(check)
            finding = self._read_removed(connection) if self._format == FORMAT_REMOVED else None
            rows = connection.execute("SELECT sequence, body, checksum FROM batches ORDER BY 1")
            records, finding = self._read(rows) if finding is None else ([], finding)
            rows.close()
            if not self._rows and not finding:
                self._damaged("it holds no batch")
            if not self._sequence:
                self._damaged(finding or "it holds no batch")
            # SQLite recovers its log from the page cache and would not sync what it found there.
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (sqlite3.Error, OverflowError) as error:
            self._damaged(str(error))
        if busy:
            raise StorageError(f"{self._path}: somebody else is using this database")
        if finding is not None:
            self._refusal = DataDamaged(
                f"{self._path}: {finding}; a promise may be lost: this node must never vote again,"
                " replace it by one with a new id"
            )
            findings = (f"{DATABASE_NAME}: {finding}", *spoilt)
            return loaded(records, None, 0, findings, lambda _: ((1, SLOT_UNBOUNDED),), True)
        self._refusal = None
        self._look_at_room()
        snapshot, self._compacted = resume(
            records, self.snapshots, spoilt, self._compacted_durably, self._removed.highest
        )
        return loaded(records, snapshot, self._compacted, spoilt, lambda _: (), False)

    def _find_snapshots(self) -> list[str]:
        disk = self._disk
        try:
            for name in disk.names(self._directory):
                if name.endswith(TEMPORARY_SUFFIX):
                    disk.remove(self._directory / name)
            spoilt = self._snapshots.find()
            # The name of one that a killed process has just finished may not be durable yet.
            disk.sync_directory(self._directory)
        except OSError as error:
            raise StorageError(f"{self._directory}: cannot be read: {error}") from error
        return spoilt

    def begin(self) -> None:
        """Make the table, and batch 1. Only ``create`` does this."""
        connection = self._connect()
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute(
            "CREATE TABLE batches (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL,"
            " checksum INTEGER NOT NULL)"
        )
        self._refusal = None
        self._insert(b"")

    def append(self, records: Sequence[Record]) -> None:
        """Stage records for the next ``sync``."""
        self._require_usable()
        for record in records:
            self._staged.append(frame_record(record))
            self._tally.note(record)
            if isinstance(record, AcceptedRecord | DecidedRecord) and record.value.change:
                self._format_due = FORMAT_REMOVED

    def sync(self) -> None:
        """Make everything staged durable as one row, and remove some that may be gone.

        Raises:
            StorageFailed: Fatal.
        """
        self._require_usable()
        last = self._removable()
        is_new = self._format_due > self._format
        if is_new or last is not None or self._compacted > self._compacted_durably:
            self._insert_and_remove(self._removed if last is None else last)
        elif self._staged:
            self._insert(b"".join(self._staged))
        self._staged.clear()

    def _removable(self) -> _Row | None:
        """Return the last of the oldest rows that may be gone, if any; the newest always stays."""
        last = None
        for row in islice(self._rows, min(REMOVED_ROWS_MAX, len(self._rows) - 1)):
            if row.highest > self._compacted:
                break
            last = row
        return last if self._compacted else None

    def _insert_and_remove(self, last: _Row) -> None:
        """Do both in one step, and say what was before that which stays."""
        connection = self._connected()
        compacted = self._compacted
        said = _REMOVED.pack(
            last.sequence, last.checksum, *last.promised, *last.issued, last.highest, compacted
        )
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version={FORMAT_REMOVED}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS removed"
                " (one INTEGER PRIMARY KEY, said BLOB NOT NULL, checksum INTEGER NOT NULL)"
            )
            connection.execute(
                "INSERT OR REPLACE INTO removed VALUES (1, ?, ?)", (said, zlib.crc32(said))
            )
            connection.execute("DELETE FROM batches WHERE sequence <= ?", (last.sequence,))
        except sqlite3.Error as error:
            self._fail("compacting the log", error)
        if self._staged:
            self._insert(b"".join(self._staged))
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail("compacting the log", error)
        self._removed = last
        self._format = self._format_due = FORMAT_REMOVED
        self._compacted_durably = compacted
        while self._rows[0].sequence <= last.sequence:
            self._rows.popleft()

    def begin_snapshot(self, through: Slot) -> SnapshotFile:
        """Begin to write a snapshot, in a file beside the database.

        Raises:
            StorageFull: There is no room.
            StorageFailed: The disk failed. Fatal.
        """
        self._require_usable()
        return self._snapshots.begin(through)

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of a durable snapshot, verified.

        Raises:
            LookupError: It is not there, or not any more.
            DataDamaged: These bytes are not what was written. It is in ``snapshots`` no more.
        """
        return self._snapshots.read(name, offset, length)

    def compact(self, through: Slot) -> None:
        """Let the next syncs remove the batches that hold nothing above ``through``."""
        self._require_usable()
        self._compacted = max(self._compacted, through)

    def reserve(self) -> None:
        """Look at the free space: there is nothing else to reserve here.

        Raises:
            StorageFull: There is too little.
        """
        self._require_usable()
        self._look_at_room()
        if self._room <= 0:
            raise StorageFull(
                f"{self._directory}: less than {SPARE_BYTES} bytes are free; make room on this disk"
            )

    def close(self) -> None:
        """Let go of the directory. What was staged is gone."""
        self._refusal = StorageError(f"{self._directory}: this log is closed")
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _connect(self) -> sqlite3.Connection:
        # The runtime may sync on a thread of its own, one call at a time.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StorageError(f"{self._path}: SQLite cannot keep a write-ahead log here")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if sys.platform == "darwin":
            connection.execute("PRAGMA fullfsync=1")
            connection.execute("PRAGMA checkpoint_fullfsync=1")
        return connection

    def _connected(self) -> sqlite3.Connection:
        assert self._connection is not None  # usable
        return self._connection

    def _check_format(self, connection: sqlite3.Connection) -> int:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            self._damaged("it is not a log of this program")
        if number not in (FORMAT, FORMAT_REMOVED):
            raise StorageError(
                f"{self._path}: format {number}, this program reads formats {FORMAT} and"
                f" {FORMAT_REMOVED}; start the version that wrote it"
            )
        return int(number)

    def _read_removed(self, connection: sqlite3.Connection) -> str | None:
        """Take in what is said of the batches that were removed; return what is wrong with it."""
        row = connection.execute("SELECT said, checksum FROM removed").fetchone()
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != _REMOVED.size:
            return "what was removed is not said"
        if zlib.crc32(row[0]) != row[1]:
            return "what is said of the batches that were removed is damaged"
        sequence, checksum, *ballots, highest, compacted = _REMOVED.unpack(row[0])
        promised, issued = Ballot(*ballots[:2]), Ballot(*ballots[2:])
        self._removed = _Row(sequence, checksum, promised, issued, highest)
        self._compacted_durably = compacted
        self._sequence, self._checksum = sequence, checksum
        self._tally = Tally(promised, issued, highest)
        return None

    def _read(self, rows: sqlite3.Cursor) -> tuple[list[Record], str | None]:
        """Return the records up to the first row that is not what was written, and its finding."""
        records: list[Record] = self._tally.records()
        for sequence, body, checksum in rows:
            if sequence != self._sequence + 1:
                return records, f"batch {self._sequence + 1} is missing"
            if not isinstance(body, bytes) or checksum != self._link(body):
                return records, f"batch {sequence} is damaged"
            try:
                whole, rest = read_records(body)
            except ProtocolError as error:
                raise StorageError(f"{self._path}: batch {sequence}: {error}") from None
            if rest:
                return records, f"batch {sequence} is cut short"
            records += whole
            for record in whole:
                self._tally.note(record)
            self._sequence, self._checksum = sequence, checksum
            self._note_row()
        return records, None

    def _link(self, body: bytes) -> int:
        return zlib.crc32(body, zlib.crc32(_LINK.pack(self._sequence + 1, self._checksum)))

    def _insert(self, body: bytes) -> None:
        checksum = self._link(body)
        try:
            self._connected().execute(
                "INSERT INTO batches VALUES (?, ?, ?)", (self._sequence + 1, body, checksum)
            )
        except sqlite3.Error as error:
            self._fail("writing a batch", error)
        self._sequence += 1
        self._checksum = checksum
        self._room -= len(body)
        self._note_row()

    def _note_row(self) -> None:
        tally = self._tally
        self._rows.append(
            _Row(self._sequence, self._checksum, tally.promised, tally.issued, tally.highest)
        )

    def _fail(self, doing: str, error: Exception) -> NoReturn:
        text = (
            f"{self._path}: {doing} failed: {error}; this process must end, as nobody"
            " knows what the disk kept. Check the disk, then start the node again"
        )
        self._refusal = StorageFailed(text)
        raise StorageFailed(text) from error

    def _look_at_room(self) -> None:
        # A batch is written twice: into the write-ahead log, and at a checkpoint.
        self._room = (self._free_bytes(self._directory) - SPARE_BYTES) // 2

    def _damaged(self, what: str) -> NoReturn:
        raise DataDamaged(f"{self._path}: {what}; replace the node by one with a new id")

    def _require_usable(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))
