"""Quantities as people write them, to the integers that are replicated, and back.

Owns the spelling of durations (90s, 1h30m), moments (+5m, 2026-11-21T18:00:00Z), amounts (0.25) and
sizes (64KiB). It guards exactness: what is typed becomes the very integer it stands for, by way of
Decimal and never of a float, or it is refused. It knows no task and no option.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

MICRO: Final = 1_000_000
"""Micro-units in one unit, and microseconds in one second."""

QUANTITY_MAX: Final = 2**63 - 1
"""The largest integer that a replicated field holds."""

DURATIONS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": MICRO,
    "m": 60 * MICRO,
    "h": 3_600 * MICRO,
    "d": 86_400 * MICRO,
}
"""Microseconds by the unit of a duration."""

SIZES: Final = {
    "": 1,
    "B": 1,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "TB": 1_000_000_000_000,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
"""Bytes by the unit of a size."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_AMOUNT = re.compile(_NUMBER, re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(us|ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)", re.ASCII)
_DIGITS_MAX = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOMENT_TOLD_MAX: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""The last moment that a calendar knows, which is sooner than QUANTITY_MAX."""


class QuantityInvalid(ValueError):
    """What was written is no quantity of its kind; the text says how to write one."""


def parse_amount(text: str) -> int:
    """Return an amount in micro-units: "0.25" is 250,000.

    Raises:
        QuantityInvalid: Not a decimal number from 0, finer than a millionth, or too large.
    """
    how = f"{text!r} is not an amount; write a decimal number like 2 or 0.25"
    if len(text) > _DIGITS_MAX or _AMOUNT.fullmatch(text) is None:
        raise QuantityInvalid(how)
    return _exact(text, MICRO, f"{text!r} is finer than a millionth")


def parse_duration(text: str) -> int:
    """Return a duration in microseconds: "90s" and "1m30s" are 90,000,000. A bare 0 is 0.

    Raises:
        QuantityInvalid: Not numbers with units, finer than a microsecond, or too long.
    """
    if text == "0":
        return 0
    parts = _DURATION_PART.findall(text)
    if not parts or len(text) > _DIGITS_MAX or "".join(map("".join, parts)) != text:
        units = ", ".join(DURATIONS)
        raise QuantityInvalid(
            f"{text!r} is not a duration; write it like 90s or 1h30m, with the units {units}"
        )
    total = sum(
        _exact(number, DURATIONS[unit], f"{text!r} is finer than a microsecond")
        for number, unit in parts
    )
    return _bounded(total, text)


def parse_moment(text: str, now: int) -> int:
    """Return a moment in microseconds since the Unix epoch.

    Args:
        text: A time of RFC 3339 ("2026-11-21T18:00:00Z"), or a duration from now ("+5m").
        now: What "now" is, in the same unit.

    Raises:
        QuantityInvalid: Neither of the two, or a time without an offset or before 1970.
    """
    if text.startswith("+"):
        return _bounded(now + parse_duration(text[1:]), text)
    how = f"{text!r} is not a time; write it like +5m or 2026-11-21T18:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QuantityInvalid(how) from None
    if moment.tzinfo is None:
        raise QuantityInvalid(f"{text!r} says no time zone; end it with Z or an offset like +01:00")
    if moment < _EPOCH:
        raise QuantityInvalid(f"{text!r} is before 1970")
    # By whole numbers: timestamp() would round.
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_size(text: str) -> int:
    """Return a number of bytes: "64KiB" is 65,536, "1.5MB" is 1,500,000.

    Raises:
        QuantityInvalid: Not a number with a unit, a part of a byte, or too large.
    """
    found = _SIZE.fullmatch(text) if len(text) <= _DIGITS_MAX else None
    if found is None or found[2] not in SIZES:
        units = ", ".join(unit for unit in SIZES if unit)
        raise QuantityInvalid(
            f"{text!r} is not a size; write it like 64KiB or 1.5MB, with the units {units}"
        )
    return _exact(found[1], SIZES[found[2]], f"{text!r} is not a whole number of bytes")


def amount_text(micro: int) -> str:
    """Return an amount as ``parse_amount`` reads it, in the shortest form."""
    whole, rest = divmod(abs(micro), MICRO)
    sign = "-" if micro < 0 else ""
    return f"{sign}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")


def duration_text(micros: int) -> str:
    """Return a duration for a person, rounded down: 1h5m, 42s, 1.5s, 250ms or 7us."""
    if micros < 0:
        return f"-{duration_text(-micros)}"
    if micros < DURATIONS["ms"]:
        return f"{micros}us" if micros else "0s"
    if micros < MICRO:
        return f"{micros // DURATIONS['ms']}ms"
    if micros < 10 * MICRO:
        whole, tenths = divmod(micros // (MICRO // 10), 10)
        return f"{whole}.{tenths}s" if tenths else f"{whole}s"
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, micros = divmod(micros, DURATIONS[unit])
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2])


def moment_text(micros: int) -> str:
    """Return a moment as ``parse_moment`` reads it, in UTC, to the microsecond if there are any."""
    if micros > MOMENT_TOLD_MAX:
        return "after the year 9999"
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat().replace("+00:00", "Z")


def _exact(number: str, scale: int, too_fine: str) -> int:
    try:
        value = Decimal(number) * scale
    except InvalidOperation:
        raise QuantityInvalid(f"{number!r} is not a number") from None
    if value != int(value):
        raise QuantityInvalid(too_fine)
    return _bounded(int(value), number)


def _bounded(value: int, text: str) -> int:
    if value > QUANTITY_MAX:
        raise QuantityInvalid(f"{text!r} is too large")
    return value
