"""The default log: segment files, zero-written ahead, one durable write per batch.

Owns the files of a data directory and the order in which they change. It must never know trio, or
what a record asks of the protocol. It guards the law of the port: when ``sync`` returns, everything
before it survives SIGKILL and loss of power.

Why it is shaped so:

- A segment is a new file, written full of zeros and synced under a temporary name before it is
  used, and never used again. So a sync is one system call that changes no metadata, a full disk is
  seen before a write, and a sector that never arrived reads as zeros.
- Each start begins a new segment, with the last batch that was found, again. So what a killed
  process left in the page cache only is durable before this process says anything, without asking
  for a second sync of pages whose first may have failed.
- A segment gets its name only when its header and first batch are durable, and the batch counts
  only when the name is.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.errors import ensure
from paxos.core.ids import Slot
from paxos.core.records import Record
from paxos.storage.base import (
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
from paxos.storage.inspection import Inspection, SegmentReport, inspect
from paxos.storage.layout import (
    BLOCK,
    BODY_BYTES_MAX,
    CONTINUES,
    ID_BYTES,
    SECTOR,
    ZEROS,
    SegmentHeader,
    batch_span,
    encode_batch_header,
    encode_segment_header,
    owner_digest,
)
from paxos.storage.recovery import Batch, Verdict, judge, read_contents
from paxos.storage.segment_file import SegmentFile, read_segments, segment_name

__all__ = [
    "SEGMENT_BYTES",
    "Inspection",
    "SegmentReport",
    "SegmentStorage",
    "create",
    "inspect",
    "open_segments",
]

SEGMENT_BYTES = 16 * 1024 * 1024
"""Default size of a segment: zero-written within a few hundredths of a second, rarely full."""

SEGMENT_BYTES_MIN = 4 * BLOCK

_FIRST_SEGMENT_BYTES = 2 * BLOCK
"""Size of the segment that ``create`` makes: it never holds more than batch 1."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def create(directory: Path, identity: Identity, *, disk: Disk | None = None) -> None:
    """Make a node's data directory: batch 1, then the identity. Once in the life of a node.

    Args:
        directory: Is made if it does not exist; must be empty if it does.
        identity: Whose it will be, for ever. Its incarnation is drawn by the caller, at random.
        disk: Where; the file system of this machine by default.

    Raises:
        StorageError: The directory is not empty, or could not be made.
    """
    disk = RealDisk() if disk is None else disk
    lock = start_directory(disk, directory)
    log = SegmentStorage(disk, directory, identity, lock, _FIRST_SEGMENT_BYTES)
    try:
        log.begin()
        write_identity(disk, directory, identity)
    except OSError as error:
        raise StorageError(f"{directory}: cannot be made: {error.strerror or error}") from error
    finally:
        log.close()


def open_segments(
    directory: Path,
    expected: Identity | None = None,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    disk: Disk | None = None,
) -> SegmentStorage:
    """Open a node's log and hold its directory. Call ``load`` next.

    Args:
        directory: Made by ``create``.
        expected: Whose log it must be, or None to take it as it is.
        segment_bytes: Size of the segments that are made from now on.
        disk: Where; the file system of this machine by default.

    Raises:
        WrongIdentity: It belongs to another node, cluster or incarnation, or to nobody.
        DirectoryInUse: Another process holds it.
        DataDamaged: The identity file is damaged.
        StorageError: This platform cannot keep a log safe.
    """
    if segment_bytes < SEGMENT_BYTES_MIN or segment_bytes % BLOCK:
        raise ValueError(f"segment_bytes must be a multiple of {BLOCK}, from {SEGMENT_BYTES_MIN}")
    disk = RealDisk() if disk is None else disk
    lock, identity = take_directory(disk, directory, expected)
    return SegmentStorage(disk, directory, identity, lock, segment_bytes)


