"""The task log by example: nodes that come, lapse, leave and are drained, and placing."""

from __future__ import annotations

import pytest

from paxos.core.state_machine import CommandFailed
from statemachines.task_log_answers import (
    RegistrationInvalid,
    TokenInvalid,
)
from statemachines.task_log_format import (
    COUNT_MAX,
    LAPSED,
    LIVE,
    MICRO,
    NUMBER_MAX,
    TaskLogLimits,
)
from statemachines.task_log_requests import Policy, task_spec
from tests.statemachines.task_log_driver import LEASE, Driver, indexes, node_spec

HOUR = 3600 * MICRO


# --- nodes ----------------------------------------------------------------------------------------


def test_node_that_lapses_loses_claims_and_placements_to_others() -> None:
    log = Driver()
    first = log.node("n1", lease=LEASE)
    log.submit(task_spec("a", "k"), task_spec("b", "k"))
    (claim,) = log.claim("n1", first, lease=HOUR)
    second = log.node("n2", lease=HOUR)
    log.wait(LEASE)
    assert log.nodes()["n1"].state == LAPSED
    assert (log.get("a").node, log.get("a").attempt) == ("n2", 1)
    assert (log.get("b").node, log.get("b").attempt) == ("n2", 0)
    assert log.claimed("n2", second) == ["a", "b"]
    with pytest.raises(TokenInvalid):
        log.complete("a", claim.token)
    with pytest.raises(RegistrationInvalid, match="its lease has lapsed"):
        log.report("n1", first)


def test_node_that_reports_stays_and_says_its_load() -> None:
    log = Driver()
    registration = log.node("n1", lease=LEASE)
    log.time += LEASE - 1
    assert log.report("n1", registration, 500_000).until == log.time + LEASE
    log.wait(LEASE - 1)
    row = log.nodes()["n1"]
    assert (row.state, row.load) == (LIVE, 500_000)


def test_report_says_when_something_is_due_next() -> None:
    log = Driver()
    registration = log.node("n1", lease=LEASE)
    log.task("a", not_before=log.time + 5)
    assert log.report("n1", registration).next_due == log.time + 5
    log.time += 5
    assert log.report("n1", registration).next_due == log.time + LEASE
    assert log.state("a") == "ready"


def test_report_asks_for_another_one_at_once_as_long_as_something_is_left_to_do() -> None:
    log = Driver(TaskLogLimits(steps_max=8))
    lost = log.node("n1")
    names = [log.get(f"t{number}").spec.id for number in range(40) if log.task(f"t{number}")]
    stays = log.node("n2")
    log.leave("n1", lost)
    reports = 1
    while log.report("n2", stays).next_due == log.time:
        reports += 1
    assert reports >= 4
    assert {log.get(name).node for name in names} == {"n2"}


def test_node_that_registers_again_loses_what_it_claimed() -> None:
    log = Driver()
    old = log.node("n1")
    log.task("a")
    token = log.token("n1", old)
    new = log.node("n1")
    assert new > token > old
    with pytest.raises(TokenInvalid, match="node n1 was lost"):
        log.complete("a", token)
    assert log.claimed("n1", new) == ["a"]


def test_node_that_updates_its_registration_keeps_what_it_claimed() -> None:
    log = Driver()
    registration = log.node("n1", price=1)
    log.task("a")
    token = log.token("n1", registration)
    assert log.update(node_spec("n1", price=7), registration) == registration
    assert log.nodes()["n1"].spec.price == 7
    log.complete("a", token)
    with pytest.raises(CommandFailed, match="node n1 must register anew"):
        log.update(node_spec("n1", labels={"gpu": "yes"}), registration)


def test_node_that_leaves_gives_its_tasks_back_at_once() -> None:
    log = Driver()
    registration = log.node("n1")
    log.task("a")
    log.token("n1", registration)
    log.leave("n1", registration)
    assert (log.state("a"), log.get("a").node) == ("ready", "")


def test_drained_node_finishes_what_it_has_claimed_and_gets_nothing_new() -> None:
    log = Driver()
    registration = log.node("n1")
    log.submit(task_spec("a", "k"), task_spec("b", "k"))
    (claim,) = log.claim("n1", registration)
    log.drain("n1")
    assert (log.get("a").node, log.get("b").node) == ("n1", "")
    log.task("c")
    assert log.get("c").node == ""
    assert log.claim("n1", registration, 9) == ()
    assert log.report("n1", registration).drained
    log.complete("a", claim.token)
    again = log.node("n1")
    assert log.claim("n1", again, 9) == ()
    log.drain("n1", drained=False)
    assert log.claimed("n1", again) == ["b", "c"]


