"""Snapshots of edge configuration that are read while it goes on, against those read at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from random import Random

import pytest

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import edge_config_client as client
from statemachines import key_index, snapshot_records, versioned_store
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import Delete, Put
from statemachines.edge_config_format import EdgeConfigLimits

LIMITS = EdgeConfigLimits(keep_revisions=20)


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one or two records, and blocks of few keys, so that much can come in between."""
    monkeypatch.setattr(snapshot_records, "CHUNK_BYTES_MAX", 40)
    monkeypatch.setattr(key_index, "_BLOCK_KEYS_MAX", 4)


def change_something(machine: EdgeConfig, rng: Random, number: int) -> None:
    """Write, delete, compact or change the retention, of 40 keys."""
    key, other = (f"k{each:02}" for each in rng.sample(range(40), 2))
    commands: list[Callable[[], bytes]] = [
        *([lambda: client.put_command(key, b"%d" % number)] * 6),
        *([lambda: client.delete_command(key)] * 4),
        *([lambda: client.transaction_command([], [Put(key, b""), Delete(other)])] * 3),
        lambda: client.compact_command(max(0, number - rng.randrange(30))),
        lambda: client.retain_command(rng.randrange(1, 30)),
    ]
    try:
        machine.apply(rng.choice(commands)(), Stamp(number + 1, 0, number))
    except CommandFailed:
        pass  # it compacts what has not come to pass yet


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("seed", range(60))
def test_snapshot_read_between_changes_equals_the_one_read_at_once(seed: int) -> None:
    rng = Random(seed)
    machine = EdgeConfig(LIMITS)
    reading: list[tuple[Iterator[bytes], list[bytes], list[bytes]]] = []
    whole = 0
    for number in range(400):
        change_something(machine, rng, number)
        if len(reading) < 3 and rng.random() < 0.05:
            reading.append((machine.snapshot(), [], list(machine.snapshot())))
        for chunks, taken, right in list(reading):
            for _ in range(rng.choice((0, 0, 1, 3))):
                chunk = next(chunks, None)
                if chunk is None:
                    assert taken == right
                    reading.remove((chunks, taken, right))
                    whole += 1
                    break
                taken.append(chunk)
    for chunks, taken, right in reading:
        assert [*taken, *chunks] == right
    assert whole > 0
    copy = EdgeConfig()
    copy.restore(machine.snapshot())
    assert list(copy.snapshot()) == list(machine.snapshot())


@pytest.mark.usefixtures("tiny_pieces")
def test_snapshot_keeps_what_is_forgotten_only_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captures: list[weakref.ref[versioned_store.Capture]] = []
    capture_now = versioned_store.VersionedStore.capture

    def capture_and_look(store: versioned_store.VersionedStore) -> versioned_store.Capture:
        capture = capture_now(store)
        captures.append(weakref.ref(capture))
        return capture

    monkeypatch.setattr(versioned_store.VersionedStore, "capture", capture_and_look)
    machine = EdgeConfig(LIMITS)
    rng = Random(1)
    for number in range(100):
        change_something(machine, rng, number)
    never_read, half_read, read = (machine.snapshot() for _ in range(3))
    next(half_read)
    assert [each() is None for each in captures] == [False, False, False]
    list(read)
    del never_read, half_read
    gc.collect()
    assert [each() is None for each in captures] == [True, True, True]


def test_snapshot_of_large_retention_settles_at_once_and_shows_no_later_retention() -> None:
    machine = EdgeConfig(EdgeConfigLimits(keep_revisions=5000))
    for number in range(3000):
        machine.apply(client.put_command(f"k{number % 7}", b"%d" % number), Stamp(1, number, 0))
    right = list(machine.snapshot())
    chunks = machine.snapshot()
    for command in (client.compact_command(3000), client.retain_command(1)):
        machine.apply(command, Stamp(2, 0, 0))
    machine.apply(client.delete_command("k3"), Stamp(3, 0, 0))
    assert list(chunks) == right


@pytest.mark.parametrize("seed", range(5))
def test_put_leaves_what_a_transaction_of_that_put_leaves(seed: int) -> None:
    rng = Random(seed)
    alone, together = EdgeConfig(LIMITS), EdgeConfig(LIMITS)
    for number in range(200):
        key, at = f"k{rng.randrange(20):02}", Stamp(number + 1, 0, number)
        if rng.random() < 0.2:
            alone.apply(client.delete_command(key), at)
            together.apply(client.delete_command(key), at)
        else:
            put = Put(key, b"%d" % number)
            alone.apply(client.put_command(put.key, put.value), at)
            together.apply(client.transaction_command([], [put]), at)
    assert list(alone.snapshot()) == list(together.snapshot())
    assert alone.query(client.stats_query()) == together.query(client.stats_query())
