"""Puts a closed loop of operations on running replicas and notes how each one ended.

The generator must never be the bottleneck: many writes, or many reads, are one call of the client,
without a task for any. A mixture of both, and everything under ``awaiting``, takes a task per
outstanding operation, which is what a program that awaits each call pays.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count, cycle, islice
from random import Random

import trio

from paxos.cli.connect import ask_statuses, open_client
from paxos.cli.measure import Load, Tally, Window, server_cpu
from paxos.cli.options import Target
from paxos.core.client import Done, Failed, Outcome, Refused, Unknown
from paxos.runtime.client import Client, OutcomeUnknown, RequestFailed, RequestRefused

RETRY_S = 0.1
"""An operation that failed is followed by the next one this much later, not at once."""

SINGLE_MAX = 4
"""Up to so many operations of one connection are calls of their own."""

COMMANDS_MADE = 1024
"""Commands are made before the run and used in turn, so that making them costs nothing."""


class Workload:
    """What the operations are.

    Args:
        machine: Name of the state machine.
        commands: Commands, used in turn.
        queries: Queries, used in turn.
    """

    def __init__(self, machine: str, commands: Sequence[bytes], queries: Sequence[bytes]) -> None:
        self.machine = machine
        self._commands = cycle(commands)
        self._queries = cycle(queries)

    def commands(self, count: int) -> list[bytes]:
        """Return the next ``count`` commands."""
        return list(islice(self._commands, count))

    def queries(self, count: int) -> list[bytes]:
        """Return the next ``count`` queries."""
        return list(islice(self._queries, count))


class _Run:
    """What all operations of a run share."""

    def __init__(self) -> None:
        self.tally: Tally | None = None  # what ends while it is None does not count

    def note(self, outcome: Outcome, seconds: float) -> None:
        if self.tally is None:
            return
        if type(outcome) is Done:
            self.tally.latencies.append(seconds)
        elif isinstance(outcome, Unknown):
            self.tally.unknown += 1
        else:
            self.tally.errors += 1


class _ClosedLoop:
    """The operations of one connection, without a task for any of them: call follows call.

    A few are each a call of their own; many are one call, followed by the next once all of it has
    ended, as in a program that submits or asks many at once.
    """

    def __init__(
        self, run: _Run, client: Client, workload: Workload, outstanding: int, *, reading: bool
    ) -> None:
        self._run = run
        self._client = client
        self._workload = workload
        self._outstanding = outstanding
        self._reading = reading
        self._failed: list[int] = []  # sizes of calls whose successors must wait

    async def run(self) -> None:
        """Keep the operations under way until cancelled; follow what failed now and then."""
        size = 1 if self._outstanding <= SINGLE_MAX else self._outstanding
        for _ in range(self._outstanding // size):
            self._call(size)
        while True:
            await trio.sleep(RETRY_S)
            failed, self._failed = self._failed, []
            for size in failed:
                self._call(size)

    def _call(self, size: int) -> None:
        started = time.perf_counter()
        missing, has_failed = size, False

        def ended(_: int, outcome: Outcome) -> None:
            nonlocal missing, has_failed
            self._run.note(outcome, time.perf_counter() - started)
            missing -= 1
            if type(outcome) is not Done:
                has_failed = True
            if missing:
                return
            if has_failed:
                self._failed.append(size)
            else:
                self._call(size)

        client, workload = self._client, self._workload
        if self._reading:
            client.read_nowait(workload.machine, workload.queries(size), ended)
        else:
            client.submit_nowait(workload.machine, workload.commands(size), ended)


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
        awaiting: Whether each operation takes a task, as in a program that awaits every call. It
            does where reads and writes are mixed.
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
                (first,) = workload.commands(1)
                nursery.start_soon(client.submit, workload.machine, first)
        async with trio.open_nursery() as nursery:
            _start(run, clients, load, workload, nursery, awaiting)
            await _run_for(load.warmup_s, 0.0, progress)
            measured = await _measure(target, load, run, progress)
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
    seeds = count()
    each, more = divmod(load.outstanding, len(clients))
    for number, client in enumerate(clients):
        outstanding = each + (number < more)
        if awaiting or 0 < load.read_ratio < 1:
            for _ in range(outstanding):
                rng = Random(next(seeds))
                nursery.start_soon(_await_operations, run, client, load, workload, rng)
        else:
            reading = load.read_ratio == 1
            loop = _ClosedLoop(run, client, workload, outstanding, reading=reading)
            nursery.start_soon(loop.run)


async def _await_operations(
    run: _Run, client: Client, load: Load, workload: Workload, rng: Random
) -> None:
    while True:
        started = time.perf_counter()
        outcome = await _operate(client, workload, reading=rng.random() < load.read_ratio)
        run.note(outcome, time.perf_counter() - started)
        if type(outcome) is not Done:
            await trio.sleep(RETRY_S)


async def _operate(client: Client, workload: Workload, *, reading: bool) -> Outcome:
    try:
        if reading:
            return Done(*await client.read(workload.machine, *workload.queries(1)))
        return await client.submit(workload.machine, *workload.commands(1))
    except OutcomeUnknown as error:
        return Unknown(error.reason)
    except RequestFailed as error:
        return Failed(error.slot, error.reason)
    except RequestRefused as error:
        return Refused(error.reason)


async def _measure(
    target: Target, load: Load, run: _Run, progress: Callable[[float], None]
) -> tuple[Tally, Window]:
    before, leader_before = await _cpu_of_replicas(target)
    run.tally = tally = Tally()
    started, cpu_before = time.perf_counter(), time.process_time()
    await _run_for(load.duration_s, load.warmup_s, progress)
    run.tally = None
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_before
    after, leader = await _cpu_of_replicas(target)
    if leader != leader_before:
        leader = None
    return tally, Window(seconds, cpu, server_cpu(before, after), leader)


async def _run_for(seconds: float, over: float, progress: Callable[[float], None]) -> None:
    deadline = trio.current_time() + seconds
    while (left := deadline - trio.current_time()) > 0:
        progress(over + seconds - left)
        await trio.sleep(min(left, RETRY_S))


async def _cpu_of_replicas(target: Target) -> tuple[dict[str, float | None], str | None]:
    """Return what each replica has used so far, by URL, and the URL of the one that leads."""
    documents = {answer.url: answer.document for answer in await ask_statuses(target)}
    used = {
        url: None if document is None else float(document["cpu_s"])
        for url, document in documents.items()
    }
    leaders = [url for url, told in documents.items() if told and told["role"] == "leader"]
    return used, leaders[0] if len(leaders) == 1 else None
