"""Messages and records to try: one fixed example of each type, and strategies for any at all."""

from __future__ import annotations

from itertools import accumulate
from typing import get_args

from hypothesis import strategies as st

from paxos.codec import INTEGER_MAX, TEXT_BYTES_MAX
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Governing, Member, Part
from paxos.core.ids import Voter
from paxos.core.messages import (
    NO_DIGEST,
    Accept,
    Accepted,
    AdminAnswer,
    CancelWatch,
    CatchUp,
    Compacted,
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
    Reconfigure,
    Redirect,
    Report,
    Result,
    Results,
    SessionOpened,
    Settle,
    Settled,
    SnapshotChunk,
    SnapshotName,
    SnapshotOffer,
    SnapshotRequest,
    StateDigest,
    Status,
    StatusAnswer,
    StatusRequest,
    Submit,
    TakeOver,
    TakeSnapshot,
    TransferLeader,
    Watch,
)
from paxos.core.quorum import Quorums, QuorumSets
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


def _configuration() -> Configuration:
    """Return three members of all parts, of which one and two decide."""
    first, second, third = Voter(1, 101), Voter(2, 102), Voter(3, 103)
    members = (
        Member(*first, Part.VOTER, "tcp://a:1", 2),
        Member(*second, Part.VOTER, "tcp://b:1"),
        Member(*third, Part.WITNESS, "tcp://c:1"),
        Member(5, 105, Part.LEARNER, "tcp://e:1"),
    )
    majorities = frozenset(map(frozenset, [(first, second), (first, third), (second, third)]))
    system = QuorumSets(frozenset([first, second, third]), majorities, majorities)
    return Configuration(4, system, members, 2, 7)


CONFIGURATION = _configuration()
SMALL_CONFIGURATION = Configuration(5, Quorums.majority([Voter(1, 101)]), feature=2)
_CHANGE = Value(None, b"", Change(SMALL_CONFIGURATION))
_NAME = SnapshotName(40, 1000, bytes(range(16)))

MESSAGES_2: tuple[Message, ...] = (
    Promise(_BALLOT, 41, None, 41, 12, 1_700, (Report(42, Ballot(6, 1), _CHANGE),), ((43, 44),)),
    Accept(_BALLOT, 42, _CHANGE, 41),
    Decided(42, (_VALUE, _CHANGE), 43),
    Heartbeat(300, _BALLOT, True, 41, StateDigest(40, b"digest")),
    Heartbeat(300, _BALLOT, True, 41, StateDigest(40, b"digest"), StateDigest(41, b"results")),
    HeartbeatAnswer(
        300, _BALLOT, BALLOT_ZERO, False, 41, 1_700, NO_DIGEST, StateDigest(41, b"digest")
    ),
    Compacted(_BALLOT, Ballot(8, 3), 30, 41),
    SnapshotOffer(_NAME, 41),
    SnapshotRequest(_NAME, 1000),
    SnapshotChunk(_NAME, 995, b"bytes"),
    Settle(41),
    Settled(41),
    TakeOver(_BALLOT),
    Reconfigure(4, CONFIGURATION),
    TransferLeader(4, 2),
    TakeSnapshot(4),
    AdminAnswer(4, Status.REFUSED, 41, "node 3 is down"),
)
"""What the second feature added: new messages, and old ones with what only it says."""

RECORDS: tuple[Record, ...] = (
    PromisedRecord(_BALLOT),
    IssuedRecord(_BALLOT),
    AcceptedRecord(_BALLOT, 42, _VALUE),
    DecidedRecord(43, NOOP),
    WatermarkRecord(_BALLOT, 41),
)

