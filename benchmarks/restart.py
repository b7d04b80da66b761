"""How soon a replica answers again whose whole log must be applied: no snapshot, many commands.

``python -m benchmarks.restart [--commands N] [--json FILE]``: 1,000,000 commands of 100 bytes in
batches of 100, which is asked to take less than 5 s from exec to the ready line. The log is written
by the product's storage, as clients would have left it; the node is ``paxos serve``, one of three,
and the only one that runs. Each round starts the same log again. CPU time is told beside the
wall's, because only the first stays as it is on a machine that others use; and beside that, the
floor: what the state machine alone takes for the same commands, with no log and no replica.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cluster import NEVER, Cluster, founded, load_average, write_figures
from benchmarks.log_of_commands import KEYS, STAMP_US, puts_of, write_log
from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.machine import cpu_s, description, wait_until_quiet
from benchmarks.peers.ours import PAXOS
from benchmarks.peers.progress import say
from paxos.core.state_machine import Stamp
from statemachines.edge_config import EdgeConfig

NODE = 1
TARGET_S = 5.0


@dataclass(frozen=True, slots=True)
class Restart:
    """What the rounds took.

    Attributes:
        commands, batch, value_bytes: What was in the log.
        log_mb: The size of its files.
        ready_s: From exec to the ready line, each round.
        cpu_s: CPU seconds of the process until then, each round.
        machine_cpu_s: CPU seconds of the state machine alone, each round.
        load: Processes that wanted to run, on average, before each round.
    """

    commands: int
    batch: int
    value_bytes: int
    log_mb: float
    ready_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    machine_cpu_s: tuple[float, ...]
    load: tuple[float, ...]


def measure(cluster: Cluster, commands: int, batch: int, value_bytes: int, rounds: int) -> Restart:
    """Write a log and start a node on it, again and again."""
    write_log(cluster.config, NODE, commands, batch, value_bytes)
    files = (cluster.directory / "node-1").rglob("*")
    log_mb = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    times: list[tuple[float, float]] = []
    alone: list[float] = []
    loads: list[float] = []
    for _ in range(rounds):
        wait_until_quiet(5.0)
        loads.append(load_average())
        times.append(_start(cluster, slots=commands // batch + 1))
        alone.append(_machine_alone(commands, batch, value_bytes))
    return Restart(
        commands=commands,
        batch=batch,
        value_bytes=value_bytes,
        log_mb=round(log_mb, 1),
        ready_s=tuple(round(ready, 2) for ready, _ in times),
        cpu_s=tuple(round(cpu, 2) for _, cpu in times),
        machine_cpu_s=tuple(round(cpu, 2) for cpu in alone),
        load=tuple(loads),
    )


def _start(cluster: Cluster, slots: int) -> tuple[float, float]:
    """Return the seconds until the node was ready, and its CPU seconds."""
    words = [
        "serve",
        "--config",
        str(cluster.config),
        "--node",
        str(NODE),
        "--log-level",
        "warning",
    ]
    began = time.perf_counter()
    process = subprocess.Popen([*PAXOS, *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready, used = time.perf_counter() - began, cpu_s(process.pid)
        if not line or json.loads(line)["applied_through"] != slots:
            raise ClusterFailed(f"the node did not apply {slots} slots: {line!r}")
        return ready, used
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _machine_alone(commands: int, batch: int, value_bytes: int) -> float:
    """Return the CPU seconds in which a fresh state machine applies so many commands."""
    apply = EdgeConfig().apply
    puts = puts_of(value_bytes)
    began = time.process_time()
    for number in range(commands):
        slot, position = divmod(number, batch)
        apply(puts[number % KEYS], Stamp(slot + 1, position, STAMP_US))
    return time.process_time() - began


def report(result: Restart) -> str:
    """Return the figures as a table."""
    ready, cpu = median(result.ready_s), median(result.cpu_s)
    per_command_us = cpu / result.commands * 1e6
    return "\n".join(
        (
            (
                "| commands | in batches of | bytes | log MB | exec to ready s | CPU s"
                " | of the state machine alone | asked for |"
            ),
            "|---|---|---|---|---|---|---|---|",
            (
                f"| {result.commands:,} | {result.batch} | {result.value_bytes} | {result.log_mb:,}"
                f" | {ready} ({min(result.ready_s)} to {max(result.ready_s)})"
                f" | {cpu} ({per_command_us:.1f} µs each) | {median(result.machine_cpu_s)}"
                f" | under {TARGET_S:g} s for 1,000,000 |"
            ),
            "",
            f"load average before each round: {', '.join(map(str, result.load))}",
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=100, help="commands in a slot")
    parser.add_argument("--value-size", type=int, default=100, help="bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.batch % 4 or options.commands % options.batch:
        parser.error("--batch must be a multiple of 4, and --commands one of --batch")
    settings: dict[str, float] = {"snapshot_log_bytes": NEVER, "snapshot_entries": NEVER}
    with founded("restart", 3, options.directory, settings) as cluster:
        say("writing the log")
        result = measure(
            cluster, options.commands, options.batch, options.value_size, options.rounds
        )
        machine = description(cluster.directory)
    print(report(result))
    if options.json is not None:
        write_figures(options.json, machine, result)


if __name__ == "__main__":
    main()
