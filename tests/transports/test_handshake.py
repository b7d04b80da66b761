"""The handshake: its bytes, who is refused and in which words, and what arbitrary bytes do."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.ids import Voter
from paxos.runtime import handshake
from paxos.runtime.handshake import (
    HANDSHAKE_BYTES_MAX,
    MEMBERS_MAX,
    PROTOCOL_VERSION,
    Handshake,
    HandshakeInvalid,
    HandshakeRefused,
    Hello,
    Kind,
    Rejected,
    VersionForeign,
    Welcome,
)

CLUSTER = "0123456789abcdef" * 2
VOTERS = {1: Voter(1, 101), 2: Voter(2, 102), 3: Voter(3, 103)}
URLS = {1: "tcp://10.0.0.1:7001", 2: "tcp://10.0.0.2:7001", 3: "tcp://10.0.0.3:7001"}
HELLO = Hello(CLUSTER, Kind.REPLICA, node=3, incarnation=103, boot=7, expected=1)
CLIENT = Hello(CLUSTER, Kind.CLIENT)
WELCOME = Welcome(CLUSTER, node=1, incarnation=101, boot=9, members=URLS)


def replace_fields(sent: Hello | Welcome, fields: dict[str, Any]) -> Hello | Welcome:
    return replace(sent, **fields)


numbers = st.integers(0, 2**63 - 1)
clusters = st.text(max_size=64)
features = st.one_of(
    st.just({"feature": 1}),
    st.fixed_dictionaries({"feature": st.integers(2, 9), "machines": st.text(max_size=512)}),
)
hellos = st.builds(
    replace_fields,
    st.builds(Hello, clusters, st.sampled_from(Kind), numbers, numbers, numbers, numbers),
    features,
)
welcomes = st.builds(
    replace_fields,
    st.builds(
        Welcome,
        clusters,
        numbers,
        numbers,
        numbers,
        st.dictionaries(numbers, st.text(max_size=512), max_size=5),
    ),
    features,
)
rejections = st.builds(Rejected, st.text(max_size=2_000), st.integers(0, 65_535))


def frame(version: int, kind: int, body: object) -> bytes:
    head = b"mpaxos" + version.to_bytes(2, "big") + bytes([kind])
    return head + bytes(msgpack.packb(body))


@given(st.one_of(hellos, welcomes, rejections))
def test_handshake_encoded_then_decoded_is_itself(sent: Handshake) -> None:
    assert handshake.decode(handshake.encode(sent)) == sent


def test_handshake_of_version_1_has_its_golden_bytes() -> None:
    small = Welcome("ab", 1, 2, 3, {2: "tcp://b", 1: "tcp://a"})
    assert handshake.encode(Hello("ab", Kind.CLIENT, 1, 2, 3, 4)).hex() == (
        "6d7061786f7300010196a261620101020304"
    )
    assert handshake.encode(small).hex() == (
        "6d7061786f7300010295a26162010203929201a77463703a2f2f619202a77463703a2f2f62"
    )
    assert handshake.encode(Rejected("go \N{HOUSE BUILDING}", 1)).hex() == (
        "6d7061786f73000103676f20f09f8fa0"
    )


def test_handshake_of_version_2_has_its_golden_bytes() -> None:
    small = Welcome("ab", 1, 2, 3, {2: "tcp://b", 1: "tcp://a"}, feature=2)
    assert handshake.encode(Hello("ab", Kind.CLIENT, 1, 2, 3, 4, feature=2)).hex() == (
        "6d7061786f7300020197a26162010102030402"
    )
    assert handshake.encode(small).hex() == (
        "6d7061786f7300020296a26162010203929201a77463703a2f2f619202a77463703a2f2f6202"
    )
    assert handshake.encode(Rejected("no")).hex() == "6d7061786f730002036e6f"
    runs = replace(small, machines="config, tasks")
    assert handshake.encode(runs) == handshake.encode(small)[:9] + bytes([0x97]) + (
        handshake.encode(small)[10:] + b"\xadconfig, tasks"
    )


@pytest.mark.parametrize(
    "sent", [HELLO, WELCOME, replace(HELLO, feature=2), replace(WELCOME, feature=2)]
)
def test_handshake_cut_short_anywhere_is_invalid(sent: Handshake) -> None:
    whole = handshake.encode(sent)
    for length in range(len(whole)):
        with pytest.raises(HandshakeInvalid):
            handshake.decode(whole[:length])
    with pytest.raises(HandshakeInvalid):
        handshake.decode(whole + b"\x00")


@pytest.mark.parametrize("kind", [1, 2])
def test_handshake_of_another_version_is_foreign_whatever_follows(kind: int) -> None:
    for version in (0, PROTOCOL_VERSION + 1, 65_535):
        with pytest.raises(VersionForeign) as caught:
            handshake.decode(frame(version, kind, "something new"))
        assert caught.value.theirs == version
        assert f"version {PROTOCOL_VERSION}, the other side {version}" in str(caught.value)


def test_rejection_of_another_version_is_still_readable() -> None:
    sent = handshake.encode(Rejected("this node speaks version 9"))
    newer = sent.replace(b"\x00\x02\x03", b"\x00\x09\x03")
    assert handshake.decode(newer) == Rejected("this node speaks version 9", 9)


def test_rejection_with_a_long_or_broken_text_is_cut_and_mended() -> None:
    assert handshake.decode(handshake.encode(Rejected("x" * 10_000))) == Rejected("x" * 2_000)
    mended = handshake.decode(b"mpaxos\x00\x01\x03\xff\xfe")
    assert mended == Rejected("\N{REPLACEMENT CHARACTER}" * 2, 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
        b"x" * (HANDSHAKE_BYTES_MAX + 1),
        frame(1, 0, []),
        frame(1, 9, []),
        frame(1, 1, []),
        frame(1, 1, {}),
        frame(1, 1, None),
        frame(1, 1, ["ab", 1, 1, 1, 1, 1, 1]),
        frame(1, 1, ["ab", 2, 1, 1, 1, 1]),
        frame(1, 1, ["ab", True, 1, 1, 1, 1]),
        frame(1, 1, ["ab", 1, True, 1, 1, 1]),
        frame(1, 1, ["ab", 1, -1, 1, 1, 1]),
        frame(1, 1, ["ab", 1, 2**63, 1, 1, 1]),
        frame(1, 1, ["ab", 1, 1.0, 1, 1, 1]),
        frame(1, 1, [b"ab", 1, 1, 1, 1, 1]),
        frame(1, 1, ["a" * 65, 1, 1, 1, 1, 1]),
        frame(1, 2, ["ab", 1, 1, 1, 1]),
        frame(2, 1, ["ab", 1, 1, 1, 1, 1]),
        frame(2, 1, ["ab", 1, 1, 1, 1, 1, "2"]),
        frame(2, 1, ["ab", 1, 1, 1, 1, 1, True]),
        frame(2, 2, ["ab", 1, 1, 1, []]),
        frame(2, 2, {}),
        frame(1, 2, ["ab", 1, 1, 1, [], 2]),
        frame(1, 2, ["ab", 1, 1, 1, [1]]),
        frame(1, 2, ["ab", 1, 1, 1, [[1]]]),
        frame(1, 2, ["ab", 1, 1, 1, [["u", 1]]]),
        frame(1, 2, ["ab", 1, 1, 1, [[1, "u" * 513]]]),
        frame(1, 2, ["ab", 1, 1, 1, [[1, "u"]] * (MEMBERS_MAX + 1)]),
    ],
)
def test_handshake_that_is_none_is_invalid(sent: bytes) -> None:
    with pytest.raises(HandshakeInvalid) as caught:
        handshake.decode(sent)
    assert str(caught.value)


@given(st.binary(max_size=200))
def test_decode_of_arbitrary_bytes_raises_only_invalid(junk: bytes) -> None:
    heads = [frame(version, kind, 0)[:-1] for version in (1, 2) for kind in (1, 2)]
    for head in (b"", b"mpaxos", *heads):
        sent = head + junk
        for read in (handshake.decode, handshake.decode_hello, handshake.decode_answer):
            try:
                read(sent)
            except (HandshakeInvalid, HandshakeRefused) as error:
                assert len(str(error)) < 3_000  # noqa: PT017  it need not raise


@given(st.sampled_from([HELLO, WELCOME]), st.data())
def test_decode_of_a_damaged_handshake_raises_only_invalid(
    sent: Handshake, data: st.DataObject
) -> None:
    damaged = bytearray(handshake.encode(sent))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        handshake.decode(bytes(damaged))
    except HandshakeInvalid:
        pass


@pytest.mark.parametrize("head", ["dd", "df", "db", "c6", "96dd", "96df", "96db", "91" * 2_000])
def test_decode_of_huge_declared_sizes_holds_little_memory(head: str) -> None:
    sent = b"mpaxos\x00\x01\x01" + bytes.fromhex(head) + b"\xff" * 60_000
    running = tracemalloc.is_tracing()
    tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        with pytest.raises(HandshakeInvalid):
            handshake.decode(sent)
        assert tracemalloc.get_traced_memory()[1] - before < 1_000_000
    finally:
        if not running:
            tracemalloc.stop()


def test_encode_of_too_many_members_is_the_callers_mistake() -> None:
    members = dict.fromkeys(range(1, 200), "tcp://" + "h" * 500)
    with pytest.raises(ValueError, match="too many members"):
        handshake.encode(replace(WELCOME, members=members))


def test_hello_is_the_only_thing_the_dialling_side_may_say() -> None:
    assert handshake.decode_hello(handshake.encode(HELLO)) == HELLO
    for other in (WELCOME, Rejected("no")):
        with pytest.raises(HandshakeInvalid, match="must say Hello"):
            handshake.decode_hello(handshake.encode(other))


def test_answer_is_a_welcome_or_a_refusal_in_the_other_sides_words() -> None:
    assert handshake.decode_answer(handshake.encode(WELCOME)) == WELCOME
    with pytest.raises(HandshakeRefused, match=r"^go away$"):
        handshake.decode_answer(handshake.encode(Rejected("go away")))
    with pytest.raises(HandshakeInvalid, match="must be Welcome or Rejected"):
        handshake.decode_answer(handshake.encode(HELLO))


@pytest.mark.parametrize("hello", [HELLO, CLIENT, replace(CLIENT, cluster="")])
def test_hello_of_a_member_or_a_client_is_not_refused(hello: Hello) -> None:
    assert handshake.refusal(hello, WELCOME, VOTERS) is None


@pytest.mark.parametrize(
    ("hello", "says"),
    [
        (replace(HELLO, cluster="ff" * 16), [CLUSTER, "ff" * 16, "node 1"]),
        (replace(HELLO, cluster=""), [CLUSTER, "(none)"]),
        (replace(CLIENT, cluster="ff" * 16), [CLUSTER, "ff" * 16, "check the endpoint"]),
        (replace(HELLO, expected=2), ["this is node 1, not node 2", "url of node 2"]),
        (replace(HELLO, node=4), ["node 4 is not another member", "1, 2, 3"]),
        (replace(HELLO, node=1), ["node 1 is not another member"]),
        (replace(HELLO, incarnation=5), ["node 3 has incarnation 67", "not 5", "copied"]),
    ],
)
def test_hello_of_a_stranger_is_refused_with_the_culprits_name(
    hello: Hello, says: list[str]
) -> None:
    reason = handshake.refusal(hello, WELCOME, VOTERS)
    assert reason is not None
    for each in says:
        assert each in reason


def test_handshake_of_a_later_release_is_read_as_far_as_it_is_understood() -> None:
    hello = replace(HELLO, feature=7)
    fields = [CLUSTER, 0, 3, 103, 7, 1, 7]
    assert handshake.decode(frame(2, 1, fields)) == hello
    hello = replace(hello, machines="config")
    assert handshake.decode(frame(2, 1, [*fields, "config", "something new", [1, 2]])) == hello
    assert handshake.decode(frame(2, 1, [*fields[:6], 0])) == HELLO


def test_hello_refused_by_a_release_before_features_is_said_again_as_it_reads_it() -> None:
    hello = replace(HELLO, feature=2)
    foreign = HandshakeRefused("this side speaks protocol version 1, the other side 2", 1)
    again = handshake.fallback(hello, foreign)
    assert again == HELLO
    assert handshake.encode(again)[6:8] == b"\x00\x01"
    # What is refused once more is refused for another reason.
    assert handshake.fallback(again, foreign) is None
    # It could not be a member any more, and is not dialled as one.
    assert handshake.fallback(hello, foreign, feature=2) is None


def test_hello_refused_by_a_side_that_understood_it_is_not_said_again() -> None:
    with pytest.raises(HandshakeRefused) as caught:
        handshake.decode_answer(handshake.encode(Rejected("another cluster")))
    assert handshake.fallback(replace(HELLO, feature=2), caught.value) is None


@pytest.mark.parametrize(("understands", "told"), [(1, 1), (2, 3), (9, 3)])
def test_reply_says_all_features_to_a_side_that_can_read_it(understands: int, told: int) -> None:
    me = replace(WELCOME, feature=3)
    answer = handshake.reply(replace(HELLO, feature=understands), me)
    assert answer == replace(me, feature=told)


@pytest.mark.parametrize(("understands", "refused"), [(1, True), (2, False), (3, False)])
def test_member_that_understands_less_than_the_cluster_is_refused_with_what_to_do(
    understands: int, refused: bool
) -> None:
    hello = replace(HELLO, feature=understands)
    welcome = replace(WELCOME, feature=understands)
    for reason, node in (
        (handshake.refusal(hello, WELCOME, VOTERS, feature=2), 3),
        (handshake.misdirection(welcome, HELLO, VOTERS[1], feature=2), 1),
    ):
        assert (reason is not None) == refused
        if reason is not None:
            assert f"node {node} understands feature 1" in reason
            assert "the cluster has feature 2: run the release" in reason
    assert handshake.refusal(CLIENT, WELCOME, VOTERS, feature=2) is None


@pytest.mark.parametrize(
    ("theirs", "mine", "refused"),
    [
        ("config", "config, tasks", True),
        ("config, tasks", "config", True),
        ("config", "config", False),
        ("", "config", False),  # of a release before, or a witness
        ("config", "", False),
    ],
)
def test_member_that_runs_other_machines_is_refused_with_what_to_do(
    theirs: str, mine: str, refused: bool
) -> None:
    hello, welcome = replace(HELLO, machines=theirs), replace(WELCOME, machines=theirs)
    for reason, them, me in (
        (handshake.refusal(hello, replace(WELCOME, machines=mine), VOTERS), 3, 1),
        (handshake.misdirection(welcome, replace(HELLO, machines=mine), VOTERS[1]), 1, 3),
    ):
        assert (reason is not None) == refused
        if reason is not None:
            says = f"node {them} runs the state machines {theirs}, and node {me} runs {mine}:"
            assert reason.startswith(says)
            assert "[machines] must be the same" in reason
    assert handshake.refusal(CLIENT, replace(WELCOME, machines=mine), VOTERS) is None


def test_names_of_machines_are_told_in_order_and_cut_if_they_are_long() -> None:
    assert handshake.machines_text(["tasks", "config"]) == "config, tasks"
    assert len(handshake.machines_text(["x" * 600, "y"])) == handshake.MACHINES_CHARS_MAX


def test_welcome_of_the_node_that_was_meant_is_no_misdirection() -> None:
    assert handshake.misdirection(WELCOME, HELLO, VOTERS[1]) is None


@pytest.mark.parametrize(
    ("welcome", "says"),
    [
        (replace(WELCOME, cluster="ff" * 16), ["cluster " + "ff" * 16, CLUSTER, "url of node 1"]),
        (replace(WELCOME, node=2), ["reached node 2, not node 1", "url of node 1"]),
        (replace(WELCOME, incarnation=5), ["node 1 has incarnation 65", "not 5"]),
    ],
)
def test_welcome_of_another_node_is_a_misdirection_that_names_it(
    welcome: Welcome, says: list[str]
) -> None:
    reason = handshake.misdirection(welcome, HELLO, VOTERS[1])
    assert reason is not None
    for each in says:
        assert each in reason
