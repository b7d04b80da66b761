"""How long no write completes when the leader is killed: the part ``failover``.

Writes arrive at 500 per second, whether or not earlier ones completed, at three clients that know
all three nodes. The leader is killed with SIGKILL, so that its connections close at once: a machine
that falls silent is another matter. All timeouts are each system's own. The figure is the longest
interval without a completed write, over all clients, that ends after the kill. Before the next kill
the killed node is back and level with the leader, and writes have gone on undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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


def measure(system: LifecycleSystem, directory: Path | None, kills: int) -> Iterator[float]:
    """Kill the leader of one cluster again and again.

    Args:
        system: Of which a fresh cluster is run.
        directory: Where it keeps data.
        kills: How many.

    Yields:
        For each kill, as soon as it is known, the longest interval without a completed write that
        ended after it, in seconds; ``RECOVERY_TIMEOUT_S`` if writes did not go on again.

    Raises:
        ClusterFailed: It did not start, or did not come back from a kill.
    """
    with system.fresh(directory) as cluster:
        for number in range(1, kills + 1):
            leader, gap = _kill_leader(cluster)
            say(f"{system.name}, kill {number} of {kills}: {_told(gap)}")
            yield RECOVERY_TIMEOUT_S if gap is None else gap
            if gap is None:
                raise ClusterFailed(f"kill {number} of {kills}: {_told(gap)}")
            cluster.start(leader)
            catch_up(cluster, leader, progress_of(cluster, leader_of(cluster)))


def _told(gap: float | None) -> str:
    if gap is None:
        return f"writes did not go on within {RECOVERY_TIMEOUT_S:.0f} s"
    return f"{gap:.3f} s"


def _kill_leader(cluster: Lifecycle) -> tuple[int, float | None]:
    """Kill the leader under load; return it, and the longest gap, or None if writes ended."""
    with cluster.arrivals(RATE) as completions:
        cluster.owned.wait_for(lambda: completions.times() or None, "completed write")
        time.sleep(CALM_S)
        cluster.owned.wait_for(lambda: is_calm(completions.times(), time.time()) or None, "calm")
        leader = leader_of(cluster)
        killed_at = time.time()
        cluster.kill(leader)
        recovered = _go_on_again(completions, killed_at)
        times = completions.times()
    return leader, longest_gap(times, killed_at) if recovered else None


def _go_on_again(completions: Completions, killed_at: float) -> bool:
    """Watch writes after a kill until they complete again all the time; whether they did.

    Raises:
        ClusterFailed: Nobody can tell: the program that has them arrive ended.
    """
    while time.time() < killed_at + RECOVERY_TIMEOUT_S:
        time.sleep(WATCHED_S)
        if completions.has_ended:
            raise ClusterFailed("the load ended after a kill")
        times = completions.times()
        if any(each > killed_at for each in times) and is_calm(times, time.time()):
            return True
    return False
