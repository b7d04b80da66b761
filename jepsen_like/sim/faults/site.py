"""Where faults strike: the parts of a cluster that a fault may touch, and how spells take hold.

It knows nodes, links, clocks and clients, and nothing of the protocol but who seems to lead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from jepsen_like.sim.administrator import Administrator
from jepsen_like.sim.atlas import Atlas
from jepsen_like.sim.caller import Caller
from jepsen_like.sim.network import Link, Network
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.schedule import Episode
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World

Undo = Callable[[], None]
Begin = Callable[["Strike"], Undo | None]
"""Begins a spell. Returns what ends it, or None if there is nothing to end."""


class Site:
    """What faults act upon.

    Args:
        world: Time, and the counts of effects.
        network: What they cut.
        nodes: What they stop, in order of id.
        callers: Whom they cut off; may be empty.
        atlas: What they may break for ever.
        administrator: Who is told what to do; None if nobody is there.

    Attributes:
        active: Whether faults still strike.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        nodes: Sequence[SimNode],
        callers: Sequence[Caller],
        atlas: Atlas,
        administrator: Administrator | None = None,
    ) -> None:
        self.world = world
        self.plan = world.plan
        self.network = network
        self.nodes = nodes
        self.callers = callers
        self.atlas = atlas
        self.administrator = administrator
        self.active = True

    @property
    def ids(self) -> list[int]:
        """The nodes' ids, in order."""
        return [node.voter.node for node in self.nodes]

    def leaders(self) -> list[SimNode]:
        """The nodes that lead, as far as they know."""
        return [node for node in self.nodes if node.leading]

    def restart(self, node: SimNode, life: int) -> None:
        """Start a node, unless it was started since, or faults are over."""
        if self.active and not node.up and node.life == life:
            node.start()


class Strike:
    """One spell at work: its own chance, and the account of what it changes.

    Attributes:
        site: Where.
        episode: The account.
        rng: Every choice of this spell, and of nothing else.
    """

    def __init__(self, site: Site, episode: Episode) -> None:
        self.site = site
        self.episode = episode
        self.rng: random.Random = stream(episode.spell.seed, episode.spell.kind)

    def effect(self, name: str, count: int = 1) -> None:
        """Note that something changed because of this spell."""
        self.site.world.effects[name] += count
        self.episode.effects += count

    def aim(self, *nodes: SimNode) -> None:
        """Note whom this spell strikes."""
        self.episode.target = " ".join(str(node.voter) for node in nodes)

    def leader_or_any(self) -> SimNode:
        """Return a leader, mostly, or any node; it is the target."""
        leaders = self.site.leaders()
        drawn = self.rng.random()
        node = self.rng.choice(leaders if leaders and drawn < 0.7 else self.site.nodes)
        self.aim(node)
        return node

    def stop(self, nodes: Sequence[SimNode], power_cut: bool) -> Undo:
        """Stop nodes now, in whatever they do. What is returned starts them again."""
        world = self.site.world
        struck = [node for node in nodes if node.up]
        for node in struck:
            self.effect("kill")
            world.effects["lost writes"] += node.crash(power_cut)
        if self.rng.random() < 0.3:  # they have a supervisor
            self.start_soon(struck)
        return lambda: self.start_soon(struck)

    def start_soon(self, nodes: Sequence[SimNode]) -> None:
        """Start nodes again, one after another."""
        world = self.site.world
        for node in nodes:
            world.after(self.rng.random() * 0.2, self.site.restart, node, node.life)


def all_links(ids: Sequence[int]) -> list[Link]:
    """Return every link among nodes."""
    return [(a, b) for a in ids for b in ids if a != b]


def links_between(left: Sequence[int], right: Sequence[int]) -> list[Link]:
    """Return every link between two groups, both ways."""
    return [link for a in left for b in right for link in ((a, b), (b, a))]
