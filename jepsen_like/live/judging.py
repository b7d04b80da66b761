"""The verdict of a live run, from what was recorded: files and figures, never a process.

"no" if a history has no explanation, or something was seen that a correct cluster never shows;
"unknown" if the run proved too little, ended early, or the checker ran out of its budget; else
"yes". The histories are read back from their files: what is judged is what was saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jepsen_like.checkers.linearizability import Budget, check
from jepsen_like.checkers.tasks import check_each_task, check_queue
from jepsen_like.checkers.transactions import check_transactions
from jepsen_like.checkers.watches import Judgement
from jepsen_like.history import Entry, read_history
from jepsen_like.live.proof import (
    BESIDE,
    Counts,
    Evidence,
    count,
    count_between,
    settled_keys,
    shortfalls,
)
from jepsen_like.live.run import CALM, CALM_AGAIN, FINAL, Load, Run
from jepsen_like.verdict import Verdict, worst

Judge = Callable[[Sequence[Entry], Budget], Judgement]

CHECK_SECONDS = 120.0
"""The checker's budget. What a run asks is decided in far less; see ``Plan.key_operations``."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one checker said of one history.

    Attributes:
        history: The file's name.
        model: By what it was judged.
        verdict: The answer.
        reason: Why.
        seconds: How long it took.
        position: Where in the history the first impossible answer stands, if one does.
        key: Its key.
    """

    history: str
    model: str
    verdict: Verdict
    reason: str
    seconds: float = 0.0
    position: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A live run, judged.

    Attributes:
        verdict: The answer.
        reason: In a sentence.
        warnings: What the run did not prove.
        checks: Each checker's answer.
        history: The main history.
        counts: It in numbers.
        calm: Its calm phases in numbers; None if there were none.
        keys: How many keys it has, and how many of them were read at the end.
    """

    verdict: Verdict
    reason: str
    warnings: tuple[str, ...]
    checks: tuple[Check, ...]
    history: Sequence[Entry]
    counts: Counts
    calm: Counts | None
    keys: tuple[int, int]


def judge(run: Run, check_seconds: float = CHECK_SECONDS) -> Judged:
    """Judge a run that has ended, however it did.

    Args:
        run: The run.
        check_seconds: What the checker may take for a history.
    """
    histories = [read_history(load.recorder.path) for load in run.loads]
    checks = [
        each
        for load, entries in zip(run.loads, histories, strict=True)
        for each in _checks(load, entries, Budget(seconds=check_seconds))
    ]
    missing: list[str] = []
    evidences = []
    for load, entries in zip(run.loads, histories, strict=True):
        evidence = _evidence(run, load, entries)
        evidences.append(evidence)
        if load is run.loads[0]:
            missing += shortfalls(evidence)
            missing += load.plan.workload.lacking(entries)
        else:
            name = load.plan.workload.name
            missing += [f"{name}: {each}" for each in shortfalls(evidence, BESIDE)]
    if run.trouble:
        missing.insert(0, run.trouble)
    impossible = [f"senseless answer: {each}" for load in run.loads for each in load.senseless]
    impossible += run.findings
    verdict, reason = _verdict(checks, impossible, missing)
    first = evidences[0]
    return Judged(
        verdict=verdict,
        reason=reason,
        warnings=tuple(missing),
        checks=tuple(checks),
        history=histories[0],
        counts=first.whole,
        calm=first.calm,
        keys=(first.keys, first.keys_settled),
    )


def _verdict(
    checks: Sequence[Check], impossible: Sequence[str], missing: Sequence[str]
) -> tuple[Verdict, str]:
    """Return the verdict and the sentence that says why."""
    for each in checks:
        if each.verdict == "no":
            return "no", f"{each.history}: {each.reason}"
    if impossible:
        return "no", impossible[0]
    for each in checks:
        if each.verdict == "unknown":
            return "unknown", f"{each.history}: {each.reason}"
    if missing:
        return "unknown", f"the run proved too little: {missing[0]}"
    return worst(each.verdict for each in checks), "every answer is explained by one order"


