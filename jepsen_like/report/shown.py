"""Untrusted values as short text that can be seen.

What comes out of here is plain text, not HTML: whoever puts it into a page escapes it. It owns how
a value of a history is abbreviated, and that no character hides, reorders or breaks its neighbours.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from jepsen_like.report.operations import Operation

LABEL_CHARS = 26
"""A value in a bar of a timeline."""
CELL_CHARS = 80
"""A value in a table, and in the data of a page's index of keys."""
FULL_CHARS = 600
"""A value where one operation is told in full; also a name, and an error."""
TEXT_CHARS = 4000
"""A sentence of a story."""

ITEMS_MAX = 300
"""How much of a container is written before it is cut: a read of a log of a million entries costs
as much as one of this many."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr)
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str, limit: int = FULL_CHARS) -> str:
    """Return ``text``, no longer than ``limit``, with what cannot be seen written as an escape.

    Controls, unpaired surrogates (which no encoding takes) and the characters that change the
    direction of a line would let one operation look like another.
    """
    return shorten(_HIDDEN.sub(_escape, shorten(text, limit)), limit)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten(text: str, limit: int) -> str:
    """Return ``text`` or, if it is longer than ``limit``, its beginning and its end.

    The end is kept because that is where a list that grows differs from the one before.
    """
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[head + 1 - limit :]}"


def value_text(value: Any, limit: int = CELL_CHARS) -> str:
    """Return a value of a history in JSON's form, abbreviated."""
    if isinstance(value, str) and len(value) > limit:
        value = shorten(value, limit)
    elif isinstance(value, list | tuple | dict) and len(value) > ITEMS_MAX:
        value = _cut(value)
    return visible(_ENCODER.encode(value), limit)


def _cut(value: Any) -> Any:
    """Return a container's beginning and end, and how much there was."""
    half = ITEMS_MAX // 2
    if isinstance(value, dict):
        return dict([*islice(value.items(), ITEMS_MAX), ("…", f"{len(value)} in all")])
    return [*value[:half], f"… {len(value)} in all …", *value[-half:]]


def result_text(operation: Operation, limit: int = CELL_CHARS) -> str:
    """Return what came of an operation: its result, the error, or nothing if it says no more.

    A write that was answered with what it wrote has nothing to add; a read always has.
    """
    if operation.outcome != "ok":
        return visible(operation.error or "", limit)
    value, answer = operation.value, operation.answer
    if value is not None and (answer is None or answer == value):
        return ""
    return value_text(answer, limit)


def argument_text(operation: Operation, limit: int = CELL_CHARS) -> str:
    """Return what an operation was called with, or nothing."""
    return "" if operation.value is None else value_text(operation.value, limit)


def label(operation: Operation) -> str:
    """Return an operation in a few characters: name, argument, result."""
    parts = [visible(operation.f, LABEL_CHARS)]
    argument = argument_text(operation, LABEL_CHARS)
    if argument:
        parts.append(argument)
    if operation.outcome == "ok":
        result = result_text(operation, LABEL_CHARS)
        if result:
            parts += ["→", result]
    return " ".join(parts)


def number(value: float | str) -> str:
    """Return a figure with its thousands set apart, or a text as it can be seen."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, int):
        # A seed may have more digits than Python writes out.
        return f"{value:,}" if abs(value) < 10**30 else hex(value)
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 10**15 else f"{value:.6g}"


def duration(nanoseconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return (
                f"{nanoseconds / size:.3g} {unit}"
                if nanoseconds < 1e12
                else f"{nanoseconds / size:,.0f} {unit}"
            )
    return f"{nanoseconds:.0f} ns"
