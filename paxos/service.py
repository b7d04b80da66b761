"""The composition root: puts a node or a client together from a cluster file.

The only module of the library that chooses: which transport for a URL, which storage, which class
for a state machine. Everything it puts together gets its parts as arguments and chooses nothing.
"""

from __future__ import annotations

import gc
import importlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import trio

import transports
from paxos import cluster as cluster_file
from paxos.cluster import ClusterFile, NodeEntry
from paxos.core.config import Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import NodeId
from paxos.core.messages import Reconfigure, SnapshotName, TransferLeader
from paxos.core.state_machine import StateMachine
from paxos.runtime import admin
from paxos.runtime import client as client_shell
from paxos.runtime.admin import AdminDone
from paxos.transport import Transport

if TYPE_CHECKING:
    from paxos.core.client import ClientOptions
    from paxos.core.config import Configuration
    from paxos.runtime import node as node_shell
    from paxos.runtime.departure import Removal
    from paxos.storage.base import Identity, Storage
    from paxos.storage.memory import MemoryStorage

TIMEOUT_S = 10.0
"""How long a request may take: several elections, so that a dying leader is outlived."""

GC_THRESHOLDS = (50_000, 20, 100)
"""Collections of a serving process: its garbage is freed by reference counts nearly always."""

TransportFor = Callable[[str], Transport]
Target = ClusterFile | str | os.PathLike[str] | Sequence[str]
"""A cluster file or its path, or the URLs of replicas."""


class MachineInvalid(ConfigurationInvalid):
    """A state machine that cannot be loaded; the text names it, the class and what is missing."""


# --- state machines -----------------------------------------------------------------------------


def load_machines(machines: Mapping[str, str]) -> dict[str, StateMachine]:
    """Make a fresh state machine for each name from its ``module:Class``.

    Raises:
        MachineInvalid: One cannot be imported or made, or lacks a method.
    """
    return {name: _load_machine(name, where) for name, where in machines.items()}


