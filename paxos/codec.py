"""Bytes to messages and records, and back. The one place that knows how either looks on the wire.

Owns two formats, each with a number: messages (``PROTOCOL_VERSION``) and records
(``RECORD_VERSION``, the upper half of a record's first byte). Must never know where bytes come
from or go to, nor who understands them. Guards the gate: what leaves ``decode`` has exactly the
types and ranges that its class promises, whatever came in; anything else is ``ProtocolError``, and
costs no more memory than a small multiple of the bytes that were really there (no container is
sized by its header alone; maps, extensions and deep nesting are not read; nothing is ever
unpickled).

Format: one tag byte, then msgpack. A message is an array of its fields in the order of its class;
a ballot is [round, node], a value [stamp or nil, bytes]. Where a message has a list, the list's
items follow that array one by one to the end, so that no header announces how many there are.
What a later feature added (``paxos.core.config``) stands at the end of an array, and only where it
says something: a cluster that has not raised its feature sends and writes the very bytes of the
release before. A change of the configuration is such a value, [nil, no bytes, bytes], in a record
of format 2; state digests, and slots in doubt (16 bytes for each range), are such fields.
Submissions, which a leader passes on unread, have a fixed header instead: ``submission_header``.

Not for several threads at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from msgpack import Packer, Unpacker, UnpackException, unpackb

from paxos import configuration_codec
from paxos.core.ballot import Ballot
from paxos.core.config import Change, Configuration, Governing
from paxos.core.errors import ConfigurationInvalid, PaxosError
from paxos.core.ids import RequestNumber, SessionId, Slot
from paxos.core.messages import (
    NO_DIGEST,
    Accept,
    Accepted,
    AdminAnswer,
    CancelWatch,
    CatchUp,
    ClientAnswer,
    ClientMessage,
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
    PeerMessage,
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
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)
from paxos.core.value import NOOP, Value

PROTOCOL_VERSION = 1
"""Number of the message format. Features add to it; what they add is sent to nobody without."""

RECORD_VERSION = 1
"""Number of the record format, 1 to 15. Stands in every record."""

RECORD_VERSION_CHANGES = 2
"""Number of the format of records that hold a change of the configuration, and only of those."""

INTEGER_MAX = 2**63 - 1
"""Every number on the wire lies between 0 and this, both included."""

TEXT_BYTES_MAX = 1024
"""The longest text in UTF-8: a state machine's name, or a reason."""

DIGEST_BYTES = 16
"""A snapshot's digest, always."""

STATE_DIGEST_BYTES_MAX = 64
"""The longest digest of a state; none is empty."""

SNAPSHOT_CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""The largest piece of a snapshot in one frame."""

SUBMIT = 0x01
"""First byte of a Submit. It and OPEN_SESSION are what a leader takes without decoding."""

OPEN_SESSION = 0x02
"""First byte of an OpenSession."""

_M = TypeVar("_M")
_Wire: TypeAlias = Any
"""What msgpack made of bytes that nobody has checked yet."""


class ProtocolError(PaxosError):
    """Bytes that are no message or record of this format; the text says what is wrong with them."""


# --- parts: each checks what came, and says what it wanted --------------------------------------

_pack: Callable[[object], bytes] = Packer().pack

_ARRAY_MAX = 8
"""The longest array: the fields of a HeartbeatAnswer or Promise, with room. A header may claim no
more, so that nested headers cannot reserve room for elements that never come."""

_NIL = b"\xc0"
_BYTES_ONLY = {bytes}

_READ_BYTES = 64 * 1024
"""An Unpacker's first buffer; it grows with what is fed."""

_NONSENSE = (ProtocolError, ConfigurationInvalid, ValueError, UnpackException)
"""What we and configurations raise, Python at a wrong number of fields, msgpack at other bytes."""

_STATUS_MAX = int(max(Status))
_LEVELS = {level.value: level for level in Level}

_new_ballot: Callable[[tuple[int, int]], Ballot] = partial(tuple.__new__, Ballot)
_new_result: Callable[[tuple[int, int, int, bytes]], Result] = partial(tuple.__new__, Result)


def _wrong(wanted: str, found: object) -> ProtocolError:
    return ProtocolError(f"expected {wanted}, found {type(found).__name__} {found!r:.40}")


def _integer(found: _Wire) -> int:
    # The shift is 0 exactly for 0..2**63-1 (and -1 for every negative number in msgpack's range).
    if type(found) is not int or found >> 63:
        raise _wrong("a number from 0 to 2**63-1", found)
    return found


def _positive(found: _Wire) -> int:
    if type(found) is not int or found >> 63 or not found:
        raise _wrong("a number from 1 to 2**63-1", found)
    return found


def _truth(found: _Wire) -> bool:
    if type(found) is not bool:
        raise _wrong("true or false", found)
    return found


