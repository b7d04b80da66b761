"""How a closed-loop run is summed up."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli.measure import Load, Tally, Window, percentile, report, server_cpu

LOAD = Load(
    connections=8, outstanding=64, value_size=100, duration_s=10, warmup_s=1, read_ratio=0.25
)


def test_report_has_the_fields_that_scripts_rely_on() -> None:
    tally = Tally(errors=1, unknown=2, latencies=array("d", [0.001, 0.002, 0.003, 0.004]))
    used = {"a": 0.001, "b": 0.004, "c": 0.002}
    assert report(LOAD, tally, Window(2.0, 0.5, used, "b")) == {
        "ops": 4,
        "errors": 1,
        "unknown": 2,
        "seconds": 2.0,
        "ops_s": 2.0,
        "p50_ms": 2.0,
        "p90_ms": 4.0,
        "p99_ms": 4.0,
        "p999_ms": 4.0,
        "connections": 8,
        "outstanding": 64,
        "value_size": 100,
        "read_ratio": 0.25,
        "client_cpu_s": 0.5,
        "srv_cpu_s_per_1000": 1.75,
        "leader_cpu_s_per_1000": 1.0,
        "follower_cpu_s_per_1000": 0.375,
    }


def test_report_of_a_run_in_which_nothing_succeeded_has_no_percentiles() -> None:
    summed = report(LOAD, Tally(unknown=64), Window(2.0, 0.5, {"a": 0.1}, "a"))
    assert summed["ops"] == 0
    assert summed["p50_ms"] is None
    assert summed["srv_cpu_s_per_1000"] is None
    assert summed["leader_cpu_s_per_1000"] is None


@pytest.mark.parametrize(
    ("used", "leader", "together", "led", "followed"),
    [
        ({"a": 1.0, "b": 2.0}, "b", 3000.0, 2000.0, 1000.0),
        ({"a": 1.0, "b": 2.0}, None, 3000.0, None, None),
        ({"a": 1.0}, "a", 1000.0, 1000.0, None),
        (None, "a", None, None, None),
    ],
)
def test_report_tells_cpu_of_leader_and_followers_apart_where_both_are_known(
    used: dict[str, float] | None,
    leader: str | None,
    together: float | None,
    led: float | None,
    followed: float | None,
) -> None:
    summed = report(LOAD, Tally(latencies=array("d", [0.1])), Window(2.0, 0.5, used, leader))
    assert summed["srv_cpu_s_per_1000"] == together
    assert summed["leader_cpu_s_per_1000"] == led
    assert summed["follower_cpu_s_per_1000"] == followed


@given(
    st.lists(st.floats(min_value=0, max_value=100), min_size=1),
    st.sampled_from([0.5, 0.99, 0.999]),
)
def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_percentile_of_nothing_is_not_known() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("before", "after", "used"),
    [
        ({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 4.0}, {"a": 0.5, "b": 2.0}),
        ({"a": 1.0, "b": None}, {"a": 1.5, "b": 4.0}, None),
        ({"a": 1.0}, {"a": None}, None),
        ({"a": 1.0}, {}, None),
        ({"a": 5.0}, {"a": 0.2}, None),
    ],
)
def test_server_cpu_is_that_of_each_or_not_known(
    before: dict[str, float | None], after: dict[str, float | None], used: dict[str, float] | None
) -> None:
    assert server_cpu(before, after) == used
