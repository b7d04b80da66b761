"""One connection of a client to a node, from its dialling to its end.

In order and at most once, as the transport port promises; it may freeze, and it may break. It knows
nothing of what it carries.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from jepsen_like.sim.network import DETECT_S
from jepsen_like.sim.schedule import Episode
from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.messages import ClientAnswer, ClientMessage

if TYPE_CHECKING:
    from jepsen_like.sim.garbler import Garbler
    from jepsen_like.sim.node import SimNode


class Dialler(Protocol):
    """Whoever dials. ``link`` is the present connection, or the dial under way."""

    link: ClientLink | None

    @property
    def garbler(self) -> Garbler | None:
        """Garbles frames, if there is one."""

    @property
    def garbling(self) -> random.Random:
        """Decides which frames are garbled, and how."""

    def connected(self, link: ClientLink) -> None:
        """A node that was dialled is there."""

    def disconnected(self, link: ClientLink) -> None:
        """The connection broke, or could not be made."""

    def receive(self, link: ClientLink, message: ClientAnswer) -> None:
        """An answer came."""


class ClientLink:
    """A client's way to one node and back.

    Args:
        world: Time.
        rng: Latencies.
        caller: Whose it is.
        node: Where it leads.
    """

    def __init__(self, world: World, rng: random.Random, caller: Dialler, node: SimNode) -> None:
        self.node = node
        self.open = False
        self._world = world
        self._rng = rng
        self._caller = caller
        self._number = 0  # as the node counts its clients
        self._frozen: list[tuple[Callable[[Any], None], Any]] | None = None
        self._frost: Episode | None = None  # counts what is held up
        self._to_node_at = 0.0
        self._to_client_at = 0.0

    def dial(self, reachable: bool) -> None:
        """Try to connect; the client hears how it went."""
        self._world.after(2 * self._latency(), self._dialled, reachable)

    def _dialled(self, reachable: bool) -> None:
        if self._caller.link is not self:
            return  # the client thought better of it
        if reachable and self.node.up:
            self.open = True
            self._number = self.node.client_connected(self)
            self._caller.connected(self)
        else:
            self._caller.disconnected(self)

    def transmit(self, message: ClientMessage) -> None:
        """Carry a message to the node."""
        self._to_node_at = max(self._world.now + self._latency(), self._to_node_at)
        self._world.at(self._to_node_at, self._pass_on, self._to_node, message)

    def answer(self, message: ClientAnswer) -> None:
        """Carry an answer to the client."""
        self._to_client_at = max(self._world.now + self._latency(), self._to_client_at)
        self._world.at(self._to_client_at, self._pass_on, self._to_client, message)

    def _latency(self) -> float:
        shortest, mean = self._world.plan.latency_s
        return shortest + mean * self._rng.random() * 2

    def _pass_on(self, hand_over: Callable[[Any], None], message: Any) -> None:
        if not self.open:
            return  # lost with its connection
        if self._frozen is None:
            hand_over(message)
        else:
            self._frozen.append((hand_over, message))
            self._world.effects["client cut"] += 1
            if self._frost is not None:
                self._frost.effects += 1

    def _to_node(self, message: ClientMessage) -> None:
        garbler, rng = self._caller.garbler, self._caller.garbling
        if garbler is not None and garbler.strikes(rng):
            garbler.client_frame(rng, message)
            self._garbled()
            return
        if self._world.plan.codec:
            message = codec.decode_client(codec.encode(message))
        self.node.client_sent(self._number, message)

    def _to_client(self, message: ClientAnswer) -> None:
        garbler, rng = self._caller.garbler, self._caller.garbling
        if garbler is not None and garbler.strikes(rng):
            garbler.answer_frame(rng, message)
            self._garbled()
            return
        if self._world.plan.codec:
            message = codec.decode_answer(codec.encode(message))
        self._caller.receive(self, message)

    def _garbled(self) -> None:
        """Whoever notices closes the connection."""
        self._world.effects["corruption"] += 1
        self.break_off()

    def freeze(self, episode: Episode) -> None:
        """Carry nothing until ``thaw``; nobody notices. ``episode`` counts what is held up."""
        if self._frozen is None:
            self._frozen, self._frost = [], episode

    def thaw(self) -> None:
        """Carry again, first what was held."""
        held, self._frozen = self._frozen, None
        for hand_over, message in held or ():
            self._pass_on(hand_over, message)

    def close(self) -> None:
        """The client leaves. The node notices a little later."""
        if self.open:
            self.open = False
            delay = self._rng.random() * DETECT_S
            self._world.after(delay, self.node.client_gone, self._number, self.node.life)

    def break_off(self) -> None:
        """The network, or the node's end, closes the connection: both notice."""
        if self.open:
            self.close()
            self._world.after(self._rng.random() * DETECT_S, self._broken)

    def _broken(self) -> None:
        if self._caller.link is self:
            self._caller.disconnected(self)
