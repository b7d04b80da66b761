"""How soon a killed server is back: ``python -m benchmarks.peers.restart``.

A fresh cluster takes 100,000 writes of 64 bytes; then a server that does not lead is killed with
SIGKILL and started again, while nothing is written. The figure is the time from exec until it
serves and has applied what the leader has, beside the bare time it takes to load its program. Each
system keeps of its log what it keeps by default: see ``KEPT``. For a log of a given length, and
ours alone, see ``benchmarks.restart``.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click

from benchmarks.peers.lifecycle import (
    NODES,
    LifecycleSystem,
    leader_of,
    progress_of,
    wait_caught_up,
)
from benchmarks.peers.lifecycle_command import Results, conclude, lifecycle_options, measure_systems

OUTSTANDING = 256
STARTS = 5
"""Bare starts, of which the median counts: the first may read the program from disk."""

STEP_S = 0.01
"""How often a server is asked whether it is back."""

KEPT = {
    "ours": "a snapshot is due every 100,000 slots or 32 MiB: all commands are applied",
    "ours-minimal": "as ours",
    "etcd": "its state is in a file beside the log; a snapshot is due every 100,000 entries",
    "zookeeper": "a snapshot is due every 50,000 to 100,000 entries: the rest is applied",
    "pysyncobj-journal": "its dictionary is dumped every few thousand entries: the rest is applied",
}
"""What of 100,000 writes is read again at a start, by system."""


@dataclass(frozen=True, slots=True)
class RestartTimes:
    """What a restart took.

    Attributes:
        import_s: Seconds to load the program and do nothing with it.
        ready_s: From exec until it served and had applied what the leader had.
    """

    import_s: float
    ready_s: float


def measure(system: LifecycleSystem, directory: Path | None, entries: int) -> RestartTimes:
    """Kill and start again a server of a fresh cluster that holds so many entries.

    Raises:
        ClusterFailed: It did not start, a write was not done, or it did not come back.
    """
    with system.fresh(directory) as cluster:
        cluster.fill(entries, OUTSTANDING)
        leader = leader_of(cluster)
        goal = progress_of(cluster, leader)
        node = (leader + 1) % NODES
        wait_caught_up(cluster, node, goal)
        cluster.kill(node)
        import_s = median(
            _seconds(cluster.bare_start(), cluster.owned.directory) for _ in range(STARTS)
        )
        began = time.perf_counter()
        cluster.start(node)
        wait_caught_up(cluster, node, goal, STEP_S)
        ready_s = time.perf_counter() - began
    return RestartTimes(import_s=round(import_s, 3), ready_s=round(ready_s, 3))


def _seconds(command: Sequence[str], directory: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=directory, capture_output=True, check=True)
    return time.perf_counter() - began


def table(figures: dict[str, RestartTimes]) -> list[str]:
    """Return the lines of a table."""
    lines = [
        "| system | exec to caught up s | of it, bare start s | what is read again |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {times.ready_s:.2f} | {times.import_s:.2f} | {KEPT[name]} |"
        for name, times in figures.items()
    ]
    return lines


@click.command(context_settings={"show_default": True})
@lifecycle_options
@click.option("--entries", default=100_000, type=click.IntRange(1), help="Writes before the kill.")
def main(
    *, names: tuple[str, ...], directory: Path | None, json_file: Path | None, entries: int
) -> None:
    """Measure how soon a killed server is back."""
    results = measure_systems(
        names, directory, lambda system, place: measure(system, place, entries)
    )
    lines = table(results.figures)
    plain = {name: asdict(times) for name, times in results.figures.items()}
    conclude(Results(plain, results.versions, results.left_out), lines, json_file, directory)


if __name__ == "__main__":
    main()
