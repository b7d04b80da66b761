"""The pytest plugin: each option, what a failure shows, and that other tests are left alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120.0
LOSSY = """\
from hypothesis import strategies as st
from jepsen_like.harness import cluster_test


class Counter:
    total = 0

    def apply(self, command, at):
        self.total += 1
        return b"%d" % self.total

    def query(self, query):
        return b"%d" % self.total

    def snapshot(self):
        return [b"%d" % max(0, self.total - 1)]  # loses an update

    def restore(self, chunks):
        self.total = int(b"".join(chunks))
"""
TEST = "test_counter = cluster_test(Counter, st.just(b'add'), st.just(b''), elsewhere=False)\n"
SOUND = LOSSY.replace("max(0, self.total - 1)", "self.total")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_pytest(tmp_path: Path) -> Run:
    """Run pytest on one test file in a directory of its own, with no plugin but ours."""

    def run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_user.py").write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "jepsen_like.harness.plugin", *options],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    return run


def test_lossy_counter_with_its_test_has_fewer_than_20_lines_of_code() -> None:
    lines = [line for line in (LOSSY + TEST).splitlines() if line.strip()]
    assert len(lines) < 20


def test_failure_shows_the_story_and_how_to_replay_it_and_nothing_else(run_pytest: Run) -> None:
    failed = run_pytest(LOSSY + TEST, "--paxos-seed", "7")
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    assert "cluster tests: seed 7\n" in failed.stdout
    shown = failed.stdout.partition("_ test_counter _")[2].partition("\n")[2]
    story = shown.partition("\n====")[0].splitlines()
    assert story[0] == "Counter breaks a promise: a snapshot is the whole state"
    steps = [line for line in story if re.match(r" +[0-9]+\. ", line)]
    assert len(steps) < 12
    assert steps[-1].endswith("<-- broken here")
    assert re.fullmatch(r"  pytest test_user.py::test_counter --paxos-replay p1-\S+", story[-3])
    assert re.fullmatch(r"\(found in \d+ runs, made small in \d+ more\)", story[-1])
    assert "FAILED test_user.py::test_counter - Counter breaks a promise: a snapshot is" in shown
    for noise in ("Traceback", "hypothesis", "Falsifying", "site-packages", "verdicts"):
        assert noise not in failed.stdout

    replay = story[-3].split()[-1]
    again = run_pytest(LOSSY + TEST, "--paxos-replay", replay)
    assert again.returncode == pytest.ExitCode.TESTS_FAILED
    assert "\n".join(story[:-2]) in again.stdout


def test_report_option_writes_a_page_and_the_scenario_which_replays(
    run_pytest: Run, tmp_path: Path
) -> None:
    failed = run_pytest(LOSSY + TEST, "--paxos-seed", "7", "--paxos-report", "out/reports")
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    page = tmp_path / "out" / "reports" / "test_user-py-test_counter.html"
    text = page.read_text(encoding="utf-8")
    assert "a snapshot is the whole state" in text
    assert "--paxos-replay" in text
    saved = page.with_suffix(".json")
    assert f"Report: {page.relative_to(tmp_path)}" in failed.stdout
    assert f"Scenario: {saved.relative_to(tmp_path)}" in failed.stdout
    assert json.loads(saved.read_text(encoding="utf-8"))["nodes"] == 1

    again = run_pytest(LOSSY + TEST, "--paxos-replay", str(saved))
    assert "Counter breaks a promise: a snapshot is the whole state" in again.stdout
    mended = run_pytest(SOUND + TEST, "--paxos-replay", str(saved), "-rP")
    assert mended.returncode == pytest.ExitCode.OK, mended.stdout + mended.stderr
    assert "Counter keeps every promise in this story" in mended.stdout


def test_budget_option_bounds_what_is_tried_and_a_pass_says_what_was_done(run_pytest: Run) -> None:
    passed = run_pytest(SOUND + TEST, "--paxos-budget", "12", "--paxos-seed", "3", "-rP")
    assert passed.returncode == pytest.ExitCode.OK, passed.stdout + passed.stderr
    assert "cluster tests: seed 3, budget 12 examples\n" in passed.stdout
    runs = re.search(r"^(\d+) runs, \d+ commands", passed.stdout, re.MULTILINE)
    assert runs is not None
    assert 1 < int(runs[1]) <= 12


def test_run_that_proves_nothing_is_shown_as_unknown(run_pytest: Run) -> None:
    text = SOUND.replace("self.total += 1", "raise ValueError") + TEST
    failed = run_pytest(text, "--paxos-budget", "5", "--paxos-seed", "3")
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    assert "unknown: the test of Counter proves nothing\n" in failed.stdout
    assert "  the state machine refused every one of" in failed.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--paxos-seed", "-1"), "a seed is a whole number from 0, not '-1'"),
        (("--paxos-budget", "lots"), "a budget is a number of examples"),
        (("--paxos-replay", "p1-nonsense"), "--paxos-replay: the token is cut short or mistyped"),
        (("--paxos-replay", "no-such-file"), "--paxos-replay: neither a token"),
    ],
)
def test_option_that_makes_no_sense_is_refused_before_any_test(
    run_pytest: Run, options: tuple[str, str], why: str
) -> None:
    refused = run_pytest("def test_other(): pass\n", *options)
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert why in refused.stderr


def test_plugin_in_a_project_without_cluster_tests_loads_nothing_of_ours(run_pytest: Run) -> None:
    text = """
import sys

def test_nothing_is_loaded():
    loaded = {"hypothesis", "paxos", "trio", "jinja2", "matplotlib", "msgpack"} & set(sys.modules)
    assert loaded == set()
    ours = [name for name in sys.modules if name.startswith("jepsen_like")]
    assert ours == ["jepsen_like", "jepsen_like.harness", "jepsen_like.harness.plugin"]
"""
    passed = run_pytest(text, "-v")
    assert passed.returncode == pytest.ExitCode.OK, passed.stdout + passed.stderr
    assert "cluster" not in passed.stdout


def test_example_is_a_test_that_passes(tmp_path: Path, run_pytest: Run) -> None:
    example = (ROOT / "examples" / "test_counter.py").read_text(encoding="utf-8")
    passed = run_pytest(example, "--paxos-seed", "1", "--paxos-budget", "20")
    assert passed.returncode == pytest.ExitCode.OK, passed.stdout + passed.stderr


def test_plugin_is_declared_where_pytest_looks_for_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"paxos": "jepsen_like.harness.plugin"}
