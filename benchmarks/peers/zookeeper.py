"""Three ZooKeeper nodes with forceSync on, its default, driven by its own asynchronous Java client.

All sessions go to the leader. A linearizable read is ``sync`` followed by ``getData``. The servers
are warmed up well before they are measured: a JVM compiles as it goes.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.peers.children import HOST, Children, ClusterFailed, children, free_ports
from benchmarks.peers.completions import Completions, told_by
from benchmarks.peers.debian import BUILD, HERE, build, is_built, packaged_file
from benchmarks.peers.generator import run_generator
from benchmarks.peers.lifecycle import CALL_TIMEOUT_S, NODES, VALUE_BYTES
from benchmarks.peers.measurement import Load, Measurement

SOURCE = HERE / "zookeeper_load"
CLASSES = BUILD / "zookeeper"
CLIENT_HEAP = "-Xmx512m"
CONNECTIONS = 8
SERVER_HEAP = "-Xmx1000m"  # the default of upstream's own start script
LOGGING = """\
log4j.rootLogger=ERROR, F
log4j.appender.F=org.apache.log4j.FileAppender
log4j.appender.F.File=${node}.log
log4j.appender.F.layout=org.apache.log4j.PatternLayout
log4j.appender.F.layout.ConversionPattern=%d %p %m%n
"""
WARM_UP = Load("write", 256, 8, 64, warmup_s=10.0, duration_s=5.0)


class ZooKeeper:
    """How to measure ZooKeeper."""

    name = "zookeeper"
    client = "Java, asynchronous"
    leaves_out: Mapping[str, str] = {}

    def missing(self) -> list[str]:
        """Return what is not installed."""
        missing = []
        if not shutil.which("java"):
            missing.append("java (Debian: default-jre-headless)")
        if not _compiled() and not shutil.which("javac"):
            missing.append("javac (Debian: default-jdk-headless)")
        if not _jar():
            missing.append("zookeeper.jar (Debian: zookeeper)")
        return missing

    def version(self) -> str:
        """Return ZooKeeper's version, from the name of a link beside the jar."""
        named = (
            re.fullmatch(r"zookeeper-([\d.]+)\.jar", path.name)
            for path in sorted(Path(_jar()).parent.iterdir())
        )
        return next((found[1] for found in named if found), "unknown")

    @contextmanager
    def cluster(self, parent: Path | None) -> Iterator[ZooKeeperCluster]:
        """Run three fresh nodes inside the context, warmed up."""
        with self.fresh(parent) as cluster:
            cluster.measure(WARM_UP)
            yield cluster

    @contextmanager
    def fresh(self, parent: Path | None) -> Iterator[ZooKeeperCluster]:
        """Run three fresh nodes inside the context, as cold as they start."""
        _build()
        with children("zookeeper", parent) as owned:
            yield ZooKeeperCluster(owned)


