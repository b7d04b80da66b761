"""All three processes killed with SIGKILL at once, under load: nothing acknowledged is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from paxos import service
from paxos.runtime.client import OutcomeUnknown, RequestRefused
from statemachines.edge_config_client import EdgeConfigClient
from tests.cli.replicas import Replicas, replicas

pytestmark = pytest.mark.processes

WRITERS = 8
WRITES_BEFORE_THE_KILL = 200
LEADER_WITHIN_S = 2.0


async def write_until_killed(cluster: Replicas) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Write until all replicas were killed; return what was acknowledged, and what is unknown."""
    acknowledged: dict[str, bytes] = {}
    uncertain: dict[str, bytes] = {}
    enough = trio.Event()
    killed = trio.Event()

    async def write(store: EdgeConfigClient, writer: int) -> None:
        number = 0
        while not killed.is_set():
            number += 1
            key, value = f"kill-all/{writer}/{number}", b"%d" % number
            try:
                await store.put(key, value)
            except OutcomeUnknown:
                uncertain[key] = value
            except RequestRefused:
                return  # nobody is there any more
            else:
                acknowledged[key] = value
            if len(acknowledged) >= WRITES_BEFORE_THE_KILL:
                enough.set()

    async with (
        service.open_client(cluster.config, timeout=1.0) as client,
        trio.open_nursery() as nursery,
    ):
        for writer in range(WRITERS):
            nursery.start_soon(write, EdgeConfigClient(client), writer)
        await enough.wait()
        cluster.kill(*cluster.nodes)
        killed.set()
    return acknowledged, uncertain


async def read_all(cluster: Replicas) -> dict[str, bytes]:
    async with service.open_client(cluster.config) as client:
        store = EdgeConfigClient(client)
        return {item.key: item.value async for item in store.items("kill-all/")}


@pytest.mark.parametrize("storage", ["segments", "sqlite"])
def test_cluster_killed_at_once_under_load_loses_nothing_acknowledged(
    tmp_path: Path, storage: str
) -> None:
    with replicas(tmp_path / "c", storage=storage) as cluster:
        cluster.start(*cluster.nodes)
        acknowledged, uncertain = trio.run(write_until_killed, cluster)
        assert len(acknowledged) >= WRITES_BEFORE_THE_KILL
        cluster.start(*cluster.nodes)
        began = time.monotonic()
        cluster.leader()
        assert time.monotonic() - began < LEADER_WITHIN_S
        found = trio.run(read_all, cluster)
        assert {key: found.get(key) for key in acknowledged} == acknowledged
        assert found.keys() <= acknowledged.keys() | uncertain.keys()
        cluster.wait_equal()
