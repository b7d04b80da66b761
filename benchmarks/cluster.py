"""Real replicas for one run: founded, run as processes, asked, and gone when it ends.

What is measured is what anyone would run: ``paxos init``, ``paxos serve`` with real syncs, over TCP
on loopback. A tapped node is the same node with an ear on its channels; see ``tapped_node``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.children import Children, ClusterFailed, children, free_ports
from benchmarks.peers.ours import PAXOS, run_paxos

NEVER = 2**40
"""A threshold that no run reaches."""


class Cluster:
    """A cluster in a directory of its own.

    Args:
        owned: Where its processes and files are.
        nodes: How many founding nodes.
        settings: Keys of ``cluster.toml`` with other values than ``paxos init`` gives them.
    """

    def __init__(self, owned: Children, nodes: int, settings: dict[str, float]) -> None:
        self.owned = owned
        self.directory = owned.directory / "cluster"
        self.config = self.directory / "cluster.toml"
        # One more than there are nodes: for a node that joins.
        self.ports = free_ports(nodes + 1, in_a_row=True)
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self.paxos(
            *("init", str(self.directory), "--replicas", str(nodes)),
            *("--base-port", str(self.ports[0])),
        )
        text = self.config.read_text()
        for key, value in settings.items():
            text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
            if not found:
                raise ClusterFailed(f"cluster.toml has no {key}")
        self.config.write_text(text)

    def serve(self, node: int, config: Path | None = None, *, tapped: bool = False) -> int:
        """Start a node; return its process id. Does not wait for it."""
        program = [sys.executable, "-m", "benchmarks.tapped_node"] if tapped else [*PAXOS, "serve"]
        words = ["--config", str(config or self.config), "--node", str(node)]
        if tapped:
            words += ["--gaps", str(self.gaps_file(node))]
        process = self.owned.serve(f"n{node}", [*program, *words])
        self._processes[node] = process
        return process.pid

    def serve_all(self, *, tapped: bool = False) -> dict[str, Any]:
        """Start the founding nodes; return the status of their leader."""
        for node in range(1, len(self.ports)):
            self.serve(node, tapped=tapped)
        return self.wait_for_leader()

    def stop(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.owned.end(self._processes.pop(node))

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes that run."""
        return [process.pid for process in self._processes.values()]

    def gaps_file(self, node: int) -> Path:
        """Where a tapped node notes when heartbeats came."""
        return self.owned.directory / f"gaps-{node}.jsonl"

    def statuses(self) -> list[dict[str, Any]]:
        """Ask every member; those that did not answer are left out."""
        words = ("status", "--config", str(self.config), "--timeout", "5", "--json")
        nodes: list[dict[str, Any]] = json.loads(self.paxos(*words))["nodes"]
        return [node for node in nodes if node["reachable"]]

    def wait_for_leader(self) -> dict[str, Any]:
        """Return the status of the one leader, once all that run say who it is."""

        def find() -> dict[str, Any] | None:
            nodes = self.statuses()
            leaders = [node for node in nodes if node["role"] == "leader"]
            if len(leaders) != 1 or len(nodes) < len(self._processes):
                return None
            known = all(node["ballot"] == leaders[0]["ballot"] for node in nodes)
            return leaders[0] if known else None

        return self.owned.wait_for(find, "leader")

    def paxos(self, *words: str) -> str:
        """Run one command and return what it printed; see ``run_paxos``."""
        return run_paxos(self.owned.directory, *words)


@contextmanager
def founded(
    name: str, nodes: int, parent: Path | None, settings: dict[str, float] | None = None
) -> Iterator[Cluster]:
    """Own a cluster inside the context, its data below ``parent``. None of its nodes runs yet."""
    with children(name, parent) as owned:
        yield Cluster(owned, nodes, settings or {})


def load_average() -> float:
    """Return how many processes wanted to run, over the last minute: what disturbed a run."""
    return round(os.getloadavg()[0], 1)


def wait_until(deadline_s: float, done: Any, what: str) -> Any:
    """Ask until the answer is true, and return it.

    Raises:
        ClusterFailed: Not within ``deadline_s`` seconds.
    """
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        answer = done()
        if answer:
            return answer
        time.sleep(0.05)
    raise ClusterFailed(f"no {what} after {deadline_s:.0f} s")


def write_figures(path: Path, machine: dict[str, Any], result: Any) -> None:
    """Write what a benchmark found, a dataclass, and on which machine, as JSON."""
    document = {"machine": machine, **asdict(result)}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
