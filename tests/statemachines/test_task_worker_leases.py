"""The worker and its leases: cut off, replaced, stopped and killed, it reports each result once."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from paxos.testing.disk import ModelDisk
from statemachines import task_log_format as form
from statemachines.command_fields import unpack_fields
from statemachines.task_handlers import Work
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO, TaskLogLimits
from statemachines.task_log_requests import task_spec
from statemachines.task_outbox import Done, FileOutbox, MemoryOutbox, OutboxFailed
from statemachines.task_worker import TaskWorker, WorkerReplaced
from tests.statemachines.one_replica import Link, Unreachable, pass_time
from tests.statemachines.task_stage import (
    LEASE_S,
    Stage,
    echo,
    keep_time,
    node,
    on_virtual_time,
    sleeper,
    work_until_finished,
)

# --- leases ---------------------------------------------------------------------------------------


def test_worker_whose_work_outlasts_many_leases_keeps_its_claim() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec(f"t{n}", "sleep") for n in range(3)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_time, stage)
            worker = stage.worker({"sleep": sleeper(6 * LEASE_S)})
            tasks = await work_until_finished(stage, worker, "t0", "t1", "t2")
            nursery.cancel_scope.cancel()
        assert [(task.result, task.attempt) for task in tasks] == [(b"1", 1)] * 3
        assert stage.told("lost") == []

    on_virtual_time(scenario)


def test_worker_whose_task_is_cancelled_cancels_the_work_and_reports_nothing() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "sleep"), task_spec("b", "sleep")])
        worker = stage.worker({"sleep": sleeper(2 * LEASE_S)})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(LEASE_S / 10)
            await stage.log.cancel("a")
            begun = trio.current_time()
            await stage.until_told("lost")
            assert trio.current_time() - begun < LEASE_S / 3 + 0.2
            assert (await stage.finished("b")).result == b"1"
            worker.stop()
        assert (await stage.task("a")).state == form.CANCELLED
        assert (stage.told("lost"), stage.told("done")) == (["a"], ["b"])

    on_virtual_time(scenario)


def test_worker_whose_report_is_held_up_for_many_leases_keeps_its_claim() -> None:
    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)

        def hold_up(command: bytes) -> None:
            if (
                unpack_fields(command, form.FORMAT)[1] == form.COMPLETE
                and trio.current_time() < 5 * LEASE_S
            ):
                raise Unreachable("no answer in time")

        link.before = hold_up
        await stage.log.submit([task_spec("a", "echo")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_time, stage)
            worker = stage.worker({"echo": echo}, link=link)
            (task,) = await work_until_finished(stage, worker, "a")
            nursery.cancel_scope.cancel()
        assert (task.attempt, task.state) == (1, form.DONE)
        assert trio.current_time() > 5 * LEASE_S

    on_virtual_time(scenario)


def test_worker_cut_off_for_less_than_its_lease_reports_what_it_did_meanwhile() -> None:
    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)
        ran: list[str] = []
        await stage.log.submit([task_spec("a", "sleep")])
        worker = stage.worker({"sleep": sleeper(1, ran)}, link=link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_time, stage)
            nursery.start_soon(worker.run)
            await pass_time(0.9)
            link.cut = True
            await pass_time(LEASE_S / 3)
            link.cut = False
            task = await stage.finished("a")
            nursery.cancel_scope.cancel()
        assert (task.result, ran) == (b"1", ["a 1"])
        assert [event.what for event in stage.events] == [
            "registered",
            "claimed",
            "cut off",
            "back",
            "done",
        ]

    on_virtual_time(scenario)


def test_worker_cut_off_for_longer_than_its_lease_loses_and_works_again() -> None:
    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)
        ran: list[str] = []
        names = ["finished", "running"]
        await stage.log.submit([task_spec("finished", "short"), task_spec("running", "long")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_time, stage)
            handlers = {"short": sleeper(1, ran), "long": sleeper(20 * LEASE_S, ran)}
            nursery.start_soon(stage.worker(handlers, link=link).run)
            await pass_time(0.5)
            link.cut = True
            await pass_time(3 * LEASE_S)
            assert [(await stage.task(name)).state for name in names] == [form.READY] * 2
            other = stage.worker({"short": sleeper(1, ran), "long": sleeper(1, ran)}, name="edge-2")
            nursery.start_soon(other.run)
            tasks = [await stage.finished(name) for name in names]
            link.cut = False
            await stage.until_told("lost", 2)
            other.stop()
            await stage.log.submit([task_spec("next", "short")])
            assert (await stage.finished("next")).node == "edge-1"  # registered anew
            nursery.cancel_scope.cancel()
        assert [(task.result, task.node) for task in tasks] == [(b"2", "edge-2")] * 2
        assert sorted(ran) == ["finished 1", "finished 2", "next 1", "running 1", "running 2"]
        assert sorted(stage.told("lost")) == names

    on_virtual_time(scenario)


def test_worker_without_room_whose_registration_lapsed_gives_up_its_work() -> None:
    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)
        await stage.log.submit([task_spec("a", "sleep", attempts=1), task_spec("b", "echo")])
        handlers = {"sleep": sleeper(100 * LEASE_S), "echo": echo}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_time, stage)
            nursery.start_soon(stage.worker(handlers, link=link, slots=1).run)
            await pass_time(1)
            link.cut = True
            await pass_time(2 * LEASE_S)
            link.cut = False
            assert (await stage.finished("b")).result == b"!"
            nursery.cancel_scope.cancel()
        assert (await stage.task("a")).state == form.DEAD
        assert trio.current_time() < 5 * LEASE_S

    on_virtual_time(scenario)


@pytest.mark.parametrize("work_s", [1.5, 100 * LEASE_S])
def test_worker_alone_cut_off_for_longer_than_its_lease_registers_again(work_s: float) -> None:
    """Nobody else's command tells the task log that the lease is over."""

    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)
        seconds = [work_s, 1.0]

        async def sleep(_work: Work) -> bytes:
            await pass_time(seconds.pop(0))
            return b"done"

        await stage.log.submit([task_spec("a", "sleep")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker({"sleep": sleep}, link=link).run)
            await pass_time(1)
            link.cut = True
            await pass_time(2 * LEASE_S)
            link.cut = False
            with trio.fail_after(4 * LEASE_S):
                task = await stage.finished("a")
            nursery.cancel_scope.cancel()
        assert (task.attempt, task.result) == (2, b"done")
        assert stage.told("lost") == ["a"]

    on_virtual_time(scenario)


def test_worker_whose_cancelled_handler_fails_in_its_own_nursery_works_on() -> None:
    async def close_badly() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise OSError("the camera does not close") from None

    async def film(_work: Work) -> bytes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(close_badly)
        raise AssertionError("unreachable")

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "film")])
        worker = stage.worker({"film": film, "echo": echo})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await stage.until_told("claimed")
            await stage.log.cancel("a")
            await stage.until_told("lost")
            await stage.log.submit([task_spec("b", "echo", b"on")])
            assert (await stage.finished("b")).result == b"on!"
            worker.stop()

    on_virtual_time(scenario)


