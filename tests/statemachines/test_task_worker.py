"""The worker: what is placed on its node is run and reported once, whatever it is."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from itertools import pairwise

import pytest
import trio
import trio.testing

from statemachines import task_log_format as form
from statemachines.command_fields import unpack_fields
from statemachines.task_handlers import Handler, Job, TaskFailed, Work, in_executor, in_thread
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO
from statemachines.task_log_requests import node_spec, task_spec
from statemachines.task_worker import ANY_KIND, TaskWorker, WorkerBroken
from tests.statemachines.one_replica import EPOCH, Link, pass_time
from tests.statemachines.task_stage import (
    LEASE_S,
    Stage,
    echo,
    on_virtual_time,
    sleeper,
    work_until_finished,
)

# --- running --------------------------------------------------------------------------------------


def test_worker_with_every_sort_of_handler_reports_each_result() -> None:
    def square(job: Job) -> bytes:
        return b"%d" % int(job.payload) ** 2

    async def scenario() -> None:
        stage = Stage()
        with ThreadPoolExecutor(2) as executor:
            handlers = {
                "echo": echo,
                "thread": in_thread(lambda work: work.job.payload[::-1]),
                "square": in_executor(executor, square),
            }
            await stage.log.submit(
                [
                    task_spec("a", "echo", b"hello"),
                    task_spec("b", "thread", b"hello"),
                    task_spec("c", "square", b"12"),
                ]
            )
            worker = stage.worker(handlers)
            tasks = await work_until_finished(stage, worker, "a", "b", "c")
        assert [task.result for task in tasks] == [b"hello!", b"olleh", b"144"]
        assert {task.node for task in tasks} == {"edge-1"}
        assert sorted(stage.told("done")) == ["a", "b", "c"]
        assert sorted(stage.told("claimed")) == ["a", "b", "c"]

    on_virtual_time(scenario)


def test_worker_given_a_dependent_task_hands_it_the_results_before() -> None:
    seen: list[dict[str, bytes]] = []

    async def join(work: Work) -> bytes:
        seen.append(dict(work.job.inputs))
        return b"+".join(work.job.inputs.values())

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit(
            [
                task_spec("z", "echo", b"1"),
                task_spec("a", "echo", b"2"),
                task_spec("sum", "join", depends_on=["z", "a"]),
            ]
        )
        (task,) = await work_until_finished(
            stage, stage.worker({"echo": echo, "join": join}), "sum"
        )
        assert seen == [{"z": b"1!", "a": b"2!"}]
        assert task.result == b"1!+2!"

    on_virtual_time(scenario)


def test_worker_with_a_handler_for_any_kind_runs_what_has_none_of_its_own() -> None:
    async def tell_kind(work: Work) -> bytes:
        await trio.lowlevel.checkpoint()
        return f"{work.job.kind} on {work.job.node}".encode()

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "echo", b"x"), task_spec("b", "other")])
        worker = stage.worker({ANY_KIND: tell_kind, "echo": echo})
        own, other = await work_until_finished(stage, worker, "a", "b")
        assert (own.result, other.result) == (b"x!", b"other on edge-1")

    on_virtual_time(scenario)


def test_worker_with_one_slot_runs_one_task_at_a_time_in_order() -> None:
    order: list[bytes] = []

    async def note(work: Work) -> bytes:
        order.append(b"begin " + work.job.payload)
        await pass_time(0.1)
        order.append(b"end " + work.job.payload)
        return b""

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit(
            [
                task_spec("a", "note", b"a"),
                task_spec("b", "note", b"b"),
                task_spec("first", "note", b"first", priority=1),
            ]
        )
        await work_until_finished(stage, stage.worker({"note": note}, slots=1), "a", "b", "first")
        names = [b"first", b"a", b"b"]
        assert order == [part + name for name in names for part in (b"begin ", b"end ")]

    on_virtual_time(scenario)


def test_worker_that_waits_makes_no_commands_but_its_reports() -> None:
    async def scenario() -> None:
        stage = Stage()
        worker = stage.worker({"echo": echo})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(LEASE_S / 2)
            before = stage.replica.slot
            await pass_time(10 * LEASE_S)
            assert 20 <= stage.replica.slot - before <= 31
            worker.stop()

    on_virtual_time(scenario)


def test_worker_that_comes_late_is_given_what_waits_for_the_others() -> None:
    async def scenario() -> None:
        stage = Stage()
        names = [f"t{number}" for number in range(20)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker({"sleep": sleeper(5)}, slots=1).run)
            await pass_time(1)
            await stage.log.submit([task_spec(name, "sleep", size=5 * MICRO) for name in names])
            await pass_time(1)
            nursery.start_soon(stage.worker({"sleep": sleeper(5)}, name="edge-2", slots=1).run)
            tasks = [await stage.finished(name) for name in names]
            nursery.cancel_scope.cancel()
        done = [task.node for task in tasks]
        assert 8 <= done.count("edge-2") <= 12
        assert [task.attempt for task in tasks] == [1] * 20

    on_virtual_time(scenario)


def test_worker_that_is_drained_leaves_others_their_work() -> None:
    async def scenario() -> None:
        stage = Stage()
        kinds: list[int] = []
        link = Link(stage.replica)
        link.before = lambda command: kinds.append(unpack_fields(command, form.FORMAT)[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker({"sleep": sleeper(50)}, slots=1).run)
            nursery.start_soon(stage.worker({}, name="edge-2", link=link).run)
            await pass_time(1)
            await stage.log.drain("edge-2")
            await stage.log.submit([task_spec(f"t{number}", "sleep") for number in range(5)])
            await pass_time(10)
            nursery.cancel_scope.cancel()
        assert form.REPORT in kinds
        assert form.REPLAN not in kinds

    on_virtual_time(scenario)


def test_worker_that_others_need_not_share_with_asks_less_and_less() -> None:
    async def scenario() -> None:
        stage = Stage()
        replans: list[float] = []
        link = Link(stage.replica)

        def note(command: bytes) -> None:
            if unpack_fields(command, form.FORMAT)[1] == form.REPLAN:
                replans.append(trio.current_time())

        link.before = note
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker({"sleep": sleeper(1000)}, slots=1).run)
            await pass_time(1)
            await stage.log.submit(
                [
                    task_spec(f"t{n}", "sleep", data_node="edge-1", data_bytes=10**15)
                    for n in range(5)
                ]
            )
            nursery.start_soon(stage.worker({}, name="edge-2", link=link).run)
            await pass_time(40)
            nursery.cancel_scope.cancel()
        waits = [round(later - earlier) for earlier, later in pairwise(replans)]
        assert waits == [2, 4, 8, 16]

    on_virtual_time(scenario)


@pytest.mark.parametrize(
    ("failures", "backoff", "not_before", "begun"), [(0, 0, 20, 20), (1, 7 * MICRO, 0, 8)]
)
def test_worker_with_a_long_lease_lets_happen_in_time_what_is_due(
    failures: int, backoff: int, not_before: int, begun: float
) -> None:
    last: list[float] = []

    async def fail_first(work: Work) -> bytes:
        if work.job.attempt <= failures:
            await pass_time(1)
            raise OSError("not yet")
        last.append(trio.current_time())
        return b""

    async def scenario() -> None:
        stage = Stage()
        earliest = EPOCH + not_before * MICRO if not_before else 0
        await stage.log.submit([task_spec("a", "k", backoff=backoff, not_before=earliest)])
        spec = node_spec("edge-1", "edge", lease=3600 * MICRO)
        link = Link(stage.replica)
        kinds: list[int] = []
        link.before = lambda command: kinds.append(unpack_fields(command, form.FORMAT)[1])
        worker = TaskWorker(TaskLogClient(link), spec, {"k": fail_first})
        await work_until_finished(stage, worker, "a")
        assert begun <= last[0] < begun + 0.5
        assert kinds.count(form.REPORT) < 5

    on_virtual_time(scenario)


# --- failing --------------------------------------------------------------------------------------


async def fail_always(work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    raise OSError(f"no camera, attempt {work.job.attempt}")


async def fail_for_good(_work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    raise TaskFailed("bad payload \ud800", retry=False)


async def fail_in_a_nursery(work: Work) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_for_good, work)
    return b""


async def say_text(_work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    return "text"  # type: ignore[return-value]


async def say_much(_work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    return bytes(64 * 1024 + 1)


async def complain_long(_work: Work) -> bytes:
    await trio.lowlevel.checkpoint()
    raise TaskFailed("x" * 5000, retry=False)


@pytest.mark.parametrize(
    ("handler", "attempts", "reason"),
    [
        (fail_always, 3, "all 3 attempts are used up: OSError: no camera, attempt 3"),
        (fail_for_good, 1, "bad payload ?"),
        (fail_in_a_nursery, 1, "bad payload ?"),
        (say_text, 1, "the result is not bytes but str"),
        (say_much, 1, "the result is too long: 65537 bytes, the limit is 65536"),
        (complain_long, 1, "x" * 1023 + "…"),
        (None, 3, "all 3 attempts are used up: node edge-1 has no handler for kind work"),
    ],
)
def test_worker_whose_handler_fails_reports_the_reason(
    handler: Handler | None, attempts: int, reason: str
) -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "work"), task_spec("b", "echo", b"still here")])
        handlers = {"echo": echo} | ({"work": handler} if handler else {})
        dead, done = await work_until_finished(stage, stage.worker(handlers), "a", "b")
        assert (dead.state, dead.attempt, dead.reason) == (form.DEAD, attempts, reason)
        assert dead.result is None
        assert done.result == b"still here!"
        assert stage.told("failed") == ["a"] * attempts

    on_virtual_time(scenario)


def test_worker_whose_executor_breaks_stops_and_says_so() -> None:
    async def broken(_work: Work) -> bytes:
        await trio.lowlevel.checkpoint()
        raise BrokenExecutor("a child died")

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec(f"t{number}", "work", attempts=5) for number in range(9)])
        with pytest.raises(WorkerBroken, match="a child died"):
            await stage.worker({"work": broken}, slots=1).run()
        tasks = [await stage.task(f"t{number}") for number in range(9)]
        assert sorted(task.attempt for task in tasks) == [0] * 8 + [1]  # the rest is for others
        assert {task.node for task in tasks} == {""}

    on_virtual_time(scenario)


# --- progress -------------------------------------------------------------------------------------


def test_worker_progress_is_told_in_order_to_whoever_watches() -> None:
    async def steps(work: Work) -> bytes:
        for number in range(5):
            assert await work.progress(b"%d" % number)
        return b"end"

    def thread(work: Work) -> bytes:
        return b"told" if work.progress_from_thread(b"half") else b"not told"

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "steps"), task_spec("b", "thread")])
        worker = stage.worker({"steps": steps, "thread": in_thread(thread)})
        _, threaded = await work_until_finished(stage, worker, "a", "b")
        seen: dict[str, list[bytes]] = {"a": [], "b": []}
        async for change in stage.log.watch(after=0):
            if isinstance(change, form.TaskChange) and change.state == form.CLAIMED:
                seen[change.id] += [change.progress] if change.progress else []
            if len(seen["a"]) == 5 and seen["b"]:
                break
        assert seen == {"a": [b"0", b"1", b"2", b"3", b"4"], "b": [b"half"]}
        assert threaded.result == b"told"

    on_virtual_time(scenario)


def test_worker_progress_of_a_lost_claim_ends_the_work_at_once() -> None:
    async def scenario() -> None:
        stage = Stage()
        ended: list[float] = []

        async def steps(work: Work) -> bytes:
            try:
                while True:
                    await pass_time(0.1)
                    assert await work.progress(b"on")
            finally:
                ended.append(trio.current_time())

        await stage.log.submit([task_spec("a", "steps")])
        worker = stage.worker({"steps": steps})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await pass_time(0.5)
            cancelled = trio.current_time()
            await stage.log.cancel("a")
            await pass_time(LEASE_S / 4)
            worker.stop()
        assert ended[0] - cancelled < 0.15
        assert stage.told("lost") == ["a"]

    on_virtual_time(scenario)


def test_worker_progress_while_cut_off_does_not_hold_up_the_work() -> None:
    told: list[bool] = []

    async def scenario() -> None:
        stage = Stage()
        link = Link(stage.replica)

        async def steps(work: Work) -> bytes:
            told.append(await work.progress(b"before"))
            link.cut = True
            told.extend([await work.progress(b"%d" % number) for number in range(50)])
            link.cut = False
            return b"end"

        await stage.log.submit([task_spec("a", "steps")])
        begun = trio.current_time()
        (task,) = await work_until_finished(stage, stage.worker({"steps": steps}, link=link), "a")
        assert (task.result, told) == (b"end", [True] + [False] * 50)
        assert trio.current_time() - begun < LEASE_S

    on_virtual_time(scenario)


def test_worker_progress_over_the_limit_fails_the_task() -> None:
    async def much(work: Work) -> bytes:
        await work.progress(bytes(1025))
        return b""

    async def scenario() -> None:
        stage = Stage()
        await stage.log.submit([task_spec("a", "much")])
        (task,) = await work_until_finished(stage, stage.worker({"much": much}), "a")
        assert task.reason == "the progress is too long: 1025 bytes, the limit is 1024"

    on_virtual_time(scenario)
