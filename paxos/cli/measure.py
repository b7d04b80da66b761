"""What a closed-loop run measured, and how it is summed up. Pure: knows no client and no clock.

Owns the fields of ``paxos bench --json``. Latencies are kept one by one (8 bytes each), so that the
percentiles are exact; an operation counts if it ended inside the window.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
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
        server_cpu_s: CPU seconds of each replica by its URL; None if one of them did not say.
        leader: URL of the replica that led from begin to end; None if there was no such one.
    """

    seconds: float
    client_cpu_s: float
    server_cpu_s: Mapping[str, float] | None
    leader: str | None


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
        "p90_ms": _milliseconds(percentile(latencies, 0.90)),
        "p99_ms": _milliseconds(percentile(latencies, 0.99)),
        "p999_ms": _milliseconds(percentile(latencies, 0.999)),
        "connections": load.connections,
        "outstanding": load.outstanding,
        "value_size": load.value_size,
        "read_ratio": load.read_ratio,
        "client_cpu_s": round(window.client_cpu_s, 3),
        **_server_cpu_fields(window, ops),
    }


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of ``ordered`` does not exceed."""
    if not ordered:
        return None
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1]


def server_cpu(
    before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> dict[str, float] | None:
    """Return the CPU seconds each replica used between two askings, or None if one did not say.

    A process whose clock went back was started anew in between: what it used is not known.
    """
    used = {}
    for url, started in before.items():
        ended = after.get(url)
        if started is None or ended is None or ended < started:
            return None
        used[url] = ended - started
    return used


def _server_cpu_fields(window: Window, ops: int) -> dict[str, float | None]:
    used_s = window.server_cpu_s or {}
    led_s = used_s.get(window.leader or "")
    followed_s = [seconds for url, seconds in used_s.items() if url != window.leader]
    return {
        "srv_cpu_s_per_1000": _per_1000(sum(used_s.values()) if used_s else None, ops),
        "leader_cpu_s_per_1000": _per_1000(led_s, ops),
        "follower_cpu_s_per_1000": _per_1000(
            fmean(followed_s) if followed_s and led_s is not None else None, ops
        ),
    }


def _per_1000(seconds: float | None, ops: int) -> float | None:
    return round(seconds * 1000 / ops, 6) if seconds is not None and ops else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
