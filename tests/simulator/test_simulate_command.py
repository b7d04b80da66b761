"""``python -m jepsen_like simulate``: what scripts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jepsen_like.sim.plan import draw_plan

ROOT = Path(__file__).parents[2]
MUTANT = "tests.simulator.variants:AcceptsBelowPromise"


def run_simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, where the mutants can be imported."""
    return subprocess.run(
        [sys.executable, "-m", "jepsen_like", "simulate", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_simulate_good_seeds_exits_zero_and_sums_up_in_the_last_line() -> None:
    done = run_simulate("--seeds", "0:20", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert "simulated seconds per second" in done.stdout
    assert "marks: " in done.stdout
    words = ("20 seeds", "deliveries", "commands", "elections", "crashes", "loss=", "partition=")
    assert [word for word in words if word not in last] == []
    assert done.stderr == ""


def test_simulate_as_json_prints_one_object_per_line() -> None:
    done = run_simulate("--seeds", "0:20", "--json")
    (summary,) = map(json.loads, done.stdout.splitlines())
    assert (summary["event"], summary["status"], summary["seeds"]) == ("summary", 0, 20)
    assert summary["effects"]["loss"] > 0
    assert summary["marks"]["window was full"] > 0
    assert summary["simulated_s"] > 0 < summary["seconds"]


def test_simulate_broken_acceptor_exits_one_with_a_line_that_replays_it(tmp_path: Path) -> None:
    done = run_simulate("--seeds", "0:20", "--replica", MUTANT, "--no-shrink")
    assert done.returncode == 1
    assert "violates I2: a promise never decreases" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("replay it: "))
    command = line.removeprefix("replay it: python -m jepsen_like simulate ").split()
    traces = [tmp_path / "first", tmp_path / "second"]
    for trace in traces:
        again = run_simulate(*command[:-1], str(trace), "--no-shrink")
        assert again.returncode == 1
    first, second = (trace.read_text() for trace in traces)
    assert first == second
    story = [text.strip() for text in done.stdout.splitlines() if "VIOLATION" in text]
    assert [first.splitlines()[-1].strip()] == story


def test_simulate_broken_acceptor_is_shrunk_saved_and_replayed_from_the_file(
    tmp_path: Path,
) -> None:
    saved, page = tmp_path / "case.json", tmp_path / "report.html"
    done = run_simulate(
        *("--seeds", "0:20", "--replica", MUTANT, "--save", str(saved), "--report", str(page))
    )
    assert done.returncode == 1, done.stderr
    assert "shrunk to " in done.stdout
    assert ">>> I2 (a promise never decreases)" in done.stdout
    assert "I2, a promise never decreases" in page.read_text(encoding="utf-8")
    again = run_simulate("--replay", str(saved), "--replica", MUTANT)
    assert again.returncode == 1
    assert "violates I2" in again.stdout
    sound = run_simulate("--replay", str(saved))
    assert (sound.returncode, sound.stdout[:13]) == (0, "no violation:")


def test_simulate_with_a_report_tells_a_quiet_seed_in_full(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    run_simulate("--seeds", "3:4", "--report", str(page))
    text = page.read_text(encoding="utf-8")
    assert "Seed 3 violates no invariant" in text
    assert "simulation, seed 3" in text


def test_simulate_violation_as_json_names_seed_invariant_and_replay() -> None:
    done = run_simulate("--seeds", "0:20", "--replica", MUTANT, "--json")
    *violations, summary = map(json.loads, done.stdout.splitlines())
    assert summary["violations"] == len(violations) > 0
    assert violations[0]["invariant"] == 2
    assert f"--seeds {violations[0]['seed']}:" in violations[0]["replay"]
    assert violations[0]["shrunk"]["story"]


def test_simulate_one_node_alone_exits_two_because_it_proves_too_little() -> None:
    alone = next(seed for seed in range(1000) if draw_plan(seed).nodes == 1)
    done = run_simulate("--seeds", f"{alone}:{alone + 1}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "proved too little: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seeds", "7"], "is not two numbers A:B"),
        (["--seeds", "9:9"], "holds no seed"),
        (["--seeds", "0:2", "--trace", "trace"], "takes one seed"),
        (["--seeds", "0:1", "--replica", "paxos.core.replica:Nobody"], "cannot load"),
        (["--replay", __file__], "no run of a simulation"),
        (["--seeds", "0:1", "--replica", "no.such.module:Replica"], "cannot load"),
    ],
)
def test_simulate_what_makes_no_sense_exits_three_and_says_why(
    arguments: list[str], complaint: str
) -> None:
    done = run_simulate(*arguments)
    assert done.returncode == 3
    assert complaint in done.stderr


@pytest.mark.parametrize("last", [5, 40])  # in this process, and in several
def test_simulate_broken_harness_exits_three_and_names_the_seed(last: int) -> None:
    done = run_simulate("--seeds", f"4:{last}", "--replica", "tests.simulator.variants:no_replica")
    assert done.returncode == 3
    assert "TypeError" in done.stderr
    assert "seed 4 of the profile 'swarm'" in done.stderr


def test_simulate_profile_tasks_finds_nothing_and_is_told_in_the_sums() -> None:
    done = run_simulate("--profile", "tasks", "--seeds", "2:4", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["violations"] == 0, done.stdout
    assert summary["commands"] >= 300


def test_simulate_profile_churn_changes_members_in_every_seed_and_says_so_in_the_replay() -> None:
    done = run_simulate("--profile", "churn", "--seeds", "0:4", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    changes = ("member added", "member removed", "member replaced", "witness added")
    assert summary["violations"] == 0, done.stdout
    assert sum(summary["effects"][name] for name in changes) >= 4
    broken = run_simulate(
        *("--profile", "churn", "--seeds", "0:4", "--replica", MUTANT, "--no-shrink", "--json")
    )
    lines = [json.loads(line) for line in broken.stdout.splitlines()]
    assert lines[0]["replay"].endswith(f" --profile churn --replica {MUTANT} --trace FILE")
