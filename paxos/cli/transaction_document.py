"""Transactions as people write them: one JSON document with conditions, "then" and "else".

Owns that format and nothing else. Whatever is wrong with a document is said with the place in it;
whether keys and values are allowed is left to the builder of the command.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from statemachines.edge_config_client import (
    Condition,
    Delete,
    Get,
    Operation,
    Put,
    RequestInvalid,
    json_value,
)
from statemachines.edge_config_format import BYTES, JSON, TEXT

SECTIONS = ("if", "then", "else")
NUMBERS = ("revision", "created", "version")
T = TypeVar("T")


class Transaction(NamedTuple):
    """A transaction that was read."""

    conditions: list[Condition]
    then: list[Operation]
    otherwise: list[Operation]


def parse_transaction(text: str | bytes) -> Transaction:
    """Read a transaction.

    Raises:
        RequestInvalid: It is no transaction; the text names the place.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"the transaction is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise RequestInvalid('the transaction is not a JSON object with "if", "then" and "else"')
    for section in document:
        if section not in SECTIONS:
            raise RequestInvalid(f'unknown member {section!r}: there are "if", "then" and "else"')
    return Transaction(
        _each(document, "if", _condition),
        _each(document, "then", _operation),
        _each(document, "else", _operation),
    )


def _each(document: dict[str, Any], section: str, read: Callable[[dict[str, Any]], T]) -> list[T]:
    entries = document.get(section, [])
    if not isinstance(entries, list):
        raise RequestInvalid(f'"{section}" is not a list')
    found = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise RequestInvalid(f'"{section}" entry {number} is not an object')
        try:
            found.append(read(dict(entry)))
        except RequestInvalid as error:
            raise RequestInvalid(f'"{section}" entry {number}: {error}') from None
    return found


def _condition(entry: dict[str, Any]) -> Condition:
    key = _text(entry, "key")
    comparison = entry.pop("comparison", "==")
    if len(entry) != 1:
        raise RequestInvalid(
            'a condition has "key", one of "value", "value_base64", "absent", "revision",'
            ' "created", "version", and may have "comparison"'
        )
    ((field, operand),) = entry.items()
    if field == "absent":
        if operand is not True and operand is not False:
            raise RequestInvalid('"absent" is true or false')
        return Condition(key, "version", "==" if operand else ">", 0)
    if field in ("value", "value_base64"):
        return Condition(key, "value", comparison, _value({field: operand}))
    if field not in NUMBERS:
        raise RequestInvalid(f"unknown field {field!r}")
    if isinstance(operand, bool) or not isinstance(operand, int):
        raise RequestInvalid(f'"{field}" is not a whole number')
    return Condition(key, field, comparison, operand)


def _operation(entry: dict[str, Any]) -> Operation:
    kinds = [kind for kind in ("put", "delete", "get") if kind in entry]
    if len(kinds) != 1:
        raise RequestInvalid('an operation has exactly one of "put", "delete" and "get", a key')
    key = _text(entry, kinds[0])
    if kinds == ["put"]:
        return _put(key, entry)
    if entry:
        raise RequestInvalid(f'"{kinds[0]}" takes nothing beside its key')
    return Delete(key) if kinds == ["delete"] else Get(key)


def _put(key: str, entry: dict[str, Any]) -> Put:
    if entry.keys() == {"json"}:
        return Put(key, json_value(entry["json"]), JSON)
    usual = BYTES if "value_base64" in entry else TEXT
    content_type = _text(entry, "content_type") if "content_type" in entry else usual
    return Put(key, _value(entry), content_type)


def _value(entry: dict[str, Any]) -> bytes:
    if entry.keys() == {"value"}:
        return _text(entry, "value").encode()
    if entry.keys() == {"value_base64"}:
        try:
            return base64.b64decode(_text(entry, "value_base64"), validate=True)
        except (binascii.Error, ValueError):
            raise RequestInvalid('"value_base64" is not base64') from None
    raise RequestInvalid('a value is "value" (text), "value_base64" or, for a put, "json"')


def _text(entry: dict[str, Any], name: str) -> str:
    text = entry.pop(name, None)
    if not isinstance(text, str):
        raise RequestInvalid(f'"{name}" is missing or not text')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestInvalid(f'"{name}" cannot be written in UTF-8') from None
    return text
