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
    ever sent a Prepare at; ``held`` has one entry per slot that was ever accepted or decided.
    """

    promised: Ballot = BALLOT_ZERO
    issued: Ballot = BALLOT_ZERO
    held: dict[Slot, Held] = field(default_factory=dict)


def replay(records: Iterable[Record]) -> Recovered:
    """Rebuild a node's memory from its records, in the order they were made durable."""
    state = Recovered()
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
                known = held.get(slot)
                if known is None or not known.decided:
                    held[slot] = Held(ballot, value, False)
                    undecided.add(slot)
                else:
                    known.ballot = max(known.ballot, ballot)
            case DecidedRecord(slot, value):
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
    return state
