"""Faults inside a node that has fault points: of its disk and of its clocks.

A full disk counts when the node's status says so, a failed sync when the node ended by it, a slow
one when a sync was slowed, and a wrong clock when the node's own readings show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import trio

from jepsen_like.live.spells import Spell, Stage, Target
from paxos.core.ids import NodeId

ANSWER_TIMEOUT_S = 3.0
FAILED_SYNC_TIMEOUT_S = 3.0
"""A node syncs with every write, and an idle one with none."""

DISK_FULL_TIMEOUT_S = 2.0
POLL_S = 0.02
CLOCK_TOLERANCE = 0.1
"""Share by which a rate may be missed, and seconds by which a jump may be."""


async def make_wish(stage: Stage, node: NodeId, **wish: Any) -> dict[str, Any] | None:
    """Change the faults inside a node; None if it did not answer."""
    with trio.move_on_after(ANSWER_TIMEOUT_S):
        return await stage.cluster.processes.ask(node, wish)
    return None


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The log of one node cannot grow."""

    target: Target = "any"
    kind: ClassVar[str] = "disk-full"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,) = spell.parties
        await stage.strike_under_load(spell)
        await make_wish(stage, node, disk_full=True)

        async def end() -> None:
            spell.effects = int(await _reports_disk_full(stage, node, True))
            await make_wish(stage, node, disk_full=False)
            await _reports_disk_full(stage, node, False)

        spell.end = end
        return spell


async def _reports_disk_full(stage: Stage, node: NodeId, full: bool) -> bool:
    """Wait a little for a node to say that its disk is full, or is not; return whether it did."""
    with trio.move_on_after(DISK_FULL_TIMEOUT_S):
        while node in stage.cluster.processes.running:
            status = (await stage.cluster.statuses()).get(node)
            if status is not None and status["disk_full"] is full:
                return True
            await trio.sleep(POLL_S)
    return False


@dataclass(frozen=True, slots=True)
class SlowSync:
    """Every sync of one node takes longer."""

    delay_s: float = 0.1
    target: Target = "any"
    kind: ClassVar[str] = "slow-sync"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,) = spell.parties
        spell.target += f", {self.delay_s:g} s"
        await stage.strike_under_load(spell)
        before = await make_wish(stage, node, sync_delay_s=self.delay_s)

        async def end() -> None:
            after = await make_wish(stage, node, sync_delay_s=0.0)
            if before is not None and after is not None:
                slowed = after["counts"].get("slowed", 0) - before["counts"].get("slowed", 0)
                spell.effects = int(slowed > 0)

        spell.end = end
        return spell


@dataclass(frozen=True, slots=True)
class FailedSync:
    """A sync of one node fails. It must end by itself then, and is started when the spell ends."""

    target: Target = "any"
    kind: ClassVar[str] = "failed-sync"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,), processes = spell.parties, stage.cluster.processes
        await stage.strike_under_load(spell)
        await make_wish(stage, node, sync_fails=True)
        with trio.move_on_after(FAILED_SYNC_TIMEOUT_S):
            spell.effects = await _ended_by_itself(stage, node)

        async def end() -> None:
            await make_wish(stage, node, sync_fails=False)
            if node in processes.running and processes.ended(node) is not None:
                spell.effects = await _ended_by_itself(stage, node)
            if node not in processes.running:
                await processes.start(node)

        spell.end = end
        return spell


async def _ended_by_itself(stage: Stage, node: NodeId) -> int:
    """Wait for the end of a node; return whether its status is one of its own."""
    return int(await stage.cluster.processes.wait_end(node) > 0)


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The time of day of one node jumps, and back when the spell ends."""

    seconds: float = 60.0
    target: Target = "any"
    kind: ClassVar[str] = "clock-jump"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,) = spell.parties
        spell.target += f", {self.seconds:+g} s"
        pid = stage.cluster.processes.pid(node)
        await stage.strike_under_load(spell)
        answer = await make_wish(stage, node, wall_jump_s=self.seconds)
        if answer is not None:
            jumped_s = (answer["wall_us"] - answer["wall_before_us"]) / 1e6
            spell.effects = int(abs(jumped_s - self.seconds) < CLOCK_TOLERANCE)

        async def end() -> None:
            processes = stage.cluster.processes
            # A process that was started since has the right time.
            if node in processes.running and processes.pid(node) == pid:
                await make_wish(stage, node, wall_jump_s=-self.seconds)

        spell.end = end
        return spell


@dataclass(frozen=True, slots=True)
class ClockRate:
    """All clocks of one node run too fast or too slow."""

    rate: float = 1.5
    target: Target = "any"
    kind: ClassVar[str] = "clock-rate"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,) = spell.parties
        spell.target += f", times {self.rate:g}"
        await stage.strike_under_load(spell)
        first = await make_wish(stage, node, clock_rate=self.rate)

        async def end() -> None:
            last = await make_wish(stage, node, clock_rate=1.0)
            if first is not None and last is not None:
                shown = last["monotonic_s"] - first["monotonic_s"]
                passed = last["true_s"] - first["true_s"]
                # A process that was started since shows less than passed, or less than nothing.
                wanted = self.rate * passed
                spell.effects = int(abs(shown - wanted) < CLOCK_TOLERANCE * wanted)

        spell.end = end
        return spell
