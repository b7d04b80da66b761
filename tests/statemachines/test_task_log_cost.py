"""What a command on the task log costs does not grow with the log. Counted in calls, not in time.

The indexes are sorted blocks, in which a search costs more comparisons but no more calls, and a
split costs a few calls once in hundreds: so costs may differ by a little, and not by more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from benchmarks.call_counter import CallCounter
from statemachines import task_log_requests as requests
from statemachines.task_log_format import MICRO, TaskLogLimits
from tests.statemachines.task_log_driver import Driver

FEW, MANY = 1000, 20_000


class Filled:
    """A log with so many queued tasks, on two nodes, with room for changes to be forgotten."""

    def __init__(self, tasks: int) -> None:
        self.driver = Driver(TaskLogLimits(keep_changes=50))
        self.registration = self.driver.node("n1", capacity=10**9)
        self.driver.node("n2", capacity=10**9)
        for start in range(0, tasks, 50):
            self.driver.submit(
                *(
                    requests.task_spec(f"t{number:07}", "k", deadline=2**60)
                    for number in range(start, start + 50)
                )
            )


@pytest.fixture(scope="module")
def few() -> Filled:
    return Filled(FEW)


@pytest.fixture(scope="module")
def many() -> Filled:
    return Filled(MANY)


def calls(act: Callable[[], object]) -> int:
    with CallCounter() as counter:
        act()
    return counter.calls


def run_some(filled: Filled) -> None:
    """Claim, extend and complete 100 tasks."""
    driver, registration = filled.driver, filled.registration
    for _ in range(10):
        claims = driver.claim("n1", registration, 10)
        assert len(claims) == 10
        held = [(claim.task.id, claim.token) for claim in claims]
        assert all(driver.extend("n1", registration, *held))
        for task_id, token in held:
            driver.complete(task_id, token)


def test_claims_and_completions_cost_the_same_at_any_number_of_queued_tasks(
    few: Filled, many: Filled
) -> None:
    small, large = (calls(partial(run_some, filled)) for filled in (few, many))
    assert abs(large - small) < small * 0.02
    assert small < 100 * 900


def test_submissions_cost_the_same_at_any_number_of_queued_tasks(few: Filled, many: Filled) -> None:
    specs = [requests.task_spec(f"new{number}", "k") for number in range(50)]
    small, large = (calls(partial(filled.driver.submit, *specs)) for filled in (few, many))
    assert abs(large - small) < small * 0.02


def test_submissions_that_one_node_can_run_look_at_all_nodes_once() -> None:
    costs = []
    for tasks in (1, 31):
        driver = Driver()
        for number in range(200):
            driver.node(f"n{number}", capacity=10**9 if number == 199 else 1)
            driver.drain(f"n{number}")  # what placing costs is another matter
        specs = [
            requests.task_spec(f"t{number}", "k", demand=10**9 - number) for number in range(tasks)
        ]
        costs.append(calls(partial(driver.submit, *specs)))
    each = (costs[1] - costs[0]) / 30
    assert each < 200


def test_submissions_for_named_nodes_cost_the_same_in_any_fleet() -> None:
    costs = []
    for nodes in (10, 200):
        driver = Driver()
        for number in range(nodes):
            driver.node(f"n{number}", labels={"name": f"n{number}"})
            driver.drain(f"n{number}")  # what placing costs is another matter
        specs = [
            requests.task_spec(f"t{number}", "k", labels={"name": f"n{nodes - 1 - number}"})
            for number in range(10)
        ]
        costs.append(calls(partial(driver.submit, *specs)))
    assert abs(costs[1] - costs[0]) < costs[0] * 0.02


def test_lapse_of_a_node_costs_the_same_at_any_number_of_tasks_on_it() -> None:
    costs = []
    for filled in (Filled(FEW), Filled(MANY)):
        command = requests.leave_command("n1", filled.registration)
        costs.append(calls(partial(filled.driver.apply, command)))
    assert abs(costs[1] - costs[0]) < costs[0] * 0.02


def test_snapshot_is_asked_for_at_a_reference_per_block_of_tasks(few: Filled, many: Filled) -> None:
    small, large = (calls(filled.driver.log.snapshot) for filled in (few, many))
    assert large == small < 30


def test_one_command_never_does_more_than_its_share_of_what_is_due() -> None:
    limits = TaskLogLimits(steps_max=16)
    driver = Driver(limits)
    driver.node("n1", lease=1000 * MICRO, capacity=10**9)
    for number in range(300):
        driver.task(f"t{number:03}", deadline=driver.time + 10)
    driver.time += 10
    before = driver.stats().revision
    driver.task("last")
    assert driver.stats().revision - before <= 1 + limits.steps_max
    for _ in range(2):
        before = driver.stats().revision
        driver.apply(requests.tick_command())
        assert 0 < driver.stats().revision - before <= 2 * limits.steps_max
    driver.wait(0)
    assert len(driver.ids(state="dead")) == 300
