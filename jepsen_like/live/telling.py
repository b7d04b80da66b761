"""A judged live run as the facts of a report. Chooses words; judges nothing."""

from __future__ import annotations

from jepsen_like.live.judging import Judged
from jepsen_like.live.run import Run
from jepsen_like.report.facts import Facts


def facts_of(run: Run, judged: Judged, replay: str) -> Facts:
    """Return what a report tells of a run.

    Args:
        run: The run.
        judged: Its verdict.
        replay: The command line that asks the same again.
    """
    plan = run.plan
    faults = ", ".join(plan.kinds) or "no faults"
    impossible: dict[str | None, int] = {}
    first = judged.checks[0]
    if first.position is not None:
        impossible[first.key] = first.position
    counts: dict[str, int | float | str] = {
        "operations": judged.counts.operations,
        "ok": judged.counts.ok,
        "fail": judged.counts.fail,
        "info": judged.counts.info,
        "keys": judged.keys[0],
        "nodes": plan.replicas,
        "processes at once": plan.threads,
        "seconds": round(run.seconds, 1),
        "seed": plan.seed,
    }
    if judged.calm is not None:
        counts["done in calm phases"] = f"{judged.calm.answered} of {judged.calm.operations}"
    for kind in plan.kinds:
        counts[f"{kind}, operations under way"] = run.in_flight[kind]
        if run.leader_effects[kind]:
            counts[f"{kind}, of the leader"] = run.leader_effects[kind]
        for name, count in run.details.get(kind, {}).items():
            counts[f"{kind}: {name}"] = count
    return Facts(
        title=f"live run: {plan.workload.name} on {plan.replicas} nodes under {faults}",
        verdict=judged.verdict,
        sentence=_sentence(judged),
        replay=replay,
        warnings=judged.warnings,
        history=judged.history,
        impossible=impossible,
        bands=tuple(run.bands),
        phases=tuple(run.phases),
        effects={kind: run.effects[kind] for kind in plan.kinds},
        counts=counts,
    )


def _sentence(judged: Judged) -> str:
    words = {
        "yes": "Linearizable",
        "no": "Not linearizable",
        "unknown": "Nothing wrong was found, and too little was shown",
    }
    return f"{words[judged.verdict]}: {judged.reason}."
