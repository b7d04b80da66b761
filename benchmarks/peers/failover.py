"""How long no write completes when the leader is killed: the part ``failover``.

Writes arrive at 500 per second, whether or not earlier ones completed, at three clients that know
all three nodes. The leader is killed with SIGKILL, so that its connections close at once: a machine
that falls silent is another matter. All timeouts are each system's own. The figure is the longest
interval without a completed write, over all clients, that ends after the kill. Before the next kill
the killed node is back and level with the leader, and writes have gone on undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.completions import Completions
from benchmarks.peers.lifecycle import Lifecycle, LifecycleSystem, leader_of, progress_of
from benchmarks.peers.lifecycle import wait_caught_up as catch_up
from benchmarks.peers.progress import say

RATE = 500
CALM_S = 4.0
"""Writes go on for so long before a kill, and complete."""

WATCHED_S = 4.0
"""Writes are watched for so long after a kill, and for as long again as none has completed."""

CALM_GAP_S = 0.5
"""A second without a longer pause counts as calm."""

RECOVERY_TIMEOUT_S = 60.0


def longest_gap(times: Sequence[float], killed_at: float) -> float | None:
    """Return the longest interval between two completions that ends after the kill, in seconds.

    Args:
        times: When writes completed, in any order.
        killed_at: On the same clock.

    Returns:
        None if nothing completed after the kill, or nothing before it.
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in pairwise(ordered) if later > killed_at]
    if not gaps or ordered[0] > killed_at:
        return None
    return round(max(gaps), 4)


def is_calm(times: Sequence[float], now: float) -> bool:
    """Whether writes have completed all through the last second, as of ``now``."""
    recent = sorted(each for each in times if each > now - 1.0)
    ends = [now - 1.0, *recent, now]
    return all(later - earlier < CALM_GAP_S for earlier, later in pairwise(ends))


def measure(system: LifecycleSystem, directory: Path | None, kills: int) -> list[float]:
    """Kill the leader of one cluster again and again.

    Args:
        system: Of which a fresh cluster is run.
        directory: Where it keeps data.
        kills: How many.

    Returns:
        For each kill, the longest interval without a completed write that ended after it, in
        seconds.

    Raises:
        ClusterFailed: It did not start, or did not come back from a kill.
    """
    gaps = []
    with system.fresh(directory) as cluster:
        for number in range(1, kills + 1):
            gaps.append(_kill_leader(cluster))
            say(f"{system.name}, kill {number} of {kills}: {gaps[-1]:.3f} s")
    return gaps


def _kill_leader(cluster: Lifecycle) -> float:
    """Kill the leader under load, then bring it back; return the longest gap."""
    with cluster.arrivals(RATE) as completions:
        cluster.owned.wait_for(lambda: completions.times() or None, "completed write")
        time.sleep(CALM_S)
        cluster.owned.wait_for(lambda: is_calm(completions.times(), time.time()) or None, "calm")
        leader = leader_of(cluster)
        killed_at = time.time()
        cluster.kill(leader)
        _wait_for_writes(completions, killed_at)
        gap = longest_gap(completions.times(), killed_at)
    assert gap is not None
    cluster.start(leader)
    catch_up(cluster, leader, progress_of(cluster, leader_of(cluster)))
    return gap


def _wait_for_writes(completions: Completions, killed_at: float) -> None:
    """Wait until writes have been watched, and complete again.

    Raises:
        ClusterFailed: None has completed in time.
    """
    while time.time() < killed_at + RECOVERY_TIMEOUT_S:
        time.sleep(WATCHED_S)
        if any(each > killed_at for each in completions.times()) and is_calm(
            completions.times(), time.time()
        ):
            return
    raise ClusterFailed(f"no write completed within {RECOVERY_TIMEOUT_S:.0f} s after the kill")
