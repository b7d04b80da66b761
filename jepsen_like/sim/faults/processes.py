"""Faults of processes: they end, in the middle of a write or not, and they stand still."""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.sim.faults.site import Begin, Strike, Undo
from jepsen_like.sim.node import SimNode


def kill(strike: Strike) -> Undo | None:
    """Kill one node."""
    return _down(strike, [strike.leader_or_any()], power_cut=False)


def power_cut(strike: Strike) -> Undo | None:
    """Cut the power of one node, up to half of them."""
    nodes = strike.site.nodes
    count = strike.rng.randint(1, max(1, len(nodes) // 2))
    return _down(strike, strike.rng.sample(nodes, count), power_cut=True)


def kill_all(strike: Strike) -> Undo | None:
    """Kill every node, or cut the power of all."""
    return _down(strike, strike.site.nodes, power_cut=strike.rng.random() < 0.5)


def _down(strike: Strike, nodes: Sequence[SimNode], power_cut: bool) -> Undo | None:
    """Stop nodes: at once, or in the middle of the next write of one of them."""
    struck = [node for node in nodes if node.up]
    strike.aim(*struck)
    at_once = strike.rng.random() < 0.4
    if not struck:
        return None
    if at_once:
        return strike.stop(struck, power_cut)
    trigger = strike.rng.choice(struck)

    def act() -> None:
        if strike.site.active:
            strike.stop(struck, power_cut)

    def undo() -> None:
        if trigger.at_write is act:
            trigger.at_write = None
        strike.start_soon(struck)

    trigger.at_write = act
    return undo


def pause(strike: Strike) -> Undo | None:
    """Let one node stand still for a while."""
    node = strike.leader_or_any()
    if not node.up or node.paused:
        return None
    life = node.life
    node.pause()
    strike.effect("pause")

    def undo() -> None:
        if node.life == life:
            node.resume()

    return undo


KINDS: dict[str, Begin] = {
    "kill": kill,
    "power cut": power_cut,
    "kill all": kill_all,
    "pause": pause,
}
