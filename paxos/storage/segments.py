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
- A segment is removed, the oldest first, only once a durable batch in a later one says that it may
  be gone. Each batch repeats the highest promise and the last issued round, so they stay.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from paxos.core.ballot import Ballot
from paxos.core.errors import ensure
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import Record
from paxos.storage.base import (
    DataDamaged,
    Identity,
    Loaded,
    StorageError,
    StorageFailed,
    StorageFull,
)
from paxos.storage.batches import Encoded, Staged, room, slots_of
from paxos.storage.body import Tally, frame_record
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
from paxos.storage.recovery import Batch, Verdict, judge
from paxos.storage.resume import loaded, resume
from paxos.storage.segment_file import SegmentFile, find_segments, segment_name
from paxos.storage.snapshots import NO_ROOM, SnapshotFile, SnapshotFiles

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


class _Closed(NamedTuple):
    """A segment that is not written any more. No slot above ``highest`` stands in it or before."""

    number: int
    bytes: int
    highest: Slot


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
        # Before it, the oldest first. What a durable batch has said may be gone moves to the other
        # list, and is gone from disk when ``reserve`` has taken it from there.
        self._closed: deque[_Closed] = deque()
        self._removable: deque[_Closed] = deque()
        self._compacted: Slot = 0  # asked for
        self._compacted_durably: Slot = 0
        self._oldest = 1  # segment that may not be gone, as the last durable batch says
        self._snapshots = SnapshotFiles(disk, directory, owner_digest(identity), self._fail)
        self._tally = Tally()  # behind everything staged
        self._staged: deque[Staged] = deque()
        # Of the last durable batch: what the next header repeats.
        self._sequence = 0
        self._checksum = 0
        self._slots: tuple[Slot, Slot] = (0, 0)
        self._highest: Slot = 0

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable on this machine."""
        return self._disk.sync_method

    @property
    def disk_bytes(self) -> int:
        """Bytes of all segments, the reserved one included, and of all snapshots."""
        ahead = (self._segment, self._reserved)
        older = (*self._removable.copy(), *self._closed.copy())
        return (
            sum(each.size for each in ahead if each is not None)
            + sum(each.bytes for each in older)
            + self._snapshots.disk_bytes
        )

    @property
    def room_bytes(self) -> int:
        """Bytes of records that fit for sure, in one group: no new segment is needed for them."""
        current, reserved = self._segment, self._reserved
        if current is None or self._refusal is not None:
            return 0
        left = current.size - self._offset
        if reserved is None:
            return room(left, 0, self._capacity)
        return room(left, reserved.size - BLOCK, self._capacity)

    @property
    def reserve_due(self) -> bool:
        """Whether ``reserve`` has something to do."""
        return self._refusal is None and (self._reserved is None or bool(self._removable))

    @property
    def snapshots(self) -> tuple[SnapshotName, ...]:
        """The durable snapshots that are not known to be spoilt, the oldest first."""
        return self._snapshots.names

    def load(self) -> Loaded:
        """Read and judge snapshots and log, cut a torn last batch, and begin a new segment.

        A log with damage that may hide a promise is read, and takes no more records.

        Raises:
            DataDamaged: There is an identity but not one sound batch.
            StorageFull: There is no room for a new segment.
            StorageFailed: It could not be written.
            StorageError: It cannot be read, or another version of this program wrote it.
        """
        if self._sequence:
            raise StorageError(f"{self._directory}: load was called before")
        verdict, spoilt = self._read()
        records = verdict.contents.records
        snapshot, compacted_through = resume(
            records,
            self.snapshots,
            spoilt,
            verdict.compacted_through,
            verdict.complete_above,
        )
        found = loaded(
            records,
            snapshot,
            compacted_through,
            (*verdict.findings, *spoilt),
            verdict.contents.unknown,
            verdict.end_lost,
        )
        self._compacted = found.compacted_through
        self.torn = tuple(verdict.torn)
        if verdict.end_lost:
            self._refusal = DataDamaged(
                f"{self._directory}: the end of the log is damaged and may hide a promise;"
                " this node must never vote again: replace it by one with a new id"
            )
        else:
            self._begin_again(verdict)
        return found

    def begin(self) -> None:
        """Make batch 1, in segment 1. Only ``create`` does this."""
        self._refusal = None
        self._roll(Staged(), _Previous(0, bytes(ID_BYTES), 0))

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
                batch = Staged()
                staged.append(batch)
            batch.add(framed, slot, tally)

    def _stage_pieces(self, framed: bytes, slot: Slot) -> None:
        """Stage a record that is larger than a batch: in batches that hold nothing else."""
        for start in range(0, len(framed), self._capacity):
            piece = Staged(CONTINUES if start else 0)
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
        if not staged and self._compacted > self._compacted_durably:
            staged.append(self._empty())
        while staged:
            self._write(staged[0])
            staged.popleft()

    def _empty(self) -> Staged:
        """Return a batch without records: its header is what is to be said."""
        batch = Staged()
        tally = self._tally
        batch.highest, batch.promised, batch.issued = tally.highest, tally.promised, tally.issued
        return batch

    def reserve(self) -> None:
        """Remove segments that may be gone; zero-write the next one, unless one is ready.

        Raises:
            StorageFull: There is no room. Nothing was lost; call again later.
            StorageFailed: The disk failed. Fatal.
        """
        with self._reserving:
            self._require_usable()
            self._remove()
            if self._reserved is None:
                self._reserved = self._zero_written()

    def _remove(self) -> None:
        while self._removable:
            name = segment_name(self._removable[0].number)
            try:
                self._disk.remove(self._directory / name)
            except FileNotFoundError:
                pass  # it was named as one that may be gone
            except OSError as error:
                self._fail(f"removing {name}", error)
            self._removable.popleft()

    def begin_snapshot(self, through: Slot) -> SnapshotFile:
        """Begin to write a snapshot, in a file beside the log.

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
        """Let the next batch say that what stands at or below ``through`` may be gone.

        ``sync`` writes one for it even if nothing else is staged. The segments that hold nothing
        else are removed by the ``reserve`` after that.
        """
        self._require_usable()
        self._compacted = max(self._compacted, through)

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

    def _read(self) -> tuple[Verdict, list[str]]:
        try:
            for name in self._disk.names(self._directory):
                if name.endswith(TEMPORARY_SUFFIX):
                    self._disk.remove(self._directory / name)
            spoilt = self._snapshots.find()
            segments = find_segments(self._disk, self._directory)
            verdict = judge(segments, self.identity)
        except OSError as error:
            raise StorageError(f"{self._directory}: cannot be read: {error}") from error
        if not verdict.batches:
            raise DataDamaged(
                f"{self._directory}: not one sound batch is left"
                f" ({'; '.join(verdict.findings) or 'there are no segments'});"
                " replace the node by one with a new id"
            )
        self._number = segments[-1].number
        self._oldest = verdict.oldest_segment
        self._removable.extend(_Closed(each.number, each.size, 0) for each in verdict.left_over)
        self._closed.extend(
            _Closed(each.number, each.bytes, each.highest) for each in verdict.segments
        )
        return verdict, spoilt

    def _begin_again(self, verdict: Verdict) -> None:
        """Begin this run's first segment with the last batch that was kept."""
        last, written = verdict.last, verdict.last_header
        # The first batch of the newest segment is sound, or the end would be lost.
        ensure(last is not None and written is not None, "the log has no last batch")
        assert last is not None
        assert written is not None
        ensure(written.number == last.number, "the last batch is not in the last segment")
        header = last.header
        again = Staged(header.flags)
        again.parts.append(bytes(last.body))
        again.size = header.length
        again.slots = slots_of(last)
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
            self._disk.truncate(path, last.offset)
        except OSError as error:
            self._fail("giving back the unused end of the last run's segment", error)
        for closed in (self._closed, self._removable):
            if closed and closed[-1].number == last.number:
                closed[-1] = closed[-1]._replace(bytes=last.offset)

    # --- writing --------------------------------------------------------------------------------

    def _zero_written(self, size: int | None = None) -> SegmentFile:
        size = self._segment_bytes if size is None else size
        try:
            return SegmentFile(self._disk, self._directory, self._number + 1, size)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._fail("reserving a segment", error)
            raise StorageFull(
                f"{self._directory}: no room for a segment of {size} bytes; make room on this disk"
            ) from error

    def _write(self, batch: Staged) -> None:
        segment, offset = self._segment, self._offset
        assert segment is not None  # usable
        if offset + batch_span(batch.size) > segment.size:
            self._roll(batch, _Previous(segment.number, segment.id, offset))
            return
        encoded = self._encode(batch, segment)
        try:
            segment.put(encoded.buffers, encoded.length, offset)
        except OSError as error:
            self._fail(f"writing a batch to {segment_name(segment.number)}", error)
        self._advance(batch, encoded)

    def _encode(self, batch: Staged, segment: SegmentFile) -> Encoded:
        compacted = self._compacted
        oldest = self._oldest
        if compacted:
            # Among the older ones the first that may still be needed; else the one it goes to.
            needed = (each.number for each in self._closed if each.highest > compacted)
            current = segment if self._segment is None else self._segment
            oldest = next(needed, current.number)
        body = b"".join(batch.parts)
        header, checksum = encode_batch_header(
            body,
            flags=batch.flags,
            segment_id=segment.id,
            sequence=self._sequence + 1,
            previous_checksum=self._checksum,
            previous_slots=self._slots,
            highest=batch.highest,
            promised=batch.promised,
            issued_round=batch.issued.round,
            compacted_through=compacted,
            oldest_segment=oldest,
        )
        length = batch_span(len(body))
        buffers = [header, body, ZEROS[: length - SECTOR - len(body)]]
        return Encoded(buffers, length, checksum, compacted, oldest)

    def _advance(self, batch: Staged, encoded: Encoded) -> None:
        """The batch is durable."""
        self._offset += encoded.length
        self._sequence += 1
        self._checksum = encoded.checksum
        self._slots = batch.slots
        self._highest = batch.highest
        self._compacted_durably = encoded.compacted_through
        self._oldest = encoded.oldest_segment
        while self._closed and self._closed[0].number < encoded.oldest_segment:
            self._removable.append(self._closed.popleft())

    def _roll(self, batch: Staged, previous: _Previous) -> None:
        """Go on in a new segment that begins with ``batch``."""
        segment = self._take_reserved()
        header = SegmentHeader(
            segment.number, segment.id, segment.size, *previous, owner_digest(self.identity)
        )
        encoded = self._encode(batch, segment)
        buffers, length = encoded.buffers, encoded.length
        try:
            segment.put([encode_segment_header(header), *buffers], BLOCK + length, 0)
            # Only now may the name be there: a name whose first batch is missing is damage.
            segment.publish()
        except OSError as error:
            segment.close()
            self._fail(f"beginning {segment_name(segment.number)}", error)
        if self._segment is not None:
            done = self._segment
            self._closed.append(_Closed(done.number, self._mark_end(done), self._highest))
            done.close()
        self._segment = segment
        self._offset = BLOCK
        self._advance(batch, encoded)

    def _mark_end(self, done: SegmentFile) -> int:
        """Give a segment that is done another size than it was made with; return that.

        The next one has its name now. Should that file ever be lost, this one would else look like
        the end of the log.
        """
        size = self._offset if self._offset < done.size else done.size + 1
        try:
            self._disk.truncate(self._directory / segment_name(done.number), size)
        except OSError as error:
            self._fail(f"ending {segment_name(done.number)}", error)
        return size

    def _take_reserved(self) -> SegmentFile:
        with self._reserving:
            segment = self._zero_written() if self._reserved is None else self._reserved
            self._reserved = None
            self._number = segment.number
            return segment