def _bytes(found: _Wire) -> bytes:
    if type(found) is not bytes:
        raise _wrong("bytes", found)
    return found


def _text(found: _Wire) -> str:
    if type(found) is not str:
        raise _wrong("a text", found)
    return found


def _status(found: _Wire) -> int:
    if type(found) is not int or not 0 <= found <= _STATUS_MAX:
        raise _wrong("a status", found)
    return found


def _level(found: _Wire) -> Level:
    if type(found) is not int or found not in _LEVELS:
        raise _wrong("a read level", found)
    return _LEVELS[found]


def _ballot(found: _Wire) -> Ballot:
    if type(found) is not tuple:
        raise _wrong("a ballot", found)
    round_, node = found
    if type(round_) is not int or type(node) is not int or (round_ | node) >> 63:
        raise _wrong("a ballot", found)
    return _new_ballot(found)


def _value(found: _Wire) -> Value:
    if type(found) is not tuple:
        raise _wrong("a value", found)
    if len(found) == 3:
        return _change(found)
    stamp, commands = found
    if type(commands) is not bytes:
        raise _wrong("a value's commands as bytes", commands)
    if stamp is None:
        if commands:
            raise ProtocolError("a no-op holds no commands")
        return NOOP
    return Value(_integer(stamp), commands)


def _change(found: tuple[_Wire, _Wire, _Wire]) -> Value:
    stamp, commands, packed = found
    if stamp is not None or _bytes(commands):
        raise ProtocolError("a change stands alone, without a stamp and commands")
    return Value(None, b"", Change(configuration_codec.unpack(_bytes(packed))))


def _items(items: Sequence[object]) -> bytes:
    """Return the items one behind another: as an array, but for the header with their number."""
    header = 1 if len(items) < 2**4 else 3 if len(items) < 2**16 else 5
    return _pack(items)[header:]


def _wire_value(value: Value) -> tuple[object, ...]:
    if value.change is None:
        return (value.stamp, value.commands)
    return (None, b"", configuration_codec.pack(value.change.configuration))


def _name(found: _Wire) -> SnapshotName:
    if type(found) is not tuple:
        raise _wrong("a snapshot's name", found)
    through, size, digest = found
    if len(_bytes(digest)) != DIGEST_BYTES:
        raise ProtocolError(f"a snapshot's digest of {len(digest)} bytes")
    return SnapshotName(_positive(through), _positive(size), digest)


def _within(offset: _Wire, name: SnapshotName) -> int:
    if _integer(offset) > name.size:
        raise ProtocolError(f"byte {offset} of a snapshot of {name.size} bytes")
    return int(offset)


def _wire_digests(m: Heartbeat | HeartbeatAnswer) -> tuple[object, ...]:
    """Return what stands at the end of a heartbeat or its answer: nothing if it has no digest."""
    snapshot = None if m.snapshot == NO_DIGEST else m.snapshot
    if m.results == NO_DIGEST:
        return () if snapshot is None else (snapshot,)
    return (snapshot, m.results)


def _digests(found: Sequence[_Wire]) -> tuple[StateDigest, StateDigest]:
    if not found:
        return NO_DIGEST, NO_DIGEST
    if len(found) == 1:
        return _state_digest(found[0]), NO_DIGEST
    snapshot, results = found
    return NO_DIGEST if snapshot is None else _state_digest(snapshot), _state_digest(results)


def _state_digest(found: _Wire) -> StateDigest:
    if type(found) is not tuple:
        raise _wrong("a state digest", found)
    slot, digest = found
    if not 1 <= len(_bytes(digest)) <= STATE_DIGEST_BYTES_MAX:
        raise ProtocolError(f"a state digest of {len(digest)} bytes")
    return StateDigest(_positive(slot), digest)


_RANGE = struct.Struct(">QQ")


def _wire_ranges(ranges: Sequence[tuple[Slot, Slot]]) -> tuple[bytes, ...]:
    """Return what stands at the end of a promise: nothing if there is no slot in doubt."""
    return (b"".join(_RANGE.pack(*each) for each in ranges),) if ranges else ()


def _ranges(found: Sequence[_Wire]) -> tuple[tuple[Slot, Slot], ...]:
    if not found:
        return ()
    (packed,) = found
    if not _bytes(packed) or len(packed) % _RANGE.size:
        raise ProtocolError(f"ranges of slots in {len(packed)} bytes")
    ranges = tuple(_RANGE.iter_unpack(packed))
    below = 0
    for first, last in ranges:
        if not below < first <= last <= INTEGER_MAX:
            raise ProtocolError(f"slots {first} to {last} after {below}: not ranges in order")
        below = last
    return ranges


def _report(found: _Wire) -> Report:
    if type(found) is not tuple:
        raise _wrong("a report", found)
    slot, ballot, value = found
    return Report(_positive(slot), None if ballot is None else _ballot(ballot), _value(value))


