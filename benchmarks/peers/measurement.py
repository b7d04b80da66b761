"""What is asked of a system and what came out: plain values, no processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Operation = Literal["write", "read"]


@dataclass(frozen=True)
class Load:
    """A closed loop: an operation that ends is followed by the next at once.

    Attributes:
        operation: Writes of one key out of 1,000, or linearizable reads of such a key.
        outstanding: Operations under way at once, over all connections together.
        connections: Client connections; no more are opened than there are operations.
        value_size: Bytes.
        warmup_s: Seconds before the window that counts.
        duration_s: Seconds of that window.
    """

    operation: Operation
    outstanding: int
    connections: int
    value_size: int
    warmup_s: float
    duration_s: float


@dataclass(frozen=True)
class Measurement:
    """One window of one load on one system.

    Attributes:
        ops: Operations that succeeded inside the window.
        errors: Operations that did not.
        seconds: Length of the window.
        p50_ms: Median latency.
        p99_ms: Latency that 99 of 100 operations kept below.
        client_cores: CPU seconds per second that the load generator used.
        srv_cpu_s_per_1000: CPU seconds of the three servers together for 1,000 operations; None if
            they were not told apart from the client.
    """

    ops: int
    errors: int
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    client_cores: float
    srv_cpu_s_per_1000: float | None

    @property
    def ops_s(self) -> float:
        """Operations per second."""
        return self.ops / self.seconds


class Cluster(Protocol):
    """Three nodes that run."""

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""

    def measure(self, load: Load) -> Measurement:
        """Put a load on the cluster and wait for its end.

        Raises:
            ClusterFailed: The load did not run.
        """


class System(Protocol):
    """Something that can be measured: ours, or a peer."""

    name: str
    client: str

    def missing(self) -> list[str]:
        """Return what is not installed and how it is called; empty if it can be run."""

    def version(self) -> str:
        """Return the version that would run."""

    def cluster(self, parent: Path | None) -> AbstractContextManager[Cluster]:
        """Run three fresh nodes inside the context, warmed up, with data below ``parent``."""


@dataclass(frozen=True)
class Row:
    """A measurement with its place in the run.

    Attributes:
        system: Name of the system.
        client: What drove it.
        round: From 1.
        load: What was asked.
        measurement: What came out.
        other_cores: CPU seconds per second that nothing of ours used meanwhile.
        disturbed: Whether that was too much for the figure to be trusted.
    """

    system: str
    client: str
    round: int
    load: Load
    measurement: Measurement
    other_cores: float
    disturbed: bool


def as_json(row: Row) -> Mapping[str, Any]:
    """Return one flat object for a row."""
    one, load = row.measurement, row.load
    return {
        "system": row.system,
        "client": row.client,
        "round": row.round,
        "operation": load.operation,
        "outstanding": load.outstanding,
        "connections": min(load.connections, load.outstanding),
        "value_size": load.value_size,
        "ops": one.ops,
        "errors": one.errors,
        "seconds": round(one.seconds, 3),
        "ops_s": round(one.ops_s, 1),
        "p50_ms": one.p50_ms,
        "p99_ms": one.p99_ms,
        "client_cores": round(one.client_cores, 3),
        "srv_cpu_s_per_1000": one.srv_cpu_s_per_1000,
        "other_cores": round(row.other_cores, 3),
        "disturbed": row.disturbed,
    }
