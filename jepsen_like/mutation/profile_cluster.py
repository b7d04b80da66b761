"""Profile "cluster": a seed of the simulator, with the cluster, faults and clients it draws."""

from __future__ import annotations

from jepsen_like.mutation.profiles import Finding
from jepsen_like.sim.replay import Case
from jepsen_like.sim.shrink import run_case, whole_case
from paxos.core.replica import Replica


def judge(seed: int) -> Finding | None:
    """Run the seed's simulation; what it finds is a violated invariant."""
    return judge_case(case(seed))


def judge_case(case: Case) -> Finding | None:
    """Run a simulation, whoever drew it."""
    outcome = run_case(case, Replica)
    if outcome.number is None:
        return None
    return Finding(f"I{outcome.number}", outcome.text, outcome.seconds)


def case(seed: int) -> Case:
    """Return the run that a seed draws."""
    return whole_case(seed)
