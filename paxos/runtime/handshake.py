"""The first frame each way on every channel: who are you, and are we of one cluster?

Owns the format of Hello, Welcome and Rejected, and the rules by which a Hello is refused. Knows
nothing of channels, time or tasks. It guards invariant 8: a message counts for a voter only if the
channel it came on was opened by exactly that (node, incarnation).

The format has a version of its own, in front of everything else, and Rejected will never change
its layout: a node of another version can always be told, in words, why it was refused. Whatever
bytes arrive, ``decode`` raises nothing but ``HandshakeInvalid``, and builds nothing large.

How releases meet: Hello and Welcome say which feature (``paxos.core.config``) their sender
understands. What says the first has the form of version 1, which knows no features; anything else
that of version 2, which has room at its end for what later releases add. Who dials says all it
understands. A release before features refuses that, by a Rejected of version 1, and is dialled
again at once as one of its own kind (``fallback``): by each new connection anew, so that a node is
known for what it is as soon as it has been upgraded. Who answers says all it understands to one
that reads it (``reply``). So both know the highest feature that both understand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import msgpack

from paxos.core.config import FEATURE_FIRST
from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId, Voter

PROTOCOL_VERSION = 2
"""Of the handshake. Later versions are refused in words, and so tell which one they may try."""

HANDSHAKE_BYTES_MAX = 64 * 1024
"""A Welcome that names a hundred nodes has room; nothing in a handshake needs more."""

CLUSTER_CHARS_MAX = 64
URL_CHARS_MAX = 512
MACHINES_CHARS_MAX = 512
REASON_CHARS_MAX = 2_000
MEMBERS_MAX = 100

_VERSION_FIRST = 1
"""Of handshakes that say nothing of features."""

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

    def __init__(self, reason: str, version: int = PROTOCOL_VERSION) -> None:
        super().__init__(reason)
        self.version = version
        """The handshake that it speaks."""


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
        feature: The highest that it understands.
        machines: Names of the state machines that it runs; see ``machines_text``.
    """

    cluster: str
    kind: Kind
    node: NodeId = 0
    incarnation: int = 0
    boot: int = 0
    expected: NodeId = 0
    feature: int = FEATURE_FIRST
    machines: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer that opens the channel: who was reached, and where the others are.

    Attributes:
        cluster: The cluster id.
        node: Node id of the side that answers.
        incarnation: Of its data directory.
        boot: Drawn at random when its process started.
        members: URL by node id, so that a client can follow a leader hint.
        feature: The highest that it understands.
        machines: Names of the state machines that it runs; see ``machines_text``.
    """

    cluster: str
    node: NodeId
    incarnation: int
    boot: int
    members: Mapping[NodeId, str] = field(default_factory=dict)
    feature: int = FEATURE_FIRST
    machines: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The answer that ends the channel. ``reason`` is for a person: who is wrong, what to do.

    ``version`` is that of the handshake which its sender speaks.
    """

    reason: str
    version: int = PROTOCOL_VERSION


Handshake = Hello | Welcome | Rejected


def machines_text(names: Iterable[str]) -> str:
    """Return the names of state machines as a handshake says them: in order, cut if they are long.

    Nothing is said of them where none run, and by releases that did not know of it.
    """
    return ", ".join(sorted(names))[:MACHINES_CHARS_MAX]


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
                handshake.feature,
                handshake.machines,
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
                handshake.feature,
                handshake.machines,
            )
        case Rejected():
            # Plain UTF-8 behind the prefix, for ever: every version must be able to read it.
            reason = handshake.reason[:REASON_CHARS_MAX]
            return _PREFIX.pack(_MAGIC, handshake.version, _REJECTED) + reason.encode()


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
        return Rejected(body.decode(errors="replace")[:REASON_CHARS_MAX], version)
    if not _VERSION_FIRST <= version <= PROTOCOL_VERSION:
        raise VersionForeign(version)
    if kind == _HELLO:
        return _hello(*_fields(body, 6, version))
    if kind == _WELCOME:
        return _welcome(*_fields(body, 5, version))
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
        raise HandshakeRefused(handshake.reason, handshake.version)
    raise HandshakeInvalid("the answer to a Hello must be Welcome or Rejected")


