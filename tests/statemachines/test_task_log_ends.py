"""The task log by example: failures, dependencies, cancelling, retrying and forgetting."""

from __future__ import annotations

import pytest

from paxos.core.state_machine import CommandFailed
from statemachines.task_log_answers import (
    TokenInvalid,
)
from statemachines.task_log_format import (
    MICRO,
    READY,
    TaskLogLimits,
)
from statemachines.task_log_requests import task_spec
from tests.statemachines.task_log_driver import LEASE, Driver

HOUR = 3600 * MICRO


# --- failure, attempts and backoff ----------------------------------------------------------------


def test_failure_waits_for_the_backoff_which_doubles_up_to_an_hour() -> None:
    log = Driver()
    registration = log.node("n1", lease=24 * HOUR)
    log.task("a", attempts=9, backoff=1000 * MICRO)
    for attempt, backoff in enumerate((1000, 2000, 3600, 3600), 1):
        (claim,) = log.claim("n1", registration)
        assert claim.attempt == attempt
        assert log.fail("a", claim.token, "broken") == "waiting"
        task = log.get("a")
        assert (task.until - log.time, task.reason) == (backoff * MICRO, "broken")
        log.wait(backoff * MICRO - 1)
        assert log.state("a") == "waiting"
        log.wait(1)
        assert log.state("a") == "ready"


def test_failure_without_backoff_is_ready_at_once() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", backoff=0)
    assert log.fail("a", log.token("n1", registration)) == "ready"


def test_failure_of_the_last_attempt_makes_the_task_dead() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", attempts=2, backoff=0)
    log.fail("a", log.token("n1", registration))
    assert log.fail("a", log.token("n1", registration), "broken") == "dead"
    assert log.get("a").reason == "all 2 attempts are used up: broken"


def test_failure_without_retry_makes_the_task_dead_at_once() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    assert log.fail("a", log.token("n1", registration), "bad input", retry=False) == "dead"
    assert log.get("a").reason == "bad input"


def test_lapsed_leases_count_attempts_and_wait_for_no_backoff() -> None:
    log = Driver()
    registration = log.node("n1", lease=HOUR)
    log.task("a", attempts=2)
    assert log.claim("n1", registration)
    log.wait(LEASE)
    assert (log.state("a"), log.get("a").attempt) == ("ready", 1)
    assert log.claim("n1", registration)
    log.wait(LEASE)
    assert log.state("a") == "dead"
    assert log.get("a").reason == "all 2 attempts are used up: the lease of node n1 ran out"


def test_task_with_not_before_waits_for_it() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", not_before=log.time + 5)
    assert log.state("a") == "waiting"
    log.wait(4)
    assert log.claimed("n1", registration) == []
    log.wait(1)
    assert log.claimed("n1", registration) == ["a"]


# --- dependencies ---------------------------------------------------------------------------------


def test_task_is_blocked_until_all_that_it_depends_on_are_done() -> None:
    log = Driver()
    registration = log.node("n1")
    log.submit(task_spec("a", "k"), task_spec("b", "k"), task_spec("c", "k", depends_on=["a", "b"]))
    tokens = {claim.task.id: claim.token for claim in log.claim("n1", registration, 9)}
    assert sorted(tokens) == ["a", "b"]
    log.complete("b", tokens["b"])
    assert (log.state("c"), log.get("c").missing) == ("blocked", ("a",))
    log.complete("a", tokens["a"])
    assert log.claimed("n1", registration) == ["c"]


def test_task_that_depends_on_what_is_done_is_ready_at_once() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.complete("a", log.token("n1", registration))
    log.task("b", depends_on=["a"])
    assert log.state("b") == "ready"


def test_task_whose_dependency_dies_is_dead_and_so_are_those_that_wait_for_it() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.task("b", depends_on=["a"])
    log.task("c", depends_on=["b"])
    log.fail("a", log.token("n1", registration), retry=False)
    assert log.get("b").reason == "it depends on a, which is dead"
    assert log.get("c").reason == "it depends on b, which is dead"
    with pytest.raises(CommandFailed, match="task d depends on c, which is dead"):
        log.task("d", depends_on=["c"])


