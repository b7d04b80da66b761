"""How soon a killed server is back: the part ``restart``.

A fresh cluster takes 100,000 writes of 64 bytes; then a server that does not lead is killed with
SIGKILL and started again, while nothing is written. The figure is the time from exec until it
serves and has applied what the leader has, beside the bare time it takes to load its program. Each
system keeps of its log what it keeps by default; ``report.READ_AGAIN`` says what. For a log of a
given length, and ours alone, see ``benchmarks.restart``.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.lifecycle import (
    NODES,
    LifecycleSystem,
    leader_of,
    progress_of,
    wait_caught_up,
)

OUTSTANDING = 256
STARTS = 5
"""Bare starts, of which the median counts: the first may read the program from disk."""

STEP_S = 0.01
"""How often a server is asked whether it is back."""


@dataclass(frozen=True, slots=True)
class RestartTimes:
    """What a restart took.

    Attributes:
        import_s: Seconds to load the program and do nothing with it.
        ready_s: From exec until it served and had applied what the leader had.
        slots: How many slots of the log held the entries; None where each was one of its own.
    """

    import_s: float
    ready_s: float
    slots: int | None


def measure(system: LifecycleSystem, directory: Path | None, entries: int) -> RestartTimes:
    """Kill and start again a server of a fresh cluster that holds so many entries.

    Raises:
        ClusterFailed: It did not start, a write was not done, or it did not come back.
    """
    with system.fresh(directory) as cluster:
        cluster.fill(entries, OUTSTANDING)
        leader = leader_of(cluster)
        goal = progress_of(cluster, leader)
        slots = cluster.slots(leader)
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
    return RestartTimes(round(import_s, 3), round(ready_s, 3), slots)


def _seconds(command: Sequence[str], directory: Path) -> float:
    began = time.perf_counter()
    ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if ended.returncode != 0:
        raise ClusterFailed(f"a bare start of {command[0]} failed: {ended.stderr.strip()[-300:]}")
    return seconds
