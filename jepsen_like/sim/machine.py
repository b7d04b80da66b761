"""The machine under a simulated node: its disk at work, its clock, and what goes wrong with them.

It keeps one write outstanding and says when it is durable; a sync that fails ends the process; a
disk that is full is noticed before a write. What is written and why, it does not know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from jepsen_like.sim.clock import Clock
from jepsen_like.sim.disk import NodeDisk, SimDisk
from jepsen_like.sim.invariants import Invariants, Violation
from jepsen_like.sim.log_disk import LogDisk
from jepsen_like.sim.plan import Plan
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos.core.effects import Send
from paxos.core.events import DiskFull, Event
from paxos.core.ids import Voter
from paxos.core.records import Record
from paxos.storage.base import StorageFailed


class Machine(ABC):
    """What one node runs on, over all its lives.

    Args:
        world: Time and chance.
        invariants: The checkers.
        voter: Whose machine it is.
        witness: It keeps no state.

    Attributes:
        voter: As given.
        facts: What the checkers know of it.
        disk: Where its log and its snapshots lie.
        clock: Its clocks.
        up: A process runs on it.
        life: How many did.
        paused: That process stands still.
        slow: What a sync's time is multiplied by.
        sync_fails: If there, the next sync fails, and this is told.
        fills: If there, its disk is full; told when it notices.
        at_write: Happens in the middle of the next write.
        at_durable: Is told of every write that has become durable.
    """

    def __init__(self, world: World, invariants: Invariants, voter: Voter, witness: bool) -> None:
        self.voter = voter
        self.facts = invariants.add(voter, executes=not witness)
        self.disk: NodeDisk = make_disk(voter, world.plan)
        self.up = False
        self.life = 0
        self.paused = False
        self.slow = 1.0
        self.sync_fails: Callable[[], None] | None = None
        self.fills: Callable[[], None] | None = None
        self.at_write: Callable[[], None] | None = None
        self.at_durable: Callable[[Any, Sequence[Record]], None] | None = None
        self._world = world
        self._plan = world.plan
        self._invariants = invariants
        self._disk_rng = stream(world.seed, "disk", voter.node)
        drift, rng = self._plan.drift, stream(world.seed, "clock", voter.node)
        world.effects["clock rate"] += drift > 0
        self.clock = Clock(1.0 + rng.uniform(-drift, drift), rng.random() * 1000)
        self._inbox: list[Event] = []
        self._syncing = False
        self._staged = False  # the disk was given something since it was last asked to write
        self._fail_armed = False  # a sync to come will fail
        self._full_told = False  # what the replica was told of room on its disk

    @abstractmethod
    def crash(self, power_cut: bool) -> int:
        """End this life."""

    @abstractmethod
    def _pass(self) -> None:
        """Let the process take what has come."""

    @abstractmethod
    def _release(self, sends: Sequence[Send]) -> None:
        """Let the process send what waited for a write."""

    @abstractmethod
    def _look_at_clocks(self) -> None:
        """Let the process read its clocks."""

    def spare_sync(self) -> None:
        """Let no sync fail that was to fail."""
        self.sync_fails = None
        if self._fail_armed:
            self._fail_armed = False
            self.disk.fail(0)

    def fill_disk(self, told: Callable[[], None]) -> None:
        """Leave its disk no more room. ``told`` is called when it notices."""
        self.fills = told
        self.disk.fill(True)
        self._look_for_room(self.life)

    def clear_disk(self) -> None:
        """Give its disk room again."""
        self.fills = None
        self.disk.fill(False)
        self._look_for_room(self.life)

    # --- disk ---

    def _write(self) -> bool:
        """Send what writes have released, and begin a write if something waits for one.

        Returns:
            Whether anything was released.
        """
        released = self._staged = False
        while True:
            sends, began = self.disk.write()
            if began:
                self._syncing = True
                least, most = self._plan.sync_s
                delay = self._disk_rng.uniform(least, most) * self.slow
                self._world.after(delay, self._synced, self.life)
                if self.at_write is not None:
                    self._world.after(delay * self._disk_rng.random(), self.at_write)
                    self.at_write = None
            if not sends:
                return released
            released = True
            self._release(sends)

    def _synced(self, life: int) -> None:
        """The outstanding write is durable, or the process ends."""
        if life != self.life or not self.up:
            return
        if self.paused:
            self._world.after(0.01, self._synced, life)
            return
        if self.sync_fails is not None and not self._fail_armed:
            self._fail_armed = True
            self.disk.fail(self._disk_rng.choice((1, 1, 2, 3)))
        try:
            records = self.disk.complete()
        except StorageFailed:
            self._sync_failed()
            return
        self._syncing = False
        self._look_at_clocks()
        self._invariants.durable(self.facts, records)
        if self.at_durable is not None:
            self.at_durable(self, records)
        if self._world.tracing:
            self._world.say(f"{self.voter} . synced {len(records)} records")
        self._write()
        self._pass()
        self._look_for_room(life)

    def _sync_failed(self) -> None:
        """Nobody knows what the disk kept: the process ends."""
        self._fail_armed = False
        if self.sync_fails is not None:
            self.sync_fails()
            self.sync_fails = None
        self.facts.failed = True
        self.crash(power_cut=False)

    def _look_for_room(self, life: int) -> None:
        """Tell the replica if there is too little room on disk, or enough again."""
        if not self.up or life != self.life:
            return
        try:
            full = not self.disk.has_room()
        except StorageFailed:
            self._sync_failed()
            return
        if full and self.fills is None:
            raise Violation(0, f"{self.voter} finds no room on a disk that has it")
        if full is not self._full_told:
            self._full_told = full
            if full and self.fills is not None:
                self.fills()
            self._inbox.append(DiskFull(full))
            self._staged = True  # what waited for room may be written now
            self._pass()


def make_disk(voter: Voter, plan: Plan) -> NodeDisk:
    """Return an empty disk of the kind that a plan draws."""
    return LogDisk(voter, plan.limits, bool(plan.churn)) if plan.real_log else SimDisk()
