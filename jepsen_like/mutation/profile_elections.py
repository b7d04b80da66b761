"""Profile "elections": seeds of the simulator in which leaders do hardly anything but change.

For bugs that need several rare things at once: two ballots in one slot, holes with values above
them, answers that come an election late. The cluster is the seed's own; its faults are those that
unseat leaders in the middle of their work, close upon one another, on links that lose and delay.
"""

from __future__ import annotations

from dataclasses import replace

from jepsen_like.mutation.profile_cluster import judge_case
from jepsen_like.mutation.profiles import Finding
from jepsen_like.sim.plan import Plan, draw_plan
from jepsen_like.sim.replay import Case
from jepsen_like.sim.schedule import draw_schedule
from jepsen_like.sim.streams import stream

UNSEATING = (
    *("partition", "one way", "disconnect", "kill", "kill all", "dying leader"),
    *("sleeping leader", "pause", "slow sync", "slow link", "clogged link", "client cut"),
)


def judge(seed: int) -> Finding | None:
    """Run the seed; what it finds is a violated invariant."""
    return judge_case(case(seed))


def case(seed: int) -> Case:
    """Return the run that a seed draws here."""
    plan = _restless(seed, draw_plan(seed))
    return Case(seed, plan, draw_schedule(seed, plan))


def _restless(seed: int, plan: Plan) -> Plan:
    rng = stream(seed, "restless")
    nodes = rng.choice((3, 3, 4, 5))
    majority = nodes // 2 + 1
    timeout = plan.timing.election_timeout_s
    kept = tuple(fault for fault in UNSEATING if rng.random() < 0.5) or ("dying leader",)
    return replace(
        plan,
        nodes=nodes,
        phase1=majority,
        phase2=majority,
        alpha=rng.choice((2, 4, 8)),
        real_log=False,
        edge_config=False,
        permanent=False,
        faults=kept,
        loss=rng.choice((0.0, 0.05, 0.2, 0.4)),
        duplication=rng.choice((0.0, 0.1)),
        spikes=rng.choice((0.0, 0.05, 0.2)),
        replays=rng.choice((0.0, 0.03)),
        drift=rng.choice((0.0, 0.3)),
        corruption=0.0,
        calm_s=timeout * rng.choice((0.2, 0.5, 1.0)),
        spell_s=timeout * rng.choice((0.3, 1.0)),
        reads=rng.choice((0.1, 0.6)),
    )
