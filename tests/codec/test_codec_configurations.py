"""Configurations as bytes: one form each, and hostile bytes are refused without harm."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos import codec
from paxos.codec import INTEGER_MAX, ProtocolError
from paxos.configuration_codec import CONFIGURATION_BYTES_MAX, QUORUM_SETS_MAX, URL_BYTES_MAX
from paxos.core.config import NODES_MAX, Configuration, Governing, Member
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums, QuorumSets
from tests.codec.examples import (
    CONFIGURATION,
    SMALL_CONFIGURATION,
    configurations,
    rows_of_governing,
)
from tests.codec.shape import faults

LARGE = codec.encode_configuration(CONFIGURATION)


def _bytes(*objects: object) -> bytes:
    return b"".join(msgpack.packb(each) for each in objects)


@given(configurations())
def test_configuration_after_a_round_trip_is_equal_and_of_the_same_types(
    configuration: Configuration,
) -> None:
    back = codec.decode_configuration(codec.encode_configuration(configuration))
    assert back == configuration
    assert faults(back) == []


@given(rows_of_governing())
def test_row_of_configurations_after_a_round_trip_is_equal(
    governing: tuple[Governing, ...],
) -> None:
    assert codec.decode_governing(codec.encode_governing(governing)) == governing


def _judge(packed: bytes) -> None:
    """Decode: either ProtocolError and nothing else, or what is encoded as the same bytes."""
    try:
        configuration = codec.decode_configuration(packed)
    except ProtocolError:
        return
    assert faults(configuration) == []
    assert codec.encode_configuration(configuration) == packed


@given(st.binary(max_size=200))
def test_decode_configuration_of_arbitrary_bytes_raises_only_protocol_error(packed: bytes) -> None:
    _judge(packed)
    _judge(b"\x96\x01\x01" + packed)


@given(configurations(), st.integers(0), st.integers(1, 255))
def test_decode_configuration_with_one_changed_byte_raises_or_is_in_its_one_form(
    configuration: Configuration, position: int, change: int
) -> None:
    changed = bytearray(codec.encode_configuration(configuration))
    changed[position % len(changed)] ^= change
    _judge(bytes(changed))


def test_decode_configuration_cut_short_anywhere_or_with_a_tail_raises() -> None:
    for length in range(len(LARGE)):
        with pytest.raises(ProtocolError):
            codec.decode_configuration(LARGE[:length])
    with pytest.raises(ProtocolError):
        codec.decode_configuration(LARGE + b"\x00")


ONE = (1, 101, 1, "tcp://a:1", 0)
TWO = (2, 102, 1, "", 0)
HEAD = (1, 2, 3, 2, 1, 2)

WRONG: dict[str, tuple[list[Any], str]] = {
    "nothing": ([], "not enough values"),
    "a head that is no array": ([7, ONE], "its head is no array"),
    "a head of five": ([HEAD[:5], ONE], "not enough values"),
    "a head of seven": ([(*HEAD, 1), ONE], "exceeds"),
    "no members": ([HEAD], "0 members"),
    "a member too few": ([HEAD, ONE], "1 members, of 2"),
    "a member too many": ([HEAD, ONE, TWO, (3, 103, 0, "", 0)], "3 members, of 2"),
    "a number of members that is a float": ([(1, 2, 3, 2.0, 1, 2), ONE, TWO], "expected a number"),
    "a member that is no array": ([HEAD, 7, TWO], "a member is no array"),
    "a member of four": ([HEAD, ONE[:4], TWO], "not enough values"),
    "too many members": ([HEAD, *[ONE] * (NODES_MAX + 1)], "1 to 99 may be"),
    "a url that is bytes": ([HEAD, (1, 1, 1, b"", 0), TWO], "url is no text"),
    "a url that is too long": ([HEAD, (1, 1, 1, "u" * (URL_BYTES_MAX + 1), 0), TWO], "exceeds"),
    "a part that is none": ([HEAD, (1, 1, 3, "", 0), TWO], "3 is not a valid Part"),
    "a node that is true": ([HEAD, (True, 1, 1, "", 0), TWO], "expected a number"),
    "an incarnation that is negative": ([HEAD, (1, -1, 1, "", 0), TWO], "expected a number"),
    "a priority too high": ([HEAD, (1, 1, 1, "", INTEGER_MAX + 1), TWO], "expected a number"),
    "a version that is a text": ([("1", *HEAD[1:]), ONE, TWO], "expected a number"),
    "a version of 0": ([(0, *HEAD[1:]), ONE, TWO], "numbered from 1"),
    "a feature of 0": ([(1, 0, *HEAD[2:]), ONE, TWO], "numbered from 1"),
    "node 0": ([HEAD, (0, 1, 1, "", 0), ONE], "from 1"),
    "the same node twice": ([HEAD, ONE, (1, 102, 1, "", 0)], "share a node id"),
    "members out of order": ([HEAD, TWO, ONE], "in order"),
    "the next node a member's": ([(1, 2, 2, 2, 1, 2), ONE, TWO], "next_node must be above"),
    "the next node left out": ([(1, 2, 0, 2, 1, 2), ONE, TWO], "not in its one form"),
    "quorums that need not meet": ([(1, 2, 3, 2, 1, 1), ONE, TWO], "need not meet"),
    "a size and names": ([(1, 2, 3, 2, b"\x01\x00", 2), ONE, TWO], "expected a number"),
    "no voters": ([(1, 2, 3, 1, 1, 1), (1, 1, 0, "", 0)], "at least one voter"),
    "only witnesses": ([(1, 2, 3, 1, 1, 1), (1, 1, 2, "", 0)], "full voters"),
    "no named quorums": ([(1, 2, 3, 2, b"", b""), ONE, TWO], "at least one quorum"),
    "an empty quorum": ([(1, 2, 3, 2, b"\x00", b"\x01\x00"), ONE, TWO], "at least one voter"),
    "named quorums apart": ([(1, 2, 3, 2, b"\x01\x00", b"\x01\x01"), ONE, TWO], "do not meet"),
    "a quorum of nobody there": ([(1, 2, 3, 2, b"\x01\x02", b"\x01\x00"), ONE, TWO], "not there"),
    "a quorum with a learner": (
        [(1, 2, 3, 2, b"\x01\x01", b"\x01\x01"), ONE, (2, 102, 0, "", 0)],
        "does not vote",
    ),
    "a quorum cut short": (
        [(1, 2, 3, 2, b"\x02\x00", b"\x01\x00"), ONE, TWO],
        "not in its one form",
    ),
    "a quorum named twice": (
        [(1, 2, 3, 2, b"\x01\x00\x01\x00", b"\x01\x00"), ONE, TWO],
        "not in its one form",
    ),
    "a quorum out of order": (
        [(1, 2, 3, 2, b"\x02\x01\x00", b"\x01\x00"), ONE, TWO],
        "not in its one form",
    ),
}


@pytest.mark.parametrize(("objects", "says"), WRONG.values(), ids=WRONG.keys())
def test_decode_configuration_with_something_wrong_raises_and_says_what(
    objects: list[Any], says: str
) -> None:
    packed = _bytes(*objects)
    with pytest.raises(ProtocolError, match=says):
        codec.decode_configuration(packed)
    # The same within a message, which a peer or a client may send.
    for frame in (
        b"\x07" + _bytes((4, packed)),
        b"\x13" + _bytes(((1, 2), 3, (None, b"", packed), 4)),
        b"\x12" + _bytes(((1, 2), 3, None, 4, 5, 6), (7, None, (None, b"", packed))),
    ):
        with pytest.raises(ProtocolError, match=says):
            codec.decode(frame)


def test_decode_configuration_with_a_number_in_a_longer_form_raises() -> None:
    assert SMALL_CONFIGURATION.version == 5
    packed = codec.encode_configuration(SMALL_CONFIGURATION)
    with pytest.raises(ProtocolError, match="not in its one form"):
        codec.decode_configuration(packed.replace(b"\x96\x05", b"\x96\xcc\x05", 1))


def test_decode_configuration_over_the_limit_raises_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="too many for a configuration"):
        codec.decode_configuration(LARGE + bytes(CONFIGURATION_BYTES_MAX))


def _named(count: int) -> QuorumSets:
    """Return quorums of a hub and any half of the others."""
    voters = [Voter(node, 1) for node in range(1, 14)]
    halves = itertools.combinations(voters[1:], 6)
    sets = frozenset(frozenset((voters[0], *half)) for half in itertools.islice(halves, count))
    return QuorumSets(frozenset(voters), sets, sets)


def test_configuration_with_the_most_named_quorums_comes_back() -> None:
    configuration = Configuration(1, _named(QUORUM_SETS_MAX))
    packed = codec.encode_configuration(configuration)
    assert codec.decode_configuration(packed) == configuration


def test_configuration_with_the_most_members_and_longest_urls_comes_back() -> None:
    url = "tcp://" + "h" * (URL_BYTES_MAX - 6)
    members = tuple(
        Member(2**62 + node, 2**63 - 1, url=url, priority=2**63 - 1) for node in range(NODES_MAX)
    )
    quorums = Quorums.majority([member.voter for member in members])
    configuration = Configuration(2**63 - 1, quorums, members)
    packed = codec.encode_configuration(configuration)
    assert len(packed) < CONFIGURATION_BYTES_MAX
    assert codec.decode_configuration(packed) == configuration


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration(1, _named(QUORUM_SETS_MAX + 1)),
        replace(SMALL_CONFIGURATION, members=(Member(1, 101, url="u" * 513),)),
        replace(SMALL_CONFIGURATION, members=(Member(1, 101, priority=-1),)),
        replace(SMALL_CONFIGURATION, next_node=2**64),
    ],
    ids=["quorums", "url", "priority", "next node"],
)
def test_encode_configuration_over_a_limit_blames_the_caller(configuration: Configuration) -> None:
    with pytest.raises(ValueError, match="cannot be put into bytes"):
        codec.encode_configuration(configuration)


ROW = (3, codec.encode_configuration(SMALL_CONFIGURATION))
NEXT = codec.encode_configuration(replace(SMALL_CONFIGURATION, version=6))

WRONG_ROWS: dict[str, tuple[bytes, str]] = {
    "none": (b"", "none in it"),
    "no array": (_bytes(7), "its first slot"),
    "one field": (_bytes((3,)), "not enough values"),
    "three fields": (_bytes((*ROW, 1)), "too many values"),
    "slot 0": (_bytes((0, ROW[1])), "from 1"),
    "a configuration that is a text": (_bytes((3, "x")), "expected bytes"),
    "a configuration that is none": (_bytes((3, b"x")), "no array"),
    "cut short": (_bytes(ROW)[:-1], "cut short"),
    "the same slot twice": (_bytes(ROW, (3, NEXT)), "follow"),
    "the same version twice": (_bytes(ROW, (4, ROW[1])), "follow"),
    "a version left out": (
        _bytes(ROW, (4, codec.encode_configuration(replace(SMALL_CONFIGURATION, version=7)))),
        "follow",
    ),
}


@pytest.mark.parametrize(("packed", "says"), WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
def test_decode_governing_with_something_wrong_raises_and_says_what(
    packed: bytes, says: str
) -> None:
    with pytest.raises(ProtocolError, match=says):
        codec.decode_governing(packed)


@given(st.binary(max_size=100))
def test_decode_governing_of_arbitrary_bytes_raises_only_protocol_error(packed: bytes) -> None:
    for each in (packed, _bytes(ROW) + packed):
        try:
            codec.decode_governing(each)
        except ProtocolError:
            continue


@pytest.mark.parametrize("unit", ["dd", "dc0100", "95", "90", "c0", "9096", "db", "c6", "a0"])
def test_decode_configuration_of_hostile_claims_uses_memory_by_what_is_there(unit: str) -> None:
    size = CONFIGURATION_BYTES_MAX - 100
    body = bytes.fromhex(unit) * (size // (len(unit) // 2))
    for packed in (body, _bytes(HEAD) + body, _bytes(HEAD, ONE) + body):
        tracemalloc.start()
        try:
            _judge(packed)
            assert tracemalloc.get_traced_memory()[1] < 40 * size
        finally:
            tracemalloc.stop()
