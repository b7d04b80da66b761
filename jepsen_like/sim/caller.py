"""A caller: the production pure client on the simulated network, without an opinion.

It gives what it is asked to ``paxos.core.client.Client``, carries out that object's effects, and
tells each asker how its operation ended. It knows nothing of replicas, and nothing of what is asked
or whether an answer is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jepsen_like.sim.client_link import ClientLink
from jepsen_like.sim.garbler import Garbler
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import JOINERS_MAX
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos.core.client import (
    Answered,
    Client,
    ClientEffect,
    ClientEvent,
    ClientOptions,
    Connect,
    Connected,
    DeadlinePassed,
    Disconnected,
    Ended,
    Outcome,
    Transmit,
)
from paxos.core.ids import Slot
from paxos.core.messages import ClientAnswer, Level, Redirect

UNKNOWN_S = 0.001
"""How soon it shows that a name leads nowhere."""

OnEnd = Callable[[Outcome], None]


class Caller:
    """One client, connected to one node at a time.

    Args:
        world: Time.
        number: Which client this is.
        nodes: All nodes, by the endpoint that names them.
        garbler: Garbles frames, if there is one.

    Attributes:
        link: The present connection, or the dial under way.
        unreachable: Endpoints that this client cannot dial.
        garbler: As given; None once the network is good.
        garbling: Decides which frames are garbled, and how.
    """

    def __init__(
        self,
        world: World,
        number: int,
        nodes: Mapping[str, SimNode],
        garbler: Garbler | None = None,
    ) -> None:
        self.number = number
        self.link: ClientLink | None = None
        self.unreachable: set[str] = set()
        self.garbler = garbler
        self.garbling = stream(world.seed, "client corruption", number)
        self._world = world
        self._nodes = nodes
        self._link_rng = stream(world.seed, "client link", number)
        rng = stream(world.seed, "client", number)
        order = sorted(nodes)
        if world.plan.churn:  # the names of nodes to come are known before they are there
            order += [f"n{len(nodes) + number}" for number in range(1, JOINERS_MAX + 1)]
        rng.shuffle(order)
        timeout = world.plan.timing.election_timeout_s
        options = ClientOptions(
            window_max=rng.choice((2, 64, 8192)),
            submission_commands_max=rng.choice((2, 4096)),
            backoff_min_s=0.02,
            backoff_max_s=0.2,
            silence_timeout_s=max(0.5, rng.choice((0.7, 2, 5)) * timeout),
            watch_silence_timeout_s=5 * timeout,
            silence_timeout_max_s=5 * timeout,
        )
        self._client = Client(order, rng, options)
        self._waiting: dict[int, OnEnd] = {}
        self._wake_at = float("inf")
        self._wakes = 0

    @property
    def seen_through(self) -> Slot:
        """The slot that this client's session reads reflect at least."""
        return self._client.seen_through

    # --- what can be asked; it leaves with the next ``leave`` ---

    def submit(
        self, machine: str, commands: Sequence[bytes], patience_s: float, on_ends: Sequence[OnEnd]
    ) -> None:
        """Ask for commands to be run; ``on_ends`` has one call for each."""
        tokens = self._client.submit(machine, commands, self._world.now + patience_s)
        self._waiting.update(zip(tokens, on_ends, strict=True))

    def read(
        self, level: Level, machine: str, query: bytes, patience_s: float, on_end: OnEnd
    ) -> None:
        """Ask for a query to be answered."""
        token = self._client.read(level, machine, query, self._world.now + patience_s)
        self._waiting[token] = on_end

    def watch(self, machine: str, query: bytes, patience_s: float, on_end: OnEnd) -> None:
        """Ask to be told once a query has something to tell."""
        token = self._client.watch(machine, query, self._world.now + patience_s)
        self._waiting[token] = on_end

    def leave(self) -> None:
        """Let what was asked leave."""
        self._carry_out(self._client.flush(self._world.now))

    # --- what the network says ---

    def connected(self, link: ClientLink) -> None:
        """The connection that was dialled is up."""
        self._tell(Connected(str(link.node.voter)))

    def disconnected(self, link: ClientLink) -> None:
        """The connection broke, or could not be made."""
        self.link = None
        self._tell(Disconnected(str(link.node.voter)))

    def receive(self, link: ClientLink, message: ClientAnswer) -> None:
        """An answer came."""
        self._world.deliveries += 1
        if self.link is not link:
            return
        url = None
        if isinstance(message, Redirect) and message.leader:
            url = f"n{message.leader}"
        self._tell(Answered(message, url))

    # --- effects ---

    def _tell(self, event: ClientEvent) -> None:
        if self._world.tracing:
            self._world.say(f"c{self.number} | {event}")
        self._carry_out(self._client.handle(event, self._world.now))

    def _carry_out(self, effects: Sequence[ClientEffect]) -> None:
        for effect in effects:
            if self._world.tracing:
                self._world.say(f"c{self.number} . {effect}")
            if isinstance(effect, Transmit):
                if self.link is not None:
                    self.link.transmit(effect.message)
            elif isinstance(effect, Ended):
                self._waiting.pop(effect.token)(effect.outcome)
            elif isinstance(effect, Connect):
                self._connect(effect.endpoint)
        self._plan_wake()

    def _connect(self, endpoint: str) -> None:
        if self.link is not None:
            self.link.close()
        self.link = None
        node = self._nodes.get(endpoint)
        if node is None:
            self._world.after(UNKNOWN_S, self._tell, Disconnected(endpoint))
            return
        self.link = ClientLink(self._world, self._link_rng, self, node)
        self.link.dial(endpoint not in self.unreachable)

    # --- time ---

    def _plan_wake(self) -> None:
        when = self._client.next_deadline()
        if when < self._wake_at:
            self._wake_at = when
            self._wakes += 1
            self._world.at(when, self._wake, self._wakes)

    def _wake(self, number: int) -> None:
        if number != self._wakes:
            return
        self._wake_at = float("inf")
        if self._client.next_deadline() <= self._world.now:
            self._tell(DeadlinePassed())
        else:
            self._plan_wake()
