"""Snapshot files beside a log: written, found again, read in pieces, and verified. Format 1.

Owns the files named ``snapshot-...`` of a data directory. It must never know what a snapshot says.
It guards two rules: a file bears the name of a snapshot only when all of it is durable, and no
byte is handed out that is not what was written.

    header   one 4 KiB block: magic, checksum, format, random id, through, size, the BLAKE2b of the
             contents, and a digest of the identity that owns the directory
    blocks   of 64 KiB: a checksum over the random id, the block's number and its bytes; then the
             bytes. So any range can be verified alone. The last block is shorter.

The header is written last. Whoever may be reading while a file is removed gets a ``LookupError``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.storage.base import DataDamaged, StorageError, StorageFull
from paxos.storage.directory import TEMPORARY_SUFFIX
from paxos.storage.disk import Disk, File, ReadableDisk
from paxos.storage.layout import BLOCK, ID_BYTES, PREFIX, FormatUnknown, seal, unseal

SNAPSHOT_BLOCK = 64 * 1024
PAYLOAD_BYTES = SNAPSHOT_BLOCK - 4
"""Bytes of a snapshot in one block of its file."""

PIECE_BYTES = 16 * PAYLOAD_BYTES
"""Written, or verified, at a time."""

SYNC_BYTES = 8 * PIECE_BYTES
"""Written between two syncs. Short enough that a batch of the log waits little behind one."""

KEPT = 2
"""So many of the latest are kept: one may be on its way to a peer when the next is made."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_MAGIC = b"MPXN"
_HEADER = struct.Struct(">H16sQQ16s16s")
_FORMAT = 1
_CHECKSUM = struct.Struct(">I")
_NUMBER = struct.Struct(">Q")
_NAME = re.compile(r"snapshot-(\d{19})-(\d{1,19})-([0-9a-f]{32})\.snap")


class SnapshotSpoilt(Exception):
    """What stands in a snapshot's file is not what was written. The text says where."""


class FoundSnapshot(NamedTuple):
    """A snapshot file whose header is sound."""

    name: SnapshotName
    id: bytes


def snapshot_file_name(name: SnapshotName) -> str:
    """Return the name of a snapshot's file: it says what the header says."""
    return f"snapshot-{name.through:019d}-{name.size}-{name.digest.hex()}.snap"


def snapshot_name(file_name: str) -> SnapshotName | None:
    """Return which snapshot a file holds, by its name; None if it is no snapshot's."""
    found = _NAME.fullmatch(file_name)
    if found is None:
        return None
    return SnapshotName(int(found[1]), int(found[2]), bytes.fromhex(found[3]))


