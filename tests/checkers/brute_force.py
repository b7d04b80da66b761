"""A naive twin of the checker: tries every order. Its models are written anew, result and all.

It shares no line with the product: states are plain lists and dictionaries, an operation is run and
its answer compared, and what is open is found by comparing positions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jepsen_like.history import Entry

NO = object()
"""The answer of an operation that did not happen: no order may hold it."""


class Asked(NamedTuple):
    """An operation: open from ``begin`` to ``end`` (None: its outcome is unknown)."""

    begin: int
    end: int | None
    f: str
    argument: Any
    result: Any


def register(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "read":
        return state, state
    if f == "write":
        return argument, "any"
    if f == "delete":
        return None, "any"
    return (argument[1], "any") if same(state, argument[0]) else (state, NO)


def text(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "get":
        return state, state
    return (argument if f == "put" else state + argument), "any"


def append(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    return (state, state) if f == "read" else ([*state, argument], "any")


def growing_set(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "read":
        return state, ("set", state)
    return (state if any(same(argument, each) for each in state) else [*state, argument]), "any"


def counter(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    return (state, state) if f == "read" else (state + argument, "any")


def queue(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "enqueue":
        return [*state, argument], "any"
    return (state[1:], state[0]) if state else (state, None)


def mutex(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    holder, last = state
    if f == "acquire":
        return (state, NO) if holder is not None else (["?", last], "token")
    if holder is None or argument < last or (holder not in ("?", argument)):
        return state, NO
    return [None, argument], "any"


TWINS: dict[str, tuple[Any, Callable[[Any, str, Any], tuple[Any, Any]]]] = {
    "cas-register": (None, register),
    "kv": (None, register),
    "kv-append": ("", text),
    "append": ([], append),
    "set": ([], growing_set),
    "counter": (0, counter),
    "queue": ([], queue),
    "mutex": ([None, -1], mutex),
}


def same(left: Any, right: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def operations(history: Sequence[Entry]) -> dict[str | None, list[Asked]]:
    """Return what was asked, by key. A ``fail`` did not happen."""
    by_key: dict[str | None, list[Asked]] = {}
    for position, entry in enumerate(history):
        if entry.type != "invoke" or entry.process == "nemesis":
            continue
        later = range(position + 1, len(history))
        end = next((at for at in later if history[at].process == entry.process), None)
        group = by_key.setdefault(entry.key, [])
        if end is None or history[end].type == "info":
            group.append(Asked(position, None, entry.f, entry.value, None))
        elif history[end].type == "ok":
            group.append(Asked(position, end, entry.f, entry.value, history[end].value))
    return by_key


def is_linearizable(history: Sequence[Entry], model: str) -> bool:
    """Try every order of each key."""
    initial, apply = TWINS[model]
    groups = operations(history).values()
    return all(_extends(tuple(group), initial, apply, model) for group in groups)


def _extends(
    left: tuple[Asked, ...], state: Any, apply: Callable[..., tuple[Any, Any]], model: str
) -> bool:
    """Tell whether the operations that are left can follow in some order."""
    if all(each.end is None for each in left):
        return True
    first_end = min(each.end for each in left if each.end is not None)
    for each in left:
        if each.begin > first_end:
            continue  # another one was answered before this was asked
        rest = tuple(other for other in left if other is not each)
        for after in _answers(each, state, apply, model):
            if _extends(rest, after, apply, model):
                return True
    return False


def _answers(
    asked: Asked, state: Any, apply: Callable[..., tuple[Any, Any]], model: str
) -> list[Any]:
    """Return the state after the operation, if it can be answered so; else nothing."""
    after, answer = apply(state, asked.f, asked.argument)
    if answer is NO:
        return []
    if model == "mutex" and asked.f == "acquire":
        if asked.end is None:
            return [["?", state[1] + 1]]
        if not isinstance(asked.result, int) or asked.result <= state[1]:
            return []
        return [[asked.result, asked.result]]
    if asked.end is None or (answer == "any" and asked.f not in ("read", "get", "dequeue")):
        return [after]
    if model == "set" and asked.f == "read":
        wanted, seen = answer[1], asked.result
        equal = len(wanted) == len(seen) and all(any(same(a, b) for b in seen) for a in wanted)
        return [after] if equal else []
    return [after] if same(answer, asked.result) else []
