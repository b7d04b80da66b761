"""Pipelines: calls that wait for a result, steps in order, and references instead of data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
import trio
import trio.testing
from msgpack import packb

from paxos.core.state_machine import CommandFailed
from statemachines import task_log_format as form
from statemachines.task_handlers import Handler, TaskFailed, Work
from statemachines.task_log_answers import ChangesCompacted, TaskUnknown, decode_failure
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DEFAULT_LIMITS, MICRO, TaskLogLimits
from statemachines.task_log_requests import RequestInvalid, node_spec, task_spec
from statemachines.task_pipelines import (
    DataReference,
    ReferenceInvalid,
    Step,
    TaskNotDone,
    edge_to_cloud,
    execute,
    execute_pipeline,
    pipeline,
    wait_result,
)
from statemachines.task_worker import TaskWorker
from tests.statemachines.one_replica import Link, OneReplica, pass_time


class Stage:
    """A task log, and workers that run beside the scenario until it ends."""

    def __init__(self, nursery: trio.Nursery, limits: TaskLogLimits) -> None:
        self.replica = OneReplica(limits)
        self.log = TaskLogClient(Link(self.replica))
        self._nursery = nursery

    def work(self, name: str, handlers: dict[str, Handler]) -> None:
        kind: Literal["cloud", "edge"] = "cloud" if name.startswith("cloud") else "edge"
        node = node_spec(name, kind, lease=5 * MICRO, capacity=4 * MICRO)
        log = TaskLogClient(Link(self.replica))
        self._nursery.start_soon(TaskWorker(log, node, handlers).run)


def on_virtual_time(
    scenario: Callable[[Stage], Awaitable[None]], limits: TaskLogLimits = DEFAULT_LIMITS
) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await scenario(Stage(nursery, limits))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.002))


async def count_up(work: Work) -> bytes:
    for number in range(int(work.job.payload)):
        await work.progress(b"%d" % number)
    return b"counted"


def test_call_with_progress_streams_it_and_returns_the_result() -> None:
    told: list[tuple[str, bytes]] = []

    async def scenario(stage: Stage) -> None:
        stage.work("edge-1", {"count": count_up})
        result = await execute(
            stage.log,
            "count",
            b"5",
            task_id="call",
            on_progress=lambda task, data: told.append((task, data)),
            node_kind="edge",
        )
        assert result == b"counted"
        assert told == [("call", b"%d" % number) for number in range(5)]
        await stage.log.submit([task_spec("more", "count", b"3")])
        result = await wait_result(stage.log, "more", lambda *piece: told.append(piece))
        assert result == b"counted"
        assert told[5:] == [("more", b"%d" % number) for number in range(8 - len(told), 3)]

    on_virtual_time(scenario)


def test_call_made_again_finds_the_result_and_does_nothing_twice() -> None:
    runs: list[str] = []

    async def note(work: Work) -> bytes:
        runs.append(work.job.id)
        await pass_time(1)
        return b"once"

    async def scenario(stage: Stage) -> None:
        stage.work("edge-1", {"note": note})
        with trio.move_on_after(0.5):  # a caller that dies while it waits
            await execute(stage.log, "note", b"x", task_id="call")
        assert await execute(stage.log, "note", b"x", task_id="call") == b"once"
        assert await execute(stage.log, "note", b"x", task_id="call") == b"once"
        assert runs == ["call"]
        with pytest.raises(Exception, match="exists with other content"):
            await execute(stage.log, "note", b"y", task_id="call")

    on_virtual_time(scenario)


def test_call_whose_task_ends_without_a_result_says_why() -> None:
    async def refuse(_work: Work) -> bytes:
        await trio.lowlevel.checkpoint()
        raise TaskFailed("no such camera", retry=False)

    async def scenario(stage: Stage) -> None:
        stage.work("edge-1", {"refuse": refuse})
        with pytest.raises(TaskNotDone, match="task call is dead: no such camera") as dead:
            await execute(stage.log, "refuse", task_id="call")
        assert dead.value.task.state == form.DEAD
        await stage.log.submit([task_spec("later", "refuse", not_before=2**60)])
        async with trio.open_nursery() as nursery:

            async def cancelled() -> None:
                with pytest.raises(TaskNotDone, match="task later is cancelled"):
                    await wait_result(stage.log, "later")

            nursery.start_soon(cancelled)
            await pass_time(1)
            await stage.log.cancel("later")
        with pytest.raises(TaskUnknown):
            await wait_result(stage.log, "never")

    on_virtual_time(scenario)


def test_call_too_slow_for_the_changes_kept_still_gets_the_result() -> None:
    failures: list[CommandFailed] = []

    class Slow(Link):
        async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
            await pass_time(0.02)
            try:
                return await super().watch_once(machine, query)
            except CommandFailed as failure:
                failures.append(decode_failure(failure))
                raise

    async def scenario(stage: Stage) -> None:
        stage.work("edge-1", {"count": count_up})
        log = TaskLogClient(Slow(stage.replica))
        told: list[bytes] = []
        await stage.log.submit([task_spec("call", "count", b"100")])
        result = await wait_result(log, "call", lambda _task, data: told.append(data))
        assert result == b"counted"
        assert [type(failure) for failure in failures] == [ChangesCompacted] * len(failures)
        assert len(failures) > 1
        assert told == sorted(set(told), key=int)

    on_virtual_time(scenario, TaskLogLimits(keep_changes=4))


# --- pipelines ------------------------------------------------------------------------------------


def test_pipeline_from_edge_to_cloud_hands_on_references_and_no_data() -> None:
    stores: dict[str, dict[str, bytes]] = {"edge-1": {"frame": bytes(range(256)) * 40}}

    def handlers(name: str) -> dict[str, Handler]:
        store = stores.setdefault(name, {})

        async def shrink(work: Work) -> bytes:
            await trio.lowlevel.checkpoint()
            store["small"] = store[work.job.payload.decode()][::64]
            return DataReference.of(name, "small", store["small"]).encode()

        async def fetch(work: Work) -> bytes:
            await trio.lowlevel.checkpoint()
            (found,) = map(DataReference.decode, work.job.inputs.values())
            store["fetched"] = stores[found.node][found.name]
            found.check(store["fetched"])
            return DataReference.of(name, "fetched", store["fetched"]).encode()

        async def total(work: Work) -> bytes:
            await trio.lowlevel.checkpoint()
            (found,) = map(DataReference.decode, work.job.inputs.values())
            data = stores[found.node][found.name]
            found.check(data)
            return b"%d" % sum(data)

        return {"shrink": shrink, "fetch": fetch, "total": total}

    async def scenario(stage: Stage) -> None:
        for name in ("cloud-1", "cloud-2", "edge-1", "edge-2"):
            stage.work(name, handlers(name))
        await pass_time(1)
        steps = edge_to_cloud(
            Step("process", "shrink", b"frame"),
            Step("transfer", "fetch"),
            Step("compute", "total", options={"priority": 5}),
            source="edge-1",
            raw_bytes=10**10,
            sent_bytes=160,
        )
        assert await execute_pipeline(stage.log, "cam-7/1", steps) == b"%d" % (96 * 160)
        tasks = [task async for task in stage.log.tasks()]
        assert [(task.spec.id, task.node.partition("-")[0]) for task in tasks] == [
            ("cam-7/1/process", "edge"),
            ("cam-7/1/transfer", "cloud"),
            ("cam-7/1/compute", "cloud"),
        ]
        assert tasks[0].node == "edge-1"  # where the data is
        assert tasks[2].spec.priority == 5
        for task in tasks:
            whole = (await stage.log.get(task.spec.id)).task
            assert whole is not None
            assert whole.result is not None
            assert len(whole.result) < 100

    on_virtual_time(scenario)


def test_pipeline_whose_first_step_dies_ends_with_the_reason() -> None:
    async def refuse(_work: Work) -> bytes:
        await trio.lowlevel.checkpoint()
        raise TaskFailed("no such camera", retry=False)

    async def scenario(stage: Stage) -> None:
        stage.work("edge-1", {"refuse": refuse})
        with pytest.raises(TaskNotDone, match="it depends on p/b, which is dead"):
            await execute_pipeline(
                stage.log, "p", [Step(name, "refuse") for name in ("a", "b", "c")]
            )

    on_virtual_time(scenario)


def test_pipeline_steps_without_after_follow_the_one_before() -> None:
    log = TaskLogClient(Link(OneReplica()))
    steps = [Step("a", "k"), Step("b", "k"), Step("c", "k", after=["a"]), Step("d", "k", after=[])]
    assert [spec.depends_on for spec in pipeline(log, "p", steps)] == [(), ("p/a",), ("p/a",), ()]
    with pytest.raises(RequestInvalid, match="step x comes after y, which is not before it"):
        pipeline(log, "p", [Step("x", "k", after=["y"]), Step("y", "k")])


# --- references -----------------------------------------------------------------------------------


def test_reference_of_data_names_it_and_knows_it_again() -> None:
    reference = DataReference.of("edge-1", "/frames/1", b"data")
    assert DataReference.decode(reference.encode()) == reference
    reference.check(b"data")
    for other in (b"dat", b"date", b""):
        with pytest.raises(ReferenceInvalid, match="/frames/1 of node edge-1 is not what was left"):
            reference.check(other)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", packb((2, "n", "x", 1, b"")), packb((1, "n", "x", "1", b"")), packb([1] * 4)],
)
def test_reference_read_from_other_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(ReferenceInvalid, match="not a data reference of format 1"):
        DataReference.decode(data)
