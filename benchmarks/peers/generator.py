"""Runs a load generator that is a program of its own, and accounts for the servers meanwhile.

The generator prints ``measuring`` and ``done`` on standard error around its window, and one JSON
object on standard output: ``n, errors, secs, p50_ms, p99_ms, cli_cpu_s``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.peers.children import Children, ClusterFailed
from benchmarks.peers.machine import Usage
from benchmarks.peers.measurement import Measurement


def run_generator(owned: Children, command: Sequence[str], pids: Sequence[int]) -> Measurement:
    """Run one load to its end.

    Raises:
        ClusterFailed: It printed no result.
    """
    process = owned.talk(command)
    assert process.stderr is not None
    assert process.stdout is not None
    usage: Usage | None = None
    servers_s: float | None = None
    said: list[str] = []
    for line in map(str.strip, process.stderr):
        if line == "measuring":
            usage = Usage(pids)
        elif line == "done" and usage is not None:
            servers_s = usage.servers_s()
        else:
            said.append(line)
    result = process.stdout.read()
    process.wait()
    owned.end(process)
    if not result.strip() or servers_s is None:
        raise ClusterFailed(f"the load generator failed: {' | '.join(said[-5:])}")
    return measurement(json.loads(result), servers_s)


def measurement(result: dict[str, float], servers_s: float) -> Measurement:
    """Return what a generator printed, with the servers' CPU seconds of its window."""
    ops = int(result["n"])
    return Measurement(
        ops=ops,
        errors=int(result["errors"]),
        seconds=result["secs"],
        p50_ms=round(result["p50_ms"], 3) if ops else None,
        p99_ms=round(result["p99_ms"], 3) if ops else None,
        client_cores=result["cli_cpu_s"] / result["secs"],
        srv_cpu_s_per_1000=round(servers_s * 1000 / ops, 4) if ops else None,
    )
