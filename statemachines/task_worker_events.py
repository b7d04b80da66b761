"""What a worker tells whoever watches it, and whether it reaches its cluster.

It owns the one note of whether the cluster answered last. It must never decide anything by it but
what to tell, and what need not be tried: a cluster that is out of reach may have done all the same
what it was asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import trio

from paxos.core.errors import PaxosError
from paxos.core.state_machine import CommandFailed

RETRY_S: Final = 0.5
"""Seconds before the cluster is asked again after it could not be reached."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that happened to a worker.

    Attributes:
        what: "registered" (``token`` is the registration); "claimed", "done" and "failed" (the task
            log has it), "lost" (the claim ended before its result was taken), "refused" (the task
            log takes no such report; ``detail`` says why); "cut off" and "back" (the cluster).
        task: The task, or nothing.
        token: The claim's token, or the registration.
        detail: Why.
    """

    what: Literal["registered", "claimed", "done", "failed", "lost", "refused", "cut off", "back"]
    task: str = ""
    token: int = 0
    detail: str = ""


Observer = Callable[[WorkerEvent], None]
"""Called in the worker's task, between two steps. What it raises ends the worker."""


class Contact:
    """Whether the cluster answered last.

    Args:
        observe: Is told when that changes.
    """

    def __init__(self, observe: Observer) -> None:
        self.connected = True
        self._observe = observe

    def note_cut(self, error: PaxosError) -> None:
        """Note that a request ended without an answer."""
        if self.connected:
            self.connected = False
            self._observe(WorkerEvent("cut off", detail=str(error)))

    def note_back(self) -> None:
        """Note an answer."""
        if not self.connected:
            self.connected = True
            self._observe(WorkerEvent("back"))

    async def reach(self, ask: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Ask until there is an answer; only for what may be asked again.

        Raises:
            CommandFailed: The answer is that it was refused.
        """
        while True:
            try:
                answer = await ask(*arguments)
            except CommandFailed:
                self.note_back()
                raise
            except PaxosError as error:
                self.note_cut(error)
                await trio.sleep(RETRY_S)
            else:
                self.note_back()
                return answer


class Bell:
    """Wakes the one task that waits for it; a ring before the wait is not lost."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Wake it, or let its next wait be none."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait for a ring since the last wait."""
        await self._rung.wait()
        self._rung = trio.Event()
