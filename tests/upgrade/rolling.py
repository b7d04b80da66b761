"""A cluster of which some processes run the release before and some this one, and a load on it.

The release before runs from its unpacked wheel, as ``python -m paxos.cli serve``, like this one.
Waits are for what the cluster itself tells: a number of acknowledged writes, or a status.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from paxos import service
from paxos.core.config import FEATURE
from paxos.runtime.client import Client, OutcomeUnknown
from paxos.testing.processes import (
    ReplicaProcesses,
    free_base_port,
    replica_processes,
    serve_command,
)
from statemachines.edge_config_client import EdgeConfigClient
from tests.golden import release

NODES = (1, 2, 3)
WRITERS = 3
WAIT_S = 60.0
"""Guards against a hang on a machine that does much else; nothing is promised about it."""

PAUSE_S = 0.01
"""Between two writes of one writer: the load is there to be lost or not, and leaves the machine's
time to nodes that start."""

LOOK_AGAIN_S = 0.05

NEW_LIMITS = """
[limits]
snapshot_entries = {entries}
kept_entries = 5
"""
"""What an operator adds for this release; the one before would not know these keys."""

FEW_ENTRIES = 40
"""A snapshot every so many entries."""

NEVER = 1_000_000
"""Entries that no test here writes."""

CLIENT_BEFORE = """
import sys

import trio

from paxos import service
from statemachines.edge_config_client import EdgeConfigClient


async def write(config, key):
    async with service.open_client(config, timeout=60) as client:
        store = EdgeConfigClient(client)
        number = 0
        while True:
            number += 1
            await store.put(key, b"%d" % number)
            print(number, flush=True)
            await trio.sleep(0.01)  # its pace: nobody waits for anything by it


trio.run(write, *sys.argv[1:])
"""
"""A client of the release before, which tells each write that was acknowledged to it."""

Fields = dict[str, Any]


@dataclass
class Acknowledged:
    """One writer's key, which it alone writes, with numbers that only grow."""

    key: str
    value: int = 0
    attempted: int = 0


