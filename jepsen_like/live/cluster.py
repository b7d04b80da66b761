"""A cluster of real replica processes for one run: founded, started, watched, and all gone at last.

Owns the run's cluster files, the processes, the network between them and the way clients get into
it; also who of the nodes is there now, for on a direct network they come and go. Statuses are asked
around the faults, at the address where a node itself listens: what we see must not depend on what
the nemesis does. It guards that nothing outlives the run, not even a run that is killed itself.
"""

from __future__ import annotations

import random
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import trio

import transports
from jepsen_like.live.namespaces import open_namespaces
from jepsen_like.live.network import Direct, Network, Party, node_party, site_party
from jepsen_like.live.proxy import open_proxy
from jepsen_like.live.warden import Warden
from paxos import cluster as cluster_file
from paxos import service
from paxos.cluster import ClusterFile, NodeEntry
from paxos.core.ids import NodeId
from paxos.core.limits import Limits, Timing
from paxos.operations.directories import NewNode
from paxos.runtime.client import Client, NoReplicaReachable
from paxos.runtime.options import NodeOptions
from paxos.testing.processes import (
    CommandFor,
    ReplicaProcesses,
    free_base_port,
    replica_processes,
    serve_command,
)
from paxos.transport import Channel

if TYPE_CHECKING:
    from paxos.doorbell import Doorbell

Program = Literal["serve", "node"]
"""Plain ``paxos serve``, or the program with fault points."""

NetworkKind = Literal["proxy", "namespaces", "direct"]

STATUS_TIMEOUT_S = 0.5
"""A node that lives answers within milliseconds; one that is paused never does."""

POLL_S = 0.02

SMALL_LIMITS = Limits(
    command_bytes_max=32 * 1024,
    submission_bytes_max=128 * 1024,
    batch_bytes_max=64 * 1024,
    pending_bytes_max=8 * 1024 * 1024,
)
"""Of a cluster with fault points, whose segments are small: a node calls its disk full while the
largest write might not fit."""

SMALL_SERVING = NodeOptions(disk_retry_s=0.2)

YOUNG = 1_000
"""Slots from one snapshot to the next where logs are to live years within a minute."""