def file_bytes(size: int) -> int:
    """Return how many bytes the file of a snapshot of ``size`` bytes has."""
    return BLOCK + size + _CHECKSUM.size * -(-size // PAYLOAD_BYTES)


def _checksum(id_: bytes, number: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(id_ + _NUMBER.pack(number)))


def read_header(disk: ReadableDisk, directory: Path, name: SnapshotName, owner: bytes) -> bytes:
    """Return the random id of a snapshot's file, whose header and length are as they must be.

    Raises:
        SnapshotSpoilt: They are not.
        StorageError: Another version of this program wrote it.
        FileNotFoundError: There is no such file.
    """
    file_name = snapshot_file_name(name)
    path = directory / file_name
    head = disk.read(path, 0, BLOCK)
    try:
        sound = unseal(_MAGIC, (_FORMAT,), head)
    except FormatUnknown as error:
        raise StorageError(f"{file_name}: {error}") from None
    if sound is None:
        raise SnapshotSpoilt(f"{file_name}: the snapshot's header is damaged")
    _, id_, *said, of = _HEADER.unpack_from(head, PREFIX)
    if of != owner:
        raise SnapshotSpoilt(f"{file_name}: the snapshot belongs to another directory")
    if SnapshotName(*said) != name:
        raise SnapshotSpoilt(f"{file_name}: the header and the name tell of different snapshots")
    size, wanted = disk.size(path), file_bytes(name.size)
    if size != wanted:
        raise SnapshotSpoilt(f"{file_name}: the file has {size} bytes, not {wanted}")
    return bytes(id_)


def read_range(
    disk: ReadableDisk, directory: Path, name: SnapshotName, id_: bytes, offset: int, length: int
) -> bytes:
    """Return bytes of a snapshot, each block they stand in verified.

    Raises:
        SnapshotSpoilt: A block is not what was written.
        FileNotFoundError: There is no such file.
    """
    end = min(offset + length, name.size)
    if offset < 0 or offset >= end:
        return b""
    first, last = offset // PAYLOAD_BYTES, -(-end // PAYLOAD_BYTES)
    file_name = snapshot_file_name(name)
    stored = disk.read(
        directory / file_name, BLOCK + first * SNAPSHOT_BLOCK, (last - first) * SNAPSHOT_BLOCK
    )
    view, parts = memoryview(stored), []
    for number in range(first, last):
        start = number * PAYLOAD_BYTES
        length = min(PAYLOAD_BYTES, name.size - start)
        at = (number - first) * SNAPSHOT_BLOCK
        payload = view[at + 4 : at + 4 + length]
        if len(payload) < length or _CHECKSUM.unpack_from(stored, at)[0] != _checksum(
            id_, number, payload
        ):
            raise SnapshotSpoilt(
                f"{file_name}: offset {BLOCK + number * SNAPSHOT_BLOCK}: bytes {start} to"
                f" {start + length} of the snapshot are damaged"
            )
        parts.append(payload[max(0, offset - start) : end - start])
    return b"".join(parts)


def read_pieces(
    disk: ReadableDisk, directory: Path, name: SnapshotName, owner: bytes
) -> Iterator[bytes]:
    """Yield all bytes of a snapshot in order, verified, and its digest at the end.

    Raises:
        SnapshotSpoilt: Something is not what was written.
        StorageError: Another version of this program wrote it.
        FileNotFoundError: There is no such file.
    """
    id_ = read_header(disk, directory, name, owner)
    digest = hashlib.blake2b(digest_size=16)
    for offset in range(0, name.size, PIECE_BYTES):
        piece = read_range(disk, directory, name, id_, offset, PIECE_BYTES)
        digest.update(piece)
        yield piece
    if digest.digest() != name.digest:
        raise SnapshotSpoilt(
            f"{snapshot_file_name(name)}: every block is sound, and the digest of all is another"
        )


class FoundSnapshots(NamedTuple):
    """The snapshot files of a directory.

    Attributes:
        sound: Those to keep, the oldest first.
        useless: Names of files that are spoilt, or too old.
        findings: What is wrong with those that are spoilt.
        bytes: Of all files.
    """

    sound: list[FoundSnapshot]
    useless: set[str]
    findings: list[str]
    bytes: int


def find_snapshots(
    disk: ReadableDisk, directory: Path, owner: bytes, *, verify: bool = True
) -> FoundSnapshots:
    """Look for the snapshot files of a directory.

    The latest is verified from end to end, and each older one only if all after it are spoilt. What
    is older than those that are kept is not looked at.

    Args:
        disk: Where.
        directory: Whose.
        owner: Digest of the identity that owns the directory.
        verify: False to look at the headers only.

    Raises:
        StorageError: Another version of this program wrote one.
    """
    found: list[FoundSnapshot] = []
    useless: set[str] = set()
    findings: list[str] = []
    size = 0
    named = [(name, each) for each in disk.names(directory) if (name := snapshot_name(each))]
    for name, file_name in sorted(named, reverse=True):
        size += disk.size(directory / file_name)
        if len(found) == KEPT:
            useless.add(file_name)
            continue
        try:
            id_ = read_header(disk, directory, name, owner)
            if verify and not found:
                for offset in range(0, name.size, PIECE_BYTES):
                    read_range(disk, directory, name, id_, offset, PIECE_BYTES)
        except SnapshotSpoilt as error:
            findings.append(str(error))
            useless.add(file_name)
            continue
        found.insert(0, FoundSnapshot(name, id_))
    return FoundSnapshots(found, useless, findings, size)


class SnapshotFiles:
    """The snapshots of one data directory. All methods may be called from any thread.

    Args:
        disk: Where.
        directory: Whose.
        owner: Digest of the identity that owns the directory.
        fail: Called with what was being done when the disk failed; raises what is to be raised.
    """

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        owner: bytes,
        fail: Callable[[str, OSError], NoReturn],
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._owner = owner
        self._fail = fail
        self._lock = threading.Lock()  # guards the rest
        self._sound: list[FoundSnapshot] = []  # the oldest first
        self._useless: set[str] = set()  # names of files that are spoilt, or too old
        self._begun = 0
        self._bytes = 0  # of all files, those being written too

    @property
    def names(self) -> tuple[SnapshotName, ...]:
        """The durable snapshots that are not known to be spoilt, the oldest first."""
        with self._lock:
            return tuple(each.name for each in self._sound)

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files, those being written included."""
        return self._bytes

    def find(self) -> list[str]:
        """Look for the files of a directory, at start; return what is wrong with them.

        Raises:
            StorageError: One cannot be read, or another version of this program wrote it.
        """
        found = find_snapshots(self._disk, self._directory, self._owner)
        self._sound = found.sound
        self._useless = found.useless
        self._bytes = found.bytes
        return found.findings

    def read(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Return bytes of a durable snapshot. One that turns out spoilt is known so from then on.

        Raises:
            LookupError: It is not there.
            DataDamaged: These bytes are not what was written.
        """
        with self._lock:
            found = next((each for each in self._sound if each.name == name), None)
        if found is None:
            raise LookupError(f"{self._directory}: there is no snapshot {name}")
        try:
            return read_range(self._disk, self._directory, name, found.id, offset, length)
        except FileNotFoundError:
            raise LookupError(f"{self._directory}: there is no snapshot {name} any more") from None
        except SnapshotSpoilt as error:
            self.spoil(name)
            raise DataDamaged(
                f"{self._directory / str(error)}; a new snapshot will replace it"
            ) from None

    def spoil(self, name: SnapshotName) -> None:
        """Note that a snapshot is damaged: it is offered no more, and removed by the next one."""
        with self._lock:
            if any(each.name == name for each in self._sound):
                self._sound = [each for each in self._sound if each.name != name]
                self._useless.add(snapshot_file_name(name))

    def begin(self, through: Slot) -> SnapshotFile:
        """Begin to write a snapshot.

        Raises:
            StorageFull: There is no room.
            StorageFailed: The disk failed.
        """
        if through < 1:
            raise ValueError(f"a snapshot reflects a slot, and {through} is none")
        with self._lock:
            self._begun += 1
            label = f"snapshot-{through:019d}-{self._begun}{TEMPORARY_SUFFIX}"
        beside = self._directory / label
        try:
            file = self._disk.create(beside)
        except OSError as error:
            self.raise_for("beginning a snapshot", error)
        return SnapshotFile(self, file, beside, through)

    def raise_for(self, doing: str, error: OSError) -> NoReturn:
        """Raise what an error of the operating system means while a snapshot is written."""
        if error.errno in NO_ROOM:
            raise StorageFull(
                f"{self._directory}: no room for a snapshot; make room on this disk"
            ) from error
        self._fail(doing, error)

    # --- for the file that is written -----------------------------------------------------------

    def grown(self, by: int) -> None:
        """Count bytes of a file that is being written, or that is gone."""
        with self._lock:
            self._bytes += by

    def remove_beside(self, beside: Path) -> None:
        """Delete an unfinished file. What cannot be deleted now is deleted at the next start."""
        try:
            self._disk.remove(beside)
        except OSError:
            pass  # it holds nothing, whether it is there or not

    def header(self, name: SnapshotName, id_: bytes) -> bytes:
        """Return the first block of a file."""
        return seal(_MAGIC, _HEADER.pack(_FORMAT, id_, *name, self._owner))

    def publish(self, beside: Path, name: SnapshotName, id_: bytes) -> None:
        """Give a file that is durable its name, durably; only then remove what is too old."""
        path = self._directory / snapshot_file_name(name)
        with self._lock:
            known = path.name in self._useless or any(each.name == name for each in self._sound)
            replaced = self._disk.size(path) if known else 0
            self._disk.rename(beside, path)
            self._disk.sync_directory(self._directory)
            self._bytes -= replaced
            others = [each for each in self._sound if each.name != name]
            at = sum(each.name.through <= name.through for each in others)
            others.insert(at, FoundSnapshot(name, id_))
            self._sound = others[-KEPT:]
            self._useless.discard(path.name)
            self._useless.update(snapshot_file_name(each.name) for each in others[:-KEPT])
            for file_name in sorted(self._useless):
                self._remove(self._directory / file_name)
            if self._useless:
                self._disk.sync_directory(self._directory)
            self._useless.clear()

    def _remove(self, path: Path) -> None:
        try:
            size = self._disk.size(path)
            self._disk.remove(path)
        except FileNotFoundError:
            return
        self._bytes -= size


class SnapshotFile:
    """A snapshot that is being written. Used by one thread at a time."""

    def __init__(self, files: SnapshotFiles, file: File, beside: Path, through: Slot) -> None:
        self._files = files
        self._file: File | None = file
        self._beside = beside
        self._through = through
        self._id = os.urandom(ID_BYTES)
        self._digest = hashlib.blake2b(digest_size=16)
        self._size = 0
        self._waiting = bytearray()  # taken and not yet written
        self._blocks = 0  # written
        self._offset = BLOCK  # where the next goes
        self._unsynced = 0

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    @property
    def digest(self) -> bytes:
        """BLAKE2b of them, 16 bytes."""
        return self._digest.digest()

    def write(self, data: bytes) -> None:
        """Take what comes next.

        Raises:
            StorageFull: There is no room.
            StorageFailed: The disk failed.
        """
        file = self._open_file()
        self._digest.update(data)
        self._size += len(data)
        self._waiting += data
        try:
            while len(self._waiting) >= PIECE_BYTES:
                self._write_blocks(file, PIECE_BYTES)
                if self._unsynced >= SYNC_BYTES:
                    file.sync()
                    self._unsynced = 0
        except OSError as error:
            self._files.raise_for("writing a snapshot", error)

    def finish(self) -> SnapshotName:
        """Make it durable, and the latest one unless a later one is there.

        Raises:
            StorageFull: There is no room.
            StorageFailed: The disk failed.
        """
        file = self._open_file()
        name = SnapshotName(self._through, self._size, self.digest)
        try:
            self._write_blocks(file, len(self._waiting))
            self._put(file, [self._files.header(name, self._id)], 0)
            self._files.grown(BLOCK)
            file.sync()
            self._files.publish(self._beside, name, self._id)
        except OSError as error:
            self._files.raise_for("finishing a snapshot", error)
        file.close()
        self._file = None
        return name

    def abandon(self) -> None:
        """Delete what was written. Harmless when it is finished, or abandoned, already."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._files.remove_beside(self._beside)
            self._files.grown(BLOCK - self._offset)

    def _open_file(self) -> File:
        if self._file is None:
            raise ValueError("this snapshot is finished or abandoned")
        return self._file

    def _write_blocks(self, file: File, length: int) -> None:
        view = memoryview(self._waiting)
        buffers: list[bytes] = []
        for start in range(0, length, PAYLOAD_BYTES):
            payload = bytes(view[start : min(start + PAYLOAD_BYTES, length)])
            buffers += [_CHECKSUM.pack(_checksum(self._id, self._blocks, payload)), payload]
            self._blocks += 1
        view.release()
        del self._waiting[:length]
        if buffers:
            written = self._put(file, buffers, self._offset)
            self._offset += written
            self._unsynced += written
            self._files.grown(written)

    @staticmethod
    def _put(file: File, buffers: list[bytes], offset: int) -> int:
        length = sum(map(len, buffers))
        written = file.write(buffers, offset)
        if written < length:
            rest = b"".join(buffers)
            while written < length:
                taken = file.write((rest[written:],), offset + written)
                if taken == 0:
                    raise OSError(errno.EIO, "the disk takes no more bytes")
                written += taken
        return length
