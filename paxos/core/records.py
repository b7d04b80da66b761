"""What a node makes durable, and how its memory is rebuilt from it.

``replay`` is the only reader of records: a fold, in log order, that any storage back end and the
simulator share. It guards invariant 2 (promise and issued round never decrease over a restart) and
the rule for watermarks: one is believed for a slot only if the record there is a DecidedRecord or
was accepted at the watermark's ballot, and a slot once believed stays believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.snapshot import Snapshot
from paxos.core.value import Value


@dataclass(slots=True)
class PromisedRecord:
    """This acceptor promised ``ballot``."""

    ballot: Ballot

    def __str__(self) -> str:
        return f"promised {self.ballot}"


@dataclass(slots=True)
class IssuedRecord:
    """This proposer issued ``ballot`` and never will again."""

    ballot: Ballot

    def __str__(self) -> str:
        return f"issued {self.ballot}"


@dataclass(slots=True)
class AcceptedRecord:
    """This acceptor accepted ``value`` for ``slot`` at ``ballot`` (and so promised it)."""

    ballot: Ballot
    slot: Slot
    value: Value

    def __str__(self) -> str:
        return f"accepted {self.ballot} {self.slot}={self.value}"


@dataclass(slots=True)
class DecidedRecord:
    """This node learned that ``value`` is decided for ``slot``."""

    slot: Slot
    value: Value

    def __str__(self) -> str:
        return f"decided {self.slot}={self.value}"


@dataclass(slots=True)
class WatermarkRecord:
    """The leader of ``ballot`` said that what it proposed through ``through`` is decided."""

    ballot: Ballot
    through: Slot

    def __str__(self) -> str:
        return f"watermark {self.ballot} {self.through}"


Record = PromisedRecord | IssuedRecord | AcceptedRecord | DecidedRecord | WatermarkRecord


@dataclass(slots=True)
class Held:
    """What a node holds in one slot: a value accepted at a ballot, or known decided.

    For a decided slot ``ballot`` is that of the last acceptance here, which may have been of
    another value; nothing is concluded from it any more but that it was promised.
    """

    ballot: Ballot
    value: Value
    decided: bool


@dataclass(slots=True)
class Recovered:
    """A node's memory at start.

    ``promised`` is at or above every accepted ballot; ``issued`` is the highest ballot this node
    ever sent a Prepare at; ``held`` has one entry per slot that was accepted or decided and is
    still in the log. ``snapshot`` is the latest durable one, with its name, if there is one: every
    slot at or below it is decided. Nothing is held at or below ``compacted_through``: that is
    decided, and may have left the log; without a snapshot that reaches so far, the state is lost
    and must be had from a peer, the votes are not. ``unknown`` are the slots, in inclusive ranges
    in order, of which damage hides what was accepted.
    """

    promised: Ballot = BALLOT_ZERO
    issued: Ballot = BALLOT_ZERO
    held: dict[Slot, Held] = field(default_factory=dict)
    snapshot: tuple[SnapshotName, Snapshot] | None = None
    compacted_through: Slot = 0
    unknown: tuple[tuple[Slot, Slot], ...] = ()


def replay(
    records: Iterable[Record],
    snapshot: tuple[SnapshotName, Snapshot] | None = None,
    compacted_through: Slot = 0,
    unknown: tuple[tuple[Slot, Slot], ...] = (),
) -> Recovered:
    """Rebuild a node's memory from its records, in the order they were made durable.

    Args:
        records: All that the log still holds.
        snapshot: The latest durable one.
        compacted_through: Up to here records may be gone.
        unknown: Slots of which damage hides what was accepted: unless what is held there was
            written after the damage, which only the reader of the log can tell. What is known
            decided is taken out here. What it hides below the snapshot is decided, but cannot be
            told any more: it counts as compacted, with all that the snapshot covers.
    """
    doubted = without(unknown, 0, compacted_through)
    if snapshot is not None and doubted and doubted[0][0] <= snapshot[0].through:
        compacted_through = snapshot[0].through
    state = Recovered(snapshot=snapshot, compacted_through=compacted_through, unknown=unknown)
    held = state.held
    undecided: set[Slot] = set()
    for record in records:
        match record:
            case PromisedRecord(ballot):
                state.promised = max(state.promised, ballot)
            case IssuedRecord(ballot):
                state.issued = max(state.issued, ballot)
            case AcceptedRecord(ballot, slot, value):
                state.promised = max(state.promised, ballot)
                if slot <= compacted_through:
                    continue
                known = held.get(slot)
                if known is None or not known.decided:
                    held[slot] = Held(ballot, value, False)
                    undecided.add(slot)
                else:
                    known.ballot = max(known.ballot, ballot)
            case DecidedRecord(slot, value):
                if slot <= compacted_through:
                    continue
                known = held.get(slot)
                held[slot] = Held(BALLOT_ZERO if known is None else known.ballot, value, True)
                undecided.discard(slot)
            case WatermarkRecord(ballot, through):
                believed = {s for s in undecided if s <= through and held[s].ballot == ballot}
                for slot in sorted(believed):
                    held[slot].decided = True
                undecided -= believed
            case _:
                assert_never(record)
    state.unknown = _still_unknown(state)
    return state


def without(
    ranges: tuple[tuple[Slot, Slot], ...], first: Slot, last: Slot
) -> tuple[tuple[Slot, Slot], ...]:
    """Return inclusive ranges, in order, less the slots from ``first`` to ``last``."""
    left: list[tuple[Slot, Slot]] = []
    for start, end in ranges:
        if end < first or last < start:
            left.append((start, end))
            continue
        if start < first:
            left.append((start, first - 1))
        if last < end:
            left.append((last + 1, end))
    return tuple(left)


def _still_unknown(state: Recovered) -> tuple[tuple[Slot, Slot], ...]:
    """Return what is in doubt of a recovered memory: neither decided nor compacted."""
    unknown = without(state.unknown, 0, state.compacted_through)
    if unknown:
        first, last = unknown[0][0], unknown[-1][1]
        inside = (s for s, held in state.held.items() if held.decided and first <= s <= last)
        for slot in sorted(inside):
            unknown = without(unknown, slot, slot)
    return unknown
