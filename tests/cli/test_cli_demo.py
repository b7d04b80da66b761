"""``paxos demo``: it works from nowhere, cleans up, and fails when a promise is broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paxos.cli import demo, story
from paxos.cli.story import STEPS, Stage, Step
from tests.cli.replicas import processes_that_name

pytestmark = pytest.mark.processes

LIMIT_S = 40.0
"""What is promised of the demo, on 2 cores."""


def start_demo(directory: Path) -> subprocess.Popen[str]:
    """Start the demo in an empty directory, with another for what it makes."""
    for name in ("empty", "temporary"):
        (directory / name).mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "paxos.cli", "demo"],
        cwd=directory / "empty",
        env=os.environ | {"TMPDIR": str(directory / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def assert_nothing_is_left(directory: Path) -> None:
    assert list((directory / "empty").iterdir()) == []
    assert list((directory / "temporary").iterdir()) == []
    assert processes_that_name(str(directory)) == []


def test_demo_in_an_empty_directory_proves_everything_and_leaves_nothing(tmp_path: Path) -> None:
    process = start_demo(tmp_path)
    told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, told
    for promise in (
        "a linearizable read gives back every key",
        "writing paused for",
        "it has caught up",
        "replicas hold the same state",
        "acknowledged writes are there",
        "each of these",
    ):
        assert any("ok  " in line and promise in line for line in told.splitlines()), promise
    assert "FAILED" not in told
    assert_nothing_is_left(tmp_path)


def test_demo_that_is_interrupted_cleans_up_and_does_not_exit_0(tmp_path: Path) -> None:
    process = start_demo(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "writers begin" in line:
            break
    assert len(processes_that_name(str(tmp_path))) == 3
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGINT, told
    assert "Traceback" not in told
    assert_nothing_is_left(tmp_path)


# --- broken on purpose --------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same story with less waiting: it is about what is proved, not for how long."""
    monkeypatch.setattr(story, "LOAD_BEFORE_S", 0.3)
    monkeypatch.setattr(story, "LOAD_AFTER_S", 0.3)


def with_step(broken: Callable[[Stage], object], before: Callable[[Stage], object]) -> list[Step]:
    """Return the story with a step put in front of another."""
    at = [step for _, step in STEPS].index(before)  # type: ignore[arg-type]
    return [*STEPS[:at], ("Somebody interferes", broken), *STEPS[at:]]  # type: ignore[list-item]


async def lose_an_acknowledged_write(stage: Stage) -> None:
    """As if the replicas had said "done" and then forgotten."""
    await stage.store.delete(next(iter(stage.acknowledged)))


@pytest.mark.usefixtures("hurried")
def test_demo_over_websocket_with_a_lost_write_fails_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo.perform("ws", with_step(lose_an_acknowledged_write, before=story.prove)) is False
    told = capsys.readouterr().out
    failed = [line for line in told.splitlines() if "FAILED" in line]
    assert any("acknowledged writes are missing" in line for line in failed), told
    assert "same state" not in " ".join(failed)
    assert "NOT all of it holds" in told


def test_demo_that_fails_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "perform", lambda _: False)
    with pytest.raises(SystemExit) as ended:
        demo.demo.main([], standalone_mode=False)
    assert ended.value.code == 1


def test_demo_that_cannot_go_on_fails_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async def give_up(_: Stage) -> None:
        raise story.StoryFailed("nobody leads")

    assert demo.perform("tcp", [("Something is wrong", give_up)]) is False
    assert "FAILED  nobody leads" in capsys.readouterr().out


def test_fleet_that_comes_with_the_package_is_a_realistic_document() -> None:
    entries = demo.fleet()
    assert len(entries) > 100
    assert len({entry.key.partition("/")[0] for entry in entries}) > 3
    assert len({entry.content_type for entry in entries}) > 1