WHOLE: Mapping[str, Mapping[str, Judge]] = {
    "transactions": {"transactions": lambda history, _: check_transactions(history)},
    "tasks": {"tasks": lambda history, _: check_queue(history), "task": check_each_task},
}
"""By model: who judges histories without keys, each under a name of its own."""


def _checks(load: Load, entries: Sequence[Entry], budget: Budget) -> Iterator[Check]:
    """Judge one history by its model, or by all that there are for it."""
    workload, name = load.plan.workload, load.recorder.path.name
    if workload.keyed:
        yield _check(name, workload.model, entries, budget)
        return
    for model, judged_by in WHOLE[workload.model].items():
        began = time.perf_counter()
        told = judged_by(entries, budget)
        seconds = time.perf_counter() - began
        yield Check(name, model, told.verdict, told.reason, seconds, told.entry)


def _check(name: str, model: str, entries: Sequence[Entry], budget: Budget) -> Check:
    found = check(entries, model, budget)
    return Check(
        name,
        model,
        found.verdict,
        found.reason,
        found.seconds,
        found.entry,
        found.key,
    )


def _evidence(run: Run, load: Load, entries: Sequence[Entry]) -> Evidence:
    """Count what one load of the run has to show; faults are the main one's."""
    workload = load.plan.workload
    spans = [(each.start_s, each.stop_s) for each in run.phases if each.name in (CALM, CALM_AGAIN)]
    final = next((each.start_s for each in run.phases if each.name == FINAL), None)
    keys = {entry.key for entry in entries if entry.type == "invoke"}
    settled = set() if final is None else settled_keys(entries, workload, final)
    main = load is run.loads[0]
    return Evidence(
        seconds=run.seconds,
        whole=count(entries, workload),
        calm=count_between(entries, workload, spans) if spans else None,
        keys=len(keys),
        keys_settled=len(keys & settled),
        effects={kind: run.effects[kind] for kind in run.plan.kinds} if main else {},
        in_flight=dict(run.in_flight) if main else {},
        details={kind: dict(told) for kind, told in run.details.items()} if main else {},
    )


# --- result.json ---------------------------------------------------------------------------------


def result_document(run: Run, judged: Judged) -> dict[str, Any]:
    """Return what ``result.json`` says of a run."""
    plan, counts, calm = run.plan, judged.counts, judged.calm
    return {
        "verdict": judged.verdict,
        "reason": judged.reason,
        "workload": plan.workload.name,
        "model": plan.workload.model,
        "machine": plan.machine,
        "seed": plan.seed,
        "seconds": round(run.seconds, 3),
        "operations": counts.operations,
        "ok": counts.ok,
        "fail": counts.fail,
        "info": counts.info,
        "done": counts.answered,
        "observed": counts.observed,
        "calm": None
        if calm is None
        else {
            "operations": calm.operations,
            "done": calm.answered,
            "share": round(calm.answered / calm.operations, 4) if calm.operations else 0.0,
        },
        "keys": judged.keys[0],
        "keys_read_at_the_end": judged.keys[1],
        "faults": {kind: run.effects[kind] for kind in plan.kinds},
        "faults_in_flight": {kind: run.in_flight[kind] for kind in plan.kinds},
        "faults_on_the_leader": {kind: run.leader_effects[kind] for kind in plan.kinds},
        "fault_counts": {kind: dict(told) for kind, told in run.details.items() if told},
        "not_proved": list(judged.warnings),
        "checks": [_check_document(each) for each in judged.checks],
    }


def _check_document(each: Check) -> Mapping[str, Any]:
    return {
        "history": each.history,
        "model": each.model,
        "verdict": each.verdict,
        "reason": each.reason,
        "seconds": round(each.seconds, 3),
    }