def _results(found: list[_Wire]) -> tuple[Result, ...]:
    for result in found:
        if type(result) is not tuple:
            raise _wrong("a result", result)
        request, status, slot, data = result
        if (
            type(request) is not int
            or type(status) is not int
            or type(slot) is not int
            or type(data) is not bytes
            or (request | slot) >> 63
            or not 0 <= status <= _STATUS_MAX
        ):
            raise _wrong("a result", result)
    return tuple(map(_new_result, found))


def _fields(payload: bytes) -> _Wire:
    """Return the array of fields behind the tag byte; its length is the caller's to check."""
    # The limits stand here and in _unpacker as literal arguments: a dictionary costs 0.2 us.
    fields = unpackb(
        memoryview(payload)[1:],
        use_list=False,
        max_array_len=_ARRAY_MAX,
        max_map_len=0,
        max_ext_len=0,
        max_str_len=TEXT_BYTES_MAX,
    )
    if type(fields) is not tuple:
        raise _wrong("an array of fields", fields)
    return fields


def _unpacker(size: int) -> Unpacker:
    """Return an empty Unpacker for ``size`` bytes at once, and a nil behind them."""
    room = size + len(_NIL)
    return Unpacker(
        None,
        read_size=min(room, _READ_BYTES),
        max_buffer_size=room,
        use_list=False,
        max_array_len=_ARRAY_MAX,
        max_map_len=0,
        max_ext_len=0,
        max_str_len=TEXT_BYTES_MAX,
    )


def _objects(unpacker: Unpacker, body: memoryview) -> list[_Wire]:
    """Return all msgpack objects of ``body``. Once this has raised, the Unpacker is spoilt."""
    unpacker.feed(body)
    # Shows whether the last object was whole: one that was cut short swallows the nil, or is
    # incomplete even so.
    unpacker.feed(_NIL)
    objects = list(unpacker)
    if not objects or objects.pop() is not None:
        raise ProtocolError("it is cut short")
    return objects


def _fields_and_items(payload: bytes) -> tuple[_Wire, list[_Wire]]:
    """Return the array of fields behind the tag byte, and the items that follow it."""
    fields, *items = _objects(_unpacker(len(payload)), memoryview(payload)[1:])
    if type(fields) is not tuple:
        raise _wrong("an array of fields", fields)
    return fields, items


# --- between replicas ---------------------------------------------------------------------------


def _encode_prepare(m: Prepare) -> bytes:
    return b"\x11" + _pack((m.ballot, m.after))


def _decode_prepare(payload: bytes) -> Prepare:
    ballot, after = _fields(payload)
    return Prepare(_ballot(ballot), _integer(after))


def _encode_promise(m: Promise) -> bytes:
    fields = (m.ballot, m.above, m.through)
    marks = (m.decided_through, m.compacted_through, m.clock)
    reports = [(r.slot, r.ballot, _wire_value(r.value)) for r in m.reports]
    doubt = _wire_ranges(m.unknown)
    return b"".join((b"\x12", _pack(fields + marks + doubt), _items(reports)))


def _decode_promise(payload: bytes) -> Promise:
    fields, items = _fields_and_items(payload)
    ballot, above, through, decided_through, compacted_through, clock, *doubt = fields
    if through is not None and _integer(through) <= _integer(above):
        raise ProtocolError(f"a part of a promise that covers nothing above {above}")
    return Promise(
        _ballot(ballot),
        _integer(above),
        through,
        _integer(decided_through),
        _integer(compacted_through),
        _integer(clock),
        tuple(map(_report, items)),
        _ranges(doubt),
    )


def _encode_accept(m: Accept) -> bytes:
    value = m.value
    if value.change is not None:
        return b"\x13" + _pack((m.ballot, m.slot, _wire_value(value), m.decided_through))
    return b"\x13" + _pack((m.ballot, m.slot, (value.stamp, value.commands), m.decided_through))


def _decode_accept(payload: bytes) -> Accept:
    ballot, slot, value, decided_through = _fields(payload)
    return Accept(_ballot(ballot), _positive(slot), _value(value), _integer(decided_through))


def _encode_accepted(m: Accepted) -> bytes:
    return b"\x14" + _pack((m.ballot, m.slot, m.decided_through))


def _decode_accepted(payload: bytes) -> Accepted:
    ballot, slot, decided_through = _fields(payload)
    return Accepted(_ballot(ballot), _positive(slot), _integer(decided_through))


def _encode_nack(m: Nack) -> bytes:
    return b"\x15" + _pack((m.ballot, m.promised, m.leader, m.decided_through))


def _decode_nack(payload: bytes) -> Nack:
    ballot, promised, leader, decided_through = _fields(payload)
    return Nack(_ballot(ballot), _ballot(promised), _ballot(leader), _integer(decided_through))


