"""The words of the load on the task log: from an operation to bytes, and from an answer to a value.

Operations and values are those of ``jepsen_like.checkers.task_records``. What is asked, and what is
learnt from it, is drawn in ``tasks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jepsen_like.workload.base import AnswerSenseless, Reply, Request
from statemachines import task_log_answers as answers
from statemachines import task_log_requests as requests
from statemachines.task_log_answers import AnswerInvalid
from statemachines.task_log_format import MICRO, STATES, Task, TaskChange

NODES = {"n1": "cloud", "n2": "edge", "n3": "edge"}
"""The nodes, and their kinds."""

CAPACITY = 500 * MICRO
"""Of each node: more than it can ever hold, so that the order of claims is only that of queues."""

# --- how it is said ------------------------------------------------------------------------------


def request(f: str, _key: str | None, value: Any) -> Request:
    """Return what is sent; see ``Workload.request``."""
    if f == "show":
        return Request("query", requests.get_query(value["id"]))
    if f == "list":
        query = requests.list_query(after=value["after"], limit=value["limit"])
        return Request("query", query)
    if f == "watch":
        return Request("watch", requests.watch_query("everything", "", value["from"]))
    return Request("command", _COMMANDS[f](value))


def _submit(value: Any) -> bytes:
    return requests.submit_command(
        requests.task_spec(
            task["id"],
            "work",
            priority=task["priority"],
            not_before=task.get("not_before", 0),
            deadline=task.get("deadline", 0),
            attempts=task["attempts"],
            backoff=task["backoff"],
            depends_on=task.get("after", ()),
            labels={} if task["node"] is None else {"name": task["node"]},
        )
        for task in value["tasks"]
    )


def _register(value: Any) -> bytes:
    node = value["node"]
    kind: Any = NODES[node]
    spec = requests.node_spec(
        node, kind, lease=value["lease"], capacity=CAPACITY, labels={"name": node}
    )
    return requests.register_command(spec)


def _claim(value: Any) -> bytes:
    return requests.claim_command(
        value["node"], value["registration"], value["count"], value["lease"]
    )


def _extend(value: Any) -> bytes:
    claims = [(id_, token) for id_, token in value["claims"]]
    return requests.extend_command(value["node"], value["registration"], claims, value["lease"])


_COMMANDS: Mapping[str, Callable[[Any], bytes]] = {
    "submit": _submit,
    "register": _register,
    "claim": _claim,
    "extend": _extend,
    "report": lambda value: requests.report_command(value["node"], value["registration"], 0),
    "leave": lambda value: requests.leave_command(value["node"], value["registration"]),
    "drain": lambda value: requests.drain_command(value["node"], value["drained"]),
    "complete": lambda value: requests.complete_command(
        value["id"], value["token"], b"%d" % value["result"]
    ),
    "fail": lambda value: requests.fail_command(
        value["id"], value["token"], "drawn", value["retry"]
    ),
    "cancel": lambda value: requests.cancel_command(value["id"]),
    "retry": lambda value: requests.retry_command(value["id"]),
    "tick": lambda _: requests.tick_command(),
}


# --- what it was answered ------------------------------------------------------------------------


def reply(f: str, value: Any, answer: bytes) -> Reply:
    """Return what an answer means; see ``Workload.reply``."""
    try:
        return Reply(True, _ANSWERS[f](value, answer))
    except (AnswerInvalid, KeyError, TypeError, ValueError) as error:
        raise AnswerSenseless(f"{f} was answered {answer[:80]!r}: {error!r}") from error


def refusal(_f: str, reason: str) -> Reply:
    """Return what a refusal means: an answer like any other, of which more can be said."""
    return Reply(True, {"refused": reason})


def _submitted(_value: Any, answer: bytes) -> Any:
    return {"created": dict(answers.decode_submit(answer).created)}


def _registered(_value: Any, answer: bytes) -> Any:
    told = answers.decode_register(answer)
    return {"registration": told.registration, "until": told.until}


def _reported(_value: Any, answer: bytes) -> Any:
    return {"until": answers.decode_report(answer).until}


def _claimed(_value: Any, answer: bytes) -> Any:
    claims = answers.decode_claim(answer).claims
    return {"claims": [[each.task.id, each.token, each.attempt, each.until] for each in claims]}


def _extended(value: Any, answer: bytes) -> Any:
    told = answers.decode_extend(answer)
    held = [id_ for (id_, _), kept in zip(value["claims"], told.held, strict=True) if kept]
    lost = [id_ for (id_, _), kept in zip(value["claims"], told.held, strict=True) if not kept]
    return {"kept": held, "lost": lost, "until": told.until}


def _changed(_value: Any, answer: bytes) -> Any:
    return {"revision": answers.decode_changed(answer).revision}


def _failed(_value: Any, answer: bytes) -> Any:
    return {"revision": answers.decode_fail(answer).revision}


def _ticked(_value: Any, answer: bytes) -> Any:
    answers.decode_tick(answer)
    return {}


def _shown(_value: Any, answer: bytes) -> Any:
    told = answers.decode_get(answer)
    task = told.task
    if task is None:
        return {"revision": told.revision, "task": None}
    result = None if task.result is None else int(task.result)
    seen = [STATES[task.state], task.token, task.attempt, result]
    return {"revision": told.revision, "task": seen}


def _listed(_value: Any, answer: bytes) -> Any:
    told = answers.decode_list(answer)
    tasks = [_row(task) for task in told.tasks]
    return {"revision": told.revision, "tasks": tasks, "next": told.next_after}


def _row(task: Task) -> list[Any]:
    return [task.spec.id, task.created, STATES[task.state], task.token, task.attempt]


def _watched(_value: Any, answer: bytes) -> Any:
    told = answers.decode_watch(answer)
    events = [
        [each.revision, each.id, STATES[each.state], each.token]
        if isinstance(each, TaskChange)
        else [each.revision, None, None, 0]
        for each in told.changes
    ]
    return {"events": events, "through": told.revision}


_ANSWERS: Mapping[str, Callable[[Any, bytes], Any]] = {
    "submit": _submitted,
    "register": _registered,
    "report": _reported,
    "leave": _changed,
    "drain": _changed,
    "claim": _claimed,
    "extend": _extended,
    "complete": _changed,
    "fail": _failed,
    "cancel": _changed,
    "retry": _changed,
    "tick": _ticked,
    "show": _shown,
    "list": _listed,
    "watch": _watched,
}
