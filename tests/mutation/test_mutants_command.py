"""``python -m jepsen_like mutants``: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from jepsen_like.sim.replay import FORMAT
from tests.mutation.test_mutant_patches import DIFF, DIRECTORY

HARMLESS = """\
id = "X1"
title = "a comment"
profile = "arithmetic"
[[edit]]
file = "paxos/core/quorum.py"
old = "class Quorums:"
new = "class Quorums:  # nothing"
"""


def run_mutants(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jepsen_like", "mutants", "--bases", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_mutants_that_are_found_end_with_0_and_a_control() -> None:
    done = run_mutants("--from", str(DIRECTORY), "--only", "B17,E5")
    assert done.returncode == 0, done.stderr
    assert "B17  quorums" in done.stdout
    assert "E5   waits for leases" in done.stdout
    assert "the unchanged code over the same seeds (1 seeds of arithmetic): nothing found" in (
        done.stdout
    )


def test_mutant_that_changes_nothing_is_not_found_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "x1.toml").write_text(HARMLESS)
    done = run_mutants("--from", str(tmp_path), "--seeds", "2")
    assert done.returncode == 1
    assert "NOT FOUND: not found in seeds 0:2 of profile arithmetic" in done.stdout


def test_mutant_found_by_another_check_than_expected_ends_with_1(tmp_path: Path) -> None:
    mutant = HARMLESS.replace("class Quorums:  # nothing", "if self.phase1 + self.phase2 < n:")
    mutant = mutant.replace("class Quorums:", "if self.phase1 + self.phase2 <= n:")
    (tmp_path / "x1.toml").write_text(mutant.replace("[[edit", 'expected = ["I1"]\n[[edit'))
    done = run_mutants("--from", str(tmp_path), "--seeds", "2")
    assert done.returncode == 1
    assert "UNEXPECTED: found by quorums instead of I1" in done.stdout


def test_mutants_of_which_none_can_run_end_with_2() -> None:
    done = run_mutants("--from", str(DIRECTORY), "--only", "E5")
    assert done.returncode == 2


def test_directory_without_mutants_ends_with_3_and_a_word(tmp_path: Path) -> None:
    done = run_mutants(cwd=tmp_path)
    assert done.returncode == 3
    assert "tests/mutants: there is no such directory" in done.stderr
    done = run_mutants("--from", str(tmp_path))
    assert done.returncode == 3
    assert "holds no mutant" in done.stderr


def test_mutant_of_an_unknown_name_ends_with_3() -> None:
    done = run_mutants("--from", str(DIRECTORY), "--only", "Z9")
    assert done.returncode == 3
    assert "no mutant is named Z9" in done.stderr


def test_mutant_that_no_longer_applies_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "x1.toml").write_text(HARMLESS.replace('class Quorums:"', 'class Gone:"'))
    done = run_mutants("--from", str(tmp_path))
    assert done.returncode == 3
    assert "INVALID: X1: in paxos/core/quorum.py the text to replace stands 0 times" in done.stdout


def test_unified_diff_of_somebody_else_is_found_by_whatever_profile_sees_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "theirs.patch").write_text(DIFF)
    done = run_mutants("--from", str(tmp_path), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    mutant, summary = map(json.loads, done.stdout.splitlines())
    assert mutant["id"] == "theirs"
    assert mutant["found_by"] == ["quorums"]
    assert (summary["event"], summary["status"], summary["found"]) == ("summary", 0, 1)
    assert summary["control"] == {"seeds": {"arithmetic": 1}, "findings": 0}


def test_json_of_a_mutant_of_the_cluster_tells_its_shrunk_story() -> None:
    done = run_mutants("--from", str(DIRECTORY), "--only", "B1", "--json", "--shrink", "60")
    assert done.returncode == 0, done.stderr
    mutant = json.loads(done.stdout.splitlines()[0])
    assert (mutant["state"], mutant["profile"]) == ("found", "cluster")
    assert mutant["median_seeds"] >= 1
    assert 0 < mutant["steps"] < 30
    assert ">>> I4" in mutant["story"][-1]
    assert mutant["case"]["format"] == FORMAT
