"""The task log by example: lists, numbers and watches."""

from __future__ import annotations

import pytest

from statemachines.task_log_answers import (
    ChangesCompacted,
)
from statemachines.task_log_format import (
    MICRO,
    NodeChange,
    TaskChange,
    TaskLogLimits,
)
from statemachines.task_log_requests import task_spec
from tests.statemachines.task_log_driver import Driver

HOUR = 3600 * MICRO


# --- queries and watches --------------------------------------------------------------------------


def test_list_by_state_kind_and_node_gives_what_matches_in_order() -> None:
    log = Driver(TaskLogLimits(answer_items_max=3, scan_max=4))
    registration = log.node("n1", labels={"n": "1"})
    log.node("n2", labels={"n": "2"})
    for number in range(20):
        log.task(f"t{number:02}", f"k{number % 3}", labels={"n": str(1 + number % 2)})
    log.claim("n1", registration, 4)
    assert log.ids() == [f"t{number:02}" for number in range(20)]
    assert log.ids(state="claimed") == ["t00", "t02", "t04", "t06"]
    assert log.ids(kind="k0", node="n2") == ["t03", "t09", "t15"]
    assert log.ids(state="claimed", kind="k0", node="n1") == ["t00", "t06"]
    assert log.ids(kind="none") == log.ids(state="done") == []
    summary = log.page(limit=1).tasks[0]
    assert summary.spec.payload == 0  # type: ignore[comparison-overlap]


def test_list_and_watch_end_before_their_texts_exceed_an_answer() -> None:
    log = Driver(TaskLogLimits(answer_bytes_max=100))
    registration = log.node("n1")
    for name in "abc":
        log.task(name)
    for claim in log.claim("n1", registration, 3):
        log.fail(claim.task.id, claim.token, "x" * 60, retry=False)
    assert [len(log.page(after=after).tasks) for after in (0, 2, 3)] == [1, 1, 1]
    assert log.ids() == ["a", "b", "c"]
    after = log.stats().revision - 3
    batch = log.watch(after)
    assert batch is not None
    assert len(batch.changes) == 1
    assert len(log.changes(after)) == 3


def test_stats_count_states_and_nodes() -> None:
    log = Driver()
    registration = log.node("n1")
    log.submit(*(task_spec(name, "k") for name in "abc"))
    log.task("d", depends_on=["a"])
    log.task("e", not_before=log.time + 1)
    log.complete("a", log.token("n1", registration))
    log.cancel("b")
    log.token("n1", registration)
    assert log.stats().states == (0, 1, 1, 1, 1, 0, 1)
    assert (log.stats().live_nodes, log.stats().lapsed_nodes) == (1, 0)


def test_watch_of_everything_tells_each_revision_once() -> None:
    log = Driver()
    registration = log.node("n1", lease=HOUR)
    log.task("a")
    log.complete("a", log.token("n1", registration))
    log.drain("n1")
    changes = log.changes()
    assert [change.revision for change in changes] == [1, 2, 3, 4, 5]
    assert [type(change) for change in changes] == [NodeChange, *[TaskChange] * 3, NodeChange]
    assert log.watch(5) is None
    log.task("b")
    batch = log.watch(5)
    assert batch is not None
    assert [change.revision for change in batch.changes] == [6]


def test_watch_of_one_task_or_node_is_quiet_about_others() -> None:
    log = Driver()
    registration = log.node("n1")
    after = log.stats().revision
    assert log.watch(after, "task", "a") is None
    assert log.watch(after, "node", "n1") is None
    log.task("b", not_before=log.time + HOUR)
    assert log.watch(after, "task", "a") is None
    assert log.watch(after, "node", "n1") is None
    log.task("a")
    for scope, name in (("task", "a"), ("node", "n1")):
        batch = log.watch(after, scope, name)  # type: ignore[arg-type]
        assert batch is not None
        assert [getattr(change, "id", None) for change in batch.changes] == ["a"]
    assert log.claimed("n1", registration) == ["a"]


def test_watch_of_forgotten_changes_says_from_where_to_go_on() -> None:
    log = Driver(TaskLogLimits(keep_changes=4))
    for number in range(10):
        log.task(f"t{number}")
    with pytest.raises(ChangesCompacted) as gone:
        log.watch(5)
    assert (gone.value.revision, gone.value.oldest) == (5, 6)
    assert [change.revision for change in log.changes(6)] == [7, 8, 9, 10]


def test_watch_that_waits_on_something_quiet_is_moved_on_before_changes_are_forgotten() -> None:
    log = Driver(TaskLogLimits(keep_changes=6))
    log.task("a")
    assert log.watch(1, "task", "x") is None
    after = 1
    for number in range(30):
        log.task(f"t{number}")
        batch = log.watch(after, "task", "x")
        if batch is not None:
            assert batch.changes == ()
            after = batch.revision
    assert after > 25


def test_watch_that_was_not_asked_while_changes_were_forgotten_tells_nothing_from_something() -> (
    None
):
    log = Driver(TaskLogLimits(keep_changes=6))
    log.submit(task_spec("quiet", "k"), task_spec("busy", "k"))
    for name in ("quiet", "busy"):
        assert log.watch(2, "task", name) is None
    log.cancel("busy")
    for number in range(30):
        log.task(f"t{number}")
    batch = log.watch(2, "task", "quiet")
    assert batch is not None
    assert (batch.revision, batch.changes) == (33, ())
    with pytest.raises(ChangesCompacted):
        log.watch(2, "task", "busy")


def test_watch_for_work_is_answered_when_the_registration_is_over() -> None:
    log = Driver()
    registration = log.node("n1")
    assert not log.has_work("n1", registration)
    assert not log.has_work("n1", registration + 1)  # of the future, on a replica that lags behind
    newer = log.node("n1")
    assert log.has_work("n1", registration)
    log.leave("n1", newer)
    assert log.has_work("n1", newer)
