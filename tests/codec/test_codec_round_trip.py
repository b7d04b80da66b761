"""What is encoded is decoded again as an equal value, of exactly the same types."""

from __future__ import annotations

from typing import get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos import codec
from paxos.core.messages import (
    AdminAnswer,
    ClientAnswer,
    ClientMessage,
    Level,
    Message,
    OpenSession,
    Overloaded,
    PeerMessage,
    Read,
    Result,
    Results,
    SnapshotChunk,
    SnapshotName,
    Status,
    Submit,
    Watch,
)
from paxos.core.records import Record
from paxos.transport import FRAME_BYTES_MAX
from tests.codec.examples import (
    MESSAGE_TYPES,
    MESSAGES,
    MESSAGES_2,
    RECORD_TYPES,
    RECORDS,
    RECORDS_2,
    blobs,
    firsts,
    messages,
    numbers,
    records,
    rows,
    texts,
)
from tests.codec.shape import faults

FAMILIES = [
    (codec.decode_peer, get_args(PeerMessage)),
    (codec.decode_client, get_args(ClientMessage)),
    (codec.decode_answer, get_args(ClientAnswer)),
]


@given(messages)
def test_message_after_a_round_trip_is_equal_and_of_the_same_types(message: Message) -> None:
    back = codec.decode(codec.encode(message))
    assert type(back) is type(message)
    assert back == message
    assert faults(back) == []


@given(records)
def test_record_after_a_round_trip_is_equal_and_of_the_same_types(record: Record) -> None:
    back = codec.decode_record(codec.encode_record(record))
    assert type(back) is type(record)
    assert back == record
    assert faults(back) == []


@given(
    st.builds(Submit, numbers, firsts, numbers, texts, rows(blobs, 1))
    | st.builds(OpenSession, numbers)
)
def test_submission_header_of_a_submission_is_what_routing_needs(
    submission: Submit | OpenSession,
) -> None:
    payload = codec.encode_submission(submission)
    assert payload == codec.encode(submission)
    if isinstance(submission, Submit):
        assert payload[0] == codec.SUBMIT
        assert codec.submission_header(payload) == (submission.session, submission.first)
    else:
        assert payload[0] == codec.OPEN_SESSION
        assert codec.submission_header(payload) == (submission.nonce, 0)


# The items of a list are packed as an array whose header, of 1, 3 or 5 bytes, is cut off.
@pytest.mark.parametrize("count", [1, 15, 16, 2**16 - 1, 2**16])
def test_message_with_any_number_of_items_comes_back_with_all(count: int) -> None:
    submit = Submit(5, 1, 0, "m", tuple(b"%d" % number for number in range(count)))
    payload = codec.encode(submit)
    assert payload[17:23] == b"\x00\xa1m\xc4\x010"
    assert codec.decode(payload) == submit
    assert codec.unpack_batch(codec.wrap_submission(payload)) == [submit]


@given(numbers, st.integers(0, 40))
def test_message_with_items_is_what_packing_each_alone_gives(session: int, count: int) -> None:
    results = tuple(Result(number, Status.DONE, 9, b"ok") for number in range(count))
    naive = b"".join([b"\x22", msgpack.packb((session,)), *map(msgpack.packb, results)])
    assert codec.encode(Results(session, results)) == naive


def test_tables_as_listed_cover_every_type_once() -> None:
    assert set(codec._ENCODE) == set(MESSAGE_TYPES)
    assert set(codec._ENCODE_RECORD) == set(RECORD_TYPES)
    tags = {type(each): codec.encode(each)[0] for each in (*MESSAGES, *MESSAGES_2)}
    assert len(set(tags.values())) == len(MESSAGE_TYPES)
    assert sorted(tags.values()) == sorted(codec._DECODE)
    entries = {codec.encode_record(each)[0] for each in (*RECORDS, *RECORDS_2)}
    assert entries == set(codec._DECODE_RECORD)


@pytest.mark.parametrize(
    "message", [*MESSAGES, *MESSAGES_2], ids=lambda message: type(message).__name__
)
def test_family_decoder_given_any_message_takes_only_its_own(message: Message) -> None:
    payload = codec.encode(message)
    for decode, family in FAMILIES:
        if type(message) in family:
            assert decode(payload) == message
        else:
            with pytest.raises(codec.ProtocolError, match=r"^not a.*: it begins with"):
                decode(payload)


@pytest.mark.parametrize(
    "message",
    [
        Submit(1, 1, 0, "m" * 1025, (b"",)),
        Read(1, Level.LOCAL, "m" * 1025, b"", 0),
        Watch(1, "\u00e9" * 513, b"", 0),
        Overloaded(1, 1, 0, "m" * 1025),
    ],
    ids=lambda message: type(message).__name__,
)
def test_encode_given_a_text_over_the_limit_blames_the_caller(message: Message) -> None:
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        codec.encode(message)


def test_encode_given_a_piece_of_a_snapshot_over_the_limit_blames_the_caller() -> None:
    name = SnapshotName(40, 2**40, bytes(16))
    largest = SnapshotChunk(name, 7, bytes(codec.SNAPSHOT_CHUNK_BYTES_MAX))
    payload = codec.encode(largest)
    assert len(payload) < FRAME_BYTES_MAX
    assert codec.decode(payload) == largest
    with pytest.raises(ValueError, match="too many for a piece"):
        codec.encode(SnapshotChunk(name, 7, bytes(codec.SNAPSHOT_CHUNK_BYTES_MAX + 1)))


def test_answer_to_an_administrator_with_a_long_text_is_cut_between_characters() -> None:
    sent = AdminAnswer(1, Status.DONE, 2, "x" + "\u00e9" * 600)
    cut = "x" + "\u00e9" * 511
    assert codec.decode(codec.encode(sent)) == AdminAnswer(1, Status.DONE, 2, cut)
