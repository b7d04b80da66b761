"""Profile "years": seeds of the simulator that live through what years bring, in a second.

For bugs that need damage, or snapshots that cross one another. Half of the seeds lose bytes of
their logs again and again, between elections, with little in snapshots that could give them back;
the others have snapshots all the time, of nodes that lag and fetch, over links that break or are
slow, among so many that what one has forgotten another still has.
"""

from __future__ import annotations

from dataclasses import replace

from jepsen_like.mutation.profile_cluster import judge_case
from jepsen_like.mutation.profiles import Finding
from jepsen_like.sim.plan import REAL_LOG_LIMITS, Plan, draw_plan
from jepsen_like.sim.replay import Case
from jepsen_like.sim.schedule import draw_schedule
from jepsen_like.sim.streams import stream
from paxos.core.config import FEATURE

STRIKING = ("partition", "disconnect", "kill", "dying leader", "pause", "time jump")


def judge(seed: int) -> Finding | None:
    """Run the seed; what it finds is a violated invariant."""
    return judge_case(case(seed))


def case(seed: int) -> Case:
    """Return the run that a seed draws here."""
    plan = _aged(seed, draw_plan(seed))
    return Case(seed, plan, draw_schedule(seed, plan))


def _aged(seed: int, plan: Plan) -> Plan:
    rng = stream(seed, "years")
    timeout = plan.timing.election_timeout_s
    kept = tuple(fault for fault in STRIKING if rng.random() < 0.6)
    common = replace(
        plan,
        nodes=3,
        phase1=2,
        phase2=2,
        alpha=rng.choice((4, 8)),
        feature=FEATURE,
        churn=(),
        permanent=False,
        beyond=False,
        corruption=0.0,
        edge_config=False,
        calm_s=timeout * rng.choice((0.3, 0.7)),
        spell_s=timeout * rng.choice((0.3, 1.0)),
    )
    if seed % 2:
        return replace(
            common,
            faults=(*kept, "bit rot"),
            loss=rng.choice((0.0, 0.1, 0.3)),
            real_log=True,
            limits=REAL_LOG_LIMITS,
        )
    limits = replace(
        plan.limits,
        snapshot_entries=rng.randint(3, 5),
        snapshot_log_bytes=10**9,
        kept_entries=1,
        snapshot_chunk_bytes=rng.choice((300, 4_000)),
    )
    faults = (*kept, "partition", "slow link")
    return replace(
        common, nodes=5, phase1=3, phase2=3, faults=faults, real_log=False, limits=limits
    )