def _encode_compacted(m: Compacted) -> bytes:
    return b"\x1a" + _pack((m.ballot, m.promised, m.through, m.decided_through))


def _decode_compacted(payload: bytes) -> Compacted:
    ballot, promised, through, decided_through = _fields(payload)
    return Compacted(
        _ballot(ballot), _ballot(promised), _integer(through), _integer(decided_through)
    )


def _encode_heartbeat(m: Heartbeat) -> bytes:
    fields = (m.number, m.ballot, m.connected, m.decided_through)
    return b"\x16" + _pack(fields + _wire_digests(m))


def _decode_heartbeat(payload: bytes) -> Heartbeat:
    number, ballot, connected, decided_through, *digests = _fields(payload)
    return Heartbeat(
        _integer(number),
        _ballot(ballot),
        _truth(connected),
        _integer(decided_through),
        *_digests(digests),
    )


def _encode_heartbeat_answer(m: HeartbeatAnswer) -> bytes:
    fields = (m.number, m.promised, m.leader, m.sound, m.decided_through, m.clock)
    return b"\x17" + _pack(fields + _wire_digests(m))


def _decode_heartbeat_answer(payload: bytes) -> HeartbeatAnswer:
    number, promised, leader, sound, decided_through, clock, *digests = _fields(payload)
    return HeartbeatAnswer(
        _integer(number),
        _ballot(promised),
        _ballot(leader),
        _truth(sound),
        _integer(decided_through),
        _integer(clock),
        *_digests(digests),
    )


def _encode_catch_up(m: CatchUp) -> bytes:
    return b"\x18" + _pack((m.after,))


def _decode_catch_up(payload: bytes) -> CatchUp:
    (after,) = _fields(payload)
    return CatchUp(_integer(after))


def _encode_decided(m: Decided) -> bytes:
    values = [_wire_value(value) for value in m.values]
    return b"".join((b"\x19", _pack((m.first, m.decided_through)), _items(values)))


def _decode_decided(payload: bytes) -> Decided:
    (first, decided_through), items = _fields_and_items(payload)
    if len(items) > INTEGER_MAX - _positive(first):
        raise ProtocolError(f"{len(items)} slots from {first} on are more than can be numbered")
    return Decided(first, tuple(map(_value, items)), _integer(decided_through))


def _encode_settle(m: Settle) -> bytes:
    return b"\x1e" + _pack((m.through,))


def _decode_settle(payload: bytes) -> Settle:
    (through,) = _fields(payload)
    return Settle(_integer(through))


def _encode_settled(m: Settled) -> bytes:
    return b"\x1f" + _pack((m.through,))


def _decode_settled(payload: bytes) -> Settled:
    (through,) = _fields(payload)
    return Settled(_integer(through))


def _encode_take_over(m: TakeOver) -> bytes:
    return b"\x10" + _pack((m.ballot,))


def _decode_take_over(payload: bytes) -> TakeOver:
    (ballot,) = _fields(payload)
    return TakeOver(_ballot(ballot))


# --- snapshots, to replicas and clients alike -----------------------------------------------------


def _encode_snapshot_offer(m: SnapshotOffer) -> bytes:
    return b"\x1b" + _pack((m.name, m.decided_through))


def _decode_snapshot_offer(payload: bytes) -> SnapshotOffer:
    name, decided_through = _fields(payload)
    return SnapshotOffer(_name(name), _integer(decided_through))


def _encode_snapshot_request(m: SnapshotRequest) -> bytes:
    return b"\x1c" + _pack((m.name, m.offset))


def _decode_snapshot_request(payload: bytes) -> SnapshotRequest:
    fields, offset = _fields(payload)
    name = _name(fields)
    return SnapshotRequest(name, _within(offset, name))


def _encode_snapshot_chunk(m: SnapshotChunk) -> bytes:
    if len(m.data) > SNAPSHOT_CHUNK_BYTES_MAX:
        raise ValueError(f"{len(m.data)} bytes are too many for a piece of a snapshot")
    return b"\x1d" + _pack((m.name, m.offset, m.data))


def _decode_snapshot_chunk(payload: bytes) -> SnapshotChunk:
    fields, offset, data = _fields(payload)
    name = _name(fields)
    if len(_bytes(data)) > SNAPSHOT_CHUNK_BYTES_MAX:
        raise ProtocolError(f"a piece of a snapshot of {len(data)} bytes")
    _within(_integer(offset) + len(data), name)
    return SnapshotChunk(name, offset, data)


# --- from a client to a replica -----------------------------------------------------------------

_HEADER = struct.Struct(">BQQ")


def _encode_open_session(m: OpenSession) -> bytes:
    return _HEADER.pack(OPEN_SESSION, m.nonce, 0)


