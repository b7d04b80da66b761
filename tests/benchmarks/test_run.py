"""A run goes through its parts, and fails without losing what it has measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers import __main__ as run
from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.measurement import FloorRecord, RunRecord
from benchmarks.peers.plan import Timing
from benchmarks.peers.progress import Progress
from benchmarks.peers.rounds import ClusterPart
from tests.benchmarks.fake_systems import FakeSystem

ESTIMATE_S = 7.0


def measure_gap(record: RunRecord, system: LifecycleSystem, number: int, _: Path | None) -> None:
    """Find a gap, but of one system."""
    if system.name == "broken":
        raise ClusterFailed("no leader")
    record["failover"].append({"system": system.name, "round": number, "gap_s": 0.5})


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    part = ClusterPart(measure_gap, estimate_s=ESTIMATE_S, rounds_max=2)
    monkeypatch.setattr(run, "CLUSTER_PARTS", {"failover": part})
    floor: FloorRecord = {"sync_ms": 0.1, "round_trip_ms": 0.1, "replicated_ms": 0.3}
    monkeypatch.setattr(run, "floor", lambda _: floor)
    monkeypatch.setattr(run, "wait_until_quiet", lambda _: 0.0)


def options(*systems: LifecycleSystem, rounds: int) -> run.Options:
    """Return options for a run without loads."""
    return run.Options(systems, ["failover"], [64], rounds, Timing(1.0, 2.0), 0.0, None)


def test_run_measures_each_part_in_its_rounds_of_each_system_that_takes_part() -> None:
    chosen = options(FakeSystem("a"), FakeSystem("b", failover="it is tired"), rounds=3)
    record = run.new_record(chosen, missing={"c": ["java"]})
    for number in (1, 2, 3):
        assert run.measure_round(number, chosen, record, Progress(chosen.estimate_s()))
    assert [(row["system"], row["round"]) for row in record["failover"]] == [("a", 1), ("a", 2)]
    assert record["left_out"] == {"b": {"failover": "it is tired"}}
    assert len(record["floors"]) == 3
    assert chosen.estimate_s() == 2 * ESTIMATE_S


def test_run_of_which_one_system_fails_goes_on_with_the_others_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = options(FakeSystem("broken"), FakeSystem("sound"), rounds=1)
    record = run.new_record(chosen, missing={})
    assert not run.measure_round(1, chosen, record, Progress(chosen.estimate_s()))
    assert [row["system"] for row in record["failover"]] == ["sound"]
    assert "broken, failover failed: no leader" in capsys.readouterr().err
