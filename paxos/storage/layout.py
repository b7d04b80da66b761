"""The formats of a segment file: its header, and the header of a batch. Pure functions over bytes.

Owns every offset on disk. It must never know a file or a record. A segment is a 4 KiB block with
its header, then batches, each on a fresh block: a header of one 512-byte sector, then the body.
A sector is what a disk writes whole or not at all, so a header is there or it is not.

    segment header   magic, checksum, format, number, random id, size, the previous segment's
                     number, random id and end, and a digest of the identity that owns the log
    batch header     magic, checksum, format, flags, body length, the segment's random id, sequence
                     number, the body's checksum, the previous batch's checksum, the lowest and
                     highest slot of the previous batch, the highest slot ever, the promised ballot,
                     the last issued round, compacted_through, the oldest segment kept, and one bit
                     per sector of the body that is not all zero

A header's checksum covers the rest of its sector, the body's checksum too: it is the one that the
next batch repeats as a field. The random id tells a batch of this segment from bytes that only look
like one. Integers are big-endian; bit i of the bitmap is bit i % 8 of byte i // 8.

Both are of format 1, but for batches of a log that has been compacted: those are of format 2, whose
bytes mean the same. A program that knows nothing of compaction would take what is gone for damage,
and begins each run by writing: it must refuse first.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from paxos.core.ballot import Ballot
from paxos.core.ids import Slot
from paxos.storage.base import Identity

FORMAT = 1
FORMAT_COMPACTED = 2
"""Of a batch that says of something that it may be gone."""

SECTOR = 512
BLOCK = 4096
ID_BYTES = 16

BITMAP_BYTES = 400
BODY_BYTES_MAX = BITMAP_BYTES * 8 * SECTOR
"""What one batch can hold: the bitmap must fit the header's sector. 1.6 MB."""

CONTINUES = 1
"""Flag: the body goes on with the record that the previous batch began, and holds no other."""

ZEROS = bytes(BLOCK)
_ZERO_SECTOR = bytes(SECTOR)

_SEGMENT_MAGIC = b"MPXS"
_BATCH_MAGIC = b"MPXB"
_CHECKSUM = struct.Struct(">I")
_SEGMENT = struct.Struct(">HQ16sQQ16sQ16s")
_BATCH = struct.Struct(">HHI16sQIIQQQQQQQQ400s")
PREFIX = len(_BATCH_MAGIC) + _CHECKSUM.size
"""Where the fields of a header begin."""

_FORMAT = struct.Struct(">H")
_BATCH_FORMATS = (FORMAT, FORMAT_COMPACTED)


class FormatUnknown(ValueError):
    """A sound header of a format that this program does not read."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first sector of a segment.

    Attributes:
        number: From 1, without gaps.
        id: Drawn at random when the segment was reserved.
        size: Bytes that were zero-written.
        previous_number: The segment before this one, or 0.
        previous_id: Its random id.
        previous_end: Where it ends. Nothing at or past this offset is read or judged.
        owner: Digest of the identity whose log this is.
    """

    number: int
    id: bytes
    size: int
    previous_number: int
    previous_id: bytes
    previous_end: int
    owner: bytes


class BatchHeader(NamedTuple):
    """The first sector of a batch. ``checksum`` is the header's own, over all other fields."""

    checksum: int
    flags: int
    length: int
    segment_id: bytes
    sequence: int
    body_checksum: int
    previous_checksum: int
    previous_lowest: Slot
    previous_highest: Slot
    highest: Slot
    promised: Ballot
    issued_round: int
    compacted_through: Slot
    oldest_segment: int
    bitmap: bytes

    @property
    def span(self) -> int:
        """Bytes from the start of this batch to the start of the next."""
        return batch_span(self.length)

    def matches(self, body: bytes | memoryview) -> bool:
        """Whether ``body`` is what this header was written for."""
        return len(body) == self.length and zlib.crc32(body) == self.body_checksum


def owner_digest(identity: Identity) -> bytes:
    """Return the digest of an identity as segment headers repeat it."""
    text = f"{identity.cluster}/{identity.node}/{identity.incarnation}".encode("ascii")
    return hashlib.blake2b(text, digest_size=ID_BYTES).digest()


