"""The profile that runs the task log alone: sound it is found guilty of nothing, broken it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from jepsen_like.checkers.tasks import check_tasks, unfinished
from jepsen_like.mutation import profile_tasks
from jepsen_like.mutation.profile_tasks import TaskRun, judge
from paxos.core.state_machine import Stamp
from statemachines.task_log import TaskLog
from statemachines.task_log_format import CLAIM, COMPLETE


def test_task_run_of_a_sound_task_log_is_explained_and_shows_what_it_tested() -> None:
    refused: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    for seed in range(4):
        run = TaskRun(seed)
        assert run.execute() is None
        told = check_tasks(run.history)
        assert told.verdict == "yes", (seed, told)
        assert unfinished(run.history) == []
        effects.update(run.effects)
        refused.update(e.f for e in run.history if e.type == "ok" and "refused" in e.value)
    assert min(effects.values()) > 3, effects
    assert min(refused[f] for f in ("complete", "fail", "claim", "cancel", "submit")) > 0, refused


def test_task_run_of_the_same_seed_has_the_same_history() -> None:
    runs = [TaskRun(7), TaskRun(7), TaskRun(8)]
    for run in runs:
        run.execute()
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history


class Forgetful(TaskLog):
    """Says that a completion is done, and does not do it."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        kept = [*self.snapshot()]
        answer = super().apply(command, at)
        if command[2] == COMPLETE and at.slot % 9 == 0:
            self.restore(kept)
        return answer


class Raising(TaskLog):
    """Raises what no client can make sense of."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if at.slot == 100:
            raise ZeroDivisionError
        return super().apply(command, at)


class Stingy(TaskLog):
    """Gives no task away once it is some time old."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if command[2] == CLAIM and at.slot > 100:
            kept = [*self.snapshot()]
            answer = super().apply(command, at)
            self.restore(kept)
            return answer[:3] + b"\x90\x00"
        return super().apply(command, at)


class Lossy(TaskLog):
    """Makes another state of a snapshot than it was taken of."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        self.apply(b"\x92\x01\x0e", Stamp(1, 0, 2**62))


@pytest.mark.parametrize(
    ("broken", "checks"),
    [
        (Forgetful, {"queue", "task", "stuck"}),
        (Raising, {"raises"}),
        (Stingy, {"stuck", "answer"}),
        (Lossy, {"replica"}),
    ],
)
def test_judge_of_a_broken_task_log_finds_it(
    broken: type[TaskLog], checks: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_tasks, "TaskLog", broken)
    found = [finding for finding in map(judge, range(3)) if finding is not None]
    assert found
    assert {finding.check for finding in found} <= checks, found
