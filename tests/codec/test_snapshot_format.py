"""Snapshots as bytes: back to what they were, in bounded pieces, and no damage passes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.config import Configuration, Governing, Member, Part
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums
from paxos.core.snapshot import SESSIONS, Snapshot, SnapshotHead, SnapshotPart
from paxos.snapshot_format import (
    PIECE_BYTES_MAX,
    SNAPSHOT_VERSION,
    SnapshotInvalid,
    encode,
    read,
    verify,
)

VOTERS = [Voter(n, 100 + n) for n in (1, 2, 3)]
MEMBERS = tuple(Member(v.node, v.incarnation, Part.VOTER, f"tcp://{v.node}", 1) for v in VOTERS)
FIRST = Configuration(1, Quorums.majority(VOTERS), MEMBERS)
SECOND = Configuration(2, Quorums(frozenset(VOTERS), 3, 1), MEMBERS, next_node=9)
HEAD = SnapshotHead(7, 1_700_000, 4096, b"0123456789abcdef", (Governing(1, FIRST),))


def made(parts: Iterable[tuple[str, bytes]] = (), head: SnapshotHead = HEAD) -> Snapshot:
    listed = [SnapshotPart(*part) for part in parts]
    return Snapshot(head, lambda: listed)


def opened(data: bytes) -> Snapshot:
    return read(len(data), lambda offset, length: data[offset : offset + length])


SMALL = made([(SESSIONS, b"table"), ("a", b""), ("a", b"one"), ("b", b"two")])
BYTES = b"".join(encode(SMALL))


@given(
    st.lists(st.tuples(st.sampled_from([SESSIONS, "a", "é"]), st.binary(max_size=50)), max_size=8),
    st.integers(1, 300),
    st.sampled_from([(Governing(1, FIRST),), (Governing(3, FIRST), Governing(8, SECOND))]),
    st.binary(max_size=16),
)
def test_snapshot_comes_back_as_it_was_wherever_its_bytes_are_cut(
    parts: list[tuple[str, bytes]], width: int, governing: tuple[Governing, ...], digest: bytes
) -> None:
    snapshot = made(parts, HEAD._replace(governing=governing, results_digest=digest))
    data = b"".join(encode(snapshot))
    back = read(len(data), lambda offset, length: data[offset : offset + min(length, width)])
    assert back.head == snapshot.head
    for _ in range(2):  # each reading is a new one
        assert list(back.parts()) == [SnapshotPart(*part) for part in parts]
    cut = (data[at : at + width] for at in range(0, len(data), width))
    assert verify(cut) == snapshot.head


@pytest.mark.parametrize("size", [0, 1, 60_000, 65_536, 131_072, 1_000_000])
def test_chunk_of_any_size_comes_back_whole_and_travels_in_bounded_pieces(size: int) -> None:
    chunks = [("a", bytes(size)), ("a", b"end")]
    pieces = list(encode(made(chunks)))
    assert all(len(piece) <= PIECE_BYTES_MAX for piece in pieces)
    assert all(len(piece) >= PIECE_BYTES_MAX // 2 for piece in pieces[:-1])
    assert list(opened(b"".join(pieces)).parts()) == [SnapshotPart(*chunk) for chunk in chunks]


def test_large_head_travels_in_bounded_pieces() -> None:
    long = tuple(
        Governing(n, Configuration(n, FIRST.quorums, MEMBERS, next_node=10 + n))
        for n in range(1, 2000)
    )
    pieces = list(encode(made([("a", b"x")], HEAD._replace(governing=long))))
    assert all(len(piece) <= PIECE_BYTES_MAX for piece in pieces)
    assert opened(b"".join(pieces)).head.governing == long


def test_encoding_reads_no_further_than_the_pieces_that_were_taken() -> None:
    """The state is encoded a little at a time, between heartbeats."""
    consumed = 0

    def parts() -> Iterator[SnapshotPart]:
        nonlocal consumed
        for _ in range(100):
            consumed += 1
            yield SnapshotPart("a", bytes(10_000))

    pieces = encode(Snapshot(HEAD, parts))
    assert consumed == 0
    next(pieces)
    assert consumed <= 8
    list(pieces)
    assert consumed == 100


def test_reading_holds_no_more_than_a_chunk_in_memory() -> None:
    data = b"".join(encode(made([("a", bytes([n]) * 50_000) for n in range(200)])))
    snapshot = opened(data)
    tracemalloc.start()
    try:
        count = sum(1 for _ in snapshot.parts())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 200
    assert peak < 2_000_000


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_any_byte_that_changes_is_found_out(at: int, change: int) -> None:
    spoilt = bytearray(BYTES)
    spoilt[at] ^= change
    with pytest.raises(SnapshotInvalid):
        verify([bytes(spoilt)])


@given(st.integers(0, len(BYTES) - 1))
def test_snapshot_that_is_cut_short_anywhere_is_found_out(end: int) -> None:
    with pytest.raises(SnapshotInvalid):
        verify([BYTES[:end]])


def test_bytes_behind_the_end_or_missing_from_a_file_are_found_out() -> None:
    for pieces in ([BYTES, b"x"], [BYTES + b"x"], [BYTES, BYTES]):
        with pytest.raises(SnapshotInvalid, match="behind its end"):
            verify(pieces)
    short = read(len(BYTES) + 1, lambda offset, length: BYTES[offset : offset + length])
    with pytest.raises(SnapshotInvalid, match="not at"):
        list(short.parts())


def test_parts_of_two_snapshots_do_not_make_one() -> None:
    other = b"".join(encode(made([(SESSIONS, b"table"), ("a", b""), ("a", b"two"), ("b", b"two")])))
    assert len(other) == len(BYTES)
    for at in range(1, len(BYTES)):
        if BYTES[at:] != other[at:] and BYTES[:at] != other[:at]:
            with pytest.raises(SnapshotInvalid):
                verify([BYTES[:at] + other[at:]])


def test_bytes_of_another_kind_or_version_are_refused_in_words() -> None:
    with pytest.raises(SnapshotInvalid, match="no snapshot"):
        opened(b"PK\x03\x04 something else")
    later = BYTES[:7] + bytes([SNAPSHOT_VERSION + 1]) + BYTES[8:]
    with pytest.raises(SnapshotInvalid, match=f"format {SNAPSHOT_VERSION + 1}; this release"):
        opened(later)


GOLDEN = bytes.fromhex(
    "706178736e617001010000005b0df7569b0000000000000007000000000019f0a000000000000010"
    "0010303132333435363738396162636465669201c42e9601020403020295016501a77463703a2f2f"
    "310195026601a77463703a2f2f320195036701a77463703a2f2f33010200000000f177f91a040000"
    "0005e4e2ece07461626c650200000001f659a0b4610400000000ba05b5080400000003dde2db2a6f"
    "6e650200000001e7987655620400000003e4e9ba5b74776f05000000106926797300000000000000"
    "080000000000000068"
)
"""``SMALL`` in format 1. A new form needs a new number, and this one must still be read."""


def test_format_1_is_written_and_read_as_ever() -> None:
    assert BYTES == GOLDEN
    back = opened(GOLDEN)
    assert (back.head, list(back.parts())) == (HEAD, list(SMALL.parts()))
