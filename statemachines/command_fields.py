"""The frame of commands and queries of a state machine: msgpack arrays of a format and a kind.

It owns how bytes become fields, and knows neither the kinds nor what their fields mean. It guards
that whatever bytes come in, only fields or ``CommandFailed`` come out, with a text equal on every
replica.
"""

from __future__ import annotations

from typing import Any, NoReturn

from msgpack import UnpackException, unpackb

from paxos.core.state_machine import CommandFailed

Fields = tuple[Any, ...]
"""What msgpack made of bytes that nobody has checked yet."""

_ARRAY_ITEMS_MAX = 1024
"""Longer arrays are malformed. msgpack reserves memory for an array before it has its items."""


def fail_malformed(what: str) -> NoReturn:
    """Refuse bytes that no builder of ours makes."""
    raise CommandFailed(f"malformed: {what}")


def unpack_fields(data: bytes, known_format: int) -> Fields:
    """Return the fields of a command or query, at least its format and an integer kind.

    Args:
        data: The bytes.
        known_format: The number of the only format that is understood.

    Raises:
        CommandFailed: Not msgpack, not an array, or not of that format.
    """
    try:
        fields = unpackb(
            data, use_list=False, max_array_len=_ARRAY_ITEMS_MAX, max_map_len=0, max_ext_len=0
        )
    except (UnpackException, ValueError, TypeError, OverflowError, RecursionError):
        # The library's own text may differ from version to version, and so between replicas.
        fields = None
    if type(fields) is not tuple or len(fields) < 2:
        fail_malformed("not an array of a format and a kind")
    if type(fields[0]) is not int or fields[0] != known_format:
        fail_malformed(f"unknown format; this node knows format {known_format}")
    if type(fields[1]) is not int:
        fail_malformed("the kind is not a number")
    return fields


def expect_fields(fields: Fields, count: int) -> None:
    """Refuse a command or query with another number of fields than its kind has."""
    if len(fields) != count:
        fail_malformed(f"{len(fields)} fields instead of {count}")