def _decode_open_session(payload: bytes) -> OpenSession:
    nonce, zero = submission_header(payload)
    if len(payload) != _HEADER.size or zero:
        raise ProtocolError("a request for a session has nothing behind its nonce")
    return OpenSession(_integer(nonce))


def _encode_submit(m: Submit) -> bytes:
    head = _HEADER.pack(SUBMIT, m.session, m.first)
    return b"".join((head, _pack(m.acked_through), _pack(_short(m.machine)), _items(m.commands)))


def _decode_submit(payload: bytes) -> Submit:
    return _submit(payload, _unpacker(len(payload)))


def _submit(payload: bytes, unpacker: Unpacker) -> Submit:
    session, first = submission_header(payload)
    objects = _objects(unpacker, memoryview(payload)[_HEADER.size :])
    acked_through, machine, *rest = objects
    commands = tuple(rest)
    if not commands:
        raise ProtocolError("a Submit needs a command")
    if len(commands) > INTEGER_MAX - _positive(first):
        raise ProtocolError(f"{len(commands)} requests from {first} on cannot be numbered")
    if set(map(type, commands)) != _BYTES_ONLY:
        other = next(each for each in commands if type(each) is not bytes)
        raise _wrong("a command as bytes", other)
    return Submit(_integer(session), first, _integer(acked_through), _text(machine), commands)


def _short(text: str) -> str:
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise ValueError(f"a text of at most {TEXT_BYTES_MAX} bytes was expected: {text:.40}...")
    return text


def _encode_read(m: Read) -> bytes:
    fields = (m.number, m.level, _short(m.machine), m.query, m.at_least)
    return b"\x03" + _pack(fields)


def _decode_read(payload: bytes) -> Read:
    number, level, machine, query, at_least = _fields(payload)
    return Read(_integer(number), _level(level), _text(machine), _bytes(query), _integer(at_least))


def _encode_watch(m: Watch) -> bytes:
    return b"\x04" + _pack((m.number, _short(m.machine), m.query, m.at_least))


def _decode_watch(payload: bytes) -> Watch:
    number, machine, query, at_least = _fields(payload)
    return Watch(_integer(number), _text(machine), _bytes(query), _integer(at_least))


def _encode_cancel_watch(m: CancelWatch) -> bytes:
    return b"\x05" + _pack((m.number,))


def _decode_cancel_watch(payload: bytes) -> CancelWatch:
    (number,) = _fields(payload)
    return CancelWatch(_integer(number))


def _encode_status_request(m: StatusRequest) -> bytes:
    return b"\x06" + _pack((m.number,))


def _decode_status_request(payload: bytes) -> StatusRequest:
    (number,) = _fields(payload)
    return StatusRequest(_integer(number))


def _encode_reconfigure(m: Reconfigure) -> bytes:
    return b"\x07" + _pack((m.number, configuration_codec.pack(m.configuration)))


def _decode_reconfigure(payload: bytes) -> Reconfigure:
    number, packed = _fields(payload)
    return Reconfigure(_integer(number), configuration_codec.unpack(_bytes(packed)))


def _encode_transfer_leader(m: TransferLeader) -> bytes:
    return b"\x08" + _pack((m.number, m.to))


def _decode_transfer_leader(payload: bytes) -> TransferLeader:
    number, to = _fields(payload)
    return TransferLeader(_integer(number), _integer(to))


def _encode_take_snapshot(m: TakeSnapshot) -> bytes:
    return b"\x09" + _pack((m.number,))


def _decode_take_snapshot(payload: bytes) -> TakeSnapshot:
    (number,) = _fields(payload)
    return TakeSnapshot(_integer(number))


# --- from a replica to a client -----------------------------------------------------------------


def _encode_session_opened(m: SessionOpened) -> bytes:
    return b"\x21" + _pack((m.nonce, m.session))


def _decode_session_opened(payload: bytes) -> SessionOpened:
    nonce, session = _fields(payload)
    return SessionOpened(_integer(nonce), _integer(session))


def _encode_results(m: Results) -> bytes:
    return b"".join((b"\x22", _pack((m.session,)), _items(m.results)))


def _decode_results(payload: bytes) -> Results:
    (session,), items = _fields_and_items(payload)
    return Results(_integer(session), _results(items))


def _encode_redirect(m: Redirect) -> bytes:
    return b"\x23" + _pack((m.leader,))


def _decode_redirect(payload: bytes) -> Redirect:
    (leader,) = _fields(payload)
    return Redirect(_integer(leader))


def _encode_overloaded(m: Overloaded) -> bytes:
    return b"\x24" + _pack((m.session, m.first, m.retry_after_ms, _short(m.reason)))


def _decode_overloaded(payload: bytes) -> Overloaded:
    session, first, retry_after_ms, reason = _fields(payload)
    return Overloaded(_integer(session), _integer(first), _integer(retry_after_ms), _text(reason))


