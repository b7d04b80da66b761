"""The benchmark of growth: what its processes count, and what it calls flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.growth import Cost, Shape, in_one_process, judge
from benchmarks.hot_path import CONFIG, MINIMAL

SMALL = Cost("keys", 1_000, MINIMAL, 6.0, 4.0, 0.1, (2.0, 9.0, 2.5), 2.0, 2.0, 0)


@pytest.mark.processes
def test_leader_in_a_process_of_its_own_counts_the_same_each_time(tmp_path: Path) -> None:
    shapes = [
        Shape("keys", 100, MINIMAL, keys=100, entries=2_000, submissions=2, slots=10),
        Shape("keys", 300, MINIMAL, keys=300, entries=2_000, submissions=2, slots=10),
    ]
    few, many = in_one_process(shapes, 1, tmp_path, counters=False)
    assert (few.size, many.size) == (100, 300)
    assert (few.python_calls, few.c_calls) == (many.python_calls, many.c_calls)
    assert 3 < few.python_calls < 30
    assert len(few.us) == 1
    assert few.us[0] > 0
    assert not list(tmp_path.iterdir())


def test_cost_is_flat_by_calls_and_by_the_median_of_cpu_times() -> None:
    large = replace(SMALL, size=1_000_000, c_calls=4.9, us=(3.0, 3.4, 50.0))
    calls, cpu = judge([SMALL, large])
    assert calls == ["keys", MINIMAL, "calls", "1.090", "up to 1.1", "flat"]
    assert cpu == ["keys", MINIMAL, "CPU", "1.360", "up to 1.4", "flat"]


def test_cost_that_grows_is_not_flat() -> None:
    large = replace(SMALL, size=1_000_000, c_calls=5.1, us=(3.0, 3.6, 50.0))
    assert [row[-1] for row in judge([SMALL, large])] == ["NOT FLAT", "NOT FLAT"]


def test_only_ends_of_one_part_and_machine_are_compared() -> None:
    assert judge([SMALL, replace(SMALL, part="sessions"), replace(SMALL, machine=CONFIG)]) == []