def test_worker_whose_node_another_registers_ends_and_lets_it_be() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "sleep")])
        first = stage.worker({"sleep": sleeper(50 * LEASE_S)})
        second = stage.worker({"sleep": sleeper(1)})
        async with trio.open_nursery() as nursery:

            async def replaced() -> None:
                with pytest.raises(WorkerReplaced, match="node edge-1 was registered again"):
                    await first.run()

            nursery.start_soon(replaced)
            await pass_time(1)
            nursery.start_soon(second.run)
            task = await stage.finished("a")
            second.stop()
        assert (task.attempt, task.result) == (2, b"2")

    on_virtual_time(scenario)


def test_worker_whose_own_lost_registration_arrives_late_registers_again() -> None:
    late: list[bytes] = []

    class Slow(Link):
        async def execute(self, machine: str, command: bytes) -> tuple[int, bytes]:
            if unpack_fields(command, form.FORMAT)[1] == form.REGISTER and not late:
                late.append(command)
                raise Unreachable("no answer in time")
            return await super().execute(machine, command)

    async def scenario() -> None:
        stage = Stage()
        worker = stage.worker({"echo": echo}, link=Slow(stage.replica))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(2)
            stage.replica.apply(late[0])  # takes the node from the worker that sent it
            await stage.log.submit([task_spec("a", "echo", b"x")])
            assert (await stage.finished("a")).result == b"x!"
            worker.stop()
        assert [event.what for event in stage.events].count("registered") == 2

    on_virtual_time(scenario)


# --- ending ---------------------------------------------------------------------------------------


def test_worker_that_is_stopped_finishes_its_work_and_leaves_the_rest() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec(f"t{number}", "sleep") for number in range(4)])
        worker = stage.worker({"sleep": sleeper(5 * LEASE_S)}, slots=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(1)
            worker.stop()
        (left,) = (await stage.log.nodes()).nodes
        assert left.state == form.LAPSED
        assert [(await stage.task(f"t{number}")).state for number in range(4)] == [
            form.DONE,
            form.READY,
            form.READY,
            form.READY,
        ]
        with pytest.raises(RuntimeError, match="runs once"):
            await worker.run()

    on_virtual_time(scenario)


@pytest.mark.parametrize("when", ["before it runs", "while it cannot register"])
def test_worker_that_is_stopped_early_ends(when: str) -> None:
    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)
        link.cut = True
        worker = stage.worker({"echo": echo}, link=link)
        if when == "before it runs":
            worker.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(5)
            worker.stop()
        assert stage.told("registered") == []

    on_virtual_time(scenario)