RECORDS_2: tuple[Record, ...] = (
    AcceptedRecord(_BALLOT, 42, _CHANGE),
    DecidedRecord(43, _CHANGE),
)
"""Records of format 2."""

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
urls = st.sampled_from(["", "tcp://h:1", "x" * 512, "\u00e9" * 256])


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Any configuration that keeps the law, of up to nine members."""
    nodes = sorted(
        draw(st.sets(st.integers(1, 300) | st.integers(1, 2**62), min_size=1, max_size=9))
    )
    parts = draw(st.lists(st.sampled_from(Part), min_size=len(nodes), max_size=len(nodes)))
    parts[draw(st.integers(0, len(nodes) - 1))] = Part.VOTER
    members = tuple(
        Member(node, draw(numbers), part, draw(urls), draw(numbers))
        for node, part in zip(nodes, parts, strict=True)
    )
    full = [member.voter for member in members if member.part is Part.VOTER]
    voters = [member.voter for member in members if member.part]
    phase2 = draw(st.integers(1, len(full)))
    system: Quorums | QuorumSets = Quorums(
        frozenset(voters), draw(st.integers(len(voters) - phase2 + 1, len(voters))), phase2
    )
    if draw(st.booleans()):
        # Every phase-1 quorum holds one voter, who is in every phase-2 quorum.
        hub = draw(st.sampled_from(full))
        quorums = st.sets(st.sampled_from(voters)).map(lambda rest: frozenset({*rest, hub}))
        named = st.frozensets(quorums, min_size=1, max_size=4)
        system = QuorumSets(
            frozenset(voters), draw(named), frozenset({*draw(named), frozenset([hub])})
        )
    next_node = nodes[-1] + draw(st.integers(1, 5))
    version, feature = draw(positives), draw(positives)
    return Configuration(version, system, members, feature, next_node)


@st.composite
def rows_of_governing(draw: st.DrawFn) -> tuple[Governing, ...]:
    """Configurations that follow one another."""
    found = draw(st.lists(configurations(), min_size=1, max_size=3))
    version, first = draw(st.integers(1, 2**62)), draw(st.integers(1, 2**62))
    governing = []
    for each in found:
        same = (each.quorums, each.members, each.feature, each.next_node)
        governing.append(Governing(first, Configuration(version, *same)))
        version, first = version + 1, first + draw(st.integers(1, 100))
    return tuple(governing)


values = st.one_of(
    st.just(NOOP),
    st.builds(Value, numbers, blobs),
    configurations().map(lambda each: Value(None, b"", Change(each))),
)
reports = st.builds(Report, positives, st.none() | ballots, values)
results = st.builds(Result, numbers, st.sampled_from([*map(int, Status)]), numbers, blobs)
statuses = st.sampled_from([*map(int, Status)])


def rows(items: st.SearchStrategy[object], least: int = 0) -> st.SearchStrategy[tuple[object, ...]]:
    """Tuples of any length that tests can afford."""
    return st.lists(items, min_size=least, max_size=20).map(tuple)


names = st.builds(
    SnapshotName, positives, st.integers(2**40, INTEGER_MAX), st.binary(min_size=16, max_size=16)
)
state_digests = st.just(NO_DIGEST) | st.builds(
    StateDigest, positives, st.binary(min_size=1, max_size=64)
)
ranges = st.lists(st.integers(1, 2**40), max_size=8).map(
    lambda steps: tuple(zip(*[iter(accumulate(steps))] * 2, strict=False))
)

promises = st.builds(
    Promise,
    ballots,
    st.integers(0, 2**40),
    st.none() | st.integers(2**40 + 1, INTEGER_MAX),
    numbers,
    numbers,
    numbers,
    rows(reports),
    ranges,
)
firsts = st.integers(1, INTEGER_MAX - 100)  # room for the numbers that follow

messages_1: st.SearchStrategy[Message] = st.one_of(
    st.builds(Prepare, ballots, numbers),
    promises,
    st.builds(Accept, ballots, positives, values, numbers),
    st.builds(Accepted, ballots, positives, numbers),
    st.builds(Nack, ballots, ballots, ballots, numbers),
    st.builds(Heartbeat, numbers, ballots, st.booleans(), numbers),
    st.builds(Heartbeat, numbers, ballots, st.booleans(), numbers, state_digests, state_digests),
    st.builds(HeartbeatAnswer, numbers, ballots, ballots, st.booleans(), numbers, numbers),
    st.builds(
        HeartbeatAnswer,
        *(numbers, ballots, ballots, st.booleans(), numbers, numbers),
        *(state_digests, state_digests),
    ),
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
"""Of the types that the first feature has."""

messages: st.SearchStrategy[Message] = st.one_of(
    messages_1,
    st.builds(Compacted, ballots, ballots, numbers, numbers),
    st.builds(SnapshotOffer, names, numbers),
    st.builds(SnapshotRequest, names, st.integers(0, 2**40)),
    st.builds(SnapshotChunk, names, st.integers(0, 2**39), blobs),
    st.builds(Settle, numbers),
    st.builds(Settled, numbers),
    st.builds(TakeOver, ballots),
    st.builds(Reconfigure, numbers, configurations()),
    st.builds(TransferLeader, numbers, numbers),
    st.builds(TakeSnapshot, numbers),
    st.builds(AdminAnswer, numbers, statuses, numbers, texts),
)

records: st.SearchStrategy[Record] = st.one_of(
    st.builds(PromisedRecord, ballots),
    st.builds(IssuedRecord, ballots),
    st.builds(AcceptedRecord, ballots, positives, values),
    st.builds(DecidedRecord, positives, values),
    st.builds(WatermarkRecord, ballots, numbers),
)
