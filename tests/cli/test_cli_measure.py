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
    assert report(LOAD, tally, Window(2.0, 0.5, 0.006)) == {
        "ops": 4,
        "errors": 1,
        "unknown": 2,
        "seconds": 2.0,
        "ops_s": 2.0,
        "p50_ms": 2.0,
        "p99_ms": 4.0,
        "p999_ms": 4.0,
        "connections": 8,
        "outstanding": 64,
        "value_size": 100,
        "read_ratio": 0.25,
        "client_cpu_s": 0.5,
        "srv_cpu_s_per_1000": 1.5,
    }


def test_report_of_a_run_in_which_nothing_succeeded_has_no_percentiles() -> None:
    summed = report(LOAD, Tally(unknown=64), Window(2.0, 0.5, 0.1))
    assert summed["ops"] == 0
    assert summed["p50_ms"] is None
    assert summed["srv_cpu_s_per_1000"] is None


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
        ({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 4.0}, 2.5),
        ({"a": 1.0, "b": None}, {"a": 1.5, "b": 4.0}, None),
        ({"a": 1.0}, {"a": None}, None),
        ({"a": 1.0}, {}, None),
        ({"a": 5.0}, {"a": 0.2}, None),
    ],
)
def test_server_cpu_is_the_sum_or_not_known(
    before: dict[str, float | None], after: dict[str, float | None], used: float | None
) -> None:
    assert server_cpu(before, after) == (None if used is None else pytest.approx(used))
