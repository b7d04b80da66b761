"""One replica of a task log in this process, behind a connection that fails when it is told to.

Its time is trio's clock, so that tests run on virtual time. It must be no kinder than a cluster: a
request that is lost may have been applied, and whoever made it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from paxos.core.errors import PaxosError
from paxos.core.state_machine import Stamp
from statemachines.machine_client import Level
from statemachines.task_log import TaskLog
from statemachines.task_log_format import DEFAULT_LIMITS, MICRO, TaskLogLimits

EPOCH = 1_700_000_000 * MICRO
"""Replicated time when trio's clock is at 0."""

ROUND_TRIP_S = 0.001
TIMEOUT_S = 0.3


async def pass_time(seconds: float) -> None:
    """Let virtual time go on."""
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


class Unreachable(PaxosError):
    """The connection gave up: the request may have been applied, or not."""


class OneReplica:
    """The task log, and the slot of its last command."""

    def __init__(self, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
        self.machine = TaskLog(limits)
        self.slot = 0
        self.changed = trio.Event()

    def apply(self, command: bytes) -> bytes:
        """Apply a command at once."""
        self.slot += 1
        time = EPOCH + round(trio.current_time() * MICRO)
        try:
            return self.machine.apply(command, Stamp(self.slot, 0, time))
        finally:
            self.changed.set()
            self.changed = trio.Event()


class Link:
    """A connection to it: a ``MachineClient``.

    Args:
        replica: Where it leads.
        rng: Decides which requests are lost; None loses none.
        lost: How many of a hundred requests are lost, before or after they are applied.

    Attributes:
        cut: Whether nothing comes through. May be changed at any time.
        before: Called with every command before it is applied.
    """

    def __init__(self, replica: OneReplica, rng: Random | None = None, lost: int = 0) -> None:
        self._replica = replica
        self._rng = rng
        self._lost = lost
        self.cut = False
        self.before: Callable[[bytes], None] = lambda _command: None

    def mend(self) -> None:
        """Lose nothing from now on."""
        self.cut = False
        self._rng = None

    async def execute(self, machine: str, command: bytes) -> tuple[int, bytes]:
        """Apply a command, or lose it, or its answer."""
        assert machine == "tasks"
        await self._travel()
        self.before(command)
        answer = self._replica.apply(command)
        await self._travel()
        return self._replica.slot, answer

    async def query(
        self, machine: str, query: bytes, level: Level = "linearizable"
    ) -> tuple[int, bytes]:
        """Ask, or lose the question."""
        assert machine == "tasks"
        await self._travel()
        return self._replica.slot, self._replica.machine.query(query)

    async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
        """Wait, across cuts, until there is something to tell."""
        assert machine == "tasks"
        while True:
            changed = self._replica.changed
            if not self.cut:
                answer = self._replica.machine.watch(query)
                if answer is not None:
                    await pass_time(ROUND_TRIP_S)
                    return self._replica.slot, answer
            with trio.move_on_after(TIMEOUT_S):
                await changed.wait()

    async def _travel(self) -> None:
        await pass_time(ROUND_TRIP_S / 2)
        if self.cut or (self._rng is not None and self._rng.randrange(100) < self._lost):
            await pass_time(TIMEOUT_S)
            raise Unreachable("no answer in time")
