"""``python -m jepsen_like run``: what it refuses, and whole runs against real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jepsen_like import report
from jepsen_like.checkers.linearizability import check
from jepsen_like.checkers.tasks import check_tasks, unfinished
from jepsen_like.cli.run import run_command
from jepsen_like.history import NEMESIS, read_history
from jepsen_like.live.proof import CHURN, DAMAGES
from jepsen_like.workload.catalog import WORKLOADS
from tests.architecture.sources import ROOT

RUN = (sys.executable, "-m", "jepsen_like", "run")
TIMEOUT_S = 200


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*RUN, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def result(directory: Path) -> dict[str, Any]:
    """Return what a run says of itself."""
    document: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return document


# --- what is refused before anything starts -----------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--workload", "chess"), "no workload 'chess': there are config, register"),
        (("--workload", "register", "--nemesis", "kill,meteor"), "no fault 'meteor'"),
        (("--workload", "register", "--machine", "nowhere:Nothing"), "no module 'nowhere'"),
        (("--workload", "register", "--nemesis", "churn,partition"), "'partition' cannot be had"),
        (("--workload", "register", "--nemesis", "damage", "--nodes", "2"), "needs 3 nodes"),
        (("--workload", "register", "--time", "1"), "--time"),
        (("--workload", "register", "--time", "nan"), "nan is not a finite number"),
        (("--workload", "register", "--rate", "inf"), "inf is not a finite number"),
        (("--workload", "register", "--timeout", "nan"), "nan is not a finite number"),
        (("--workload", "os:path"), "is no jepsen_like.workload.base.Workload"),
    ],
)
def test_run_asked_for_what_there_is_not_is_refused(
    arguments: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    ended = run(*arguments, "--out", tmp_path / "out")
    assert ended.returncode == 3
    assert text in " ".join(ended.stderr.split())
    assert not (tmp_path / "out").exists()


def test_run_into_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("precious\n")
    ended = run("--workload", "register", "--out", tmp_path)
    assert ended.returncode == 3
    assert "is not empty" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_run_without_the_report_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    monkeypatch.setattr(report, "available", lambda: "no jinja2: pip install 'multipaxos[test]'")
    arguments = ["--workload", "register", "--out", str(tmp_path / "out")]
    ended = CliRunner().invoke(run_command, arguments)
    assert ended.exit_code != 0
    assert "multipaxos[test]" in ended.output
    assert "--no-report" in ended.output
    assert not (tmp_path / "out").exists()


def test_help_of_run_teaches_every_workload_and_the_exit_statuses() -> None:
    text = " ".join(run("--help").stdout.split())
    for name in WORKLOADS:
        assert name in text
    assert "0 yes; 1 no" in text


# --- whole runs ----------------------------------------------------------------------------------


@pytest.mark.processes
def test_run_of_registers_under_kill_and_partition_is_proved_and_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "register", "--nemesis", "kill,partition", "--time", "6",
                "--out", out, "--seed", "3")  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("yes: ")
    told = result(out)
    entries = read_history(out / "history.jsonl")
    assert check(entries, "cas-register").verdict == told["verdict"] == "yes"
    begun = [entry for entry in entries if entry.type == "invoke"]
    assert told["operations"] == len(begun) == told["ok"] + told["fail"] + told["info"]
    assert set(told["faults"]) == {"kill", "partition"}
    assert min(told["faults"].values()) > 0
    assert told["keys"] == told["keys_read_at_the_end"] == len({entry.key for entry in begun})
    phases = [e.value for e in entries if e.process == NEMESIS and e.f == "phase"]
    assert phases == ["calm", "faults", "heal", "calm again", "final reads"]
    assert "<html" in (out / "report.html").read_text()
    assert sorted(path.name for path in (out / "logs").iterdir())


@pytest.mark.processes
def test_run_of_the_configuration_records_and_judges_its_transactions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "config", "--nemesis", "kill", "--time", "6", "--json",
                "--no-report", "--out", out, "--seed", "4")  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told == result(out)
    files = [each["history"] for each in told["checks"]]
    assert files == ["history.jsonl", "transactions.jsonl"]
    assert {each["verdict"] for each in told["checks"]} == {"yes"}
    asked = {e.f for e in read_history(out / "transactions.jsonl") if e.type == "ok"}
    assert asked == {"transact", "read", "watch"}
    assert not (out / "report.html").exists()


@pytest.mark.processes
def test_run_of_the_task_log_is_judged_by_the_queue_and_each_task_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "tasks", "--nemesis", "kill,pause", "--time", "8", "--rate", "150",
                "--no-report", "--out", out, "--seed", "5")  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    checks = result(out)["checks"]
    assert [each["model"] for each in checks] == ["tasks", "task"]
    for each in checks:
        assert each["verdict"] == "yes"
        assert f"history.jsonl, as {each['model']}: yes: {each['reason']}" in ended.stdout
    entries = read_history(out / "history.jsonl")
    assert check_tasks(entries).verdict == "yes"
    assert unfinished(entries) == []
    refused = {e.f for e in entries if e.type == "ok" and "refused" in e.value}
    assert "complete" in refused


@pytest.mark.processes
def test_run_under_churn_and_kill_tells_what_changed_and_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "register", "--nemesis", "churn,kill", "--time", "7",
                "--no-report", "--out", out, "--seed", "1")  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = result(out)
    assert told["faults_in_flight"]["churn"] > 0
    changes = told["fault_counts"]["churn"]
    assert sum(changes[name] for name in set(changes) & set(CHURN[:4])) == told["faults"]["churn"]
    assert ", ".join(f"{count} {name}" for name, count in changes.items()) in ended.stdout


@pytest.mark.processes
def test_run_under_damage_tells_what_was_hit_and_that_it_was_mended(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "append", "--nemesis", "damage", "--time", "9",
                "--no-report", "--out", out, "--seed", "1")  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = result(out)["fault_counts"]["damage"]
    assert told["damages"] == told["mended"] + told.get("lost with a node", 0) >= 3
    assert 2 * told["inside decided records"] >= told["damages"]


@pytest.mark.processes
def test_run_of_a_counter_that_forgets_is_refuted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", "counter", "--machine", "tests.live.broken_machines:ForgetfulCounter",
                "--nemesis", "none", "--time", "4", "--keys", "2", "--out", out)  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout.startswith("no: history.jsonl: ")
    assert result(out)["verdict"] == "no"
    assert check(read_history(out / "history.jsonl"), "counter").verdict == "no"


@pytest.mark.processes
def test_run_ended_by_a_signal_leaves_its_history_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [*RUN, "--workload", "append", "--time", "60", "--no-report", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        history = out / "history.jsonl"
        while not (history.exists() and history.stat().st_size > 20_000):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert told.startswith("unknown: ")
    assert "interrupted by SIGINT" in told
    assert result(out)["verdict"] == "unknown"
    assert len(read_history(history)) > 100
    assert not _processes_that_name(str(out))


@pytest.mark.nightly
@pytest.mark.processes
@pytest.mark.parametrize("name", ["config", "register", "append"])
def test_run_of_a_minute_under_the_usual_faults_proves_a_lot(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", name, "--out", out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = result(out)
    assert told["done"] >= 5_000
    assert told["calm"]["share"] > 0.9
    for kind, least in {"kill": 10, "pause": 5, "partition": 5}.items():
        assert min(told["faults"][kind], told["faults_in_flight"][kind]) >= least, told
    assert told["faults_on_the_leader"]["kill"] >= 3
    assert (out / "report.html").stat().st_size < 10_000_000


@pytest.mark.nightly
@pytest.mark.processes
@pytest.mark.parametrize("name", ["config", "register", "append"])
def test_run_of_a_minute_under_churn_and_kill_proves_a_lot(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", name, "--nemesis", "churn,kill", "--out", out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = result(out)
    assert told["done"] >= 5_000
    assert told["faults_in_flight"]["churn"] >= 5


@pytest.mark.nightly
@pytest.mark.processes
@pytest.mark.parametrize("name", ["config", "register", "append"])
def test_run_of_a_minute_under_damage_loses_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("--workload", name, "--nemesis", "damage", "--out", out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert result(out)["fault_counts"]["damage"]["damages"] >= DAMAGES


def _processes_that_name(text: str) -> list[str]:
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            try:
                line = (place / "cmdline").read_bytes()
            except OSError:
                continue  # it ended while we looked
            if text.encode() in line:
                found.append(line.replace(b"\0", b" ").decode())
    return found
