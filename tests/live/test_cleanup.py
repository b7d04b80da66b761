"""Whatever way a run ends: no process, no listener and no namespace of it is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like.live import namespaces
from jepsen_like.live.cluster import LiveCluster
from jepsen_like.live.warden import birth
from tests.live.clusters import lives, run

pytestmark = pytest.mark.processes

WAIT_TIMEOUT_S = 30.0

RUN = """
import json, sys
from pathlib import Path
import trio
from jepsen_like.live.cluster import open_cluster

async def main():
    machines = {"config": "statemachines.edge_config:EdgeConfig"}
    directory, network = Path(sys.argv[1]), sys.argv[2]
    async with open_cluster(directory, machines=machines, replicas=2, network=network) as cluster:
        await cluster.processes.pause(1)
        print(json.dumps([cluster.processes.pid(node) for node in cluster.nodes]), flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def _wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"after {WAIT_TIMEOUT_S:g} s still not: {what}"


def _killed_run(directory: Path, network: str) -> tuple[int, list[int]]:
    """Kill a run in its middle; return its process id, and those of its nodes."""
    command = [sys.executable, "-c", RUN, str(directory), network]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            pids: list[int] = json.loads(process.stdout.readline())
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
    return process.pid, pids


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_run_that_fails_in_the_middle_leaves_no_process_and_no_listener(tmp_path: Path) -> None:
    pids: list[int] = []
    addresses: list[tuple[str, int]] = []

    async def act(cluster: LiveCluster) -> None:
        await cluster.processes.pause(1)
        pids.extend(cluster.processes.pid(node) for node in cluster.nodes)
        for node in cluster.nodes:
            addresses.append(cluster.network.listen_address(node))
            addresses.append(cluster.network.address("c0", node))
        assert all(_listens(address) for address in addresses)
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        run(tmp_path, act, replicas=2)
    assert len(pids) == 2
    assert not any(map(lives, pids))
    assert not any(map(_listens, addresses))


def test_run_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    _, pids = _killed_run(tmp_path, "proxy")
    _wait_until(lambda: not any(map(lives, pids)), "the nodes are gone")


@pytest.mark.skipif(bool(namespaces.missing()), reason=f"{namespaces.missing()}")
def test_run_in_namespaces_that_is_killed_leaves_none_of_them(tmp_path: Path) -> None:
    pid, pids = _killed_run(tmp_path, "namespaces")
    _wait_until(lambda: not any(map(lives, pids)), "the nodes are gone")
    _wait_until(lambda: f"jl{pid}" not in _made(), "the namespaces are gone")


@pytest.mark.skipif(bool(namespaces.missing()), reason=f"{namespaces.missing()}")
def test_namespaces_of_a_dead_run_are_swept_and_those_of_a_living_one_are_kept() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    dead = namespaces.Namespaces([1, 2], ended.pid)
    mine = namespaces.Namespaces([1], os.getpid())
    try:
        dead.make()
        mine.make()
        assert set(namespaces.sweep()) == set(dead.names)
        assert f"jl{ended.pid}" not in _made()
        assert f"jl{os.getpid()}" in _made()
    finally:
        dead.remove()
        mine.remove()
    assert f"jl{os.getpid()}" not in _made()


def test_birth_of_a_process_tells_it_from_none() -> None:
    assert birth(os.getpid()) == birth(os.getpid()) != ""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert birth(ended.pid) == ""


def _made() -> str:
    """Return the names of all namespaces and links of this machine."""
    commands = (["ip", "netns", "list"], ["ip", "-brief", "link", "show"])
    return "".join(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for command in commands
    )
