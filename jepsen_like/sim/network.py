"""A simulated network: connections between nodes, and between clients and nodes.

A connection gives what the transport port promises: whole frames, in order, at most once, until
it closes. The faults break those promises one by one where a seed says so: frames are lost,
doubled, late, overtaken, or come back long after their connection is gone. It knows nothing of
what is in a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.messages import ClientAnswer, ClientMessage, PeerMessage

if TYPE_CHECKING:
    from jepsen_like.sim.client import SimClient
    from jepsen_like.sim.node import SimNode

Pair = tuple[int, int]
"""(from, to), or (lower, higher) where direction does not matter."""

DETECT_S = 0.05
"""Longest time until the other side notices that a connection closed."""
RETRY_S = 0.1
"""Longest pause between two attempts to connect."""


class Network:
    """Connections between nodes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plan = world.plan
        self._rng = world.rng
        self._nodes: dict[int, SimNode] = {}
        self._epochs: dict[Pair, int] = {}  # by (lower, higher): which connection it is
        self._up: set[Pair] = set()
        self._arrivals: dict[Pair, float] = {}  # by (from, to): frames do not overtake
        self._cuts: dict[Pair, list[str]] = {}  # by (from, to): modes of the cuts upon it
        self._held: dict[Pair, list[Sequence[PeerMessage]]] = {}
        self._flaky: dict[int, float] = {}  # by sender: how much of what it sends is lost
        self._faulty = True

    def add(self, node: SimNode) -> None:
        """Let a node take part."""
        number = node.voter.node
        for other in self._nodes:
            self._epochs[other, number] = 0
        self._nodes[number] = node

    # --- frames ---

    def send(self, sender: int, to: int, messages: Sequence[PeerMessage]) -> None:
        """Send what one pass of a node produced for one peer."""
        if _pair(sender, to) not in self._up:
            return
        if self._plan.codec:
            messages = [codec.decode_peer(codec.encode(message)) for message in messages]
        if self._faulty:
            modes = self._cuts.get((sender, to))
            if modes:
                self._blocked(sender, to, messages, modes[-1])
                return
            messages = self._lose(sender, messages)
            if not messages:
                return
        self._carry(sender, to, messages)

    def _carry(self, sender: int, to: int, messages: Sequence[PeerMessage]) -> None:
        world, plan, link = self._world, self._plan, (sender, to)
        epoch = self._epochs[_pair(sender, to)]
        shortest, mean = plan.latency_s
        arrival = world.now + shortest + mean * self._rng.random() * 2
        before = self._arrivals.get(link, 0.0)
        if self._faulty:
            arrival += self._spike()
            if plan.overtaking and before > arrival and self._rng.random() < plan.overtaking:
                world.effects["reordering"] += len(messages)
                world.at(arrival, self._arrive, sender, to, epoch, messages)
                return
            self._repeat(sender, to, epoch, messages, arrival)
        arrival = max(arrival, before)
        self._arrivals[link] = arrival
        world.at(arrival, self._arrive, sender, to, epoch, messages)

    def _lose(self, sender: int, messages: Sequence[PeerMessage]) -> Sequence[PeerMessage]:
        rate = max(self._plan.loss, self._flaky.get(sender, 0.0))
        if not rate:
            return messages
        kept = [message for message in messages if self._rng.random() >= rate]
        self._world.effects["loss"] += len(messages) - len(kept)
        return kept

    def _spike(self) -> float:
        if not self._plan.spikes or self._rng.random() >= self._plan.spikes:
            return 0.0
        self._world.effects["delay"] += 1
        return self._rng.random() * 2 * self._plan.timing.election_timeout_s

    def _repeat(
        self, sender: int, to: int, epoch: int, messages: Sequence[PeerMessage], arrival: float
    ) -> None:
        plan, rng = self._plan, self._rng
        if plan.duplication and rng.random() < plan.duplication:
            self._world.effects["duplication"] += len(messages)
            later = arrival + rng.random() * 0.05
            self._world.at(later, self._arrive, sender, to, epoch, messages)
        if plan.replays and rng.random() < plan.replays:
            self._world.effects["late replay"] += len(messages)
            later = arrival + rng.random() * 5 * plan.timing.election_timeout_s
            self._world.at(later, self._arrive, sender, to, None, messages)

    def _arrive(
        self, sender: int, to: int, epoch: int | None, messages: Sequence[PeerMessage]
    ) -> None:
        if epoch is not None and epoch != self._epochs[_pair(sender, to)]:
            return  # that connection is gone, and what was in flight on it too
        modes = self._cuts.get((sender, to))
        if modes:
            self._blocked(sender, to, messages, modes[-1])
            return
        node = self._nodes[to]
        if node.up:
            node.receive(self._nodes[sender].voter, messages)

    def _blocked(self, sender: int, to: int, messages: Sequence[PeerMessage], mode: str) -> None:
        self._world.effects["partition"] += len(messages)
        if mode == "hold":
            self._held.setdefault((sender, to), []).append(messages)

    # --- connections ---

    def join(self, number: int) -> None:
        """A node is up: connect it with all others."""
        for pair in self._pairs_of(number):
            self._world.after(self._rng.random() * RETRY_S, self._connect, *pair)

    def leave(self, number: int, silent: bool) -> None:
        """A node is down. Its peers notice soon, or (silent) only when it comes back."""
        for pair in self._pairs_of(number):
            if pair in self._up:
                self._close(pair)
                other = pair[0] if pair[1] == number else pair[1]
                delay = self._rng.random() * DETECT_S + (1.0 if silent else 0.0)
                self._world.after(delay, self._notice, number, other, self._epochs[pair])

    def break_pair(self, pair: Pair) -> bool:
        """Close a connection between two nodes that live; they connect again when they can.

        Returns:
            Whether there was one.
        """
        if pair not in self._up:
            return False
        self._close(pair)
        for node, other in (pair, pair[::-1]):
            delay = self._rng.random() * DETECT_S
            self._world.after(delay, self._notice, other, node, self._epochs[pair])
        self._world.after(DETECT_S + self._rng.random() * RETRY_S, self._connect, *pair)
        return True

    def _close(self, pair: Pair) -> None:
        self._up.discard(pair)
        self._epochs[pair] += 1
        for link in (pair, pair[::-1]):
            self._arrivals.pop(link, None)
            self._held.pop(link, None)

    def _notice(self, gone: int, node: int, epoch: int) -> None:
        """``node`` notices that its connection to ``gone`` closed, unless there is a new one."""
        if self._nodes[node].up and self._epochs[_pair(gone, node)] == epoch:
            self._nodes[node].peer_disconnected(self._nodes[gone].voter)

    def _connect(self, low: int, high: int) -> None:
        pair, lower, higher = (low, high), self._nodes[low], self._nodes[high]
        if pair in self._up or not (lower.up and higher.up):
            return
        if pair in self._cuts or pair[::-1] in self._cuts:
            self._world.after(RETRY_S * (0.5 + self._rng.random()), self._connect, low, high)
            return
        self._epochs[pair] += 1
        self._up.add(pair)
        lower.peer_connected(higher.voter)
        higher.peer_connected(lower.voter)

    def _pairs_of(self, number: int) -> list[Pair]:
        return [pair for pair in self._epochs if number in pair]

    # --- faults ---

    def cut(self, links: Iterable[Pair], mode: str) -> None:
        """Let nothing pass on ``links``, each (from, to), until they are mended."""
        for link in links:
            self._cuts.setdefault(link, []).append(mode)
            if mode == "break":
                self.break_pair(_pair(*link))

    def mend(self, links: Iterable[Pair], mode: str) -> None:
        """Undo one ``cut``. What was held comes now, late."""
        for link in links:
            modes = self._cuts.get(link, [])
            if mode in modes:
                modes.remove(mode)
            if not modes:
                self._cuts.pop(link, None)
                for messages in self._held.pop(link, ()):
                    self._carry(*link, messages)

    def lose(self, sender: int, rate: float) -> None:
        """Lose this share of what a node sends, from now on."""
        self._flaky[sender] = rate

    def heal(self) -> None:
        """Be a good network from now on."""
        for link in sorted(self._cuts):
            for mode in list(self._cuts[link]):
                self.mend([link], mode)
        self._faulty = False