def test_fan_out_of_many_is_followed_up_a_bounded_number_at_a_time() -> None:
    log = Driver(TaskLogLimits(steps_max=8))
    registration = log.node("n1", capacity=1000 * MICRO)
    log.task("a")
    for number in range(50):
        log.task(f"b{number}", depends_on=["a"])
    log.complete("a", log.token("n1", registration))
    ready = len(log.ids(state="ready"))
    assert 0 < ready <= 8
    log.wait(0)
    assert len(log.ids(state="ready")) == 50


def test_finished_task_is_kept_while_one_that_is_not_finished_depends_on_it() -> None:
    log = Driver()
    registration = log.node("n1")
    log.retain(0)
    log.task("a")
    log.task("b", depends_on=["a"])
    log.complete("a", log.token("n1", registration), b"for b")
    assert log.get("a").result == b"for b"
    log.complete("b", log.token("n1", registration))
    assert log.find("a") is None
    assert log.find("b") is None


# --- cancel, retry, retention ---------------------------------------------------------------------


def test_cancelled_task_loses_its_claim() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    token = log.token("n1", registration)
    revision = log.cancel("a")
    assert log.cancel("a") == revision
    assert log.nodes()["n1"].claimed == 0
    with pytest.raises(TokenInvalid, match="task a is cancelled"):
        log.complete("a", token)


def test_cancel_of_a_finished_task_is_refused() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.complete("a", log.token("n1", registration))
    with pytest.raises(CommandFailed, match=r"^task a is done$"):
        log.cancel("a")
    log.task("b", deadline=log.time + 1)
    log.time += 1
    with pytest.raises(CommandFailed, match=r"^task b is dead$"):
        log.cancel("b")


def test_retried_task_has_all_its_attempts_before_it_and_a_newer_token() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a", attempts=1)
    old = log.token("n1", registration)
    log.fail("a", old)
    log.retry("a")
    task = log.get("a")
    assert (task.state, task.attempt, task.reason) == (READY, 0, "")
    with pytest.raises(TokenInvalid):
        log.complete("a", old)
    (claim,) = log.claim("n1", registration)
    assert claim.attempt == 1
    assert claim.token > old


def test_retry_of_what_is_not_dead_or_cancelled_is_refused() -> None:
    log = Driver()
    log.task("a")
    with pytest.raises(CommandFailed, match="task a is ready: only dead and cancelled tasks can"):
        log.retry("a")


def test_retry_of_one_whose_dependency_is_dead_is_refused_until_that_is_retried() -> None:
    log = Driver()
    log.task("a")
    log.task("b", depends_on=["a"])
    log.cancel("a")
    assert log.state("b") == "dead"
    with pytest.raises(CommandFailed, match="depends on a, which is cancelled: retry that first"):
        log.retry("b")
    log.retry("a")
    log.retry("b")
    assert (log.state("a"), log.state("b")) == ("ready", "blocked")


def test_retry_after_the_deadline_is_refused() -> None:
    log = Driver()
    log.task("a", deadline=log.time + 5)
    log.cancel("a")
    log.time += 5
    with pytest.raises(CommandFailed, match="the deadline of task a is in the past"):
        log.retry("a")


def test_retry_of_one_whose_dependency_is_forgotten_is_refused() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.task("b", depends_on=["a"])
    log.complete("a", log.token("n1", registration))
    log.cancel("b")
    log.retain(1)
    assert log.find("a") is None
    with pytest.raises(CommandFailed, match="depends on a, which is no longer kept"):
        log.retry("b")


def test_retention_keeps_the_last_finished_by_number_and_by_age() -> None:
    log = Driver()
    for name in "abcd":
        log.task(name)
        log.cancel(name)
        log.time += 10
    log.retain(3)
    assert log.ids() == ["b", "c", "d"]
    log.retain(3, age=21)
    assert log.ids() == ["c", "d"]
    log.wait(10)
    assert log.ids() == ["d"]


def test_retention_lets_an_id_be_used_again() -> None:
    log = Driver()
    log.task("a")
    log.cancel("a")
    log.retain(0)
    assert log.task("a", payload=b"new") > 1
