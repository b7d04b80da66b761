"""The order of a run: every round has all systems, and no round has them in the order of the last.

A cluster lives for one round, since a log and a heap that grow make later loads differ. A load that
something else on the machine disturbed is measured once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peers.machine import Usage, wait_until_quiet
from benchmarks.peers.measurement import Cluster, Load, Row, System

DISTURBED_CORES = 0.2
"""What others may use, on average over a load, for its figure to count."""


def order(number: int, systems: Sequence[System]) -> list[System]:
    """Return the systems as round ``number`` measures them, beginning with another one each."""
    shift = (number - 1) % len(systems)
    return [*systems[shift:], *systems[:shift]]


def measure_system(
    number: int,
    system: System,
    loads: Sequence[Load],
    parent: Path | None,
    quiet_timeout_s: float,
) -> Iterator[Row]:
    """Measure all loads, one after another, on a fresh cluster of one system.

    Raises:
        ClusterFailed: It did not start, or a load did not run.
    """
    with system.cluster(parent) as cluster:
        for load in loads:
            yield _measure(number, system, cluster, load, quiet_timeout_s)


def _measure(
    number: int, system: System, cluster: Cluster, load: Load, quiet_timeout_s: float
) -> Row:
    """Measure one load; once more if it was disturbed, and return the less disturbed one."""
    first = _measure_once(number, system, cluster, load, quiet_timeout_s)
    if not first.disturbed:
        return first
    second = _measure_once(number, system, cluster, load, quiet_timeout_s)
    return min(first, second, key=lambda row: row.other_cores)


def _measure_once(
    number: int, system: System, cluster: Cluster, load: Load, quiet_timeout_s: float
) -> Row:
    wait_until_quiet(quiet_timeout_s)
    usage = Usage(cluster.pids)
    measurement = cluster.measure(load)
    other = usage.other_cores()
    return Row(
        system.name, system.client, number, load, measurement, other, other > DISTURBED_CORES
    )