class _Staged:
    """Records that will stand in one batch, and what its header says of them."""

    __slots__ = ("flags", "highest", "issued", "parts", "promised", "size", "slots")

    def __init__(self, flags: int = 0) -> None:
        self.flags = flags
        self.parts: list[bytes] = []
        self.size = 0
        self.slots: tuple[Slot, Slot] = (0, 0)  # lowest and highest; zeros if there is none
        # What the tally stood at behind the last of them.
        self.highest: Slot = 0
        self.promised = BALLOT_ZERO
        self.issued = BALLOT_ZERO

    def add(self, framed: bytes, slot: Slot, tally: Tally) -> None:
        self.parts.append(framed)
        self.size += len(framed)
        if slot:
            lowest, highest = self.slots
            self.slots = (min(lowest, slot) if lowest else slot, max(highest, slot))
        self.highest = tally.highest
        self.promised = tally.promised
        self.issued = tally.issued


class _Previous(NamedTuple):
    """What a new segment says of the one before it."""

    number: int
    id: bytes
    end: int


class SegmentStorage:
    """One node's log in segment files. Made by ``open_segments``.

    ``append`` and ``sync`` are called by one thread at a time; ``reserve`` may run beside them.

    Attributes:
        identity: Whose log it is.
        torn: After ``load``: one line per last batch that was never finished and has been cut.
    """

    def __init__(
        self, disk: Disk, directory: Path, identity: Identity, lock: Lock, segment_bytes: int
    ) -> None:
        self.identity = identity
        self.torn: tuple[str, ...] = ()
        self._disk = disk
        self._directory = directory
        self._lock: Lock | None = lock
        self._segment_bytes = segment_bytes
        # What one batch can hold: it never spans two segments.
        self._capacity = min(BODY_BYTES_MAX, segment_bytes - BLOCK - SECTOR)
        # Why nothing may be written, as an error to raise; None while all is well.
        self._refusal: StorageError | None = StorageError("load the log before appending to it")
        self._reserving = threading.Lock()  # guards the next two
        self._reserved: SegmentFile | None = None
        self._number = 0  # of the newest segment that has its name
        self._segment: SegmentFile | None = None  # the one that is written
        self._offset = BLOCK  # in it, where the next batch goes
        self._older_bytes = 0  # in all segments before it
        self._tally = Tally()  # behind everything staged
        self._staged: deque[_Staged] = deque()
        # Of the last durable batch: what the next header repeats.
        self._sequence = 0
        self._checksum = 0
        self._slots: tuple[Slot, Slot] = (0, 0)

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable on this machine."""
        return self._disk.sync_method

    @property
    def disk_bytes(self) -> int:
        """Bytes of all segments, the reserved one included."""
        ahead = (self._segment, self._reserved)
        return self._older_bytes + sum(each.size for each in ahead if each is not None)

    @property
    def room_bytes(self) -> int:
        """Bytes of records that fit for sure, in one group: no new segment is needed for them."""
        current, reserved = self._segment, self._reserved
        if current is None or self._refusal is not None:
            return 0
        left = current.size - self._offset
        if reserved is None:
            return _room(left, 0, self._capacity)
        return _room(left, reserved.size - BLOCK, self._capacity)

    @property
    def reserve_due(self) -> bool:
        """Whether ``reserve`` has something to do."""
        return self._reserved is None and self._refusal is None

    def load(self) -> Loaded:
        """Read and judge the log, cut a torn last batch, and begin a new segment.

        A log with damage that may hide a promise is read, and takes no more records.

        Raises:
            DataDamaged: There is an identity but not one sound batch.
            StorageFull: There is no room for a new segment.
            StorageFailed: It could not be written.
            StorageError: It cannot be read, or another version of this program wrote it.
        """
        if self._sequence:
            raise StorageError(f"{self._directory}: load was called before")
        verdict = self._read()
        contents = read_contents(verdict, self.identity)
        self.torn = tuple(verdict.torn)
        if verdict.end_lost:
            self._refusal = DataDamaged(
                f"{self._directory}: the end of the log is damaged and may hide a promise;"
                " this node must never vote again: replace it by one with a new id"
            )
        else:
            self._begin_again(verdict.batches[-1], verdict.headers[-1])
        return Loaded(contents.records, contents.damage)

    def begin(self) -> None:
        """Make batch 1, in segment 1. Only ``create`` does this."""
        self._refusal = None
        self._roll(_Staged(), _Previous(0, bytes(ID_BYTES), 0))

    def append(self, records: Sequence[Record]) -> None:
        """Stage records for the next ``sync``. Nothing is written yet."""
        self._require_usable()
        staged, tally, capacity = self._staged, self._tally, self._capacity
        batch = staged[-1] if staged else None
        for record in records:
            framed = frame_record(record)
            slot = tally.note(record)
            if batch is None or batch.flags or batch.size + len(framed) > capacity:
                if len(framed) > capacity:
                    self._stage_pieces(framed, slot)
                    batch = None
                    continue
                batch = _Staged()
                staged.append(batch)
            batch.add(framed, slot, tally)

    def _stage_pieces(self, framed: bytes, slot: Slot) -> None:
        """Stage a record that is larger than a batch: in batches that hold nothing else."""
        for start in range(0, len(framed), self._capacity):
            piece = _Staged(CONTINUES if start else 0)
            piece.add(framed[start : start + self._capacity], slot, self._tally)
            self._staged.append(piece)

    def sync(self) -> None:
        """Make everything staged durable, in one write unless it is more than a batch can hold.

        Raises:
            StorageFailed: A write or sync failed. This object is dead, and so must be the process.
            StorageFull: Nothing was reserved and there is no room. What is staged stays staged.
        """
        self._require_usable()
        staged = self._staged
        while staged:
            self._write(staged[0])
            staged.popleft()

    def reserve(self) -> None:
        """Zero-write the next segment, unless one is ready.

        Raises:
            StorageFull: There is no room. Nothing was lost; call again later.
            StorageFailed: The disk failed. Fatal.
        """
        with self._reserving:
            self._require_usable()
            if self._reserved is None:
                self._reserved = self._zero_written()

    def close(self) -> None:
        """Let go of the directory. A reserved segment is deleted at the next start."""
        with self._reserving:
            self._refusal = StorageError(f"{self._directory}: this log is closed")
            for segment in (self._segment, self._reserved):
                if segment is not None:
                    segment.close()
            self._segment = self._reserved = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _require_usable(self) -> None:
        refusal = self._refusal
        if refusal is not None:
            raise type(refusal)(str(refusal))

    def _fail(self, doing: str, error: OSError) -> NoReturn:
        text = (
            f"{self._directory}: {doing} failed: {error.strerror or error}; this process must end,"
            " as nobody knows what the disk kept. Check the disk, then start the node again"
        )
        self._refusal = StorageFailed(text)
        raise StorageFailed(text) from error

    # --- reading and beginning again ------------------------------------------------------------

    def _read(self) -> Verdict:
        try:
            for name in self._disk.names(self._directory):
                if name.endswith(TEMPORARY_SUFFIX):
                    self._disk.remove(self._directory / name)
            segments = read_segments(self._disk, self._directory)
        except OSError as error:
            raise StorageError(f"{self._directory}: cannot be read: {error}") from error
        verdict = judge(segments, self.identity)
        if not verdict.batches:
            raise DataDamaged(
                f"{self._directory}: not one sound batch is left"
                f" ({'; '.join(verdict.findings) or 'there are no segments'});"
                " replace the node by one with a new id"
            )
        self._number = segments[-1].number
        self._older_bytes = sum(len(segment.data) for segment in segments)
        return verdict

    def _begin_again(self, last: Batch, written: SegmentHeader | None) -> None:
        """Begin this run's first segment with the last batch that was kept."""
        # The first batch of the newest segment is sound, or the end would be lost.
        ensure(written is not None and written.number == last.number, "the log has no last batch")
        assert written is not None
        header = last.header
        again = _Staged(header.flags)
        again.parts.append(last.body)
        again.size = header.length
        again.slots = _slots_of(last)
        again.highest = header.highest
        again.promised = header.promised
        again.issued = Ballot(header.issued_round, self.identity.node)
        self._tally = Tally(again.promised, again.issued, again.highest)
        self._sequence = header.sequence - 1
        self._checksum = header.previous_checksum
        self._slots = (header.previous_lowest, header.previous_highest)
        # The last batch may be larger than a segment of today's size.
        size = max(self._segment_bytes, BLOCK + header.span)
        self._refusal = None
        self._reserved = self._zero_written(size)
        self._roll(again, _Previous(written.number, written.id, last.offset))
        self._give_back(last)

    def _give_back(self, last: Batch) -> None:
        """Return to the file system what nothing will read again of the segment before."""
        path = self._directory / segment_name(last.number)
        try:
            size = len(self._disk.read(path))
            self._disk.truncate(path, last.offset)
        except OSError as error:
            self._fail("giving back the unused end of the last run's segment", error)
        self._older_bytes -= size - last.offset

    # --- writing --------------------------------------------------------------------------------

    def _zero_written(self, size: int | None = None) -> SegmentFile:
        size = self._segment_bytes if size is None else size
        try:
            return SegmentFile(self._disk, self._directory, self._number + 1, size)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                self._fail("reserving a segment", error)
            raise StorageFull(
                f"{self._directory}: no room for a segment of {size} bytes; make room on this disk"
            ) from error

    def _write(self, batch: _Staged) -> None:
        segment, offset = self._segment, self._offset
        assert segment is not None  # usable
        if offset + batch_span(batch.size) > segment.size:
            self._roll(batch, _Previous(segment.number, segment.id, offset))
            return
        buffers, length, checksum = self._encode(batch, segment.id)
        try:
            segment.put(buffers, length, offset)
        except OSError as error:
            self._fail(f"writing a batch to {segment_name(segment.number)}", error)
        self._advance(batch, length, checksum)

    def _encode(self, batch: _Staged, segment_id: bytes) -> tuple[list[bytes], int, int]:
        """Return the next batch as buffers, their length in whole blocks, and its checksum."""
        body = b"".join(batch.parts)
        header, checksum = encode_batch_header(
            body,
            flags=batch.flags,
            segment_id=segment_id,
            sequence=self._sequence + 1,
            previous_checksum=self._checksum,
            previous_slots=self._slots,
            highest=batch.highest,
            promised=batch.promised,
            issued_round=batch.issued.round,
        )
        length = batch_span(len(body))
        return [header, body, ZEROS[: length - SECTOR - len(body)]], length, checksum

    def _advance(self, batch: _Staged, length: int, checksum: int) -> None:
        self._offset += length
        self._sequence += 1
        self._checksum = checksum
        self._slots = batch.slots

    def _roll(self, batch: _Staged, previous: _Previous) -> None:
        """Go on in a new segment that begins with ``batch``."""
        segment = self._take_reserved()
        header = SegmentHeader(
            segment.number, segment.id, segment.size, *previous, owner_digest(self.identity)
        )
        buffers, length, checksum = self._encode(batch, segment.id)
        try:
            segment.put([encode_segment_header(header), *buffers], BLOCK + length, 0)
            # Only now may the name be there: a name whose first batch is missing is damage.
            segment.publish()
        except OSError as error:
            segment.close()
            self._fail(f"beginning {segment_name(segment.number)}", error)
        if self._segment is not None:
            self._older_bytes += self._segment.size
            self._segment.close()
        self._segment = segment
        self._offset = BLOCK
        self._advance(batch, length, checksum)

    def _take_reserved(self) -> SegmentFile:
        with self._reserving:
            segment = self._zero_written() if self._reserved is None else self._reserved
            self._reserved = None
            self._number = segment.number
            return segment


def _room(left: int, ahead: int, capacity: int) -> int:
    """Return how many bytes of records fit, in one batch or in many.

    Args:
        left: Bytes left in the segment that is written.
        ahead: Bytes in the one that is reserved, or 0.
        capacity: What one batch can hold.
    """
    one = min(capacity, max(left, ahead) - SECTOR)
    # Two batches that follow one another hold more than one batch can, so that n bytes make at most
    # 2 n / capacity + 2 of them. None spans segments: the end of the first may stay unused.
    padding = SECTOR + BLOCK
    unused = capacity + padding if ahead else 0
    many = (left + ahead - unused - 2 * padding) * capacity // (capacity + 2 * padding)
    return max(0, one, many)


def _slots_of(batch: Batch) -> tuple[Slot, Slot]:
    """Return the lowest and highest slot of a batch that was read, or a range that holds them."""
    whole_range = (1, batch.header.highest)
    if batch.header.flags:
        return whole_range  # a later piece of a record that spans batches
    records, rest = read_records(batch.body)
    if rest:
        return whole_range
    tally = Tally()
    slots = [slot for slot in map(tally.note, records) if slot]
    return (min(slots), max(slots)) if slots else (0, 0)
