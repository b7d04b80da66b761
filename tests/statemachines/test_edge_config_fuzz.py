"""Arbitrary bytes in every place where bytes come in: only the declared errors come out."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import edge_config_client as client
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_document import flatten, parse_document
from statemachines.snapshot_records import SnapshotDamaged

AT = Stamp(1, 0, 0)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=8)
    | st.sampled_from(["", "k", "a/b", "/", "text/plain", "application/json"])
    | st.text(max_size=4)
)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=20)
commands = st.builds(
    lambda kind, fields: packb((1, kind, *fields)),
    st.integers(0, 12),
    st.lists(trees, max_size=7),
)


def encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def small_machine() -> EdgeConfig:
    machine = EdgeConfig()
    for key in ("k", "a/b"):
        machine.apply(client.put_command(key, b"v"), AT)
    return machine


@given(data=st.binary(max_size=64) | commands)
def test_machine_given_any_bytes_raises_nothing_but_command_failed(data: bytes) -> None:
    machine = small_machine()
    before = list(machine.snapshot())
    for ask in (machine.query, machine.watch):
        with contextlib.suppress(CommandFailed):
            ask(data)
        assert list(machine.snapshot()) == before
    try:
        machine.apply(data, AT)
    except CommandFailed:
        assert list(machine.snapshot()) == before


DECODERS: list[Callable[[bytes], object]] = [
    client.decode_put,
    client.decode_delete,
    client.decode_compare_and_set,
    client.decode_transaction,
    client.decode_retention,
    client.decode_get,
    client.decode_page,
    client.decode_summary_page,
    client.decode_history,
    client.decode_stats,
    client.decode_watch,
]


@given(
    data=st.binary(max_size=40)
    | st.lists(trees, max_size=6).map(lambda fields: bytes(packb((1, *fields))))
)
def test_decoders_given_any_bytes_raise_nothing_but_answer_invalid(data: bytes) -> None:
    for decode in DECODERS:
        with contextlib.suppress(client.AnswerInvalid):
            decode(data)


@given(position=st.integers(0), change=st.integers(1, 255))
def test_restore_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    (chunk,) = small_machine().snapshot()
    damaged = bytearray(chunk)
    damaged[position % len(chunk)] ^= change
    with pytest.raises(SnapshotDamaged):
        EdgeConfig().restore([bytes(damaged)])


@given(chunks=st.lists(st.binary(max_size=30), max_size=4))
def test_restore_of_any_bytes_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(SnapshotDamaged):
        EdgeConfig().restore(chunks)


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b/c", "$json", "$text", "$base64", "$content_type", "", "/"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(document=json_trees)
def test_flatten_of_any_document_gives_entries_or_refuses(document: object) -> None:
    try:
        entries = flatten(document)
    except client.RequestInvalid:
        return
    list(client.import_commands(entries))


@given(text=st.text(max_size=30) | st.binary(max_size=30))
def test_parse_document_of_any_text_gives_entries_or_refuses(text: str | bytes) -> None:
    with contextlib.suppress(client.RequestInvalid):
        parse_document(text)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x00\x40\x00" * 13_000,
        b"\xdc\x04\x00" * 300_000,
        b"\x91" * 1_000_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\x92\x01\x80",
    ],
)
def test_machine_given_absurd_lengths_refuses_without_reserving_memory(bomb: bytes) -> None:
    machine = EdgeConfig()
    tracemalloc.start()
    try:
        with pytest.raises(CommandFailed):
            machine.apply(bomb, AT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
