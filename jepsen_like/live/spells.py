"""What a fault is: something that can begin, tells what it really did, and can be taken back.

Owns the spell (a fault while it lasts) and the stage (what faults act on, whom they may choose).
A fault that was asked for and changed nothing must be seen, so that no order is ever counted, but
only what the kernel, the network or the node itself says has come of it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import trio

from jepsen_like.live.cluster import LiveCluster
from jepsen_like.live.network import node_party
from paxos.core.ids import NodeId

Target = Literal["leader", "any"]
"""Whom a fault strikes: who leads at that moment (any, if nobody does), or any node."""

LOAD_TIMEOUT_S = 0.5
"""For so long a fault waits for an operation to be in flight; at a thousand a second most are not
at any one moment."""

LOAD_POLL_S = 0.001
HELD_TIMEOUT_S = 3.0
"""Most spells are over by then."""

HELD_POLL_S = 0.02


@dataclass(slots=True)
class Spell:
    """A fault while it lasts.

    Attributes:
        kind: The fault's name.
        target: What it strikes, for people.
        parties: The nodes it strikes.
        on_leader: Whether the one that led at that moment was among them.
        in_flight: Operations in flight when it struck.
        effects: What it is known to have done; final when it has ended.
        struck: Whether anything was done at all.
        held: The nodes that no other spell may choose meanwhile.
        counts: What else is to be told of what it did, by name.
        needs_health: Whether it can only come to its end once others have.
        during: What goes on after it struck, at its own pace. May be cut short: ``end`` does then
            what is left to do.
        end: Takes it back, and counts what could not be counted before.
    """

    kind: str
    target: str
    parties: tuple[NodeId, ...]
    on_leader: bool = False
    in_flight: int = 0
    effects: int = 0
    struck: bool = False
    held: tuple[NodeId, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    needs_health: bool = False
    during: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    end: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint


@dataclass(slots=True)
class Stage:
    """What faults act on.

    Attributes:
        cluster: The cluster.
        rng: Chooses targets.
        in_flight: How many operations have been asked and not answered.
        told: Called when a spell strikes.
        held: How many spells under way hold each node; shared by all stages of a nemesis.
    """

    cluster: LiveCluster
    rng: random.Random
    in_flight: Callable[[], int] = lambda: 0
    told: Callable[[Spell], None] = field(default=lambda _: None)
    held: Counter[NodeId] = field(default_factory=Counter)

    async def choose(self, target: Target) -> tuple[list[NodeId], NodeId | None]:
        """Return a node to look at, in a list that is empty if none runs, and who leads."""
        leader = await self.cluster.leader()
        running = self.running()
        if target == "leader" and leader in running:
            return [leader], leader
        return ([self.rng.choice(running)] if running else []), leader

    async def hold(self, kind: str, target: Target, count: int = 1) -> Spell | None:
        """Choose nodes that no other spell holds, and hold them until the spell is over.

        Returns:
            A spell on them that has not struck, or None if there are none.
        """
        leader = await self.cluster.leader()
        free = [node for node in self.running() if not self.held[node]]
        chosen = self.rng.sample(free, min(count, len(free)))
        if target == "leader" and leader in free and leader not in chosen:
            chosen[:1] = [leader]
        if not chosen:
            return None
        nodes = tuple(sorted(chosen))
        self.held.update(nodes)
        return Spell(kind, named(nodes), nodes, leader in nodes, held=nodes)

    async def hold_all(self, kind: str) -> Spell | None:
        """Hold every node that runs, after a while also those that other spells hold."""
        with trio.move_on_after(HELD_TIMEOUT_S):
            while self.held.total():  # noqa: ASYNC110 - rare, and soon over
                await trio.sleep(HELD_POLL_S)
        leader, nodes = await self.cluster.leader(), tuple(self.running())
        if not nodes:
            return None
        self.held.update(nodes)
        return Spell(kind, named(nodes), nodes, leader in nodes, held=nodes)

    def is_killed(self, node: NodeId) -> bool:
        """Whether a spell that takes everybody holds a node beside its own: that one starts it."""
        return self.held[node] > 1

    def running(self) -> list[NodeId]:
        """Return the nodes whose processes live."""
        processes = self.cluster.processes
        return [node for node in processes.running if processes.ended(node) is None]

    async def end(self, spell: Spell) -> None:
        """Take a spell back."""
        await spell.end()
        self.held.subtract(spell.held)

    async def strike_under_load(self, spell: Spell) -> None:
        """Wait a little for an operation to be in flight, and strike; what follows at once does."""
        with trio.move_on_after(LOAD_TIMEOUT_S):
            while not self.in_flight():  # noqa: ASYNC110 - a workload sets no event for it
                await trio.sleep(LOAD_POLL_S)
        self.strike(spell)

    def strike(self, spell: Spell) -> None:
        """Note that a spell strikes in this very step."""
        spell.in_flight = self.in_flight()
        spell.struck = True
        self.told(spell)


class Fault(Protocol):
    """Something that can go wrong."""

    @property
    def kind(self) -> str:
        """Its name, as a run's options and reports say it."""

    async def begin(self, stage: Stage) -> Spell | None:
        """Let it strike. Returns None if there is nothing that it could strike now."""


def named(nodes: Iterable[NodeId]) -> str:
    """Return what nodes are called, in one text."""
    return ", ".join(node_party(node) for node in nodes)
