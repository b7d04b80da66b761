"""Profile "wire": bytes that went wrong, against the cutter, the handshake and the codec.

A seed draws one of each: a stream cut into other pieces, a stranger's handshake, a frame with a
field too many, a bit changed, its end missing or a value of another type, and a batch with one
client's nonsense in it. What is judged is the gate's promise: whole frames or a fault, nobody let
in who does not belong, exactly the types that a message promises or ``ProtocolError``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgpack

from jepsen_like.mutation.profiles import Finding
from paxos import codec
from paxos.codec import INTEGER_MAX, ProtocolError
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration
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
    Malformed,
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
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)
from paxos.core.value import NOOP, Value
from paxos.runtime.handshake import Hello, Kind, Welcome, misdirection, refusal
from transports.framing import FrameCutter, wrap

FRAMES_PER_SEED = 60
"""How many frames of the codec a seed spoils."""

FRAME_BYTES_MAX = 2_000

_BALLOT, _VALUE = Ballot(7, 2), Value(1_700, b"\xc4\x02hi")
_CONFIGURATION = Configuration(4, Quorums.majority([Voter(n, 100 + n) for n in (1, 2, 3)]))
_CHANGE = Value(None, b"", Change(_CONFIGURATION))
_NAME = SnapshotName(40, 1_000, bytes(range(16)))
_OFFER, _ASK = SnapshotOffer(_NAME, 41), SnapshotRequest(_NAME, 1_000)
_CHUNK = SnapshotChunk(_NAME, 995, b"bytes")

PEER: tuple[Message, ...] = (
    Prepare(_BALLOT, 41),
    Promise(_BALLOT, 41, 43, 41, 0, 9, (Report(42, Ballot(6, 1), _VALUE), Report(43, None, NOOP))),
    Accept(_BALLOT, 42, _VALUE, 41),
    Accepted(_BALLOT, 42, 41),
    Nack(_BALLOT, Ballot(8, 3), BALLOT_ZERO, 41),
    Heartbeat(300, _BALLOT, True, 41),
    HeartbeatAnswer(300, _BALLOT, BALLOT_ZERO, False, 41, 9),
    CatchUp(41),
    Decided(42, (_VALUE, NOOP), 43),
    Promise(_BALLOT, 41, None, 41, 0, 9, (Report(42, _BALLOT, _CHANGE),), ((43, 44),)),
    Accept(_BALLOT, 42, _CHANGE, 41),
    Heartbeat(300, _BALLOT, True, 41, StateDigest(40, b"digest"), StateDigest(41, b"results")),
    Compacted(_BALLOT, Ballot(8, 3), 30, 41),
    Settle(41),
    Settled(41),
    TakeOver(_BALLOT),
    _OFFER,
    _ASK,
    _CHUNK,
)
CLIENT: tuple[Message, ...] = (
    OpenSession(0x1122334455667788),
    Submit(5, 9, 8, "config", (b"put", b"")),
    Read(4, Level.SESSION, "config", b"key", 41),
    Watch(4, "config", b"key", 41),
    CancelWatch(4),
    StatusRequest(4),
    Reconfigure(4, _CONFIGURATION),
    TransferLeader(4, 2),
    TakeSnapshot(4),
    _ASK,
)
ANSWERS: tuple[Message, ...] = (
    SessionOpened(0x1122334455667788, 5),
    Results(5, (Result(9, Status.DONE, 42, b"ok"), Result(10, Status.FAILED, 42, b"no"))),
    Redirect(2),
    Overloaded(5, 9, 100, "too much waits"),
    ReadAnswer(4, Status.DONE, 42, b"value"),
    StatusAnswer(4, b"{}"),
    AdminAnswer(4, Status.REFUSED, 41, "node 3 is down"),
    _OFFER,
    _CHUNK,
)
RECORDS: tuple[Record, ...] = (
    PromisedRecord(_BALLOT),
    IssuedRecord(_BALLOT),
    AcceptedRecord(_BALLOT, 42, _VALUE),
    DecidedRecord(43, NOOP),
    WatermarkRecord(_BALLOT, 41),
    AcceptedRecord(_BALLOT, 42, _CHANGE),
)
FAMILIES: tuple[tuple[Callable[[bytes], object], tuple[Message, ...]], ...] = (
    (codec.decode_peer, PEER),
    (codec.decode_client, CLIENT),
    (codec.decode_answer, ANSWERS),
)


class _Wrong(Exception):
    """The gate does not keep its promise."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(text)
        self.check = check


