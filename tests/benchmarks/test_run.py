"""A run goes through its parts, and fails without losing what it has measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.peers import __main__ as run
from benchmarks.peers import report, rounds
from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.figures import Figures
from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.measurement import FloorRecord, Load, Measurement, RunRecord
from benchmarks.peers.plan import Timing
from benchmarks.peers.progress import Progress
from benchmarks.peers.rounds import ClusterPart
from tests.benchmarks.fake_systems import FakeSystem

Measure = Callable[[Load], Measurement]

ESTIMATE_S = 7.0
ERRORS = {
    "broken": ClusterFailed("no leader"),
    "odd": ExceptionGroup("both", [KeyError("applied"), ValueError("of no matter")]),
    "stopped": KeyboardInterrupt(),
}
"""What the part ends with, by system."""


def measure_gap(record: RunRecord, system: LifecycleSystem, number: int, _: Path | None) -> None:
    """Find a gap, and then fail with some systems."""
    record["failover"].append({"system": system.name, "round": number, "gap_s": 0.5})
    if system.name in ERRORS:
        raise ERRORS[system.name]


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    part = ClusterPart(measure_gap, estimate_s=ESTIMATE_S, rounds_max=2)
    monkeypatch.setattr(run, "CLUSTER_PARTS", {"failover": part})
    floor: FloorRecord = {"sync_ms": 0.1, "round_trip_ms": 0.1, "replicated_ms": 0.3}
    monkeypatch.setattr(run, "floor", lambda _: floor)
    monkeypatch.setattr(run, "settle", lambda _: None)


def options(*systems: LifecycleSystem, rounds: int) -> run.Options:
    """Return options for a run without loads."""
    return run.Options(systems, ["failover"], [64], rounds, Timing(1.0, 2.0), 0.0, None)


def test_run_measures_each_part_in_its_rounds_of_each_system_that_takes_part() -> None:
    chosen = options(FakeSystem("a"), FakeSystem("b", failover="it is tired"), rounds=3)
    record = run.new_record(chosen, missing={"c": ["java"]})
    for number in (1, 2, 3):
        run.measure_round(number, chosen, record, Progress(chosen.estimate_s()))
    assert [(row["system"], row["round"]) for row in record["failover"]] == [("a", 1), ("a", 2)]
    assert record["left_out"] == {"b": {"failover": "it is tired"}}
    assert len(record["floors"]) == 3
    assert not record["failures"]
    assert chosen.estimate_s() == 2 * ESTIMATE_S


@pytest.mark.parametrize(
    ("name", "text"), [("broken", "no leader"), ("odd", "KeyError: 'applied'")]
)
def test_run_of_which_one_system_fails_goes_on_with_the_others_and_says_so(
    capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    chosen = options(FakeSystem(name), FakeSystem("sound"), rounds=1)
    record = run.new_record(chosen, missing={})
    run.measure_round(1, chosen, record, Progress(chosen.estimate_s()))
    # What it had measured before it failed is kept.
    assert [row["system"] for row in record["failover"]] == [name, "sound"]
    assert record["failures"] == [{"system": name, "round": 1, "part": "failover", "text": text}]
    assert f"round 1, {name}, failover failed: {text}" in capsys.readouterr().err
    assert f"failed**: {name}, failover, round 1: {text}" in report.text(Figures(record))


def test_run_of_which_a_load_fails_keeps_those_before_it_and_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = FakeSystem("a", failover="it is tired")
    monkeypatch.setattr(rounds, "wait_until_quiet", lambda _: 0.0)
    monkeypatch.setattr(system.served, "measure", failing_at(64, system.served.measure))
    chosen = replace(options(system, rounds=1), parts=["writes"], levels=[1, 64])
    record = run.new_record(chosen, missing={})
    run.measure_round(1, chosen, record, Progress(chosen.estimate_s()))
    assert [row["outstanding"] for row in record["measurements"]] == [1]
    (failure,) = record["failures"]
    assert failure["part"] == "loads"
    assert failure["text"] == "ZeroDivisionError: nothing; write at 64, 64 bytes"


def failing_at(level: int, measure: Measure) -> Measure:
    """Return the measurement of a cluster that breaks at one level."""

    def measured(load: Load) -> Measurement:
        if load.outstanding == level:
            raise ZeroDivisionError("nothing")
        return measure(load)

    return measured


def test_run_is_saved_after_each_system_and_ends_where_a_person_stops_it(tmp_path: Path) -> None:
    chosen = options(FakeSystem("a"), FakeSystem("stopped"), FakeSystem("b"), rounds=1)
    record = run.new_record(chosen, missing={})
    file = tmp_path / "run.json"
    with pytest.raises(KeyboardInterrupt):
        run.measure_round(
            1,
            chosen,
            record,
            Progress(chosen.estimate_s()),
            lambda: run.write_record(record, file),
        )
    assert [row["system"] for row in json.loads(file.read_text())["failover"]] == ["a"]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("name", "status"), [("sound", 0), ("odd", 1)])
def test_run_ends_with_status_1_if_anything_failed_and_shows_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, status: int
) -> None:
    monkeypatch.setattr(run, "chosen", lambda _: ([FakeSystem("a"), FakeSystem(name)], {}))
    file = tmp_path / "run.json"
    words = ["--part", "failover", "--rounds", "1", "--json", str(file)]
    ended = CliRunner().invoke(run.main, words)
    assert ended.exit_code == status
    record = json.loads(file.read_text())
    assert sorted(row["system"] for row in record["failover"]) == ["a", name]
    assert "| a | 0.5 | 1 |" in ended.output
