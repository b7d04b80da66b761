"""The first frame each way on every channel: who are you, and are we of one cluster?

Owns the format of Hello, Welcome and Rejected, and the rules by which a Hello is refused. Knows
nothing of channels, time or tasks. It guards invariant 8: a message counts for a voter only if the
channel it came on was opened by exactly that (node, incarnation).

The format has a version of its own, in front of everything else, and Rejected will never change
its layout: a node of another version can always be told, in words, why it was refused. Whatever
bytes arrive, ``decode`` raises nothing but ``HandshakeInvalid``, and builds nothing large.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgpack

from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId, Voter

PROTOCOL_VERSION = 1
"""Of the handshake and of every frame after it. Other versions are refused in words."""

HANDSHAKE_BYTES_MAX = 64 * 1024
"""A Welcome that names a hundred nodes has room; nothing in a handshake needs more."""

CLUSTER_CHARS_MAX = 64
URL_CHARS_MAX = 512
REASON_CHARS_MAX = 2_000
MEMBERS_MAX = 100

_MAGIC = b"mpaxos"
_PREFIX = struct.Struct(">6sHB")
_HELLO, _WELCOME, _REJECTED = 1, 2, 3
_NUMBER_MAX = 2**63 - 1


class HandshakeInvalid(PaxosError):
    """What came is not a handshake, or not one that can be understood. The text says why."""


class VersionForeign(HandshakeInvalid):
    """The other side speaks another version of the protocol; the text says both."""

    def __init__(self, theirs: int) -> None:
        super().__init__(
            f"this side speaks protocol version {PROTOCOL_VERSION}, the other side {theirs}: "
            "run the same release on both"
        )
        self.theirs = theirs


class HandshakeRefused(PaxosError):
    """The other side refused us; the text is its own, for a person."""


class Kind(Enum):
    """What the side that dials is."""

    REPLICA = 0
    CLIENT = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What the side that dialled says first.

    Attributes:
        cluster: The cluster id it belongs to; a client may leave it empty, for any.
        kind: Whether it is a replica or a client. The rest matters for a replica only.
        node: Its node id.
        incarnation: Of its data directory.
        boot: Drawn at random when its process started: tells two processes with one id apart.
        expected: The node id it means to reach.
    """

    cluster: str
    kind: Kind
    node: NodeId = 0
    incarnation: int = 0
    boot: int = 0
    expected: NodeId = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer that opens the channel: who was reached, and where the others are.

    Attributes:
        cluster: The cluster id.
        node: Node id of the side that answers.
        incarnation: Of its data directory.
        boot: Drawn at random when its process started.
        members: URL by node id, so that a client can follow a leader hint.
    """

    cluster: str
    node: NodeId
    incarnation: int
    boot: int
    members: Mapping[NodeId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The answer that ends the channel. ``reason`` is for a person: who is wrong, what to do."""

    reason: str


Handshake = Hello | Welcome | Rejected


def encode(handshake: Handshake) -> bytes:
    """Return the frame for ``handshake``."""
    match handshake:
        case Hello():
            return _frame(
                _HELLO,
                [
                    handshake.cluster,
                    handshake.kind.value,
                    handshake.node,
                    handshake.incarnation,
                    handshake.boot,
                    handshake.expected,
                ],
            )
        case Welcome():
            members = [[node, url] for node, url in sorted(handshake.members.items())]
            return _frame(
                _WELCOME,
                [
                    handshake.cluster,
                    handshake.node,
                    handshake.incarnation,
                    handshake.boot,
                    members,
                ],
            )
        case Rejected():
            # Plain UTF-8 behind the prefix, for ever: every version must be able to read it.
            reason = handshake.reason[:REASON_CHARS_MAX]
            return _PREFIX.pack(_MAGIC, PROTOCOL_VERSION, _REJECTED) + reason.encode()


def decode(frame: bytes) -> Handshake:
    """Return what ``frame`` says.

    Raises:
        VersionForeign: It is a handshake of another protocol version.
        HandshakeInvalid: It is not a handshake.
    """
    if len(frame) > HANDSHAKE_BYTES_MAX:
        raise HandshakeInvalid(f"{len(frame)} bytes are too many for a handshake")
    if len(frame) < _PREFIX.size:
        raise HandshakeInvalid("too short for a handshake: is the other side a paxos node?")
    magic, version, kind = _PREFIX.unpack_from(frame)
    if magic != _MAGIC:
        raise HandshakeInvalid("not a handshake: is the other side a paxos node?")
    body = frame[_PREFIX.size :]
    if kind == _REJECTED:
        return Rejected(body.decode(errors="replace")[:REASON_CHARS_MAX])
    if version != PROTOCOL_VERSION:
        raise VersionForeign(version)
    if kind == _HELLO:
        return _hello(_fields(body, 6))
    if kind == _WELCOME:
        return _welcome(_fields(body, 5))
    raise HandshakeInvalid(f"unknown kind of handshake {kind}")


def decode_hello(frame: bytes) -> Hello:
    """Return the Hello that the side which dialled must say first.

    Raises:
        HandshakeInvalid: ``frame`` is anything else.
    """
    handshake = decode(frame)
    if isinstance(handshake, Hello):
        return handshake
    raise HandshakeInvalid("the side that dialled must say Hello first")


