"""What runs a task: async functions, blocking functions in threads, and any executor.

A handler is an async function from ``Work`` to the result's bytes; ``in_thread`` and
``in_executor`` make one of other functions. This file knows no task log and no lease: whoever calls
a handler cancels it when its result would no longer be taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Final

import trio

THREADS_MAX: Final = 64
"""Threads of one ``in_thread`` handler, those among them whose work was cancelled and goes on."""


class TaskFailed(Exception):
    """Raised by a handler to say that its task failed, and whether to try it again.

    Any other exception fails the task too, with its text as the reason, and it is tried again.
    """

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done; can be pickled, so that it can go to another process or machine.

    Attributes:
        id: The task.
        kind: Its kind.
        payload: What was submitted with it.
        attempt: How often it has been claimed, this time included.
        token: The fencing token of this claim: it is higher than that of any claim before. Give it
            to whatever the work changes elsewhere, and let that refuse a lower one than it knows.
        inputs: The results of the tasks it depends on, by id, in the order it names them.
        node: Where it runs.
    """

    id: str
    kind: str
    payload: bytes
    attempt: int
    token: int
    inputs: Mapping[str, bytes]
    node: str


class Work:
    """A job under way. ``job`` says what it is.

    Args:
        job: What is to be done.
        tell: Replicates a piece of progress.
    """

    def __init__(self, job: Job, tell: Callable[[bytes], Awaitable[bool]]) -> None:
        self.job = job
        self._tell = tell

    async def progress(self, data: bytes) -> bool:
        """Tell whoever watches the task how far it is; return once that is replicated.

        Returns:
            False if the cluster could not be reached: the work may go on.

        Raises:
            TaskFailed: There are more bytes than the task log takes.
        """
        return await self._tell(data)

    def progress_from_thread(self, data: bytes) -> bool:
        """As ``progress``, for a function that runs ``in_thread``.

        Raises:
            trio.Cancelled: The claim was lost; let it pass.
        """
        return trio.from_thread.run(self._tell, data)


Handler = Callable[[Work], Awaitable[bytes]]
"""Runs one task. It is cancelled as soon as the claim is known to be lost."""


def in_thread(function: Callable[[Work], bytes], threads: int = THREADS_MAX) -> Handler:
    """Make a handler of a blocking function.

    A thread cannot be stopped. When the claim is lost the worker goes on without it and takes no
    result from it; a function that runs for long should call ``trio.from_thread.check_cancelled()``
    now and then, which ends it then.

    Args:
        function: Called in a thread.
        threads: How many may run at a time; further tasks wait for one.
    """
    limiter = trio.CapacityLimiter(threads)

    async def handle(work: Work) -> bytes:
        return await trio.to_thread.run_sync(
            function, work, abandon_on_cancel=True, limiter=limiter
        )

    return handle


def in_executor(executor: Executor, function: Callable[[Job], bytes]) -> Handler:
    """Make a handler of a function that an executor runs: a pool of processes, Dask's, any other.

    When the claim is lost, work that has not begun is taken back from the executor. What has begun
    goes on there, and no result is taken from it.

    Args:
        executor: Any executor of the standard library's kind. It stays the caller's to shut down,
            once the worker has ended: it ends when its executor takes no more.
        function: What the executor must be able to run; most have to pickle it.
    """

    async def handle(work: Work) -> bytes:
        try:
            future = executor.submit(function, work.job)
        except RuntimeError as error:
            # Broken, or shut down: it takes no other task either, and none of them is to blame.
            raise BrokenExecutor(str(error)) from error
        return await _ended(future)

    return handle


async def _ended(future: Future[bytes]) -> bytes:
    """Return what a future brought, without a thread that waits for it."""
    ended = trio.Event()
    loop = trio.lowlevel.current_trio_token()

    def note(_: Future[bytes]) -> None:
        try:
            loop.run_sync_soon(ended.set)
        except trio.RunFinishedError:
            pass  # the worker is gone, and with it whoever waited

    future.add_done_callback(note)
    try:
        await ended.wait()
    finally:
        future.cancel()  # does nothing to one that has ended
    return future.result()
