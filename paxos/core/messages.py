"""Everything that travels. Read this file as the protocol's table of contents.

Between replicas: Prepare -> Promise, Accept -> Accepted, Nack, Compacted, Heartbeat ->
HeartbeatAnswer, CatchUp -> Decided or SnapshotOffer, SnapshotRequest -> SnapshotChunk, Settle ->
Settled, TakeOver. Between a client and a replica: OpenSession -> SessionOpened, Submit -> Results,
Read/Watch -> ReadAnswer, Reconfigure/TransferLeader/TakeSnapshot -> AdminAnswer, and what sends a
client elsewhere (Redirect, Overloaded).

The sender of a message is not in it: the channel it came on was identified by a handshake, and an
event carries that (node, incarnation). Messages are immutable by convention: never assign a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.ids import RequestNumber, SessionId, Slot
from paxos.core.value import Value

# --- between replicas ---------------------------------------------------------------------------


class Report(NamedTuple):
    """What an acceptor holds in one slot. ``ballot`` is None for a value it knows *decided*."""

    slot: Slot
    ballot: Ballot | None
    value: Value

    def __str__(self) -> str:
        return f"{self.slot}:{'decided' if self.ballot is None else self.ballot}={self.value}"


@dataclass(slots=True)
class Prepare:
    """Phase 1a for every slot above ``after``, the proposer's ``decided_through``."""

    ballot: Ballot
    after: Slot

    def __str__(self) -> str:
        return f"Prepare({self.ballot} after={self.after})"


@dataclass(slots=True)
class Promise:
    """Phase 1b, or one part of it: what the acceptor holds in the slots (``above``, ``through``].

    ``through`` is None for the last part, which covers everything above. An answer counts only when
    its parts cover all that was asked. Parts of two answers may be mixed: what was accepted below
    the promised ballot no longer changes, so each part is true by itself. ``clock`` is the
    acceptor's wall clock in microseconds. Of the slots at or below ``compacted_through`` it says
    nothing: they are decided, and must be caught up. Of those in ``unknown`` (inclusive ranges, in
    order) it cannot say what was accepted, because of damage: it does not count for them.
    """

    ballot: Ballot
    above: Slot
    through: Slot | None
    decided_through: Slot
    compacted_through: Slot
    clock: int
    reports: tuple[Report, ...]
    unknown: tuple[tuple[Slot, Slot], ...] = ()

    def __str__(self) -> str:
        reports = " ".join(str(report) for report in self.reports)
        through = "" if self.through is None else self.through
        compacted = f" compacted={self.compacted_through}" if self.compacted_through else ""
        doubt = "".join(f" unknown={first}..{last}" for first, last in self.unknown)
        return (
            f"Promise({self.ballot} {self.above}<..{through}"
            f" decided={self.decided_through}{compacted}{doubt} [{reports}])"
        )


@dataclass(slots=True)
class Accept:
    """Phase 2a. ``decided_through`` is the leader's watermark at this ballot."""

    ballot: Ballot
    slot: Slot
    value: Value
    decided_through: Slot

    def __str__(self) -> str:
        return f"Accept({self.ballot} {self.slot}={self.value} decided={self.decided_through})"


@dataclass(slots=True)
class Accepted:
    """Phase 2b. Goes only to the ballot's proposer."""

    ballot: Ballot
    slot: Slot
    decided_through: Slot

    def __str__(self) -> str:
        return f"Accepted({self.ballot} {self.slot} decided={self.decided_through})"


@dataclass(slots=True)
class Nack:
    """Refuses a Prepare or Accept at ``ballot`` because of the higher ``promised``.

    ``leader`` is the ballot of the connected leader that the sender hears, BALLOT_ZERO for none.
    """

    ballot: Ballot
    promised: Ballot
    leader: Ballot
    decided_through: Slot

    def __str__(self) -> str:
        return f"Nack({self.ballot} promised={self.promised} leader={self.leader})"


