"""What a replica wants done. ``Replica.handle`` returns exactly these, in order.

"Durable before visible" is structural: what may leave only after a write sits in that write's
``then``. Promise and Accepted (and Prepare: a ballot reused after a crash is a safety bug) are
constructed nowhere else. The shell runs effects in order, may group the writes of several Persist
effects into one, and runs a ``then`` only when its records *and all earlier ones* are durable. A
Send to the replica's own node is given back to it as ``Received``.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.ids import ClientId, NodeId, Slot
from paxos.core.messages import ClientAnswer, PeerMessage, SnapshotName
from paxos.core.records import Record
from paxos.core.snapshot import Snapshot


@dataclass(slots=True)
class Send:
    """Send a message to a node. May be lost, and is then repaired by the protocol."""

    to: NodeId
    message: PeerMessage

    def __str__(self) -> str:
        return f"-> n{self.to} {self.message}"


@dataclass(slots=True)
class Persist:
    """Make ``records`` durable behind all earlier ones, then do ``then``.

    With no records it is a barrier: ``then`` waits for earlier writes.
    """

    records: tuple[Record, ...]
    then: tuple[Send, ...]

    def __str__(self) -> str:
        return (
            f"persist [{' '.join(map(str, self.records))}] then [{' '.join(map(str, self.then))}]"
        )


@dataclass(slots=True)
class Reply:
    """Answer a client. Dropped if its connection is gone: it will ask again."""

    client: ClientId
    message: ClientAnswer

    def __str__(self) -> str:
        return f"-> c{self.client} {self.message}"


@dataclass(slots=True)
class SaveSnapshot:
    """Write a snapshot durably, beside the log, a little at a time; then say ``SnapshotSaved``.

    Its parts are those of this moment however late they are read: the state machines see to that.
    At most one is under way. What may be compacted by it is compacted only after SnapshotSaved.
    """

    snapshot: Snapshot

    def __str__(self) -> str:
        return f"save snapshot {self.snapshot.head.through}"


@dataclass(slots=True)
class Compact:
    """Free what the log holds at or below ``through``: a durable snapshot covers it.

    Only ever the consequence of ``SnapshotSaved`` or ``SnapshotFetched``.
    """

    through: Slot

    def __str__(self) -> str:
        return f"compact through {self.through}"


@dataclass(slots=True)
class ServeSnapshot:
    """Read a chunk of a durable snapshot at ``offset`` and send it to ``to``, within its rate."""

    to: NodeId
    name: SnapshotName
    offset: int

    def __str__(self) -> str:
        return f"-> n{self.to} chunk of {self.name} @{self.offset}"


@dataclass(slots=True)
class StoreChunk:
    """Keep a fetched piece of a snapshot, behind those before it.

    An ``offset`` of 0 begins anew. Once it is all there the shell checks it from end to end, makes
    it durable, and says ``SnapshotFetched`` or ``SnapshotSpoilt``.
    """

    name: SnapshotName
    offset: int
    data: bytes

    def __str__(self) -> str:
        return f"store {self.name} @{self.offset}+{len(self.data)}"


Effect = Send | Persist | Reply | SaveSnapshot | Compact | ServeSnapshot | StoreChunk
