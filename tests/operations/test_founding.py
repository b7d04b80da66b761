"""A cluster that is founded from an old one's state: what lives on, what does not, what is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
import trio

from paxos import cluster as cluster_file
from paxos import service
from paxos.cluster import ClusterFile, StorageKind
from paxos.core.config import Governing
from paxos.core.errors import ConfigurationInvalid
from paxos.core.sessions import SessionTable
from paxos.core.snapshot import SESSIONS, Snapshot, SnapshotPart
from paxos.operations.founding import SESSION_IDS_SKIPPED, Founding, found_from
from paxos.operations.plans import DirectoryTaken
from paxos.snapshot_format import read
from paxos.storage.base import Loaded
from statemachines.edge_config_client import EdgeConfigClient
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_requests import task_spec
from tests.operations.states import MACHINES, SESSION, memory_urls, running, state

THROUGH = 7


@pytest.fixture
def old(tmp_path: Path) -> ClusterFile:
    return cluster_file.found(tmp_path / "old", replicas=3, machines=MACHINES)


def founding(old: ClusterFile, count: int, storage: StorageKind = "segments") -> Founding:
    return Founding(old.path.parent.parent / "new", memory_urls(count), old, storage)


def loaded(file: ClusterFile, node: int) -> tuple[Loaded, Snapshot]:
    """What a node would find at its start."""
    storage = service.open_storage(file, node)
    try:
        found = storage.load()
        assert found.snapshot is not None
        name = found.snapshot
        data = storage.read_snapshot(name, 0, name.size)
        return found, read(name.size, lambda offset, length: data[offset : offset + length])
    finally:
        storage.close()


@pytest.mark.parametrize("storage", ["segments", "sqlite"])
def test_founded_nodes_begin_behind_the_state_with_their_own_configuration(
    old: ClusterFile, storage: StorageKind
) -> None:
    made = found_from(state(THROUGH), founding(old, 3, storage))
    assert cluster_file.load(made.path) == made
    assert made.cluster != old.cluster
    assert {each.incarnation for each in made.nodes}.isdisjoint(
        {each.incarnation for each in old.nodes}
    )
    for node in made.urls:
        found, snapshot = loaded(made, node)
        assert found.damage is None
        assert found.snapshot is not None
        assert (found.snapshot.through, found.compacted_through) == (THROUGH, THROUGH)
        assert snapshot.head.through == THROUGH
        assert snapshot.head.governing == (Governing(1, made.configurations().latest),)
        assert snapshot.head.time == state(THROUGH).head.time
    assert len({loaded(made, node)[0].snapshot for node in made.urls}) == 1


def test_sessions_of_the_old_cluster_are_gone_and_their_ids_are_never_given_again(
    old: ClusterFile,
) -> None:
    _, snapshot = loaded(found_from(state(THROUGH), founding(old, 1)), 1)
    table = SessionTable(10)
    table.restore(part.chunk for part in snapshot.parts() if part.section == SESSIONS)
    assert len(table) == 0
    assert table.open() == SESSION + SESSION_IDS_SKIPPED + 1


async def _use(file: ClusterFile) -> None:
    async with running(file) as client:
        store = EdgeConfigClient(client)
        found = await store.get("k")
        assert found.item is not None
        assert found.item.value == b"7"
        written = await store.put("k", b"new")
        assert written.revision == found.item.mod_revision + 1
        assert written.slot > THROUGH


def test_founded_cluster_goes_on_with_the_state_and_its_revisions(old: ClusterFile) -> None:
    trio.run(_use, found_from(state(THROUGH), founding(old, 3)))


def sections(file: ClusterFile, node: int) -> list[str]:
    _, snapshot = loaded(file, node)
    return [section for section, _ in groupby(part.section for part in snapshot.parts())]


async def _use_all(file: ClusterFile) -> None:
    async with running(file) as client:
        found = await EdgeConfigClient(client).get("k")
        assert found.item is not None
        assert found.item.value == b"7"
        for machine in ("another", "tasks"):
            tasks = TaskLogClient(client, machine)
            assert (await tasks.submit([task_spec("a", "work")])).created == (("a", 1),)


def test_machines_that_the_old_cluster_did_not_run_begin_empty_on_every_node(
    old: ClusterFile,
) -> None:
    task_log = "statemachines.task_log:TaskLog"
    like = replace(old, machines={"another": task_log, **MACHINES, "tasks": task_log})
    made = found_from(state(THROUGH), replace(founding(old, 3), like=like))
    assert [sections(made, node) for node in made.urls] == [["", "another", "config", "tasks"]] * 3
    trio.run(_use_all, made)


def test_node_of_a_cluster_founded_without_a_machine_refuses_to_run_it(old: ClusterFile) -> None:
    made = found_from(state(THROUGH), founding(old, 1))
    wider = replace(made, machines={**MACHINES, "tasks": "statemachines.task_log:TaskLog"})

    async def start() -> None:
        async with service.open_node(wider, 1):
            raise AssertionError("it started")

    with pytest.raises(ConfigurationInvalid, match="no state of 'tasks', which this node runs"):
        trio.run(start)


async def _grow(file: ClusterFile) -> None:
    async with running(file):
        status = await service.node_status(file.urls[1], cluster=file.cluster)
        told = status["configuration"]
        assert (told["version"], told["first"]) == (1, 1)
        assert [member["node"] for member in told["members"]] == [1, 2, 3]


def test_founded_cluster_has_its_founding_configuration_whatever_the_old_one_had(
    old: ClusterFile,
) -> None:
    trio.run(_grow, found_from(state(THROUGH), founding(old, 3)))


def test_founding_in_a_directory_that_is_not_empty_changes_nothing(old: ClusterFile) -> None:
    wanted = founding(old, 3)
    wanted.directory.mkdir()
    (wanted.directory / "mine").touch()
    with pytest.raises(DirectoryTaken, match="not an empty directory"):
        found_from(state(THROUGH), wanted)
    assert [path.name for path in wanted.directory.iterdir()] == ["mine"]


def test_founding_from_a_state_that_cannot_be_read_to_its_end_leaves_nothing(
    old: ClusterFile,
) -> None:
    whole = state(THROUGH)

    def parts() -> list[SnapshotPart]:
        raise OSError(5, "Input/output error")

    wanted = founding(old, 3)
    with pytest.raises(OSError, match="Input/output"):
        found_from(Snapshot(whole.head, parts), wanted)
    assert list(wanted.directory.iterdir()) == []
