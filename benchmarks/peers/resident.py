"""The memory of each server after many writes: the part ``memory``.

A fresh cluster, 100,000 writes of 64 bytes to 1,000 keys at 256 outstanding, two seconds of rest.
The figures are the resident set size of each server process (RSS), which is what is judged, and
its proportional set size (PSS), in which each has its part of what several share: the program above
all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.machine import pss_mib, rss_mib

OUTSTANDING = 256
REST_S = 2.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """MiB of each server, counted in both ways."""

    rss_mib: list[float]
    pss_mib: list[float]


def measure(system: LifecycleSystem, directory: Path | None, writes: int) -> Sizes:
    """Return the memory of each server of a fresh cluster after so many writes.

    Raises:
        ClusterFailed: It did not start, or a write was not done.
    """
    with system.fresh(directory) as cluster:
        cluster.fill(writes, OUTSTANDING)
        time.sleep(REST_S)
        rss, pss = ([round(size(pid), 1) for pid in cluster.pids] for size in (rss_mib, pss_mib))
    return Sizes(rss, pss)
