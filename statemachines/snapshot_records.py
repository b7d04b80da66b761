"""A snapshot as checked chunks: records in, chunks out, and back.

It owns the form (msgpack records, cut into chunks, each chunk led by a checksum over everything up
to its end, a count at the end) and never knows what a record means. It guards that a chunk that is
damaged, missing, repeated or out of place is found out before the last record is handed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from msgpack import Packer, Unpacker, UnpackException

CHUNK_BYTES_MAX = 64 * 1024
"""One chunk, checksum included. Making one holds up everything else on its node: about a
millisecond, for records of 100 bytes."""

_CHECKSUM_BYTES = 4
_ARRAY_ITEMS_MAX = 64  # no record is wider; keeps damaged lengths from reserving memory


class SnapshotDamaged(ValueError):
    """The chunks are not what ``snapshot`` returned; the text says where that shows."""


def cut_records(records: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    """Yield chunks for records (tuples of what msgpack knows, at most 64 items each)."""
    pack = Packer().pack
    room = CHUNK_BYTES_MAX - _CHECKSUM_BYTES
    pending = bytearray()
    checksum = count = 0
    for record in records:
        pending += pack(record)
        count += 1
        start = 0
        while len(pending) - start >= room:
            body = bytes(pending[start : start + room])
            start += room
            checksum = zlib.crc32(body, checksum)
            yield checksum.to_bytes(_CHECKSUM_BYTES, "big") + body
        del pending[:start]
    # The count marks the end. If it does not fit, the chunk in hand is full and goes first.
    pending += pack(count)
    for start in range(0, len(pending), room):
        body = bytes(pending[start : start + room])
        checksum = zlib.crc32(body, checksum)
        yield checksum.to_bytes(_CHECKSUM_BYTES, "big") + body


def read_records(chunks: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of chunks. What was yielded is whole only if the iterator ends.

    Raises:
        SnapshotDamaged: A chunk is damaged, missing, repeated or out of place.
    """
    unpacker = Unpacker(
        use_list=False, max_buffer_size=0, max_array_len=_ARRAY_ITEMS_MAX, max_map_len=0
    )
    checksum = count = number = 0
    ended = False
    for number, chunk in enumerate(chunks, 1):
        body = chunk[_CHECKSUM_BYTES:]
        checksum = zlib.crc32(body, checksum)
        if ended or not body or chunk[:_CHECKSUM_BYTES] != checksum.to_bytes(4, "big"):
            raise SnapshotDamaged(f"snapshot chunk {number} is damaged or out of place")
        for record in _unpack_more(unpacker, body, number):
            if type(record) is tuple and not ended:
                count += 1
                yield record
            elif type(record) is int and record == count and not ended:
                ended = True
            else:
                raise SnapshotDamaged(f"snapshot chunk {number} holds no record after {count}")
    if not ended:
        raise SnapshotDamaged(f"the snapshot ends early, after chunk {number}")


def _unpack_more(unpacker: Unpacker, body: bytes, number: int) -> list[Any]:
    try:
        unpacker.feed(body)
        return list(unpacker)
    except (UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise SnapshotDamaged(f"snapshot chunk {number} holds no records") from error
