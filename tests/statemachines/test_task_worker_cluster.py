"""Workers on a real cluster of three in memory: its leader dies while they work."""

from __future__ import annotations

import trio
import trio.testing

import paxos
from paxos.cluster import ClusterFile
from statemachines import task_log_format as form
from statemachines.task_handlers import Work
from statemachines.task_log import TaskLog
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO, TaskChange
from statemachines.task_log_requests import node_spec, task_spec
from statemachines.task_pipelines import execute
from statemachines.task_worker import TaskWorker
from statemachines.task_worker_events import WorkerEvent
from tests.statemachines.one_replica import EPOCH, pass_time

LEASE_S = 10
TASKS = 40


async def slow_echo(work: Work) -> bytes:
    await pass_time(0.3)
    return work.job.payload


class Cluster:
    """Three replicas on virtual time, each with a life of its own."""

    def __init__(self, file: ClusterFile, nursery: trio.Nursery) -> None:
        self.file = file
        self._nursery = nursery
        self._lives: dict[int, trio.CancelScope] = {}

    async def start(self, node: int) -> None:
        await self._nursery.start(self._live, node)

    def kill(self, node: int) -> None:
        self._lives[node].cancel()

    async def _live(
        self, node: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as self._lives[node]:
            async with paxos.open_node(
                self.file,
                node,
                machines={"tasks": TaskLog()},
                wall_clock_us=lambda: EPOCH + round(trio.current_time() * MICRO),
            ):
                task_status.started()
                await trio.sleep_forever()


async def leader(client: paxos.Client) -> int:
    status = await client.status()
    leaders = [each for each in status.values() if each["reachable"] and each["role"] == "leader"]
    return int(leaders[0]["node"])


async def work(file: ClusterFile, name: str, events: list[WorkerEvent]) -> None:
    async with paxos.open_client(file) as client:
        node = node_spec(name, "edge", lease=LEASE_S * MICRO, capacity=4 * MICRO)
        handlers = {"echo": slow_echo}
        await TaskWorker(TaskLogClient(client), node, handlers, observe=events.append).run()


def test_workers_whose_cluster_loses_its_leader_finish_every_task_once() -> None:
    events: list[WorkerEvent] = []

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            cluster = Cluster(paxos.memory_cluster(), nursery)
            for node in cluster.file.urls:
                await cluster.start(node)
            async with paxos.open_client(cluster.file) as client:
                log = TaskLogClient(client)
                for name in ("edge-1", "edge-2"):
                    nursery.start_soon(work, cluster.file, name, events)
                await pass_time(1)
                await log.submit([task_spec(f"t{n}", "echo", b"%d" % n) for n in range(TASKS)])
                await pass_time(1)
                killed = await leader(client)
                cluster.kill(killed)
                assert await execute(log, "echo", b"in between", task_id="call") == b"in between"
                await cluster.start(killed)
                done: dict[str, int] = {}
                async for change in log.watch(after=0):
                    if isinstance(change, TaskChange) and change.state == form.DONE:
                        done[change.id] = done.get(change.id, 0) + 1
                    if len(done) > TASKS:
                        break
                assert set(done.values()) == {1}
                tasks = [(await log.get(f"t{number}")).task for number in range(TASKS)]
                assert [task and task.result for task in tasks] == [
                    b"%d" % number for number in range(TASKS)
                ]
                assert {task.node for task in tasks if task} == {"edge-1", "edge-2"}
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0.002))
    done = [event.task for event in events if event.what == "done"]
    assert len(done) == len(set(done)) == TASKS + 1
