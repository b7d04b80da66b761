"""The fault steps of a scenario, carried out on a simulated cluster.

It strikes nodes, links and clocks, says in the story's words what it did, and counts what had an
effect: a fault that changed nothing proves nothing. It knows neither clients nor state machines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from jepsen_like.harness.scenario import (
    LEADER,
    ClockJump,
    Cut,
    Kill,
    Mend,
    Pause,
    PowerCut,
    Restart,
    Resume,
    Shape,
)
from jepsen_like.report.facts import Band
from jepsen_like.sim import network
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.schedule import Episode, Spell

Link = tuple[int, int]
"""(from, to)."""
FaultStep = Restart | Kill | PowerCut | Cut | Mend | Pause | Resume | ClockJump

_SHAPES: dict[Shape, str] = {
    "isolate": "{0} is cut off from the others",
    "mute": "nothing that {0} sends arrives any more",
    "deaf": "nothing arrives at {0} any more",
    "halves": "the nodes up to {0} are cut off from those above",
    "bridge": "the nodes below {0} and those above reach only {0}, not each other",
    "ring": "each node reaches only its two neighbours",
}
_MODES = {
    "drop": "messages are lost",
    "hold": "messages are held until it is mended",
    "break": "connections are closed",
}


class Faults:
    """Strikes one cluster.

    Args:
        cluster: Which.
        start: Starts a node.
    """

    def __init__(self, cluster: Cluster, start: Callable[[SimNode], None]) -> None:
        self.struck: Counter[str] = Counter()
        self.bands: list[Band] = []
        self._cluster = cluster
        self._start = start
        self._cuts: list[tuple[list[Link], network.Cut]] = []
        self._began: dict[tuple[str, int], float] = {}  # by kind and node: since when

    def leader(self) -> SimNode | None:
        """Return who leads, by the highest ballot if several think so."""
        leaders = [node for node in self._cluster.nodes if node.leading]
        return max(leaders, key=lambda node: node.replica.proposer.ballot, default=None)

    def node(self, number: int) -> SimNode:
        """Return the node that a step means."""
        if number == LEADER:
            return self.leader() or self._cluster.nodes[0]
        return self._cluster.nodes[number - 1]

    def strike(self, step: FaultStep) -> str:
        """Carry out a step. Returns what was done."""
        match step:
            case Restart():
                return self._restart(self.node(step.node))
            case Kill():
                return self._kill(self.node(step.node))
            case PowerCut():
                return self._power_cut()
            case Cut():
                return self._cut(step)
            case Mend():
                return self._mend()
            case Pause():
                return self._pause(self.node(step.node))
            case Resume():
                return self._resume(self.node(step.node))
            case ClockJump():
                return self._jump(self.node(step.node), step.seconds)

    def heal(self) -> None:
        """End every fault: all nodes run, all links carry, nothing befalls messages."""
        self._mend()
        self._cluster.network.heal([node.voter.node for node in self._cluster.nodes])
        for node in self._cluster.nodes:
            if node.paused:
                self._resume(node)
            if not node.up:
                self._start_again(node)

    # --- nodes ---

    def _restart(self, node: SimNode) -> str:
        was_up = node.up
        if was_up:
            self._crash("restart", node, power_cut=False)
        self._start_again(node)
        return f"{node.voter} is killed and starts again" if was_up else f"{node.voter} starts"

    def _kill(self, node: SimNode) -> str:
        if not node.up:
            return f"{node.voter} is killed, but it was down"
        leads = ", which leads," if node.leading else ""
        self._crash("kill", node, power_cut=False)
        self._began["kill", node.voter.node] = self._cluster.world.now
        return f"{node.voter}{leads} is killed"

    def _power_cut(self) -> str:
        up = [node for node in self._cluster.nodes if node.up]
        for node in up:
            self._crash("power cut", node, power_cut=True)
        for node in up:
            self._start_again(node)
        who = "all nodes lose power and start" if len(up) > 1 else "the power fails; all start"
        return f"{who} again"

    def _crash(self, kind: str, node: SimNode, *, power_cut: bool) -> None:
        self._end("pause", node)
        node.crash(power_cut=power_cut)
        self.struck[kind] += 1

    def _start_again(self, node: SimNode) -> None:
        self._end("kill", node)
        self._start(node)

    def _pause(self, node: SimNode) -> str:
        if not node.up or node.paused:
            return f"{node.voter} is paused, but it was {'paused' if node.up else 'down'}"
        node.pause()
        self.struck["pause"] += 1
        self._began["pause", node.voter.node] = self._cluster.world.now
        return f"{node.voter}{', which leads,' if node.leading else ''} is paused"

    def _resume(self, node: SimNode) -> str:
        if not node.paused:
            return f"{node.voter} goes on, but it was not paused"
        self._end("pause", node)
        node.resume()
        return f"{node.voter} goes on"

    def _end(self, kind: str, node: SimNode) -> None:
        began = self._began.pop((kind, node.voter.node), None)
        if began is not None:
            self.bands.append(Band(kind, str(node.voter), began, self._cluster.world.now, 1))

    def _jump(self, node: SimNode, seconds: int) -> str:
        node.clock.wall_error_us += seconds * 1_000_000
        self.struck["clock jump"] += 1
        return f"{node.voter}'s clock jumps by {seconds} s"

    # --- links ---

    def _cut(self, step: Cut) -> str:
        node = self.node(step.node)
        links = links_of(step.shape, node.voter.node, len(self._cluster.nodes))
        if not links:
            return "links would be cut, but there are none of that kind"
        now = self._cluster.world.now
        episode = Episode(Spell(len(self._cuts) + 1, now, "partition", 0.0, 0), now)
        cut = network.Cut(step.mode, episode)
        self._cluster.network.cut(links, cut)
        self._cuts.append((links, cut))
        return f"{_SHAPES[step.shape].format(node.voter)}: {_MODES[step.mode]}"

    def _mend(self) -> str:
        cuts, self._cuts = self._cuts, []
        for links, cut in cuts:
            self._cluster.network.mend(links, cut)
            self.struck["partition"] += cut.episode.effects > 0
            start, stop = cut.episode.start_s, self._cluster.world.now
            target = " ".join(f"n{sender}->n{to}" for sender, to in links)
            self.bands.append(Band("partition", target, start, stop, cut.episode.effects))
        return "all links are mended" if cuts else "all links are mended, but none was cut"


def links_of(shape: Shape, node: int, nodes: int) -> list[Link]:
    """Return the links that a partition cuts, of a cluster with nodes 1 to ``nodes``."""
    return [
        (sender, to)
        for sender in range(1, nodes + 1)
        for to in range(1, nodes + 1)
        if sender != to and _is_cut(shape, node, nodes, sender, to)
    ]


def _is_cut(shape: Shape, node: int, nodes: int, sender: int, to: int) -> bool:
    if shape == "isolate":
        return node in (sender, to)
    if shape == "mute":
        return sender == node
    if shape == "deaf":
        return to == node
    if shape == "halves":
        return (sender <= node) != (to <= node)
    if shape == "bridge":
        return node not in (sender, to) and (sender < node) != (to < node)
    return (sender - to) % nodes not in (1, nodes - 1)