@dataclass(slots=True)
class Compacted:
    """Refuses an Accept at ``ballot``: slots at or below ``through`` are decided and forgotten.

    The proposer must catch up; it never takes this for an empty slot.
    """

    ballot: Ballot
    promised: Ballot
    through: Slot
    decided_through: Slot

    def __str__(self) -> str:
        return f"Compacted({self.ballot} through={self.through} promised={self.promised})"


class StateDigest(NamedTuple):
    """What a replica's state was at ``slot``. Equal slots must give equal digests."""

    slot: Slot
    digest: bytes


NO_DIGEST = StateDigest(0, b"")


@dataclass(slots=True)
class Heartbeat:
    """Sent by every node to every member, numbered by its sender.

    A leader names its ``ballot`` and whether it is ``connected`` (reaches a phase-2 quorum that has
    promised nothing higher); a node that does not lead sends BALLOT_ZERO and False. ``snapshot`` is
    that of the sender's latest durable snapshot; ``results`` of all results through some slot.
    """

    number: int
    ballot: Ballot
    connected: bool
    decided_through: Slot
    snapshot: StateDigest = NO_DIGEST
    results: StateDigest = NO_DIGEST

    def __str__(self) -> str:
        claim = "" if self.ballot.round == 0 else f" leads={self.ballot}"
        lost = "" if self.ballot.round == 0 or self.connected else " unconnected"
        return f"Heartbeat(#{self.number}{claim}{lost} decided={self.decided_through})"


@dataclass(slots=True)
class HeartbeatAnswer:
    """Answers heartbeat ``number``, and is a pre-vote unless it names a connected ``leader``.

    ``sound`` says that the sender votes at present (its disk is not full). ``snapshot`` is that of
    its latest durable snapshot; ``results`` of all results through some slot.
    """

    number: int
    promised: Ballot
    leader: Ballot
    sound: bool
    decided_through: Slot
    clock: int
    snapshot: StateDigest = NO_DIGEST
    results: StateDigest = NO_DIGEST

    def __str__(self) -> str:
        hears = "" if self.leader.round == 0 else f" hears={self.leader}"
        return (
            f"HeartbeatAnswer(#{self.number} promised={self.promised}{hears}"
            f"{'' if self.sound else ' unsound'} decided={self.decided_through})"
        )


@dataclass(slots=True)
class CatchUp:
    """Asks for the decided values above ``after``."""

    after: Slot

    def __str__(self) -> str:
        return f"CatchUp(after={self.after})"


@dataclass(slots=True)
class Decided:
    """Decided values of consecutive slots from ``first`` on; sent only by a node that knows so."""

    first: Slot
    values: tuple[Value, ...]
    decided_through: Slot

    def __str__(self) -> str:
        last = self.first + len(self.values) - 1
        return f"Decided({self.first}..{last} decided={self.decided_through})"


class SnapshotName(NamedTuple):
    """Which snapshot: equal names are equal bytes, whoever serves them.

    Attributes:
        through: The last slot that it reflects.
        size: Its bytes.
        digest: BLAKE2b of all of them, 16 bytes.
    """

    through: Slot
    size: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.through}/{self.size}B/{self.digest.hex()[:8]}"


@dataclass(slots=True)
class SnapshotOffer:
    """Answers a CatchUp below what the sender has compacted: fetch this snapshot instead."""

    name: SnapshotName
    decided_through: Slot

    def __str__(self) -> str:
        return f"SnapshotOffer({self.name})"


@dataclass(slots=True)
class SnapshotRequest:
    """Asks for the bytes of a snapshot from ``offset`` on: for one chunk.

    Pulled one or a few at a time, so the one who fetches sets the pace, and goes on where it was
    after a broken connection or with another helper that has the same snapshot. An ``offset`` at
    its end says that the sender has it all and needs nothing more.
    """

    name: SnapshotName
    offset: int

    def __str__(self) -> str:
        return f"SnapshotRequest({self.name} @{self.offset})"


@dataclass(slots=True)
class SnapshotChunk:
    """A piece of a snapshot. Empty: the sender does not have that snapshot (any more)."""

    name: SnapshotName
    offset: int
    data: bytes

    def __str__(self) -> str:
        return f"SnapshotChunk({self.name} @{self.offset}+{len(self.data)})"


