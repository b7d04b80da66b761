"""Frames on a byte stream: whole whatever the pieces, and no byte makes it raise or grow."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.framing import FrameCutter, wrap

SMALL = 1_000


def cut_all(pieces: list[bytes], limit: int = SMALL) -> tuple[list[bytes], str]:
    cutter = FrameCutter(limit, max(map(len, pieces), default=1))
    frames = [frame for piece in pieces for frame in cutter.cut(piece)]
    return frames, cutter.fault


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yields a function that tells the most memory held since, in bytes."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def test_stream_split_at_every_byte_gives_the_same_frames() -> None:
    frames = [b"", b"a", b"\xc4" * 31, b"b" * 255, b"c" * 256, b"d" * 999]
    stream = wrap(frames)
    for split in range(len(stream) + 1):
        assert cut_all([stream[:split], stream[split:]]) == (frames, "")
    assert cut_all([stream[i : i + 1] for i in range(len(stream))]) == (frames, "")


@pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536, 200_000])
def test_frame_of_each_header_size_is_msgpack_bin(size: int) -> None:
    stream = wrap([b"x" * size])
    assert stream == msgpack.packb(b"x" * size)
    assert cut_all([stream], size) == ([b"x" * size], "")


@pytest.mark.parametrize("limit", [0, 10, 255, 256, 70_000])
def test_wrap_of_a_frame_over_the_limit_is_refused(limit: int) -> None:
    assert wrap([b"x" * limit], limit)
    with pytest.raises(ValueError, match=f"{limit + 1} bytes; the limit is {limit}"):
        wrap([b"fits" * (limit > 3), b"x" * (limit + 1)], limit)


@pytest.mark.parametrize("limit", [0, 10, 255, 256, 70_000])
def test_cut_of_a_frame_over_the_limit_sets_the_fault(limit: int) -> None:
    over = wrap([b"x" * (limit + 1)], limit + 1)
    assert cut_all([wrap([b""]) + over], limit)[0] == [b""]
    assert cut_all([wrap([b""]) + over], limit)[1] != ""
    assert cut_all([wrap([b"x" * limit])], limit) == ([b"x" * limit], "")


@pytest.mark.parametrize(
    "stranger",
    [
        msgpack.packb(each)
        for each in (None, True, 1, -1, 2**40, 1.5, "", "text", [], [b"x"], {}, {b"x": b"y"})
    ]
    + [
        msgpack.packb(msgpack.ExtType(1, b"x")),
        msgpack.packb(msgpack.ExtType(1, b"")),
        msgpack.packb(msgpack.Timestamp(1)),
        b"\xc7\x00\xff",  # a time stamp of no length
        b"\xc1",  # the one byte msgpack never uses
        b"\x81" * 600,  # nested deeper than any stack
    ],
)
def test_cut_of_anything_but_bin_keeps_what_came_before_and_nothing_after(stranger: bytes) -> None:
    cutter = FrameCutter(SMALL)
    assert cutter.cut(wrap([b"before"]) + stranger + wrap([b"after"])) == [b"before"]
    assert cutter.fault
    assert cutter.cut(wrap([b"later"])) == []


@pytest.mark.parametrize(
    "header",
    [
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ],
)
def test_cut_of_a_huge_declared_length_never_holds_more_than_its_bound(header: bytes) -> None:
    limit, piece = 100_000, 10_000
    cutter = FrameCutter(limit, piece)
    zeros = bytes(piece)
    with traced() as peak_bytes:
        cutter.cut(header)
        for _ in range(1_000):
            cutter.cut(zeros)
        assert peak_bytes() <= 4 * limit
    assert cutter.fault


def test_cut_of_nothing_ever_complete_stops_at_the_bound() -> None:
    cutter = FrameCutter(SMALL, 100)
    cutter.cut(b"\xc6\x00\x10\x00\x00")
    pieces = 0
    while not cutter.fault:
        assert cutter.cut(bytes(100)) == []
        pieces += 1
    assert pieces * 100 <= SMALL + 200


def test_idle_cutter_holds_little_memory() -> None:
    with traced() as peak_bytes:
        cutters = [FrameCutter() for _ in range(20)]
        # Most of it is msgpack's own parse stack.
        assert peak_bytes() < len(cutters) * 64 * 1024


@given(st.lists(st.binary(max_size=SMALL), max_size=20), st.data())
def test_cut_of_wrapped_frames_in_any_pieces_returns_them(
    frames: list[bytes], data: st.DataObject
) -> None:
    stream = wrap(frames, SMALL)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    assert cut_all(pieces) == (frames, "")


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_cut_of_arbitrary_bytes_returns_frames_within_the_limit_or_a_fault(
    pieces: list[bytes],
) -> None:
    cutter = FrameCutter(50, 300)
    for piece in pieces:
        before = cutter.fault
        frames = cutter.cut(piece)
        assert all(type(frame) is bytes and len(frame) <= 50 for frame in frames)
        assert not (before and frames)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.binary(max_size=60))
def test_cut_of_junk_behind_frames_never_touches_the_frames(
    frames: list[bytes], junk: bytes
) -> None:
    arrived, _ = cut_all([wrap(frames, SMALL) + junk])
    assert arrived[: len(frames)] == frames
