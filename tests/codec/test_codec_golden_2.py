"""What the second feature added, byte by byte. A red test: old logs or nodes are not understood.

Nothing in this file is ever edited to fit: what a later feature adds gets a table of its own.
"""

from __future__ import annotations

import pytest

from paxos import codec
from paxos.core.config import Configuration, Governing
from paxos.core.messages import Message
from paxos.core.records import Record
from tests.codec.examples import (
    CONFIGURATION,
    MESSAGE_TYPES,
    MESSAGES,
    MESSAGES_2,
    RECORD_TYPES,
    RECORDS,
    RECORDS_2,
    SMALL_CONFIGURATION,
)

SMALL = "96 05 02 02 01 01 01  95 01 65 01 a0 00"
LARGE = (
    "96 04 02 07 04 c409 020001 020002 020102 c409 020001 020002 020102"
    " 95 01 65 01 a97463703a2f2f613a31 02"
    " 95 02 66 01 a97463703a2f2f623a31 00"
    " 95 03 67 02 a97463703a2f2f633a31 00"
    " 95 05 69 00 a97463703a2f2f653a31 00"
)
CHANGE = f"93 c0 c400 c40d {SMALL}"
NAME = "93 28 cd03e8 c410 000102030405060708090a0b0c0d0e0f"

FRAMES_2 = [
    (
        "Promise",
        (
            "12 97 920702 29 c0 29 0c cd06a4 c410 000000000000002b 000000000000002c"
            f" 93 2a 920601 {CHANGE}"
        ),
    ),
    ("Accept", f"13 94 920702 2a {CHANGE} 29"),
    ("Decided", f"19 92 2a 2b 92 cf00060a24181e4000 c404c4026869 {CHANGE}"),
    ("Heartbeat", "16 95 cd012c 920702 c3 29 92 28 c406 646967657374"),
    ("Heartbeat", "16 96 cd012c 920702 c3 29 92 28 c406 646967657374 92 29 c407 726573756c7473"),
    ("HeartbeatAnswer", "17 98 cd012c 920702 920000 c2 29 cd06a4 c0 92 29 c406 646967657374"),
    ("Compacted", "1a 94 920702 920803 1e 29"),
    ("SnapshotOffer", f"1b 92 {NAME} 29"),
    ("SnapshotRequest", f"1c 92 {NAME} cd03e8"),
    ("SnapshotChunk", f"1d 93 {NAME} cd03e3 c405 6279746573"),
    ("Settle", "1e 91 29"),
    ("Settled", "1f 91 29"),
    ("TakeOver", "10 91 920702"),
    ("Reconfigure", f"07 92 04 c457 {LARGE}"),
    ("TransferLeader", "08 92 04 02"),
    ("TakeSnapshot", "09 91 04"),
    ("AdminAnswer", "27 94 04 03 29 ae 6e6f6465203320697320646f776e"),
]

ENTRIES_2 = {
    "AcceptedRecord": f"23 93 920702 2a {CHANGE}",
    "DecidedRecord": f"24 92 2b {CHANGE}",
}


def test_golden_bytes_of_both_features_cover_every_type() -> None:
    assert [name for name, _ in FRAMES_2] == [type(message).__name__ for message in MESSAGES_2]
    assert list(ENTRIES_2) == [type(record).__name__ for record in RECORDS_2]
    assert {type(message) for message in (*MESSAGES, *MESSAGES_2)} == set(MESSAGE_TYPES)
    assert {type(record) for record in (*RECORDS, *RECORDS_2)} == set(RECORD_TYPES)


@pytest.mark.parametrize(
    ("message", "frame"),
    [(message, frame) for message, (_, frame) in zip(MESSAGES_2, FRAMES_2, strict=True)],
    ids=[name for name, _ in FRAMES_2],
)
def test_message_as_bytes_of_feature_2_is_unchanged(message: Message, frame: str) -> None:
    golden = bytes.fromhex(frame)
    assert codec.encode(message).hex(" ") == golden.hex(" ")
    assert codec.decode(golden) == message


@pytest.mark.parametrize("record", RECORDS_2, ids=lambda record: type(record).__name__)
def test_record_as_bytes_of_format_2_is_unchanged(record: Record) -> None:
    golden = bytes.fromhex(ENTRIES_2[type(record).__name__])
    assert codec.encode_record(record).hex(" ") == golden.hex(" ")
    assert codec.decode_record(golden) == record


def test_record_tags_with_a_change_carry_the_number_of_the_second_format() -> None:
    versions = {codec.encode_record(record)[0] >> 4 for record in RECORDS_2}
    assert versions == {codec.RECORD_VERSION_CHANGES} == {2}


@pytest.mark.parametrize(
    ("configuration", "golden"), [(CONFIGURATION, LARGE), (SMALL_CONFIGURATION, SMALL)]
)
def test_configuration_as_bytes_is_unchanged(configuration: Configuration, golden: str) -> None:
    packed = bytes.fromhex(golden)
    assert codec.encode_configuration(configuration).hex(" ") == packed.hex(" ")
    assert codec.decode_configuration(packed) == configuration


def test_row_of_configurations_as_bytes_is_unchanged() -> None:
    golden = bytes.fromhex(f"92 01 c457 {LARGE} 92 cd012c c40d {SMALL}")
    governing = (Governing(1, CONFIGURATION), Governing(300, SMALL_CONFIGURATION))
    assert codec.encode_governing(governing).hex(" ") == golden.hex(" ")
    assert codec.decode_governing(golden) == governing
