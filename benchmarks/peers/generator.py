"""Runs a load generator that is a program of its own, and accounts for the servers meanwhile.

The generator prints ``measuring`` and ``done`` on standard error around its window, and one JSON
object on standard output: ``n, errors, secs, p50_ms, p90_ms, p99_ms, p999_ms, cli_cpu_s``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from benchmarks.peers.children import Children, ClusterFailed
from benchmarks.peers.machine import Usage
from benchmarks.peers.measurement import Latency, Measurement, server_cpu


def run_generator(
    owned: Children, command: Sequence[str], pids: Sequence[int], leader: int
) -> Measurement:
    """Run one load to its end.

    Args:
        owned: Where it runs.
        command: The program and its arguments.
        pids: The servers' process ids.
        leader: Which of these leads.

    Raises:
        ClusterFailed: It printed no result.
    """
    process = owned.talk(command)
    assert process.stderr is not None
    assert process.stdout is not None
    usage: Usage | None = None
    servers_s: list[float] | None = None
    said: list[str] = []
    for line in map(str.strip, process.stderr):
        if line == "measuring":
            usage = Usage(pids)
        elif line == "done" and usage is not None:
            servers_s = usage.each_server_s()
        else:
            said.append(line)
    result = process.stdout.read()
    process.wait()
    owned.end(process)
    if not result.strip() or servers_s is None:
        raise ClusterFailed(f"the load generator failed: {' | '.join(said[-5:])}")
    return measurement(json.loads(result), servers_s, leader)


def measurement(
    result: Mapping[str, float], servers_s: Sequence[float], leader: int
) -> Measurement:
    """Return what a generator printed, with each server's CPU seconds of its window."""
    ops = int(result["n"])

    def milliseconds(name: str) -> float | None:
        return round(result[name], 3) if ops else None

    return Measurement(
        ops=ops,
        errors=int(result["errors"]),
        seconds=result["secs"],
        latency=Latency(*map(milliseconds, ("p50_ms", "p90_ms", "p99_ms", "p999_ms"))),
        client_cpu_s=result.get("cli_cpu_s"),
        server_cpu=server_cpu(servers_s, leader, ops),
    )
