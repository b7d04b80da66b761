"""Faults of links: cut, slow, lossy, narrow.

A cut counts when connections broke, or something that was sent was withheld; bad weather when
something was late or lost by it. A link on which nobody speaks has no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from jepsen_like.live.network import FAIR, Cut, Link, Party, Weather, node_party
from jepsen_like.live.shapes import SHAPES, between
from jepsen_like.live.spells import Spell, Stage, named
from paxos.core.ids import NodeId


@dataclass(frozen=True, slots=True)
class Partition:
    """Cuts links between nodes, in one of the shapes; and some clients' links with them."""

    shape: str = "halves"
    how: Cut = "hold"
    clients: bool = False
    kind: ClassVar[str] = "partition"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        cluster = stage.cluster
        nodes = [node_party(node) for node in cluster.nodes]
        leading = await cluster.leader()
        leader = None if leading is None else node_party(leading)
        links = SHAPES[self.shape](nodes, leader, stage.rng)
        if not links:
            return None
        target = f"{self.shape}, {self.how}: {_told(links)}"
        return await _cut(
            stage, self.kind, links + self._of_clients(stage), self.how, target, leader
        )

    def _of_clients(self, stage: Stage) -> list[Link]:
        """Return links of clients: each place reaches some of the nodes only."""
        if not self.clients:
            return []
        nodes = [node_party(node) for node in stage.cluster.nodes]
        lost = {site: stage.rng.sample(nodes, len(nodes) // 2) for site in stage.cluster.sites}
        return [link for site, nodes in lost.items() for link in between([site], nodes)]


@dataclass(frozen=True, slots=True)
class ClientCut:
    """Cuts the links between one place that clients connect from and some of the nodes."""

    how: Cut = "hold"
    kind: ClassVar[str] = "client-cut"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        cluster = stage.cluster
        leading = await cluster.leader()
        nodes = [node_party(node) for node in cluster.nodes]
        site = stage.rng.choice(cluster.sites)
        lost = stage.rng.sample(nodes, stage.rng.randint(1, len(nodes)))
        if leading is not None and node_party(leading) not in lost:
            # Most clients talk to the leader alone: other cuts are seldom felt.
            lost[0] = node_party(leading)
        links = between([site], lost)
        leader = None if leading is None else node_party(leading)
        target = f"{self.how}: {site} from {', '.join(lost)}"
        return await _cut(stage, self.kind, links, self.how, target, leader)


async def _cut(
    stage: Stage, kind: str, links: Sequence[Link], how: Cut, target: str, leader: Party | None
) -> Spell:
    network = stage.cluster.network
    spell = Spell(kind, target, (), any(leader in link for link in links))
    await stage.strike_under_load(spell)
    before = network.seen(links)
    network.cut(links, how)

    async def end() -> None:
        now = network.seen(links)
        spell.effects = int(now.withheld > before.withheld or now.broken > before.broken)
        network.mend(links, how)
        await trio.lowlevel.checkpoint()

    spell.end = end
    return spell


def _told(links: Sequence[Link]) -> str:
    """Return a short text for links: those that are cut both ways once, with a bar."""
    cut = dict.fromkeys(links)
    texts = []
    for link in cut:
        back = Link(link.to, link.sender)
        if back not in cut:
            texts.append(str(link))
        elif link < back:
            texts.append(f"{link.sender}|{link.to}")
    return " ".join(texts)


@dataclass(frozen=True, slots=True)
class BadWeather:
    """Makes links slow, lossy or narrow: those of one node, or all between nodes."""

    kind: str
    weather: Weather
    target: Literal["leader", "any", "all"] = "all"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        network, cluster = stage.cluster.network, stage.cluster
        nodes = [node_party(node) for node in cluster.nodes]
        chosen: list[NodeId] = list(cluster.nodes)
        leader = None
        if self.target != "all":
            chosen, leader = await stage.choose(self.target)
        links = [
            Link(a, b)
            for a in nodes
            for b in nodes
            if a != b and {a, b} & {node_party(node) for node in chosen}
        ]
        if not links:
            return None
        on_leader = self.target == "all" or leader in chosen
        spell = Spell(self.kind, f"links of {named(chosen)}", tuple(chosen), on_leader)
        before = network.seen(links)
        await stage.strike_under_load(spell)
        network.set_weather(links, self.weather)

        async def end() -> None:
            spell.effects = int(network.seen(links).disturbed > before.disturbed)
            network.set_weather(links, FAIR)
            await trio.lowlevel.checkpoint()

        spell.end = end
        return spell
