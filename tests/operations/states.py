"""States of an edge configuration to found clusters from, and nodes that run in this process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from paxos import codec, service
from paxos.cluster import ClusterFile
from paxos.core.config import Governing
from paxos.core.executor import Executor
from paxos.core.messages import OpenSession, Submit
from paxos.core.snapshot import Snapshot
from paxos.core.value import Value
from paxos.runtime.client import Client
from statemachines.edge_config_client import put_command
from tests.operations.clusters import THREE

MACHINES = {"config": "statemachines.edge_config:EdgeConfig"}
STAMP_US = 1_700_000_000_000_000
SESSION = 1


def opening() -> Value:
    """A value that opens the session with which ``writing`` writes."""
    return Value(STAMP_US, codec.wrap_submission(codec.encode(OpenSession(5))))


def writing(request: int, key: str, value: bytes) -> Value:
    """A value with one write, the session's ``request``."""
    submit = Submit(SESSION, request, request - 1, "config", (put_command(key, value),))
    return Value(STAMP_US + request, codec.wrap_submission(codec.encode(submit)))


def values(through: int) -> dict[int, Value]:
    """What the log holds in slots 1 to ``through``: key k is as the slot."""
    rest = {slot: writing(slot - 1, "k", b"%d" % slot) for slot in range(2, through + 1)}
    return {1: opening()} | rest


def state(through: int) -> Snapshot:
    """The state after ``values``, of a cluster whose configuration has changed since."""
    executor = Executor(service.load_machines(MACHINES), codec.unpack_batch, 100, 100)
    for slot, value in values(through).items():
        executor.apply(slot, value)
    return executor.snapshot((Governing(3, THREE),))


def memory_urls(count: int) -> list[str]:
    """URLs within this process, that nobody else uses."""
    name = secrets.token_hex(4)
    return [f"memory://{name}-{node}" for node in range(1, count + 1)]


@asynccontextmanager
async def running(file: ClusterFile, *nodes: int) -> AsyncIterator[Client]:
    """Run nodes of a cluster in this process, with a client as the value."""
    async with AsyncExitStack() as stack:
        for node in nodes or tuple(file.urls):
            await stack.enter_async_context(service.open_node(file, node))
        yield await stack.enter_async_context(service.open_client(file))
