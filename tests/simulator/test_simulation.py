"""The simulator finds nothing wrong with what ships, does much, and repeats itself exactly."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jepsen_like.sim.marks import AWAITED
from jepsen_like.sim.plan import BACKGROUND, EFFECTS, SPELLS, Plan, draw_plan, draw_plan_of
from jepsen_like.sim.schedule import Schedule, draw_schedule
from jepsen_like.sim.simulation import Simulation, simulate
from jepsen_like.sim.sweep import LONG_SEEDS, PRODUCTION, Summary, sweep
from jepsen_like.sim.world import World
from paxos.core.config import FEATURE
from paxos.core.replica import Replica

ROOT = Path(__file__).parents[2]

SEEDS = 600

RARE_SEEDS = (600, 639, 657, 705, 756, 781, 942)
"""Each is in a state that few others are in. A change of the protocol's course may lead them
elsewhere: then it takes more seeds to see everything."""

DIGEST_OF_TRACE = """
import hashlib
from jepsen_like.sim.simulation import simulate
digest = hashlib.sha256()
for seed in {seeds}:
    simulate(seed, sink=lambda line: digest.update(line.encode() + b"\\n"))
print(digest.hexdigest())
"""


SURROUNDINGS = (
    {"PYTHONHASHSEED": "0"},
    {"PYTHONHASHSEED": "4711", "TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "4711", "PYTHONOPTIMIZE": "1", "LC_ALL": "C", "TZ": "America/St_Johns"},
)


def digest_of_trace(seeds: list[int], surroundings: dict[str, str]) -> str:
    """Run seeds in a process of their own, and return the digest of their traces."""
    done = subprocess.run(
        [sys.executable, "-c", DIGEST_OF_TRACE.format(seeds=seeds)],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def in_processes(seeds: range) -> dict[str, Any]:
    """Simulate seeds that violate nothing; return the summary.

    In processes of their own: measuring coverage, which follows forks, would double the time.
    """
    words = ["--seeds", f"{seeds.start}:{seeds.stop}", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "jepsen_like", "simulate", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    *violations, last = map(json.loads, done.stdout.splitlines())
    assert violations == []
    assert done.returncode == last["status"], done.stderr
    assert set(last["effects"]) <= set(EFFECTS)
    return dict(last)


@pytest.mark.long
def test_simulate_production_replica_finds_nothing_and_proves_enough() -> None:
    last = in_processes(range(SEEDS))
    assert (last["status"], last["shortfalls"], last["seeds"]) == (0, [], SEEDS)
    # Each fault had effect and each mark was reached: in so many seeds none may stay at zero.
    rare = [range(seed, seed + 1) for seed in RARE_SEEDS]
    further = [range(first, first + 100) for first in range(SEEDS, LONG_SEEDS, 100)]
    seen = Counter(last["effects"]) + Counter(last["marks"])
    for seeds in (*rare, *further):
        if all(seen[name] for name in (*EFFECTS, *AWAITED)):
            break
        last = in_processes(seeds)
        seen += Counter(last["effects"]) + Counter(last["marks"])
    assert [name for name in (*EFFECTS, *AWAITED) if not seen[name]] == []


@pytest.mark.nightly
def test_simulate_production_replica_over_many_seeds_finds_nothing() -> None:
    last = in_processes(range(LONG_SEEDS))
    assert (last["status"], last["shortfalls"], last["seeds"]) == (0, [], LONG_SEEDS)


def first_seed(wanted: Callable[[Plan], bool]) -> int:
    return next(seed for seed in range(10_000) if wanted(draw_plan(seed)))


def test_simulate_clients_less_patient_than_a_slow_cluster_is_quick_ends_well() -> None:
    """Seed 2290, of November 2026: repetitions that nobody waited for took all of its slots."""
    outcome = simulate(2290)
    assert (outcome.number, outcome.text) == (None, "")
    assert outcome.commands >= 200


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(lambda plan: plan.real_log and plan.codec, id="log-and-codec"),
        pytest.param(lambda plan: plan.edge_config and plan.watchers, id="edge-config"),
        pytest.param(lambda plan: plan.corruption and plan.recorded, id="corruption"),
        pytest.param(lambda plan: plan.real_log and "bit rot" in plan.faults, id="rot"),
        pytest.param(lambda plan: plan.nodes == 7 and plan.permanent, id="seven-nodes"),
    ],
)
def test_trace_in_other_surroundings_is_the_same_byte_for_byte(
    wanted: Callable[[Plan], bool],
) -> None:
    seed = first_seed(wanted)
    digests = {digest_of_trace([seed], surroundings) for surroundings in SURROUNDINGS}
    assert len(digests) == 1
    assert digests != {hashlib.sha256().hexdigest() + "\n"}


def test_simulate_twice_gives_the_same_trace_in_one_process_too() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        simulate(first_seed(lambda plan: plan.real_log), sink=trace.append)
    assert traces[0] == traces[1]


def test_schedule_without_one_spell_changes_no_choice_of_the_others() -> None:
    plan = draw_plan(8)
    schedule = draw_schedule(8, plan)
    assert len(schedule.spells) > 3
    told: list[list[str]] = [[], []]
    left_out = schedule.spells[2]
    shorter = replace(schedule, spells=tuple(s for s in schedule.spells if s is not left_out))
    for trace, tried in zip(told, (schedule, shorter), strict=True):
        simulate(8, sink=trace.append, plan=plan, schedule=tried)
    same = next(i for i, (a, b) in enumerate(zip(*told, strict=False)) if a != b)
    assert f"nemesis: spell {left_out.number}," in told[0][same]


def test_schedule_that_skips_operations_leaves_the_others_as_they_are() -> None:
    plan = replace(draw_plan(3), faults=(), watchers=0)
    # Every element that is written names its client and operation.
    whole = commands_of(3, plan, Schedule((), operations_max=6))
    client, number, _ = min(whole).split(".")
    skip = frozenset({(int(client), int(number))})
    rest = commands_of(3, plan, Schedule((), skip, operations_max=6))
    assert rest == {text for text in whole if not text.startswith(f"{client}.{number}.")} != whole


def commands_of(seed: int, plan: Plan, schedule: Schedule) -> set[str]:
    world = World(seed, plan, lambda _: None)
    simulation = Simulation(world, Replica, schedule)
    assert simulation.carry_out().number is None
    assert simulation.recorder is not None
    asked = [e.value for e in simulation.recorder.entries if e.f in {"write", "append"}]
    return {value for value in asked if ".0." not in value}


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(543, id="disk-is-lost-after-its-voter-answered-for-it"),
        pytest.param(2257, id="batch-that-a-run-repeats-rots"),
        pytest.param(2664, id="witness-is-wiped"),
        pytest.param(3934, id="administrator-dials-when-faults-end"),
        pytest.param(2815, id="part-of-a-promise-follows-the-whole"),
    ],
)
def test_churn_seed_that_once_found_something_finds_nothing(seed: int) -> None:
    assert simulate(seed, plan=draw_plan_of("churn", seed)).number is None


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(3290, id="chosen-value-in-doubt"),
        pytest.param(13740, id="lost-value-survives-in-a-later-write"),
        pytest.param(13992, id="disk-of-a-voter-that-knew-is-lost"),
    ],
)
def test_swarm_seed_that_once_misled_the_checkers_finds_nothing(seed: int) -> None:
    assert simulate(seed).number is None


def test_fetch_from_a_helper_that_hardly_helps_gives_way_to_one_that_does() -> None:
    assert simulate(19587).number is None


def test_outcome_names_the_spells_that_had_effect_and_counts_operations() -> None:
    outcome = simulate(8)
    numbers = [spell.number for spell in draw_schedule(8, draw_plan(8)).spells]
    assert outcome.spells
    assert set(outcome.spells) <= set(numbers)
    assert outcome.operations >= outcome.commands > 0


def test_long_sweep_in_which_a_fault_or_mark_stays_at_zero_proves_too_little() -> None:
    summary = Summary(seeds=LONG_SEEDS)
    for name in EFFECTS:
        summary.effects[name] = summary.faults = 3 * LONG_SEEDS
    summary.effects["pause"] = 0
    summary.marks = dict.fromkeys(AWAITED, 1) | {"no-op was chosen": 0}
    summary.deliveries = summary.commands = summary.leader_changes = 10**9
    assert summary.shortfalls() == [
        "no fault had the effect: pause",
        "never reached: no-op was chosen",
    ]


def test_long_sweep_of_churn_is_not_held_to_every_mark() -> None:
    summary = Summary("churn", seeds=LONG_SEEDS, faults=3 * LONG_SEEDS)
    summary.deliveries = summary.commands = summary.leader_changes = 10**9
    assert summary.shortfalls() == []


def test_plans_of_profile_churn_all_have_an_administrator_at_work() -> None:
    plans = [draw_plan_of("churn", seed) for seed in range(200)]
    assert all(plan.churn and plan.feature == FEATURE and not plan.beyond for plan in plans)
    assert [draw_plan_of("swarm", seed) for seed in range(20)] == list(map(draw_plan, range(20)))


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
