"""The load on the configuration that ships: single keys, as a key-value store with null for absent.

Values are numbers, written in decimal. What several keys and watches promise is asked for beside
it by ``transactions``, on keys of their own.
"""

from __future__ import annotations

from typing import Any

from jepsen_like.workload import drawing
from jepsen_like.workload.base import (
    ANSWERED,
    AnswerSenseless,
    Reply,
    Request,
    Workload,
    was_done,
)
from jepsen_like.workload.transactions import TRANSACTIONS
from statemachines import edge_config_client as config
from statemachines.edge_config_client import AnswerInvalid

MACHINE = "statemachines.edge_config:EdgeConfig"
PREFIX = "kv/"
"""Where the single keys stand."""


def number_value(number: int | None) -> bytes | None:
    """Return a value of the configuration."""
    return None if number is None else b"%d" % number


def value_number(value: bytes | None) -> int | None:
    """Return the number that a value stands for.

    Raises:
        AnswerSenseless: None that was ever written.
    """
    if value is None:
        return None
    if not value.isdigit():
        raise AnswerSenseless(f"the value {value!r} was never written")
    return int(value)


def learn_register(_known: Any, f: str, _argument: Any, value: Any) -> Any:
    """Return what an operation on a register that happened says of its value."""
    return value[1] if f == "cas" else value


def _request(f: str, key: str | None, value: Any) -> Request:
    place = f"{PREFIX}{key}"
    match f:
        case "read":
            return Request("query", config.get_query(place))
        case "write":
            return Request("command", config.put_command(place, b"%d" % value))
        case "delete":
            return Request("command", config.delete_command(place))
        case "cas":
            expected, new = value
            command = config.compare_and_set_command(place, number_value(expected), b"%d" % new)
            return Request("command", command)
    raise ValueError(f"no operation {f!r} on a key")


def _reply(f: str, value: Any, answer: bytes) -> Reply:
    try:
        match f:
            case "read":
                item = config.decode_get(answer).item
                return Reply(True, value_number(None if item is None else item.value))
            case "write":
                config.decode_put(answer)
            case "delete":
                config.decode_delete(answer)
            case "cas":
                if not config.decode_compare_and_set(answer).succeeded:
                    return Reply(False)
    except AnswerInvalid as error:
        raise AnswerSenseless(str(error)) from error
    return Reply(True, value)


def _refusal(_f: str, reason: str) -> Reply:
    return Reply(False, None, ANSWERED + reason)


def _observed(f: str, value: Any) -> bool:
    return f == "read" and value is not None


CONFIG = Workload(
    name="config",
    summary="the configuration that ships: keys, transactions, a watch",
    model="kv",
    machine=MACHINE,
    draw=drawing.key_value,
    request=_request,
    reply=_reply,
    refusal=_refusal,
    observed=_observed,
    learn=learn_register,
    final=("read", None),
    settled=was_done,
    beside=TRANSACTIONS,
)
