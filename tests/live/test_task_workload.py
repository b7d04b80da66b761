"""The load on the task log: what it asks, what it learns, and how it ends."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from jepsen_like.history import Entry
from jepsen_like.workload.base import AnswerSenseless, View
from jepsen_like.workload.catalog import find
from jepsen_like.workload.task_words import NODES
from jepsen_like.workload.tasks import TASKS, Known, closing
from paxos.core.state_machine import Stamp
from statemachines.task_log import TaskLog
from tests.checkers.hand import Hand

FULL = Known(
    registrations={node: at for at, node in enumerate(NODES, 1)},
    open={"t1": 7, "t2": 8},
    held={"t1": (9, "n1")},
    stale=(("t0", 5, "n2"),),
    now=1_000_000,
    watched=3,
)


def drawn(known: Known | None, count: int = 400) -> list[tuple[str, Any]]:
    rng = Random(1)
    views = [View(None, number, (0, 1), known, {}) for number in range(1, count)]
    return [TASKS.draw(rng, view)[1:] for view in views]


def listed(*tasks: list[Any], next_: int | None = None) -> Entry:
    value = {"revision": 9, "tasks": list(tasks), "next": next_}
    return Entry(0, "ok", "list", None, value, 0)


def closed(known: Known | None) -> tuple[str, Any]:
    assert TASKS.closing is not None
    return TASKS.closing(Random(1), View(None, 1, (4, 5), known, {}))[1:]


def test_workload_of_the_task_log_is_found_by_its_name() -> None:
    assert find("tasks") is TASKS


def test_draws_of_a_new_task_log_register_nodes_first() -> None:
    assert {f for f, _ in drawn(None)} == {"register"}


def test_draws_with_everything_known_ask_of_every_kind_and_can_be_said() -> None:
    asked = drawn(FULL)
    kinds = Counter(f for f, _ in asked)
    assert kinds.keys() >= {"submit", "claim", "complete", "fail", "extend", "report", "show"}
    assert kinds.keys() >= {"list", "watch", "cancel", "retry", "tick", "drain", "leave"}
    for f, value in asked:
        assert TASKS.request(f, None, value).data
    stale = [value for f, value in asked if f == "complete" and value["token"] == 5]
    assert 0 < len(stale) < kinds["complete"] / 2
    drained = {value["node"] for f, value in asked if f in ("drain", "leave")}
    assert drained == {"n3"}


def test_draws_with_many_tasks_open_submit_none() -> None:
    known = FULL._replace(open={f"t{number}": number for number in range(200)})
    assert "submit" not in {f for f, _ in drawn(known)}


def test_answers_of_the_task_log_say_what_happened() -> None:
    machine = TaskLog()
    known: Any = None

    def ask(f: str, value: Any) -> Any:
        nonlocal known
        request = TASKS.request(f, None, value)
        run = machine.query if request.kind == "query" else apply
        reply = TASKS.reply(f, value, run(request.data))
        known = TASKS.learn(known, f, value, reply.value)
        return reply.value

    def apply(command: bytes) -> bytes:
        return machine.apply(command, Stamp(1, 0, 1_000_000))

    assert ask("register", {"node": "n1", "lease": 5_000_000})["until"] == 6_000_000
    task = {"id": "t1", "priority": 0, "node": "n1", "attempts": 2, "backoff": 1}
    created = ask("submit", {"tasks": [task]})["created"]["t1"]
    registration = known.registrations["n1"]
    claim = {"node": "n1", "registration": registration, "count": 1, "lease": 10}
    ((id_, token, attempt, until),) = ask("claim", claim)["claims"]
    assert (id_, attempt, until) == ("t1", 1, 1_000_010)
    held = {"node": "n1", "registration": registration, "claims": [["t1", token]], "lease": 20}
    assert ask("extend", held) == {"kept": ["t1"], "lost": [], "until": 1_000_020}
    ask("complete", {"id": "t1", "token": token, "result": 5})
    assert ask("show", {"id": "t1"})["task"] == ["done", token, 1, 5]
    page = ask("list", {"after": 0, "limit": 3})
    assert page["tasks"] == [["t1", created, "done", token, 1]]
    assert (known.held, known.open) == ({}, {})


def test_answer_that_no_task_log_gives_is_senseless() -> None:
    with pytest.raises(AnswerSenseless):
        TASKS.reply("show", {"id": "a"}, b"\x93\x01\x02\x03")


def test_refusal_by_a_lapsed_registration_lets_the_node_register_again() -> None:
    refused = TASKS.refusal("report", "registration 1 of node n1 is no longer valid")
    assert refused.happened
    known = TASKS.learn(FULL, "report", {"node": "n1", "registration": 1}, refused.value)
    assert "n1" not in known.registrations
    assert "n1" in TASKS.learn(FULL, "report", {"node": "n1", "registration": 0}, refused.value)[0]


def test_history_without_what_a_task_log_is_for_lacks_it() -> None:
    log = Hand().done(0, "register", {"node": "n1", "lease": 1}, {"registration": 1})
    log.done(0, "claim", {"node": "n1"}, {"claims": [["a", 3, 1, 9]]})
    log.done(0, "complete", {"id": "a", "token": 3, "result": 1}, {"revision": 4})
    assert len(TASKS.lacking(log.history)) == 3
    log.done(0, "complete", {"id": "a", "token": 2, "result": 1}, {"refused": "old"})
    assert TASKS.lacking(log.history) == [
        "no task was claimed a second time",
        "no node registered a second time",
    ]
    log.done(0, "register", {"node": "n1", "lease": 1}, {"registration": 5})
    log.done(0, "claim", {"node": "n1"}, {"claims": [["b", 6, 2, 9]]})
    assert TASKS.lacking(log.history) == []


def test_end_completes_what_is_held_and_lists_when_nothing_is_left_to_do() -> None:
    busy = FULL._replace(idle=5)
    assert closed(busy) == ("complete", {"id": "t1", "token": 9, "result": 1})
    assert closed(busy._replace(held={}))[0] == "claim"
    assert closed(busy._replace(held={}, idle=99)) == ("list", {"after": 0, "limit": None})
    assert closed(busy._replace(registrations={}))[0] == "register"


def test_end_that_takes_too_many_rounds_cancels_what_is_left() -> None:
    known = FULL._replace(held={}, idle=5, rounds=3)
    view = View(None, 1, (0,), known, {})
    assert closing(3)(Random(1), view).f == "cancel"
    assert closing(4)(Random(1), view).f != "cancel"


def test_last_list_settles_only_when_every_task_on_it_is_at_its_end() -> None:
    done, ready = ["a", 1, "done", 3, 1], ["b", 2, "ready", 0, 0]
    assert TASKS.settled(listed(done))
    assert not TASKS.settled(listed(done, ready))
    assert not TASKS.settled(listed(done, next_=1))


def test_page_without_unfinished_tasks_is_followed_by_the_next_one() -> None:
    asked = {"after": 0, "limit": None}
    sound, more = listed(["a", 1, "done", 3, 1], next_=1).value, listed(next_=1).value
    assert TASKS.learn(FULL, "list", asked, sound).listed == 1
    unsound = listed(["a", 1, "ready", 3, 1], next_=1).value
    known = TASKS.learn(FULL, "list", asked, unsound)
    assert known.listed == 0
    assert known.open["a"] == 1
    assert TASKS.learn(FULL, "list", asked, more).rounds == 1
