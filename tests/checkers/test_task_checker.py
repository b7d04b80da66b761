"""The checker of task logs on histories by hand: each rule refutes what breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.linearizability import Budget
from jepsen_like.checkers.tasks import check_story, check_tasks, unfinished
from jepsen_like.history import Entry, HistoryError
from tests.checkers.hand import Hand

SECOND = 1_000_000


class Log(Hand):
    """A task log as its clients see it, one operation after another unless told otherwise."""

    def registered(self, token: int = 1, node: str = "n1", until: int | None = None) -> Log:
        answer = {"registration": token} | ({} if until is None else {"until": until})
        self.done(0, "register", {"node": node, "lease": 9 * SECOND}, answer)
        return self

    def submitted(self, id_: str, created: int | None = None, **more: Any) -> Log:
        answer = {} if created is None else {"created": {id_: created}}
        self.done(0, "submit", {"tasks": [{"id": id_, **more}]}, answer)
        return self

    def claimed(self, *claims: list[Any], registration: int = 1) -> Log:
        self.done(1, "claim", asked_claim(registration), {"claims": list(claims)})
        return self

    def completed(self, id_: str, token: int, result: Any = 7, answer: Any = None) -> Log:
        self.done(1, "complete", {"id": id_, "token": token, "result": result}, answer or {})
        return self

    def shown(self, id_: str, *task: Any, revision: int | None = None) -> Log:
        self.done(2, "show", {"id": id_}, {"task": list(task) or None, "revision": revision})
        return self

    def listed(self, *tasks: list[Any], after: int = 0, next_: int | None = None) -> Log:
        self.done(2, "list", {"after": after}, {"tasks": list(tasks), "next": next_})
        return self

    def watched(self, after: int, *events: list[Any], through: int | None = None) -> Log:
        end = after + len(events) if through is None else through
        self.done(3, "watch", {"from": after}, {"events": list(events), "through": end})
        return self


def asked_claim(registration: int = 1) -> dict[str, Any]:
    return {"node": "n1", "registration": registration, "count": 4, "lease": SECOND}


REFUSED = {"refused": "token 2 is no longer valid: ..."}


def refuted(history: list[Entry]) -> str:
    """Return why, and see that the answer it names is there."""
    found = check_tasks(history)
    assert found.verdict == "no", found
    assert found.entry is not None
    assert 0 <= found.entry < len(history)
    return found.reason


# --- histories that a correct task log gives ------------------------------------------------------


def test_history_of_a_whole_life_of_tasks_is_explained() -> None:
    log = Log().registered(1).submitted("a", 2, priority=5).submitted("b", 3, after=["a"])
    log.claimed(["a", 4, 1]).shown("a", "claimed", 4, 1, None, revision=4)
    log.done(1, "extend", {"node": "n1", "claims": [["a", 4]]}, {"kept": ["a"], "lost": []})
    log.completed("a", 4, answer={"revision": 5}).completed("a", 4, answer={"revision": 5})
    log.claimed(["b", 6, 1])
    log.done(1, "fail", {"id": "b", "token": 6}, {"revision": 7})
    log.claimed(["b", 8, 2]).completed("b", 6, answer=REFUSED).completed("b", 8, "late")
    log.shown("b", "done", 8, 2, "late").shown("c").listed(
        ["a", 2, "done", 4, 1], ["b", 3, "done", 8, 2]
    )
    assert check_tasks(log.history).verdict == "yes"
    assert unfinished(log.history) == []


def test_history_with_retried_and_cancelled_tasks_is_explained() -> None:
    log = Log().registered().submitted("a").claimed(["a", 3, 1])
    log.done(0, "cancel", {"id": "a"}, {})
    log.completed("a", 3, answer=REFUSED)
    log.shown("a", "cancelled", 3, 1, None).done(0, "retry", {"id": "a"}, {})
    log.claimed(["a", 9, 1]).completed("a", 9)
    assert check_tasks(log.history).verdict == "yes"


def test_history_in_which_nothing_was_answered_is_unknown() -> None:
    log = Log().invoke(0, "submit", {"tasks": [{"id": "a"}]})
    assert check_tasks(log.history).verdict == "unknown"
    assert check_tasks([]).verdict == "unknown"


def test_history_that_the_budget_does_not_suffice_for_is_unknown() -> None:
    log = Log().submitted("a").submitted("b")
    assert check_tasks(log.history, Budget(seconds=-1.0, memory_bytes=0)).verdict == "unknown"


@pytest.mark.parametrize(
    ("f", "asked", "answer"),
    [
        ("steal", {}, {}),
        ("claim", {"node": "n1"}, {"claims": [["a", 1, 1]]}),
        ("show", {"id": 7}, {"task": None}),
        ("extend", {"node": "n1", "claims": [["a", 4]]}, {"kept": [], "lost": []}),
        ("list", {"after": 0}, {"tasks": [["a", "ready"]], "next": None}),
    ],
)
def test_history_in_other_words_is_no_history(f: str, asked: Any, answer: Any) -> None:
    with pytest.raises(HistoryError):
        check_tasks(Log().done(0, f, asked, answer).history)


# --- tokens and revisions -------------------------------------------------------------------------


def test_token_given_twice_is_refuted() -> None:
    log = Log().submitted("a").submitted("b").claimed(["a", 5, 1]).claimed(["b", 5, 1])
    assert "given twice" in refuted(log.history)


def test_token_that_falls_is_refuted() -> None:
    log = Log().submitted("a").submitted("b").claimed(["a", 6, 1]).claimed(["b", 5, 1])
    assert "before a lower one" in refuted(log.history)


def test_token_below_that_of_a_concurrent_claim_is_explained() -> None:
    log = Log().submitted("a").submitted("b").invoke(5, "claim", asked_claim())
    log.claimed(["a", 6, 1])  # type: ignore[attr-defined]
    log.ok(5, {"claims": [["b", 5, 1]]})
    assert check_tasks(log.history).verdict == "yes"


def test_read_that_is_older_than_what_was_answered_is_refuted() -> None:
    log = Log().submitted("a", 2).claimed(["a", 5, 1]).shown("b", revision=4)
    assert "before a lower one" in refuted(log.history)


def test_task_held_with_a_token_that_no_claim_gave_is_refuted() -> None:
    log = Log().submitted("a").shown("a", "claimed", 5, 1, None)
    assert "no claim gave" in refuted(log.history)


def test_task_held_by_a_claim_of_unknown_outcome_is_explained() -> None:
    log = Log().submitted("a")
    log.invoke(7, "claim", asked_claim()).info(7)
    log.shown("a", "claimed", 5, 1, None)
    assert check_tasks(log.history).verdict == "yes"


def test_task_cancelled_after_a_claim_of_unknown_outcome_is_explained() -> None:
    log = Log().submitted("a")
    log.invoke(7, "claim", asked_claim()).info(7)
    log.invoke(8, "cancel", {"id": "a"}).info(8)
    log.shown("a", "cancelled", 5, 1, None)
    assert check_tasks(log.history).verdict == "yes"


# --- exactly one result ---------------------------------------------------------------------------


def test_task_with_two_results_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).completed("a", 3, 1).completed("a", 3, 2)
    assert "two results" in refuted(log.history)


def test_stale_completion_that_is_accepted_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).claimed(["a", 4, 2]).completed("a", 3)
    assert "claimed again" in refuted(log.history)


def test_stale_extension_that_is_accepted_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).claimed(["a", 4, 2])
    log.done(1, "extend", {"node": "n1", "claims": [["a", 3]]}, {"kept": ["a"], "lost": []})
    assert "a later one" in refuted(log.history)


def test_stale_failure_that_is_accepted_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).claimed(["a", 4, 2])
    log.done(1, "fail", {"id": "a", "token": 3}, {})
    assert "a later one" in refuted(log.history)


def test_task_claimed_after_its_result_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).completed("a", 3).claimed(["a", 4, 2])
    assert "claimed again" in refuted(log.history)


@pytest.mark.parametrize(("node", "verdict"), [("n1", "no"), ("n2", "yes")])
def test_claim_lost_by_its_own_node_and_completed_is_refuted(node: str, verdict: str) -> None:
    log = Log().submitted("a").claimed(["a", 3, 1])
    log.done(1, "extend", {"node": node, "claims": [["a", 3]]}, {"kept": [], "lost": ["a"]})
    log.completed("a", 3)
    assert check_tasks(log.history).verdict == verdict


def test_completion_refused_and_then_accepted_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1])
    log.completed("a", 3, answer=REFUSED).completed("a", 3)
    assert "no order explains" in refuted(log.history)


def test_completion_accepted_and_then_refused_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).completed("a", 3)
    log.completed("a", 3, answer=REFUSED)
    assert "no order explains" in refuted(log.history)


def test_completion_of_unknown_outcome_that_shows_later_is_explained() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1])
    log.invoke(7, "complete", {"id": "a", "token": 3, "result": 1}).info(7)
    log.shown("a", "claimed", 3, 1, None).shown("a", "done", 3, 1, 1)
    assert check_tasks(log.history).verdict == "yes"


def test_result_that_nobody_brought_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).completed("a", 3, 1)
    log.shown("a", "done", 3, 1, 2)
    assert "no order explains" in refuted(log.history)


def test_result_that_is_gone_again_is_refuted() -> None:
    log = Log().submitted("a").claimed(["a", 3, 1]).completed("a", 3, 1)
    log.shown("a", "ready", 3, 1, None)
    assert "no order explains" in refuted(log.history)


# --- nothing lost ---------------------------------------------------------------------------------


def test_list_that_leaves_out_an_acknowledged_task_is_refuted() -> None:
    log = Log().submitted("a", 1).submitted("b", 2).listed(["a", 1, "ready", 0, 0])
    assert "leaves out 'b'" in refuted(log.history)


def test_list_that_leaves_out_what_its_revision_holds_is_refuted() -> None:
    log = Log().invoke(5, "submit", {"tasks": [{"id": "a"}]})
    log.done(2, "list", {"after": 0}, {"tasks": [], "next": None, "revision": 1})
    log.ok(5, {"created": {"a": 1}})
    assert "leaves out 'a'" in refuted(log.history)


def test_list_in_pages_that_show_every_task_is_explained() -> None:
    log = Log().submitted("b", 1).submitted("a", 2).listed(["b", 1, "ready", 0, 0], next_=1)
    log.listed(["a", 2, "ready", 0, 0], after=1)
    assert check_tasks(log.history).verdict == "yes"


def test_list_that_repeats_what_stands_before_it_is_refuted() -> None:
    log = Log().submitted("a", 1).listed(["a", 1, "ready", 0, 0], after=1)
    assert "stands elsewhere" in refuted(log.history)


def test_task_shown_as_absent_after_it_was_acknowledged_is_refuted() -> None:
    log = Log().submitted("a").shown("a")
    assert "no order explains" in refuted(log.history)


def test_task_told_of_before_it_was_submitted_is_refuted() -> None:
    log = Log().shown("a", "ready", 0, 0, None).submitted("a")
    assert "before it was submitted" in refuted(log.history)


def test_tasks_that_were_not_seen_at_their_end_are_unfinished() -> None:
    log = Log().submitted("a").submitted("b").submitted("c").claimed(["a", 3, 1])
    log.completed("a", 3).invoke(7, "submit", {"tasks": [{"id": "d"}]}).info(7)
    log.listed(["b", 2, "dead", 0, 0], ["c", 4, "ready", 0, 0])
    assert unfinished(log.history) == ["c"]


# --- what is claimed when -------------------------------------------------------------------------


def test_task_claimed_before_its_dependency_is_done_is_refuted() -> None:
    log = Log().submitted("a").submitted("b", after=["a"]).claimed(["b", 5, 1])
    assert "before 'a' was done" in refuted(log.history)


def test_task_claimed_before_the_revision_of_its_dependency_is_refuted() -> None:
    log = Log().submitted("a", 2).submitted("b", 3, after=["a"]).claimed(["a", 4, 1])
    log.invoke(5, "claim", asked_claim())
    log.done(1, "complete", {"id": "a", "token": 4, "result": 1}, {"revision": 6}).ok(
        5, {"claims": [["b", 5, 1]]}
    )
    assert "before 'a' was done" in refuted(log.history)


def test_task_given_away_while_its_lease_lasts_is_refuted() -> None:
    log = Log().registered(1, until=20 * SECOND).submitted("a")
    log.claimed(["a", 3, 1, 5 * SECOND]).claimed(["a", 4, 2, 5 * SECOND])
    assert "while the lease" in refuted(log.history)


def test_task_given_away_when_its_lease_is_over_is_explained() -> None:
    log = Log().registered(1, until=20 * SECOND).submitted("a")
    log.claimed(["a", 3, 1, 5 * SECOND]).claimed(["a", 4, 2, 6 * SECOND])
    assert check_tasks(log.history).verdict == "yes"


def test_task_given_away_when_its_node_registers_anew_is_explained() -> None:
    log = Log().registered(1, until=20 * SECOND).submitted("a").claimed(["a", 3, 1, 5 * SECOND])
    log.registered(4, until=20 * SECOND).claimed(["a", 5, 2, 5 * SECOND], registration=4)
    assert check_tasks(log.history).verdict == "yes"


def test_task_given_away_when_its_node_lapsed_is_explained() -> None:
    log = Log().registered(1, until=4 * SECOND).submitted("a").claimed(["a", 3, 1, 9 * SECOND])
    log.claimed(["a", 5, 2, 5 * SECOND], registration=2)
    assert check_tasks(log.history).verdict == "yes"


@pytest.mark.parametrize(
    ("asked", "claim", "reason"),
    [
        ({"node": "n2"}, ["a", 3, 1], "for node n1, which cannot run it"),
        ({"attempts": 1}, ["a", 3, 2], "2 times, and 1 are allowed"),
        ({"not_before": 9 * SECOND}, ["a", 3, 1, 9 * SECOND], "before its time"),
        ({"deadline": 2 * SECOND}, ["a", 3, 1, 3 * SECOND], "after its deadline"),
    ],
)
def test_claim_that_does_not_keep_to_what_was_asked_is_refuted(
    asked: Any, claim: Any, reason: str
) -> None:
    assert reason in refuted(Log().submitted("a", **asked).claimed(claim).history)


def test_claim_that_keeps_to_what_was_asked_is_explained() -> None:
    asked: Any = {"node": "n1", "attempts": 1, "not_before": 2 * SECOND, "deadline": 3 * SECOND}
    log = Log().submitted("a", **asked).claimed(["a", 3, 1, 3 * SECOND])
    assert check_tasks(log.history).verdict == "yes"


def test_claim_with_a_registration_that_is_over_is_refuted() -> None:
    log = Log().registered(1).submitted("a").registered(3).claimed(["a", 4, 1])
    assert "registration that was over" in refuted(log.history)


def test_token_of_a_registration_that_is_over_is_refuted() -> None:
    log = Log().registered(1).submitted("a").claimed(["a", 3, 1]).registered(4).completed("a", 3)
    assert "outlived its node's registration" in refuted(log.history)


def test_completion_repeated_after_its_node_registered_anew_is_explained() -> None:
    log = Log().registered(1).submitted("a").claimed(["a", 3, 1]).completed("a", 3)
    log.registered(5).completed("a", 3)
    assert check_tasks(log.history).verdict == "yes"


def extended(log: Log, until: int) -> Log:
    asked = {"node": "n1", "registration": 1, "claims": [["a", 3]], "lease": SECOND}
    log.done(1, "extend", asked, {"kept": ["a"], "lost": [], "until": until})
    return log


def test_task_given_away_while_its_extended_lease_lasts_is_refuted() -> None:
    log = Log().registered(1, until=20 * SECOND).submitted("a").claimed(["a", 3, 1, 5 * SECOND])
    extended(log, 9 * SECOND).claimed(["a", 5, 2, 6 * SECOND])
    assert "while the lease" in refuted(log.history)


def test_task_given_away_after_a_shorter_extension_is_explained() -> None:
    log = Log().registered(1, until=20 * SECOND).submitted("a").claimed(["a", 3, 1, 9 * SECOND])
    extended(log, 5 * SECOND).claimed(["a", 5, 2, 6 * SECOND])
    assert check_tasks(log.history).verdict == "yes"


# --- order ----------------------------------------------------------------------------------------


def test_lower_priority_claimed_first_is_refuted() -> None:
    log = Log().registered(1).submitted("a", 2, node="n1").submitted("b", 3, priority=1, node="n1")
    log.claimed(["a", 4, 1]).claimed(["b", 5, 1])
    assert "'b', which stood before it" in refuted(log.history)


def test_later_task_of_the_same_priority_claimed_first_is_refuted() -> None:
    log = Log().registered(1).submitted("a", 2, node="n1").submitted("b", 3, node="n1")
    log.claimed(["b", 4, 1], ["a", 5, 1])
    assert "'a', which stood before it" in refuted(log.history)


def test_task_that_nobody_ever_claimed_is_passed_over() -> None:
    log = Log().registered(1).submitted("a", 2, node="n1").submitted("b", 3, node="n1")
    log.claimed(["b", 4, 1])
    assert "'a', which stood before it" in refuted(log.history)


@pytest.mark.parametrize(
    "why",
    [
        *("any node", "before the registration", "later", "deadline"),
        *("lost claim", "drained", "second time"),
    ],
)
def test_order_where_none_is_promised_is_explained(why: str) -> None:
    log = Log()
    if why != "before the registration":
        log.registered(1)
    node = None if why == "any node" else "n1"
    times = {"later": {"not_before": 5}, "deadline": {"deadline": 5}}.get(why, {})
    log.submitted("a", 2, node=node, **times)
    if why == "before the registration":
        log.registered(3)
    if why == "lost claim":
        log.invoke(7, "claim", asked_claim()).info(7)
    if why == "drained":
        log.done(0, "drain", {"node": "n1", "drained": True}, {})
    log.submitted("b", 4, node="n1")
    registration = 3 if why == "before the registration" else 1
    log.claimed(["b", 5, 1], registration=registration)
    if why == "second time":
        log.claimed(["a", 6, 2])
    assert check_tasks(log.history).verdict == "yes"


# --- watches --------------------------------------------------------------------------------------


def story() -> Log:
    return Log().registered(1).submitted("a", 2).claimed(["a", 3, 1])


NODE = [1, None, None, 0]
NEW = [2, "a", "ready", 0]
TAKEN = [3, "a", "claimed", 3]
DONE = [4, "a", "done", 3]


def test_watches_that_tell_every_change_once_are_explained() -> None:
    log = story().completed("a", 3, answer={"revision": 4})
    log.watched(0, NODE, NEW).watched(2, TAKEN, DONE).watched(1, NEW, TAKEN)
    assert check_tasks(log.history).verdict == "yes"
    assert check_story(log.history).verdict == "yes"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([NODE, TAKEN, DONE], "leaves out revision 2"),
        ([NODE, NEW, NEW, TAKEN, DONE], "repeats"),
        ([NODE, NEW, [3, "b", "claimed", 3], DONE], "which was 'a'"),
        ([NODE, NEW, [3, "a", "claimed", 2], DONE], "which was 'a'"),
        ([NODE, NEW, TAKEN, [4, "a", "claimed", 2]], "has token 2 after 3"),
        ([NODE, NEW, TAKEN, DONE, [5, "a", "ready", 3]], "is ready after it was done"),
        ([NODE, NEW, TAKEN, [4, "a", "dead", 3], [5, "a", "claimed", 5]], "after it was dead"),
        ([NODE, NEW, TAKEN, [4, "a", "ready", 9]], "without a claim"),
    ],
)
def test_watch_that_tells_another_story_is_refuted(events: list[Any], reason: str) -> None:
    log = story().watched(0, *events, through=max(event[0] for event in events))
    assert reason in refuted(log.history)


def test_watches_that_contradict_each_other_are_refuted() -> None:
    log = story().watched(3, DONE).watched(3, [4, "a", "ready", 3])
    assert "watches told" in refuted(log.history)
    assert check_story(log.history).verdict == "no"


def test_story_of_no_watch_is_unknown() -> None:
    assert check_story(story().history).verdict == "unknown"
