"""Medians of rounds as Markdown tables, and a run as one JSON object."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.peers.measurement import Load, Measurement, Row, as_json

BASE = "etcd"
"""The system that ratios are taken of."""

COLUMNS = (
    "system",
    "client",
    "operation",
    "outstanding",
    "ops/s",
    f"of {BASE}'s",
    "p50 ms",
    "p99 ms",
    "server CPU s per 1,000",
    "client cores",
    "errors",
    "rounds",
)


def table(rows: Sequence[Row]) -> str:
    """Return a table of medians (and the range, for ops/s), one line per system and load.

    Rounds that other work disturbed are left out, unless all were: then all count, marked ``*``.
    """
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    rates = {(row.system, row.round, row.load): row.measurement.ops_s for row in rows}
    for group in _groups(rows):
        used = [row for row in group if not row.disturbed] or group
        lines.append(_line(_cells(group, used, rates)))
    return "\n".join(lines)


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each system and load, in the order of the loads."""
    groups: dict[tuple[str, Load], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.system, row.load), []).append(row)
    loads = list(dict.fromkeys(row.load for row in rows))
    return sorted(groups.values(), key=lambda group: loads.index(group[0].load))


def _cells(
    group: Sequence[Row], used: Sequence[Row], rates: dict[tuple[str, int, Load], float]
) -> list[str]:
    first = group[0]
    mark = "*" if used[0].disturbed else ""
    ratios = [
        row.measurement.ops_s / base
        for row in used
        if (base := rates.get((BASE, row.round, row.load)))
    ]

    def median(value: Callable[[Measurement], float | None]) -> str:
        return _number(_median([value(row.measurement) for row in used]))

    each = [row.measurement.ops_s for row in used]
    spread = f" ({_number(min(each))} to {_number(max(each))})" if len(each) > 1 else ""
    return [
        first.system,
        first.client,
        first.load.operation,
        f"{first.load.outstanding:,}",
        median(lambda one: one.ops_s) + spread + mark,
        _number(_median(ratios)),
        median(lambda one: one.p50_ms),
        median(lambda one: one.p99_ms),
        median(lambda one: one.srv_cpu_s_per_1000),
        median(lambda one: one.client_cores),
        str(sum(row.measurement.errors for row in used)),
        f"{len(used)} of {len(group)}",
    ]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def run_as_json(
    machine: dict[str, str | int],
    versions: dict[str, str],
    missing: dict[str, list[str]],
    floors: list[dict[str, float]],
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Return everything about a run as one JSON object."""
    return {
        "machine": machine,
        "versions": versions,
        "missing": missing,
        "floors": floors,
        "measurements": [dict(as_json(row)) for row in rows],
    }
