"""A configuration as bytes, and back: how a change stands in the log, in messages and in snapshots.

Owns that one format. It has no number: what a later release adds goes behind a higher ``feature``.
A configuration has exactly one form, and nothing else is taken: equal configurations are equal
bytes, so that equal snapshots are. Whatever bytes come, ``unpack`` raises ``ConfigurationInvalid``
only, and builds nothing large.

Format: msgpack objects, one behind another. First [version, feature, next_node, number of members,
phase1, phase2], then each member as [node, incarnation, part, url, priority]. A phase is the size
of its quorums; or bytes that name them: for each quorum how many it has, then the place of each in
the row of members.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgpack import Packer, Unpacker, UnpackException

from paxos.core.config import NODES_MAX, Configuration, Member, Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums, QuorumSets, QuorumSystem

CONFIGURATION_BYTES_MAX = 96 * 1024
"""As many members as there may be, with the longest urls, and as many named quorums."""

URL_BYTES_MAX = 512
"""The longest url of a member, in UTF-8."""

QUORUM_SETS_MAX = 256
"""Named quorums of one phase: all halves of ten voters. Checking that they meet is quadratic."""

_NUMBER_MAX = 2**63 - 1
_FIELDS_MAX = 6

_pack: Callable[[object], bytes] = Packer().pack


def pack(configuration: Configuration) -> bytes:
    """Return the one form of ``configuration``.

    Raises:
        ValueError: It is over a bound of the format (our own mistake).
    """
    try:
        packed = _packed(configuration)
        unpack(packed)
    except (ConfigurationInvalid, OverflowError) as error:
        raise ValueError(f"a configuration that cannot be put into bytes: {error}") from error
    return packed


def unpack(packed: bytes) -> Configuration:
    """Return the configuration that ``packed`` holds.

    Raises:
        ConfigurationInvalid: It holds none, or one that breaks the law of configurations, or not
            in the one form. Nothing else is ever raised, whatever the bytes.
    """
    if len(packed) > CONFIGURATION_BYTES_MAX:
        raise ConfigurationInvalid(f"{len(packed)} bytes are too many for a configuration")
    try:
        configuration = _unpacked(packed)
    except (ValueError, UnpackException) as error:
        raise ConfigurationInvalid(
            f"not a configuration: {error or type(error).__name__}"
        ) from error
    if _packed(configuration) != packed:
        raise ConfigurationInvalid("a configuration that is not in its one form")
    return configuration


def _packed(configuration: Configuration) -> bytes:
    places = {member.voter: place for place, member in enumerate(configuration.members)}
    phase1, phase2 = _phases(configuration.quorums, places)
    head = (
        configuration.version,
        configuration.feature,
        configuration.next_node,
        len(configuration.members),
        phase1,
        phase2,
    )
    return _pack(head) + b"".join(map(_pack, configuration.members))


def _phases(quorums: QuorumSystem, places: dict[Voter, int]) -> tuple[int | bytes, int | bytes]:
    if isinstance(quorums, Quorums):
        return quorums.phase1, quorums.phase2
    return _named(quorums.phase1_sets, places), _named(quorums.phase2_sets, places)


def _named(sets: Collection[Collection[Voter]], places: dict[Voter, int]) -> bytes:
    rows = sorted(sorted(places[voter] for voter in quorum) for quorum in sets)
    return b"".join(bytes([len(row), *row]) for row in rows)


def _unpacked(packed: bytes) -> Configuration:
    unpacker = Unpacker(
        None,
        max_buffer_size=CONFIGURATION_BYTES_MAX,
        use_list=False,
        max_array_len=_FIELDS_MAX,
        max_map_len=0,
        max_ext_len=0,
        max_str_len=URL_BYTES_MAX,
    )
    unpacker.feed(packed)
    head, *rows = unpacker
    if type(head) is not tuple:
        raise ValueError("its head is no array")
    version, feature, next_node, count, phase1, phase2 = head
    if not 1 <= len(rows) <= NODES_MAX or len(rows) != _number(count):
        raise ValueError(f"{len(rows)} members, of {count} announced; 1 to {NODES_MAX} may be")
    members = tuple(map(_member, rows))
    return Configuration(
        _number(version),
        _quorums(phase1, phase2, members),
        members,
        _number(feature),
        _number(next_node),
    )


def _member(row: object) -> Member:
    if type(row) is not tuple:
        raise ValueError("a member is no array")
    node, incarnation, part, url, priority = row
    if type(url) is not str:
        raise ValueError("a member's url is no text")
    return Member(_number(node), _number(incarnation), Part(_number(part)), url, _number(priority))


def _quorums(phase1: Any, phase2: Any, members: Sequence[Member]) -> QuorumSystem:
    voters = frozenset(member.voter for member in members if member.part)
    if type(phase1) is bytes and type(phase2) is bytes:
        return QuorumSets(voters, _sets(phase1, members), _sets(phase2, members))
    return Quorums(voters, _number(phase1), _number(phase2))


def _sets(named: bytes, members: Sequence[Member]) -> frozenset[frozenset[Voter]]:
    found: set[frozenset[Voter]] = set()
    start = 0
    while start < len(named):
        if len(found) == QUORUM_SETS_MAX:
            raise ValueError(f"more than {QUORUM_SETS_MAX} quorums are named for one phase")
        end = start + 1 + named[start]
        places = named[start + 1 : end]
        if any(place >= len(members) for place in places):
            raise ValueError("a quorum names a member that is not there")
        found.add(frozenset(members[place].voter for place in places))
        start = end
    return frozenset(found)


def _number(found: object) -> int:
    # bool is an int to isinstance, and must not pass for one here.
    if type(found) is not int or not 0 <= found <= _NUMBER_MAX:
        raise ValueError(f"expected a number from 0 to 2**63-1, found {found!r:.40}")
    return found
