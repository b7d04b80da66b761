"""Closed loops of writes: for pauses, which no average shows, and to fill a cluster."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import trio

from benchmarks.peers.children import ClusterFailed
from paxos import service
from paxos.core.client import Done, Outcome
from paxos.runtime.client import Client

MACHINE = "config"


class Write(NamedTuple):
    """One write that was done: when, on the monotonic clock, and how long it took."""

    ended: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Phase:
    """What writes did between two moments.

    Attributes:
        seconds: Between them.
        writes: Done.
        p50_ms, p99_ms, max_ms: Latencies.
        pause_ms: The longest time without a write that was done.
    """

    seconds: float
    writes: int
    writes_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    pause_ms: float


class Writers:
    """What a load has done so far.

    Args:
        commands: What is written, without end.
    """

    def __init__(self, commands: Iterator[bytes]) -> None:
        self.done: list[Write] = []
        self.failed = 0
        self._commands = commands
        self._stopped = False

    def stop(self) -> None:
        """Begin no more: what is under way now does not count."""
        self._stopped = True

    def start(self, client: Client, outstanding: int) -> None:
        """Begin so many writes on one connection; each is followed by the next, for ever."""
        for _ in range(outstanding):
            self._write(client)

    def phase(self, begin: float, end: float) -> Phase:
        """Return what ended between two moments."""
        writes = [write for write in self.done if begin <= write.ended < end]
        latencies = sorted(write.seconds for write in writes)
        ends = [begin, *(write.ended for write in writes), end]
        pause = max(later - earlier for earlier, later in pairwise(ends))

        def quantile(share: float) -> float:
            if not latencies:
                return 0.0
            return round(latencies[ceil(share * len(latencies)) - 1] * 1000, 2)

        return Phase(
            seconds=round(end - begin, 2),
            writes=len(writes),
            writes_per_s=round(len(writes) / (end - begin), 1),
            p50_ms=quantile(0.5),
            p99_ms=quantile(0.99),
            max_ms=quantile(1),
            pause_ms=round(pause * 1000, 2),
        )

    def _write(self, client: Client) -> None:
        began = time.monotonic()

        def ended(_: int, outcome: Outcome) -> None:
            now = time.monotonic()
            if self._stopped:
                return
            if type(outcome) is Done:
                self.done.append(Write(now, now - began))
            else:
                self.failed += 1
            self._write(client)

        client.submit_nowait(MACHINE, [next(self._commands)], ended)


@asynccontextmanager
async def writing(
    urls: Sequence[str], commands: Iterator[bytes], connections: int, outstanding: int
) -> AsyncIterator[Writers]:
    """Keep writes under way inside the context.

    Args:
        urls: Of the replicas.
        commands: What is written.
        connections: Clients, each with a session of its own.
        outstanding: Writes under way at once, on each connection.
    """
    writers = Writers(commands)
    gc.collect()
    gc.freeze()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            await nursery.start(_write_on, urls, writers, outstanding)
        try:
            yield writers
        finally:
            writers.stop()
        nursery.cancel_scope.cancel()


async def _write_on(
    urls: Sequence[str],
    writers: Writers,
    outstanding: int,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with service.open_client(urls, timeout=60) as client:
        writers.start(client, outstanding)
        task_status.started()
        await trio.sleep_forever()


async def fill(
    urls: Sequence[str],
    commands: Iterator[bytes],
    outstanding: int,
    progress: Callable[[int], None] = lambda _: None,
    machine: str = MACHINE,
) -> int:
    """Write all of ``commands`` through one client, so many at a time; return how many there were.

    Raises:
        ClusterFailed: A write was not done.
    """
    count = 0
    async with service.open_client(urls, timeout=120) as client:
        while batch := [command for _, command in zip(range(outstanding), commands, strict=False)]:
            outcomes = await client.submit_many(machine, batch)
            if not all(type(outcome) is Done for outcome in outcomes):
                raise ClusterFailed(f"a write was not done: {outcomes[0]}")
            count += len(batch)
            progress(count)
    return count


class _Filling:
    """Writes on several clients that end when there is nothing left to write."""

    def __init__(self, machine: str, commands: Iterator[bytes]) -> None:
        self.ended = trio.Event()
        self.failure: Outcome | None = None
        self._machine = machine
        self._commands = commands
        self._live = 0

    def start(self, client: Client, outstanding: int) -> None:
        """Begin so many writes; each that is done is followed by the next at once."""
        self._live += outstanding
        for _ in range(outstanding):
            self._write(client)

    def _write(self, client: Client) -> None:
        command = next(self._commands, None)
        if command is None:
            self._live -= 1
            if self._live == 0:
                self.ended.set()
            return

        def ended(_: int, outcome: Outcome) -> None:
            if type(outcome) is Done:
                self._write(client)
            else:
                self.failure = outcome
                self.ended.set()

        client.submit_nowait(self._machine, [command], ended)


async def fill_in_closed_loop(
    urls: Sequence[str], machine: str, commands: Iterator[bytes], clients: int, outstanding: int
) -> None:
    """Write all of ``commands``, as a program does that has so many writes under way at any time.

    Args:
        urls: Of the replicas.
        machine: That takes the commands.
        commands: Each is a write of its own.
        clients: Each with a session of its own.
        outstanding: Writes under way at once, on each client.

    Raises:
        ClusterFailed: A write was not done.
    """
    filling = _Filling(machine, commands)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(service.open_client(urls, timeout=120))
            for _ in range(clients)
        ]
        for client in opened:
            filling.start(client, outstanding)
        await filling.ended.wait()
    if filling.failure is not None:
        raise ClusterFailed(f"a write was not done: {filling.failure}")
