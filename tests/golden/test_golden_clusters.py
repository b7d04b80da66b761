"""Clusters that the release before wrote, opened by this one: everything acknowledged is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from paxos import cluster, service
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    WatermarkRecord,
)
from paxos.testing.processes import free_base_port, replica_processes, serve_command
from statemachines.edge_config_client import EdgeConfigClient
from tests.golden import release

NODES = (1, 2, 3)
WAIT_S = 60.0


def unpacked(storage: str, tmp_path: Path) -> cluster.ClusterFile:
    """Return the cluster, at ports that are free here."""
    path = release.unpack_cluster(storage, tmp_path)
    made = cluster.load(path)
    text, base = path.read_text(), free_base_port(len(made.nodes))
    for entry in made.nodes:
        text = text.replace(entry.url, f"tcp://127.0.0.1:{base + entry.id}")
    path.write_text(text)
    return cluster.load(path)


@pytest.mark.parametrize("storage", release.STORAGES)
def test_log_of_the_release_before_is_read_record_by_record(storage: str, tmp_path: Path) -> None:
    path = release.unpack_cluster(storage, tmp_path)
    found = set()
    for node in NODES:
        log = service.open_storage(cluster.load(path), node)
        try:
            loaded = log.load()
        finally:
            log.close()
        assert loaded.damage is None
        assert (loaded.snapshot, loaded.compacted_through) == (None, 0)
        found |= {type(record) for record in loaded.records}
    assert found == {
        AcceptedRecord,
        DecidedRecord,
        IssuedRecord,
        PromisedRecord,
        WatermarkRecord,
    }


@pytest.mark.processes
@pytest.mark.parametrize("storage", release.STORAGES)
def test_cluster_of_the_release_before_has_all_that_was_acknowledged(
    storage: str, tmp_path: Path
) -> None:
    made = unpacked(storage, tmp_path)
    assert made.feature == 1

    async def read_and_write() -> None:
        async with (
            replica_processes(serve_command(made.path), tmp_path) as processes,
            service.open_client(made, timeout=WAIT_S) as client,
        ):
            await processes.start_all(NODES)
            store = EdgeConfigClient(client)
            found = {item.key: item.value.decode() async for item in store.items("golden/")}
            assert found == release.contents(storage)
            await store.put("golden/later", b"value")
            assert (await client.governing()).configuration.feature == 1

    trio.run(read_and_write)
