"""Records of runs that never took place: figures that are easy to reckon with."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.measurement import (
    Latency,
    Load,
    LoadRecord,
    Measurement,
    Operation,
    Row,
    RunRecord,
    as_record,
    server_cpu,
)


def load_record(
    system: str,
    ops_s: float,
    *,
    operation: Operation = "write",
    outstanding: int = 64,
    value_size: int = 64,
    number: int = 1,
    p50_ms: float = 1.0,
    servers_s: tuple[float, ...] = (2.0, 1.0, 1.0),
    client_cpu_s: float | None = 5.0,
    disturbed: bool = False,
) -> LoadRecord:
    """Return the record of one load over ten seconds, led by the first server."""
    ops = int(ops_s * 10)
    latency = Latency(p50_ms, p50_ms * 2, p50_ms * 3, p50_ms * 4)
    cpu = server_cpu(servers_s, 0, ops)
    measurement = Measurement(ops, 0, 10.0, latency, client_cpu_s, cpu)
    load = Load(operation, outstanding, 8, value_size, warmup_s=1.0, duration_s=10.0)
    other_cores = 0.9 if disturbed else 0.01
    return as_record(Row(system, "its own", number, load, measurement, other_cores, disturbed))


def load_records(system: str, ops_s: float, rounds: int = 3, **rest: Any) -> list[LoadRecord]:
    """Return the records of one load that was the same in each of some rounds."""
    return [load_record(system, ops_s, number=number + 1, **rest) for number in range(rounds)]


def run_record(*measurements: LoadRecord) -> RunRecord:
    """Return the record of a run that measured nothing but these loads."""
    systems = dict.fromkeys(row["system"] for row in measurements)
    return {
        "date": "2026-01-02",
        "rounds": max((row["round"] for row in measurements), default=1),
        "machine": {"processor": "abacus", "cores": 2},
        "versions": dict.fromkeys(systems, "1.0"),
        "missing": {},
        "left_out": {},
        "floors": [
            {"sync_ms": sync_ms, "round_trip_ms": 0.1, "replicated_ms": 0.7}
            for sync_ms in (0.3, 0.5)
        ],
        "measurements": list(measurements),
        "failover": [],
        "memory": [],
        "restart": [],
        "failures": [],
    }
