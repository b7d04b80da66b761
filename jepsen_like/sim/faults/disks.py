"""Faults of disks: syncs that fail or take long, no room, rotten bytes, a directory made anew."""

from __future__ import annotations

from jepsen_like.sim.faults.links import cut
from jepsen_like.sim.faults.site import Begin, Strike, Undo
from jepsen_like.sim.invariants import require
from jepsen_like.sim.log_disk import LogDisk

TOGETHER_SHARE = 0.5
"""How often all lose power when one disk rots."""

UNHEARD_TIMEOUTS = 0.5
"""For how many election timeouts a leader then hears of no vote before that, at most."""


def failed_sync(strike: Strike) -> Undo | None:
    """Let one node's next sync fail."""
    node = strike.leader_or_any()

    def failed() -> None:
        strike.effect("failed sync")

    node.sync_fails = failed

    def undo() -> None:
        if node.sync_fails is failed:
            node.spare_sync()
        strike.site.restart(node, node.life)

    return undo


def slow_sync(strike: Strike) -> Undo | None:
    """Let one node's syncs take long."""
    node = strike.leader_or_any()
    slowness = strike.rng.choice((10.0, 100.0))
    if node.slow != 1.0:
        return None
    node.slow = slowness
    strike.effect("slow sync")

    def undo() -> None:
        node.slow = 1.0

    return undo


def disk_full(strike: Strike) -> Undo | None:
    """Leave one node's disk no room."""
    node = strike.leader_or_any()
    if node.fills is not None:
        return None
    node.fill_disk(lambda: strike.effect("disk full"))
    return node.clear_disk


def bit_rot(strike: Strike) -> Undo | None:
    """Flip bits on the disk of a node that may be lost, and let it start from that."""
    if strike.rng.random() < TOGETHER_SHARE:
        return _rot_in_a_power_cut(strike)
    node = strike.rng.choice(strike.site.nodes)
    disk = node.disk
    if not isinstance(disk, LogDisk) or not strike.site.atlas.spend(node):
        return None
    strike.aim(node)
    if node.up:
        strike.stop([node], power_cut=strike.rng.random() < 0.5)
    strike.effect("bit rot", disk.rot(strike.rng))
    return lambda: strike.start_soon([node])


def _rot_in_a_power_cut(strike: Strike) -> Undo | None:
    """Let votes not reach the leader for a moment, then all lose power, and one disk rot.

    Nobody decides meanwhile what is forgotten: the next leader has to do with a node that does not
    know whether it voted in slots that are open.
    """
    site, rng = strike.site, strike.rng
    leader = strike.leader_or_any().voter.node
    unheard = cut(strike, [(other, leader) for other in site.ids if other != leader], "drop")
    node = rng.choice(site.nodes)
    strike.aim(node)

    def act() -> None:
        if not site.active:
            return
        unheard()
        disk = node.disk
        if not isinstance(disk, LogDisk) or not site.atlas.spend(node):
            return
        struck = [other for other in site.nodes if other.up]
        strike.stop(struck, power_cut=True)
        strike.effect("bit rot", disk.rot(rng))
        strike.start_soon(struck)

    site.world.after(rng.random() * UNHEARD_TIMEOUTS * site.plan.timing.election_timeout_s, act)

    def undo() -> None:
        unheard()
        strike.start_soon([node])

    return undo


def wiped_disk(strike: Strike) -> Undo | None:
    """Make the data directory of a node that may be lost anew, under the same id."""
    node = strike.rng.choice(strike.site.nodes)
    if not strike.site.atlas.spend(node):
        return None
    strike.aim(node)
    if node.up:
        strike.stop([node], power_cut=strike.rng.random() < 0.5)
    node.wipe(strike.rng.getrandbits(60))
    strike.effect("wiped disk")
    return lambda: strike.start_soon([node])


def second_process(strike: Strike) -> Undo | None:
    """Start a second process on the data directory of a node that runs."""
    node = strike.rng.choice(strike.site.nodes)
    strike.aim(node)
    if not node.up or not isinstance(node.disk, LogDisk):
        return None
    require(node.disk.refuses_second(), 14, "{}: two processes share a directory", node.voter)
    strike.effect("second process")
    return None


KINDS: dict[str, Begin] = {
    "failed sync": failed_sync,
    "slow sync": slow_sync,
    "disk full": disk_full,
    "bit rot": bit_rot,
    "wiped disk": wiped_disk,
    "second process": second_process,
}
