"""Targets are judged by the medians of a run, and only by what it has measured."""

from __future__ import annotations

import pytest

from benchmarks.peers.figures import Figures
from benchmarks.peers.measurement import LoadRecord, MemoryRecord, RunRecord
from benchmarks.peers.targets import (
    AWAITING,
    ETCD,
    MINIMAL,
    OURS,
    PYSYNCOBJ,
    PYSYNCOBJ_BATCHED,
    TARGETS,
    ZOOKEEPER,
    Outcome,
    Verdict,
    evaluate,
)
from tests.benchmarks.example_runs import load_record, load_records, run_record


def verdict(record: RunRecord, system: str, words: str) -> Verdict:
    """Return what a run says about the one target of a system with these words in it."""
    (found,) = (
        each
        for each in evaluate(Figures(record))
        if each.target.system == system and words in each.target.what
    )
    return found


def both_ways(better: float, rounds: int = 3) -> list[LoadRecord]:
    """Return the records of PySyncObj with and without batches."""
    return [
        *load_records(PYSYNCOBJ, better * 0.9, rounds),
        *load_records(PYSYNCOBJ_BATCHED, better, rounds),
    ]


def test_targets_of_a_run_that_measured_nothing_are_neither_met_nor_missed() -> None:
    assert {each.outcome for each in evaluate(Figures(run_record()))} == {"not measured"}


def test_targets_of_one_system_are_told_apart_by_what_they_say() -> None:
    named = [(target.system, target.what, target.sense) for target in TARGETS]
    assert len(set(named)) == len(TARGETS)


@pytest.mark.parametrize(("ours", "outcome"), [(8_999, "missed"), (9_000, "met"), (9_001, "met")])
def test_rate_target_compares_with_the_better_of_both_peers(ours: float, outcome: Outcome) -> None:
    record = run_record(
        *load_records(MINIMAL, ours), *load_records(ETCD, 2_000), *load_records(ZOOKEEPER, 3_000)
    )
    found = verdict(record, MINIMAL, "durable writes/s at 64 outstanding")
    assert found.outcome == outcome
    assert found.measured == pytest.approx(ours / 3_000)


def test_rate_target_without_one_of_the_peers_is_not_measured() -> None:
    record = run_record(*load_records(MINIMAL, 9_000), *load_records(ETCD, 2_000))
    found = verdict(record, MINIMAL, "durable writes/s at 64 outstanding")
    assert (found.outcome, found.measured) == ("not measured", None)


def test_rate_target_of_awaited_calls_asks_for_half() -> None:
    bounds = {
        (target.system, target.what): target.bound
        for target in TARGETS
        if "durable writes/s at" in target.what
    }
    what = "durable writes/s at {} outstanding, of the better of etcd and ZooKeeper"
    for level, bound in (("64", 3.0), ("256", 5.0), ("1,024", 8.0)):
        assert bounds[MINIMAL, what.format(level)] == bound
        assert bounds[AWAITING, what.format(level)] == bound / 2


def test_target_is_judged_by_medians_of_rounds_that_nothing_disturbed() -> None:
    rates = [(1, 2_100, False), (2, 1_900, False), (3, 2_300, False), (4, 10, True)]
    record = run_record(
        *(
            load_record(OURS, rate, number=number, disturbed=disturbed)
            for number, rate, disturbed in rates
        ),
        *both_ways(1_000),
    )
    assert verdict(record, OURS, "writes/s at 64").measured == pytest.approx(2.1)


def test_rounds_that_were_all_disturbed_count_nevertheless() -> None:
    record = run_record(*load_records(OURS, 3_000, disturbed=True), *both_ways(1_000))
    assert verdict(record, OURS, "writes/s at 64").measured == pytest.approx(3.0)


def test_latency_of_one_write_is_compared_with_the_floor_of_the_same_run() -> None:
    record = run_record(*load_records(OURS, 500, outstanding=1, p50_ms=1.25))
    record["floors"] *= 2
    found = verdict(record, OURS, "of the floor")
    assert found.measured == pytest.approx(1.25 / 0.5)  # medians: a sync 0.4, a round trip 0.1
    assert found.outcome == "missed"


def test_cpu_target_compares_all_servers_for_the_same_number_of_writes() -> None:
    record = run_record(
        *load_records(OURS, 4_000, outstanding=256, servers_s=(2.0, 1.0, 1.0)),
        *load_records(ETCD, 1_000, outstanding=256, servers_s=(2.0, 1.0, 1.0)),
    )
    found = verdict(record, OURS, "CPU of all servers")
    assert found.outcome == "met"
    assert found.measured == pytest.approx(0.25)


def test_failover_target_below_a_peer_is_missed_by_a_tie() -> None:
    record = run_record()
    for system, gaps in ((OURS, (0.2, 0.3, 0.9)), (ETCD, (1.2,)), (ZOOKEEPER, (0.3,))):
        for _ in range(10):
            record["failover"] += [{"system": system, "round": 1, "gap_s": gap} for gap in gaps]
    gap = "fail-over gap after SIGKILL of the leader"
    outcomes = {
        each.target.what: each.outcome
        for each in evaluate(Figures(record))
        if gap in each.target.what
    }
    assert outcomes == {gap: "met", f"{gap}, of etcd's": "met", f"{gap}, of ZooKeeper's": "missed"}


def test_memory_target_looks_at_the_largest_replica_of_each_round() -> None:
    record = run_record()
    large: MemoryRecord = {
        "system": OURS,
        "round": 1,
        "writes": 100_000,
        "rss_mib": [70.0, 81.0, 60.0],
        "pss_mib": [30.0, 31.0, 90.0],
    }
    record["memory"] += [large] * 3 + [{**large, "writes": 1_000, "rss_mib": [20.0] * 3}] * 3
    found = verdict(record, OURS, "resident memory")
    assert (found.measured, found.outcome) == (81.0, "missed")


def test_restart_target_leaves_out_what_loading_the_program_takes() -> None:
    record = run_record()
    for entries, ready_s in (*((100_000, 0.8),) * 3, *((10, 5.0),) * 3):
        record["restart"].append(
            {
                "system": OURS,
                "round": 1,
                "entries": entries,
                "import_s": 0.35,
                "ready_s": ready_s,
                "slots": 4_000,
            }
        )
    found = verdict(record, OURS, "restart with 100,000 entries")
    assert found.outcome == "met"
    assert found.measured == pytest.approx(0.45)


def test_target_of_too_few_samples_is_neither_met_nor_missed() -> None:
    record = run_record(*load_records(OURS, 3_000, rounds=2), *both_ways(1_000, rounds=5))
    found = verdict(record, OURS, "writes/s at 64")
    assert found.measured == pytest.approx(3.0)
    assert (found.samples, found.outcome) == (2, "too few")
    record["measurements"] += load_records(OURS, 3_000, rounds=1)
    assert verdict(record, OURS, "writes/s at 64").outcome == "met"


def test_failover_target_asks_for_ten_kills_of_each_system_it_compares() -> None:
    record = run_record()
    gap = "fail-over gap after SIGKILL of the leader, of etcd's"
    record["failover"] += [{"system": OURS, "round": 1, "gap_s": 0.2}] * 10
    record["failover"] += [{"system": ETCD, "round": 1, "gap_s": 2.0}] * 9
    assert (verdict(record, OURS, gap).samples, verdict(record, OURS, gap).outcome) == (
        9,
        "too few",
    )
    record["failover"] += [{"system": ETCD, "round": 1, "gap_s": 2.0}]
    assert verdict(record, OURS, gap).outcome == "met"
