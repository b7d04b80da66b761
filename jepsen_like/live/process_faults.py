"""Faults of processes: killed, killed while they start, stopped for a while.

A kill counts when the kernel said that the process ended by it, a pause when it said that the
process stopped. A process that turns out to have ended by itself is never counted: it is told.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import trio

from jepsen_like.live.spells import Spell, Stage, Target
from paxos.core.ids import NodeId


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL; the nodes start again when the spell ends."""

    target: Target = "any"
    count: int = 1
    kind: ClassVar[str] = "kill"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        return await _killed(stage, await stage.hold(self.kind, self.target, self.count))


@dataclass(frozen=True, slots=True)
class KillAll:
    """SIGKILL for every node at once: what was acknowledged is on the disks, or gone."""

    kind: ClassVar[str] = "kill-all"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        return await _killed(stage, await stage.hold_all(self.kind))


async def _killed(stage: Stage, spell: Spell | None) -> Spell | None:
    if spell is None:
        return None
    nodes, processes = spell.parties, stage.cluster.processes
    await stage.strike_under_load(spell)
    spell.effects = await _kill(stage, nodes)

    async def end() -> None:
        # A node may have been removed meanwhile, and is gone.
        there = [node for node in nodes if node in stage.cluster.nodes]
        await processes.start_all([node for node in there if node not in processes.running])

    spell.end = end
    return spell


async def _kill(stage: Stage, nodes: Sequence[NodeId]) -> int:
    """Kill nodes; return how many the kernel says have ended by it."""
    killed, processes = 0, stage.cluster.processes
    nodes = [node for node in nodes if node in processes.running]
    for node, status in zip(nodes, await processes.kill(*nodes), strict=True):
        if status == -signal.SIGKILL:
            killed += 1
        else:
            stage.cluster.note_lost(node, status)
    return killed


@dataclass(frozen=True, slots=True)
class RestartStorm:
    """One node is killed again and again while it starts: recovery is interrupted everywhere."""

    target: Target = "any"
    times: int = 4
    kind: ClassVar[str] = "restart-storm"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,), processes = spell.parties, stage.cluster.processes
        await stage.strike_under_load(spell)
        for _ in range(self.times):
            spell.effects += await _kill(stage, spell.parties)
            with trio.move_on_after(stage.rng.uniform(0.1, 0.6)):
                await processes.start(node)

        async def end() -> None:
            # Wherever its last start has come to, one that is waited for comes after it.
            await _kill(stage, spell.parties)
            await processes.start(node)

        spell.end = end
        return spell


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP, and SIGCONT when the spell ends: the process then acts on what was true before."""

    target: Target = "any"
    kind: ClassVar[str] = "pause"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,), processes = spell.parties, stage.cluster.processes
        await stage.strike_under_load(spell)
        spell.effects = int(node in processes.running and await processes.pause(node))

        async def end() -> None:
            if node in processes.running:
                processes.resume(node)

        spell.end = end
        return spell
