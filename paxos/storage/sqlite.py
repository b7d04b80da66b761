"""The second log: an SQLite database in WAL mode with ``synchronous=FULL``.

Owns one table, a row per batch, each with a checksum that goes on from the row before. It must
never know how the default log works: it is what that one is compared with, and the choice for who
would rather trust an old database than our files. It costs about twice as much per sync. It guards
the same law of the port.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from paxos.codec import ProtocolError
from paxos.core.records import Record
from paxos.storage.base import (
    SLOT_UNBOUNDED,
    Damage,
    DataDamaged,
    Identity,
    Loaded,
    StorageError,
    StorageFailed,
    StorageFull,
)
from paxos.storage.body import frame_record, read_records
from paxos.storage.directory import start_directory, take_directory, write_identity
from paxos.storage.disk import Lock, RealDisk

DATABASE_NAME = "log.sqlite3"
FORMAT = 1
"""Kept in the database's ``user_version``."""

SPARE_BYTES = 64 * 1024 * 1024
"""Less free space than this on the file system counts as full: SQLite cannot reserve any, and needs
some for its checkpoints."""

_APPLICATION_ID = 0x4D50584C
_CHECKPOINT_PAGES = 4000
_LINK = struct.Struct(">QI")


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
) -> SqliteStorage:
    """Open a node's log and hold its directory. Call ``load`` next.

    Args:
        directory: Made by ``create`` of this module.
        expected: Whose log it must be, or None to take it as it is.
        free_bytes: Tells the free space of the file system at a directory.

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
    return SqliteStorage(directory, identity, lock, free_bytes=free_bytes)


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


class SqliteStorage:
    """One node's log in SQLite. Made by ``open_sqlite``.

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

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable."""
        return "SQLite WAL, synchronous=FULL"

    @property
    def batches(self) -> int:
        """How many batches are durable, batch 1 included."""
        return self._sequence

    @property
    def disk_bytes(self) -> int:
        """Bytes of the database and its write-ahead log."""
        files = (self._path, self._path.with_name(DATABASE_NAME + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

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
            connection = self._connect()
            self._check_format(connection)
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                self._damaged(check)
            rows = connection.execute("SELECT sequence, body, checksum FROM batches ORDER BY 1")
            records, finding = self._read(rows)
            rows.close()
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
            unknown = ((1, SLOT_UNBOUNDED),)
            return Loaded(records, Damage(unknown, True, (f"{DATABASE_NAME}: {finding}",)))
        self._refusal = None
        self._look_at_room()
        return Loaded(records, None)

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
        self._staged += map(frame_record, records)

    def sync(self) -> None:
        """Make everything staged durable as one row.

        Raises:
            StorageFailed: Fatal.
        """
        self._require_usable()
        if self._staged:
            self._insert(b"".join(self._staged))
            self._staged.clear()

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

    def _check_format(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            self._damaged("it is not a log of this program")
        if number != FORMAT:
            raise StorageError(
                f"{self._path}: format {number}, this program reads format {FORMAT};"
                " start the version that wrote it"
            )

    def _read(self, rows: sqlite3.Cursor) -> tuple[list[Record], str | None]:
        """Return the records up to the first row that is not what was written, and its finding."""
        records: list[Record] = []
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
            self._sequence, self._checksum = sequence, checksum
        return records, None

    def _link(self, body: bytes) -> int:
        return zlib.crc32(body, zlib.crc32(_LINK.pack(self._sequence + 1, self._checksum)))

    def _insert(self, body: bytes) -> None:
        assert self._connection is not None  # usable
        checksum = self._link(body)
        try:
            self._connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?)", (self._sequence + 1, body, checksum)
            )
        except sqlite3.Error as error:
            text = (
                f"{self._path}: writing a batch failed: {error}; this process must end, as nobody"
                " knows what the disk kept. Check the disk, then start the node again"
            )
            self._refusal = StorageFailed(text)
            raise StorageFailed(text) from error
        self._sequence += 1
        self._checksum = checksum
        self._room -= len(body)

    def _look_at_room(self) -> None:
        # A batch is written twice: into the write-ahead log, and at a checkpoint.
        self._room = (self._free_bytes(self._directory) - SPARE_BYTES) // 2

    def _damaged(self, what: str) -> NoReturn:
        raise DataDamaged(f"{self._path}: {what}; replace the node by one with a new id")

    def _require_usable(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))
