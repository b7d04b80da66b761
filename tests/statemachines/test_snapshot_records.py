"""Snapshots as checked chunks: whatever is cut comes back, and nothing less passes for it."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines import snapshot_records
from statemachines.snapshot_records import SnapshotDamaged, cut_records, read_records

records = st.lists(
    st.tuples(st.integers(0, 2**63 - 1), st.text(max_size=3), st.binary(max_size=40)), max_size=12
)


def cut_small(source: list[tuple[Any, ...]], size: int) -> list[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_records, "CHUNK_BYTES_MAX", size)
        return list(cut_records(source))


@given(source=records, size=st.integers(5, 60))
def test_records_cut_into_chunks_of_any_size_come_back(
    source: list[tuple[Any, ...]], size: int
) -> None:
    chunks = cut_small(source, size)
    assert max(map(len, chunks)) <= size
    assert list(read_records(chunks)) == source


@given(source=records, size=st.integers(5, 60), data=st.data())
def test_records_without_their_last_chunks_are_refused(
    source: list[tuple[Any, ...]], size: int, data: st.DataObject
) -> None:
    chunks = cut_small(source, size)
    kept = data.draw(st.integers(0, len(chunks) - 1))
    with pytest.raises(SnapshotDamaged, match="ends early"):
        list(read_records(chunks[:kept]))


@given(source=records, size=st.integers(5, 60), data=st.data())
def test_records_with_a_chunk_too_many_or_out_of_place_are_refused(
    source: list[tuple[Any, ...]], size: int, data: st.DataObject
) -> None:
    chunks = cut_small(source, size)
    taken = data.draw(st.integers(0, len(chunks) - 1))
    put = data.draw(st.integers(0, len(chunks)))
    with pytest.raises(SnapshotDamaged):
        list(read_records([*chunks[:put], chunks[taken], *chunks[put:]]))


def test_records_that_are_sound_chunks_but_no_records_are_refused() -> None:
    for body in (b"\xc1", b"\x01\x00", b"\xa1k\x00", b"\x90", b"\x90\x01\x90"):
        chunk = zlib.crc32(body).to_bytes(4, "big") + body
        with pytest.raises(SnapshotDamaged):
            list(read_records([chunk]))
