"""A worker whose executor is a Dask cluster: real processes, none of them ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest
import trio

from statemachines import task_log_format as form
from statemachines.task_handlers import Job, in_executor
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO, Task
from statemachines.task_log_requests import node_spec, task_spec
from statemachines.task_worker import TaskWorker
from tests.statemachines.one_replica import Link, OneReplica

distributed = pytest.importorskip("distributed", reason="Dask is not installed; it is in `dev`")

# What Dask itself warns of differs from release to release.
pytestmark = [pytest.mark.processes, pytest.mark.filterwarnings("default")]

TASKS = 12


def work_elsewhere(job: Job) -> bytes:
    if job.payload == b"raise":
        raise ValueError(f"attempt {job.attempt} of {job.id}")
    return b"%d %d %s" % (os.getpid(), int(job.payload) ** 2, b"".join(job.inputs.values()))


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


async def finished(log: TaskLogClient, *names: str) -> list[Task]:
    """Wait until tasks are finished, and return them."""
    tasks = []
    for name in names:
        while True:
            task = (await log.get(name)).task
            assert task is not None
            if task.state >= form.DONE:
                break
            await log.watch_once("task", name, task.revision)
        tasks.append(task)
    return tasks


def test_tasks_of_a_dask_cluster_run_in_its_processes_and_report_each_result(
    dask: Executor,
) -> None:
    async def scenario() -> None:
        replica = OneReplica()
        log = TaskLogClient(Link(replica))
        names = [f"t{number}" for number in range(TASKS)]
        await log.submit(
            [
                *(task_spec(name, "square", b"%d" % at) for at, name in enumerate(names)),
                task_spec("bad", "square", b"raise", attempts=2, backoff=0),
                task_spec("last", "square", b"0", depends_on=["t3"]),
            ]
        )
        node = node_spec("dask-1", "cloud", lease=30 * MICRO, capacity=4 * MICRO)
        handlers = {"square": in_executor(dask, work_elsewhere)}
        worker = TaskWorker(TaskLogClient(Link(replica)), node, handlers)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                *tasks, bad, last = await finished(log, *names, "bad", "last")
                worker.stop()
        results = [(task.result or b"").split() for task in tasks]
        assert [int(square) for _, square in results] == [number**2 for number in range(TASKS)]
        assert 1 <= len({process for process, _ in results} - {b"%d" % os.getpid()}) <= 2
        assert [task.attempt for task in tasks] == [1] * TASKS
        assert bad.reason == "all 2 attempts are used up: ValueError: attempt 2 of bad"
        assert (last.result or b"").split()[-1] == b"9"  # the result of t3 came with it

    trio.run(scenario)
