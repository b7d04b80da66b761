"""What a closed-loop run measured, and how it is summed up. Pure: knows no client and no clock.

Owns the fields of ``paxos bench --json``. Latencies are kept one by one (8 bytes each), so that the
percentiles are exact; an operation counts if it ended inside the window.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Load:
    """The load to put on a cluster.

    Attributes:
        connections: Client connections, each with a session of its own.
        outstanding: Operations under way at once, over all connections together.
        value_size: Bytes in each value written.
        duration_s: Length of the window that counts, in seconds.
        warmup_s: How long the load runs before the window opens, in seconds.
        read_ratio: Share of operations that are linearizable reads, 0 to 1.
    """

    connections: int
    outstanding: int
    value_size: int
    duration_s: float
    warmup_s: float
    read_ratio: float


@dataclass(slots=True)
class Tally:
    """How the operations of a window ended. ``latencies`` are seconds, of those that succeeded."""

    errors: int = 0
    unknown: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, slots=True)
class Window:
    """What was used while the window was open.

    Attributes:
        seconds: How long it was open.
        client_cpu_s: CPU seconds of this process.
        server_cpu_s: CPU seconds of all replicas together; None if one of them did not say.
    """

    seconds: float
    client_cpu_s: float
    server_cpu_s: float | None


def report(load: Load, tally: Tally, window: Window) -> dict[str, Any]:
    """Return the measurement with the fields that scripts rely on."""
    latencies = sorted(tally.latencies)
    ops = len(latencies)
    return {
        "ops": ops,
        "errors": tally.errors,
        "unknown": tally.unknown,
        "seconds": round(window.seconds, 3),
        "ops_s": round(ops / window.seconds, 1),
        "p50_ms": _milliseconds(percentile(latencies, 0.50)),
        "p99_ms": _milliseconds(percentile(latencies, 0.99)),
        "p999_ms": _milliseconds(percentile(latencies, 0.999)),
        "connections": load.connections,
        "outstanding": load.outstanding,
        "value_size": load.value_size,
        "read_ratio": load.read_ratio,
        "client_cpu_s": round(window.client_cpu_s, 3),
        "srv_cpu_s_per_1000": (
            round(window.server_cpu_s * 1000 / ops, 6)
            if window.server_cpu_s is not None and ops
            else None
        ),
    }


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of ``ordered`` does not exceed."""
    if not ordered:
        return None
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1]


def server_cpu(
    before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> float | None:
    """Return the CPU seconds all replicas used between two askings, or None if one did not say.

    A process whose clock went back was started anew in between: what it used is not known.
    """
    total = 0.0
    for url, started in before.items():
        ended = after.get(url)
        if started is None or ended is None or ended < started:
            return None
        total += ended - started
    return total


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
