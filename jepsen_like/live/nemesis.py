"""The nemesis of a live run: which fault comes when, for how long, and what came of it.

Owns the spells under way, the counts, and the way back to a cluster where all is well. Faults are
drawn from a seed; what they meet is not, as the cluster is real. Kinds that get into each other's
way (a process is dead or paused, not both) come one after another; others overlap.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from jepsen_like.live.cluster import ClusterFailed, LiveCluster
from jepsen_like.live.inner_faults import make_wish
from jepsen_like.live.menu import (
    CALM_S,
    DRAWS,
    LANES,
    LENGTH_S,
    LENGTHS_S,
    PERIODS_S,
    Draw,
    needs_node_program,
    refusal,
)
from jepsen_like.live.spells import Fault, Spell, Stage
from jepsen_like.report.facts import Band
from paxos.core.ids import NodeId
from paxos.runtime.errors import plain_errors

LEADER_TIMEOUT_S = 1.0
"""For so long the next spell waits for a leader: it may not come while another spell lasts."""

CLEAN_WISH = {"disk_full": False, "sync_delay_s": 0.0, "sync_fails": False, "clock_rate": 1.0}


def deal(deck: list[tuple[str, Draw]], effects: Mapping[str, int]) -> tuple[str, Draw]:
    """Take the next card off a deck, of a kind that had no effect yet if one is left.

    So that a short run, too, sees each kind that was asked for.
    """
    position = next((i for i, (kind, _) in enumerate(deck) if not effects.get(kind, 0)), 0)
    return deck.pop(position)


def _ignore(_: str, __: Any) -> None:
    """Note nothing."""


class Nemesis:
    """Brings faults to a cluster, counts what they did, and heals it.

    Args:
        cluster: Its nodes run.
        kinds: Which faults may come, of the menu.
        seed: Which of them come when.
        in_flight: How many operations have been asked and not answered.
        note: Called with a name and a JSON value for each beginning and end of a spell.
        clock: Seconds since the run began.

    Attributes:
        bands: Spells that are over.
        effects: By kind, what is known to have been done; 0 for one that did nothing.
        in_flight_effects: Those that came while operations were in flight.
        leader_effects: Those that struck the leader of that moment.
        details: By kind and name, what else spells told of what they did.

    Raises:
        ValueError: A kind is unknown, or cannot be had on this network.
    """

    def __init__(
        self,
        cluster: LiveCluster,
        kinds: Sequence[str],
        seed: int,
        *,
        in_flight: Callable[[], int] = lambda: 0,
        note: Callable[[str, Any], None] = _ignore,
        clock: Callable[[], float] | None = None,
    ) -> None:
        why = refusal(kinds, cluster.network_kind, len(cluster.nodes))
        if why:
            raise ValueError(why)
        self.bands: list[Band] = []
        self.effects: Counter[str] = Counter(dict.fromkeys(kinds, 0))
        self.in_flight_effects: Counter[str] = Counter(dict.fromkeys(kinds, 0))
        self.leader_effects: Counter[str] = Counter(dict.fromkeys(kinds, 0))
        self.details: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        self._cluster = cluster
        self._kinds = tuple(kinds)
        self._seed = seed
        self._in_flight = in_flight
        self._note = note
        self._began = trio.current_time()
        self._clock = clock or (lambda: trio.current_time() - self._began)
        self._active: dict[int, tuple[Spell, float]] = {}  # spells under way, by identity
        self._held: Counter[NodeId] = Counter()  # by spells under way
        self._stage = self._new_stage(random.Random(f"{seed}/strikes"))

    # --- spells -----------------------------------------------------------------------------------

    async def torment(self) -> None:
        """Let faults come and go until cancelled; ``heal_all`` brings everything back.

        A cancellation waits for what is just being done, such as the start of a node.

        Raises:
            ReplicaProcessFailed: A node could not be started again.
        """
        with plain_errors():
            await self._torment_all()

    async def _torment_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for lane, kinds in LANES.items():
                asked = [kind for kind in kinds if kind in self._kinds]
                if asked:
                    nursery.start_soon(self._torment, lane, asked)

    async def strike(self, fault: Fault, length_s: float) -> Spell | None:
        """Let one fault come, last, and go; return its spell, or None if it found no target."""
        spell = await fault.begin(self._stage)
        if spell is not None:
            await spell.during()
            await trio.sleep(length_s)
            await self._end(spell)
        return spell

    async def heal_all(self, timeout: float = 30.0) -> int:  # noqa: ASYNC109 - ends in words
        """End every spell, bring every node and link back, and wait until a node leads.

        Returns:
            The leader.

        Raises:
            ReplicaProcessFailed: A node could not be started again.
            ClusterFailed: Nobody leads in time, although all is well.
        """
        spells = [spell for spell, _ in self._active.values()]
        for spell in spells:
            if not spell.needs_health:
                await self._end(spell)
        cluster, processes = self._cluster, self._cluster.processes
        cluster.network.heal()
        await self._note_losses()
        for node in processes.running:
            processes.resume(node)
            if needs_node_program(self._kinds):
                await make_wish(self._stage, node, **CLEAN_WISH)
        await processes.start_all(
            node for node in cluster.nodes if node not in processes.running and not self._held[node]
        )
        for spell in spells:
            await self._end(spell)
        return await cluster.wait_leader(timeout)

    async def _torment(self, lane: str, kinds: Sequence[str]) -> None:
        rng = random.Random(f"{self._seed}/{lane}")
        stage = self._new_stage(rng)
        deck: list[tuple[str, Draw]] = []
        while True:
            if not deck:
                deck = [(kind, draw) for kind in kinds for draw in DRAWS[kind]]
                rng.shuffle(deck)
            kind, draw = deal(deck, self.in_flight_effects)
            fault = draw(rng, len(self._cluster.nodes))
            next_at = trio.current_time() + rng.uniform(*PERIODS_S[lane])
            with trio.CancelScope(shield=True):
                spell = await fault.begin(stage)
            if spell is not None:
                await spell.during()
            await trio.sleep(rng.uniform(*LENGTHS_S.get(kind, LENGTH_S)))
            if spell is not None:
                with trio.CancelScope(shield=True):
                    await self._end(spell)
            await self._note_losses()
            try:
                await self._cluster.wait_leader(LEADER_TIMEOUT_S)
            except ClusterFailed:
                pass  # another lane's spell keeps it from leading; that one ends too
            await trio.sleep(max(CALM_S, next_at - trio.current_time()))

    def _new_stage(self, rng: random.Random) -> Stage:
        return Stage(self._cluster, rng, self._in_flight, self._begin, self._held)

    def _begin(self, spell: Spell) -> None:
        self._active[id(spell)] = (spell, self._clock())
        self._note(spell.kind, {"target": spell.target, "in_flight": spell.in_flight})

    async def _end(self, spell: Spell) -> None:
        entry = self._active.pop(id(spell), None)
        if entry is None:
            return  # it was ended already, by ``heal_all``
        await self._stage.end(spell)
        kind = spell.kind
        self.bands.append(Band(kind, spell.target, entry[1], self._clock(), spell.effects))
        told = dict(spell.counts)
        self._note(f"heal-{kind}", {"target": spell.target, "effects": spell.effects, **told})
        self.details[kind].update(spell.counts)
        self.effects[kind] += spell.effects
        if spell.in_flight:
            self.in_flight_effects[kind] += spell.effects
        if spell.on_leader:
            self.leader_effects[kind] += min(1, spell.effects)

    async def _note_losses(self) -> None:
        """Take note of nodes that ended by themselves; what a spell holds is that spell's."""
        processes = self._cluster.processes
        for node in processes.running:
            status = processes.ended(node)
            if status is not None and not self._held[node]:
                await processes.wait_end(node)
                self._cluster.note_lost(node, status)