def decode_answer(frame: bytes) -> Welcome:
    """Return the Welcome that answers a Hello.

    Raises:
        HandshakeRefused: The other side refused us, and this is its reason.
        HandshakeInvalid: ``frame`` is neither.
    """
    handshake = decode(frame)
    if isinstance(handshake, Welcome):
        return handshake
    if isinstance(handshake, Rejected):
        raise HandshakeRefused(handshake.reason)
    raise HandshakeInvalid("the answer to a Hello must be Welcome or Rejected")


def refusal(hello: Hello, me: Welcome, voters: Mapping[NodeId, Voter]) -> str | None:
    """Return why ``me`` must not talk to the sender of ``hello``, or None if it may.

    Whether another live process claims the same node id is not seen here: that needs the channels.

    Args:
        hello: What the side that dialled said.
        me: What this node would answer.
        voters: Every member of the cluster by node id, with its incarnation.
    """
    if hello.cluster != me.cluster and not (hello.kind is Kind.CLIENT and not hello.cluster):
        return (
            f"node {me.node} belongs to cluster {me.cluster}, not to {hello.cluster or '(none)'}: "
            "check the endpoint or the configuration file"
        )
    if hello.kind is Kind.CLIENT:
        return None
    if hello.expected != me.node:
        return (
            f"this is node {me.node}, not node {hello.expected}: "
            f"check the url of node {hello.expected} in the configuration file"
        )
    voter = voters.get(hello.node)
    if voter is None or hello.node == me.node:
        return (
            f"node {hello.node} is not another member of cluster {me.cluster} "
            f"(it has nodes {', '.join(map(str, sorted(voters)))})"
        )
    if voter.incarnation != hello.incarnation:
        return _foreign_incarnation(voter, hello.incarnation)
    return None


def misdirection(welcome: Welcome, me: Hello, expected: Voter) -> str | None:
    """Return why ``welcome`` is not from ``expected``, which ``me`` dialled, or None if it is."""
    if welcome.cluster != me.cluster:
        return (
            f"reached a node of cluster {welcome.cluster}, not of {me.cluster}: "
            f"check the url of node {expected.node} in the configuration file"
        )
    if welcome.node != expected.node:
        return (
            f"reached node {welcome.node}, not node {expected.node}: "
            f"check the url of node {expected.node} in the configuration file"
        )
    if welcome.incarnation != expected.incarnation:
        return _foreign_incarnation(expected, welcome.incarnation)
    return None


def _foreign_incarnation(member: Voter, incarnation: int) -> str:
    return (
        f"node {member.node} has incarnation {member.incarnation:x} in this cluster, "
        f"not {incarnation:x}: its data directory was copied or made again; "
        "a lost directory makes a new node with a new id"
    )


def _frame(kind: int, fields: list[object]) -> bytes:
    body: bytes = msgpack.packb(fields)
    frame = _PREFIX.pack(_MAGIC, PROTOCOL_VERSION, kind) + body
    if len(frame) > HANDSHAKE_BYTES_MAX:
        raise ValueError(f"a handshake of {len(frame)} bytes: too many members, or urls too long")
    return frame


def _fields(body: bytes, count: int) -> list[object]:
    try:
        fields = msgpack.unpackb(
            body,
            max_str_len=URL_CHARS_MAX * 4,
            max_array_len=MEMBERS_MAX,
            max_bin_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
    # msgpack raises ValueError and its children for all bad input, and UnpackException beside them.
    except (ValueError, msgpack.UnpackException) as error:
        raise HandshakeInvalid(f"malformed: {error or type(error).__name__}") from error
    if not isinstance(fields, list) or len(fields) != count:
        raise HandshakeInvalid("malformed: wrong number of fields")
    return fields


def _hello(fields: list[object]) -> Hello:
    cluster, kind, node, incarnation, boot, expected = fields
    number = _number(kind)
    if number not in (Kind.REPLICA.value, Kind.CLIENT.value):
        raise HandshakeInvalid(f"unknown kind of client {number}")
    return Hello(
        _text(cluster, CLUSTER_CHARS_MAX),
        Kind(number),
        _number(node),
        _number(incarnation),
        _number(boot),
        _number(expected),
    )


def _welcome(fields: list[object]) -> Welcome:
    cluster, node, incarnation, boot, rows = fields
    members: dict[NodeId, str] = {}
    if not isinstance(rows, list):
        raise HandshakeInvalid("malformed: members are no list")
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise HandshakeInvalid("malformed: a member is not a pair")
        members[_number(row[0])] = _text(row[1], URL_CHARS_MAX)
    return Welcome(
        _text(cluster, CLUSTER_CHARS_MAX),
        _number(node),
        _number(incarnation),
        _number(boot),
        members,
    )


def _number(value: object) -> int:
    # bool is an int to isinstance, and must not pass for one on the wire.
    if type(value) is not int or not 0 <= value <= _NUMBER_MAX:
        raise HandshakeInvalid("malformed: not a number within 0..2**63-1")
    return value


def _text(value: object, chars_max: int) -> str:
    if not isinstance(value, str) or len(value) > chars_max:
        raise HandshakeInvalid(f"malformed: not a text of at most {chars_max} characters")
    return value