class Load:
    """Writers that never stop, and what they were told."""

    def __init__(self, store: EdgeConfigClient, old: Path, config: Path) -> None:
        self._store = store
        self._old, self._config = old, config
        self._mine = [Acknowledged(f"rolled/{writer}") for writer in range(WRITERS)]
        self._before = Acknowledged("rolled/before")
        self.written = [*self._mine, self._before]
        self._more = trio.Condition()
        self.scope = trio.CancelScope()

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return sum(each.value for each in self.written)

    async def run(self) -> None:
        """Write until ``scope`` is cancelled."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                for each in self._mine:
                    nursery.start_soon(self._write, each)
                nursery.start_soon(self._write_by_release_before, self._before)

    async def _write(self, mine: Acknowledged) -> None:
        while True:
            mine.attempted += 1
            try:
                await self._store.put(mine.key, b"%d" % mine.attempted)
            except OutcomeUnknown:
                continue
            await self._note(mine, mine.attempted)
            await pause(PAUSE_S)

    async def _write_by_release_before(self, mine: Acknowledged) -> None:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", CLIENT_BEFORE, str(self._config), mine.key],
            env=release.environment(self._old),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            printed = b""
            async for piece in process.stdout:
                *lines, printed = (printed + piece).split(b"\n")
                for line in lines:
                    await self._note(mine, int(line))
            raise AssertionError("the client of the release before ended; see standard error")
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await process.stdout.aclose()

    async def _note(self, mine: Acknowledged, number: int) -> None:
        async with self._more:
            mine.value = number
            self._more.notify_all()

    async def go_on_before(self, writes: int) -> None:
        """Wait until the client of the release before got so many more writes acknowledged."""
        wanted = self._before.value + writes
        with trio.fail_after(WAIT_S):
            async with self._more:
                while self._before.value < wanted:
                    await self._more.wait()

    async def go_on(self, writes: int) -> None:
        """Wait until so many more writes were acknowledged."""
        wanted = self.count + writes
        with trio.fail_after(WAIT_S):
            async with self._more:
                while self.count < wanted:
                    await self._more.wait()

    async def check(self) -> None:
        """Read everything, linearizably: no read may miss what was acknowledged before it began."""
        for each in self.written:
            least = each.value
            item = (await self._store.get(each.key)).item
            found = 0 if item is None else int(item.value)
            assert found >= least, each
            # What the other client was told may still be on its way here.
            assert found <= each.attempted or each is self._before, each


@dataclass
class Rolling:
    """The processes of one cluster.

    Attributes:
        old: The release before, unpacked.
        config: The cluster file that it wrote.
        logs: The directory of what nodes say on standard error.
        new: Nodes that run this release; the others run the one before.
    """

    old: Path
    config: Path
    logs: Path
    processes: ReplicaProcesses = field(init=False)
    client: Client = field(init=False)
    load: Load = field(init=False)
    new: set[int] = field(default_factory=set)

    @property
    def config_new(self) -> Path:
        """The cluster file of the nodes that run this release."""
        return self.config.with_name("cluster-new.toml")

    def command_for(self, node: int) -> Sequence[str]:
        """Return how a node is started, by the release that it runs."""
        if node in self.new:
            return serve_command(self.config_new)(node)
        path = [f"PYTHONPATH={self.old}", "PYTHONSAFEPATH=1"]
        arguments = ["serve", "--config", str(self.config), "--node", str(node)]
        return ["/usr/bin/env", *path, *release.command(*arguments)]

    async def upgrade(self, node: int) -> None:
        """Stop a node, and start it again with this release."""
        assert await self.processes.stop(node) == 0
        self.new.add(node)
        await self.processes.start(node)

    async def go_back(self, node: int) -> None:
        """Stop a node, and start it again with the release before."""
        assert await self.processes.stop(node) == 0
        self.new.remove(node)
        await self.processes.start(node)

    async def step(self, writes: int = 30) -> None:
        """Let the load go on over what was just done, and read it all."""
        await self.load.go_on(writes)
        await self.load.go_on_before(3)
        await self.load.check()

    async def statuses(self) -> dict[int, Fields]:
        """Return what each node that answers says of itself."""
        answers = await self.client.status()
        return {each["node"]: each for each in answers.values() if "node" in each}

    async def wait_statuses(self, holds: Callable[[dict[int, Fields]], bool], what: str) -> None:
        """Ask all nodes until what they say together holds."""
        seen: dict[int, Fields] = {}
        with trio.move_on_after(WAIT_S):
            while True:
                seen = await self.statuses()
                if holds(seen):
                    return
                await pause(LOOK_AGAIN_S)
        raise AssertionError(f"after {WAIT_S:g} s still not: {what}; {seen}")

    def log(self, node: int) -> str:
        """Return what a node said on standard error."""
        return (self.logs / f"node-{node}.log").read_text(encoding="utf-8")

    async def leader(self) -> int:
        """Wait until all nodes follow one leader; return it."""
        found: set[int] = set()

        def agreed(seen: dict[int, Fields]) -> bool:
            found.clear()
            found.update(fields["leader"] for fields in seen.values())
            return set(seen) == set(self.processes.running) and len(found) == 1 and 0 not in found

        await self.wait_statuses(agreed, "all nodes follow one leader")
        return found.pop()

    async def make_leader_new(self) -> None:
        """Let a node of this release lead, while those of the one before follow."""
        while (leader := await self.leader()) not in self.new:
            assert await self.processes.stop(leader) == 0
            await self.load.go_on(1)
            await self.processes.start(leader)

    async def wait_raised(self) -> None:
        """Wait until every node knows that the feature was raised."""

        def raised(seen: dict[int, Fields]) -> bool:
            features = [fields["configuration"]["feature"] for fields in seen.values()]
            return features == [FEATURE] * len(NODES)

        await self.wait_statuses(raised, "all nodes know the feature")

    async def end_load(self) -> None:
        """End the load, and wait until all nodes hold the same state."""
        self.load.scope.cancel()

        def equal(seen: dict[int, Fields]) -> bool:
            states = {(fields["applied_through"], fields["digest"]) for fields in seen.values()}
            taken = all(digest for _, digest in states)
            return taken and set(seen) == set(NODES) and len(states) == 1

        await self.wait_statuses(equal, "all nodes hold the same state")
        await self.load.check()
        # Neither release ever said to the other what it does not understand.
        assert not [node for node in NODES if "bad frame" in self.log(node)]


async def pause(seconds: float) -> None:
    """Leave the machine to the processes of the cluster for a while: nothing here waits for it."""
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


async def raise_feature(rolling: Rolling) -> None:
    """Ask for the highest feature that this release understands."""
    latest = (await rolling.client.governing()).configuration
    wanted = replace(latest, version=latest.version + 1, feature=FEATURE)
    await rolling.client.reconfigure(wanted)


def compacted(seen: dict[int, Fields]) -> bool:
    """Whether all nodes have a snapshot, and a log that begins later."""
    return set(seen) == set(NODES) and all(
        fields["snapshot"] is not None and fields["compacted_through"] > 0
        for fields in seen.values()
    )


def found_by_release_before(
    tmp_path: Path, old: Path, storage: str, *, entries: int = FEW_ENTRIES
) -> Rolling:
    """Have the release before found a cluster of three, and write the file for this one.

    Args:
        tmp_path: Where all of it goes.
        old: The release before, unpacked.
        storage: What keeps the logs.
        entries: How often this one takes a snapshot.
    """
    directory = tmp_path / "cluster"
    arguments = ["init", str(directory), "--replicas", "3", "--storage", storage]
    made = release.run(old, [*arguments, "--base-port", str(free_base_port(3))])
    assert made.returncode == 0, made.stderr.decode()
    rolling = Rolling(old, directory / "cluster.toml", tmp_path)
    text = rolling.config.read_text()
    assert "feature" not in text
    assert "\n[limits]\n" in text
    rolling.config_new.write_text(text.replace("\n[limits]\n", NEW_LIMITS.format(entries=entries)))
    return rolling


@asynccontextmanager
async def running(rolling: Rolling, nodes: Iterable[int]) -> AsyncIterator[Rolling]:
    """Start nodes, and a load of this release's client on the whole cluster."""
    async with (
        replica_processes(rolling.command_for, rolling.logs) as rolling.processes,
        service.open_client(rolling.config, timeout=WAIT_S) as rolling.client,
        trio.open_nursery() as nursery,
    ):
        await rolling.processes.start_all(nodes)
        store = EdgeConfigClient(rolling.client)
        rolling.load = Load(store, rolling.old, rolling.config)
        nursery.start_soon(rolling.load.run)
        yield rolling
        rolling.load.scope.cancel()
