"""Three ZooKeeper nodes with forceSync on, its default, driven by its own asynchronous Java client.

All sessions go to the leader. A linearizable read is ``sync`` followed by ``getData``. The servers
are warmed up well before they are measured: a JVM compiles as it goes.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.peers.children import HOST, Children, children, free_ports
from benchmarks.peers.debian import BUILD, HERE, is_built, packaged_file
from benchmarks.peers.generator import run_generator
from benchmarks.peers.measurement import Load, Measurement

CLASSES = BUILD / "zookeeper"
SOURCE = HERE / "zookeeper_load"
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
        """Run three fresh nodes inside the context."""
        _build()
        with children("zookeeper", parent) as owned:
            cluster = ZooKeeperCluster(owned)
            cluster.measure(WARM_UP)
            yield cluster


class ZooKeeperCluster:
    """Three ZooKeeper nodes that serve."""

    def __init__(self, owned: Children) -> None:
        self._owned = owned
        ports = free_ports(9)
        self._clients = ports[:3]
        (owned.directory / "log4j.properties").write_text(LOGGING)
        members = "".join(
            f"server.{index + 1}={HOST}:{ports[3 + index]}:{ports[6 + index]}\n"
            for index in range(3)
        )
        self._processes = [
            owned.serve(f"n{index}", self._command(index, members)) for index in range(3)
        ]
        for index in range(3):
            owned.wait_for(partial(self._mode, index), f"answer from ZooKeeper node {index}")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for process in self._processes]

    def measure(self, load: Load) -> Measurement:
        """Drive the leader; the client's own warm-up is a second longer, it is a JVM too."""
        leader = self._owned.wait_for(self._find_leader, "ZooKeeper leader")
        wanted = replace(load, warmup_s=load.warmup_s + 1.0)
        arguments = [
            f"{HOST}:{self._clients[leader]}",
            wanted.read_share,
            wanted.outstanding,
            wanted.connections,
            wanted.warmup_s,
            wanted.duration_s,
            wanted.value_size,
        ]
        command = _java("-Xmx512m", f"{CLASSES}:{self._owned.directory}:{_jar()}", "client")
        return run_generator(
            self._owned, [*command, "ZooKeeperLoad", *map(str, arguments)], self.pids, leader
        )

    def _command(self, index: int, members: str) -> list[str]:
        data = self._owned.directory / f"n{index}.data"
        data.mkdir()
        (data / "myid").write_text(str(index + 1))
        settings = self._owned.directory / f"n{index}.cfg"
        settings.write_text(
            f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n"
            f"clientPort={self._clients[index]}\nclientPortAddress={HOST}\n"
            f"4lw.commands.whitelist=srvr\nadmin.enableServer=false\n{members}"
        )
        command = _java(SERVER_HEAP, f"{self._owned.directory}:{_jar()}", f"n{index}")
        return [*command, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(settings)]

    def _find_leader(self) -> int | None:
        modes = [self._mode(index) for index in range(3)]
        return modes.index("leader") if "leader" in modes else None

    def _mode(self, index: int) -> str | None:
        """Ask a node what it is: leader, follower, or nothing yet."""
        with socket.create_connection((HOST, self._clients[index]), timeout=1.0) as connection:
            connection.sendall(b"srvr")
            with connection.makefile() as answer:
                modes = [line.split()[1] for line in answer if line.startswith("Mode: ")]
        return modes[0] if modes else None


def _java(heap: str, classes: str, node: str) -> list[str]:
    options = ["-Dzookeeper.jmx.log4j.disable=true", "-Djava.net.preferIPv4Stack=true"]
    return ["java", heap, f"-Dnode={node}", *options, "-cp", classes]


def _jar() -> str:
    """Return Debian's jar, or the empty text."""
    return packaged_file("libzookeeper-java", "/zookeeper.jar")


def _compiled() -> bool:
    return all(is_built(CLASSES / f"{file.stem}.class", SOURCE) for file in SOURCE.glob("*.java"))


def _build() -> None:
    """Compile the load generator, once per change of it."""
    if not _compiled():
        CLASSES.mkdir(parents=True, exist_ok=True)
        sources = sorted(SOURCE.glob("*.java"))
        subprocess.run(["javac", "-cp", _jar(), "-d", CLASSES, *sources], check=True)
