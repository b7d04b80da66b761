"""Three ``paxos serve`` processes with real syncs, driven by ``paxos bench``, as anyone would.

With the minimal machine a program of the benchmark drives them, which puts the same load.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import trio

from benchmarks import minimal_store
from benchmarks.peers.children import HOST, Children, ClusterFailed, children, free_ports
from benchmarks.peers.commands import puts
from benchmarks.peers.completions import Completions, told_by
from benchmarks.peers.failures import last_line
from benchmarks.peers.lifecycle import CALL_TIMEOUT_S, NODES, program_that_loads
from benchmarks.peers.measurement import Latency, Load, Measurement, ServerCpu
from benchmarks.peers.plan import CONNECTIONS
from benchmarks.writers import fill_in_closed_loop
from paxos import cluster as cluster_file
from paxos import service
from paxos.runtime.client import NoReplicaReachable

PAXOS = (sys.executable, "-m", "paxos.cli")
AWAIT = "--awaiting"
MINIMAL_LOAD = (sys.executable, "-m", "benchmarks.peers.minimal_load")
OPEN_LOOP = (sys.executable, "-m", "benchmarks.peers.open_loop")
SERVED = ("paxos.cli.serve", "paxos.runtime.node", "paxos.storage.segments")
"""What ``paxos serve`` loads, beside the transport and the state machines."""

MINIMAL = f"{minimal_store.MACHINE}=benchmarks.minimal_store:MinimalStore"


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
        machine: The state machine that is loaded.
    """

    name: str
    client: str
    transport: str = "tcp"
    machines: tuple[str, ...] = ()
    load: tuple[str, ...] = (*PAXOS, "bench")
    leaves_out: Mapping[str, str] = field(default_factory=dict)
    machine: str = "config"


KINDS = (
    Kind("ours", "edge configuration, many operations per call"),
    Kind(
        "ours-awaiting",
        "edge configuration, each call awaited",
        load=(*PAXOS, "bench", AWAIT),
        leaves_out={"mixed": "as for ours: where reads and writes are mixed, each call is awaited"}
        | dict.fromkeys(("failover", "memory", "restart"), "as for ours: the servers are the same"),
    ),
    Kind(
        "ours-minimal",
        "minimal key-value machine, many operations per call",
        machines=(MINIMAL,),
        load=MINIMAL_LOAD,
        machine=minimal_store.MACHINE,
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

    def cluster(self, parent: Path | None) -> AbstractContextManager[OurCluster]:
        """Run three fresh nodes inside the context; there is nothing to warm up."""
        return self.fresh(parent)

    @contextmanager
    def fresh(self, parent: Path | None) -> Iterator[OurCluster]:
        """Run three fresh nodes inside the context."""
        with children(self.name, parent) as owned:
            yield OurCluster(owned, self._kind)


class OurCluster:
    """Three of our nodes that serve."""

    def __init__(self, owned: Children, kind: Kind) -> None:
        self.owned = owned
        self._kind = kind
        ports = free_ports(NODES, in_a_row=True)
        self._urls = [f"{kind.transport}://{HOST}:{port}" for port in ports]
        directory = owned.directory / "cluster"
        words = ["--transport", kind.transport, "--base-port", str(ports[0])]
        for machine in kind.machines:
            words += ["--machine", machine]
        run_paxos(owned.directory, "init", str(directory), "--replicas", str(NODES), *words)
        self._config = str(directory / "cluster.toml")
        self._processes: dict[int, subprocess.Popen[str]] = {}
        for node in range(NODES):
            self.start(node)
        owned.wait_for(self.leader, "leader of ours")

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [process.pid for _, process in sorted(self._processes.items())]

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
        printed = json.loads(_run(self.owned.directory, [*self._kind.load, *words, "--json"]))
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

    def leader(self) -> int | None:
        """Return the node that leads, once all that run serve and name the same one."""
        statuses = {node: self._status(node) for node in self._processes}
        named = {status["leader"] for status in statuses.values()}
        leading = [node for node, status in statuses.items() if status["role"] == "leader"]
        return leading[0] if len(named) == len(leading) == 1 else None

    def applied(self, node: int) -> int:
        """Return the slot through which a node has applied."""
        applied: int = self._status(node)["applied_through"]
        return applied

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.owned.end(self._processes.pop(node))

    def start(self, node: int) -> None:
        """Start a node; its configuration numbers nodes from 1."""
        words = ("serve", "--config", self._config, "--node", str(node + 1))
        self._processes[node] = self.owned.serve(f"n{node + 1}", [*PAXOS, *words])

    def fill(self, writes: int, outstanding: int) -> None:
        """Write through eight clients, each with its part of ``outstanding``."""
        machine = self._kind.machine
        commands = islice(puts(machine), writes)
        each = outstanding // CONNECTIONS
        try:
            trio.run(fill_in_closed_loop, self._urls, machine, commands, CONNECTIONS, each)
        except Exception as error:
            raise ClusterFailed(f"{writes} writes to ours: {last_line(error)}") from error

    def slots(self, node: int) -> int | None:
        """Return the slot through which a node has applied: a slot holds many writes."""
        return self.applied(node)

    def arrivals(self, rate: int) -> AbstractContextManager[Completions]:
        """Have writes arrive at three clients, which find the leader by themselves."""
        words = ("--machine", self._kind.machine, "--rate", str(rate), "--clients", str(NODES))
        return told_by(self.owned, [*OPEN_LOOP, *words, *self._urls])

    def bare_start(self) -> Sequence[str]:
        """Load what ``paxos serve`` does before it looks at its data."""
        machines = cluster_file.load(self._config).machines.values()
        classes = [where.partition(":")[0] for where in machines]
        modules = (*SERVED, f"transports.{self._kind.transport}", *classes)
        return [sys.executable, "-c", program_that_loads(modules)]

    def _status(self, node: int) -> dict[str, Any]:
        """Ask a node about itself.

        Raises:
            ConnectionError: It does not answer.
        """
        url = self._urls[node]
        try:
            return trio.run(partial(service.node_status, url, timeout=CALL_TIMEOUT_S))
        except NoReplicaReachable as error:
            raise ConnectionError(str(error)) from error


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
