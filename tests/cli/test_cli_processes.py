"""Replica processes as children: whatever happens, none is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from paxos.cli.processes import ReplicaProcessFailed, replica_processes
from tests.cli.replicas import Replicas, processes_that_name

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path / "c", "tcp", 3, "segments")


def test_processes_that_were_started_end_with_the_context(cluster: Replicas) -> None:
    async def act() -> None:
        async with replica_processes(cluster.config, cluster.config.parent) as processes:
            await processes.start_all((1, 2))
            assert list(processes.running) == [1, 2]
            assert set(processes_that_name(str(cluster.config))) == {
                processes.pid(1),
                processes.pid(2),
            }
            await processes.kill(1)
            assert await processes.stop(2) == 0
            assert list(processes.running) == []
            await processes.start(1)
            with pytest.raises(ReplicaProcessFailed, match="runs already"):
                await processes.start(1)
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        trio.run(act)
    assert processes_that_name(str(cluster.config)) == []


def test_process_that_does_not_start_is_reported_with_what_it_said(cluster: Replicas) -> None:
    shutil.rmtree(cluster.data(2))

    async def act() -> None:
        async with replica_processes(cluster.config, cluster.config.parent) as processes:
            await processes.start_all((1, 2))

    with pytest.raises(ReplicaProcessFailed) as failure:
        trio.run(act)
    assert "node 2 ended with status 2 before it was ready" in str(failure.value)
    assert str(cluster.data(2)) in str(failure.value)
    assert processes_that_name(str(cluster.config)) == []
