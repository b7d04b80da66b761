"""The memory of each server after many writes: the part ``memory``.

A fresh cluster, 100,000 writes of 64 bytes to 1,000 keys at 256 outstanding, two seconds of rest.
The figure is the proportional set size of each server process, the same for every system: what it
alone holds, and of what several processes share (the program itself, above all) its part.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.peers.lifecycle import LifecycleSystem
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
