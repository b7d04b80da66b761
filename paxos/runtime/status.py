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

from paxos.core.config import FEATURE, Governing, Part
from paxos.core.ids import NodeId, Slot
from paxos.core.messages import SnapshotName
from paxos.runtime.configuration_fields import configuration_fields

if TYPE_CHECKING:
    from paxos.core.replica import ReplicaStatus
    from paxos.runtime.departure import Removal
    from paxos.runtime.snapshots import Progress

DISTRIBUTION = "multipaxos"

NEWS = 0
"""Number of a StatusAnswer that nobody asked for: only the members, because they have changed. A
client that knows nothing of that takes it for an answer to somebody else."""


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
        incarnation: Of the data directory.
        part: What this node was started as.
        governing: The latest decided configuration, and the first slot it governs.
        snapshot: The latest durable snapshot.
        unknown: Slots of which damage hides what was accepted.
        damage: What was found damaged at the start and is not mended yet.
        saving: How far a snapshot of this node has come, if one is being made.
        fetching: How far a snapshot from a peer has come, if one is being fetched.
        helper: Whom it is fetched from.
        trouble: Why the last snapshot was not saved or taken; empty if it was.
        served_bytes: Of snapshots, to peers and clients, since the node was opened.
        troubles: By node, why the last attempt to connect to it failed.
        removal: What is known of this node's removal, if it was removed.
    """

    cluster: str
    url: str
    connections: int
    peers: tuple[NodeId, ...]
    disk_bytes: int
    syncs: int
    dropped: Mapping[str, int]
    incarnation: int
    part: Part
    governing: Governing
    snapshot: SnapshotName | None
    unknown: tuple[tuple[Slot, Slot], ...]
    damage: tuple[str, ...]
    saving: Progress | None
    fetching: Progress | None
    helper: NodeId
    trouble: str
    served_bytes: int
    troubles: Mapping[NodeId, str]
    removal: Removal | None = None


def status_fields(replica: ReplicaStatus, digest: bytes, shell: ShellStatus) -> dict[str, Any]:
    """Return a node's status. An empty ``digest`` says that the state is too large for one."""
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
        **_membership_fields(replica, shell),
        **_snapshot_fields(replica, shell),
        "cpu_s": time.process_time(),
        "version": version(),
    }


def _membership_fields(replica: ReplicaStatus, shell: ShellStatus) -> dict[str, Any]:
    governing, leads, removal = shell.governing, replica.role == "leader", shell.removal
    member = governing.configuration.member(replica.node)
    is_member = member is not None and member.incarnation == shell.incarnation
    return {
        "incarnation": shell.incarnation,
        "feature_known": FEATURE,
        "part": member.part.name.lower() if member is not None and is_member else "none",
        "started_as": shell.part.name.lower(),
        "removed": replica.removed or removal is not None,
        "removed_by": None if removal is None else removal.version,
        "may_be_deleted": removal is not None and removal.settled,
        "configuration": configuration_fields(governing),
        "settled": replica.settled if leads else None,
        "change": replica.change,
        "troubles": {str(node): why for node, why in sorted(shell.troubles.items())},
        "lags": {str(node): lag for node, lag in sorted(replica.lags.items())},
    }


def _snapshot_fields(replica: ReplicaStatus, shell: ShellStatus) -> dict[str, Any]:
    name, fetching, saving = shell.snapshot, shell.fetching, shell.saving
    return {
        "snapshot": None
        if name is None
        else {"through": name.through, "size": name.size, "digest": name.digest.hex()},
        "compacted_through": replica.compacted_through,
        "unknown": [list(slots) for slots in shell.unknown],
        "damage": list(shell.damage),
        "saving": None
        if saving is None
        else {"through": saving.through, "bytes": saving.bytes_done},
        "fetching": None
        if fetching is None
        else {
            "through": fetching.through,
            "size": fetching.bytes_all,
            "offset": fetching.bytes_done,
            "from": shell.helper,
        },
        "snapshot_trouble": shell.trouble,
        "snapshot_served_bytes": shell.served_bytes,
    }


def status_document(fields: Mapping[str, Any]) -> bytes:
    """Return a status as JSON in UTF-8."""
    return json.dumps(fields, separators=(",", ":")).encode()


def members_document(urls: Mapping[NodeId, str]) -> bytes:
    """Return who the members are and where they listen, as JSON in UTF-8."""
    return status_document({"members": {str(node): url for node, url in sorted(urls.items())}})


def members_from(document: bytes) -> dict[NodeId, str] | None:
    """Return what ``members_document`` was told; None if this is no such document."""
    try:
        members = json.loads(document)["members"]
        return {int(node): str(url) for node, url in members.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _sum(*counters: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counter in counters:
        for name, count in counter.items():
            total[name] = total.get(name, 0) + count
    return {name: total[name] for name in sorted(total)}
