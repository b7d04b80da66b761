"""A load on one state machine in memory, with clients that fail, on virtual time.

What a client sees of a cluster, without the cluster: so that the driver, the clients' side and the
checker can be tested together, many operations in no time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import trio
from trio.testing import MockClock

from jepsen_like.history import Entry
from jepsen_like.live.asking import Asker, ClientAsker
from jepsen_like.live.driver import Driver
from jepsen_like.live.generator import TimeLimit
from jepsen_like.live.plan import Plan
from jepsen_like.live.recorder import Clock, Recorder
from paxos.core.client import Done
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine
from paxos.runtime.client import Answer, Client, OutcomeUnknown, RequestFailed, RequestRefused
from paxos.service import load_machines


class OneMachine:
    """Answers as a cluster does. Stands in for a client of one.

    Args:
        machine: The state machine.
        rng: Draws delays and failures.
        trouble: The share of requests that get no answer. Some of the commands among them are
            applied nevertheless, and some of those only later.
    """

    def __init__(self, machine: StateMachine, rng: Random, trouble: float) -> None:
        self._machine = machine
        self._rng = rng
        self._trouble = trouble
        self._slot = 0

    async def submit(self, _machine: str, command: bytes, *, timeout: float | None) -> Done:  # noqa: ASYNC109 - as the client's
        await self._travel()
        fate = "answered"
        if self._rng.random() < self._trouble:
            fate = self._rng.choice(("refused", "lost", "applied", "applied late"))
        if fate == "refused":
            raise RequestRefused("not leader")
        if fate == "applied late":
            await let_pass(self._rng.uniform(0, 1))
        if fate == "lost":
            raise OutcomeUnknown("no answer came in time")
        self._slot += 1
        try:
            now_us = int(trio.current_time() * 1e6)
            answer = self._machine.apply(command, Stamp(self._slot, 0, now_us))
            refusal = None
        except CommandFailed as failure:
            refusal = str(failure)
        if fate != "answered":
            raise OutcomeUnknown("no answer came in time")
        await self._travel()
        if refusal is not None:
            raise RequestFailed(refusal, self._slot)
        return Done(self._slot, answer)

    async def read(self, _machine: str, query: bytes, *, timeout: float | None) -> Answer:  # noqa: ASYNC109 - as the client's
        await self._travel()
        if self._rng.random() < self._trouble:
            raise RequestRefused("no answer came in time")
        answer = Answer(self._slot, self._machine.query(query))
        await self._travel()
        return answer

    async def watch_once(self, _machine: str, query: bytes, *, timeout: float) -> Answer:  # noqa: ASYNC109 - as the client's
        watch: Callable[[bytes], bytes | None] = self._machine.watch  # type: ignore[attr-defined]
        await self._travel()
        answer = watch(query)
        if answer is None:
            await let_pass(timeout)
            raise RequestRefused("nothing to tell")
        return Answer(self._slot, answer)

    async def _travel(self) -> None:
        await let_pass(self._rng.uniform(0.001, 0.02))


async def let_pass(seconds: float) -> None:
    """Let virtual time pass."""
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


def record(
    plan: Plan,
    path: Path,
    *,
    trouble: float = 0.0,
    ask: Callable[[Client], Asker] | None = None,
) -> tuple[list[Entry], Driver]:
    """Run a plan's load and final operations on one machine; return the history and the driver."""

    async def main() -> tuple[list[Entry], Driver]:
        (machine,) = load_machines({"tested": plan.machine}).values()
        cluster: Client = OneMachine(machine, plan.rng("cluster"), trouble)  # type: ignore[assignment]

        @asynccontextmanager
        async def connect(_thread: int) -> AsyncIterator[Asker]:
            yield ClientAsker(cluster, plan.workload) if ask is None else ask(cluster)

        clock = Clock(lambda: int(trio.current_time() * 1e9))
        recorder = Recorder(path, clock)
        driver = Driver(plan.workload, plan.threads, connect, recorder, clock, plan.rng("load"))
        async with trio.open_nursery() as nursery:
            await driver.run(nursery)
            await driver.drive(TimeLimit(plan.seconds, plan.load()))
            await driver.drive(plan.finals(tuple(driver.keys)))
            nursery.cancel_scope.cancel()
        recorder.close()
        return recorder.entries, driver

    return trio.run(main, clock=MockClock(autojump_threshold=0))