def aged(limits: Limits) -> Limits:
    """Return limits under which a short run takes snapshots and compacts its logs, many times."""
    return replace(limits, snapshot_entries=YOUNG, kept_entries=YOUNG // 4)


class ClusterFailed(Exception):
    """The cluster did not come to what was waited for; the text says how it stands."""


class LiveCluster:
    """The processes, links and files of a run. Made by ``open_cluster``."""

    def __init__(
        self,
        file: ClusterFile,
        processes: ReplicaProcesses,
        network: Network,
        network_kind: NetworkKind,
        sites: int,
        files: dict[NodeId, Path],
    ) -> None:
        self.file = file
        """As founded; the addresses are where the nodes listened then."""
        self.processes = processes
        self.network = network
        self.network_kind: NetworkKind = network_kind
        self.sites: tuple[Party, ...] = tuple(site_party(site) for site in range(sites))
        self._present: dict[NodeId, NodeEntry] = {entry.id: entry for entry in file.nodes}
        self._files = files  # the cluster file that each node runs on
        self._homes: dict[NodeId, Path] = {}  # directories that were made for one node alone
        self._lost: dict[NodeId, str] = {}

    # --- who is there -----------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes that have a machine: members, and some that join or were just removed."""
        return tuple(sorted(self._present))

    @property
    def urls(self) -> dict[NodeId, str]:
        """Where they listen."""
        return {node: self._present[node].url for node in self.nodes}

    def file_of(self, node: NodeId) -> Path:
        """Return the cluster file that a node runs on."""
        return self._files[node]

    def data_directory(self, node: NodeId) -> Path:
        """Return where a node keeps its log."""
        return self._files[node].parent / self._present[node].data

    def adopt(self, new: NewNode) -> None:
        """Count a node in, whose directory was just made; its process is yet to be started."""
        node = new.entry.id
        self._present[node] = new.entry
        self._files[node] = new.file.path
        self._homes[node] = new.file.path.parent

    async def wipe(self, node: NodeId) -> None:
        """Take a node's machine away: its process and all that it ever wrote, for good."""
        if node in self.processes.running:
            await self.processes.kill(node)
        shutil.rmtree(self._homes.get(node) or self.data_directory(node))
        del self._present[node]

    # --- clients ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_client(
        self,
        site: int = 0,
        *,
        timeout: float,  # noqa: ASYNC109 - of each request, not of this call
        rng: random.Random | None = None,
    ) -> AsyncIterator[Client]:
        """Run a client inside the context, whose connections all go over the links of its site.

        Args:
            site: Where it connects from.
            timeout: How long a request may take, in seconds.
            rng: For jitter and its session.
        """
        now = replace(self.file, nodes=tuple(self._present[node] for node in self.nodes))
        if self.network_kind == "direct":
            opening = service.open_client(now, timeout=timeout, rng=rng)
        else:
            transport = _SiteTransport(self, self.sites[site])
            opening = service.open_client(
                now, timeout=timeout, transport_for=lambda _: transport, rng=rng
            )
        async with opening as client:
            yield client

    # --- what is to be seen -----------------------------------------------------------------------

    async def statuses(
        self,
        timeout: float = STATUS_TIMEOUT_S,  # noqa: ASYNC109 - ends in None, not in a cancellation
    ) -> dict[NodeId, dict[str, Any] | None]:
        """Ask every node about itself; None where there is no answer."""
        answers: dict[NodeId, dict[str, Any] | None] = dict.fromkeys(self.nodes)

        async def ask(node: NodeId) -> None:
            url = self._present[node].url
            try:
                told = await service.node_status(url, cluster=self.file.cluster, timeout=timeout)
            except NoReplicaReachable:
                return
            if told["node"] == node:  # else its successor listens there already
                answers[node] = told

        async with trio.open_nursery() as nursery:
            for node in self.processes.running:
                if node in answers:
                    nursery.start_soon(ask, node)
        return answers

    @property
    def ended_alone(self) -> dict[NodeId, str]:
        """How nodes ended, and their last words, if nothing that was done to them explains it."""
        ended = {node: self.processes.ended(node) for node in self.processes.running}
        now = {n: self._last_words(n, status) for n, status in ended.items() if status is not None}
        return self._lost | now

    def note_lost(self, node: NodeId, status: int) -> None:
        """Keep how a node ended by itself; for who has collected its process."""
        self._lost[node] = self._last_words(node, status)

    def _last_words(self, node: NodeId, status: int) -> str:
        return f"node {node} ended by itself with status {status}\n{self.processes.log_tail(node)}"

    async def leader(self) -> NodeId | None:
        """Return who leads: of those who say so, the one with the highest ballot."""
        return leader_of(await self.statuses())

    async def wait_leader(
        self,
        timeout: float,  # noqa: ASYNC109 - ends in an error that says how things stand
    ) -> NodeId:
        """Wait until a node leads and has a quorum's ear; return it.

        Raises:
            ClusterFailed: None did in time.
        """
        statuses: dict[NodeId, dict[str, Any] | None] = {}
        with trio.move_on_after(timeout):
            while True:
                statuses = await self.statuses()
                leader = leader_of(statuses)
                if leader is not None and _is_followed(leader, statuses):
                    return leader
                await trio.sleep(POLL_S)
        raise ClusterFailed(f"no leader within {timeout:g} s: {_described(statuses)}")

    async def wait_whole(
        self,
        timeout: float,  # noqa: ASYNC109 - ends in an error that says how things stand
    ) -> None:
        """Wait until each node has a connection with every other, and what is written reaches it.

        A link that was cut a moment ago may be up in name only: until TCP sends again, nothing is
        on it that a second fault could withhold. Somebody must be writing.

        Raises:
            ClusterFailed: One was still cut off.
        """
        statuses: dict[NodeId, dict[str, Any] | None] = {}
        goal = 0
        with trio.move_on_after(timeout):
            while True:
                statuses = await self.statuses()
                rows = [status for status in statuses.values() if status is not None]
                whole = [row for row in rows if len(row["peers"]) == len(self.nodes) - 1]
                if goal and len(whole) == len(self.nodes):
                    if all(row["applied_through"] >= goal for row in rows):
                        return
                else:
                    goal = max((row["applied_through"] + 1 for row in rows), default=0)
                await trio.sleep(POLL_S)
        raise ClusterFailed(f"not whole within {timeout:g} s: {_described(statuses)}")

    async def wait_equal(
        self,
        timeout: float,  # noqa: ASYNC109 - ends in an error that says how things stand
    ) -> str:
        """Wait until all nodes have applied the same slots; return the digest of their state.

        Raises:
            ClusterFailed: They had not in time, or have and differ.
        """
        statuses: dict[NodeId, dict[str, Any] | None] = {}
        with trio.move_on_after(timeout):
            while True:
                statuses = await self.statuses(timeout)
                rows = [status for status in statuses.values() if status is not None]
                slots = {row["applied_through"] for row in rows}
                digests = {row["digest"] for row in rows}
                # A large state's digest comes only once a node has been at rest for a while.
                if len(rows) == len(self.nodes) and len(slots) == 1 and "" not in digests:
                    if len(digests) > 1:
                        break
                    return str(digests.pop())
                await trio.sleep(POLL_S)
        raise ClusterFailed(f"not the same state everywhere: {_described(statuses)}")


