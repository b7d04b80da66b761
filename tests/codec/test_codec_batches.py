"""Batches: every replica reads the same submissions out of the same bytes, sound or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos import codec
from paxos.core.messages import Malformed, OpenSession, Submit
from tests.codec.examples import blobs, firsts, numbers, rows, texts
from tests.codec.test_codec_nonsense import HEADER, WRONG_SUBMISSIONS

GOOD = Submit(5, 9, 8, "config", (b"put", b""))
OPENING = OpenSession(77)

submissions = st.one_of(
    st.builds(Submit, numbers, firsts, numbers, texts, rows(blobs, 1)),
    st.builds(OpenSession, numbers),
)


def wrapped(*found: Submit | OpenSession) -> bytes:
    return b"".join(codec.wrap_submission(codec.encode_submission(each)) for each in found)


def whole_before(found: list[Submit | OpenSession], place: int) -> tuple[int, int]:
    """Return how many wrapped submissions end at or before a byte, and their size together."""
    count = size = 0
    for each in found:
        more = len(wrapped(each))
        if size + more > place:
            break
        count, size = count + 1, size + more
    return count, size


@given(st.lists(submissions, max_size=8))
def test_batch_of_wrapped_submissions_unpacks_to_them_in_order(
    found: list[Submit | OpenSession],
) -> None:
    assert codec.unpack_batch(wrapped(*found)) == found


@given(st.lists(submissions, max_size=3), st.binary(max_size=60), st.lists(submissions, max_size=3))
def test_batch_with_one_nonsense_submission_loses_only_that_one(
    before: list[Submit | OpenSession], nonsense: bytes, after: list[Submit | OpenSession]
) -> None:
    batch = wrapped(*before) + codec.wrap_submission(nonsense) + wrapped(*after)
    unpacked = codec.unpack_batch(batch)
    assert len(unpacked) == len(before) + 1 + len(after)
    assert unpacked[: len(before)] == before
    assert unpacked[len(before) + 1 :] == after


@pytest.mark.parametrize("payload", WRONG_SUBMISSIONS.values(), ids=WRONG_SUBMISSIONS.keys())
def test_batch_with_a_malformed_submission_names_it_and_spares_the_rest(payload: bytes) -> None:
    batch = wrapped(GOOD) + codec.wrap_submission(payload) + wrapped(OPENING, GOOD)
    header = (0, 0) if len(payload) < len(HEADER) else codec.submission_header(payload)
    assert codec.unpack_batch(batch) == [GOOD, Malformed(*header), OPENING, GOOD]


@pytest.mark.parametrize("payload", [b"", b"\x13", b"\x03" + HEADER[1:] + b"\x00\xa1m\xc4\x00"])
def test_batch_with_what_is_no_submission_counts_it_as_malformed(payload: bytes) -> None:
    batch = codec.wrap_submission(payload) + wrapped(GOOD)
    assert codec.unpack_batch(batch) == [Malformed(0, 0), GOOD]


TAILS = {
    "a number": b"\x07",
    "nil": b"\xc0",
    "nil, then a sound submission": b"\xc0" + wrapped(GOOD),
    "a text": b"\xa1x",
    "a text cut short": b"\xa1",
    "a text that is too long": b"\xda\x04\x01" + b"x" * 1025,
    "a text that is not UTF-8": b"\xa1\xff",
    "an array": b"\x91\x07",
    "an array cut short": b"\x92\x07",
    "arrays without end": b"\x91" * 3000,
    "a map": b"\x81\x01\x02",
    "an extension": b"\xd4\x01\x02",
    "a byte that msgpack never uses": b"\xc1",
    "a header cut short": b"\xc6\x00",
    "bytes cut short": wrapped(GOOD)[:-1],
    "bytes cut short where a nil would do": wrapped(Submit(5, 9, 8, "m", (b"\xc0",)))[:-1],
    "bytes that claim the most": b"\xc6\xff\xff\xff\xff" + wrapped(GOOD),
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_batch_with_a_tail_of_nonsense_ends_there_with_one_malformed(tail: bytes) -> None:
    expected = [GOOD, OPENING, Malformed(0, 0)]
    assert codec.unpack_batch(wrapped(GOOD, OPENING) + tail) == expected


@given(st.binary(max_size=120) | st.lists(st.integers(0x80, 0xDF), max_size=5).map(bytes))
def test_batch_of_arbitrary_bytes_never_raises(commands: bytes) -> None:
    unpacked = codec.unpack_batch(commands)
    assert bool(unpacked) == bool(commands)
    assert all(isinstance(each, Submit | OpenSession | Malformed) for each in unpacked)


@given(st.lists(submissions, min_size=1, max_size=4), st.integers(0), st.integers(1, 255))
def test_batch_with_one_changed_byte_never_raises_and_keeps_what_came_before(
    found: list[Submit | OpenSession], position: int, change: int
) -> None:
    batch = bytearray(wrapped(*found))
    place = position % len(batch)
    batch[place] ^= change
    unpacked = codec.unpack_batch(bytes(batch))
    untouched, _ = whole_before(found, place)
    assert unpacked[:untouched] == found[:untouched]


@given(st.lists(submissions, min_size=1, max_size=4), st.data())
def test_batch_cut_short_keeps_what_is_whole(
    found: list[Submit | OpenSession], data: st.DataObject
) -> None:
    batch = wrapped(*found)
    length = data.draw(st.integers(0, len(batch) - 1))
    whole, size = whole_before(found, length)
    expected: list[object] = [*found[:whole]]
    if size < length:
        expected.append(Malformed(0, 0))
    assert codec.unpack_batch(batch[:length]) == expected


def test_batch_of_a_noop_is_empty() -> None:
    assert codec.unpack_batch(b"") == []
