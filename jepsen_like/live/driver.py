"""Carries out what a generator says: threads that ask one operation at a time, and a history.

A thread stands for one logical process after another. After an operation whose outcome nobody knows
its process number is not used again, since that operation may still take effect; the thread goes on
under a number that is higher by the number of threads, with a client of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any

import trio

from jepsen_like.history import Entry
from jepsen_like.live.asking import Asker, Ending
from jepsen_like.live.generator import Context, Ended, Generator, Op, Pending
from jepsen_like.live.recorder import Clock, Recorder
from jepsen_like.workload.base import Workload

Connect = Callable[[int], AbstractAsyncContextManager[Asker]]
"""From a thread's number to what carries out its operations, until it must be made anew."""

WAIT_MIN_S = 0.0005
"""Clocks round: without it a generator would be asked again a moment too early, many times."""


class Driver:
    """One load on one cluster, over all its phases.

    Args:
        workload: What operations mean.
        threads: Operations under way at once, at most.
        connect: Makes what carries them out.
        recorder: Gets the history.
        clock: The run's clock.
        rng: Every choice of the generators.
    """

    def __init__(
        self,
        workload: Workload,
        threads: int,
        connect: Connect,
        recorder: Recorder,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.keys: list[str | None] = []
        """Every key that an operation was begun on, in the order of the first."""
        self.senseless: list[str] = []
        """What was answered that no correct cluster answers."""
        self._workload = workload
        self._threads = threads
        self._connect = connect
        self._recorder = recorder
        self._clock = clock
        self._rng = rng
        self._number = 1
        self._process = list(range(threads))  # by thread: its present process
        self._free: dict[int, None] = dict.fromkeys(range(threads))  # threads without an operation
        self._known: dict[str | None, Any] = {}
        self._ended: dict[str | None, dict[int, Ended]] = {}
        self._news = trio.Event()  # an operation ended
        self._channels: list[trio.MemorySendChannel[Op]] = []

    async def run(self, nursery: trio.Nursery) -> None:
        """Start the threads in ``nursery``; they end with it."""
        for thread in range(self._threads):
            send, receive = trio.open_memory_channel[Op](1)
            self._channels.append(send)
            nursery.start_soon(self._work, thread, receive)

    async def drive(self, generator: Generator) -> Generator:
        """Carry out a generator until it is done and all its operations have ended.

        Returns:
            What is left of it.
        """
        while True:
            self._news = trio.Event()
            step, generator = generator.next(self._rng, self._context())
            if isinstance(step, Op):
                self._begin(step)
            elif isinstance(step, Pending):
                await self._wait(step.until_s)
            elif len(self._free) < self._threads:
                await self._news.wait()
            else:
                return generator

    # --- one step ---

    def _context(self) -> Context:
        return Context(
            now_s=self._clock.seconds(),
            number=self._number,
            free=tuple(sorted(self._process[thread] for thread in self._free)),
            busy=self._threads - len(self._free),
            known=self._known,
            ended=self._ended,
        )

    def _begin(self, op: Op) -> None:
        thread = op.process % self._threads
        del self._free[thread]
        self._number += 1
        if op.key not in self._ended:
            self.keys.append(op.key)
            self._ended[op.key] = {}
        self._channels[thread].send_nowait(op)

    async def _wait(self, until_s: float) -> None:
        with trio.move_on_after(max(WAIT_MIN_S, until_s - self._clock.seconds())):
            await self._news.wait()

    # --- threads ---

    async def _work(self, thread: int, operations: trio.MemoryReceiveChannel[Op]) -> None:
        while True:
            async with self._connect(thread) as asker:
                async for op in operations:
                    if not await self._carry_out(thread, asker, op):
                        break
                else:
                    return

    async def _carry_out(self, thread: int, asker: Asker, op: Op) -> bool:
        """Carry out one operation. Returns whether its process may go on."""
        began = self._recorder.invoke(op.process, op.f, op.key, op.value)
        ending = await asker.ask(op)
        entry = self._recorder.end(began, ending.type, ending.value, ending.error)
        self._note(op, ending, entry)
        goes_on = ending.type != "info"
        if not goes_on:
            self._process[thread] += self._threads
        self._free[thread] = None
        self._news.set()
        return goes_on

    def _note(self, op: Op, ending: Ending, entry: Entry) -> None:
        self._ended[op.key][op.process] = Ended(op.number, entry)
        if ending.senseless:
            self.senseless.append(str(ending.error))
        if entry.type == "ok":
            known = self._known.get(op.key)
            self._known[op.key] = self._workload.learn(known, op.f, op.value, entry.value)