def leader_of(statuses: Mapping[NodeId, dict[str, Any] | None]) -> NodeId | None:
    """Return the node with the highest ballot of those that say they lead; None if none does."""
    leading = [
        (_ballot(status), node)
        for node, status in statuses.items()
        if status is not None and status["role"] == "leader"
    ]
    return max(leading)[1] if leading else None


def _ballot(status: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(status["ballot"]).split("."))


def _is_followed(leader: NodeId, statuses: Mapping[NodeId, dict[str, Any] | None]) -> bool:
    following = [status for status in statuses.values() if status and status["leader"] == leader]
    return 2 * len(following) > len(statuses)


def _described(statuses: Mapping[NodeId, dict[str, Any] | None]) -> str:
    rows = []
    for node, status in statuses.items():
        if status is None:
            rows.append(f"node {node} does not answer")
        else:
            names = ("role", "ballot", "applied_through", "digest")
            told = ", ".join(f"{name} {str(status[name])[:16]}" for name in names)
            rows.append(f"node {node}: {told}, peers {status['peers']}")
    return "; ".join(rows) or "nobody was asked"


class _SiteTransport:
    """Reaches nodes over the links of one site, whatever address of theirs a client was told."""

    def __init__(self, cluster: LiveCluster, site: Party) -> None:
        network = cluster.network
        self._urls: dict[str, str] = {}
        for entry in cluster.file.nodes:
            scheme, node = _scheme(entry.url), entry.id
            door = _url(scheme, network.address(site, node))
            diallers = [node_party(other) for other in cluster.nodes]
            known = [network.listen_address(node), *(network.address(d, node) for d in diallers)]
            self._urls.update((_url(scheme, address), door) for address in known)
        self._below = transports.transport_for(door)
        self.schemes = self._below.schemes

    async def connect(self, url: str, doorbell: Doorbell, nursery: trio.Nursery) -> Channel:
        """See the port."""
        return await self._below.connect(self._urls[url], doorbell, nursery)

    def listen(self, *_: Any) -> Any:
        """Refuse: a client is never dialled."""
        raise NotImplementedError("clients do not listen")


def _url(scheme: str, address: tuple[str, int]) -> str:
    return f"{scheme}://{address[0]}:{address[1]}"


def _scheme(url: str) -> str:
    return url.partition(":")[0]


# --- the making of it -----------------------------------------------------------------------------


