"""A machine with more to do than it can: slow is not dead, and nobody is elected for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.replicas import Replicas, objects, replicas

pytestmark = pytest.mark.processes

LOAD_S = 4
# Ends by itself if this process is killed.
BUSY = "import os\nme = os.getppid()\nwhile os.getppid() == me:\n    sum(range(100_000))"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keep every core busy inside the block, whatever else runs."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def settled_ballot(cluster: Replicas) -> str:
    """Return the ballot of the leader, once there is one."""
    leader = cluster.leader()
    ballot: str = cluster.status()[leader]["ballot"]
    return ballot


def test_leader_on_a_machine_whose_cores_are_all_busy_keeps_its_ballot(tmp_path: Path) -> None:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(*cluster.nodes)
        cluster("bench", "--duration", "1", "--warmup", "0")  # whoever campaigns has by then
        before = settled_ballot(cluster)
        with busy_machine():
            loaded = objects(cluster("bench", "--duration", str(LOAD_S), "--json"))[0]
        assert loaded["ops"] > 0
        assert settled_ballot(cluster) == before