def judge(seed: int) -> Finding | None:
    """Try one seed's bytes on everything that takes bytes from outside."""
    rng = random.Random(f"wire/{seed}")
    try:
        for attempt in (_framing, _handshake, _codec, _families, _batch):
            attempt(rng)
    except _Wrong as wrong:
        return Finding(wrong.check, str(wrong))
    return None


def _expect(condition: object, check: str, text: str) -> None:
    if not condition:
        raise _Wrong(check, text)


def _raises(check: str, what: str, error: Exception) -> NoReturn:
    raise _Wrong(check, f"{what} raises {error!r}") from error


# --- frames on a stream --------------------------------------------------------------------------


def _framing(rng: random.Random) -> None:
    frames = [
        rng.randbytes(rng.choice((0, 1, 31, 255, 256, 700, FRAME_BYTES_MAX)))
        for _ in range(rng.randint(1, 6))
    ]
    stream = wrap(frames, FRAME_BYTES_MAX)
    cuts = sorted(rng.sample(range(len(stream) + 1), min(len(stream), rng.randint(0, 5))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    cutter = FrameCutter(FRAME_BYTES_MAX, len(stream) + 1)
    try:
        found = [frame for piece in pieces for frame in cutter.cut(piece)]
    except Exception as error:  # noqa: BLE001 - nothing may leave the cutter
        _raises("framing", "the cutter", error)
    same = found == frames and not cutter.fault
    text = "{} frames cut into {} pieces come out as {} ({})"
    lengths = [len(frame) for frame in found]
    _expect(same, "framing", text.format(len(frames), len(pieces), lengths, cutter.fault))
    over = msgpack.packb(bytes(FRAME_BYTES_MAX + rng.randint(1, 50)))
    cutter = FrameCutter(FRAME_BYTES_MAX, len(over))
    taken = cutter.cut(over)
    _expect(not taken and cutter.fault, "framing", "a frame over the limit is taken")


# --- who is let in -------------------------------------------------------------------------------


def _handshake(rng: random.Random) -> None:
    voters = {node: Voter(node, rng.getrandbits(60)) for node in (1, 2, 3)}
    mine = Welcome("c0ffee", 1, voters[1].incarnation, 11)
    hello = Hello("c0ffee", Kind.REPLICA, 2, voters[2].incarnation, 22, 1)
    _expect(refusal(hello, mine, voters) is None, "handshake", "a member is refused")
    _expect(refusal(hello, mine, voters, 2) is not None, "handshake", "an old release is let in")
    for strange in (
        Hello("decade", Kind.REPLICA, 2, voters[2].incarnation, 22, 1),
        Hello("", Kind.REPLICA, 2, voters[2].incarnation, 22, 1),
        Hello("c0ffee", Kind.REPLICA, 2, voters[2].incarnation ^ 1, 22, 1),
        Hello("c0ffee", Kind.REPLICA, 4, voters[2].incarnation, 22, 1),
        Hello("c0ffee", Kind.REPLICA, 1, voters[1].incarnation, 22, 1),
        Hello("c0ffee", Kind.REPLICA, 2, voters[2].incarnation, 22, 3),
        Hello("decade", Kind.CLIENT),
    ):
        _expect(refusal(strange, mine, voters) is not None, "handshake", f"let in: {strange}")
    answer = Welcome("c0ffee", 2, voters[2].incarnation, 22)
    asked = Hello("c0ffee", Kind.REPLICA, 1, voters[1].incarnation, 11, 2)
    _expect(misdirection(answer, asked, voters[2]) is None, "handshake", "a member is shunned")
    old = misdirection(answer, asked, voters[2], 2)
    _expect(old is not None, "handshake", "an old release is taken for a member")
    for wrong in (
        Welcome("decade", 2, voters[2].incarnation, 22),
        Welcome("c0ffee", 3, voters[3].incarnation, 22),
        Welcome("c0ffee", 2, voters[2].incarnation ^ 1, 22),
    ):
        seen = misdirection(wrong, asked, voters[2])
        _expect(seen is not None, "handshake", f"taken for {voters[2]}: {wrong}")


# --- messages and records ------------------------------------------------------------------------


def _codec(rng: random.Random) -> None:
    for _ in range(FRAMES_PER_SEED):
        decode, examples = rng.choice(FAMILIES)
        message = rng.choice(examples)
        frame = codec.encode(message)
        _round_trip(decode, frame, message)
        if rng.random() < 0.2:
            record = rng.choice(RECORDS)
            decode, frame = codec.decode_record, codec.encode_record(record)
            _round_trip(decode, frame, record)
        spoilt = _spoil(rng, frame)
        try:
            found = decode(spoilt)
        except ProtocolError:
            continue
        except Exception as error:  # noqa: BLE001 - the one thing that must not happen
            _raises("codec", f"{decode.__name__} of {spoilt.hex()}", error)
        _expect(not _faults(found), "codec", f"{spoilt.hex()} is taken as {found!r}")


def _round_trip(decode: Callable[[bytes], object], frame: bytes, sound: object) -> None:
    try:
        found = decode(frame)
    except ProtocolError as error:
        raise _Wrong("codec", f"{sound} is not taken: {error}") from error
    _expect(found == sound, "codec", f"{sound} comes back as {found}")


def _spoil(rng: random.Random, frame: bytes) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return frame[: rng.randrange(len(frame))]
    if kind == 1:
        at = rng.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]
    if kind == 2:
        return frame + rng.choice((b"\x00", b"\xc0", b"\x90", b"\xa1"))
    objects = _unpacked(frame)
    if not objects:
        return frame[:1] + rng.randbytes(8)
    # Another value in the place of one, or one more field, at any depth.
    odd = rng.choice(
        (None, True, -1, 0, 1, 2**63, 1.5, math.nan, math.inf, "", "\ud800", b"", (), (1, 2))
    )
    at = rng.randrange(len(objects))
    objects[at] = _changed(rng, objects[at], odd)
    pack = msgpack.Packer(unicode_errors="surrogatepass").pack
    return frame[:1] + b"".join(pack(each) for each in objects)


def _unpacked(frame: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(use_list=True)
    unpacker.feed(frame[1:])
    try:
        return list(unpacker)
    except (ValueError, msgpack.UnpackException):
        return []  # a submission's fixed header is no msgpack


def _changed(rng: random.Random, found: Any, odd: object) -> Any:
    if not isinstance(found, list) or not found:
        return odd
    if rng.random() < 0.2:
        return [*found, odd]
    if rng.random() < 0.1:
        return found[:-1]
    at = rng.randrange(len(found))
    return [*found[:at], _changed(rng, found[at], odd), *found[at + 1 :]]


# What a field may hold, by its name: the gate's promise, written down once more.
_FROM_ONE = frozenset({"slot", "first"})
_FROM_ZERO = (ReadAnswer, Result, Overloaded, AdminAnswer)
_BYTES = frozenset({"query", "data", "document"})
_TEXT = frozenset({"machine", "reason", "text"})
_BALLOTS = frozenset({"ballot", "promised", "leader"})
_TRUTH = frozenset({"connected", "sound"})


def _faults(found: object) -> list[str]:
    """Return the fields that hold what their class does not promise."""
    if isinstance(found, Result):
        return [] if type(found.data) is bytes and _number(found.request) else ["result"]
    if isinstance(found, SnapshotRequest | SnapshotChunk):
        size = len(found.data) if isinstance(found, SnapshotChunk) else 0
        return [] if _name(found.name) and 0 <= found.offset <= found.name.size - size else ["at"]
    names: Sequence[str] = getattr(found, "_fields", ()) or getattr(type(found), "__slots__", ())
    return [name for name in names if not _sound(found, name, getattr(found, name))]


def _sound(owner: object, name: str, value: object) -> bool:
    special = _SPECIAL.get((type(owner), name)) or _SPECIAL.get((object, name))
    if special is not None:
        return special(value)
    if name in _TRUTH:
        return type(value) is bool
    if name in _BYTES:
        return type(value) is bytes
    if name in _TEXT:
        return type(value) is str
    if name in _BALLOTS and not isinstance(owner, Redirect):
        return _ballot(value) or (value is None and isinstance(owner, Report))
    if name == "value":
        return _value(value)
    if name == "level":
        return isinstance(value, Level)
    if name == "commands":
        return isinstance(value, tuple) and all(type(each) is bytes for each in value)
    if name == "values":
        return isinstance(value, tuple) and all(map(_value, value))
    if name in ("reports", "results"):
        return isinstance(value, tuple) and not any(map(_faults, value))
    if name == "through" and isinstance(owner, Promise) and value is None:
        return True
    first = name in _FROM_ONE and not isinstance(owner, _FROM_ZERO)
    return _number(value, 1 if first else 0)


def _number(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value <= INTEGER_MAX


def _ballot(value: object) -> bool:
    return isinstance(value, Ballot) and _number(value.round) and _number(value.node)


def _value(value: object) -> bool:
    if not isinstance(value, Value) or type(value.commands) is not bytes:
        return False
    if value.change is not None:
        alone = value.stamp is None and not value.commands
        return alone and isinstance(value.change.configuration, Configuration)
    return not value.commands if value.stamp is None else _number(value.stamp)


def _name(value: object) -> bool:
    if not isinstance(value, SnapshotName) or len(value.digest) != 16:
        return False
    return _number(value.through, 1) and _number(value.size, 1)


def _digest(value: object) -> bool:
    if value == NO_DIGEST:
        return True
    return isinstance(value, StateDigest) and _number(value.slot, 1) and value.digest != b""


def _ranges(value: Any) -> bool:
    ends = [end for slots in value for end in slots]
    return ends == sorted(ends) and all(_number(end, 1) for end in ends)


_SPECIAL: dict[tuple[type, str], Callable[[Any], bool]] = {
    (object, "snapshot"): _digest,
    (object, "name"): _name,
    (object, "unknown"): _ranges,
    (object, "configuration"): lambda value: isinstance(value, Configuration),
    (Heartbeat, "results"): _digest,
    (HeartbeatAnswer, "results"): _digest,
}
"""Fields that are no number, text or ballot, by their class or (``object``) in any."""


def _families(rng: random.Random) -> None:
    """A message of one family is refused where another is expected."""
    for decode, examples in FAMILIES:
        for _, others in (family for family in FAMILIES if family[1] is not examples):
            # Pieces of snapshots go to replicas and to clients.
            stranger = rng.choice([each for each in others if each not in examples])
            try:
                found = decode(codec.encode(stranger))
            except ProtocolError:
                continue
            raise _Wrong("codec", f"{decode.__name__} takes {found}")


# --- a batch with nonsense in it -----------------------------------------------------------------


def _batch(rng: random.Random) -> None:
    sound = [Submit(n, 1, 0, "m", (rng.randbytes(rng.randint(0, 40)),)) for n in range(1, 6)]
    parts = [codec.encode_submission(each) for each in sound]
    bad = rng.randrange(len(parts))
    head = parts[bad][:17]
    parts[bad] = head + rng.choice((b"", b"\xc1", parts[bad][17:-1], parts[bad][17:] + b"\xdf"))
    wanted: list[object] = list(sound)
    wanted[bad] = Malformed(sound[bad].session, 1)
    try:
        found = codec.unpack_batch(b"".join(map(codec.wrap_submission, parts)))
    except Exception as error:  # noqa: BLE001 - it is said never to raise
        _raises("batch", "unpack_batch", error)
    _expect(found == wanted, "batch", f"submission {bad} is bad: {_short(found)}")


def _short(found: Sequence[object]) -> str:
    return ", ".join(map(str, found))
