"""Quantities as people write them: exact, or refused with how to write them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli.quantities import (
    MOMENT_TOLD_MAX,
    QUANTITY_MAX,
    QuantityInvalid,
    amount_text,
    duration_text,
    moment_text,
    parse_amount,
    parse_duration,
    parse_moment,
    parse_size,
)

NOON = 1_795_262_400_000_000
"""2026-11-21T12:00:00Z, in microseconds."""


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("1", 1_000_000),
        ("0.25", 250_000),
        ("0.1", 100_000),
        ("2.000001", 2_000_001),
        ("1.0000000", 1_000_000),
        ("9223372036854.775807", QUANTITY_MAX),
    ],
)
def test_amount_in_decimals_is_exact_micro_units(text: str, micro: int) -> None:
    assert parse_amount(text) == micro


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "+1", "1e3", ".5", "1.", "nan", "inf", "0.0000001", "1,5"),
        *("9223372036854.775808", "\u0663", "1" * 41),
    ],
)
def test_amount_that_is_none_is_refused_and_named(text: str) -> None:
    with pytest.raises(QuantityInvalid) as refusal:
        parse_amount(text)
    assert repr(text) in str(refusal.value)


@given(st.integers(0, QUANTITY_MAX))
def test_amount_that_is_told_is_read_back_the_same(micro: int) -> None:
    assert parse_amount(amount_text(micro)) == micro
    assert Decimal(amount_text(micro)) * 1_000_000 == micro


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("90s", 90_000_000),
        ("1m30s", 90_000_000),
        ("1.5h", 5_400_000_000),
        ("250ms", 250_000),
        ("7us", 7),
        ("2d", 172_800_000_000),
    ],
)
def test_duration_with_units_is_exact_microseconds(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "s", "-5s", "5x", "0.5us", "5s!", "1e3s", "999999999999d"]
)
def test_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QuantityInvalid):
        parse_duration(text)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0s"),
        (7, "7us"),
        (999, "999us"),
        (250_999, "250ms"),
        (1_000_000, "1s"),
        (1_599_999, "1.5s"),
        (9_999_999, "9.9s"),
        (42_999_999, "42s"),
        (90_000_000, "1m30s"),
        (3_600_000_000, "1h"),
        (3_605_000_000, "1h"),
        (93_600_000_000, "1d2h"),
        (-90_000_000, "-1m30s"),
    ],
)
def test_duration_for_people_is_short_and_rounded_down(micros: int, text: str) -> None:
    assert duration_text(micros) == text


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("+5m", NOON + 300_000_000),
        ("+0", NOON),
        ("2026-11-21T12:00:00Z", NOON),
        ("2026-11-21T13:00:00+01:00", NOON),
        ("2026-11-21T12:00:00.000001Z", NOON + 1),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_moment_absolute_or_from_now_is_exact(text: str, micros: int) -> None:
    assert parse_moment(text, NOON) == micros


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5m", "write it like"),
        ("soon", "write it like"),
        ("+soon", "duration"),
        ("2026-11-21T12:00:00", "time zone"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("+106751992d", "too large"),
    ],
)
def test_moment_that_is_none_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(QuantityInvalid, match=why):
        parse_moment(text, NOON)


@given(st.integers(0, MOMENT_TOLD_MAX))
def test_moment_that_is_told_is_read_back_the_same(micros: int) -> None:
    assert parse_moment(moment_text(micros), 0) == micros


def test_moment_too_late_for_a_calendar_is_told_all_the_same() -> None:
    assert moment_text(MOMENT_TOLD_MAX) == "9999-12-31T23:59:59.999999Z"
    assert moment_text(MOMENT_TOLD_MAX + 1) == "after the year 9999"
    assert moment_text(QUANTITY_MAX) == "after the year 9999"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("0", 0), ("512", 512), ("512B", 512), ("64KiB", 65_536), ("64 KiB", 65_536)),
        *(("1.5MB", 1_500_000), ("0.5KiB", 512), ("2TiB", 2**41)),
    ],
)
def test_size_with_a_unit_is_exact_bytes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "KiB", "-1", "64kib", "0.3B", "1.0001KB", "1 2", "9e9", "9" * 20]
)
def test_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QuantityInvalid):
        parse_size(text)
