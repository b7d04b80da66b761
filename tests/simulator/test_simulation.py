"""The simulator finds nothing wrong with what ships, does much, and repeats itself exactly."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from jepsen_like.sim.plan import BACKGROUND, EFFECTS, SPELLS, draw_plan
from jepsen_like.sim.simulation import simulate
from jepsen_like.sim.sweep import PRODUCTION, sweep

ROOT = Path(__file__).parents[2]

DIGEST_OF_TRACE = """
import hashlib
from jepsen_like.sim.simulation import simulate
digest = hashlib.sha256()
for seed in {seeds}:
    simulate(seed, sink=lambda line: digest.update(line.encode() + b"\\n"))
print(digest.hexdigest())
"""


def digest_of_trace(seeds: list[int], hash_seed: str) -> str:
    """Run seeds in a process of their own, and return the digest of their traces."""
    done = subprocess.run(
        [sys.executable, "-c", DIGEST_OF_TRACE.format(seeds=seeds)],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_simulate_production_replica_finds_nothing_and_proves_enough() -> None:
    summary = sweep(range(10_000, 10_040), 2, PRODUCTION, lambda _: None)
    assert [(found.seed, found.text) for found in summary.violations] == []
    assert summary.shortfalls() == []
    assert summary.seeds == 40


def test_sweep_over_seeds_makes_each_fault_have_effect() -> None:
    summary = sweep(range(20_000, 20_040), 2, PRODUCTION, lambda _: None)
    assert [name for name, count in summary.effects_by_fault().items() if not count] == []
    assert set(summary.effects) <= set(EFFECTS)


@pytest.mark.parametrize("seeds", [[0, 1], [2, 3]])
def test_trace_under_other_hash_seeds_is_the_same_byte_for_byte(seeds: list[int]) -> None:
    digests = {digest_of_trace(seeds, hash_seed) for hash_seed in ("0", "1", "4711")}
    assert len(digests) == 1
    assert digests != {hashlib.sha256().hexdigest() + "\n"}


def test_simulate_with_a_sink_changes_nothing() -> None:
    lines: list[str] = []
    assert simulate(5) == simulate(5, sink=lines.append)
    assert len(lines) > 1000


def test_simulate_other_seed_gives_another_trace() -> None:
    traces: list[list[str]] = [[], []]
    for seed, trace in enumerate(traces):
        simulate(seed, sink=trace.append)
    assert traces[0] != traces[1]


def test_sweep_on_other_numbers_of_jobs_gives_equal_sums() -> None:
    sums = [sweep(range(7), jobs, PRODUCTION, lambda _: None) for jobs in (1, 2)]
    assert sums[0] == sums[1]


def test_plans_over_seeds_draw_every_fault_and_size() -> None:
    plans = [draw_plan(seed) for seed in range(500)]
    assert set().union(*(plan.faults for plan in plans)) == {*SPELLS, *BACKGROUND}
    assert {plan.nodes for plan in plans} == set(range(1, 8))
    assert any(not plan.faults for plan in plans)
    assert 1 in {plan.alpha for plan in plans}
    assert all(plan.phase1 + plan.phase2 > plan.nodes for plan in plans)
    assert any(plan.phase1 != plan.phase2 for plan in plans)
