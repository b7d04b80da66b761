"""The gate: whatever bytes come in, only ProtocolError comes out, and memory stays put."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos import codec
from paxos.codec import INTEGER_MAX, ProtocolError
from tests.codec.examples import (
    MESSAGES,
    MESSAGES_2,
    RECORDS,
    RECORDS_2,
    SMALL_CONFIGURATION,
    messages,
    records,
)
from tests.codec.shape import faults

FRAMES = [codec.encode(message) for message in (*MESSAGES, *MESSAGES_2)]
ENTRIES = [codec.encode_record(record) for record in (*RECORDS, *RECORDS_2)]
TAGS = sorted(codec._DECODE)

# Anything that msgpack can say, and then some: what a hostile peer would put behind a tag.
wire_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.binary(max_size=12),
    st.text(max_size=12),
)
wire_objects = st.recursive(
    wire_scalars,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(wire_scalars, inner, max_size=2),
    max_leaves=20,
)


def _judge(decode: Callable[[bytes], Any], payload: bytes) -> None:
    """Decode: either ProtocolError and nothing else, or a value of exactly the right shape."""
    try:
        value = decode(payload)
    except ProtocolError:
        return
    assert faults(value) == []


@given(st.binary(max_size=200))
def test_decode_given_arbitrary_bytes_raises_only_protocol_error(payload: bytes) -> None:
    _judge(codec.decode, payload)
    _judge(codec.decode_record, payload)


@given(st.sampled_from(TAGS), st.binary(max_size=80))
def test_decode_given_arbitrary_bytes_behind_a_tag_raises_only_protocol_error(
    tag: int, body: bytes
) -> None:
    _judge(codec.decode, bytes([tag]) + body)
    _judge(codec.decode_record, bytes([tag]) + body)


@given(st.sampled_from(TAGS), st.lists(wire_objects, max_size=4), st.binary(max_size=17))
@example(0x14, [[[1, 2], float("nan"), 3]], b"")
@example(0x18, [[{}]], b"")
@example(0x12, [[{b"": b""}] * 8], b"")
def test_decode_given_arbitrary_objects_behind_a_tag_raises_only_protocol_error(
    tag: int, objects: list[object], header: bytes
) -> None:
    body = b"".join(msgpack.packb(each) for each in objects)
    for payload in (bytes([tag]) + body, bytes([tag]) + header + body):
        _judge(codec.decode, payload)
        _judge(codec.decode_record, payload)


@given(st.sampled_from(FRAMES), st.integers(0), st.integers(1, 255))
def test_decode_given_one_changed_byte_raises_or_gives_a_sound_message(
    frame: bytes, position: int, change: int
) -> None:
    changed = bytearray(frame)
    changed[position % len(frame)] ^= change
    _judge(codec.decode, bytes(changed))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: f"{frame[0]:02x}")
def test_decode_given_any_one_byte_set_to_a_telling_value_raises_or_is_sound(frame: bytes) -> None:
    # Every kind of msgpack header, at every place.
    headers = [*range(0xC0, 0xE0), 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xFF]
    for position in range(len(frame)):
        for header in headers:
            _judge(codec.decode, frame[:position] + bytes([header]) + frame[position + 1 :])


@given(messages, st.data())
def test_decode_given_a_message_cut_short_raises_or_finds_fewer_items(
    message: Any, data: st.DataObject
) -> None:
    frame = codec.encode(message)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    try:
        found = codec.decode(cut)
    except ProtocolError:
        return
    # A list's items stand one behind another: a cut between two of them cannot be seen.
    listed = next(n for n in ("reports", "values", "commands", "results") if hasattr(found, n))
    fewer = getattr(found, listed)
    assert len(fewer) < len(getattr(message, listed))
    assert fewer == getattr(message, listed)[: len(fewer)]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: f"{frame[0]:02x}")
def test_decode_given_a_message_cut_at_each_byte_raises_only_protocol_error(frame: bytes) -> None:
    for length in range(len(frame)):
        _judge(codec.decode, frame[:length])


@given(records, st.data())
def test_decode_record_given_a_record_cut_short_raises(record: Any, data: st.DataObject) -> None:
    entry = codec.encode_record(record)
    with pytest.raises(ProtocolError):
        codec.decode_record(entry[: data.draw(st.integers(0, len(entry) - 1))])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry[0]:02x}")
def test_decode_record_given_a_byte_too_many_raises(entry: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_record(entry + b"\x00")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry[0]:02x}")
def test_decode_record_under_the_number_of_the_other_format_raises(entry: bytes) -> None:
    other = bytes([entry[0] ^ 0x30])
    with pytest.raises(ProtocolError, match=r"of this format|begins with"):
        codec.decode_record(other + entry[1:])


@pytest.mark.parametrize("version", [0, 2, 15])
def test_decode_record_of_another_format_says_what_it_begins_with(version: int) -> None:
    with pytest.raises(ProtocolError, match=f"not a record: it begins with {version:x}1"):
        codec.decode_record(bytes([version << 4 | 1]) + ENTRIES[0][1:])


@pytest.mark.parametrize("decode", [codec.decode, codec.decode_record])
def test_decode_given_nothing_says_so(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(ProtocolError, match="it begins with nothing"):
        decode(b"")


B, V = (1, 2), (3, b"x")  # a ballot and a value as they should be
C, D = codec.encode_configuration(SMALL_CONFIGURATION), bytes(16)  # so are a change and a digest
R = struct.Struct(">QQ").pack  # slots in doubt

WRONG: dict[str, tuple[int, list[Any]]] = {
    "fields that are no array": (0x11, [7]),
    "too few fields": (0x11, [(B,)]),
    "too many fields": (0x11, [(B, 1, 1)]),
    "an array over the longest": (0x11, [(B, 1, 1, 1, 1, 1, 1, 1, 1)]),
    "something behind the fields": (0x11, [(B, 1), 1]),
    "a ballot that is a number": (0x11, [(1, 1)]),
    "a ballot of one": (0x11, [((1,), 1)]),
    "a ballot of three": (0x11, [((1, 2, 3), 1)]),
    "a ballot with a negative round": (0x11, [((-1, 2), 1)]),
    "a ballot with a round too high": (0x11, [((INTEGER_MAX + 1, 2), 1)]),
    "a ballot with a truth value": (0x11, [((True, 2), 1)]),
    "a ballot with a node that is a text": (0x11, [((1, "2"), 1)]),
    "a number that is negative": (0x11, [(B, -1)]),
    "a number too high": (0x11, [(B, INTEGER_MAX + 1)]),
    "a number that is true": (0x11, [(B, True)]),
    "a number that is a float": (0x11, [(B, 1.0)]),
    "a number that is nil": (0x11, [(B, None)]),
    "a part of a promise that covers nothing": (0x12, [(B, 5, 5, 1, 1, 1)]),
    "a report that is no array": (0x12, [(B, 1, 9, 1, 1, 1), 7]),
    "a report of two": (0x12, [(B, 1, 9, 1, 1, 1), (7, B)]),
    "a report of slot 0": (0x12, [(B, 1, 9, 1, 1, 1), (0, B, V)]),
    "reports without fields": (0x12, []),
    "fields of a promise that are no array": (0x12, [7]),
    "an Accept of slot 0": (0x13, [(B, 0, V, 1)]),
    "an Accept of a slot too high": (0x13, [(B, INTEGER_MAX + 1, V, 1)]),
    "an Accept of a slot that is true": (0x13, [(B, True, V, 1)]),
    "a value that is bytes": (0x13, [(B, 1, b"xx", 1)]),
    "a value of one": (0x13, [(B, 1, (3,), 1)]),
    "a value of a text": (0x13, [(B, 1, (3, "x"), 1)]),
    "a value with a negative stamp": (0x13, [(B, 1, (-3, b"x"), 1)]),
    "a no-op with commands": (0x13, [(B, 1, (None, b"x"), 1)]),
    "an Accepted of slot 0": (0x14, [(B, 0, 1)]),
    "a truth value that is 1": (0x16, [(1, B, 1, 1)]),
    "decided values from slot 0 on": (0x19, [(0, 1)]),
    "decided values past the last slot": (0x19, [(INTEGER_MAX, 1), V]),
    "a read at no level": (0x03, [(1, 3, "m", b"", 0)]),
    "a read at a level that is false": (0x03, [(1, False, "m", b"", 0)]),
    "a machine's name that is bytes": (0x03, [(1, 0, b"m", b"", 0)]),
    "a machine's name that is too long": (0x03, [(1, 0, "m" * 1025, b"", 0)]),
    "a query that is a text": (0x03, [(1, 0, "m", "", 0)]),
    "a result that is no array": (0x22, [(1,), 7]),
    "a result of three": (0x22, [(1,), (1, 0, 1)]),
    "a result of no status": (0x22, [(1,), (1, 4, 1, b"")]),
    "a result of a negative status": (0x22, [(1,), (1, -1, 1, b"")]),
    "a result of a request too high": (0x22, [(1,), (INTEGER_MAX + 1, 0, 1, b"")]),
    "a result of a negative slot": (0x22, [(1,), (1, 0, -1, b"")]),
    "a result whose status is a truth value": (0x22, [(1,), (1, True, 1, b"")]),
    "a result whose data is a text": (0x22, [(1,), (1, 0, 1, "")]),
    "a change with a stamp": (0x13, [(B, 1, (3, b"", C), 1)]),
    "a change with commands": (0x13, [(B, 1, (None, b"x", C), 1)]),
    "a change that is a text": (0x13, [(B, 1, (None, b"", "x"), 1)]),
    "a change with a tail": (0x13, [(B, 1, (None, b"", C + b"x"), 1)]),
    "a value of four": (0x13, [(B, 1, (None, b"", C, 1), 1)]),
    "slots in doubt that are none": (0x12, [(B, 1, 9, 1, 1, 1, b"")]),
    "slots in doubt that are a text": (0x12, [(B, 1, 9, 1, 1, 1, "x" * 16)]),
    "slots in doubt cut short": (0x12, [(B, 1, 9, 1, 1, 1, R(1, 2)[:-1])]),
    "slots in doubt from slot 0 on": (0x12, [(B, 1, 9, 1, 1, 1, R(0, 2))]),
    "slots in doubt that end before they begin": (0x12, [(B, 1, 9, 1, 1, 1, R(2, 1))]),
    "slots in doubt twice": (0x12, [(B, 1, 9, 1, 1, 1, R(1, 2) + R(2, 3))]),
    "slots in doubt past the last": (0x12, [(B, 1, 9, 1, 1, 1, R(1, INTEGER_MAX + 1))]),
    "slots in doubt and something more": (0x12, [(B, 1, 9, 1, 1, 1, R(1, 2), 1)]),
    "a state digest that is no array": (0x16, [(1, B, True, 1, 7)]),
    "a state digest that is nil": (0x16, [(1, B, True, 1, None)]),
    "a state digest of one": (0x16, [(1, B, True, 1, (7,))]),
    "a state digest of slot 0": (0x16, [(1, B, True, 1, (0, b"d"))]),
    "a state digest that is empty": (0x16, [(1, B, True, 1, (7, b""))]),
    "a state digest that is too long": (0x16, [(1, B, True, 1, (7, b"d" * 65))]),
    "a state digest that is a text": (0x17, [(1, B, B, True, 1, 1, (7, "d"))]),
    "a digest of results that is nil": (0x16, [(1, B, True, 1, (7, b"d"), None)]),
    "three digests": (0x16, [(1, B, True, 1, (7, b"d"), (7, b"d"), (7, b"d"))]),
    "a snapshot's name that is no array": (0x1B, [(7, 1)]),
    "a snapshot's name of two": (0x1B, [((7, 9), 1)]),
    "a snapshot through slot 0": (0x1B, [((0, 9, D), 1)]),
    "a snapshot of no bytes": (0x1B, [((7, 0, D), 1)]),
    "a snapshot's digest that is too short": (0x1B, [((7, 9, D[1:]), 1)]),
    "a snapshot's digest that is a text": (0x1B, [((7, 9, "d" * 16), 1)]),
    "a request past the end of a snapshot": (0x1C, [((7, 9, D), 10)]),
    "a request before a snapshot": (0x1C, [((7, 9, D), -1)]),
    "a piece past the end of a snapshot": (0x1D, [((7, 9, D), 8, b"xx")]),
    "a piece at a negative place": (0x1D, [((7, 9, D), -1, b"xx")]),
    "a piece that is a text": (0x1D, [((7, 9, D), 1, "xx")]),
    "a piece that is too large": (0x1D, [((7, 2**40, D), 0, b"x" * (4 * 2**20 + 1))]),
    "a text for an administrator that is bytes": (0x27, [(1, 0, 1, b"")]),
    "an answer of no status": (0x25, [(1, 4, 1, b"")]),
    "an answer whose status is true": (0x25, [(1, True, 1, b"")]),
}


@pytest.mark.parametrize("tag_and_objects", WRONG.values(), ids=WRONG.keys())
def test_decode_given_a_wrong_field_raises(tag_and_objects: tuple[int, list[Any]]) -> None:
    tag, objects = tag_and_objects
    with pytest.raises(ProtocolError):
        codec.decode(bytes([tag]) + b"".join(msgpack.packb(each) for each in objects))


def test_decode_given_a_text_that_is_not_utf8_raises() -> None:
    frame = bytearray(codec.encode(MESSAGES[12]))
    frame[frame.index(b"config")] = 0xFF
    with pytest.raises(ProtocolError):
        codec.decode(bytes(frame))


HEADER = bytes([codec.SUBMIT]) + (5).to_bytes(8, "big") + (9).to_bytes(8, "big")

WRONG_SUBMISSIONS = {
    "a header cut short": HEADER[:-1],
    "nothing behind the header": HEADER,
    "no machine": HEADER + b"\x00",
    "no command": HEADER + b"\x00\xa1m",
    "a command that is a text": HEADER + b"\x00\xa1m\xa1c",
    "a command that is nil": HEADER + b"\x00\xa1m\xc0",
    "a command cut short": HEADER + b"\x00\xa1m\xc4\x02c",
    "a machine's name that is bytes": HEADER + b"\x00\xc4\x01m\xc4\x00",
    "acknowledged requests that are a float": HEADER + b"\xca\0\0\0\0\xa1m\xc4\x00",
    "request 0": HEADER[:9] + bytes(8) + b"\x00\xa1m\xc4\x00",
    "a session too high": HEADER[:1] + b"\xff" * 8 + HEADER[9:] + b"\x00\xa1m\xc4\x00",
    "requests past the last": HEADER[:9] + b"\x7f" + b"\xff" * 7 + b"\x00\xa1m\xc4\x00\xc4\x00",
    "a session wish cut short": bytes([codec.OPEN_SESSION]) + bytes(15),
    "a session wish with a tail": bytes([codec.OPEN_SESSION]) + bytes(17),
    "a session wish with a request": bytes([codec.OPEN_SESSION]) + bytes(15) + b"\x01",
    "a session wish with a nonce too high": bytes([codec.OPEN_SESSION]) + b"\xff" * 8 + bytes(8),
}


@pytest.mark.parametrize("payload", WRONG_SUBMISSIONS.values(), ids=WRONG_SUBMISSIONS.keys())
def test_decode_given_a_wrong_submission_raises(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(payload)


def test_submission_header_of_a_short_payload_raises() -> None:
    with pytest.raises(ProtocolError, match="16 bytes"):
        codec.submission_header(HEADER[:-1])


SIZE = 16 * 1024

HOSTILE = {
    "arrays that claim the most, one in another": b"\xdd\xff\xff\xff\xff",
    "arrays that claim what is there, one in another": b"\xdd\x00\x03\x00\x00",
    "small arrays, one in another": b"\x98",
    "maps that claim the most, one in another": b"\xdf\xff\xff\xff\xff",
    "bytes that claim the most": b"\xc6\xff\xff\xff\xff",
    "a text that claims the most": b"\xdb\xff\xff\xff\xff",
    "an extension that claims the most": b"\xc9\xff\xff\xff\xff\x01",
    "nothing but nil": b"\xc0",
    "nothing but empty arrays": b"\x90",
    "nothing but empty bytes": b"\xc4\x00",
    "nothing but small results": b"\x94\x01\x00\x01\xc4\x00",
    "nothing but no-ops": b"\x92\xc0\xc4\x00",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_decode_given_hostile_claims_uses_memory_by_what_is_there(unit: bytes) -> None:
    body = unit * (SIZE // len(unit))
    payloads = [bytes([tag]) + head + body for tag in TAGS for head in (b"", b"\x91\x01")]
    payloads += [HEADER + b"\x00\xa1m" + body, FRAMES[1] + body, FRAMES[8] + body]
    for payload in payloads:
        tracemalloc.start()
        try:
            _judge(codec.decode, payload)
            _judge(codec.decode_record, payload)
            codec.unpack_batch(payload)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # An object takes up to some 120 bytes, for 4 bytes and more on the wire.
        assert peak < 40 * SIZE
