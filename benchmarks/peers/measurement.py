"""What is asked of a system and what came out: plain values, no processes.

``RunRecord`` is a run as it stands in a JSON file; tables, targets, plots and the page are made
from it alone, so that all of them can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypedDict

Operation = Literal["write", "read", "mixed"]

READ_SHARES: Mapping[Operation, float] = {"write": 0.0, "mixed": 0.5, "read": 1.0}


@dataclass(frozen=True)
class Load:
    """A closed loop: an operation that ends is followed by the next at once.

    Attributes:
        operation: Writes of one key out of 1,000, linearizable reads of such a key, or both by
            halves.
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

    @property
    def read_share(self) -> float:
        """Share of reads among the operations."""
        return READ_SHARES[self.operation]

    @property
    def text(self) -> str:
        """What a person reads of it."""
        return f"{self.operation} at {self.outstanding:,}, {self.value_size:,} bytes"


@dataclass(frozen=True)
class ServerCpu:
    """CPU seconds of the servers for 1,000 operations.

    Attributes:
        together: Of all three.
        leader: Of the leader.
        follower: Of one follower, on average.
    """

    together: float | None
    leader: float | None
    follower: float | None


UNKNOWN_CPU = ServerCpu(None, None, None)


def server_cpu(used_s: Sequence[float], leader: int, ops: int) -> ServerCpu:
    """Return what the servers used for 1,000 operations.

    Args:
        used_s: CPU seconds of each server while ``ops`` operations were done.
        leader: Which of them led.
        ops: How many; without any nothing is known.
    """
    if not ops:
        return UNKNOWN_CPU
    each = [seconds * 1000 / ops for seconds in used_s]
    followers = [cost for index, cost in enumerate(each) if index != leader]
    follower = sum(followers) / len(followers)
    return ServerCpu(round(sum(each), 6), round(each[leader], 6), round(follower, 6))


@dataclass(frozen=True)
class Latency:
    """Milliseconds that this share of the operations did not exceed; None if there were none."""

    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None


@dataclass(frozen=True)
class Measurement:
    """One window of one load on one system.

    Attributes:
        ops: Operations that succeeded inside the window.
        errors: Operations that did not.
        seconds: Length of the window.
        latency: Of those that succeeded.
        client_cpu_s: CPU seconds of the load generator; None if it runs inside a server.
        server_cpu: Of the servers.
    """

    ops: int
    errors: int
    seconds: float
    latency: Latency
    client_cpu_s: float | None
    server_cpu: ServerCpu

    @property
    def ops_s(self) -> float:
        """Operations per second."""
        return self.ops / self.seconds

    @property
    def client_cores(self) -> float | None:
        """CPU seconds per second that the load generator used."""
        return None if self.client_cpu_s is None else self.client_cpu_s / self.seconds

    @property
    def client_cpu_s_per_1000(self) -> float | None:
        """CPU seconds of the load generator for 1,000 operations."""
        if self.client_cpu_s is None or not self.ops:
            return None
        return self.client_cpu_s * 1000 / self.ops


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
    """Something that can be measured: ours, or a peer.

    Attributes:
        name: What tables call it.
        client: What drives it.
        leaves_out: Parts of a run that it has no share in, each with the reason.
    """

    name: str
    client: str
    leaves_out: Mapping[str, str]

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


class LoadRecord(TypedDict):
    """One row as one flat object; see ``Load``, ``Measurement`` and ``Row`` for the fields."""

    system: str
    client: str
    round: int
    operation: Operation
    outstanding: int
    connections: int
    value_size: int
    ops: int
    errors: int
    seconds: float
    ops_s: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    client_cores: float | None
    client_cpu_s_per_1000: float | None
    srv_cpu_s_per_1000: float | None
    leader_cpu_s_per_1000: float | None
    follower_cpu_s_per_1000: float | None
    other_cores: float
    disturbed: bool


class FailoverRecord(TypedDict):
    """One SIGKILL of a leader: ``gap_s`` is the time without an acknowledged write."""

    system: str
    round: int
    gap_s: float


class MemoryRecord(TypedDict):
    """What each server has resident after so many writes: as RSS, and as PSS.

    What servers share, which is their program above all, counts in full for each of them in the
    first, and in parts in the second.
    """

    system: str
    round: int
    writes: int
    rss_mib: list[float]
    pss_mib: list[float]


class RestartRecord(TypedDict):
    """A restart with so many entries in the log.

    ``ready_s`` is from exec until ready and caught up, ``import_s`` what loading the program takes
    of that. ``slots`` is how many slots of the log the entries took; None where each is one.
    """

    system: str
    round: int
    entries: int
    import_s: float
    ready_s: float
    slots: int | None


class FloorRecord(TypedDict):
    """What the machine asks of anyone, medians of a round; see ``floor``."""

    sync_ms: float
    round_trip_ms: float
    replicated_ms: float


class FailureRecord(TypedDict):
    """What was not measured because something went wrong: the load or part, and what was said."""

    system: str
    round: int
    part: str
    text: str


class RunRecord(TypedDict):
    """Everything about a run.

    ``missing`` has, by system, what is not installed; ``left_out``, by system and part, why it has
    no share in it. A part that was not measured is an empty list; what was measured before a
    failure stays beside it.
    """

    date: str
    rounds: int
    machine: dict[str, str | int]
    versions: dict[str, str]
    missing: dict[str, list[str]]
    left_out: dict[str, dict[str, str]]
    floors: list[FloorRecord]
    measurements: list[LoadRecord]
    failover: list[FailoverRecord]
    memory: list[MemoryRecord]
    restart: list[RestartRecord]
    failures: list[FailureRecord]


def as_record(row: Row) -> LoadRecord:
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
        "p50_ms": one.latency.p50_ms,
        "p90_ms": one.latency.p90_ms,
        "p99_ms": one.latency.p99_ms,
        "p999_ms": one.latency.p999_ms,
        "client_cores": _rounded(one.client_cores, 3),
        "client_cpu_s_per_1000": _rounded(one.client_cpu_s_per_1000, 6),
        "srv_cpu_s_per_1000": one.server_cpu.together,
        "leader_cpu_s_per_1000": one.server_cpu.leader,
        "follower_cpu_s_per_1000": one.server_cpu.follower,
        "other_cores": round(row.other_cores, 3),
        "disturbed": row.disturbed,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
