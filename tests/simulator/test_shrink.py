"""Shrinking: what is left violates the same invariant, is small, and is the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jepsen_like.sim.replay import Case, CaseInvalid, from_json, load, save, to_json
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.shrink import (
    RATES,
    RUNS_DEFAULT,
    NothingToShrink,
    background,
    length,
    run_case,
    shrink,
    whole_case,
)
from jepsen_like.sim.simulation import simulate
from jepsen_like.sim.story import STEPS_MAX
from paxos.core.replica import Replica
from tests.simulator.variants import AcceptsBelowPromise, IgnoresReports, PromisesBeforeSync

STEPS = 20
"""None of these bugs needs more than so many faults and operations, of well over a hundred."""

BROKEN = [(AcceptsBelowPromise, 2), (PromisesBeforeSync, 7), (IgnoresReports, 4)]


def first_found(factory: ReplicaFactory) -> int:
    return next(seed for seed in range(50) if simulate(seed, factory).number is not None)


@pytest.mark.parametrize(("factory", "number"), BROKEN)
def test_shrunk_run_of_a_broken_replica_is_small_and_violates_the_same_invariant(
    factory: ReplicaFactory, number: int
) -> None:
    case = whole_case(first_found(factory))
    shrunk = shrink(case, factory)
    assert shrunk.outcome.number == number
    assert shrunk.steps <= STEPS
    assert shrunk.steps <= length(case, run_case(case, factory))
    assert f"VIOLATION I{number}" in shrunk.trace[-1]
    assert shrunk.story[-1].wrong
    assert 1 < len(shrunk.story) <= STEPS_MAX + 1
    if shrunk.runs == RUNS_DEFAULT:
        return  # it might go on
    # No single spell and no background fault is there in vain.
    least = shrunk.case
    for spell in least.schedule.spells:
        rest = tuple(each for each in least.schedule.spells if each is not spell)
        fewer = replace(least, schedule=replace(least.schedule, spells=rest))
        assert run_case(fewer, factory, until_s=shrunk.outcome.seconds).number != number
    for fault in background(least.plan):
        plan = replace(least.plan, **{RATES[fault]: 0.0})  # type: ignore[arg-type]
        calmer = run_case(replace(least, plan=plan), factory, until_s=shrunk.outcome.seconds)
        assert calmer.number != number


def test_shrinking_twice_gives_the_same_run_and_the_same_trace() -> None:
    case = whole_case(first_found(IgnoresReports))
    one, two = (shrink(case, IgnoresReports, runs=40) for _ in range(2))
    assert one == two


def test_shrinking_with_no_runs_left_gives_back_the_run_up_to_its_violation() -> None:
    case = whole_case(first_found(IgnoresReports))
    shrunk = shrink(case, IgnoresReports, runs=1)
    assert shrunk.runs == 1
    assert shrunk.case.plan == case.plan
    assert shrunk.outcome == run_case(shrunk.case, IgnoresReports)


def test_run_without_a_violation_cannot_be_shrunk() -> None:
    plan = whole_case(0).plan
    quick = replace(plan, deliveries=50, commands=1, faults_s=(0.1, 0.2))
    case = whole_case(0)
    with pytest.raises(NothingToShrink):
        shrink(replace(case, plan=quick), Replica)


def test_run_saved_as_a_file_is_read_back_equal(tmp_path: Path) -> None:
    case = whole_case(3)
    skipped = replace(case.schedule, skip=frozenset({(1, 2), (2, 1)}), operations_max=4)
    case = Case(case.seed, case.plan, skipped)
    save(case, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == case


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', to_json(whole_case(1))[:-40]])
def test_file_that_holds_no_run_is_refused(text: str) -> None:
    with pytest.raises(CaseInvalid):
        from_json(text)
