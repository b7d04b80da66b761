"""Every bound and every duration of the core, with its default and its reason.

Over a bound the caller gets a clear refusal, never a growing queue.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.errors import ConfigurationInvalid


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds. Sizes are in bytes.

    Attributes:
        command_bytes_max: One command. Larger ones are refused at the gate.
        submission_bytes_max: One client frame of commands. Leaves room for what an Accept adds.
        batch_bytes_max: One batch closes when the next submission would exceed it.
        pending_bytes_max: Submissions a leader holds that are not yet in a slot; then Overloaded.
        promise_bytes_max: Values in one part of a Promise, and in one Decided.
        sessions_max: Sessions in the replicated table; the least recently used one goes first.
            Replicated: equal on every node of a cluster.
        session_requests_max: Requests of one session above what its client has acknowledged.
            Replicated: equal on every node of a cluster.
        reads_max: Reads that wait for a barrier or a slot, per client connection.
        watches_max: Watches that wait, per client connection.
        routes_max: Sessions whose results one client connection waits for.
        snapshot_log_bytes: A snapshot is due whenever the log has grown by so many bytes.
            Replicated, so that replicas have snapshots of the same slots.
        snapshot_entries: The same in slots. Replicated.
        kept_entries: Slots below the latest snapshot that stay in the log, for peers that are a
            little behind; at most.
        kept_bytes: The same in bytes.
        snapshot_chunk_bytes: One piece of a snapshot on its way to a peer.
    """

    command_bytes_max: int = 2 * 1024 * 1024
    submission_bytes_max: int = 4 * 1024 * 1024
    batch_bytes_max: int = 1024 * 1024
    pending_bytes_max: int = 64 * 1024 * 1024
    promise_bytes_max: int = 1024 * 1024
    sessions_max: int = 10_000
    session_requests_max: int = 10_000
    reads_max: int = 10_000
    watches_max: int = 1_000
    routes_max: int = 8
    snapshot_log_bytes: int = 8 * 1024 * 1024
    snapshot_entries: int = 100_000
    kept_entries: int = 10_000
    kept_bytes: int = 8 * 1024 * 1024
    snapshot_chunk_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.snapshot_log_bytes, self.snapshot_entries, self.snapshot_chunk_bytes) < 1:
            raise ConfigurationInvalid(
                "snapshot_log_bytes, snapshot_entries and snapshot_chunk_bytes must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds.

    Attributes:
        heartbeat_interval_s: Between two heartbeats of a node.
        election_timeout_s: Without a connected leader for this long (and up to as long again, at
            random) a node may campaign. Well above the slowest sync and round trip.
        resend_interval_s: An unanswered Prepare or Accept is sent again after this long.
        notice_interval_s: A decided slot is told to followers this late when nothing else leaves.
    """

    heartbeat_interval_s: float = 0.1
    election_timeout_s: float = 0.5
    resend_interval_s: float = 0.2
    notice_interval_s: float = 0.02

    def __post_init__(self) -> None:
        durations = (
            self.heartbeat_interval_s,
            self.election_timeout_s,
            self.resend_interval_s,
            self.notice_interval_s,
        )
        if not all(0 < duration < 3600 for duration in durations):
            raise ConfigurationInvalid("every duration must be above 0 and below an hour")
        if self.election_timeout_s < 2 * self.heartbeat_interval_s:
            raise ConfigurationInvalid(
                f"election_timeout_s ({self.election_timeout_s}) must be at least twice"
                f" heartbeat_interval_s ({self.heartbeat_interval_s}), or one lost heartbeat"
                " looks like a dead leader"
            )


DEFAULT_LIMITS = Limits()
DEFAULT_TIMING = Timing()
