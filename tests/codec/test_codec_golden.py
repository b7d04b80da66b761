"""Format 1, byte by byte. A red test here means that old logs or other versions are not understood.

A new format gets a new number and a table of its own; nothing in this file is ever edited to fit.
"""

from __future__ import annotations

import pytest

from paxos import codec
from paxos.core.messages import Message
from paxos.core.records import Record
from tests.codec.examples import MESSAGES, RECORDS

MESSAGES_1 = {
    "Prepare": "11 92 9207 02 29",
    "Promise": (
        "12 96 920702 29 2b 29 0c cd06a4"
        " 93 2a 920601 92 cf00060a24181e4000 c404c4026869"
        " 93 2b c0 92 c0 c400"
    ),
    "Accept": "13 94 920702 2a 92 cf00060a24181e4000 c404c4026869 29",
    "Accepted": "14 93 920702 2a 29",
    "Nack": "15 94 920702 920803 920000 29",
    "Heartbeat": "16 94 cd012c 920702 c3 29",
    "HeartbeatAnswer": "17 96 cd012c 920702 920000 c2 29 cd06a4",
    "CatchUp": "18 91 29",
    "Decided": "19 92 2a 2b 92 cf00060a24181e4000 c404c4026869 92 c0 c400",
    "OpenSession": "02 1122334455667788 0000000000000000",
    "Submit": "01 0000000000000005 0000000000000009 08 a6636f6e666967 c403707574 c400",
    "Read": "03 95 04 01 a6636f6e666967 c4036b6579 29",
    "Watch": "04 94 04 a6636f6e666967 c4036b6579 29",
    "CancelWatch": "05 91 04",
    "StatusRequest": "06 91 04",
    "SessionOpened": "21 92 cf1122334455667788 05",
    "Results": "22 91 05 94 09 00 2a c4026f6b 94 0a 01 2a c4026e6f",
    "Redirect": "23 91 02",
    "Overloaded": "24 94 05 09 64 ae746f6f206d756368207761697473",
    "ReadAnswer": "25 94 04 00 2a c40576616c7565",
    "StatusAnswer": "26 92 04 c4027b7d",
}

RECORDS_1 = {
    "PromisedRecord": "11 91 920702",
    "IssuedRecord": "12 91 920702",
    "AcceptedRecord": "13 93 920702 2a 92 cf00060a24181e4000 c404c4026869",
    "DecidedRecord": "14 92 2b 92 c0 c400",
    "WatermarkRecord": "15 92 920702 29",
}


def test_formats_as_numbered_are_those_of_this_file() -> None:
    assert (codec.PROTOCOL_VERSION, codec.RECORD_VERSION) == (1, 1)


def test_golden_bytes_exist_for_every_example() -> None:
    assert list(MESSAGES_1) == [type(message).__name__ for message in MESSAGES]
    assert list(RECORDS_1) == [type(record).__name__ for record in RECORDS]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_as_bytes_of_format_1_is_unchanged(message: Message) -> None:
    golden = bytes.fromhex(MESSAGES_1[type(message).__name__])
    assert codec.encode(message).hex(" ") == golden.hex(" ")
    assert codec.decode(golden) == message


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_as_bytes_of_format_1_is_unchanged(record: Record) -> None:
    golden = bytes.fromhex(RECORDS_1[type(record).__name__])
    assert codec.encode_record(record).hex(" ") == golden.hex(" ")
    assert codec.decode_record(golden) == record


def test_record_tags_carry_the_number_of_their_format() -> None:
    assert {codec.encode_record(record)[0] >> 4 for record in RECORDS} == {codec.RECORD_VERSION}
