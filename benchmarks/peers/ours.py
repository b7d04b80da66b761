"""Three ``paxos serve`` processes with real syncs, driven by ``paxos bench``, as anyone would.

With the minimal machine a program of the benchmark drives them, which puts the same load.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers import minimal_load
from benchmarks.peers.children import Children, ClusterFailed, children, free_ports
from benchmarks.peers.measurement import Latency, Load, Measurement, ServerCpu

PAXOS = (sys.executable, "-m", "paxos.cli")
AWAIT = "--awaiting"
MINIMAL_LOAD = (sys.executable, "-m", "benchmarks.peers.minimal_load")
MINIMAL = f"{minimal_load.MACHINE}=benchmarks.minimal_store:MinimalStore"


@dataclass(frozen=True)
class Kind:
    """What of this project is measured.

    Attributes:
        name: What tables call it.
        client: What drives it, and how that calls.
        transport: ``tcp`` or ``ws``.
        machines: State machines beside the edge configuration, as ``paxos init`` takes them.
        load: The program that puts the load, and options of its own.
        leaves_out: Parts of a run it has no share in, each with the reason.
    """

    name: str
    client: str
    transport: str = "tcp"
    machines: tuple[str, ...] = ()
    load: tuple[str, ...] = (*PAXOS, "bench")
    leaves_out: Mapping[str, str] = field(default_factory=dict)


KINDS = (
    Kind("ours", "edge configuration, many operations per call"),
    Kind(
        "ours-awaiting",
        "edge configuration, each call awaited",
        load=(*PAXOS, "bench", AWAIT),
        leaves_out=dict.fromkeys(
            ("reads", "mixed"), "as for ours: where reads are asked for, each call is awaited"
        )
        | dict.fromkeys(("failover", "memory", "restart"), "as for ours: the servers are the same"),
    ),
    Kind(
        "ours-minimal",
        "minimal key-value machine, many operations per call",
        machines=(MINIMAL,),
        load=MINIMAL_LOAD,
    ),
    Kind("ours-ws", "edge configuration, many operations per call", transport="ws"),
)


class Ours:
    """How to measure this project."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.name = kind.name
        self.client = kind.client
        self.leaves_out = kind.leaves_out

    def missing(self) -> list[str]:
        """Nothing can be: we run from here."""
        return []

    def version(self) -> str:
        """Return the version that is installed."""
        return metadata.version("multipaxos")

    @contextmanager
    def cluster(self, parent: Path | None) -> Iterator[OurCluster]:
        """Run three fresh nodes inside the context."""
        with children(self.name, parent) as owned:
            yield OurCluster(owned, self._kind)


class OurCluster:
    """Three of our nodes that serve."""

    def __init__(self, owned: Children, kind: Kind) -> None:
        self._owned = owned
        self._load = kind.load
        base_port, *_ = free_ports(3, in_a_row=True)
        directory = owned.directory / "cluster"
        words = ["--transport", kind.transport, "--base-port", str(base_port)]
        for machine in kind.machines:
            words += ["--machine", machine]
        run_paxos(self._owned.directory, "init", str(directory), "--replicas", "3", *words)
        self._config = str(directory / "cluster.toml")
        self._processes = [
            owned.serve(
                f"n{node}", [*PAXOS, "serve", "--config", self._config, "--node", str(node)]
            )
            for node in (1, 2, 3)
        ]
        owned.wait_for(self._find_leader, "leader of ours")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for process in self._processes]

    def measure(self, load: Load) -> Measurement:
        """Drive the cluster; the client finds the leader by itself."""
        options = {
            "--config": self._config,
            "--connections": min(load.connections, load.outstanding),
            "--outstanding": load.outstanding,
            "--value-size": load.value_size,
            "--warmup": load.warmup_s,
            "--duration": load.duration_s,
            "--read-ratio": load.read_share,
        }
        words = [str(word) for pair in options.items() for word in pair]
        printed = json.loads(_run(self._owned.directory, [*self._load, *words, "--json"]))
        return Measurement(
            ops=printed["ops"],
            errors=printed["errors"] + printed["unknown"],
            seconds=printed["seconds"],
            latency=Latency(*(printed[f"{name}_ms"] for name in ("p50", "p90", "p99", "p999"))),
            client_cpu_s=printed["client_cpu_s"],
            server_cpu=ServerCpu(
                *(printed[f"{name}_cpu_s_per_1000"] for name in ("srv", "leader", "follower"))
            ),
        )

    def _find_leader(self) -> int | None:
        """Return the node that leads, once all three serve and say the same."""
        words = ("status", "--config", self._config, "--timeout", "2", "--json")
        status: dict[str, Any] = json.loads(run_paxos(self._owned.directory, *words))
        nodes = status["nodes"]
        leaders = [node["node"] for node in nodes if node["role"] == "leader"]
        return leaders[0] if len(leaders) == 1 and all(n["reachable"] for n in nodes) else None


def run_paxos(directory: Path, *words: str) -> str:
    """Run one command of ours in a directory and return what it printed.

    Raises:
        ClusterFailed: It failed; status is not asked to succeed, its answer says more.
    """
    return _run(directory, [*PAXOS, *words], asked=words[0] != "status")


def _run(directory: Path, command: Sequence[str], *, asked: bool = True) -> str:
    ended = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0 and asked:
        raise ClusterFailed(f"{' '.join(command[2:4])}: {ended.stderr.strip()}")
    return ended.stdout
