"""Clusters of real processes for tests of what is done to them, with clients that keep writing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from jepsen_like.live.cluster import LiveCluster, open_cluster
from paxos.core.errors import PaxosError
from paxos.runtime.errors import plain_errors
from statemachines.edge_config_client import EdgeConfigClient

GUARD_S = 120.0
"""No test takes so long; one that hangs fails."""

LEADER_TIMEOUT_S = 20.0
MACHINES = {"config": "statemachines.edge_config:EdgeConfig"}


def run(directory: Path, act: Callable[[LiveCluster], Awaitable[None]], **options: Any) -> None:
    """Run ``act`` on a cluster that has a leader."""

    async def guarded() -> None:
        with trio.fail_after(GUARD_S):
            async with open_cluster(directory, machines=MACHINES, **options) as cluster:
                await cluster.wait_leader(LEADER_TIMEOUT_S)
                await act(cluster)

    with plain_errors():
        trio.run(guarded)


class Load:
    """Clients that write one value after another."""

    def __init__(self, value: bytes) -> None:
        self.in_flight = 0
        self.done = 0
        self._value = value
        self._progress = trio.Event()

    async def wait_progress(self, count: int = 1) -> None:
        """Wait until so many more writes are acknowledged."""
        wanted = self.done + count
        while self.done < wanted:
            await self._progress.wait()

    async def write(self, cluster: LiveCluster, site: int) -> None:
        """Write until cancelled."""
        async with cluster.open_client(site, timeout=2.0) as client:
            store = EdgeConfigClient(client)
            while True:
                self.in_flight += 1
                try:
                    await store.put(f"k{site}", self._value)
                    self.done += 1
                    self._progress.set()
                    self._progress = trio.Event()
                except PaxosError:
                    pass  # refused or unknown: what else, with faults about
                finally:
                    self.in_flight -= 1


@asynccontextmanager
async def under_load(cluster: LiveCluster, *, clients: int = 4) -> AsyncIterator[Load]:
    """Have clients write inside the context, which begins when the first write is acknowledged."""
    load = Load(b"v" * 100)
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(load.write, cluster, number % len(cluster.sites))
        await load.wait_progress()
        yield load
        nursery.cancel_scope.cancel()


def lives(pid: int) -> bool:
    """Return whether a process exists, be it only to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
