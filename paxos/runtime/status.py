"""What a node tells about itself: one JSON object, read by ``paxos status`` and by people.

A view, never a source: built from ``Replica.status()`` and what the shell counts, on request.
Fields are only ever added; scripts rely on them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from paxos.core.ids import NodeId

if TYPE_CHECKING:
    from paxos.core.replica import ReplicaStatus

DISTRIBUTION = "multipaxos"


def version() -> str:
    """Return the version of this library, or "unknown" where it was not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


@dataclass(slots=True)
class ShellStatus:
    """What the shell, not the replica, knows.

    Attributes:
        cluster: The cluster's id.
        url: Where this node listens.
        connections: Client connections that are open.
        peers: Nodes this node has a connection with.
        disk_bytes: What the log occupies on disk.
        syncs: Durable writes since the node was opened.
        dropped: Why and how often the shell dropped a frame or a connection.
    """

    cluster: str
    url: str
    connections: int
    peers: tuple[NodeId, ...]
    disk_bytes: int
    syncs: int
    dropped: Mapping[str, int]


def status_fields(replica: ReplicaStatus, digest: bytes, shell: ShellStatus) -> dict[str, Any]:
    """Return a node's status."""
    return {
        "cluster_id": shell.cluster,
        "node": replica.node,
        "url": shell.url,
        "role": replica.role,
        "ballot": str(replica.ballot),
        "leader": replica.leader,
        "promised": str(replica.promised),
        "decided_through": replica.decided_through,
        "applied_through": replica.applied_through,
        "digest": digest.hex(),
        "sessions": replica.sessions,
        "pending_bytes": replica.pending_bytes,
        "connections": shell.connections,
        "peers": list(shell.peers),
        "disk_bytes": shell.disk_bytes,
        "disk_full": replica.disk_full,
        "syncs": shell.syncs,
        "dropped": _sum(replica.dropped, shell.dropped),
        "cpu_s": time.process_time(),
        "version": version(),
    }


def status_document(fields: Mapping[str, Any]) -> bytes:
    """Return a status as JSON in UTF-8."""
    return json.dumps(fields, separators=(",", ":")).encode()


def _sum(*counters: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counter in counters:
        for name, count in counter.items():
            total[name] = total.get(name, 0) + count
    return {name: total[name] for name in sorted(total)}
