"""Puts a closed loop of operations on running replicas and notes how each one ended.

The generator must never be the bottleneck: writes go through the client's callback, with one
reusable object per outstanding operation and no task. Reads, and everything under ``awaiting``,
take a task per outstanding operation, which is what a program that awaits each call pays.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random

import trio

from paxos.cli.connect import ask_statuses, open_client
from paxos.cli.measure import Load, Tally, Window, server_cpu
from paxos.cli.options import Target
from paxos.core.client import Done, Failed, Outcome, Refused, Unknown
from paxos.runtime.client import Client, OutcomeUnknown, RequestFailed, RequestRefused

RETRY_S = 0.1
"""An operation that failed is followed by the next one this much later, not at once."""

COMMANDS_MADE = 1024
"""Commands are made before the run and used in turn, so that making them costs nothing."""


class Workload:
    """What the operations are.

    Args:
        machine: Name of the state machine.
        commands: Commands, used in turn.
        queries: Queries, used in turn; may be empty if nothing is read.
    """

    def __init__(self, machine: str, commands: Sequence[bytes], queries: Sequence[bytes]) -> None:
        self.machine = machine
        self._commands = commands
        self._queries = queries
        self._next = 0

    def command(self) -> bytes:
        """Return the next command."""
        self._next += 1
        return self._commands[self._next % len(self._commands)]

    def query(self) -> bytes:
        """Return the next query."""
        self._next += 1
        return self._queries[self._next % len(self._queries)]


class _Run:
    """What all operations of a run share."""

    def __init__(self) -> None:
        self.tally: Tally | None = None  # what ends while it is None does not count
        self.going = True
        self.failed: list[_Operation] = []

    def note(self, outcome: Outcome, seconds: float) -> None:
        if self.tally is None:
            return
        if type(outcome) is Done:
            self.tally.latencies.append(seconds)
        elif isinstance(outcome, Unknown):
            self.tally.unknown += 1
        else:
            self.tally.errors += 1


class _Operation:
    """One of the operations that are always under way, without a task: submits, ends, submits."""

    __slots__ = ("_client", "_run", "_started", "_workload")

    def __init__(self, run: _Run, client: Client, workload: Workload) -> None:
        self._run = run
        self._client = client
        self._workload = workload
        self._started = 0.0

    def start(self) -> None:
        """Submit the next command."""
        self._started = time.perf_counter()
        self._client.submit_nowait(self._workload.machine, (self._workload.command(),), self._ended)

    def _ended(self, _: int, outcome: Outcome) -> None:
        run = self._run
        run.note(outcome, time.perf_counter() - self._started)
        if not run.going:
            return
        if type(outcome) is Done:
            self.start()
        else:
            run.failed.append(self)


async def put_load(
    target: Target,
    load: Load,
    workload: Workload,
    *,
    awaiting: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Tally, Window]:
    """Run the load against the target's replicas.

    Args:
        target: The replicas.
        load: How much, and for how long.
        workload: What the operations are.
        awaiting: Whether writes too take a task each, as in a program that awaits every call.
        progress: Told now and then how many seconds of the run are over.

    Returns:
        How the operations ended, and what was used meanwhile.

    Raises:
        RequestRefused: No replica could be reached, or none would answer, before the load began.
    """
    run = _Run()
    gc.collect()
    gc.freeze()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(target)) for _ in range(load.connections)
        ]
        async with trio.open_nursery() as nursery:
            for client in clients:
                # A session for each connection; and the first to fail tells why nothing works.
                nursery.start_soon(client.submit, workload.machine, workload.command())
        async with trio.open_nursery() as nursery:
            _start(run, clients, load, workload, nursery, awaiting)
            nursery.start_soon(_restart_failed, run)
            await _run_for(load.warmup_s, 0.0, progress)
            measured = await _measure(target, load, run, progress)
            run.going = False
            nursery.cancel_scope.cancel()
    return measured


def _start(
    run: _Run,
    clients: Sequence[Client],
    load: Load,
    workload: Workload,
    nursery: trio.Nursery,
    awaiting: bool,
) -> None:
    """Start the outstanding operations, spread evenly over the connections."""
    for number in range(load.outstanding):
        client = clients[number % len(clients)]
        if awaiting or load.read_ratio > 0:
            nursery.start_soon(_await_operations, run, client, load, workload, Random(number))
        else:
            _Operation(run, client, workload).start()


async def _await_operations(
    run: _Run, client: Client, load: Load, workload: Workload, rng: Random
) -> None:
    while run.going:
        started = time.perf_counter()
        outcome = await _operate(client, workload, reading=rng.random() < load.read_ratio)
        run.note(outcome, time.perf_counter() - started)
        if type(outcome) is not Done:
            await trio.sleep(RETRY_S)


async def _operate(client: Client, workload: Workload, *, reading: bool) -> Outcome:
    try:
        if reading:
            return Done(*await client.read(workload.machine, workload.query()))
        return await client.submit(workload.machine, workload.command())
    except OutcomeUnknown as error:
        return Unknown(error.reason)
    except RequestFailed as error:
        return Failed(error.slot, error.reason)
    except RequestRefused as error:
        return Refused(error.reason)


async def _restart_failed(run: _Run) -> None:
    while True:
        await trio.sleep(RETRY_S)
        failed, run.failed = run.failed, []
        for operation in failed:
            operation.start()


async def _measure(
    target: Target, load: Load, run: _Run, progress: Callable[[float], None]
) -> tuple[Tally, Window]:
    before = await _cpu_of_replicas(target)
    run.tally = tally = Tally()
    started, cpu_before = time.perf_counter(), time.process_time()
    await _run_for(load.duration_s, load.warmup_s, progress)
    run.tally = None
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_before
    after = await _cpu_of_replicas(target)
    return tally, Window(seconds, cpu, server_cpu(before, after))


async def _run_for(seconds: float, over: float, progress: Callable[[float], None]) -> None:
    deadline = trio.current_time() + seconds
    while (left := deadline - trio.current_time()) > 0:
        progress(over + seconds - left)
        await trio.sleep(min(left, RETRY_S))


async def _cpu_of_replicas(target: Target) -> dict[str, float | None]:
    answers = await ask_statuses(target)
    return {
        answer.url: None if answer.document is None else float(answer.document["cpu_s"])
        for answer in answers
    }