@asynccontextmanager
async def open_cluster(
    directory: Path,
    *,
    machines: Mapping[str, str],
    replicas: int = 3,
    program: Program = "serve",
    network: NetworkKind = "proxy",
    sites: int = 2,
    transport: Literal["tcp", "ws"] = "tcp",
    timing: Timing | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[LiveCluster]:
    """Found a cluster, start its nodes, and run it inside the context; nothing is left afterwards.

    Logs and data stay, in ``directory``.

    Args:
        directory: The run's: gets ``cluster/`` and ``logs/``.
        machines: ``module:Class`` of each state machine, by name.
        replicas: How many nodes.
        program: What the nodes run; storage and clock faults need "node".
        network: What is between them. Only on a direct one nodes can be added and wiped.
        sites: How many places clients connect from; but for the proxy they are all one.
        transport: The scheme of the nodes' URLs.
        timing: The cluster's durations; the product's own if None.
        rng: For the network's weather.

    Raises:
        NotHere: This machine cannot run that network.
        ReplicaProcessFailed: A node did not start.
    """
    file = cluster_file.found(
        directory / "cluster",
        replicas=replicas,
        machines=machines,
        transport=transport,
        base_port=free_base_port(replicas),
    )
    file = replace(file, timing=timing or file.timing)
    if program == "node":
        file = replace(file, limits=SMALL_LIMITS, serving=SMALL_SERVING)
    if network == "direct":
        file = replace(file, limits=aged(file.limits))
    logs = directory / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        warden = stack.enter_context(Warden())
        rng = rng or random.Random(secrets.randbits(64))
        if network == "namespaces":
            namespaces = stack.enter_context(_guarded_namespaces(tuple(file.urls), warden))
            file = _listening(file, namespaces)
            between: Network = namespaces
        elif network == "direct":
            between = Direct(_places(file))
        else:
            places = _places(file)
            parties = [site_party(site) for site in range(sites)]
            between = await stack.enter_async_context(open_proxy(places, parties, rng))
        files = _write_node_files(file, between)
        processes = await stack.enter_async_context(
            replica_processes(
                _command(program, files, between),
                logs,
                started=warden.guard,
                asked=program == "node",
            )
        )
        await processes.start_all(tuple(file.urls))
        yield LiveCluster(file, processes, between, network, sites, files)


@contextmanager
def _guarded_namespaces(nodes: Sequence[NodeId], warden: Warden) -> Iterator[Network]:
    with open_namespaces(nodes) as namespaces:
        warden.at_end(namespaces.removal())
        yield namespaces


def _places(file: ClusterFile) -> dict[NodeId, tuple[str, int]]:
    return {node: ("127.0.0.1", int(url.rpartition(":")[2])) for node, url in file.urls.items()}


def _listening(file: ClusterFile, network: Network) -> ClusterFile:
    """Return the file with the addresses that the network gives to nodes."""
    nodes = [
        replace(entry, url=_url(_scheme(entry.url), network.listen_address(entry.id)))
        for entry in file.nodes
    ]
    return replace(file, nodes=tuple(nodes))


def _write_node_files(file: ClusterFile, network: Network) -> dict[NodeId, Path]:
    """Write a cluster file for each node, in which the others are where its links lead to."""
    paths = {}
    for me in file.urls:
        nodes = [
            entry
            if entry.id == me
            else replace(
                entry, url=_url(_scheme(entry.url), network.address(node_party(me), entry.id))
            )
            for entry in file.nodes
        ]
        path = file.path.with_name(f"node-{me}.toml")
        text = cluster_file.dump(replace(file, nodes=tuple(nodes)))
        path.write_text(text, encoding="utf-8")
        paths[me] = path
    return paths


def _command(program: Program, files: Mapping[NodeId, Path], network: Network) -> CommandFor:
    def command_for(node: NodeId) -> Sequence[str]:
        if program == "serve":
            command = serve_command(files[node])(node)
        else:
            own = [sys.executable, "-m", "jepsen_like.live.node"]
            command = [*own, "--config", str(files[node]), "--node", str(node)]
        return [*network.prefix(node), *command]

    return command_for