WHERE = Path("/outbox")


def test_worker_killed_with_results_in_its_outbox_has_them_reported_by_the_next() -> None:
    async def scenario() -> None:
        stage = Stage()
        disk = ModelDisk()
        link = Link(stage.replica)
        ran: list[str] = []
        await stage.log.submit([task_spec(f"t{number}", "sleep") for number in range(3)])
        outbox = FileOutbox(WHERE, "edge-1", disk)
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                worker = stage.worker({"sleep": sleeper(1, ran)}, link=link, outbox=outbox)
                nursery.start_soon(worker.run)
                await pass_time(0.5)
                link.cut = True
                await pass_time(1)
                life.cancel()
        disk.power_cut()
        again = FileOutbox(WHERE, "edge-1", disk)
        assert len(again.pending) == 3
        worker = stage.worker({"sleep": sleeper(1, ran)}, outbox=again)
        tasks = await work_until_finished(stage, worker, "t0", "t1", "t2")
        assert [(task.result, task.attempt) for task in tasks] == [(b"1", 1)] * 3
        assert sorted(ran) == ["t0 1", "t1 1", "t2 1"]  # nothing ran a second time
        assert not again.pending

    on_virtual_time(scenario)


def test_worker_whose_outbox_holds_what_is_over_drops_it() -> None:
    async def scenario() -> None:
        stage = Stage()
        outbox = FileOutbox(WHERE, "edge-1", ModelDisk())
        await stage.log.submit([task_spec("a", "echo", b"hello")])
        outbox.write([Done("a", 7, b"never claimed"), Done("gone", 8, b"never submitted")])
        (task,) = await work_until_finished(stage, stage.worker({"echo": echo}, outbox=outbox), "a")
        assert task.result == b"hello!"
        assert sorted(stage.told("lost")) == ["a", "gone"]
        assert not outbox.pending

    on_virtual_time(scenario)


@pytest.mark.parametrize(("cluster", "client"), [(5, 64), (5, 5)])
def test_worker_whose_result_is_over_the_limits_of_the_cluster_fails_the_task(
    cluster: int, client: int
) -> None:
    """Its limits are not the cluster's, or were not when an earlier life ended."""

    async def scenario() -> None:
        stage = Stage(TaskLogLimits(payload_bytes_max=cluster))
        outbox = MemoryOutbox()
        await stage.log.submit([task_spec("a", "echo", b"right")])
        registration = (await stage.log.register(node())).registration
        (claim,) = (await stage.log.claim("edge-1", registration, 1, LEASE_S * MICRO)).claims
        outbox.write([Done("a", claim.token, b"six by")])
        log = TaskLogClient(Link(stage.replica), limits=TaskLogLimits(payload_bytes_max=client))
        worker = TaskWorker(log, node(), {"echo": echo}, outbox=outbox, observe=stage.observe)
        (task,) = await work_until_finished(stage, worker, "a")
        assert task.state == form.DEAD
        assert task.reason == (
            "its result was refused: the result is too long: 6 bytes, the limit is 5"
        )
        assert stage.told("refused") == ["a"]
        assert not outbox.pending

    on_virtual_time(scenario)


def test_worker_whose_outbox_fails_ends_with_its_error() -> None:
    async def scenario() -> None:
        stage = Stage()
        disk = ModelDisk()
        await stage.log.submit([task_spec("a", "echo")])
        worker = stage.worker({"echo": echo}, outbox=FileOutbox(WHERE, "edge-1", disk))
        disk.fail_sync()
        with pytest.raises(OutboxFailed, match="Input/output error"):
            await worker.run()
        assert stage.told("done") == []

    on_virtual_time(scenario)


def test_worker_result_is_in_the_outbox_before_the_log_hears_of_it() -> None:
    async def scenario() -> None:
        stage = Stage()
        disk = ModelDisk()
        outbox = FileOutbox(WHERE, "edge-1", disk)
        link = Link(stage.replica)
        found: list[bool] = []

        def look(command: bytes) -> None:
            if unpack_fields(command, form.FORMAT)[1] == form.COMPLETE:
                after = disk.copy()
                after.power_cut()
                found.append(bool(FileOutbox(WHERE, "edge-1", after).pending))

        link.before = look
        await stage.log.submit([task_spec("a", "echo"), task_spec("b", "echo")])
        worker = stage.worker({"echo": echo}, outbox=outbox, link=link)
        await work_until_finished(stage, worker, "a", "b")
        assert found == [True, True]

    on_virtual_time(scenario)
