"""Kills, memory and restarts are measured in the order that gives the figures their meaning."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.peers import __main__ as run
from benchmarks.peers import failover, page, parts, plan, resident, restart
from benchmarks.peers.failures import noted
from benchmarks.peers.plan import Timing
from tests.benchmarks.example_runs import run_record
from tests.benchmarks.fake_lifecycle import FakeLifecycle, FakeLifecycleSystem, FakeTime


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Let the parts live in fake time."""
    fake = FakeTime()
    for module in (failover, resident, restart):
        monkeypatch.setattr(module, "time", fake)
    return fake


def test_failover_brings_each_killed_leader_back_before_the_next_is_killed(time: FakeTime) -> None:
    cluster = FakeLifecycle(time, gaps_s=[0.2, 0.7])
    record = run_record()
    parts.measure_failover(record, FakeLifecycleSystem(cluster), 4, None)
    gaps = [row["gap_s"] for row in record["failover"]]
    assert gaps == [pytest.approx(0.2, abs=0.011), pytest.approx(0.7, abs=0.011)]
    assert {(row["system"], row["round"]) for row in record["failover"]} == {("fake", 4)}
    assert cluster.log == [
        *("arrive 500", "kill 0", "halt", "start 0", "caught up 0"),
        *("arrive 500", "kill 1", "halt", "start 1", "caught up 1"),
    ]


def test_failover_from_which_no_write_recovers_is_a_gap_of_the_timeout_and_a_failure(
    time: FakeTime,
) -> None:
    cluster = FakeLifecycle(time, gaps_s=[0.2, 1e9])
    record = run_record()
    with noted(record, "fake", 1, "failover"):
        parts.measure_failover(record, FakeLifecycleSystem(cluster), 1, None)
    assert [row["gap_s"] for row in record["failover"]] == [pytest.approx(0.2, abs=0.011), 60.0]
    (failure,) = record["failures"]
    assert failure["text"] == "kill 2 of 2: writes did not go on within 60 s"
    assert cluster.log[-2:] == ["kill 1", "halt"]


def test_failover_whose_load_ends_is_a_failure_and_no_gap(time: FakeTime) -> None:
    cluster = FakeLifecycle(time, gaps_s=[0.2, 0.2])
    cluster.load_ends_at = time.now + 6
    record = run_record()
    with noted(record, "fake", 1, "failover"):
        parts.measure_failover(record, FakeLifecycleSystem(cluster), 1, None)
    assert record["failover"] == []
    assert [each["text"] for each in record["failures"]] == ["the load ended after a kill"]


def test_memory_is_looked_at_once_the_cluster_rests_after_its_writes(
    time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeLifecycle(time, gaps_s=[])

    def size(pid: int) -> float:
        cluster.log.append(f"look at {pid} after {time.now - 1_000:.0f} s")
        return pid / 3

    monkeypatch.setattr(resident, "rss_mib", size)
    monkeypatch.setattr(resident, "pss_mib", lambda pid: pid / 10)
    record = run_record()
    parts.measure_memory(record, FakeLifecycleSystem(cluster), 2, None)
    looks = [f"look at {pid} after 2 s" for pid in (10, 11, 12)]
    assert cluster.log == ["fill 100000 by 256", *looks]
    (row,) = record["memory"]
    assert (row["rss_mib"], row["pss_mib"]) == ([3.3, 3.7, 4.0], [1.0, 1.1, 1.2])


def test_restart_is_of_a_node_that_does_not_lead_and_ends_when_it_is_caught_up(
    time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeLifecycle(time, gaps_s=[], behind=30)
    record = run_record()
    parts.measure_restart(record, FakeLifecycleSystem(cluster), 1, None)
    bare = ["bare start"] * 5
    assert cluster.log == [
        *("fill 100000 by 256", "caught up 1", "kill 1", *bare, "start 1", "caught up 1"),
    ]
    (row,) = record["restart"]
    assert (row["entries"], row["slots"], row["import_s"]) == (100_000, 40, 0.0)
    assert row["ready_s"] == pytest.approx(30 * restart.STEP_S)


def without_options() -> run.Options:
    """Return the options of a run that is given none."""
    defaults: dict[str | None, Any] = {each.name: each.default for each in run.main.params}
    systems = [run.SYSTEMS[name] for name in run.DEFAULT_SYSTEMS]
    timing = Timing(defaults["warmup"], defaults["duration"])
    return run.Options(systems, run.PARTS, plan.LEVELS, defaults["rounds"], timing, 0.0, None)


def test_run_without_options_kills_ten_leaders_of_each_system_that_takes_part() -> None:
    options = without_options()
    for system in (each for each in options.systems if "failover" not in each.leaves_out):
        kills = [
            parts.KILLS
            for number in range(1, options.rounds + 1)
            if "failover" in options.cluster_parts(number, system)
        ]
        assert sum(kills) == 10


@pytest.mark.parametrize("name", [page.PAGE_NAME, "Makefile"])
def test_run_without_options_takes_as_long_as_is_written(name: str) -> None:
    tens = round(without_options().estimate_s() / 600)
    assert f"about {tens * 10} minutes" in (page.ROOT / name).read_text(encoding="utf-8")
