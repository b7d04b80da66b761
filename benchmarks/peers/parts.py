"""The parts of a run that are no loads: each adds what it finds of a system to the run's record."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers import failover, resident, restart
from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.measurement import RunRecord
from benchmarks.peers.plan import ENTRIES

KILLS = 2
"""Of a leader, in each round."""


def measure_failover(
    record: RunRecord, system: LifecycleSystem, number: int, directory: Path | None
) -> None:
    """Kill leaders; see ``failover``."""
    for gap in failover.measure(system, directory, KILLS):  # noted at once: the next kill may fail
        record["failover"].append({"system": system.name, "round": number, "gap_s": gap})


def measure_memory(
    record: RunRecord, system: LifecycleSystem, number: int, directory: Path | None
) -> None:
    """Look at memory after many writes; see ``resident``."""
    sizes = resident.measure(system, directory, ENTRIES)
    record["memory"].append(
        {
            "system": system.name,
            "round": number,
            "writes": ENTRIES,
            "rss_mib": sizes.rss_mib,
            "pss_mib": sizes.pss_mib,
        }
    )


def measure_restart(
    record: RunRecord, system: LifecycleSystem, number: int, directory: Path | None
) -> None:
    """Start a server again; see ``restart``."""
    times = restart.measure(system, directory, ENTRIES)
    record["restart"].append(
        {
            "system": system.name,
            "round": number,
            "entries": ENTRIES,
            "import_s": times.import_s,
            "ready_s": times.ready_s,
            "slots": times.slots,
        }
    )
