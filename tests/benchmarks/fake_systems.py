"""A system that starts no process and does every load at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.generator import measurement
from benchmarks.peers.lifecycle import Lifecycle
from benchmarks.peers.measurement import Cluster, Load, Measurement


class FakeCluster:
    """Does every load at once."""

    pids: list[int]

    def __init__(self) -> None:
        self.pids = []
        self.loads: list[Load] = []

    def measure(self, load: Load) -> Measurement:
        self.loads.append(load)
        printed = {"n": 10, "errors": 0, "secs": 2.0, "cli_cpu_s": 0.5}
        latencies = {"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "p999_ms": 4.0}
        return measurement({**printed, **latencies}, [0.3, 0.1, 0.2], leader=0)


class FakeSystem:
    """Has one cluster, and says which parts it leaves out."""

    client = "none"

    def __init__(self, name: str = "fake", **leaves_out: str) -> None:
        self.name = name
        self.leaves_out: Mapping[str, str] = leaves_out
        self.served = FakeCluster()

    def missing(self) -> list[str]:
        return []

    def version(self) -> str:
        return "0"

    def cluster(self, parent: Path | None) -> AbstractContextManager[Cluster]:
        return nullcontext(self.served)

    def fresh(self, parent: Path | None) -> AbstractContextManager[Lifecycle]:
        raise ClusterFailed("it has no processes")
