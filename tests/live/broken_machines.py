"""State machines with a planted bug each, deterministic like the sound ones."""

from __future__ import annotations

from typing import Any

from jepsen_like.workload import machines
from jepsen_like.workload.keyed import DataType

FORGOTTEN = 7
"""Every so many, something is forgotten."""


def _forget_addition(held: Any, value: Any) -> tuple[Any, Any]:
    return (held if held % FORGOTTEN == 1 else held + value), None


class ForgetfulCounter(machines.Counter):
    """Loses an addition now and then."""

    data_type = DataType(0, {"add": _forget_addition}, machines.Counter.data_type.queries)


def _forget_write(held: Any, value: Any) -> tuple[Any, Any]:
    return (held if value % FORGOTTEN == 1 else value), None


class ForgetfulRegister(machines.Register):
    """Loses a write now and then."""

    data_type = DataType(
        None,
        {**machines.Register.data_type.commands, "write": _forget_write},
        machines.Register.data_type.queries,
    )


def _forget_append(held: Any, value: Any) -> tuple[Any, Any]:
    return (held if value % FORGOTTEN == 1 else [*held, value]), None


class ForgetfulList(machines.AppendList):
    """Loses an element now and then."""

    data_type = DataType([], {"append": _forget_append}, machines.AppendList.data_type.queries)


class ForgetfulQueue(machines.Queue):
    """Loses an element now and then."""

    data_type = DataType([], {**machines.Queue.data_type.commands, "enqueue": _forget_append}, {})


def _acquire_anyway(held: Any, _value: Any) -> tuple[Any, Any]:
    return [held[1] + 1, held[1] + 1], held[1] + 1


class GenerousMutex(machines.Mutex):
    """Gives itself to whoever asks."""

    data_type = DataType(
        [None, 0], {**machines.Mutex.data_type.commands, "acquire": _acquire_anyway}, {}
    )
