"""The state machines of the workloads: the models of the checkers, replicated.

Each is a table of pure functions on JSON values. They are written as plainly as they can be, since
what is tested is not them: a history that no order explains must be the cluster's doing.
"""

from __future__ import annotations

from typing import Any

from jepsen_like.workload.keyed import DataType, KeyedMachine
from paxos.core.state_machine import CommandFailed

ANOTHER_VALUE = "the value is another"
"""How a compare-and-set is answered "no"."""

HELD = "the mutex is held"
NOT_THE_HOLDER = "the token is not the holder's"


def _same(held: Any) -> Any:
    return held


# --- registers -----------------------------------------------------------------------------------


def _write(_held: Any, value: Any) -> tuple[Any, Any]:
    return value, None


def _compare_and_set(held: Any, change: Any) -> tuple[Any, Any]:
    expected, value = change
    if held != expected:
        raise CommandFailed(ANOTHER_VALUE)
    return value, None


def _delete(_held: Any, _value: Any) -> tuple[Any, Any]:
    return None, None


class Register(KeyedMachine):
    """``write`` and ``cas`` with [expected, value]; ``read``. Null at first."""

    data_type = DataType(None, {"write": _write, "cas": _compare_and_set}, {"read": _same})


class KeyValue(KeyedMachine):
    """As ``Register``, and ``delete``: an absent value is null."""

    data_type = DataType(
        None, {"write": _write, "cas": _compare_and_set, "delete": _delete}, {"read": _same}
    )


# --- texts and lists -----------------------------------------------------------------------------


def _append_text(held: Any, value: Any) -> tuple[Any, Any]:
    return held + value, None


def _append(held: Any, value: Any) -> tuple[Any, Any]:
    return [*held, value], None


class KeyValueAppend(KeyedMachine):
    """``put`` and ``append`` of texts; ``get``. The empty text at first."""

    data_type = DataType("", {"put": _write, "append": _append_text}, {"get": _same})


class AppendList(KeyedMachine):
    """``append`` of an element; ``read`` of the whole list."""

    data_type = DataType([], {"append": _append}, {"read": _same})


# --- sets, counters, queues ----------------------------------------------------------------------


def _add_element(held: Any, value: Any) -> tuple[Any, Any]:
    return (held if value in held else sorted([*held, value])), None


def _add(held: Any, value: Any) -> tuple[Any, Any]:
    return held + value, None


def _dequeue(held: Any, _value: Any) -> tuple[Any, Any]:
    return (held[1:], held[0]) if held else (held, None)


class GrowingSet(KeyedMachine):
    """``add`` of an integer; ``read`` of all."""

    data_type = DataType([], {"add": _add_element}, {"read": _same})


class Counter(KeyedMachine):
    """``add`` of an integer; ``read``. 0 at first."""

    data_type = DataType(0, {"add": _add}, {"read": _same})


class Queue(KeyedMachine):
    """First in, first out. ``dequeue`` answers null if there is nothing."""

    data_type = DataType([], {"enqueue": _append, "dequeue": _dequeue}, {})


# --- a mutex with fencing tokens -----------------------------------------------------------------


def _acquire(held: Any, _value: Any) -> tuple[Any, Any]:
    holder, last = held
    if holder is not None:
        raise CommandFailed(HELD)
    return [last + 1, last + 1], last + 1


def _release(held: Any, token: Any) -> tuple[Any, Any]:
    holder, last = held
    if holder != token:
        raise CommandFailed(NOT_THE_HOLDER)
    return [None, last], None


class Mutex(KeyedMachine):
    """``acquire`` answers a token that rises; ``release`` takes the holder's token.

    The object is [token of the holder or null, last token given].
    """

    data_type = DataType([None, 0], {"acquire": _acquire, "release": _release}, {})