def test_drained_node_gets_nothing_new_while_it_still_has_a_queue() -> None:
    log = Driver(TaskLogLimits(steps_max=4))
    registration = log.node("n1")
    for number in range(20):
        log.task(f"t{number}")
    log.drain("n1")
    assert log.nodes()["n1"].queued > 10
    assert log.claim("n1", registration, 9) == ()
    assert not log.has_work("n1", registration)


def test_drain_of_an_unknown_node_is_refused() -> None:
    with pytest.raises(CommandFailed, match="unknown node: n1"):
        Driver().drain("n1")


def test_node_over_the_limit_takes_the_place_of_the_one_lapsed_for_longest() -> None:
    log = Driver(TaskLogLimits(nodes_max=2))
    log.node("n1", lease=LEASE)
    log.node("n2", lease=HOUR)
    with pytest.raises(CommandFailed, match="too many nodes: the limit is 2"):
        log.node("n3")
    log.time += LEASE
    log.node("n3")
    assert sorted(log.nodes()) == ["n2", "n3"]


def test_node_with_many_tasks_that_lapses_is_lost_at_once_and_emptied_in_steps() -> None:
    log = Driver(TaskLogLimits(steps_max=8))
    first = log.node("n1", lease=LEASE, capacity=100 * MICRO)
    for number in range(40):
        log.task(f"t{number:02}")
    claims = log.claim("n1", first, 40, lease=HOUR)
    log.time += LEASE
    log.task("last")
    for claim in claims:
        with pytest.raises(TokenInvalid):
            log.complete(claim.task.id, claim.token)
    assert log.nodes()["n1"].claimed > 0
    log.wait(0)
    assert log.nodes()["n1"].claimed == 0
    assert len(log.ids(state="ready")) == 41


def test_tasks_for_which_no_node_was_looked_at_are_all_placed_by_and_by() -> None:
    log = Driver(TaskLogLimits(evaluations_max=1))
    log.node("n1")
    log.submit(*(task_spec(name, "k") for name in "abc"))
    log.submit(task_spec("d", "k"), task_spec("e", "k", priority=5))
    assert log.stats().unplaced > 1
    log.wait(0)
    assert log.stats().unplaced == 0


def test_tasks_that_no_node_takes_do_not_keep_others_from_being_placed() -> None:
    log = Driver(TaskLogLimits(steps_max=4))
    registration = log.node("n2", labels={"gpu": "yes"})
    log.leave("n2", registration)
    for number in range(20):
        log.task(f"gpu{number}", priority=9, labels={"gpu": "yes"})
        log.task(f"any{number}")
    log.node("n1")
    log.wait(0)
    assert log.stats().unplaced == 20
    assert log.nodes()["n1"].queued == 20


def test_replan_moves_waiting_tasks_to_a_node_that_came_later() -> None:
    log = Driver()
    log.node("n1", capacity=MICRO)
    for number in range(10):
        log.task(f"t{number}")
    log.node("n2", capacity=MICRO)
    result = log.replan()
    assert (result.looked_at, result.next_after) == (10, None)
    assert 0 < result.moved < 10
    assert log.nodes()["n2"].queued == result.moved
    assert log.replan(limit=3).looked_at == 3


def test_explain_names_the_candidates_their_terms_and_who_is_refused() -> None:
    log = Driver()
    log.node("n1", price=MICRO)
    log.node("n2", price=2 * MICRO)
    log.node("n3", labels={"x": "y"}, capacity=1)
    log.node("n4")
    log.drain("n4")
    log.task("a", policy="cost")
    found = log.explain("a")
    assert found.chosen == found.task.node == "n1"
    assert [each.node for each in found.candidates] == ["n1", "n2"]
    assert [each.cost for each in found.candidates] == [MICRO, 2 * MICRO]
    assert [name for name, _ in found.refused] == ["n3", "n4"]
    assert found.task.why == (log.time, 0, 0, MICRO, MICRO, 0, MICRO)


@pytest.mark.parametrize("policy", ["balanced", "cost", "latency", "energy"])
def test_task_with_estimates_above_any_field_is_placed_told_and_kept(policy: Policy) -> None:
    log = Driver()
    most = NUMBER_MAX
    spec = node_spec(
        "n1", speed=1, price=most, delay=most, bandwidth=1, capacity=most, energy=(most, most, most)
    )
    registration = log.update(spec, 0)
    for name in ("first", "second"):
        log.task(name, size=most, demand=most, data_node="n2", data_bytes=most, policy=policy)
    assert log.replan().looked_at == 2
    assert max(log.get("second").why) == COUNT_MAX
    assert log.explain("second").chosen == "n1"
    assert log.nodes()["n1"].backlog == COUNT_MAX
    assert log.claimed("n1", registration) == ["first"]
    assert indexes(log.restored().log) == indexes(log.log)
