"""Format 1 of the segment files, byte by byte."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.ballot import Ballot
from paxos.storage.base import Identity
from paxos.storage.layout import (
    BITMAP_BYTES,
    BLOCK,
    BODY_BYTES_MAX,
    CONTINUES,
    SECTOR,
    FormatUnknown,
    SegmentHeader,
    batch_span,
    decode_batch_header,
    decode_segment_header,
    encode_batch_header,
    encode_segment_header,
    lost_sectors,
    nonzero_sectors,
    owner_digest,
)

SEGMENT_ID = bytes(range(16))

SEGMENT_HEADER = SegmentHeader(
    number=7,
    id=SEGMENT_ID,
    size=65536,
    previous_number=6,
    previous_id=bytes(range(16, 32)),
    previous_end=12288,
    owner=owner_digest(Identity("c0ffee", 3, 99)),
)

GOLDEN_SEGMENT_HEADER = (
    "4d505853"
    "e8b5c1f6"
    "0001"
    "0000000000000007"
    "000102030405060708090a0b0c0d0e0f"
    "0000000000010000"
    "0000000000000006"
    "101112131415161718191a1b1c1d1e1f"
    "0000000000003000"
    "1f70ba0124e4c8c6f4532a235049dd7e"
)

BODY = b"\xc4\x04body" + bytes(600) + b"end"


def batch_header(
    body: bytes = BODY, flags: int = CONTINUES, compacted_through: int = 0, oldest_segment: int = 1
) -> tuple[bytes, int]:
    return encode_batch_header(
        body,
        flags=flags,
        segment_id=SEGMENT_ID,
        sequence=41,
        previous_checksum=0xDEADBEEF,
        previous_slots=(17, 19),
        highest=25,
        promised=Ballot(5, 2),
        issued_round=4,
        compacted_through=compacted_through,
        oldest_segment=oldest_segment,
    )


GOLDEN_BATCH_HEADER = (
    "4d505842"
    "14058514"
    "0001"
    "0001"
    "00000261"
    "000102030405060708090a0b0c0d0e0f"
    "0000000000000029"
    "d2b99864"
    "deadbeef"
    "0000000000000011"
    "0000000000000013"
    "0000000000000019"
    "0000000000000005"
    "0000000000000002"
    "0000000000000004"
    "0000000000000000"
    "0000000000000001"
    "03"
)


def test_segment_header_of_format_1_has_these_bytes() -> None:
    block = encode_segment_header(SEGMENT_HEADER)
    assert len(block) == BLOCK
    assert block.rstrip(b"\0").hex() == GOLDEN_SEGMENT_HEADER
    assert decode_segment_header(bytes.fromhex(GOLDEN_SEGMENT_HEADER).ljust(BLOCK, b"\0")) == (
        SEGMENT_HEADER
    )


def test_batch_header_of_format_1_has_these_bytes() -> None:
    sector, checksum = batch_header()
    assert len(sector) == SECTOR
    assert sector.rstrip(b"\0").hex() == GOLDEN_BATCH_HEADER
    read = decode_batch_header(bytes.fromhex(GOLDEN_BATCH_HEADER).ljust(SECTOR, b"\0"), SEGMENT_ID)
    assert read is not None
    assert read._asdict() == {
        "checksum": checksum,
        "flags": CONTINUES,
        "length": len(BODY),
        "segment_id": SEGMENT_ID,
        "sequence": 41,
        "body_checksum": zlib.crc32(BODY),
        "previous_checksum": 0xDEADBEEF,
        "previous_lowest": 17,
        "previous_highest": 19,
        "highest": 25,
        "promised": Ballot(5, 2),
        "issued_round": 4,
        "compacted_through": 0,
        "oldest_segment": 1,
        "bitmap": b"\x03".ljust(BITMAP_BYTES, b"\0"),
    }
    assert read.matches(BODY)
    assert not read.matches(BODY[:-1])


@pytest.mark.parametrize(("compacted_through", "oldest_segment"), [(9, 1), (9, 3), (0, 3)])
def test_batch_of_a_compacted_log_is_of_format_2_and_reads_as_what_it_says(
    compacted_through: int, oldest_segment: int
) -> None:
    """A release that knows nothing of compaction must refuse it before it writes anything."""
    sector, checksum = batch_header(
        compacted_through=compacted_through, oldest_segment=oldest_segment
    )
    golden = bytes.fromhex(GOLDEN_BATCH_HEADER).ljust(SECTOR, b"\0")
    numbers = struct.pack(">QQ", compacted_through, oldest_segment)
    fields = b"\0\2" + golden[10:96] + numbers + golden[112:]
    assert sector == golden[:4] + struct.pack(">I", zlib.crc32(fields)) + fields
    read = decode_batch_header(sector, SEGMENT_ID)
    assert read is not None
    assert (read.compacted_through, read.oldest_segment) == (compacted_through, oldest_segment)
    assert read.checksum == checksum


@pytest.mark.parametrize("bit", range(8))
def test_headers_with_any_bit_changed_are_no_headers(bit: int) -> None:
    sector, _ = batch_header()
    segment = encode_segment_header(SEGMENT_HEADER)
    for offset in range(SECTOR):
        for whole, read in (
            (sector, lambda data: decode_batch_header(data, SEGMENT_ID)),
            (segment, decode_segment_header),
        ):
            changed = bytearray(whole)
            changed[offset] ^= 1 << bit
            assert read(bytes(changed)) is None, offset


def test_batch_header_of_another_segment_is_no_header() -> None:
    sector, _ = batch_header()
    assert decode_batch_header(sector, bytes(16)) is None


@pytest.mark.parametrize("number", [0, 3, 65535])
def test_headers_of_another_format_say_which_program_to_start(number: int) -> None:
    for whole, read in (
        (batch_header()[0], lambda data: decode_batch_header(data, SEGMENT_ID)),
        (encode_segment_header(SEGMENT_HEADER), decode_segment_header),
    ):
        fields = struct.pack(">H", number) + whole[10:SECTOR]
        other = whole[:4] + struct.pack(">I", zlib.crc32(fields)) + fields
        with pytest.raises(FormatUnknown, match=f"format {number}.*start the version"):
            read(other)


def test_header_of_the_largest_batch_fits_its_sector() -> None:
    sector, _ = batch_header(b"x" * BODY_BYTES_MAX)
    assert len(sector) == SECTOR
    assert sector[-BITMAP_BYTES:] == b"\xff" * BITMAP_BYTES


@pytest.mark.parametrize(
    ("length", "span"),
    [(0, BLOCK), (BLOCK - SECTOR, BLOCK), (BLOCK - SECTOR + 1, 2 * BLOCK), (2 * BLOCK, 3 * BLOCK)],
)
def test_batch_takes_whole_blocks(length: int, span: int) -> None:
    assert batch_span(length) == span


piece = st.one_of(
    st.integers(0, 3 * SECTOR).map(bytes),
    st.binary(max_size=SECTOR),
    st.integers(1, 3 * SECTOR).map(lambda size: b"x" * size),
)


def naive_bitmap(body: bytes) -> bytes:
    bits = bytearray(BITMAP_BYTES)
    for index in range(0, len(body), SECTOR):
        if any(body[index : index + SECTOR]):
            sector = index // SECTOR
            bits[sector // 8] |= 1 << sector % 8
    return bytes(bits)


@given(st.lists(piece, max_size=6).map(b"".join))
def test_bitmap_marks_exactly_the_sectors_that_are_not_all_zero(body: bytes) -> None:
    assert nonzero_sectors(body) == naive_bitmap(body)


@given(st.lists(piece, min_size=1, max_size=4).map(b"".join), st.data())
def test_lost_sectors_are_those_that_read_as_zero_and_should_not(
    body: bytes, data: st.DataObject
) -> None:
    sectors = range(-(-len(body) // SECTOR))
    lost = data.draw(st.sets(st.sampled_from(sectors)) if sectors else st.just(set()))
    stored = bytearray(body)
    for sector in lost:
        end = min(len(body), (sector + 1) * SECTOR)
        stored[sector * SECTOR : end] = bytes(end - sector * SECTOR)
    sector_bytes, _ = batch_header(body)
    header = decode_batch_header(sector_bytes, SEGMENT_ID)
    assert header is not None
    wanted = [each for each in sorted(lost) if any(body[each * SECTOR : (each + 1) * SECTOR])]
    assert lost_sectors(header, bytes(stored)) == wanted
