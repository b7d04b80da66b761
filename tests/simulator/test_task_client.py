"""Simulated clients of the task log: what they ask is judged, and a broken task log is found."""

from __future__ import annotations

import pytest

from jepsen_like.sim.plan import draw_plan_of
from jepsen_like.sim.simulation import simulate
from jepsen_like.workload import registers
from jepsen_like.workload.registers import NumberedTaskLog
from paxos.core.state_machine import Stamp
from statemachines import task_log_format as form
from statemachines import task_log_requests as requests
from statemachines.command_fields import unpack_fields
from statemachines.task_log_format import FORMAT


def test_plans_of_profile_tasks_ask_a_task_log_and_nothing_else() -> None:
    plans = [draw_plan_of("tasks", seed) for seed in range(100)]
    assert all(plan.task_log and not plan.edge_config and not plan.beyond for plan in plans)
    assert not any(draw_plan_of("swarm", seed).task_log for seed in range(20))


def test_simulated_task_log_under_faults_violates_nothing_and_is_done_with_every_task() -> None:
    outcome = simulate(3, plan=draw_plan_of("tasks", 3))
    assert outcome.number is None, outcome.text
    assert outcome.commands >= 200


def test_simulated_task_log_of_the_same_seed_leaves_the_same_trace() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        simulate(2, sink=trace.append, plan=draw_plan_of("tasks", 2))
    assert traces[0] == traces[1]
    assert any(" tasks" in line for line in traces[0])


class Unfenced(NumberedTaskLog):
    """Takes any token for the present one, on every replica alike."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        fields = unpack_fields(command[8:], FORMAT)
        if fields[1] == form.COMPLETE:
            task = self._store.find(fields[2])
            if task is not None and task.state == form.CLAIMED:
                completion = requests.complete_command(fields[2], task.token, fields[4])
                command = command[:8] + completion
        return super().apply(command, at)


def test_simulated_task_log_without_a_fence_is_found_by_its_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registers, "NumberedTaskLog", Unfenced)
    outcomes = [simulate(seed, plan=draw_plan_of("tasks", seed)) for seed in range(2, 5)]
    found = [outcome for outcome in outcomes if outcome.number is not None]
    assert found
    assert all(outcome.number == 11 and "tasks: " in outcome.text for outcome in found), found
