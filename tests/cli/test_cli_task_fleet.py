"""The fleet example: it shows what it says, and its checker finds what would be wrong."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.cli.replicas import processes_that_name

EXAMPLE = Path(__file__).parents[2] / "examples" / "task_fleet.py"


@pytest.fixture(scope="module")
def fleet() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("task_fleet", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.processes
def test_fleet_that_loses_a_worker_and_the_leader_has_one_result_per_task(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        cwd=tmp_path,
        env=os.environ
        | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(EXAMPLE.parents[1])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()
    assert sum("registered" in line for line in told) == 4
    killed = [line.split()[1] for line in told if "with SIGKILL" in line]
    assert len(killed) == 2
    assert killed[0].rpartition("-")[0] in ("cloud", "edge")
    assert killed[1].startswith("replica-")
    claims, tasks = (int(told[-1].split(",")[at].split()[0]) for at in (0, 1))
    # What the worker had begun was claimed once more, by another.
    assert claims > tasks == 60
    assert told[-1].endswith("exactly one accepted result each")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert processes_that_name(str(tmp_path)) == []


def history(fleet: ModuleType) -> list[dict[str, Any]]:
    """Every task claimed twice, because its first worker was lost, and done once."""
    changes: list[dict[str, Any]] = []
    for task in fleet.tasks():
        for state, token in (
            *(("ready", None), ("claimed", len(changes) + 1)),
            *(("ready", len(changes) + 1), ("claimed", len(changes) + 3)),
            ("done", len(changes) + 3),
        ):
            revision = len(changes)
            changes.append({"revision": revision, "id": task["id"], "state": state, "token": token})
    return changes


def test_checker_of_the_fleet_takes_a_history_in_which_a_worker_was_lost(
    fleet: ModuleType,
) -> None:
    assert fleet.check(history(fleet)) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda told: told.pop(4), "frame-0-left has 0 accepted results"),
        (lambda told: told.insert(4, told[4] | {"revision": 3.5}), "has 2 accepted results"),
        (lambda told: told[4].update(token=told[1]["token"]), "was completed by token"),
        (lambda told: told[3].update(token=told[1]["token"]), "was completed by token"),
        (lambda told: told.insert(5, told[2] | {"revision": 4.5}), "was ready after it was done"),
        (lambda told: told.insert(5, told[4]), "told twice, or out of order"),
        (lambda told: told.reverse(), "told twice, or out of order"),
    ],
)
def test_checker_of_the_fleet_finds_each_broken_promise(
    fleet: ModuleType, change: Any, why: str
) -> None:
    told = history(fleet)
    change(told)
    assert any(why in line for line in fleet.check(told))


def test_expected_result_of_a_report_has_its_frames_in_order(fleet: ModuleType) -> None:
    frame, _, report = fleet.tasks()[:3]
    assert fleet.expected(frame) == "FRAME-0-LEFT;"
    assert fleet.expected(report) == "REPORT-0:FRAME-0-LEFT;FRAME-0-RIGHT;"
