"""The task log by example: submissions, claims and tokens, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from paxos.core.state_machine import CommandFailed, StateMachine, Watchable
from statemachines.task_log import TaskLog
from statemachines.task_log_answers import (
    RegistrationInvalid,
    TaskUnknown,
    TokenInvalid,
)
from statemachines.task_log_format import (
    CLAIMED,
    DONE,
    MICRO,
    READY,
    TaskChange,
    TaskLogLimits,
)
from statemachines.task_log_requests import task_spec
from tests.statemachines.task_log_driver import LEASE, Driver

HOUR = 3600 * MICRO


def test_task_log_is_a_watchable_state_machine_without_inheriting() -> None:
    assert isinstance(TaskLog(), StateMachine)
    assert isinstance(TaskLog(), Watchable)
    assert TaskLog.__mro__ == (TaskLog, object)


def test_task_log_with_more_dependencies_than_a_snapshot_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        TaskLog(TaskLogLimits(depends_on_max=65))


# --- submit ---------------------------------------------------------------------------------------


def test_submission_without_a_node_is_ready_and_unplaced() -> None:
    log = Driver()
    assert log.task("a", payload=b"data") == 1
    task = log.get("a")
    assert (task.state, task.node, task.spec.payload) == (READY, "", b"data")
    assert log.stats().unplaced == 1


def test_submission_with_a_node_is_placed_on_it() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    task = log.get("a")
    assert (task.state, task.node, task.registration) == (READY, "n1", registration)


def test_submission_repeated_with_equal_content_gives_the_same_answer_and_no_other_task() -> None:
    log = Driver()
    specs = [task_spec("a", "k"), task_spec("b", "k", depends_on=["a"])]
    first = log.submit(*specs)
    assert log.submit(*specs).created == first.created == (("a", 1), ("b", 2))
    assert log.stats().revision == 2


def test_submission_repeated_after_its_deadline_gives_the_same_answer() -> None:
    log = Driver()
    spec = task_spec("a", "k", deadline=log.time + 5)
    first = log.submit(spec)
    log.wait(10)
    assert log.submit(spec).created == first.created


def test_submission_of_some_that_exist_adds_the_others() -> None:
    log = Driver()
    log.task("a", "k")
    result = log.submit(task_spec("b", "k"), task_spec("a", "k"))
    assert result.created == (("b", 2), ("a", 1))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"payload": b"other"}, "task a exists with other content"),
        ({"priority": 1}, "task a exists with other content"),
    ],
)
def test_submission_with_other_content_is_refused(fields: dict[str, Any], reason: str) -> None:
    log = Driver()
    log.task("a")
    with pytest.raises(CommandFailed, match=f"^{reason}$"):
        log.task("a", **fields)


def test_submission_refused_for_one_task_adds_none() -> None:
    log = Driver()
    with pytest.raises(CommandFailed, match="task b depends on x, which does not exist"):
        log.submit(task_spec("a", "k"), task_spec("b", "k", depends_on=["x"]))
    assert log.find("a") is None
    assert log.stats().revision == 0


def test_submission_with_a_deadline_in_the_past_is_refused() -> None:
    log = Driver()
    with pytest.raises(CommandFailed, match="the deadline of task a is in the past"):
        log.task("a", deadline=log.time)


def test_submission_that_no_registered_node_could_run_is_refused_with_reasons() -> None:
    log = Driver()
    log.node("n1", labels={"gpu": "no"})
    log.node("n2", capacity=MICRO)
    with pytest.raises(CommandFailed) as refused:
        log.task("a", labels={"gpu": "yes"}, demand=2 * MICRO)
    assert str(refused.value) == (
        "task a cannot be met: no node could run it: n1: it lacks the label gpu=yes;"
        " n2: its capacity 1 is below the demand 2"
    )


def test_submission_that_only_a_lapsed_or_drained_node_could_run_waits_for_it() -> None:
    log = Driver()
    registration = log.node("n1", labels={"gpu": "yes"})
    log.leave("n1", registration)
    log.node("n2")
    log.task("a", labels={"gpu": "yes"})
    assert log.get("a").node == ""
    log.node("n1", labels={"gpu": "yes"})
    assert log.get("a").node == "n1"


def test_submission_over_the_limit_of_tasks_is_refused() -> None:
    log = Driver(TaskLogLimits(tasks_max=2))
    log.submit(task_spec("a", "k"), task_spec("b", "k"))
    with pytest.raises(CommandFailed, match="the task log is full: the limit is 2"):
        log.task("c")


# --- order and claims -----------------------------------------------------------------------------


def test_claim_takes_higher_priorities_first_and_then_the_order_of_submission() -> None:
    log = Driver()
    registration = log.node("n1")
    for name, priority in (("a", 0), ("b", -5), ("c", 5), ("d", 0), ("e", 5)):
        log.task(name, priority=priority)
    assert log.claimed("n1", registration) == ["c", "e", "a", "d", "b"]


def test_claim_gives_tokens_that_only_rise_and_the_whole_task() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", payload=b"in")
    log.task("b")
    first, second = log.claim("n1", registration, 2)
    assert registration < first.token < second.token
    assert (first.task, first.attempt, first.until) == (log.get("a").spec, 1, log.time + LEASE)
    assert first.token == log.get("a").token == log.get("a").revision


def test_claim_stops_where_the_capacity_of_the_node_is_used_up() -> None:
    log = Driver()
    registration = log.node("n1", capacity=3 * MICRO)
    log.task("a", demand=2 * MICRO)
    log.task("b", demand=2 * MICRO)
    log.task("c", demand=MICRO)
    # c would fit, but must not overtake b for ever.
    (claim,) = log.claim("n1", registration, 3)
    assert claim.task.id == "a"
    assert not log.has_work("n1", registration)
    log.complete("a", claim.token)
    assert log.has_work("n1", registration)
    assert log.claimed("n1", registration) == ["b", "c"]


def test_claim_ends_before_its_payloads_exceed_an_answer() -> None:
    log = Driver(TaskLogLimits(answer_bytes_max=100))
    registration = log.node("n1")
    for name in "abc":
        log.task(name, payload=bytes(60))
    assert log.claimed("n1", registration) == ["a"]


def test_claim_of_nothing_says_so_and_how_many_are_queued_otherwise() -> None:
    log = Driver()
    registration = log.node("n1")
    assert log.claim("n1", registration, 5) == ()
    assert not log.has_work("n1", registration)
    log.submit(*(task_spec(name, "k") for name in "abc"))
    assert log.has_work("n1", registration)
    assert len(log.claim("n1", registration, 2)) == 2
    assert log.nodes()["n1"].queued == 1


def test_claim_with_another_registration_is_refused() -> None:
    log = Driver()
    old = log.node("n1")
    new = log.node("n1")
    log.task("a")
    with pytest.raises(RegistrationInvalid, match="the node has registered again"):
        log.claim("n1", old)
    with pytest.raises(RegistrationInvalid, match="the node is not registered"):
        log.claim("n2", new)
    assert log.state("a") == "ready"


@pytest.mark.parametrize("lease", [0, -1, 24 * HOUR + 1])
def test_claim_with_a_lease_that_is_not_positive_or_too_long_is_refused(lease: int) -> None:
    log = Driver()
    log.node("n1")
    with pytest.raises(ValueError, match="the lease in microseconds is not from 1 to"):
        log.claim("n1", 1, lease=lease)


def test_claim_meets_only_tasks_whose_deadline_has_not_passed() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", deadline=log.time + 5)
    log.task("b")
    log.time += 5
    assert log.claimed("n1", registration) == ["b"]
    assert (log.state("a"), log.get("a").reason) == ("dead", "its deadline has passed")


# --- tokens ---------------------------------------------------------------------------------------


def test_completion_makes_the_task_done_with_its_result() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.complete("a", log.token("n1", registration), b"out")
    task = log.get("a")
    assert (task.state, task.result, task.node, task.registration) == (DONE, b"out", "n1", 0)


def test_completion_repeated_with_the_same_result_is_answered_as_the_first_time() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    token = log.token("n1", registration)
    first = log.complete("a", token, b"out")
    log.task("b")
    assert log.complete("a", token, b"out") == first


def test_completion_repeated_with_another_result_is_refused() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    token = log.token("n1", registration)
    log.complete("a", token, b"out")
    with pytest.raises(TokenInvalid, match=f"^token {token} is no longer valid: task a is done, "):
        log.complete("a", token, b"other")
    assert log.get("a").result == b"out"


def test_completion_with_an_old_token_is_refused_and_changes_nothing() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    old = log.token("n1", registration)
    log.wait(LEASE)
    new = log.token("n1", registration)
    before = list(log.log.snapshot())
    for refused in (
        lambda: log.complete("a", old, b"late"),
        lambda: log.fail("a", old),
        lambda: log.progress("a", old, b"50 %"),
    ):
        with pytest.raises(TokenInvalid, match=f"claimed by node n1 with token {new}"):
            refused()
    assert log.extend("n1", registration, ("a", old)) == (False,)
    assert log.get("a").token == new
    assert list(log.log.snapshot()) == before
    log.complete("a", new, b"in time")
    with pytest.raises(TokenInvalid, match=f"task a is done, with token {new}"):
        log.complete("a", old, b"in time")


def test_completion_at_the_end_of_the_lease_is_refused_before_anybody_noticed_the_end() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    token = log.token("n1", registration)
    log.time += LEASE - 1
    log.progress("a", token, b"")
    log.time += 1
    with pytest.raises(TokenInvalid, match="the lease of node n1 ran out"):
        log.complete("a", token)


def test_completion_after_the_node_lapsed_is_refused_before_anybody_noticed_it() -> None:
    log = Driver()
    registration = log.node("n1", lease=LEASE)
    log.task("a")
    (claim,) = log.claim("n1", registration, lease=HOUR)
    log.time += LEASE
    with pytest.raises(TokenInvalid, match="node n1 was lost"):
        log.complete("a", claim.token)


def test_completion_after_the_deadline_is_refused_and_the_task_dead() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", deadline=log.time + 5)
    token = log.token("n1", registration)
    log.time += 5
    with pytest.raises(TokenInvalid, match="its deadline has passed"):
        log.complete("a", token)
    log.wait(0)
    assert (log.state("a"), log.get("a").reason) == ("dead", "its deadline has passed")


def test_completion_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(TaskUnknown, match=r"^unknown task: a$"):
        Driver().complete("a", 1)


def test_extension_keeps_the_claim_and_the_revision() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.task("b")
    a, b = log.claim("n1", registration, 2)
    revision = log.stats().revision
    log.time += LEASE - 1
    assert log.extend("n1", registration, ("a", a.token), ("x", 1), ("b", a.token)) == (
        True,
        False,
        False,
    )
    assert log.stats().revision == revision
    log.wait(LEASE - 1)
    assert (log.state("a"), log.state("b")) == ("claimed", "ready")
    assert log.get("a").token == a.token
    assert log.get("b").token == b.token


def test_progress_is_kept_until_the_next_attempt_and_told() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    token = log.token("n1", registration)
    revision = log.progress("a", token, b"50 %")
    assert log.get("a").progress == b"50 %"
    (change,) = log.changes(revision - 1)
    assert isinstance(change, TaskChange)
    assert (change.state, change.progress) == (CLAIMED, b"50 %")
    log.fail("a", token)
    assert log.get("a").progress == b""
