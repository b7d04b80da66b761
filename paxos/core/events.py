"""What can happen to a replica. ``Replica.handle`` takes exactly these."""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.config import FEATURE
from paxos.core.ids import ClientId, RequestNumber, SessionId, Slot, Voter
from paxos.core.messages import AdminMessage, PeerMessage, Read, SnapshotName, Watch
from paxos.core.snapshot import Snapshot


@dataclass(slots=True)
class Received:
    """A message from a replica (itself included), on a channel that a handshake identified."""

    sender: Voter
    message: PeerMessage

    def __str__(self) -> str:
        return f"{self.sender} -> {self.message}"


@dataclass(slots=True)
class Submission:
    """One client frame that asks for something to be decided, as it arrived.

    ``session`` and ``first`` were read from its fixed header, for routing; the rest is opaque.
    For a request to open a session, ``session`` is the client's nonce and ``first`` is 0.
    """

    client: ClientId
    session: SessionId
    first: RequestNumber
    payload: bytes


@dataclass(slots=True)
class Submitted:
    """All submissions that arrived in one pass of the shell, together: they become one batch."""

    submissions: list[Submission]

    def __str__(self) -> str:
        return f"Submitted({len(self.submissions)})"


@dataclass(slots=True)
class ReadsRequested:
    """All reads that arrived in one pass of the shell, together: one barrier round serves them."""

    reads: list[tuple[ClientId, Read]]

    def __str__(self) -> str:
        return " ".join(f"c{client} -> {read}" for client, read in self.reads)


@dataclass(slots=True)
class WatchRequested:
    """A client asks to be told."""

    client: ClientId
    watch: Watch

    def __str__(self) -> str:
        return f"c{self.client} -> {self.watch}"


@dataclass(slots=True)
class WatchCancelled:
    """A client no longer waits."""

    client: ClientId
    number: int

    def __str__(self) -> str:
        return f"c{self.client} cancels #{self.number}"


@dataclass(slots=True)
class ClientGone:
    """A client's connection is closed: forget its reads and watches and where its replies go."""

    client: ClientId

    def __str__(self) -> str:
        return f"c{self.client} gone"


@dataclass(slots=True)
class PeerConnected:
    """A new connection to a replica is up. What was sent before may be lost: send again.

    ``feature`` is the highest feature version that the peer understands.
    """

    peer: Voter
    feature: int = FEATURE

    def __str__(self) -> str:
        return f"{self.peer} connected"


@dataclass(slots=True)
class PeerDisconnected:
    """The connection to a replica broke. It may be dead; it may only be the link."""

    peer: Voter

    def __str__(self) -> str:
        return f"{self.peer} disconnected"


@dataclass(slots=True)
class DeadlinePassed:
    """``Replica.next_deadline()`` has come."""

    def __str__(self) -> str:
        return "deadline"


@dataclass(slots=True)
class DiskFull:
    """The log has no reserved room (``full``), or has it again. Until then: no votes, no writes."""

    full: bool

    def __str__(self) -> str:
        return f"disk {'full' if self.full else 'has room'}"


@dataclass(slots=True)
class AdminRequested:
    """An administrator asks for something."""

    client: ClientId
    request: AdminMessage

    def __str__(self) -> str:
        return f"c{self.client} -> {self.request}"


@dataclass(slots=True)
class SnapshotSaved:
    """The snapshot of ``SaveSnapshot`` is durable under ``name``."""

    name: SnapshotName

    def __str__(self) -> str:
        return f"saved {self.name}"


@dataclass(slots=True)
class SnapshotNotSaved:
    """There was no room for the snapshot. Nothing is lost; the log just goes on growing."""

    through: Slot

    def __str__(self) -> str:
        return f"no room for snapshot {self.through}"


@dataclass(slots=True)
class SnapshotFetched:
    """A snapshot that was fetched is whole, checked and durable."""

    name: SnapshotName
    snapshot: Snapshot

    def __str__(self) -> str:
        return f"fetched {self.name}"


@dataclass(slots=True)
class SnapshotSpoilt:
    """What was fetched is not what was offered (or there is no room): fetch anew, elsewhere."""

    name: SnapshotName

    def __str__(self) -> str:
        return f"spoilt {self.name}"


Event = (
    Received
    | Submitted
    | ReadsRequested
    | WatchRequested
    | WatchCancelled
    | ClientGone
    | PeerConnected
    | PeerDisconnected
    | DeadlinePassed
    | DiskFull
    | AdminRequested
    | SnapshotSaved
    | SnapshotNotSaved
    | SnapshotFetched
    | SnapshotSpoilt
)