def fallback(hello: Hello, refused: HandshakeRefused, feature: int = FEATURE_FIRST) -> Hello | None:
    """Return what to say to the same node on a new channel, now that it refused ``hello``.

    None if it would refuse that too, having understood what it refused; or if the cluster's members
    must understand a ``feature`` that this one does not.
    """
    outdated = refused.version == _VERSION_FIRST
    if outdated and hello.feature > FEATURE_FIRST == feature:
        return replace(hello, feature=FEATURE_FIRST)
    return None


def reply(hello: Hello, me: Welcome) -> Welcome:
    """Return ``me`` as the sender of ``hello`` can read it."""
    return replace(me, feature=FEATURE_FIRST) if hello.feature == FEATURE_FIRST else me


def refusal(
    hello: Hello, me: Welcome, voters: Mapping[NodeId, Voter], feature: int = FEATURE_FIRST
) -> str | None:
    """Return why ``me`` must not talk to the sender of ``hello``, or None if it may.

    Whether another live process claims the same node id is not seen here: that needs the channels.

    Args:
        hello: What the side that dialled said.
        me: What this node would answer.
        voters: Every member of the cluster by node id, with its incarnation.
        feature: What the cluster's members must understand. Clients need not.
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
    return _outdated(voter, hello.feature, feature) or _differing(
        voter, hello.machines, me.node, me.machines
    )


def misdirection(
    welcome: Welcome, me: Hello, expected: Voter, feature: int = FEATURE_FIRST
) -> str | None:
    """Return why ``welcome`` is not from ``expected``, which ``me`` dialled, or None if it is.

    Args:
        welcome: The answer.
        me: What this node said.
        expected: Whom it meant to reach.
        feature: What the cluster's members must understand.
    """
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
    return _outdated(expected, welcome.feature, feature) or _differing(
        expected, welcome.machines, me.node, me.machines
    )


def _outdated(member: Voter, understands: int, feature: int) -> str | None:
    if understands >= feature:
        return None
    return (
        f"node {member.node} understands feature {understands}, and the cluster has feature "
        f"{feature}: run the release there that the other nodes run"
    )


def _differing(member: Voter, theirs: str, me: NodeId, mine: str) -> str | None:
    """Refuse a member that runs other machines: commands to them would not do the same on both."""
    if not theirs or not mine or theirs == mine:
        return None
    return (
        f"node {member.node} runs the state machines {theirs}, and node {me} runs {mine}: "
        "[machines] must be the same in the configuration file of every node"
    )


def _foreign_incarnation(member: Voter, incarnation: int) -> str:
    return (
        f"node {member.node} has incarnation {member.incarnation:x} in this cluster, "
        f"not {incarnation:x}: its data directory was copied or made again; "
        "a lost directory makes a new node with a new id"
    )


def _frame(kind: int, fields: list[object], feature: int, machines: str) -> bytes:
    version = _VERSION_FIRST if feature == FEATURE_FIRST else PROTOCOL_VERSION
    if version != _VERSION_FIRST:
        fields = [*fields, feature, machines] if machines else [*fields, feature]
    body: bytes = msgpack.packb(fields)
    frame = _PREFIX.pack(_MAGIC, version, kind) + body
    if len(frame) > HANDSHAKE_BYTES_MAX:
        raise ValueError(f"a handshake of {len(frame)} bytes: too many members, or urls too long")
    return frame


def _fields(body: bytes, count: int, version: int) -> tuple[list[object], int, str]:
    """Return the ``count`` fields, and the feature and the machines behind them."""
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
    if isinstance(fields, list):
        if version == _VERSION_FIRST and len(fields) == count:
            return fields, FEATURE_FIRST, ""
        # What stands behind the machines is of a later release.
        if version != _VERSION_FIRST and len(fields) > count:
            feature, *more = fields[count : count + 2]
            machines = _text(more[0], MACHINES_CHARS_MAX) if more else ""
            return fields[:count], max(FEATURE_FIRST, _number(feature)), machines
    raise HandshakeInvalid("malformed: wrong number of fields")


def _hello(fields: list[object], feature: int, machines: str) -> Hello:
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
        feature,
        machines,
    )


def _welcome(fields: list[object], feature: int, machines: str) -> Welcome:
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
        feature,
        machines,
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