def _encode_read_answer(m: ReadAnswer) -> bytes:
    return b"\x25" + _pack((m.number, m.status, m.slot, m.data))


def _decode_read_answer(payload: bytes) -> ReadAnswer:
    number, status, slot, data = _fields(payload)
    return ReadAnswer(_integer(number), _status(status), _integer(slot), _bytes(data))


def _encode_status_answer(m: StatusAnswer) -> bytes:
    return b"\x26" + _pack((m.number, m.document))


def _decode_status_answer(payload: bytes) -> StatusAnswer:
    number, document = _fields(payload)
    return StatusAnswer(_integer(number), _bytes(document))


def _encode_admin_answer(m: AdminAnswer) -> bytes:
    # Cut rather than refused: it is for a person, and may name a hundred nodes.
    text = m.text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
    return b"\x27" + _pack((m.number, m.status, m.slot, text))


def _decode_admin_answer(payload: bytes) -> AdminAnswer:
    number, status, slot, text = _fields(payload)
    return AdminAnswer(_integer(number), _status(status), _integer(slot), _text(text))


# --- records ------------------------------------------------------------------------------------


def _encode_promised_record(r: PromisedRecord) -> bytes:
    return b"\x11" + _pack((r.ballot,))


def _decode_promised_record(payload: bytes) -> PromisedRecord:
    (ballot,) = _fields(payload)
    return PromisedRecord(_ballot(ballot))


def _encode_issued_record(r: IssuedRecord) -> bytes:
    return b"\x12" + _pack((r.ballot,))


def _decode_issued_record(payload: bytes) -> IssuedRecord:
    (ballot,) = _fields(payload)
    return IssuedRecord(_ballot(ballot))


def _encode_accepted_record(r: AcceptedRecord) -> bytes:
    value = r.value
    if value.change is not None:
        return b"\x23" + _pack((r.ballot, r.slot, _wire_value(value)))
    return b"\x13" + _pack((r.ballot, r.slot, (value.stamp, value.commands)))


def _decode_accepted_record(payload: bytes) -> AcceptedRecord:
    ballot, slot, found = _fields(payload)
    return AcceptedRecord(_ballot(ballot), _positive(slot), _value_in_record(payload, found))


def _encode_decided_record(r: DecidedRecord) -> bytes:
    tag = b"\x14" if r.value.change is None else b"\x24"
    return tag + _pack((r.slot, _wire_value(r.value)))


def _decode_decided_record(payload: bytes) -> DecidedRecord:
    slot, found = _fields(payload)
    return DecidedRecord(_positive(slot), _value_in_record(payload, found))


def _value_in_record(payload: bytes, found: _Wire) -> Value:
    # A format says what its records may hold: a release that reads only the first must find all
    # that it cannot understand under another number.
    value = _value(found)
    version = RECORD_VERSION if value.change is None else RECORD_VERSION_CHANGES
    if payload[0] >> 4 != version:
        raise ProtocolError(f"{value} does not belong into a record of this format")
    return value


def _encode_watermark_record(r: WatermarkRecord) -> bytes:
    return b"\x15" + _pack((r.ballot, r.through))


def _decode_watermark_record(payload: bytes) -> WatermarkRecord:
    ballot, through = _fields(payload)
    return WatermarkRecord(_ballot(ballot), _integer(through))


# --- the tables ---------------------------------------------------------------------------------

_ENCODE: dict[type[Message], Callable[[Any], bytes]] = {
    Prepare: _encode_prepare,
    Promise: _encode_promise,
    Accept: _encode_accept,
    Accepted: _encode_accepted,
    Nack: _encode_nack,
    Heartbeat: _encode_heartbeat,
    HeartbeatAnswer: _encode_heartbeat_answer,
    CatchUp: _encode_catch_up,
    Decided: _encode_decided,
    Compacted: _encode_compacted,
    Settle: _encode_settle,
    Settled: _encode_settled,
    TakeOver: _encode_take_over,
    SnapshotOffer: _encode_snapshot_offer,
    SnapshotRequest: _encode_snapshot_request,
    SnapshotChunk: _encode_snapshot_chunk,
    OpenSession: _encode_open_session,
    Submit: _encode_submit,
    Read: _encode_read,
    Watch: _encode_watch,
    CancelWatch: _encode_cancel_watch,
    StatusRequest: _encode_status_request,
    Reconfigure: _encode_reconfigure,
    TransferLeader: _encode_transfer_leader,
    TakeSnapshot: _encode_take_snapshot,
    SessionOpened: _encode_session_opened,
    Results: _encode_results,
    Redirect: _encode_redirect,
    Overloaded: _encode_overloaded,
    ReadAnswer: _encode_read_answer,
    StatusAnswer: _encode_status_answer,
    AdminAnswer: _encode_admin_answer,
}

