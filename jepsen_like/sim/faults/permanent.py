"""Faults that stay for ever: what becomes of the nodes outside the quorum that is healed."""

from __future__ import annotations

import random

from jepsen_like.sim.faults.site import Site, links_between
from jepsen_like.sim.network import Cut, Link
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.schedule import Episode

FATES = ("as it is", "down", "cut off", "deaf", "mute", "paused", "slow", "full", "flaky")
"""What a node outside is from now on. A deaf one is heard, a mute one hears."""

SLOWNESS = 100.0
"""How many times longer than usual a slow node's syncs take."""

SLOW_BYTES_PER_S = 3_000.0
FLAKY_LOSS = 0.5


def condemn(site: Site, rng: random.Random, node: SimNode, episode: Episode) -> None:
    """Give one node outside its fate. ``episode`` counts what a cut stops."""
    fate = rng.choice(FATES)
    number = node.voter.node
    others = [other for other in site.ids if other != number]
    if not node.up and not node.lost and fate not in ("as it is", "down"):
        node.mend()
    if site.world.tracing:
        site.world.say(f"nemesis: {node.voter} stays {fate} for ever")
    if fate == "down" and node.up:
        node.crash(power_cut=rng.random() < 0.5)
    elif fate == "cut off":
        site.network.cut(links_between([number], others), Cut("drop", episode))
    elif fate == "deaf":
        site.network.cut([(other, number) for other in others], Cut("drop", episode))
    elif fate == "mute":
        site.network.cut([(number, other) for other in others], Cut("drop", episode))
    elif fate == "paused" and node.up:
        node.pause()
    elif fate == "slow":
        node.slow = SLOWNESS
        links: list[Link] = links_between([number], others)
        site.network.slow(links, SLOW_BYTES_PER_S, episode)
    elif fate == "full":
        node.fill_disk(lambda: None)
    elif fate == "flaky":
        site.network.lose(number, FLAKY_LOSS)
