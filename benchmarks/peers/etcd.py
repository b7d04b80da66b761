"""Three etcd nodes with default durability, driven by its own Go client (``etcd_load``).

All connections go to the leader: the best case, and what ours and ZooKeeper's get too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.children import HOST, Children, children, free_ports
from benchmarks.peers.debian import BUILD, HERE, is_built, packaged_file
from benchmarks.peers.generator import run_generator
from benchmarks.peers.measurement import Load, Measurement

CLIENT = "/src/go.etcd.io/etcd/clientv3"
SOURCE = HERE / "etcd_load"
PROGRAM = BUILD / "etcd-load"


class Etcd:
    """How to measure etcd."""

    name = "etcd"
    client = "Go clientv3"
    leaves_out: Mapping[str, str] = {}

    def missing(self) -> list[str]:
        """Return what is not installed."""
        missing = []
        if not shutil.which("etcd"):
            missing.append("etcd (Debian: etcd-server)")
        if not is_built(PROGRAM, SOURCE):
            if not shutil.which("go"):
                missing.append("go (Debian: golang-go)")
            if not _go_path():
                missing.append(
                    "etcd's Go client (Debian: golang-etcd-server-dev golang-google-grpc-dev)"
                )
        return missing

    def version(self) -> str:
        """Return etcd's version."""
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.splitlines()[0].rpartition(" ")[2]

    @contextmanager
    def cluster(self, parent: Path | None) -> Iterator[EtcdCluster]:
        """Run three fresh nodes inside the context."""
        _build()
        with children("etcd", parent) as owned:
            yield EtcdCluster(owned)


class EtcdCluster:
    """Three etcd nodes that serve."""

    def __init__(self, owned: Children) -> None:
        self._owned = owned
        ports = free_ports(6)
        self._clients = [f"{HOST}:{port}" for port in ports[:3]]
        peers = [f"http://{HOST}:{port}" for port in ports[3:]]
        members = ",".join(f"n{index}={peer}" for index, peer in enumerate(peers))
        self._processes = [
            owned.serve(
                f"n{index}",
                _command(index, f"http://{self._clients[index]}", peers[index], members),
            )
            for index in range(3)
        ]
        for index in range(3):
            owned.wait_for(partial(self._range, index), f"answer from etcd node {index}")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for process in self._processes]

    def measure(self, load: Load) -> Measurement:
        """Drive the leader."""
        leader = self._owned.wait_for(self._find_leader, "etcd leader")
        command = {
            "-read-share": load.read_share,
            "-endpoints": self._clients[leader],
            "-outstanding": load.outstanding,
            "-connections": load.connections,
            "-value-size": load.value_size,
            "-duration": f"{load.duration_s}s",
            "-warmup": f"{load.warmup_s}s",
        }
        options = [str(word) for pair in command.items() for word in pair]
        return run_generator(self._owned, [str(PROGRAM), *options], self.pids, leader)

    def _find_leader(self) -> int | None:
        statuses = [self._call(index, "maintenance/status", {}) for index in range(3)]
        for index, status in enumerate(statuses):
            if status["header"]["member_id"] == status["leader"]:
                return index
        return None

    def _range(self, index: int) -> Any:
        """Read linearizably: answered only once there is a leader."""
        return self._call(index, "kv/range", {"key": "aw=="})

    def _call(self, index: int, path: str, body: dict[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://{self._clients[index]}/v3/{path}", json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=1.0) as answer:  # noqa: S310 (as above)
            return json.load(answer)


def _command(index: int, client: str, peer: str, members: str) -> list[str]:
    options = {
        "--name": f"n{index}",
        "--data-dir": f"n{index}.data",
        "--listen-client-urls": client,
        "--advertise-client-urls": client,
        "--listen-peer-urls": peer,
        "--initial-advertise-peer-urls": peer,
        "--initial-cluster": members,
        "--logger": "zap",
        "--log-level": "warn",
    }
    return ["etcd", *(word for pair in options.items() for word in pair)]


def _go_path() -> str:
    """Return the GOPATH that holds etcd's client as Debian packages it, or the empty text."""
    return packaged_file("golang-etcd-server-dev", CLIENT).removesuffix(CLIENT)


def _build() -> None:
    """Build the load generator, once per change of it.

    It is built against the packaged client, and nothing comes from the net.
    """
    if is_built(PROGRAM, SOURCE):
        return
    source = BUILD / "go" / "src" / "etcd_load"
    shutil.copytree(SOURCE, source, dirs_exist_ok=True)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOPATH": f"{BUILD / 'go'}:{_go_path()}",
    }
    subprocess.run(["go", "build", "-o", PROGRAM, "etcd_load"], check=True, env=environment)
