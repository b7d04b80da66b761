"""Snapshots as bytes: a head and parts in, pieces of bounded size out, and back.

Owns one format, numbered (``SNAPSHOT_VERSION``): the same on disk, on the wire and in a backup. It
guards that equal snapshots give equal bytes, and that bytes that were damaged, cut, repeated or put
together from two snapshots are found out before the last part is handed over. It holds no more of a
snapshot in memory than its largest chunk. It never knows where bytes come from or go to.

Format: 8 bytes of magic and version, then records. A record is its kind (one byte), the length of
its body (4 bytes), the CRC-32 of everything from the beginning through this record's body, without
the checksums (4 bytes), and the body: a head; a section's name; a piece of a chunk, or the last
piece of one; and at the end, the number of records before and the bytes in their bodies.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from paxos.codec import ProtocolError, decode_governing, encode_governing
from paxos.core.errors import PaxosError
from paxos.core.snapshot import Snapshot, SnapshotHead, SnapshotPart

SNAPSHOT_VERSION = 1
"""Number of the format; the last byte of the magic."""

PIECE_BYTES_MAX = 128 * 1024
"""No piece that ``encode`` yields is longer; but for the last, none is shorter than half of it."""

_MAGIC = b"paxsnap" + bytes([SNAPSHOT_VERSION])
_RECORD = struct.Struct(">BII")  # kind, length of the body, checksum through the body
_UNSUMMED = struct.Struct(">BI")
_NUMBERS = struct.Struct(">QQQB")  # through, time, log_bytes, length of the results digest
_END = struct.Struct(">QQ")

_KIND_HEAD, _KIND_SECTION, _KIND_PIECE, _KIND_CHUNK, _KIND_END = range(1, 6)

_BODY_BYTES_MAX = PIECE_BYTES_MAX // 2 - 4096  # leaves room for what stands before a body
_HEAD_BYTES_MAX = 64 * 1024 * 1024
_READ_BYTES = 256 * 1024


class SnapshotInvalid(PaxosError):
    """The bytes are no snapshot of this format, or not what was written; the text says where."""


def encode(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield a snapshot's bytes, reading its parts as it goes on."""
    writer = _Writer()
    pending = bytearray(_MAGIC)
    section: str | None = None
    pending += writer.record(_KIND_HEAD, _encode_head(snapshot.head))
    while len(pending) > PIECE_BYTES_MAX:
        yield bytes(pending[:PIECE_BYTES_MAX])
        del pending[:PIECE_BYTES_MAX]
    for part in snapshot.parts():
        if part.section != section:
            section = part.section
            pending += writer.record(_KIND_SECTION, section.encode())
        rest = memoryview(part.chunk)
        while True:
            is_last = len(rest) <= _BODY_BYTES_MAX
            kind = _KIND_CHUNK if is_last else _KIND_PIECE
            if len(pending) > PIECE_BYTES_MAX // 2:
                yield bytes(pending)
                pending.clear()
            pending += writer.record(kind, rest[:_BODY_BYTES_MAX])
            if is_last:
                break
            rest = rest[_BODY_BYTES_MAX:]
    if len(pending) > PIECE_BYTES_MAX // 2:
        yield bytes(pending)
        pending.clear()
    yield bytes(pending + writer.end())


def read(size: int, read_at: Callable[[int, int], bytes]) -> Snapshot:
    """Return the snapshot that ``encode`` turned into these bytes. Reads the head only.

    Its parts are read as they are asked for, anew for each reading.

    Args:
        size: How many bytes there are.
        read_at: Returns ``length`` bytes from ``offset`` on: at least one, unless at the end.

    Raises:
        SnapshotInvalid: There is no head of this format. Reading the parts raises it too, as soon
            as something is wrong; what was handed over is whole only if the reading ends.
    """

    def pieces() -> Iterator[bytes]:
        offset = 0
        while offset < size:
            piece = read_at(offset, min(_READ_BYTES, size - offset))
            if not piece:
                raise SnapshotInvalid(f"the snapshot ends at byte {offset}, not at {size}")
            yield piece
            offset += len(piece)

    def parts() -> Iterator[SnapshotPart]:
        reader = _Reader(pieces())
        reader.head()
        return reader.parts()

    return Snapshot(_Reader(pieces()).head(), parts)


def verify(pieces: Iterable[bytes]) -> SnapshotHead:
    """Read a snapshot to its end, wherever its bytes were cut; return its head.

    Raises:
        SnapshotInvalid: Something is wrong with it.
    """
    reader = _Reader(pieces)
    head = reader.head()
    for _ in reader.parts():
        pass
    return head