_DECODE_CLIENT: dict[int, Callable[[bytes], ClientMessage]] = {
    SUBMIT: _decode_submit,
    OPEN_SESSION: _decode_open_session,
    0x03: _decode_read,
    0x04: _decode_watch,
    0x05: _decode_cancel_watch,
    0x06: _decode_status_request,
    0x07: _decode_reconfigure,
    0x08: _decode_transfer_leader,
    0x09: _decode_take_snapshot,
    0x1C: _decode_snapshot_request,
}

_DECODE_PEER: dict[int, Callable[[bytes], PeerMessage]] = {
    0x10: _decode_take_over,
    0x11: _decode_prepare,
    0x12: _decode_promise,
    0x13: _decode_accept,
    0x14: _decode_accepted,
    0x15: _decode_nack,
    0x16: _decode_heartbeat,
    0x17: _decode_heartbeat_answer,
    0x18: _decode_catch_up,
    0x19: _decode_decided,
    0x1A: _decode_compacted,
    0x1B: _decode_snapshot_offer,
    0x1C: _decode_snapshot_request,
    0x1D: _decode_snapshot_chunk,
    0x1E: _decode_settle,
    0x1F: _decode_settled,
}

_DECODE_ANSWER: dict[int, Callable[[bytes], ClientAnswer]] = {
    0x21: _decode_session_opened,
    0x22: _decode_results,
    0x23: _decode_redirect,
    0x24: _decode_overloaded,
    0x25: _decode_read_answer,
    0x26: _decode_status_answer,
    0x27: _decode_admin_answer,
    0x1B: _decode_snapshot_offer,
    0x1D: _decode_snapshot_chunk,
}

_DECODE: dict[int, Callable[[bytes], Message]] = {
    **_DECODE_CLIENT,
    **_DECODE_PEER,
    **_DECODE_ANSWER,
}

_ENCODE_RECORD: dict[type[Record], Callable[[Any], bytes]] = {
    PromisedRecord: _encode_promised_record,
    IssuedRecord: _encode_issued_record,
    AcceptedRecord: _encode_accepted_record,
    DecidedRecord: _encode_decided_record,
    WatermarkRecord: _encode_watermark_record,
}

# The upper half of the tag is the format's number: all formats that can be read stand here.
_DECODE_RECORD: dict[int, Callable[[bytes], Record]] = {
    0x11: _decode_promised_record,
    0x12: _decode_issued_record,
    0x13: _decode_accepted_record,
    0x14: _decode_decided_record,
    0x15: _decode_watermark_record,
    0x23: _decode_accepted_record,
    0x24: _decode_decided_record,
}


# --- what others call ---------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """Return a message as bytes, which ``decode`` turns into an equal message.

    Raises:
        ValueError: A text over ``TEXT_BYTES_MAX`` (our own mistake).
    """
    return _ENCODE[type(message)](message)


def decode(payload: bytes) -> Message:
    """Return the message that ``payload`` holds, of whatever family.

    Raises:
        ProtocolError: It holds none. Nothing else is ever raised, whatever the bytes.
    """
    return _read(_DECODE, payload, "message")


def decode_peer(payload: bytes) -> PeerMessage:
    """Return a message between replicas. Anything else, a client's message too, is refused.

    Raises:
        ProtocolError: ``payload`` holds none.
    """
    return _read(_DECODE_PEER, payload, "message between replicas")


def decode_client(payload: bytes) -> ClientMessage:
    """Return a message of a client to a replica. Anything else is refused.

    Raises:
        ProtocolError: ``payload`` holds none.
    """
    return _read(_DECODE_CLIENT, payload, "message of a client")


def decode_answer(payload: bytes) -> ClientAnswer:
    """Return a message of a replica to a client. Anything else is refused.

    Raises:
        ProtocolError: ``payload`` holds none.
    """
    return _read(_DECODE_ANSWER, payload, "answer to a client")


def encode_record(record: Record) -> bytes:
    """Return a record as bytes: of format 1, or of 2 if it holds a change."""
    return _ENCODE_RECORD[type(record)](record)


def decode_record(payload: bytes) -> Record:
    """Return the record that ``payload`` holds, in any format that can still be read.

    Raises:
        ProtocolError: It holds none. Nothing else is ever raised, whatever the bytes.
    """
    return _read(_DECODE_RECORD, payload, "record")


def _read(table: Mapping[int, Callable[[bytes], _M]], payload: bytes, kind: str) -> _M:
    decoder = table.get(payload[0]) if payload else None
    if decoder is None:
        raise ProtocolError(f"not a {kind}: it begins with {payload[:1].hex() or 'nothing'}")
    try:
        return decoder(payload)
    except _NONSENSE as error:
        raise ProtocolError(f"not a {kind} (tag {payload[0]:02x}): {error}") from error


# --- configurations -----------------------------------------------------------------------------


def encode_configuration(configuration: Configuration) -> bytes:
    """Return a configuration as bytes: equal ones as equal bytes.

    Raises:
        ValueError: It is over a bound of the format (our own mistake).
    """
    return configuration_codec.pack(configuration)


def decode_configuration(packed: bytes) -> Configuration:
    """Return the configuration that ``packed`` holds.

    Raises:
        ProtocolError: It holds none that is valid. Nothing else is ever raised.
    """
    try:
        return configuration_codec.unpack(packed)
    except ConfigurationInvalid as error:
        raise ProtocolError(str(error)) from error


def encode_governing(governing: Sequence[Governing]) -> bytes:
    """Return what governs a range of slots, as the head of a snapshot says it."""
    rows = [(each.first, configuration_codec.pack(each.configuration)) for each in governing]
    return b"".join(map(_pack, rows))


def decode_governing(packed: bytes) -> tuple[Governing, ...]:
    """Return the configurations that ``packed`` holds: at least one, in order, none left out.

    Raises:
        ProtocolError: It holds none. Nothing else is ever raised, whatever the bytes.
    """
    try:
        governing = tuple(map(_governing, _objects(_unpacker(len(packed)), memoryview(packed))))
    except _NONSENSE as error:
        raise ProtocolError(f"not a row of configurations: {error}") from error
    if not governing:
        raise ProtocolError("a row of configurations with none in it")
    for before, after in pairwise(governing):
        follows = after.configuration.version == before.configuration.version + 1
        if not follows or after.first <= before.first:
            raise ProtocolError("configurations that do not follow one another")
    return governing


def _governing(found: _Wire) -> Governing:
    if type(found) is not tuple:
        raise _wrong("a configuration with its first slot", found)
    first, packed = found
    return Governing(_positive(first), configuration_codec.unpack(_bytes(packed)))


# --- submissions: bytes from the client to the executor -----------------------------------------


def encode_submission(submission: Submit | OpenSession) -> bytes:
    """Return a client's submission as the payload of its frame (the same as ``encode``)."""
    return encode(submission)


