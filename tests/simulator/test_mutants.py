"""Known bugs, each put back into the replica: the simulator finds it, names it, and replays it.

The budget is how many seeds, from 0 on, may pass before it is found: several times what it took
when this was written, so that a hole in the generator shows and another draw does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from jepsen_like.sim.node import ReplicaFactory
from jepsen_like.sim.simulation import Outcome, simulate
from tests.simulator.mutants import acceptors, learners, proposers, reads


@dataclass(frozen=True)
class Mutant:
    """A broken replica, by which invariants it may be found, and within how many seeds."""

    name: str
    replica: ReplicaFactory
    invariants: frozenset[int]
    seeds: int


MUTANTS = (
    Mutant("A1", acceptors.AcceptsBelowPromise, frozenset({2}), 20),
    Mutant("A3", acceptors.PromisesBeforeSync, frozenset({7}), 3),
    Mutant("A4", acceptors.AcceptsBeforeSync, frozenset({7}), 3),
    Mutant("A5", acceptors.ForgetsPromise, frozenset({2}), 30),
    Mutant("A6", acceptors.ForgetsAccepted, frozenset({4, 10}), 20),
    Mutant("A8", acceptors.PromisesInPart, frozenset({4, 10}), 40),
    Mutant("B1", proposers.IgnoresReports, frozenset({1, 4}), 10),
    Mutant("B3", proposers.HalfIsEnough, frozenset({8}), 10),
    Mutant("B4", learners.OneVoteShort, frozenset({8}), 10),
    Mutant("B5", learners.CountsVotes, frozenset({8}), 80),
    Mutant("B10", proposers.PreparesBeforeSync, frozenset({7}), 3),
    Mutant("B11", proposers.FillsReportedSlots, frozenset({1, 4}), 10),
    Mutant("B12", proposers.LeavesHoles, frozenset({5, 13}), 80),
    Mutant("C1", learners.AppliesOverGap, frozenset({5, 6, 8}), 20),
    Mutant("C4", learners.AppliesTwiceAfterRestart, frozenset({5, 6, 9}), 10),
    Mutant("C7", learners.RepliesEarly, frozenset({10}), 3),
    Mutant("D1", learners.AppliesRetries, frozenset({9}), 10),
    Mutant("E1", reads.ReadsWithoutQuorum, frozenset({11}), 150),
    Mutant("H4", proposers.NeverResends, frozenset({13}), 80),
)


def find(mutant: Mutant) -> Outcome:
    """Run seeds until the mutant is found."""
    for seed in range(mutant.seeds):
        outcome = simulate(seed, mutant.replica)
        if outcome.number is not None:
            return outcome
    pytest.fail(f"{mutant.name} was not found within {mutant.seeds} seeds")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_within_its_budget_is_found_and_replays_to_the_same_trace(mutant: Mutant) -> None:
    found = find(mutant)
    assert found.number in mutant.invariants, found.text
    traces: list[list[str]] = [[], []]
    for trace in traces:
        assert simulate(found.seed, mutant.replica, trace.append) == found
    assert traces[0] == traces[1]
    assert found.text in traces[0][-1]
