"""What a node remembers at its start: its log and its latest snapshot, judged.

Owns the decision whether a node may run on what its disk still holds. It guards invariant 14 at the
start: a log that may hide a promise is refused, with the one command that helps. Whatever else is
damaged only hides what can be had from peers again, and the node runs and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paxos.core.messages import SnapshotName
from paxos.core.records import Recovered, replay
from paxos.core.snapshot import Snapshot
from paxos.runtime.snapshots import stored_snapshot
from paxos.snapshot_format import SnapshotInvalid
from paxos.storage.base import Damage, DataDamaged, Identity, Storage, StorageError, WrongIdentity

if TYPE_CHECKING:
    from paxos.core.ids import NodeId


class Recovery(NamedTuple):
    """What a log gave.

    Attributes:
        recovered: For the replica.
        findings: What is damaged and is going to be mended: one line for a person per place.
    """

    recovered: Recovered
    findings: tuple[str, ...]


def recover(storage: Storage, identity: Identity) -> Recovery:
    """Read the log, and refuse one whose votes this node could not stand by. Blocking.

    Raises:
        WrongIdentity: It is somebody else's.
        DataDamaged: A promise may be lost, or nothing usable is left.
        StorageError: It cannot be read.
    """
    if storage.identity != identity:
        raise WrongIdentity(
            f"the data directory belongs to {_describe(storage.identity)}, but this is"
            f" {_describe(identity)}: check the configuration file and the node's number"
        )
    try:
        loaded = storage.load()
    except DataDamaged as error:
        raise DataDamaged(f"{error}; {_replacement(identity.node)}") from error
    damage = loaded.damage
    if damage is not None and damage.hides_promise:
        raise DataDamaged(_damage_text(identity.node, damage))
    findings = () if damage is None else damage.findings
    unknown = () if damage is None else damage.unknown
    snapshot: tuple[SnapshotName, Snapshot] | None = None
    if loaded.snapshot is not None:
        try:
            snapshot = (loaded.snapshot, stored_snapshot(storage, loaded.snapshot))
        except SnapshotInvalid as error:
            # Every byte is as it was written: of another release, most likely.
            raise StorageError(
                f"node {identity.node} cannot read its snapshot {loaded.snapshot}: {error}"
            ) from error
    recovered = replay(loaded.records, snapshot, loaded.compacted_through, unknown)
    return Recovery(recovered, findings)


def _damage_text(node: NodeId, damage: Damage) -> str:
    doubt = ", ".join(f"{first} to {last}" for first, last in damage.unknown) or "none"
    head = (
        f"the log of node {node} is damaged (slots in doubt: {doubt}; a promise may be lost);"
        f" {_replacement(node)}"
    )
    return "\n  ".join([head, *damage.findings])


def _replacement(node: NodeId) -> str:
    return (
        f"node {node} is not run, and must never vote again, because it could forget what it voted"
        " for. Look at it with 'paxos inspect', and replace it by a new node with one command:"
        f" paxos member replace {node} --url URL NEW_DIRECTORY"
    )


def _describe(identity: Identity) -> str:
    return (
        f"node {identity.node} of cluster {identity.cluster} (incarnation {identity.incarnation})"
    )