def submission_header(payload: bytes) -> tuple[SessionId, RequestNumber]:
    """Return (session, first request) of a Submit, (nonce, 0) of an OpenSession, for routing.

    Only the length is checked: the caller has looked at the first byte, and the executor checks
    the rest, on every replica alike.

    Raises:
        ProtocolError: The header is cut short.
    """
    if len(payload) < _HEADER.size:
        raise ProtocolError(f"a submission of {len(payload)} bytes is shorter than its header")
    _, session, first = _HEADER.unpack_from(payload)
    return session, first


def wrap_submission(payload: bytes) -> bytes:
    """Return a submission's payload as a batch holds it. A batch is these, one behind another."""
    return _pack(payload)


def unpack_batch(commands: bytes) -> list[Submit | OpenSession | Malformed]:
    """Return the submissions of a decided batch, in order. Never raises.

    Every replica must find the same ones, so what makes no sense has a fixed reading too: a
    submission whose body is nonsense becomes Malformed and harms no other; bytes that are not
    even a row of wrapped submissions end the batch there, as one Malformed(0, 0).
    """
    payloads, whole = _payloads(commands)
    unpacker = _unpacker(len(commands))
    found: list[Submit | OpenSession | Malformed] = []
    for payload in payloads:
        if type(payload) is not bytes:
            whole = False
            break
        try:
            found.append(_submission(payload, unpacker))
        except _NONSENSE:
            found.append(_malformed(payload))
            unpacker = _unpacker(len(commands))
    if not whole:
        found.append(Malformed(0, 0))
    return found


def _payloads(commands: bytes) -> tuple[list[_Wire], bool]:
    """Return the objects of a batch up to the first that cannot be read, and whether none was."""
    unpacker = _unpacker(len(commands))
    unpacker.feed(commands)
    payloads: list[_Wire] = []
    try:
        payloads.extend(unpacker)  # what came before an error stays
        # If the batch ends within an object, a nil behind it is not seen as one.
        unpacker.feed(_NIL)
        return payloads, list(unpacker) == [None]
    except _NONSENSE:
        return payloads, False


def _submission(payload: bytes, unpacker: Unpacker) -> Submit | OpenSession:
    """Decode one submission with an Unpacker that is empty, and stays so unless this raises."""
    tag = payload[0] if payload else None
    if tag == SUBMIT:
        return _submit(payload, unpacker)
    if tag == OPEN_SESSION:
        return _decode_open_session(payload)
    raise ProtocolError("not a submission")


def _malformed(payload: bytes) -> Malformed:
    """Name a submission that makes no sense, as far as its header goes."""
    if len(payload) < _HEADER.size or payload[0] not in (SUBMIT, OPEN_SESSION):
        return Malformed(0, 0)
    return Malformed(*submission_header(payload))
