"""Three PySyncObj processes, driven from inside the leader: it has no client of its own.

Its journal is a memory map that is never flushed, so neither variant survives a power cut, and what
it makes durable is not what the others make durable. ``appendEntriesUseBatch`` is off: on, its
default, one operation at a time takes 0.1 s. A linearizable read is a command that reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any

from benchmarks.peers.children import HOST, Children, ClusterFailed, children, free_ports
from benchmarks.peers.generator import measurement
from benchmarks.peers.machine import Usage
from benchmarks.peers.measurement import Load, Measurement

NODE = Path(__file__).with_name("pysyncobj_node.py")
WARM_UP = Load("write", 64, 1, 64, warmup_s=1.0, duration_s=1.0)


class PySyncObj:
    """How to measure PySyncObj.

    Args:
        journal: Whether it keeps a journal file; else everything is in memory.
    """

    client = "inside the leader"
    leaves_out: Mapping[str, str] = {}

    def __init__(self, *, journal: bool) -> None:
        self._journal = journal
        self.name = "pysyncobj journal" if journal else "pysyncobj memory"

    def missing(self) -> list[str]:
        """Return what is not installed."""
        return [] if util.find_spec("pysyncobj") else ["pysyncobj (pip install pysyncobj)"]

    def version(self) -> str:
        """Return PySyncObj's version."""
        return metadata.version("pysyncobj")

    @contextmanager
    def cluster(self, parent: Path | None) -> Iterator[PySyncObjCluster]:
        """Run three fresh nodes inside the context."""
        with children("pysyncobj", parent) as owned:
            cluster = PySyncObjCluster(owned, journal=self._journal)
            cluster.measure(WARM_UP)
            yield cluster


class PySyncObjCluster:
    """Three PySyncObj processes with a leader."""

    def __init__(self, owned: Children, *, journal: bool) -> None:
        self._addresses = [f"{HOST}:{port}" for port in free_ports(3)]
        self._processes = [
            owned.talk(
                [
                    sys.executable,
                    "-P",  # our own modules beside it are not what it imports
                    str(NODE),
                    address,
                    ",".join(other for other in self._addresses if other != address),
                    str(owned.directory / f"n{index}") if journal else "-",
                ]
            )
            for index, address in enumerate(self._addresses)
        ]
        self._leader = owned.wait_for(self._find_leader, "PySyncObj leader")

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [process.pid for process in self._processes]

    def measure(self, load: Load) -> Measurement:
        """Have the leader drive itself."""
        process = self._processes[self._leader]
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
        return measurement(_told(process), servers_s, self._leader)

    def _find_leader(self) -> int | None:
        """Return the leader, once all three are ready and name the same one."""
        named = set()
        for process in self._processes:
            _tell(process, {"command": "status"})
            status = _told(process)
            named.add(status["leader"] if status["ready"] else None)
        leader = named.pop()
        return self._addresses.index(leader) if not named and leader in self._addresses else None


def _tell(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer
