"""Messages and records to try: one fixed example of each type, and strategies for any at all."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from paxos.codec import INTEGER_MAX, TEXT_BYTES_MAX
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.messages import (
    Accept,
    Accepted,
    CancelWatch,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    Message,
    Nack,
    OpenSession,
    Overloaded,
    Prepare,
    Promise,
    Read,
    ReadAnswer,
    Redirect,
    Report,
    Result,
    Results,
    SessionOpened,
    Status,
    StatusAnswer,
    StatusRequest,
    Submit,
    Watch,
)
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)
from paxos.core.value import NOOP, Value

MESSAGE_TYPES: tuple[type[Message], ...] = get_args(Message)
RECORD_TYPES: tuple[type[Record], ...] = get_args(Record)

_BALLOT = Ballot(7, 2)
_VALUE = Value(1_700_000_000_000_000, b"\xc4\x02hi")

MESSAGES: tuple[Message, ...] = (
    Prepare(_BALLOT, 41),
    Promise(
        _BALLOT, 41, 43, 41, 12, 1_700, (Report(42, Ballot(6, 1), _VALUE), Report(43, None, NOOP))
    ),
    Accept(_BALLOT, 42, _VALUE, 41),
    Accepted(_BALLOT, 42, 41),
    Nack(_BALLOT, Ballot(8, 3), BALLOT_ZERO, 41),
    Heartbeat(300, _BALLOT, True, 41),
    HeartbeatAnswer(300, _BALLOT, BALLOT_ZERO, False, 41, 1_700),
    CatchUp(41),
    Decided(42, (_VALUE, NOOP), 43),
    OpenSession(0x1122334455667788),
    Submit(5, 9, 8, "config", (b"put", b"")),
    Read(4, Level.SESSION, "config", b"key", 41),
    Watch(4, "config", b"key", 41),
    CancelWatch(4),
    StatusRequest(4),
    SessionOpened(0x1122334455667788, 5),
    Results(5, (Result(9, Status.DONE, 42, b"ok"), Result(10, Status.FAILED, 42, b"no"))),
    Redirect(2),
    Overloaded(5, 9, 100, "too much waits"),
    ReadAnswer(4, Status.DONE, 42, b"value"),
    StatusAnswer(4, b"{}"),
)

RECORDS: tuple[Record, ...] = (
    PromisedRecord(_BALLOT),
    IssuedRecord(_BALLOT),
    AcceptedRecord(_BALLOT, 42, _VALUE),
    DecidedRecord(43, NOOP),
    WatermarkRecord(_BALLOT, 41),
)

# Small numbers often, and the borders of every width that msgpack has.
numbers = st.one_of(
    st.integers(0, 300),
    st.integers(0, INTEGER_MAX),
    st.sampled_from([127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, INTEGER_MAX]),
)
positives = numbers.filter(bool)
blobs = st.one_of(st.binary(max_size=40), st.sampled_from([b"x" * 255, b"x" * 256, b"x" * 65_536]))
texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "x" * 31, "x" * 32, "x" * 256, "\u00e9" * (TEXT_BYTES_MAX // 2)]),
)
ballots = st.builds(Ballot, numbers, numbers)
values = st.one_of(st.just(NOOP), st.builds(Value, numbers, blobs))
reports = st.builds(Report, positives, st.none() | ballots, values)
results = st.builds(Result, numbers, st.sampled_from([*map(int, Status)]), numbers, blobs)
statuses = st.sampled_from([*map(int, Status)])


def rows(items: st.SearchStrategy[object], least: int = 0) -> st.SearchStrategy[tuple[object, ...]]:
    """Tuples of any length that tests can afford."""
    return st.lists(items, min_size=least, max_size=20).map(tuple)


promises = st.builds(
    Promise,
    ballots,
    st.integers(0, 2**40),
    st.none() | st.integers(2**40 + 1, INTEGER_MAX),
    numbers,
    numbers,
    numbers,
    rows(reports),
)
firsts = st.integers(1, INTEGER_MAX - 100)  # room for the numbers that follow

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Prepare, ballots, numbers),
    promises,
    st.builds(Accept, ballots, positives, values, numbers),
    st.builds(Accepted, ballots, positives, numbers),
    st.builds(Nack, ballots, ballots, ballots, numbers),
    st.builds(Heartbeat, numbers, ballots, st.booleans(), numbers),
    st.builds(HeartbeatAnswer, numbers, ballots, ballots, st.booleans(), numbers, numbers),
    st.builds(CatchUp, numbers),
    st.builds(Decided, firsts, rows(values), numbers),
    st.builds(OpenSession, numbers),
    st.builds(Submit, numbers, firsts, numbers, texts, rows(blobs, 1)),
    st.builds(Read, numbers, st.sampled_from(Level), texts, blobs, numbers),
    st.builds(Watch, numbers, texts, blobs, numbers),
    st.builds(CancelWatch, numbers),
    st.builds(StatusRequest, numbers),
    st.builds(SessionOpened, numbers, numbers),
    st.builds(Results, numbers, rows(results)),
    st.builds(Redirect, numbers),
    st.builds(Overloaded, numbers, numbers, numbers, texts),
    st.builds(ReadAnswer, numbers, statuses, numbers, blobs),
    st.builds(StatusAnswer, numbers, blobs),
)

records: st.SearchStrategy[Record] = st.one_of(
    st.builds(PromisedRecord, ballots),
    st.builds(IssuedRecord, ballots),
    st.builds(AcceptedRecord, ballots, positives, values),
    st.builds(DecidedRecord, positives, values),
    st.builds(WatermarkRecord, ballots, numbers),
)
