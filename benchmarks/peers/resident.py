"""The memory of each server after many writes: ``python -m benchmarks.peers.resident``.

A fresh cluster, 100,000 writes of 64 bytes to 1,000 keys at 256 outstanding, two seconds of rest.
The figure is the proportional set size of each server process, the same for every system: what it
alone holds, and of what several processes share (the program itself, above all) its part.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.lifecycle_command import conclude, lifecycle_options, measure_systems
from benchmarks.peers.machine import resident_mib

OUTSTANDING = 256
REST_S = 2.0


def measure(system: LifecycleSystem, directory: Path | None, writes: int) -> list[float]:
    """Return the MiB of each server of a fresh cluster after so many writes.

    Raises:
        ClusterFailed: It did not start, or a write was not done.
    """
    with system.fresh(directory) as cluster:
        cluster.fill(writes, OUTSTANDING)
        time.sleep(REST_S)
        return [round(resident_mib(pid), 1) for pid in cluster.pids]


def table(figures: dict[str, list[float]], writes: int) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| system | MiB per server after {writes:,} writes | sum |", "|---|---|---|"]
    lines += [
        f"| {name} | {', '.join(f'{each:.1f}' for each in sizes)} | {sum(sizes):.1f} |"
        for name, sizes in figures.items()
    ]
    return lines


@click.command(context_settings={"show_default": True})
@lifecycle_options
@click.option("--writes", default=100_000, type=click.IntRange(1), help="Before the look.")
def main(
    *, names: tuple[str, ...], directory: Path | None, json_file: Path | None, writes: int
) -> None:
    """Measure the memory of each server after many writes."""
    results = measure_systems(
        names, directory, lambda system, place: measure(system, place, writes)
    )
    conclude(results, table(results.figures, writes), json_file, directory)


if __name__ == "__main__":
    main()
