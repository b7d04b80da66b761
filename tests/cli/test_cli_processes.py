"""Replica processes as children: whatever happens, none is left behind."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import trio

from paxos.testing.processes import ReplicaProcessFailed, replica_processes, serve_command
from tests.cli.replicas import Replicas, processes_that_name

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path / "c", "tcp", 3, "segments")


def _state(pid: int) -> str:
    """Return what the kernel says of a process: "T" is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_processes_that_were_started_end_with_the_context(cluster: Replicas) -> None:
    async def act() -> None:
        async with replica_processes(
            serve_command(cluster.config), cluster.config.parent
        ) as processes:
            await processes.start_all((1, 2))
            assert list(processes.running) == [1, 2]
            assert set(processes_that_name(str(cluster.config))) == {
                processes.pid(1),
                processes.pid(2),
            }
            assert await processes.pause(1)
            assert _state(processes.pid(1)) == "T"
            processes.resume(1)
            assert _state(processes.pid(1)) != "T"
            assert processes.ended(1) is None
            assert await processes.ask(1, {}) is None
            assert await processes.kill(1) == (-signal.SIGKILL,)
            assert await processes.pause(2)
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
        async with replica_processes(
            serve_command(cluster.config), cluster.config.parent
        ) as processes:
            await processes.start_all((1, 2))

    with pytest.raises(ReplicaProcessFailed) as failure:
        trio.run(act)
    assert "node 2 ended with status 2 before it was ready" in str(failure.value)
    assert str(cluster.data(2)) in str(failure.value)
    assert processes_that_name(str(cluster.config)) == []
