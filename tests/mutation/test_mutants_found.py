"""Every known bug of tests/mutants, put into a copy of the product, is found within its budget.

The budget is several times what it took when it was written, so that a hole in the generator shows
and another draw does not.
"""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet

from jepsen_like.mutation.hunt import Order, control, hunt_one
from jepsen_like.mutation.mutant import Mutant
from tests.mutation.test_mutant_patches import RUNNABLE

QUICK_SEEDS = 40
"""Mutants with a larger budget are looked for every night."""

ORDER = Order(bases=1, shrink=0)


def chosen(mutant: Mutant) -> ParameterSet:
    marks = [pytest.mark.nightly] if mutant.seeds > QUICK_SEEDS else []
    return pytest.param(mutant, id=mutant.id, marks=marks)


@pytest.mark.parametrize("mutant", [chosen(mutant) for mutant in RUNNABLE])
def test_mutant_within_its_budget_is_found_by_a_check_it_names(mutant: Mutant) -> None:
    result = hunt_one(mutant, ORDER)
    assert result.state == "found", result.trouble


def test_unchanged_code_over_the_seeds_of_mutants_is_found_guilty_of_nothing() -> None:
    few = [mutant for mutant in RUNNABLE if mutant.id in ("A5", "B17", "W5")]
    results = [hunt_one(mutant, ORDER) for mutant in few]
    checked = control(results, ORDER, lambda _: None)
    assert checked.findings == []
    assert sorted(checked.seeds) == ["arithmetic", "cluster", "wire"]
    assert all(checked.seeds.values())