class ZooKeeperCluster:
    """Three ZooKeeper nodes that serve."""

    def __init__(self, owned: Children) -> None:
        self.owned = owned
        ports = free_ports(3 * NODES)
        self._clients = ports[:NODES]
        (owned.directory / "log4j.properties").write_text(LOGGING)
        members = "".join(
            f"server.{index + 1}={HOST}:{ports[NODES + index]}:{ports[2 * NODES + index]}\n"
            for index in range(NODES)
        )
        self._processes: dict[int, subprocess.Popen[str]] = {}
        for node in range(NODES):
            self._found(node, members)
            self.start(node)
        for node in range(NODES):
            owned.wait_for(partial(self._mode, node), f"answer from ZooKeeper node {node}")
        owned.wait_for(self.leader, "ZooKeeper leader")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for _, process in sorted(self._processes.items())]

    def measure(self, load: Load) -> Measurement:
        """Drive the leader; the client's own warm-up is a second longer, it is a JVM too.

        One operation at a time has a burst of 256 in front of it: else that would not warm it up.
        """
        wanted = replace(load, warmup_s=load.warmup_s + 1.0)
        return self._drive(
            wanted.read_share,
            wanted.outstanding,
            wanted.connections,
            wanted.warmup_s,
            wanted.duration_s,
            wanted.value_size,
        )

    def leader(self) -> int | None:
        """Return the node that leads, once all that run say what they are."""
        modes = {node: self._mode(node) for node in self._processes}
        leading = [node for node, mode in modes.items() if mode == "leader"]
        return leading[0] if len(leading) == 1 and None not in modes.values() else None

    def applied(self, node: int) -> int | None:
        """Return the latest transaction that a node has applied."""
        said = self._said(node)
        return int(said["Zxid"], 16) if "Mode" in said else None

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.owned.end(self._processes.pop(node))

    def start(self, node: int) -> None:
        """Start a node."""
        command = _java(SERVER_HEAP, f"{self.owned.directory}:{_jar()}", f"n{node}")
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        settings = str(self.owned.directory / f"n{node}.cfg")
        self._processes[node] = self.owned.serve(f"n{node}", [*command, main, settings])

    def fill(self, writes: int, outstanding: int) -> None:
        """Write through eight sessions with the leader."""
        done = self._drive(0.0, outstanding, CONNECTIONS, 0, 0, VALUE_BYTES, writes)
        if done.ops != writes:
            raise ClusterFailed(f"{done.errors} of {writes} writes to ZooKeeper failed")

    def slots(self, node: int) -> int | None:
        """Each write is an entry of its own."""
        return None

    def arrivals(self, rate: int) -> AbstractContextManager[Completions]:
        """Have writes arrive at three sessions that know all nodes; each picks one at random."""
        endpoints = ",".join(f"{HOST}:{port}" for port in self._clients)
        command = self._client("ZooKeeperArrivals", endpoints, rate, NODES, VALUE_BYTES)
        return told_by(self.owned, command)

    def bare_start(self) -> Sequence[str]:
        """Print the version."""
        command = _java(SERVER_HEAP, f"{self.owned.directory}:{_jar()}", "version")
        return [*command, "org.apache.zookeeper.Version"]

    def _drive(self, *arguments: float) -> Measurement:
        """Run the load generator against the leader."""
        leader = self.owned.wait_for(self.leader, "ZooKeeper leader")
        endpoint = f"{HOST}:{self._clients[leader]}"
        command = self._client("ZooKeeperLoad", endpoint, *arguments)
        return run_generator(self.owned, command, self.pids, leader)

    def _client(self, program: str, *arguments: str | float) -> list[str]:
        classes = f"{CLASSES}:{self.owned.directory}:{_jar()}"
        return [*_java(CLIENT_HEAP, classes, "client"), program, *map(str, arguments)]

    def _found(self, node: int, members: str) -> None:
        """Make a node's data directory and settings."""
        data = self.owned.directory / f"n{node}.data"
        data.mkdir()
        (data / "myid").write_text(str(node + 1))
        (self.owned.directory / f"n{node}.cfg").write_text(
            f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n"
            f"clientPort={self._clients[node]}\nclientPortAddress={HOST}\n"
            f"4lw.commands.whitelist=srvr\nadmin.enableServer=false\n{members}"
        )

    def _mode(self, node: int) -> str | None:
        """Ask a node what it is: leader, follower, or nothing yet."""
        return self._said(node).get("Mode")

    def _said(self, node: int) -> dict[str, str]:
        """Ask a node about itself."""
        address = (HOST, self._clients[node])
        with socket.create_connection(address, timeout=CALL_TIMEOUT_S) as connection:
            connection.sendall(b"srvr")
            with connection.makefile() as answer:
                pairs = (line.strip().partition(": ") for line in answer)
                return {name: value for name, _, value in pairs}


def _java(heap: str, classes: str, node: str) -> list[str]:
    options = ["-Dzookeeper.jmx.log4j.disable=true", "-Djava.net.preferIPv4Stack=true"]
    return ["java", heap, f"-Dnode={node}", *options, "-cp", classes]


def _jar() -> str:
    """Return Debian's jar, or the empty text."""
    return packaged_file("libzookeeper-java", "/zookeeper.jar")


def _compiled() -> bool:
    return all(is_built(CLASSES / f"{file.stem}.class", SOURCE) for file in SOURCE.glob("*.java"))


def _build() -> None:
    """Compile the load generators, once per change of them."""
    if not _compiled():
        CLASSES.mkdir(parents=True, exist_ok=True)
        sources = sorted(SOURCE.glob("*.java"))
        build(["javac", "-cp", _jar(), "-d", CLASSES, *sources])
