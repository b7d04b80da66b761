"""What a replica wants done. ``Replica.handle`` returns exactly these, in order.

"Durable before visible" is structural: what may leave only after a write sits in that write's
``then``. Promise and Accepted (and Prepare: a ballot reused after a crash is a safety bug) are
constructed nowhere else. The shell runs effects in order, may group the writes of several Persist
effects into one, and runs a ``then`` only when its records *and all earlier ones* are durable. A
Send to the replica's own node is given back to it as ``Received``.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.ids import ClientId, NodeId
from paxos.core.messages import ClientAnswer, PeerMessage
from paxos.core.records import Record


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


Effect = Send | Persist | Reply