def _load_machine(name: str, where: str) -> StateMachine:
    module_name, _, class_name = where.partition(":")
    what = f"state machine {name!r} ({where})"
    try:
        made: StateMachine = getattr(importlib.import_module(module_name), class_name)()
    except ModuleNotFoundError as error:
        raise MachineInvalid(
            f"{what}: no module {error.name!r}; install it, or put its directory on PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise MachineInvalid(f"{what}: {error}; check the spelling of the class") from error
    except Exception as error:
        # Somebody else's code: whatever it raises is the answer to "can it be loaded?".
        raise MachineInvalid(
            f"{what}: cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    check_machine(name, made)
    return made


def check_machine(name: str, machine: StateMachine) -> None:
    """Refuse what is not a state machine.

    Raises:
        MachineInvalid: It lacks one of the four methods.
    """
    verbs = ("apply", "query", "snapshot", "restore")
    missing = [verb for verb in verbs if not callable(getattr(machine, verb, None))]
    if missing:
        raise MachineInvalid(
            f"state machine {name!r} ({type(machine).__qualname__}) has no method"
            f" {' and no '.join(missing)}; a state machine needs {', '.join(verbs)}"
        )


# --- storage ------------------------------------------------------------------------------------


def open_storage(cluster: ClusterFile, node: NodeId) -> Storage:
    """Open the log of ``node`` for writing. Blocking.

    Raises:
        StorageError: It is not there, somebody else's, in use, or damaged.
    """
    identity = cluster.identity(node)
    if cluster.storage == "memory":
        return _open_memory(identity)
    directory = cluster.data_directory(node)
    if cluster.storage == "sqlite":
        from paxos.storage.sqlite import open_sqlite

        return open_sqlite(directory, identity)
    from paxos.storage.segments import open_segments

    return open_segments(directory, identity)


_memory_logs: dict[Identity, MemoryStorage] = {}
"""The logs of all clusters in memory: what a disk is to other clusters. A node that was opened anew
with an empty log would have forgotten its votes, and could undo decisions."""


def _open_memory(identity: Identity) -> Storage:
    from paxos.storage.memory import MemoryStorage

    before = _memory_logs.get(identity)
    log = MemoryStorage(identity) if before is None else before.reopen(identity)
    _memory_logs[identity] = log
    return log


# --- nodes --------------------------------------------------------------------------------------


@asynccontextmanager
async def open_node(
    cluster: ClusterFile | str | os.PathLike[str],
    node: NodeId,
    *,
    machines: Mapping[str, StateMachine] | None = None,
    storage: Storage | None = None,
    transport_for: TransportFor = transports.transport_for,
    rng: Random | None = None,
    wall_clock_us: Callable[[], int] | None = None,
    url: str | None = None,
) -> AsyncIterator[node_shell.Node]:
    """Run node ``node`` of a cluster inside the context, in this process.

    When the body begins, the node has recovered from its log and answers. Leaving the context
    stops it and closes everything; nothing that was acknowledged is lost, then or in a crash.

    Args:
        cluster: The cluster file, or its path.
        node: Which of its nodes.
        machines: The state machines by name, fresh ones: the log is applied to them. If None,
            they are made from the file's ``module:Class``.
        storage: The node's log instead of what the file says. Closed at the end.
        transport_for: Finds the transport for a URL.
        rng: The only source of chance; drawn from the operating system if None.
        wall_clock_us: The time of day, in microseconds since 1970; this machine's if None.
        url: Where the node listens instead of what the file says: a founding node's address stays
            in the file for ever.

    Raises:
        ConfigurationInvalid: The file or a state machine cannot be used.
        StorageError: The log is somebody else's, in use, damaged, or failed while running.
        TransportError: The node's URL cannot be listened on.
    """
    # Loaded here: a client, which is most of what the command line starts, never needs a node.
    from paxos.runtime import node as node_shell
    from paxos.runtime.links import Member

    if not isinstance(cluster, ClusterFile):
        cluster = cluster_file.load(cluster)
    part = Part[cluster.node(node).part.upper()]
    if machines is None:
        # A witness runs none, and their code need not be installed where it runs.
        machines = {} if part is Part.WITNESS else load_machines(cluster.machines)
    for name, machine in machines.items():
        check_machine(name, machine)
    if storage is None:
        storage = await trio.to_thread.run_sync(open_storage, cluster, node)
    members = {entry.id: Member(entry.url, entry.incarnation) for entry in cluster.entries}
    if url is not None:
        members[node] = members[node]._replace(url=url)
    setup = node_shell.NodeSetup(
        identity=cluster.identity(node),
        members=members,
        configurations=cluster.configurations(),
        machines=machines,
        storage=storage,
        transport_for=transport_for,
        rng=rng or Random(secrets.randbits(128)),
        limits=cluster.limits,
        timing=cluster.timing,
        options=cluster.serving,
        part=part,
        wall_clock_us=wall_clock_us or node_shell.read_wall_clock_us,
    )
    async with node_shell.running(setup) as running:
        yield running


async def serve(
    cluster: ClusterFile,
    node: NodeId,
    ready: Callable[[node_shell.Node], None],
    url: str | None = None,
) -> Removal:
    """Run a node as the whole purpose of this process, until it is cancelled or needed no more.

    Args:
        cluster: The cluster file.
        node: Which of its nodes.
        ready: Called once the node answers clients.
        url: Where it listens instead of what the file says.

    Returns:
        What removed it, once a leader has said that nobody needs it any more.

    Raises:
        ConfigurationInvalid, StorageError, TransportError: As ``open_node``.
        InvariantBroken: The node found that it broke its own rules, and stopped.
    """
    gc.collect()
    async with open_node(cluster, node, url=url) as running:
        # What was made up to here stays: collections need never look at it again. To collect now
        # would keep the other nodes waiting.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        ready(running)
        return await running.released()


# --- clients ------------------------------------------------------------------------------------


@asynccontextmanager
async def open_client(
    target: Target,
    *,
    cluster: str = "",
    timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - of each request, not of this call
    transport_for: TransportFor = transports.transport_for,
    rng: Random | None = None,
) -> AsyncIterator[client_shell.Client]:
    """Run a client of a cluster inside the context.

    It connects when there is something to ask, finds the leader, and retries safely. Any number
    of tasks may use it; those that submit at once share a frame.

    Args:
        target: A cluster file or its path, or the URLs of replicas (the first is tried first).
        cluster: The cluster's id, where ``target`` does not say it; empty for any.
        timeout: How long a request may take, in seconds, unless it says otherwise.
        transport_for: Finds the transport for a URL.
        rng: The only source of chance; drawn from the operating system if None.

    Raises:
        ConfigurationInvalid: The cluster file cannot be used.
        TransportError: A URL makes no sense.
    """
    endpoints, known, options = _resolve(target)
    for url in endpoints:
        transport_for(url)
    async with client_shell.running(
        endpoints,
        transport_for,
        rng or Random(secrets.randbits(128)),
        cluster=cluster or known,
        timeout_s=timeout,
        options=options,
    ) as client:
        yield client


async def node_status(
    url: str,
    *,
    cluster: str = "",
    timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - ends in an error that says what was tried
    transport_for: TransportFor = transports.transport_for,
) -> dict[str, Any]:
    """Ask the node at ``url`` about itself.

    Args:
        url: Where it listens.
        cluster: The cluster's id it must belong to; empty for any.
        timeout: How long it may take, in seconds.
        transport_for: Finds the transport for a URL.

    Returns:
        The fields that ``paxos status`` shows of a node, and more.

    Raises:
        NoReplicaReachable: There was no answer; ``reason`` says why.
    """
    return await client_shell.node_status(url, transport_for, cluster=cluster, timeout_s=timeout)


# --- for administrators -------------------------------------------------------------------------


async def reconfigure(
    target: Target,
    configuration: Configuration,
    *,
    cluster: str = "",
    timeout: float = client_shell.ADMIN_TIMEOUT_S,  # noqa: ASYNC109 - ends in an outcome
    transport_for: TransportFor = transports.transport_for,
) -> AdminDone:
    """Make ``configuration`` the next one of a cluster, and wait until it is settled.

    Args:
        target: A cluster file or its path, or the URLs of replicas.
        configuration: Its version is one above that of the latest one.
        cluster: The cluster's id, where ``target`` does not say it; empty for any.
        timeout: Seconds until the outcome is called unknown.
        transport_for: Finds the transport for a URL.

    Raises:
        AdminRefused: It was refused; the text says why and what to do.
        NoReplicaReachable: No node could be asked.
        OutcomeUnknown: It may or may not be decided. Ask again, which does no harm.
    """
    endpoints, known, _ = _resolve(target)
    request = Reconfigure(1, configuration)
    return await admin.ask_leader(
        endpoints, transport_for, request, cluster=cluster or known, timeout=timeout
    )


async def transfer_leader(
    target: Target,
    to: NodeId = 0,
    *,
    cluster: str = "",
    timeout: float = client_shell.ADMIN_TIMEOUT_S,  # noqa: ASYNC109 - ends in an outcome
    transport_for: TransportFor = transports.transport_for,
) -> AdminDone:
    """Have a cluster's leader hand over to node ``to``, or to whom it finds best if that is 0.

    Raises:
        AdminRefused, NoReplicaReachable, OutcomeUnknown: As ``reconfigure``.
    """
    endpoints, known, _ = _resolve(target)
    request = TransferLeader(1, to)
    return await admin.ask_leader(
        endpoints, transport_for, request, cluster=cluster or known, timeout=timeout
    )


async def take_snapshot(
    url: str,
    *,
    cluster: str = "",
    timeout: float = client_shell.ADMIN_TIMEOUT_S,  # noqa: ASYNC109 - ends in an outcome
    transport_for: TransportFor = transports.transport_for,
) -> SnapshotName:
    """Have the node at ``url`` take a snapshot now, and compact its log by it.

    Returns:
        Its name, once it is durable.

    Raises:
        AdminRefused: The node cannot, and says why.
        NoReplicaReachable: It did not answer in time.
    """
    return await admin.take_snapshot(url, transport_for, cluster=cluster, timeout=timeout)


async def fetch_snapshot(
    url: str,
    name: SnapshotName,
    write: Callable[[bytes], object],
    *,
    cluster: str = "",
    timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - of silence, not of the whole
    transport_for: TransportFor = transports.transport_for,
) -> None:
    """Read a durable snapshot of the node at ``url``, and check all of it.

    Args:
        url: Where the node listens.
        name: Which snapshot.
        write: Gets its bytes in order, in a thread: it may block.
        cluster: The cluster's id; empty for any.
        timeout: Seconds without any further piece until it is given up.
        transport_for: Finds the transport for a URL.

    Raises:
        LookupError: The node does not have that snapshot (any more). What was written is void.
        NoReplicaReachable: Nothing came for too long. What was written is void.
    """
    await admin.fetch_snapshot(url, name, write, transport_for, cluster=cluster, timeout=timeout)


def _resolve(target: Target) -> tuple[tuple[str, ...], str, ClientOptions]:
    """Return the URLs, the cluster's id (empty if it is not known), and the client's bounds."""
    if isinstance(target, str) and "://" in target:
        target = [url.strip() for url in target.split(",")]
    if isinstance(target, str | os.PathLike):
        target = cluster_file.load(Path(target))
    if not isinstance(target, ClusterFile):
        return tuple(target), "", client_shell.DEFAULT_OPTIONS
    limits = target.limits
    bounds = client_shell.DEFAULT_OPTIONS
    options = replace(
        bounds,
        command_bytes_max=limits.command_bytes_max,
        submission_bytes_max=min(bounds.submission_bytes_max, limits.submission_bytes_max // 2),
        # Below the replicas' bound, so that they never have to refuse.
        window_max=min(bounds.window_max, max(1, limits.session_requests_max * 4 // 5)),
    )
    return tuple(target.urls.values()), target.cluster, options


# --- clusters in memory -------------------------------------------------------------------------


def memory_cluster(replicas: int = 3, name: str | None = None) -> ClusterFile:
    """Return a cluster whose nodes all run in this process, and keep their logs in its memory.

    For tests, and to try a state machine out: it survives the end of any of its nodes, because a
    node that is opened again finds its log again, but not the end of the process.

    Args:
        replicas: How many nodes.
        name: Begins the nodes' URLs, ``memory://NAME-1`` and so on; drawn if None.
    """
    name = name or f"paxos-{secrets.token_hex(4)}"
    nodes = tuple(
        NodeEntry(node, f"memory://{name}-{node}", f"{name}-{node}", secrets.randbelow(2**62) + 1)
        for node in range(1, replicas + 1)
    )
    return ClusterFile(Path(name), secrets.token_hex(16), nodes, {}, storage="memory")


@asynccontextmanager
async def open_local(
    machines: Mapping[str, Callable[[], StateMachine]],
    replicas: int = 3,
    *,
    timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - of each request, not of this call
) -> AsyncIterator[client_shell.Client]:
    """Run a whole cluster in this process and its memory, with a client of it as the value.

    Args:
        machines: What makes each node's own state machine, by name.
        replicas: How many nodes.
        timeout: How long a request may take, in seconds, unless it says otherwise.
    """
    cluster = memory_cluster(replicas)
    async with AsyncExitStack() as stack:
        for node in cluster.urls:
            fresh = {name: make() for name, make in machines.items()}
            await stack.enter_async_context(open_node(cluster, node, machines=fresh))
        yield await stack.enter_async_context(open_client(cluster, timeout=timeout))
