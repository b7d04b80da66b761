"""The bytes of edge configuration: what commands, queries and their answers look like.

It owns the numbers and the checks that the state machine and its client share, so that both mean
the same; it knows no state. It guards that whatever bytes come in, the only thing that comes out
beside well-typed fields is ``CommandFailed``, with a text that is equal on every replica.

Everything is one msgpack array that begins with FORMAT. A command or query names its kind next:

    PUT, key, value, content_type                                 -> revision
    DELETE, key                                                   -> revision, deleted
    COMPARE_AND_SET, key, field, expected, value, content_type    -> succeeded, revision, item
    TRANSACTION, conditions, operations, operations               -> succeeded, revision, results
    COMPACT, revision                                             -> oldest
    RETAIN, revisions                                             -> oldest

    GET, key, revision                                            -> revision, item
    RANGE, prefix, start, stop, limit, revision, keys_only        -> revision, items, next key
    HISTORY, key, after, limit                                    -> revision, items, next after
    STATS                              -> revision, oldest, keys, versions, kept revisions
    WATCH, pattern, exact, after                                  -> next after, items

A condition is (key, field, comparison, operand); an operation (PUT, key, value, content_type),
(DELETE, key) or (GET, key). The results of a transaction are, in the order of its operations: true
for a put, whether the key was there for a delete, an item for a get. An item is nil (absent) or
(key, value, content_type, created, revision, version, time): with a value of nil it is a deletion,
with an integer in place of the value (keys_only) it is the value's size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from sys import intern
from typing import Final

from paxos.core.state_machine import CommandFailed
from statemachines.command_fields import fail_malformed

FORMAT: Final = 1
"""The first field of every command, query and answer."""

PUT: Final = 1
DELETE: Final = 2
COMPARE_AND_SET: Final = 3
TRANSACTION: Final = 4
COMPACT: Final = 5
RETAIN: Final = 6
GET: Final = 7
RANGE: Final = 8
HISTORY: Final = 9
STATS: Final = 10
WATCH: Final = 11

VALUE: Final = 0
REVISION: Final = 1
CREATED: Final = 2
VERSION: Final = 3
"""Fields that a condition compares. An absent key has value nil, and 0 for the other three."""

EQUAL: Final = 0
NOT_EQUAL: Final = 1
LESS: Final = 2
GREATER: Final = 3
"""Comparisons. LESS and GREATER never hold for the value of an absent key."""

COUNT_MAX: Final = 2**63 - 1
"""The largest revision, count or limit that a field may hold."""

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class EdgeConfigLimits:
    """Bounds of an edge configuration. Replicated: equal on every node of a cluster.

    Attributes:
        key_bytes_max: A key in UTF-8.
        value_bytes_max: A value. Keep it below the cluster's ``command_bytes_max``.
        content_type_bytes_max: A content type.
        operations_max: Conditions, and operations of each branch, of one transaction.
        answer_bytes_max: Values in one answer. Pages and batches of events end before they exceed
            it, unless their first item alone does (a transaction's events stay together); a
            transaction that reads more is refused.
        answer_items_max: Items in one page, and events in one batch but for a single revision's.
        scan_max: Keys or revisions one query looks at before it answers with what it has.
        keep_revisions: How many revisions are kept until a command says otherwise.
    """

    key_bytes_max: int = 1024
    value_bytes_max: int = 1024 * 1024
    content_type_bytes_max: int = 255
    operations_max: int = 128
    answer_bytes_max: int = 1024 * 1024
    answer_items_max: int = 1000
    scan_max: int = 20_000
    keep_revisions: int = 10_000


DEFAULT_LIMITS: Final = EdgeConfigLimits()

# Control characters (Unicode's category Cc, which will never change), and surrogates, which UTF-8
# cannot write: msgpack lets none in, but a caller's text may hold them.
_REFUSED = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_KEY = re.compile(rf"[^/{_REFUSED}]+(?:/[^/{_REFUSED}]+)*").fullmatch
_PATTERN = re.compile(rf"[^{_REFUSED}]*").fullmatch
_CONTENT_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch
COMMON_CONTENT_TYPES = {name: name for name in (JSON, BYTES, TEXT)}
"""Content types that need no check, as the one string that all their items share."""


def check_key(key: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
    """Refuse what is no key: segments between single slashes, none empty.

    Raises:
        CommandFailed: Too long, empty, a slash too many, a control character, or not UTF-8.
    """
    if type(key) is not str:
        fail_malformed("the key is not text")
    if len(key) > limits.key_bytes_max:
        raise CommandFailed(f"key too long: the limit is {limits.key_bytes_max} bytes")
    if _KEY(key) is None:
        raise CommandFailed(
            "bad key: a key is segments joined by single slashes, none empty, without control"
            " characters"
        )
    # Only a key that may be too long is encoded: a character is at most 4 bytes.
    if len(key) * 4 > limits.key_bytes_max and len(key.encode()) > limits.key_bytes_max:
        raise CommandFailed(f"key too long: the limit is {limits.key_bytes_max} bytes")


def check_pattern(pattern: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
    """Refuse what begins no key: a prefix is any text without control characters."""
    if type(pattern) is not str:
        fail_malformed("the prefix is not text")
    if len(pattern) > limits.key_bytes_max:
        raise CommandFailed(f"prefix too long: the limit is {limits.key_bytes_max} characters")
    if _PATTERN(pattern) is None:
        raise CommandFailed("bad prefix: it contains a control character")


def check_value(value: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
    """Refuse a value that is not bytes or too long. Whether JSON is JSON the builder checks."""
    if type(value) is not bytes:
        fail_malformed("the value is not bytes")
    if len(value) > limits.value_bytes_max:
        raise CommandFailed(f"value too long: the limit is {limits.value_bytes_max} bytes")


def check_content_type(content_type: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> str:
    """Return a content type as a shared string; refuse what is not printable ASCII."""
    if type(content_type) is not str:
        fail_malformed("the content type is not text")
    common = COMMON_CONTENT_TYPES.get(content_type)
    if common is not None:
        return common
    if len(content_type) > limits.content_type_bytes_max:
        raise CommandFailed(
            f"content type too long: the limit is {limits.content_type_bytes_max} bytes"
        )
    if _CONTENT_TYPE(content_type) is None:
        raise CommandFailed("bad content type: it must be printable ASCII text")
    return intern(content_type)


def check_count(count: object, what: str, least: int = 0) -> None:
    """Refuse what is no integer from ``least`` to COUNT_MAX."""
    if type(count) is not int or not least <= count <= COUNT_MAX:
        fail_malformed(f"{what} is not a number from {least}")


def check_flag(flag: object, what: str) -> None:
    """Refuse what is neither true nor false."""
    if type(flag) is not bool:
        fail_malformed(f"{what} is not true or false")


def check_conditions(conditions: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
    """Refuse anything but a list of at most ``operations_max`` well-formed conditions."""
    if type(conditions) is not tuple:
        fail_malformed("the conditions are not a list")
    if len(conditions) > limits.operations_max:
        raise CommandFailed(f"too many conditions: the limit is {limits.operations_max}")
    for condition in conditions:
        if type(condition) is not tuple or len(condition) != 4:
            fail_malformed("a condition is not (key, field, comparison, operand)")
        key, field, comparison, operand = condition
        check_key(key, limits)
        if type(comparison) is not int or not EQUAL <= comparison <= GREATER:
            fail_malformed("unknown comparison")
        check_operand(field, operand, limits)
        if operand is None and comparison > NOT_EQUAL:
            fail_malformed("an absent value is neither less nor greater")


def check_operand(field: object, operand: object, limits: EdgeConfigLimits) -> None:
    """Refuse an operand that is not of its field's type; nil stands for an absent value."""
    if type(field) is not int or not VALUE <= field <= VERSION:
        fail_malformed("unknown field")
    if field != VALUE:
        check_count(operand, "the operand")
    elif operand is not None:
        check_value(operand, limits)


def check_operations(operations: object, limits: EdgeConfigLimits = DEFAULT_LIMITS) -> None:
    """Refuse anything but a list of at most ``operations_max`` operations.

    A transaction has one revision, and a key has one version per revision: a list that changes a
    key twice is refused.
    """
    if type(operations) is not tuple:
        fail_malformed("the operations are not a list")
    if len(operations) > limits.operations_max:
        raise CommandFailed(f"too many operations: the limit is {limits.operations_max}")
    changed: set[str] = set()
    for operation in operations:
        if type(operation) is not tuple or len(operation) < 2 or type(operation[0]) is not int:
            fail_malformed("an operation is not a kind and a key")
        kind, key = operation[:2]
        check_key(key, limits)
        if kind == PUT and len(operation) == 4:
            check_value(operation[2], limits)
            check_content_type(operation[3], limits)
        elif kind not in (DELETE, GET) or len(operation) != 2:
            fail_malformed("unknown operation")
        if kind != GET:
            if key in changed:
                raise CommandFailed(f"the transaction changes a key twice: {key}")
            changed.add(key)


def compacted(revision: int, oldest: int) -> CommandFailed:
    """Return the error for a revision that is no longer kept."""
    return CommandFailed(
        f"compacted: revision {revision} is no longer kept; the oldest kept revision is {oldest}"
    )


def future_revision(revision: int, present: int) -> CommandFailed:
    """Return the error for a revision that has not come yet."""
    return CommandFailed(
        f"future revision: {revision} has not come yet; the present revision is {present}"
    )


def parse_compacted(text: str) -> tuple[int, int] | None:
    """Return (asked revision, oldest kept revision) if ``text`` is that of ``compacted``."""
    return _parse(r"compacted: revision (\d+) .* revision is (\d+)", text)


def parse_future_revision(text: str) -> tuple[int, int] | None:
    """Return (asked revision, present revision) if ``text`` is that of ``future_revision``."""
    return _parse(r"future revision: (\d+) .* revision is (\d+)", text)


def _parse(pattern: str, text: str) -> tuple[int, int] | None:
    found = re.fullmatch(pattern, text)
    return None if found is None else (int(found[1]), int(found[2]))