class ClientLink:
    """One connection of a client to a node, from its dialling to its end."""

    def __init__(self, world: World, client: SimClient, node: SimNode) -> None:
        self.node = node
        self.open = False
        self._world = world
        self._client = client
        self._number = 0  # as the node counts its clients
        self._frozen: list[Callable[[], None]] | None = None
        self._to_node_at = 0.0
        self._to_client_at = 0.0

    def dial(self, reachable: bool) -> None:
        """Try to connect; the client hears how it went."""
        self._world.after(2 * self._latency(), self._dialled, reachable)

    def _dialled(self, reachable: bool) -> None:
        if self._client.link is not self:
            return  # the client thought better of it
        if reachable and self.node.up:
            self.open = True
            self._number = self.node.client_connected(self)
            self._client.connected(self)
        else:
            self._client.disconnected(self)

    def transmit(self, message: ClientMessage) -> None:
        """Carry a message to the node."""
        self._to_node_at = max(self._world.now + self._latency(), self._to_node_at)
        self._world.at(self._to_node_at, self._pass_on, partial(self._to_node, message))

    def answer(self, message: ClientAnswer) -> None:
        """Carry an answer to the client."""
        self._to_client_at = max(self._world.now + self._latency(), self._to_client_at)
        self._world.at(self._to_client_at, self._pass_on, partial(self._to_client, message))

    def _latency(self) -> float:
        shortest, mean = self._world.plan.latency_s
        return shortest + mean * self._world.rng.random() * 2

    def _pass_on(self, hand_over: Callable[[], None]) -> None:
        if not self.open:
            return  # lost with its connection
        if self._frozen is None:
            hand_over()
        else:
            self._world.effects["client cut"] += 1
            self._frozen.append(hand_over)

    def _to_node(self, message: ClientMessage) -> None:
        if self._world.plan.codec:
            message = codec.decode_client(codec.encode(message))
        self.node.client_sent(self._number, message)

    def _to_client(self, message: ClientAnswer) -> None:
        if self._world.plan.codec:
            message = codec.decode_answer(codec.encode(message))
        self._client.receive(self, message)

    def freeze(self) -> None:
        """Carry nothing until ``thaw``; nobody notices."""
        if self._frozen is None:
            self._frozen = []

    def thaw(self) -> None:
        """Carry again, first what was held."""
        held, self._frozen = self._frozen, None
        for hand_over in held or ():
            self._pass_on(hand_over)

    def close(self) -> None:
        """The client leaves. The node notices a little later."""
        if self.open:
            self.open = False
            delay = self._world.rng.random() * DETECT_S
            self._world.after(delay, self.node.client_gone, self._number, self.node.life)

    def break_off(self) -> None:
        """The network, or the node's end, closes the connection: both notice."""
        if self.open:
            self.close()
            self._world.after(self._world.rng.random() * DETECT_S, self._broken)

    def _broken(self) -> None:
        if self._client.link is self:
            self._client.disconnected(self)


def _pair(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)