@dataclass(slots=True)
class Settle:
    """Asks a node to make durable, as decided, all it knows through ``through``, and to say so."""

    through: Slot

    def __str__(self) -> str:
        return f"Settle({self.through})"


@dataclass(slots=True)
class Settled:
    """All slots through ``through`` are durable here as decided: recovery would believe them."""

    through: Slot

    def __str__(self) -> str:
        return f"Settled({self.through})"


@dataclass(slots=True)
class TakeOver:
    """The leader of ``ballot`` hands over: campaign now, at a higher one."""

    ballot: Ballot

    def __str__(self) -> str:
        return f"TakeOver({self.ballot})"


PeerMessage = (
    Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Compacted
    | Heartbeat
    | HeartbeatAnswer
    | CatchUp
    | Decided
    | SnapshotOffer
    | SnapshotRequest
    | SnapshotChunk
    | Settle
    | Settled
    | TakeOver
)

# --- between a client and a replica -------------------------------------------------------------


class Level(IntEnum):
    """How fresh a read must be. Every answer says which slot it reflects."""

    LOCAL = 0
    """What is here now, however old."""
    SESSION = 1
    """At least what this client has seen: waits for ``at_least``."""
    LINEARIZABLE = 2
    """Everything that was done before the read began: confirmed by a quorum."""


class Status(IntEnum):
    """How one request or read ended, as the replica saw it."""

    DONE = 0
    """Applied; the bytes are the state machine's result."""
    FAILED = 1
    """Applied, and the state machine refused or raised, on every replica; the bytes say why."""
    EXPIRED = 2
    """Not applied *by this attempt*: the session is not (any more) in the table."""
    REFUSED = 3
    """Not applied *by this attempt*: over a limit, or not served here; the bytes say why."""


@dataclass(slots=True)
class OpenSession:
    """Asks for a session. ``nonce`` is the client's random number, repeated in SessionOpened."""

    nonce: int

    def __str__(self) -> str:
        return f"OpenSession({self.nonce:x})"


@dataclass(slots=True)
class Submit:
    """Commands for one state machine, with consecutive request numbers from ``first`` on.

    ``acked_through`` is the highest request number at or below which the client has ended all.
    Only a client and the executor ever see it in this form; in between it is bytes.
    """

    session: SessionId
    first: RequestNumber
    acked_through: RequestNumber
    machine: str
    commands: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"Submit(s{self.session} {self.first}+{len(self.commands)} {self.machine})"


@dataclass(slots=True)
class Malformed:
    """A submission in a decided batch whose body makes no sense. Applied as nothing, everywhere."""

    session: SessionId
    first: RequestNumber

    def __str__(self) -> str:
        return f"Malformed(s{self.session} {self.first})"


@dataclass(slots=True)
class Read:
    """Asks a state machine a question. ``number`` is the client's, repeated in the answer."""

    number: int
    level: Level
    machine: str
    query: bytes
    at_least: Slot

    def __str__(self) -> str:
        return f"Read(#{self.number} {self.level.name.lower()} {self.machine})"


@dataclass(slots=True)
class Watch:
    """A read that is answered once there is something to tell (a long poll).

    The state machine's ``watch`` is asked after every change until it answers. One Watch, one
    answer: the client asks again from where the answer ended, so nothing is buffered for it.
    """

    number: int
    machine: str
    query: bytes
    at_least: Slot

    def __str__(self) -> str:
        return f"Watch(#{self.number} {self.machine})"


@dataclass(slots=True)
class CancelWatch:
    """The client no longer waits for Watch ``number``."""

    number: int

    def __str__(self) -> str:
        return f"CancelWatch(#{self.number})"


@dataclass(slots=True)
class StatusRequest:
    """Asks a node about itself. Answered by the shell, not by the core."""

    number: int

    def __str__(self) -> str:
        return f"StatusRequest(#{self.number})"