def batch_span(length: int) -> int:
    """Return the bytes that a batch with a body of ``length`` takes, in whole blocks."""
    return -(-(SECTOR + length) // BLOCK) * BLOCK


def seal(magic: bytes, fields: bytes) -> bytes:
    """Return a block that begins with a header of one sector: ``fields`` under a checksum.

    Args:
        magic: Four bytes that tell what it is the header of.
        fields: Begin with the number of the format.
    """
    fields = fields.ljust(SECTOR - PREFIX, b"\0")
    return (magic + _CHECKSUM.pack(zlib.crc32(fields)) + fields).ljust(BLOCK, b"\0")


def unseal(magic: bytes, formats: tuple[int, ...], block: bytes) -> int | None:
    """Return the checksum of a header's sector, or None unless it is sound.

    Args:
        magic: What it begins with.
        formats: Those that can be read.
        block: What was read; only its first sector matters.

    Raises:
        FormatUnknown: It is, and another version wrote it.
    """
    sector = block[:SECTOR]
    if len(sector) != SECTOR or not sector.startswith(magic):
        return None
    (checksum,) = _CHECKSUM.unpack_from(sector, len(magic))
    if checksum != zlib.crc32(memoryview(sector)[PREFIX:]):
        return None
    (number,) = _FORMAT.unpack_from(sector, PREFIX)
    if number not in formats:
        known = " and ".join(map(str, formats))
        raise FormatUnknown(
            f"written in format {number}, this program reads format {known}:"
            " start the version that wrote it"
        )
    return int(checksum)


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the first block of a segment."""
    fields = _SEGMENT.pack(
        FORMAT,
        header.number,
        header.id,
        header.size,
        header.previous_number,
        header.previous_id,
        header.previous_end,
        header.owner,
    )
    return seal(_SEGMENT_MAGIC, fields)


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """Read the header of a segment file; None if it is damaged.

    Raises:
        FormatUnknown: Another version wrote it.
    """
    if unseal(_SEGMENT_MAGIC, (FORMAT,), data) is None:
        return None
    _, *fields = _SEGMENT.unpack_from(data, PREFIX)
    return SegmentHeader(*fields)


def encode_batch_header(
    body: bytes,
    *,
    flags: int,
    segment_id: bytes,
    sequence: int,
    previous_checksum: int,
    previous_slots: tuple[Slot, Slot],
    highest: Slot,
    promised: Ballot,
    issued_round: int,
    compacted_through: Slot = 0,
    oldest_segment: int = 1,
) -> tuple[bytes, int]:
    """Return the header sector for ``body``, and its checksum for the next batch to repeat."""
    compacted = compacted_through > 0 or oldest_segment > 1
    fields = _BATCH.pack(
        FORMAT_COMPACTED if compacted else FORMAT,
        flags,
        len(body),
        segment_id,
        sequence,
        zlib.crc32(body),
        previous_checksum,
        *previous_slots,
        highest,
        *promised,
        issued_round,
        compacted_through,
        oldest_segment,
        nonzero_sectors(body),
    )
    checksum = zlib.crc32(fields)
    return _BATCH_MAGIC + _CHECKSUM.pack(checksum) + fields, checksum


def decode_batch_header(sector: bytes, segment_id: bytes) -> BatchHeader | None:
    """Read the header of a batch of one segment; None if there is none.

    Raises:
        FormatUnknown: Another version wrote it.
    """
    checksum = unseal(_BATCH_MAGIC, _BATCH_FORMATS, sector)
    if checksum is None:
        return None
    fields = _BATCH.unpack_from(sector, PREFIX)
    if fields[3] != segment_id:
        return None
    ballot = Ballot(*fields[10:12])
    return BatchHeader._make((checksum, *fields[1:10], ballot, *fields[12:]))


def batch_segment_id(sector: bytes) -> bytes | None:
    """Return the id of the segment that a batch says it stands in; None if there is no header.

    Raises:
        FormatUnknown: Another version wrote it.
    """
    if unseal(_BATCH_MAGIC, _BATCH_FORMATS, sector) is None:
        return None
    return bytes(_BATCH.unpack_from(sector, PREFIX)[3])


def nonzero_sectors(body: bytes) -> bytes:
    """Return the bitmap of the sectors of ``body`` that are not all zero."""
    sectors = -(-len(body) // SECTOR)
    bits = (1 << sectors) - 1
    # Records hardly ever hold a whole sector of zeros: look for that first, then at the last one,
    # which is shorter.
    if sectors and (_ZERO_SECTOR in body or not any(body[(sectors - 1) * SECTOR :])):
        for index in range(sectors):
            if is_zero(body[index * SECTOR : (index + 1) * SECTOR]):
                bits &= ~(1 << index)
    return bits.to_bytes(BITMAP_BYTES, "little")


def lost_sectors(header: BatchHeader, stored: bytes) -> list[int]:
    """Return which sectors of a stored body are all zero although the header says they are not."""
    bits = int.from_bytes(header.bitmap, "little")
    return [
        index
        for index in range(-(-header.length // SECTOR))
        if bits >> index & 1 and is_zero(stored[index * SECTOR : (index + 1) * SECTOR])
    ]


def is_zero(data: bytes) -> bool:
    """Whether every byte is zero."""
    return data.count(0) == len(data)
