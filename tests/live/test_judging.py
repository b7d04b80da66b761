"""The verdict of a run, from histories and figures that the test writes down itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like import report
from jepsen_like.live.judging import judge, result_document
from jepsen_like.live.plan import Plan
from jepsen_like.live.run import CALM, CALM_AGAIN, FAULTS, FINAL, HEAL, Run
from jepsen_like.live.telling import facts_of
from jepsen_like.report.facts import Band, Phase
from jepsen_like.workload.base import ANSWERED
from jepsen_like.workload.catalog import WORKLOADS

Spoil = Callable[[Run], None]


def good_run(directory: Path) -> Run:
    """Return a run that proved what it should: 200 writes and reads in turn, and faults."""
    directory.mkdir()
    workload = WORKLOADS["register"]
    plan = Plan(workload, workload.machine, ("kill",), 9.0, seed=1)
    run = Run(plan, directory, lambda _phase, _seconds: None)
    recorder = run.loads[0].recorder
    for number in range(200):
        recorder.end(recorder.invoke(0, "write", "k0", number), "ok", number)
        recorder.end(recorder.invoke(1, "read", "k0", None), "ok", number)
    stop = recorder.entries[-1].time / 1e9
    run.phases += [
        Phase(CALM, 0.0, stop),
        Phase(FAULTS, stop, stop),
        Phase(HEAL, stop, stop),
        Phase(CALM_AGAIN, stop, stop),
        Phase(FINAL, stop, stop + 1),
    ]
    recorder.end(recorder.invoke(0, "read", "k0", None), "ok", 199)
    run.bands.append(Band("kill", "n1", 0.0, stop, 1))
    run.effects["kill"] = run.in_flight["kill"] = 1
    return run


def judged(run: Run) -> tuple[str, str]:
    run.loads[0].recorder.close()
    told = judge(run)
    return told.verdict, told.reason


def test_run_that_proved_enough_is_judged_yes(tmp_path: Path) -> None:
    assert judged(good_run(tmp_path / "run"))[0] == "yes"


def forget(run: Run) -> None:
    recorder = run.loads[0].recorder
    recorder.end(recorder.invoke(0, "read", "k0", None), "ok", 3)


def answer_nonsense(run: Run) -> None:
    run.loads[0].senseless.append("read was answered 'a'")


def lose_a_node(run: Run) -> None:
    run.findings.append("node 2 ended by itself with status -6")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (forget, "history.jsonl: "),
        (answer_nonsense, "read was answered 'a'"),
        (lose_a_node, "node 2 ended by itself"),
    ],
)
def test_run_with_something_impossible_is_judged_no_even_if_interrupted(
    spoil: Spoil, text: str, tmp_path: Path
) -> None:
    for interrupted in ("", "interrupted by SIGINT"):
        run = good_run(tmp_path / f"run{interrupted}")
        run.trouble = interrupted
        spoil(run)
        verdict, reason = judged(run)
        assert verdict == "no"
        assert text in reason


def interrupt(run: Run) -> None:
    run.trouble = "interrupted by SIGTERM"


def strike_nothing(run: Run) -> None:
    run.effects["kill"] = 0


def skip_the_final_reads(run: Run) -> None:
    run.phases.pop()


def refuse_everything(run: Run) -> None:
    recorder = run.loads[0].recorder
    start = recorder.entries[-1].time / 1e9
    for _ in range(60):
        recorder.end(recorder.invoke(5, "read", "k0", None), "fail", None, "no leader")
    run.phases.insert(0, Phase(CALM, start, recorder.entries[-1].time / 1e9))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (interrupt, "interrupted by SIGTERM"),
        (strike_nothing, "the fault kill had no effect"),
        (skip_the_final_reads, "0 of 1 keys were read at the end"),
        (refuse_everything, "more than 90% is asked"),
    ],
)
def test_run_that_proved_too_little_is_judged_unknown(
    spoil: Spoil, text: str, tmp_path: Path
) -> None:
    run = good_run(tmp_path / "run")
    spoil(run)
    verdict, reason = judged(run)
    assert verdict == "unknown"
    assert text in reason


def test_run_whose_check_gets_no_time_is_not_judged_yes(tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    run.trouble = "interrupted while it was checked"
    run.loads[0].recorder.close()
    told = judge(run, check_seconds=0.0)
    assert told.verdict == "unknown"
    assert told.counts.operations == 401


def test_plan_with_and_without_faults_fills_its_seconds_with_phases() -> None:
    workload = WORKLOADS["register"]
    for seconds in (3.0, 9.0, 60.0):
        plan = Plan(workload, workload.machine, ("kill",), seconds, seed=1)
        assert plan.calm_s + plan.faults_s + plan.calm_s == pytest.approx(seconds)
        assert min(plan.calm_s, plan.faults_s) >= 1.0
        assert Plan(workload, workload.machine, (), seconds, seed=1).calm_s == seconds


def test_run_that_never_asked_anything_is_judged_unknown(tmp_path: Path) -> None:
    workload = WORKLOADS["config"]
    plan = Plan(workload, workload.machine, (), 9.0, seed=1)
    run = Run(plan, tmp_path, lambda _phase, _seconds: None)
    for load in run.loads:
        load.recorder.close()
    assert judge(run).verdict == "unknown"


def test_result_of_a_run_names_what_its_contract_asks_for(tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    recorder = run.loads[0].recorder
    recorder.end(recorder.invoke(2, "cas", "k0", [1, 2]), "fail", [1, 2])
    recorder.end(recorder.invoke(2, "write", "k0", 7), "fail", 7, ANSWERED + "malformed")
    recorder.end(recorder.invoke(2, "write", "k0", 8), "info", 8, "no answer")
    recorder.invoke(3, "write", "k0", 9)
    recorder.close()
    told = json.loads(json.dumps(result_document(run, judge(run))))
    names = ("verdict", "operations", "ok", "fail", "info", "faults")
    assert {name: told[name] for name in names} == {
        "verdict": "yes",
        "operations": 405,
        "ok": 401,
        "fail": 2,
        "info": 2,
        "faults": {"kill": 1},
    }


def test_report_of_a_refuted_run_points_at_the_impossible_answer(tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    forget(run)
    run.loads[0].recorder.close()
    told = judge(run)
    facts = facts_of(run, told, "again")
    assert facts.history[facts.impossible["k0"]].value == 3
    assert facts.verdict == "no"
    assert facts.effects == {"kill": 1}
    assert "k0" in report.render(facts)
