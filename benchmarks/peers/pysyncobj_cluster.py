"""Three PySyncObj processes, driven from inside the leader: it has no client of its own.

Its journal is a memory map that is never flushed, so neither variant survives a power cut, and what
it makes durable is not what the others make durable. ``appendEntriesUseBatch`` is on by default,
which is for many operations at once; off, PySyncObj is much faster with few of them and slower with
very many. Both are measured. A linearizable read is a command that reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.children import HOST, Children, ClusterFailed, children, free_ports
from benchmarks.peers.completions import Completions
from benchmarks.peers.generator import measurement
from benchmarks.peers.lifecycle import NODES, VALUE_BYTES, program_that_loads
from benchmarks.peers.machine import Usage
from benchmarks.peers.measurement import Load, Measurement

NODE = Path(__file__).with_name("pysyncobj_node.py")
WARM_UP = Load("write", 64, 1, 64, warmup_s=1.0, duration_s=1.0)


ONCE = "as for the one without batches: batches are for load"


class Options(NamedTuple):
    """How the nodes are set; see ``PySyncObj``."""

    journal: bool
    batched: bool


class NodeEnded(ClusterFailed, ConnectionError):
    """A node's pipes are closed. While a cluster is waited for, its last words tell more."""

    def __str__(self) -> str:
        return f"a PySyncObj node ended: {self.args[0]}"


class PySyncObj:
    """How to measure PySyncObj.

    Args:
        journal: Whether it keeps a journal file; else everything is in memory.
        batched: Whether it appends entries in batches, which is its default.
    """

    client = "inside the leader"

    def __init__(self, *, journal: bool, batched: bool = False) -> None:
        self._options = Options(journal=journal, batched=batched)
        self.name = "pysyncobj journal" if journal else "pysyncobj memory"
        self.leaves_out: Mapping[str, str] = {}
        if batched:
            self.name += " batched"
            self.leaves_out = dict.fromkeys(("failover", "memory", "restart"), ONCE)

    def missing(self) -> list[str]:
        """Return what is not installed."""
        return [] if util.find_spec("pysyncobj") else ["pysyncobj (pip install pysyncobj)"]

    def version(self) -> str:
        """Return PySyncObj's version."""
        return metadata.version("pysyncobj")

    @contextmanager
    def cluster(self, parent: Path | None) -> Iterator[PySyncObjCluster]:
        """Run three fresh nodes inside the context, warmed up."""
        with self.fresh(parent) as cluster:
            cluster.measure(WARM_UP)
            yield cluster

    @contextmanager
    def fresh(self, parent: Path | None) -> Iterator[PySyncObjCluster]:
        """Run three fresh nodes inside the context."""
        with children("pysyncobj", parent) as owned:
            yield PySyncObjCluster(owned, self._options)


class PySyncObjCluster:
    """Three PySyncObj processes with a leader."""

    def __init__(self, owned: Children, options: Options) -> None:
        self.owned = owned
        self._options = options
        self._addresses = [f"{HOST}:{port}" for port in free_ports(NODES)]
        self._processes: dict[int, subprocess.Popen[str]] = {}
        for node in range(NODES):
            self.start(node)
        owned.wait_for(self.leader, "PySyncObj leader")

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [process.pid for _, process in sorted(self._processes.items())]

    def measure(self, load: Load) -> Measurement:
        """Have the leader drive itself."""
        leader = self.owned.wait_for(self.leader, "PySyncObj leader")
        process = self._processes[leader]
        assert process.stderr is not None
        _tell(
            process,
            {
                "command": "load",
                "read_share": load.read_share,
                "outstanding": load.outstanding,
                "value_size": load.value_size,
                "warmup_s": load.warmup_s,
                "duration_s": load.duration_s,
            },
        )
        usage: Usage | None = None
        for line in map(str.strip, process.stderr):
            if line == "measuring":
                usage = Usage(self.pids)
            elif line == "done":
                break
        if usage is None:
            raise ClusterFailed("PySyncObj ended under load")
        servers_s = usage.each_server_s()
        # The load's CPU time is in the leader's share.
        return measurement(_told(process), servers_s, leader)

    def leader(self) -> int | None:
        """Return the leader, once all that run are ready and name the same one."""
        statuses = [self._status(node) for node in self._processes]
        named = {status["leader"] if status["ready"] else None for status in statuses}
        leader = named.pop()
        if named or leader not in self._addresses:
            return None
        node = self._addresses.index(leader)
        return node if node in self._processes else None

    def applied(self, node: int) -> int | None:
        """Return the entry of the log through which a node has applied."""
        status = self._status(node)
        applied: int = status["applied"]
        return applied if status["ready"] else None

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.owned.end(self._processes.pop(node))

    def start(self, node: int) -> None:
        """Start a node."""
        address = self._addresses[node]
        others = ",".join(other for other in self._addresses if other != address)
        directory = str(self.owned.directory / f"n{node}") if self._options.journal else "-"
        appending = "batched" if self._options.batched else "at-once"
        # Isolated so far that our own modules beside it are not what it imports.
        command = [sys.executable, "-P", str(NODE), address, others, directory, appending]
        self._processes[node] = self.owned.talk(command)

    def fill(self, writes: int, outstanding: int) -> None:
        """Have the leader write."""
        process = self._leading()
        request = {"command": "fill", "outstanding": outstanding, "value_size": VALUE_BYTES}
        _tell(process, {**request, "read_share": 0.0, "writes": writes})
        errors = _told(process)["errors"]
        if errors:
            raise ClusterFailed(f"{errors} of {writes} writes to PySyncObj failed")

    def slots(self, node: int) -> int | None:
        """Each write is an entry of its own."""
        return None

    @contextmanager
    def arrivals(self, rate: int) -> Iterator[Completions]:
        """Have writes arrive at a follower, which survives: a node is its own only client."""
        leader = self.owned.wait_for(self.leader, "PySyncObj leader")
        process = self._processes[(leader + 1) % NODES]
        assert process.stderr is not None
        _tell(process, {"command": "arrive", "rate": rate, "value_size": VALUE_BYTES})
        _told(process)
        completions = Completions(process.stderr)
        try:
            yield completions
        finally:
            _tell(process, {"command": "halt"})
            _told(process)
            completions.join()

    def bare_start(self) -> Sequence[str]:
        """Load the library."""
        program = program_that_loads(("pysyncobj", "pysyncobj.batteries"))
        return [sys.executable, "-P", "-c", program]

    def _leading(self) -> subprocess.Popen[str]:
        return self._processes[self.owned.wait_for(self.leader, "PySyncObj leader")]

    def _status(self, node: int) -> dict[str, Any]:
        process = self._processes[node]
        _tell(process, {"command": "status"})
        return _told(process)


def _tell(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise NodeEnded(request["command"]) from error


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise NodeEnded(f"status {process.poll()}")
    answer: dict[str, Any] = json.loads(line)
    return answer
