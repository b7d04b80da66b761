"""A stage for workers: a task log on virtual time, handlers, and what the workers told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from statemachines import task_log_format as form
from statemachines.task_handlers import Handler, Work
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DEFAULT_LIMITS, MICRO, NodeSpec, Task, TaskLogLimits
from statemachines.task_log_requests import node_spec
from statemachines.task_outbox import Outbox
from statemachines.task_worker import (
    TaskWorker,
)
from statemachines.task_worker_events import WorkerEvent
from tests.statemachines.one_replica import Link, OneReplica, pass_time

LEASE_S = 3


def node(name: str = "edge-1", capacity: int = 8) -> NodeSpec:
    return node_spec(name, "edge", lease=LEASE_S * MICRO, capacity=capacity * MICRO)


def on_virtual_time(scenario: Callable[[], Awaitable[None]]) -> None:
    # Not at once: a thread that writes or works does not show as something to wait for.
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0.002))


class Stage:
    """A task log, a client of it that nothing cuts off, and workers."""

    def __init__(self, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
        self.replica = OneReplica(limits)
        self.log = TaskLogClient(Link(self.replica))
        self.events: list[WorkerEvent] = []
        self._told = trio.Event()

    def worker(
        self,
        handlers: dict[str, Handler],
        *,
        name: str = "edge-1",
        link: Link | None = None,
        outbox: Outbox | None = None,
        slots: int = 8,
    ) -> TaskWorker:
        return TaskWorker(
            TaskLogClient(link or Link(self.replica)),
            node(name),
            handlers,
            outbox=outbox,
            slots=slots,
            observe=self.observe,
        )

    async def task(self, name: str) -> Task:
        task = (await self.log.get(name)).task
        assert task is not None
        return task

    async def finished(self, name: str) -> Task:
        """Wait until a task is finished, and return it."""
        while True:
            task = await self.task(name)
            if task.state >= form.DONE:
                return task
            await self.log.watch_once("task", name, task.revision)

    def observe(self, event: WorkerEvent) -> None:
        self.events.append(event)
        self._told.set()
        self._told = trio.Event()

    async def until_told(self, what: str, count: int = 1) -> None:
        while len(self.told(what)) < count:
            await self._told.wait()

    def told(self, what: str) -> list[str]:
        return [event.task for event in self.events if event.what == what]


async def echo(work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    return work.job.payload + b"!"


async def work_until_finished(stage: Stage, worker: TaskWorker, *names: str) -> list[Task]:
    """Run a worker until tasks are finished and it has stopped; return the tasks."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        tasks = [await stage.finished(name) for name in names]
        worker.stop()
    return tasks


def sleeper(seconds: float, ran: list[str] | None = None) -> Handler:
    async def sleep(work: Work) -> bytes:
        if ran is not None:
            ran.append(f"{work.job.id} {work.job.attempt}")
        await pass_time(seconds)
        return b"%d" % work.job.attempt

    return sleep


async def keep_time(stage: Stage) -> None:
    """Let replicated time go on, as other clients' commands would."""
    while True:
        await pass_time(LEASE_S / 10)
        await stage.log.tick()
