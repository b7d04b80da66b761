"""What a run asks of each system, and how its figures are put down."""

from __future__ import annotations

import pytest

from benchmarks.peers import rounds
from benchmarks.peers.generator import measurement
from benchmarks.peers.measurement import ServerCpu, server_cpu
from benchmarks.peers.plan import LEVELS, PARTS, Timing, load_s, loads_for
from benchmarks.peers.rounds import FILL, measure_loads, order
from tests.benchmarks.fake_systems import FakeSystem

TIMING = Timing(warmup_s=1.0, duration_s=2.0)


def test_plan_without_a_choice_has_what_was_asked_for() -> None:
    loads = loads_for(FakeSystem(), PARTS, LEVELS, TIMING)
    asked = [(load.operation, load.outstanding, load.value_size) for load in loads]
    levels = (1, 16, 64, 256, 1024)
    assert asked == [
        *(("write", level, 64) for level in levels),
        *(("read", level, 64) for level in levels),
        ("mixed", 64, 64),
        ("write", 64, 1024),
        ("write", 64, 65536),
    ]
    assert {load.connections for load in loads} == {8}
    assert {load_s(load) for load in loads} == {5.5}


def test_plan_of_chosen_parts_and_levels_has_no_other_loads() -> None:
    loads = loads_for(FakeSystem(), ["sizes", "reads"], [1, 64], TIMING)
    assert [(load.operation, load.outstanding) for load in loads] == [
        ("read", 1),
        ("read", 64),
        ("write", 64),
        ("write", 64),
    ]


def test_plan_of_a_system_that_leaves_out_a_part_lacks_its_loads() -> None:
    loads = loads_for(FakeSystem(reads="it cannot"), ["reads", "mixed"], LEVELS, TIMING)
    assert [load.read_share for load in loads] == [0.5]


def test_order_of_systems_begins_with_another_one_and_turns_round_in_each_round() -> None:
    systems = [FakeSystem(name) for name in "abcdefg"]
    orders = ["".join(each.name for each in order(number, systems)) for number in range(1, 6)]
    assert orders == ["abcdefg", "fedcbag", "cdefgab", "dcbagfe", "efgabcd"]


@pytest.mark.parametrize(("part", "filled"), [("reads", True), ("writes", False)])
def test_loads_that_begin_with_reads_are_put_on_keys_that_exist(
    part: str, monkeypatch: pytest.MonkeyPatch, *, filled: bool
) -> None:
    monkeypatch.setattr(rounds, "wait_until_quiet", lambda _: 0.0)
    system = FakeSystem()
    loads = loads_for(system, [part], [1], TIMING)
    rows = [row.load for row in measure_loads(1, system, loads, None, quiet_timeout_s=0)]
    assert set(rows) == set(loads)
    assert (system.served.loads[0] == FILL) is filled


@pytest.mark.parametrize(
    ("others", "kept", "times"),
    [([0.1], 0.1, 1), ([0.9, 0.3], 0.3, 2), ([0.5, 0.7], 0.5, 2), ([0.5, 0.1], 0.1, 2)],
)
def test_load_that_was_disturbed_is_repeated_once_and_the_calmer_one_kept(
    others: list[float], kept: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FakeUsage:
        def __init__(self, _: object) -> None:
            self._other = next(left)

        def other_cores(self) -> float:
            return self._other

    left = iter(others)
    monkeypatch.setattr(rounds, "wait_until_quiet", lambda _: 0.0)
    monkeypatch.setattr(rounds, "Usage", FakeUsage)
    system = FakeSystem()
    loads = loads_for(system, ["writes"], [64], TIMING)
    (row,) = measure_loads(1, system, loads, None, quiet_timeout_s=0)
    assert (row.other_cores, row.disturbed) == (kept, kept > 0.2)
    assert len(system.served.loads) == times


def test_measurement_tells_cpu_of_leader_follower_and_client_apart() -> None:
    printed = {"n": 500, "errors": 1, "secs": 2.0, "cli_cpu_s": 0.25}
    latencies = {"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "p999_ms": 4.00049}
    told = measurement({**printed, **latencies}, [0.1, 0.4, 0.2], leader=1)
    assert told.server_cpu == ServerCpu(together=1.4, leader=0.8, follower=0.3)
    assert (told.client_cpu_s_per_1000, told.client_cores) == (0.5, 0.125)
    assert told.latency.p999_ms == 4.0


def test_measurement_without_operations_knows_no_cost() -> None:
    assert server_cpu([0.1, 0.2, 0.3], leader=0, ops=0) == ServerCpu(None, None, None)
