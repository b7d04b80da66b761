"""The benchmark of growth: what its processes count, and what it calls flat."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cluster import write_figures
from benchmarks.growth import Growth, Shape, in_one_process, judge, main
from benchmarks.growth_costs import Cost, grown, read
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


def test_costs_of_a_file_are_those_that_were_written(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    assert read(file) == []
    growth = Growth((SMALL, replace(SMALL, size=1_000_000, us=(3.0, 2.0))), (), 0.1)
    write_figures(file, {"cores": 2}, growth)
    calls, cpu = grown(read(file))
    assert (calls.sizes, calls.times, calls.rounds) == ((1_000, 1_000_000), 1.0, 1)
    assert (cpu.by, cpu.times, cpu.rounds) == ("CPU", 1.0, 2)


@pytest.mark.parametrize(("c_calls", "status"), [(4.9, None), (5.1, 1)])
def test_growth_that_is_not_flat_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, c_calls: float, status: int | None
) -> None:
    large = replace(SMALL, size=1_000_000, c_calls=c_calls)
    monkeypatch.setattr("benchmarks.growth.in_one_process", lambda *_, **__: [SMALL, large])
    with pytest.raises(SystemExit) if status else nullcontext() as ended:
        main(["--parts", "keys", "--counters"])
    assert ended is None or ended.value.code == status
