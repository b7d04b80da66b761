"""What benchmarks say is what happened: the logs they make, and the pauses they tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.log_of_commands import MACHINE, write_log
from benchmarks.minimal_store import CHUNK_BYTES, MinimalStore, put
from benchmarks.writers import Write, Writers
from paxos import cluster as cluster_file
from paxos import codec
from paxos.cli.init import init
from paxos.core.executor import Executor
from paxos.core.state_machine import Stamp
from paxos.runtime.recovery import recover
from paxos.storage.segments import open_segments
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import decode_stats, stats_query


def test_log_of_commands_is_recovered_as_decided_commands_that_all_succeed(tmp_path: Path) -> None:
    made = CliRunner().invoke(init, [str(tmp_path / "c"), "--replicas", "3"])
    assert made.exit_code == 0, made.output
    config = tmp_path / "c" / "cluster.toml"
    write_log(config, 1, commands=400, batch=20, value_bytes=100)
    cluster = cluster_file.load(config)
    storage = open_segments(cluster.data_directory(1), cluster.identity(1))
    try:
        recovered = recover(storage, cluster.identity(1)).recovered
    finally:
        storage.close()
    assert all(held.decided for held in recovered.held.values())
    machine = EdgeConfig()
    executor = Executor({MACHINE: machine}, codec.unpack_batch, 100, 100)
    for slot in range(1, 22):
        executor.apply(slot, recovered.held[slot].value)
    assert decode_stats(machine.query(stats_query())).revision == 400


def test_phase_tells_the_longest_pause_also_where_nothing_was_done() -> None:
    writers = Writers(iter(()))
    writers.done += [Write(0.5, 0.1), Write(1.25, 0.25), Write(1.5, 0.5), Write(9.0, 3.0)]
    phase = writers.phase(1.0, 2.0)
    assert (phase.writes, phase.writes_per_s) == (2, 2.0)
    assert (phase.p50_ms, phase.p99_ms, phase.max_ms) == (250, 500, 500)
    assert phase.pause_ms == pytest.approx(500)
    assert writers.phase(2.0, 5.0).pause_ms == pytest.approx(3000)


def test_minimal_store_gives_back_what_was_put_last_also_from_a_snapshot() -> None:
    store, at = MinimalStore(), Stamp(1, 0, 0)
    for number in range(3_000):
        assert store.apply(put(b"k%d" % (number % 1_000), b"%d" % number * 30), at) == b""
    chunks = store.snapshot()
    store.apply(put(b"k7", b""), at)
    restored = MinimalStore()
    restored.restore(chunk for chunk in chunks if len(chunk) <= 2 * CHUNK_BYTES)
    for number in (0, 7, 999):
        assert restored.query(b"k%d" % number) == b"%d" % (2_000 + number) * 30
    assert (store.query(b"k7"), store.query(b"none")) == (b"", b"")
