"""The workloads, by the names that the command line knows.

Each joins a state machine, a model and a way of asking. All but two speak the words of ``keyed`` to
a machine of ``machines``; ``config`` and ``tasks`` speak to the state machines that ship.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from jepsen_like.history import Entry
from jepsen_like.workload import drawing
from jepsen_like.workload.base import (
    ANSWERED,
    AnswerSenseless,
    Draw,
    Reply,
    Request,
    View,
    Workload,
    was_done,
)
from jepsen_like.workload.config import CONFIG, learn_register
from jepsen_like.workload.keyed import pack
from jepsen_like.workload.machines import ANOTHER_VALUE
from jepsen_like.workload.tasks import TASKS

QUERIES = frozenset({"read", "get"})
TOLD_BY_ANSWER = QUERIES | {"dequeue", "acquire"}
"""Operations whose result is the answer; of others it is the argument."""


class UnknownWorkload(ValueError):
    """There is no workload of that name; the text says which there are."""


def find(name: str) -> Workload:
    """Return a workload by name, or one of the caller's own by ``module:NAME``.

    Raises:
        UnknownWorkload: There is none.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise UnknownWorkload(f"no workload {name!r}: there are {', '.join(WORKLOADS)}")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownWorkload(f"no workload {name!r}: {error}") from error
    if not isinstance(found, Workload):
        raise UnknownWorkload(f"{name!r} is no jepsen_like.workload.base.Workload")
    return found


# --- the words of keyed machines -----------------------------------------------------------------


def _request(f: str, key: str | None, value: Any) -> Request:
    return Request("query" if f in QUERIES else "command", pack([f, key, value]))


def _reply(fits: Callable[[Any], bool], f: str, value: Any, answer: bytes) -> Reply:
    try:
        told = json.loads(answer)
    except ValueError:
        raise AnswerSenseless(f"{answer!r} is not JSON") from None
    if f not in TOLD_BY_ANSWER:
        if told is not None:
            raise AnswerSenseless(f"{f} was answered {told!r}")
        return Reply(True, value)
    if not fits(told):
        raise AnswerSenseless(f"{f} was answered {told!r}")
    return Reply(True, told)


def _refusal(f: str, reason: str) -> Reply:
    if f == "cas" and reason == ANOTHER_VALUE:
        return Reply(False)
    return Reply(False, None, ANSWERED + reason)


def _is_number(told: Any) -> bool:
    return type(told) is int


def _is_number_or_null(told: Any) -> bool:
    return told is None or type(told) is int


def _is_text(told: Any) -> bool:
    return isinstance(told, str)


def _is_list(told: Any) -> bool:
    return isinstance(told, list) and all(type(each) is int for each in told)


# --- what is known of a key, and what ends it ----------------------------------------------------


def _token(_known: Any, _f: str, _argument: Any, value: Any) -> Any:
    return value


def _nothing(_known: Any, _f: str, _argument: Any, _value: Any) -> Any:
    return None


def _observed(observer: str, unwritten: Any, f: str, value: Any) -> bool:
    return bool(observer == f and value != unwritten)


def _is_drained(entry: Entry) -> bool:
    return entry.type == "ok" and entry.value is None


def _was_answered(entry: Entry) -> bool:
    return entry.type == "ok" or (entry.error or "").startswith(ANSWERED)


def _keyed(
    name: str,
    summary: str,
    model: str,
    machine: str,
    draw: Callable[[Random, View], Draw],
    *,
    observes: tuple[str, Any],
    fits: Callable[[Any], bool],
    learn: Callable[[Any, str, Any, Any], Any] = _nothing,
    settled: Callable[[Entry], bool] = was_done,
    key_operations: int = 400,
) -> Workload:
    return Workload(
        name=name,
        summary=summary,
        model=model,
        machine=f"jepsen_like.workload.machines:{machine}",
        draw=draw,
        request=_request,
        reply=partial(_reply, fits),
        refusal=_refusal,
        observed=partial(_observed, *observes),
        learn=learn,
        final=(observes[0], None),
        settled=settled,
        key_operations=key_operations,
    )


WORKLOADS: Mapping[str, Workload] = {
    each.name: each
    for each in (
        CONFIG,
        _keyed(
            "register",
            "read, write, compare and set",
            "cas-register",
            "Register",
            drawing.register,
            observes=("read", None),
            fits=_is_number_or_null,
            learn=learn_register,
        ),
        _keyed(
            "kv",
            "as register, and delete",
            "kv",
            "KeyValue",
            drawing.key_value,
            observes=("read", None),
            fits=_is_number_or_null,
            learn=learn_register,
        ),
        _keyed(
            "kv-append",
            "texts: get, put, append",
            "kv-append",
            "KeyValueAppend",
            drawing.text,
            observes=("get", ""),
            fits=_is_text,
            key_operations=150,
        ),
        _keyed(
            "append",
            "a list that grows at its end",
            "append",
            "AppendList",
            drawing.append,
            observes=("read", []),
            fits=_is_list,
            key_operations=200,
        ),
        _keyed(
            "set",
            "a set that grows",
            "set",
            "GrowingSet",
            drawing.growing_set,
            observes=("read", []),
            fits=_is_list,
            key_operations=200,
        ),
        _keyed(
            "counter",
            "additions must neither get lost nor count twice",
            "counter",
            "Counter",
            drawing.counter,
            observes=("read", 0),
            fits=_is_number,
        ),
        _keyed(
            "queue",
            "first in, first out; drained at the end",
            "queue",
            "Queue",
            drawing.queue,
            observes=("dequeue", None),
            fits=_is_number_or_null,
            settled=_is_drained,
            key_operations=200,
        ),
        _keyed(
            "mutex",
            "a mutex with fencing tokens",
            "mutex",
            "Mutex",
            drawing.mutex,
            observes=("acquire", 1),
            fits=_is_number,
            learn=_token,
            settled=_was_answered,
        ),
        TASKS,
    )
}
"""Every workload by name, in the order in which they are told."""
