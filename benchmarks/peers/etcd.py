"""Three etcd nodes with default durability, driven by its own Go client (``etcd_load``).

All connections go to the leader: the best case, and what ours and ZooKeeper's get too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.children import HOST, Children, ClusterFailed, children, free_ports
from benchmarks.peers.completions import Completions, told_by
from benchmarks.peers.debian import BUILD, HERE, build, is_built, packaged_file
from benchmarks.peers.generator import run_generator
from benchmarks.peers.lifecycle import CALL_TIMEOUT_S, NODES, VALUE_BYTES
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

    def cluster(self, parent: Path | None) -> AbstractContextManager[EtcdCluster]:
        """Run three fresh nodes inside the context; there is nothing to warm up."""
        return self.fresh(parent)

    @contextmanager
    def fresh(self, parent: Path | None) -> Iterator[EtcdCluster]:
        """Run three fresh nodes inside the context."""
        _build()
        with children("etcd", parent) as owned:
            yield EtcdCluster(owned)


class EtcdCluster:
    """Three etcd nodes that serve."""

    def __init__(self, owned: Children) -> None:
        self.owned = owned
        ports = free_ports(2 * NODES)
        self._clients = [f"{HOST}:{port}" for port in ports[:NODES]]
        self._peers = [f"http://{HOST}:{port}" for port in ports[NODES:]]
        self._processes: dict[int, subprocess.Popen[str]] = {}
        for node in range(NODES):
            self.start(node)
        for node in range(NODES):
            owned.wait_for(partial(self._range, node), f"answer from etcd node {node}")
        owned.wait_for(self.leader, "etcd leader")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for _, process in sorted(self._processes.items())]

    def measure(self, load: Load) -> Measurement:
        """Drive the leader."""
        return self._drive(
            {
                "-read-share": load.read_share,
                "-outstanding": load.outstanding,
                "-connections": load.connections,
                "-value-size": load.value_size,
                "-duration": f"{load.duration_s}s",
                "-warmup": f"{load.warmup_s}s",
            }
        )

    def leader(self) -> int | None:
        """Return the node that leads, once all that run name the same one."""
        statuses = {node: self._call(node, "maintenance/status", {}) for node in self._processes}
        named = {status.get("leader") for status in statuses.values()}
        leading = [
            node for node, status in statuses.items() if {status["header"]["member_id"]} == named
        ]
        return leading[0] if leading else None

    def applied(self, node: int) -> int:
        """Return the index of the raft log through which a node has applied."""
        return int(self._call(node, "maintenance/status", {})["raftAppliedIndex"])

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.owned.end(self._processes.pop(node))

    def start(self, node: int) -> None:
        """Start a node; told of the cluster it belongs to, it goes by its data if it has any."""
        members = ",".join(f"n{index}={peer}" for index, peer in enumerate(self._peers))
        command = _command(node, f"http://{self._clients[node]}", self._peers[node], members)
        self._processes[node] = self.owned.serve(f"n{node}", command)

    def fill(self, writes: int, outstanding: int) -> None:
        """Write through eight connections to the leader."""
        done = self._drive(
            {
                "-outstanding": outstanding,
                "-value-size": VALUE_BYTES,
                "-count": writes,
            }
        )
        if done.ops != writes:
            raise ClusterFailed(f"{done.errors} of {writes} writes to etcd failed")

    def slots(self, node: int) -> int | None:
        """Each write is an entry of its own."""
        return None

    def arrivals(self, rate: int) -> AbstractContextManager[Completions]:
        """Have puts arrive at three clients that know all nodes, and balance between them."""
        options: dict[str, str | float] = {
            "-mode": "open",
            "-endpoints": ",".join(self._clients),
            "-connections": NODES,
            "-rate": rate,
            "-value-size": VALUE_BYTES,
        }
        return told_by(self.owned, [str(PROGRAM), *_words(options)])

    def bare_start(self) -> Sequence[str]:
        """Print the version."""
        return ["etcd", "--version"]

    def _drive(self, options: dict[str, str | float]) -> Measurement:
        """Run the load generator against the leader."""
        leader = self.owned.wait_for(self.leader, "etcd leader")
        words = _words({**options, "-endpoints": self._clients[leader]})
        return run_generator(self.owned, [str(PROGRAM), *words], self.pids, leader)

    def _range(self, index: int) -> Any:
        """Read linearizably: answered only once there is a leader."""
        return self._call(index, "kv/range", {"key": "aw=="})

    def _call(self, index: int, path: str, body: dict[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://{self._clients[index]}/v3/{path}", json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:  # noqa: S310 (as above)
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
    return ["etcd", *_words(options)]


def _words(options: Mapping[str, str | float]) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


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
    build(["go", "build", "-o", PROGRAM, "etcd_load"], environment)