def _encode_head(head: SnapshotHead) -> bytes:
    digest = head.results_digest
    numbers = _NUMBERS.pack(head.through, head.time, head.log_bytes, len(digest))
    return numbers + digest + encode_governing(head.governing)


def _decode_head(body: bytes) -> SnapshotHead:
    if len(body) < _NUMBERS.size:
        raise SnapshotInvalid("the head of the snapshot is too short")
    through, time, log_bytes, length = _NUMBERS.unpack_from(body)
    governing_at = _NUMBERS.size + length
    digest = body[_NUMBERS.size : governing_at]
    try:
        governing = decode_governing(body[governing_at:])
    except ProtocolError as error:
        raise SnapshotInvalid(f"the head of the snapshot cannot be read: {error}") from error
    return SnapshotHead(through, time, log_bytes, digest, governing)


class _Writer:
    """Gives records their checksums and counts them."""

    def __init__(self) -> None:
        self._checksum = zlib.crc32(_MAGIC)
        self._records = 0
        self._bytes = 0

    def record(self, kind: int, body: bytes | memoryview) -> bytes:
        start = _UNSUMMED.pack(kind, len(body))
        self._checksum = zlib.crc32(body, zlib.crc32(start, self._checksum))
        self._records += 1
        self._bytes += len(body)
        return b"".join((_RECORD.pack(kind, len(body), self._checksum), body))

    def end(self) -> bytes:
        return self.record(_KIND_END, _END.pack(self._records, self._bytes))


class _Reader:
    """Takes records off pieces, checks each, and puts chunks together again."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0
        self._offset = 0  # of what is read next, in the whole
        self._checksum = zlib.crc32(_MAGIC)
        self._records = 0
        self._bytes = 0

    def head(self) -> SnapshotHead:
        magic = self._take(len(_MAGIC))
        if magic[:-1] != _MAGIC[:-1]:
            raise SnapshotInvalid("this is no snapshot: it does not begin like one")
        if magic != _MAGIC:
            raise SnapshotInvalid(
                f"the snapshot has format {magic[-1]}; this release reads {SNAPSHOT_VERSION}"
            )
        kind, body = self._record(_HEAD_BYTES_MAX)
        if kind != _KIND_HEAD:
            raise SnapshotInvalid("the snapshot does not begin with a head")
        return _decode_head(body)

    def parts(self) -> Iterator[SnapshotPart]:
        section: str | None = None
        chunk: list[bytes] = []
        while True:
            at, records, total = self._offset, self._records, self._bytes
            kind, body = self._record(_BODY_BYTES_MAX)
            if kind == _KIND_END and body == _END.pack(records, total) and not chunk:
                break
            if kind == _KIND_SECTION and not chunk:
                section = body.decode(errors="replace")
            elif kind == _KIND_PIECE and section is not None:
                chunk.append(body)
            elif kind == _KIND_CHUNK and section is not None:
                chunk.append(body)
                yield SnapshotPart(section, b"".join(chunk))
                chunk.clear()
            else:
                raise SnapshotInvalid(f"the snapshot holds nothing known at byte {at}")
        if self._at < len(self._held) or any(self._pieces):
            raise SnapshotInvalid(f"the snapshot goes on behind its end, at byte {self._offset}")

    def _record(self, body_bytes_max: int) -> tuple[int, bytes]:
        at = self._offset
        kind, length, checksum = _RECORD.unpack(self._take(_RECORD.size))
        if length > body_bytes_max:
            raise SnapshotInvalid(f"the snapshot is damaged at byte {at}")
        body = self._take(length)
        start = _UNSUMMED.pack(kind, length)
        self._checksum = zlib.crc32(body, zlib.crc32(start, self._checksum))
        if checksum != self._checksum:
            raise SnapshotInvalid(f"the snapshot is damaged at byte {at}")
        self._records += 1
        self._bytes += length
        return kind, body

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._held):
            pieces, missing = [self._held[self._at :]], end - len(self._held)
            while missing > 0:
                piece = next(self._pieces, None)
                if piece is None:
                    raise SnapshotInvalid(
                        f"the snapshot ends early, in what begins at byte {self._offset}"
                    )
                pieces.append(piece)
                missing -= len(piece)
            self._held, self._at, end = b"".join(pieces), 0, length
        taken = self._held[self._at : end]
        self._at = end
        self._offset += length
        return taken
