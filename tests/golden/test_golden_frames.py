"""The codec of the release before: what it understands is said to it in its own bytes.

A process of that release decodes what this one encodes, and encodes it again. In a cluster of
feature 1 everything is as it was; what the second feature added it refuses, and survives.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from paxos import codec
from paxos.core.messages import (
    NO_DIGEST,
    Accept,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Promise,
)
from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.core.value import NOOP, Value
from tests.codec import examples
from tests.golden import release

ECHO = """
import sys
from paxos import codec

decoders = {
    "message": (codec.decode, codec.encode),
    "record": (codec.decode_record, codec.encode_record),
}
for line in sys.stdin:
    kind, payload = line.split()
    decode, encode = decoders[kind]
    try:
        print(encode(decode(bytes.fromhex(payload))).hex(), flush=True)
    except codec.ProtocolError as error:
        print("refused:", error, flush=True)
"""

Echo = subprocess.Popen[str]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    unpacked = release.unpack_release(tmp_path_factory.mktemp("echo"))
    with subprocess.Popen(
        [sys.executable, "-c", ECHO],
        env=release.environment(unpacked),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=release.RUN_TIMEOUT_S) == 0


def ask(process: Echo, kind: str, payload: bytes) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{kind} {payload.hex()}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def _plain(value: Value) -> Value:
    return NOOP if value.change is not None else value


def _message_before(message: Message) -> Message:
    """Return the message as the release before would have made it."""
    match message:
        case Heartbeat() | HeartbeatAnswer():
            return replace(message, snapshot=NO_DIGEST, results=NO_DIGEST)
        case Promise():
            reports = (report._replace(value=_plain(report.value)) for report in message.reports)
            return replace(message, unknown=(), reports=tuple(reports))
        case Accept():
            return replace(message, value=_plain(message.value))
        case Decided():
            return replace(message, values=tuple(map(_plain, message.values)))
        case _:
            return message


def _record_before(record: Record) -> Record:
    if isinstance(record, AcceptedRecord | DecidedRecord):
        return replace(record, value=_plain(record.value))
    return record


messages_before = examples.messages_1.map(_message_before)
records_before = examples.records.map(_record_before)


@settings(deadline=None)
@given(message=messages_before)
def test_message_without_later_features_is_the_same_to_the_release_before(
    echo: Echo, message: Message
) -> None:
    payload = codec.encode(message)
    assert ask(echo, "message", payload) == payload.hex()


@settings(deadline=None)
@given(record=records_before)
def test_record_without_later_features_is_the_same_to_the_release_before(
    echo: Echo, record: Record
) -> None:
    payload = codec.encode_record(record)
    assert ask(echo, "record", payload) == payload.hex()


@pytest.mark.parametrize("message", examples.MESSAGES_2, ids=lambda each: type(each).__name__)
def test_message_of_a_later_feature_is_refused_by_the_release_before(
    echo: Echo, message: Message
) -> None:
    assert ask(echo, "message", codec.encode(message)).startswith("refused: not a message")


@pytest.mark.parametrize("record", examples.RECORDS_2, ids=lambda each: type(each).__name__)
def test_record_with_a_change_is_refused_by_the_release_before(echo: Echo, record: Record) -> None:
    answer = ask(echo, "record", codec.encode_record(record))
    assert answer.startswith("refused: not a record: it begins with 2")
