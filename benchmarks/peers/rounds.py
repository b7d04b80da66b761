"""The order of a run: every round has all systems, and no round has them in the order of the last.

A cluster that is put under load lives for one round, since a log and a heap that grow make later
loads differ. A load that something else on the machine disturbed is measured once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.machine import Usage, wait_until_quiet
from benchmarks.peers.measurement import Cluster, Load, Row, RunRecord, System
from benchmarks.peers.plan import VALUE_SIZE

AnySystem = TypeVar("AnySystem", bound=System)

DISTURBED_CORES = 0.2
"""What others may use, on average over a load, for its figure to count."""

FILL = Load("write", 64, 8, VALUE_SIZE, warmup_s=0.5, duration_s=1.0)
"""Writes in front of reads, where no other load has written the keys."""


@dataclass(frozen=True)
class ClusterPart:
    """A part of a run that is no load: it starts clusters of its own, and may kill their nodes.

    Attributes:
        measure: Adds what it finds of a system, in a round, to the record of the run; data goes
            below the directory. Raises ``ClusterFailed``.
        estimate_s: About how long that takes.
        rounds_max: Only the first rounds have it, so many.
    """

    measure: Callable[[RunRecord, LifecycleSystem, int, Path | None], None]
    estimate_s: float
    rounds_max: int


def order(number: int, systems: Sequence[AnySystem]) -> list[AnySystem]:
    """Return the systems as round ``number`` measures them.

    Rounds begin with another one each, and every second goes the other way round: so that none is
    always measured behind the same neighbour.
    """
    shift = (number - 1) % len(systems)
    ways = systems if number % 2 else systems[::-1]
    return [*ways[shift:], *ways[:shift]]


def measure_loads(
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
        if loads[0].operation != "write":
            cluster.measure(FILL)
        for load in loads:
            try:
                row = _measure(number, system, cluster, load, quiet_timeout_s)
            except Exception as error:
                error.add_note(load.text)
                raise
            yield row


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
