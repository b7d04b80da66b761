"""Runs this directory's async tests under trio, and gives them small clusters to break.

A test that uses the fixture ``autojump_clock`` never waits, however long its timeouts are. That is
for clusters in memory only; sockets take real time.
"""

from __future__ import annotations

import inspect
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import paxos
from paxos import cluster as cluster_file
from paxos.cluster import ClusterFile, NodeEntry
from paxos.core.state_machine import CommandFailed, Stamp
from paxos.runtime.node import Node
from paxos.storage.base import Storage

TEST_TIMEOUT_S = 60.0
NAME = "ledger"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function with ``trio.run``; a test that hangs fails instead."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    clock: Any = pyfuncitem.funcargs.get("autojump_clock")

    async def run() -> None:
        # On real time, whatever clock the test runs on: virtual time may jump far ahead.
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            watchdog = threading.Timer(TEST_TIMEOUT_S, token.run_sync_soon, [scope.cancel])
            watchdog.start()
            try:
                await function(**arguments)
            finally:
                watchdog.cancel()
        assert not scope.cancelled_caught, f"not done within {TEST_TIMEOUT_S} s"

    trio.run(run, clock=clock)
    return True


@pytest.fixture
def autojump_clock() -> MockClock:
    """Let the test run on virtual time, which jumps over every wait."""
    return MockClock(autojump_threshold=0)


class Ledger:
    """Remembers every command. Commands that begin with "bad" fail."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Append the command; return how many there are."""
        if command.startswith(b"bad"):
            raise CommandFailed(f"{command.decode()} is bad")
        self.commands.append(command)
        return str(len(self.commands)).encode()

    def query(self, query: bytes) -> bytes:
        """Return how many commands there are, or all of them."""
        if query == b"all":
            return b" ".join(self.commands)
        return str(len(self.commands)).encode()

    def watch(self, query: bytes) -> bytes | None:
        """Answer once there are more than ``query`` commands."""
        count = len(self.commands)
        return str(count).encode() if count > int(query) else None

    def snapshot(self) -> Iterable[bytes]:
        """Return all commands."""
        return list(self.commands)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take all commands."""
        self.commands = list(chunks)


class LocalCluster:
    """Nodes in this process that are started and killed by number."""

    def __init__(self, file: ClusterFile, nursery: trio.Nursery) -> None:
        self.file = file
        self.ledgers: dict[int, Ledger] = {}
        """The state machine of each node, since it was last started."""
        self.nodes: dict[int, Node] = {}
        """The nodes that run."""
        self._nursery = nursery
        self._scopes: dict[int, trio.CancelScope] = {}
        self._ended: dict[int, trio.Event] = {}

    async def start(self, *nodes: int, storage: Storage | None = None) -> None:
        """Start nodes, all if none is named."""
        for node in nodes or tuple(self.file.urls):
            await self._nursery.start(self._run, node, storage)

    async def kill(self, *nodes: int) -> None:
        """Cancel nodes where they stand, and wait until they are gone."""
        for node in nodes or tuple(self.nodes):
            self._scopes[node].cancel()
            await self._ended[node].wait()

    async def leader(self) -> int:
        """Wait until all nodes that run know of a leader, the same; return it."""
        found: list[int] = []

        def agree(_: object) -> bool:
            known = {node.status()["leader"] for node in self.nodes.values()}
            if len(known) == 1 and known != {0}:
                found[:] = known
            return bool(found)

        one = next(iter(self.nodes.values()))
        await one.wait_status(agree)
        return found[0]

    async def caught_up(self) -> None:
        """Wait until all nodes that run have applied what any has; their states must agree."""
        nodes = self.nodes.values()
        last = max(node.status()["decided_through"] for node in nodes)
        for node in nodes:
            await node.wait_applied(last)
        states = {(node.applied_through, node.status()["digest"]) for node in nodes}
        assert len(states) == 1
        assert all(digest for _, digest in states)  # or equal ones would say nothing

    async def compacted(
        self, client: paxos.Client, above: int, start: int = 0, node: int | None = None
    ) -> int:
        """Submit c0, c1, ... until ``node``, or every node that runs, has compacted above a slot.

        How many that takes depends on the threads that write: a snapshot that is due is passed over
        while another is under way.

        Args:
            client: Who submits.
            above: The slot.
            start: The number to begin with.
            node: Which node; all that run if None.

        Returns:
            The number of the next command.
        """
        watched = list(self.nodes.values()) if node is None else [self.nodes[node]]
        number = start
        while any(each.status()["compacted_through"] <= above for each in watched):
            await client.submit(NAME, b"c%d" % number)
            number += 1
            with trio.move_on_after(0.05):
                await trio.sleep_forever()  # virtual time passes only when nobody has work
        return number

    def opened(
        self, number: int, ledger: Ledger | None = None, storage: Storage | None = None
    ) -> AbstractAsyncContextManager[Node]:
        """Open a node in the test's own task, with the state machine that all of them run.

        Another one would give other results, and the node would be right to stop for that.
        """
        machines = {NAME: ledger or Ledger()}
        return paxos.open_node(self.file, number, machines=machines, storage=storage)

    def client(self, **options: Any) -> AbstractAsyncContextManager[paxos.Client]:
        """Open a client of this cluster."""
        return paxos.open_client(self.file, **options)

    async def _run(
        self,
        number: int,
        storage: Storage | None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        ledger = Ledger()
        self._ended[number] = trio.Event()
        try:
            with trio.CancelScope() as scope:
                self._scopes[number] = scope
                async with self.opened(number, ledger, storage) as node:
                    self.ledgers[number], self.nodes[number] = ledger, node
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self.nodes.pop(number, None)
            self._ended[number].set()


@asynccontextmanager
async def _local_cluster(file: ClusterFile) -> AsyncIterator[LocalCluster]:
    async with trio.open_nursery() as nursery:
        yield LocalCluster(file, nursery)
        nursery.cancel_scope.cancel()


class Acknowledged:
    """Commands that a client was told are done, in that order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self._milestones: dict[int, trio.Event] = {}

    def add(self, command: bytes) -> None:
        """Note one more."""
        self.commands.append(command)
        milestone = self._milestones.get(len(self.commands))
        if milestone is not None:
            milestone.set()

    async def more(self, count: int) -> None:
        """Wait until there are ``count`` more than now."""
        milestone = self._milestones[len(self.commands) + count] = trio.Event()
        await milestone.wait()


