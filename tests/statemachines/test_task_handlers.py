"""Handlers: async, in threads, in executors; what a lost claim does to each of them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import pytest
import trio
import trio.testing

from statemachines.task_handlers import Handler, Job, TaskFailed, Work, in_executor, in_thread


def job(payload: bytes = b"7") -> Job:
    return Job("t", "square", payload, attempt=1, token=5, inputs={"before": b"input"}, node="n")


async def told_nobody(_data: bytes) -> bool:
    await trio.lowlevel.checkpoint()
    return False


def work(tell: Callable[[bytes], Awaitable[bool]] = told_nobody) -> Work:
    return Work(job(), tell)


def square(given: Job) -> bytes:
    assert given.inputs == {"before": b"input"}
    return b"%d of %d" % (int(given.payload) ** 2, os.getpid())


def refuse(given: Job) -> bytes:
    raise TaskFailed(f"not {given.id}", retry=False)


@pytest.mark.processes
def test_job_run_in_another_process_returns_its_result() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        result = trio.run(in_executor(executor, square), work())
    number, _, process = result.partition(b" of ")
    assert number == b"49"
    assert int(process) != os.getpid()


def test_job_that_an_executor_fails_raises_what_it_raised() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(TaskFailed, match="not t"):
        trio.run(in_executor(executor, refuse), work())


def test_job_given_to_an_executor_that_was_shut_down_finds_it_broken() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(BrokenExecutor, match="after shutdown"):
        trio.run(in_executor(executor, square), work())


class Held(Executor):
    """An executor that runs nothing until it is told to."""

    def __init__(self) -> None:
        self.futures: list[Future[bytes]] = []

    def submit(self, *_arguments: object, **_named: object) -> Future[bytes]:  # type: ignore[override]
        future: Future[bytes] = Future()
        self.futures.append(future)
        return future


async def cancelled(handle: Handler, begun: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle, work())
        await begun()
        nursery.cancel_scope.cancel()


def test_job_cancelled_before_the_executor_began_it_is_taken_back() -> None:
    held = Held()
    trio.run(cancelled, in_executor(held, square), trio.testing.wait_all_tasks_blocked)
    assert [future.cancelled() for future in held.futures] == [True]


def test_job_cancelled_after_the_executor_began_it_is_waited_for_by_nobody() -> None:
    held = Held()

    async def begun() -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert held.futures[0].set_running_or_notify_cancel()

    trio.run(cancelled, in_executor(held, square), begun)
    held.futures[0].set_result(b"late")  # its callback finds no loop to wake, and says nothing


def test_function_in_a_thread_tells_progress_and_returns() -> None:
    told: list[bytes] = []

    async def tell(data: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        told.append(data)
        return True

    def function(given: Work) -> bytes:
        assert given.progress_from_thread(b"half")
        return b"%d" % threading.get_ident()

    result = trio.run(in_thread(function), work(tell))
    assert told == [b"half"]
    assert int(result) != threading.get_ident()


def test_functions_in_threads_beyond_their_bound_wait_for_one() -> None:
    running: list[int] = []
    most = 0
    lock = threading.Lock()
    together = threading.Barrier(2)

    def function(_given: Work) -> bytes:
        nonlocal most
        with lock:
            running.append(1)
            most = max(most, len(running))
        together.wait(10)
        with lock:
            running.pop()
        return b""

    async def scenario() -> None:
        handle = in_thread(function, threads=2)
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(handle, work())

    trio.run(scenario)
    assert most == 2


def test_function_in_a_thread_whose_claim_is_lost_can_see_it() -> None:
    begun, seen = threading.Event(), threading.Event()

    def function(_given: Work) -> bytes:
        begun.set()
        try:
            while True:
                trio.from_thread.check_cancelled()
        finally:
            seen.set()

    async def begins() -> None:
        await trio.to_thread.run_sync(begun.wait)

    trio.run(cancelled, in_thread(function), begins)
    assert seen.wait(10)
