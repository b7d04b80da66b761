"""A simulated network between nodes: connections, and what goes wrong on them.

A connection gives what the transport port promises: whole frames, in order, at most once, until
it closes. The faults break those promises one by one where a seed says so: frames are lost,
doubled, late, overtaken, garbled, or come back long after their connection is gone; links are slow
or clogged, and outboxes overflow. Each direction of each pair has streams of chance of its own. It
knows nothing of what is in a frame.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from jepsen_like.sim.garbler import Garbler
from jepsen_like.sim.schedule import Episode
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.ids import Voter
from paxos.core.messages import PeerMessage

if TYPE_CHECKING:
    from jepsen_like.sim.node import SimNode

Link = tuple[int, int]
"""(from, to)."""

DETECT_S = 0.05
"""Longest time until the other side notices that a connection closed."""
RETRY_S = 0.1
"""Longest pause between two attempts to connect."""


class Cut:
    """One reason why a link lets nothing pass.

    Args:
        mode: What becomes of frames: "drop" loses them silently, "hold" and "clog" keep them until
            the link is mended, as far as the sender's outbox goes, "break" closes the connection.
        episode: Counts what was stopped.
    """

    __slots__ = ("episode", "mode")

    def __init__(self, mode: str, episode: Episode) -> None:
        self.mode = mode
        self.episode = episode


class _Pair:
    """Two nodes: whether they are connected, and which connection it is."""

    __slots__ = ("epoch", "high", "low", "rng", "up")

    def __init__(self, low: int, high: int, rng: random.Random) -> None:
        self.low = low
        self.high = high
        self.rng = rng  # for connecting and noticing
        self.up = False
        self.epoch = 0


class _Way:
    """One direction of a pair: its streams of chance, made when first asked, and what is on it."""

    def __init__(self, seed: int, sender: int, to: int, pair: _Pair) -> None:
        self.sender = sender
        self.to = to
        self.pair = pair
        self.arrival = 0.0  # of the last frame: frames do not overtake
        self.cuts: list[Cut] = []
        self.held: list[Sequence[PeerMessage]] = []
        self.held_bytes = 0
        self.bytes_per_s = 0.0  # what a slow link carries; 0 for no bound
        self.draining = False  # a slow link is carrying the first of what is held
        self.slowed: Episode | None = None  # why it is slow
        self.flaky = 0.0  # share that is lost, for a while
        self.faulty = True
        self.latency = stream(seed, "latency", sender, to).random
        self._seed = seed

    def _stream(self, purpose: str) -> random.Random:
        return stream(self._seed, purpose, self.sender, self.to)

    @cached_property
    def loss(self) -> Callable[[], float]:
        return self._stream("loss").random

    @cached_property
    def delay(self) -> random.Random:
        return self._stream("delay")

    @cached_property
    def duplication(self) -> random.Random:
        return self._stream("duplication")

    @cached_property
    def corruption(self) -> random.Random:
        return self._stream("corruption")

    @cached_property
    def reordering(self) -> Callable[[], float]:
        return self._stream("reordering").random

    @cached_property
    def replay(self) -> random.Random:
        return self._stream("replay")


class Network:
    """Connections between nodes."""

    def __init__(self, world: World, garbler: Garbler) -> None:
        self._world = world
        self._plan = world.plan
        self._garbler = garbler
        self._nodes: dict[int, SimNode] = {}
        self._pairs: dict[Link, _Pair] = {}  # by (lower, higher)
        self._ways: dict[Link, _Way] = {}

    def add(self, node: SimNode) -> None:
        """Let a node take part."""
        number, seed = node.voter.node, self._world.seed
        for other in self._nodes:
            pair = _Pair(other, number, stream(seed, "connections", other, number))
            self._pairs[other, number] = pair
            for way in (other, number), (number, other):
                self._ways[way] = _Way(seed, *way, pair)
        self._nodes[number] = node

    # --- frames ---

    def send(self, sender: int, to: int, messages: Sequence[PeerMessage]) -> None:
        """Send what one pass of a node produced for one peer."""
        way = self._ways[sender, to]
        if not way.pair.up:
            return
        if self._plan.codec:
            messages = [codec.decode_peer(codec.encode(message)) for message in messages]
        if way.faulty:
            if way.cuts:
                self._blocked(way, messages)
                return
            if self._plan.loss or way.flaky:
                messages = self._lose(way, messages)
                if not messages:
                    return
        self._carry(way, messages)

    def _carry(self, way: _Way, messages: Sequence[PeerMessage]) -> None:
        """Let frames leave: at once, or as fast as a slow link takes them."""
        if way.bytes_per_s:
            self._queue(way, messages)
        else:
            self._depart(way, messages)

    def _depart(self, way: _Way, messages: Sequence[PeerMessage]) -> None:
        world, plan = self._world, self._plan
        shortest, mean = plan.latency_s
        arrival = world.now + shortest + mean * way.latency() * 2
        before, epoch = way.arrival, way.pair.epoch
        sender = self._nodes[way.sender].voter
        if way.faulty:
            if plan.corruption and way.corruption.random() < plan.corruption:
                self._garble(way, sender, messages)
                return
            if plan.spikes:
                arrival += self._spike(way)
            if plan.overtaking and before > arrival and way.reordering() < plan.overtaking:
                world.effects["reordering"] += len(messages)
                world.at(arrival, self._arrive, way, sender, epoch, messages)
                return
            if plan.duplication or plan.replays:
                self._repeat(way, sender, messages, arrival)
        arrival = max(arrival, before)
        way.arrival = arrival
        world.at(arrival, self._arrive, way, sender, epoch, messages)

    def _garble(self, way: _Way, sender: Voter, messages: Sequence[PeerMessage]) -> None:
        """Flip bits of a frame. Whoever notices closes the connection: nothing of it arrives."""
        self._world.effects["corruption"] += 1
        self._garbler.peer_frame(way.corruption, sender, way.corruption.choice(messages))
        self.break_pair(way.sender, way.to)

    def _queue(self, way: _Way, messages: Sequence[PeerMessage]) -> None:
        """Put frames behind what a slow link still carries, if the outbox has room for them."""
        if way.held_bytes > self._plan.outbox_bytes:
            self._world.effects["full outbox"] += len(messages)
            return
        way.held.append(messages)
        way.held_bytes += _size(messages)
        self._world.effects["slow link"] += len(messages)
        if way.slowed is not None:
            way.slowed.effects += len(messages)
        if not way.draining:
            way.draining = True
            delay = _size(messages) / way.bytes_per_s
            self._world.after(delay, self._drain, way, way.pair.epoch)

    def _drain(self, way: _Way, epoch: int) -> None:
        """A slow link has carried its first frames."""
        if epoch != way.pair.epoch:
            return
        if not way.held or way.cuts or not way.bytes_per_s:
            way.draining = False
            return
        messages = way.held.pop(0)
        way.held_bytes -= _size(messages)
        self._depart(way, messages)
        if way.held:
            delay = _size(way.held[0]) / way.bytes_per_s
            self._world.after(delay, self._drain, way, epoch)
        else:
            way.draining = False

    def _let_go(self, way: _Way) -> None:
        """Let leave what was held up, if nothing stands in its way any more."""
        if not way.cuts:
            held, way.held, way.held_bytes = way.held, [], 0
            for messages in held:
                self._carry(way, messages)

    def _lose(self, way: _Way, messages: Sequence[PeerMessage]) -> Sequence[PeerMessage]:
        rate = max(self._plan.loss, way.flaky)
        kept = [message for message in messages if way.loss() >= rate]
        self._world.effects["loss"] += len(messages) - len(kept)
        return kept

    def _spike(self, way: _Way) -> float:
        if way.delay.random() >= self._plan.spikes:
            return 0.0
        self._world.effects["delay"] += 1
        return way.delay.random() * 2 * self._plan.timing.election_timeout_s

    def _repeat(
        self, way: _Way, sender: Voter, messages: Sequence[PeerMessage], arrival: float
    ) -> None:
        plan, world, epoch = self._plan, self._world, way.pair.epoch
        if way.duplication.random() < plan.duplication:
            world.effects["duplication"] += len(messages)
            later = arrival + way.duplication.random() * 0.05
            world.at(later, self._arrive, way, sender, epoch, messages)
        if way.replay.random() < plan.replays:
            world.effects["late replay"] += len(messages)
            later = arrival + way.replay.random() * 5 * plan.timing.election_timeout_s
            world.at(later, self._arrive, way, sender, None, messages)

    def _arrive(
        self, way: _Way, sender: Voter, epoch: int | None, messages: Sequence[PeerMessage]
    ) -> None:
        if epoch is not None and epoch != way.pair.epoch:
            return  # that connection is gone, and what was in flight on it too
        if way.cuts:
            self._blocked(way, messages)
            return
        node = self._nodes[way.to]
        if node.up:
            node.receive(sender, messages)

    def _blocked(self, way: _Way, messages: Sequence[PeerMessage]) -> None:
        cut = way.cuts[-1]
        self._world.effects["clogged link" if cut.mode == "clog" else "partition"] += len(messages)
        cut.episode.effects += len(messages)
        if cut.mode not in ("hold", "clog"):
            return
        if way.held_bytes > self._plan.outbox_bytes:
            self._world.effects["full outbox"] += len(messages)
            return
        way.held.append(messages)
        way.held_bytes += _size(messages)

    # --- connections ---

    def join(self, number: int) -> None:
        """A node is up: connect it with all others."""
        for pair in self._pairs_of(number):
            self._world.after(pair.rng.random() * RETRY_S, self._connect, pair)

    def leave(self, number: int, silent: bool) -> None:
        """A node is down. Its peers notice soon, or (silent) only when it comes back."""
        for pair in self._pairs_of(number):
            if pair.up:
                self._close(pair)
                other = pair.low if pair.high == number else pair.high
                delay = pair.rng.random() * DETECT_S + (1.0 if silent else 0.0)
                self._world.after(delay, self._notice, pair, number, other, pair.epoch)

    def break_pair(self, one: int, other: int) -> bool:
        """Close a connection between two nodes that live; they connect again when they can.

        Returns:
            Whether there was one.
        """
        pair = self._pairs[min(one, other), max(one, other)]
        if not pair.up:
            return False
        self._close(pair)
        for node, gone in ((one, other), (other, one)):
            delay = pair.rng.random() * DETECT_S
            self._world.after(delay, self._notice, pair, gone, node, pair.epoch)
        self._world.after(DETECT_S + pair.rng.random() * RETRY_S, self._connect, pair)
        return True

    def _close(self, pair: _Pair) -> None:
        pair.up = False
        pair.epoch += 1
        for way in self._both_ways(pair):
            way.arrival = 0.0
            way.draining = False
            way.held.clear()
            way.held_bytes = 0

    def _notice(self, pair: _Pair, gone: int, node: int, epoch: int) -> None:
        """``node`` notices that its connection to ``gone`` closed, unless there is a new one."""
        if self._nodes[node].up and pair.epoch == epoch:
            self._nodes[node].peer_disconnected(self._nodes[gone].voter)

    def _connect(self, pair: _Pair) -> None:
        lower, higher = self._nodes[pair.low], self._nodes[pair.high]
        if pair.up or not (lower.up and higher.up):
            return
        if any(way.cuts for way in self._both_ways(pair)):
            self._world.after(RETRY_S * (0.5 + pair.rng.random()), self._connect, pair)
            return
        pair.epoch += 1
        pair.up = True
        lower.peer_connected(higher.voter)
        higher.peer_connected(lower.voter)

    def _both_ways(self, pair: _Pair) -> tuple[_Way, _Way]:
        return self._ways[pair.low, pair.high], self._ways[pair.high, pair.low]

    def _pairs_of(self, number: int) -> list[_Pair]:
        return [pair for link, pair in self._pairs.items() if number in link]

    # --- faults ---

    def cut(self, links: Iterable[Link], cut: Cut) -> None:
        """Let nothing pass on ``links`` until they are mended."""
        for link in links:
            self._ways[link].cuts.append(cut)
            if cut.mode == "break" and self.break_pair(*link):
                self._world.effects["disconnect"] += 1
                cut.episode.effects += 1

    def mend(self, links: Iterable[Link], cut: Cut) -> None:
        """Undo one ``cut``. What was held comes now, late."""
        for link in links:
            way = self._ways[link]
            if cut in way.cuts:
                way.cuts.remove(cut)
            self._let_go(way)

    def slow(self, links: Iterable[Link], bytes_per_s: float, episode: Episode | None) -> None:
        """Let links carry no more than this from now on; 0 for no bound."""
        for link in links:
            way = self._ways[link]
            way.bytes_per_s, way.slowed = bytes_per_s, episode
            if not bytes_per_s:
                self._let_go(way)

    def lose(self, sender: int, rate: float) -> None:
        """Lose this share of what a node sends, from now on."""
        for way in self._ways.values():
            if way.sender == sender:
                way.flaky = rate

    def heal(self, nodes: Collection[int]) -> None:
        """Be a good network among these nodes from now on. All other links stay as they are."""
        for link, way in self._ways.items():
            if way.sender in nodes and way.to in nodes:
                for cut in list(way.cuts):
                    self.mend([link], cut)
                way.bytes_per_s, way.flaky = 0.0, 0.0
                way.faulty = False
                self._let_go(way)


def _size(messages: Sequence[PeerMessage]) -> int:
    return sum(len(codec.encode(message)) for message in messages)