@dataclass(slots=True)
class Reconfigure:
    """Asks the leader to make ``configuration`` the next one.

    It bears the version it would get, so asking twice, or at the next leader, does no harm: if it
    is the latest decided one already, the answer only waits until it is settled.
    """

    number: int
    configuration: Configuration

    def __str__(self) -> str:
        return f"Reconfigure(#{self.number} v{self.configuration.version})"


@dataclass(slots=True)
class TransferLeader:
    """Asks the leader to hand over to ``to``, or to whom it finds best if that is 0."""

    number: int
    to: int

    def __str__(self) -> str:
        return f"TransferLeader(#{self.number} n{self.to})"


@dataclass(slots=True)
class TakeSnapshot:
    """Asks this very node for a snapshot now, and for compaction by it.

    Answered by SnapshotOffer once it is durable; its bytes are then had by SnapshotRequest.
    """

    number: int

    def __str__(self) -> str:
        return f"TakeSnapshot(#{self.number})"


AdminMessage = Reconfigure | TransferLeader | TakeSnapshot

ClientMessage = (
    OpenSession
    | Submit
    | Read
    | Watch
    | CancelWatch
    | StatusRequest
    | AdminMessage
    | SnapshotRequest
)


@dataclass(slots=True)
class SessionOpened:
    """The session that OpenSession ``nonce`` made."""

    nonce: int
    session: SessionId

    def __str__(self) -> str:
        return f"SessionOpened({self.nonce:x} s{self.session})"


class Result(NamedTuple):
    """How one request ended: its number, status, the slot it stands in, and the bytes."""

    request: RequestNumber
    status: int
    slot: Slot
    data: bytes


@dataclass(slots=True)
class Results:
    """Results of requests of one session, in the order they were applied."""

    session: SessionId
    results: tuple[Result, ...]

    def __str__(self) -> str:
        numbers = ",".join(f"{r.request}:{Status(r.status).name.lower()}" for r in self.results)
        return f"Results(s{self.session} {numbers})"


@dataclass(slots=True)
class Redirect:
    """This node does not lead (any more); ``leader`` is a hint, 0 for none.

    Whatever the client sent here and has no result for may or may not be applied; asking again
    under the same session and number is safe.
    """

    leader: int

    def __str__(self) -> str:
        return f"Redirect({self.leader})"


@dataclass(slots=True)
class Overloaded:
    """The submission that began at request ``first`` was not taken, by this attempt. Ask later.

    ``retry_after_ms`` is a hint in milliseconds; ``reason`` is for a person.
    """

    session: SessionId
    first: RequestNumber
    retry_after_ms: int
    reason: str

    def __str__(self) -> str:
        return f"Overloaded(s{self.session} {self.first} {self.reason})"


@dataclass(slots=True)
class ReadAnswer:
    """Answers Read or Watch ``number``: the result and the slot it reflects.

    ``status`` is DONE, FAILED (the state machine raised) or REFUSED (limit, lost leadership).
    """

    number: int
    status: int
    slot: Slot
    data: bytes

    def __str__(self) -> str:
        return f"ReadAnswer(#{self.number} {Status(self.status).name.lower()} slot={self.slot})"


@dataclass(slots=True)
class StatusAnswer:
    """Answers StatusRequest ``number`` with a JSON object in UTF-8."""

    number: int
    document: bytes

    def __str__(self) -> str:
        return f"StatusAnswer(#{self.number})"


@dataclass(slots=True)
class AdminAnswer:
    """Answers an administrator's request ``number``.

    ``status`` is DONE (a change: it is settled, and whom it removes may be wiped) or REFUSED;
    ``slot`` is the one that it is about; ``text`` is for a person: what came of it, or why not
    and what to do.
    """

    number: int
    status: int
    slot: Slot
    text: str

    def __str__(self) -> str:
        return f"AdminAnswer(#{self.number} {Status(self.status).name.lower()} {self.text})"


ClientAnswer = (
    SessionOpened
    | Results
    | Redirect
    | Overloaded
    | ReadAnswer
    | StatusAnswer
    | AdminAnswer
    | SnapshotOffer
    | SnapshotChunk
)

Message = PeerMessage | ClientMessage | ClientAnswer