LocalClusterMaker = Callable[..., AbstractAsyncContextManager[LocalCluster]]


@pytest.fixture
def memory_cluster() -> LocalClusterMaker:
    """Return a maker of clusters in memory; keywords replace fields of the cluster file."""

    def make(**changes: Any) -> AbstractAsyncContextManager[LocalCluster]:
        return _local_cluster(replace(paxos.memory_cluster(3), **changes))

    return make


@pytest.fixture
def short_lived_path() -> Iterator[Path]:
    """Return a directory that is deleted at once: logs are large, and pytest would keep many."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(params=["memory", "tcp", "ws"])
def any_cluster(
    request: pytest.FixtureRequest, short_lived_path: Path, free_ports: list[int]
) -> LocalClusterMaker:
    """Return a maker of clusters over each transport; over sockets the logs are real files."""

    def make(**changes: Any) -> AbstractAsyncContextManager[LocalCluster]:
        if request.param == "memory":
            return _local_cluster(replace(paxos.memory_cluster(3), **changes))
        file = cluster_file.found(
            short_lived_path / "cluster",
            replicas=3,
            machines={NAME: "somewhere:Ledger"},
            transport=request.param,
        )
        nodes = tuple(
            NodeEntry(node.id, f"{request.param}://127.0.0.1:{port}", node.data, node.incarnation)
            for node, port in zip(file.nodes, free_ports, strict=True)
        )
        return _local_cluster(replace(file, nodes=nodes, **changes))

    return make


@pytest.fixture
def free_ports() -> list[int]:
    """Return three ports that nobody listens on at the moment."""
    holders = [socket.socket() for _ in range(3)]
    for holder in holders:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@pytest.fixture
def ledger_name() -> str:
    """Return the name of the state machine in these clusters."""
    return NAME


@pytest.fixture
def acknowledged() -> Acknowledged:
    """Return an empty record of what was acknowledged."""
    return Acknowledged()
