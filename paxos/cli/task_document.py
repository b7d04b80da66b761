"""Tasks as people write them: a JSON document with a task per object.

Owns that format and nothing else. Whatever is wrong with a document is said with the place in it,
before anything is sent; numbers with a point are read as they are written, never as floats. Whether
a task is allowed, and what it is where nobody says otherwise, is left to ``task_spec``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from paxos.cli.quantities import (
    QuantityInvalid,
    parse_amount,
    parse_duration,
    parse_moment,
    parse_size,
)
from statemachines.task_log_format import TaskSpec
from statemachines.task_log_requests import RequestInvalid, task_spec


class WrittenFloat(float):
    """A JSON number with a point or an exponent, and its text."""

    text: str

    def __new__(cls, text: str) -> WrittenFloat:
        """Keep the text beside the float that only JSON payloads are made of."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def parse_tasks(text: str | bytes, now: int) -> list[TaskSpec]:
    """Read a list of tasks: a JSON list of objects, or one object per line.

    Args:
        text: The document.
        now: What times like "+5m" are counted from, in microseconds since the Unix epoch.

    Raises:
        RequestInvalid: It is none; the text names the place.
    """
    tasks: list[TaskSpec] = []
    for number, entry in enumerate(_entries(text), 1):
        if not isinstance(entry, dict):
            raise RequestInvalid(f"task {number} is not an object")
        try:
            tasks.append(read_task(entry, now))
        except (RequestInvalid, QuantityInvalid) as error:
            raise RequestInvalid(f"task {number}: {error}") from None
    if not tasks:
        raise RequestInvalid("there is no task in it")
    return tasks


def _entries(text: str | bytes) -> list[Any]:
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        if decoded.lstrip().startswith("["):
            entries: list[Any] = json.loads(decoded, parse_float=WrittenFloat)
            return entries
        lines = [line for line in decoded.split("\n") if line.strip()]
        return [json.loads(line, parse_float=WrittenFloat) for line in lines]
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(
            f"the tasks are neither a JSON list nor one JSON object per line: {error}"
        ) from None


def read_task(entry: Mapping[str, Any], now: int) -> TaskSpec:
    """Read one task.

    Raises:
        RequestInvalid, QuantityInvalid: A member is unknown, missing or not of its form.
    """
    fields: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _READERS:
            raise RequestInvalid(f'unknown member "{name}": there are {", ".join(_READERS)}')
        field, read = _READERS[name]
        if field in fields:
            raise RequestInvalid('give "payload" or "payload_base64", not both')
        fields[field] = read(name, value, now)
    for name, field in (("id", "task_id"), ("kind", "kind")):
        if field not in fields:
            raise RequestInvalid(f'"{name}" is missing')
    return task_spec(**fields)


# --- members -------------------------------------------------------------------------------------


def _text(name: str, value: object, _now: int) -> str:
    if not isinstance(value, str):
        raise RequestInvalid(f'"{name}" is not text')
    return value


def _whole(name: str, value: object, _now: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestInvalid(f'"{name}" is not a whole number')
    return value


def _payload(name: str, value: object, _now: int) -> bytes:
    """Return text as it is, and any other value as JSON: equal values as equal bytes."""
    try:
        if isinstance(value, str):
            return value.encode()
        compact = (",", ":")
        return json.dumps(
            value, allow_nan=False, ensure_ascii=False, separators=compact, sort_keys=True
        ).encode()
    except UnicodeEncodeError:
        raise RequestInvalid(f'"{name}" cannot be written in UTF-8') from None
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f'"{name}" is not JSON: {error}') from None


def _base64(name: str, value: object, now: int) -> bytes:
    try:
        return base64.b64decode(_text(name, value, now), validate=True)
    except (binascii.Error, ValueError):
        raise RequestInvalid(f'"{name}" is not base64') from None


def _written(name: str, value: object) -> str:
    """Return a quantity as it was typed: text, or a number."""
    if isinstance(value, WrittenFloat):
        return value.text
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RequestInvalid(f'"{name}" is neither a number nor text')


def _amount(name: str, value: object, _now: int) -> int:
    return parse_amount(_written(name, value))


def _size(name: str, value: object, _now: int) -> int:
    return parse_size(_written(name, value))


def _duration(name: str, value: object, now: int) -> int:
    return parse_duration(_text(name, value, now))


def _moment(name: str, value: object, now: int) -> int:
    return parse_moment(_text(name, value, now), now)


def _names(name: str, value: object, _now: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RequestInvalid(f'"{name}" is not a list of texts')
    return tuple(value)


def _labels(name: str, value: object, _now: int) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise RequestInvalid(f'"{name}" is not an object whose members are texts')
    return value


_READERS: Mapping[str, tuple[str, Callable[[str, object, int], Any]]] = {
    "id": ("task_id", _text),
    "kind": ("kind", _text),
    "payload": ("payload", _payload),
    "payload_base64": ("payload", _base64),
    "priority": ("priority", _whole),
    "not_before": ("not_before", _moment),
    "deadline": ("deadline", _moment),
    "attempts": ("attempts", _whole),
    "backoff": ("backoff", _duration),
    "after": ("depends_on", _names),
    "on": ("node_kind", _text),
    "labels": ("labels", _labels),
    "demand": ("demand", _amount),
    "size": ("size", _amount),
    "data_on": ("data_node", _text),
    "data_size": ("data_bytes", _size),
    "policy": ("policy", _text),
}
"""By member of an object: the argument of ``task_spec``, and what reads it."""
