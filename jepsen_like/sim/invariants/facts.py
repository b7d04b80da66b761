"""What the checkers know of one node, by watching what passes through it.

Shared by all checkers of a run, so that a record is taken note of once. It says nothing of what the
node thinks of itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import ClientId, Slot, Voter
from paxos.core.messages import Accept, Read
from paxos.core.records import Record
from paxos.core.value import Value


@dataclass(slots=True)
class NodeFacts:
    """One node, over all its lives.

    Attributes:
        life: How often it was started.
        up: It runs.
        promised: The highest ballot in any record it asked to have written, in this life.
        unwritten: What it asked to have written that is not durable, in that order.
        durable_promised: The highest ballot in any durable record.
        durable_issued: Every ballot durably recorded as issued.
        issued: The highest of them.
        durable_votes: Every (ballot, slot) durably accepted.
        held: The latest durable acceptance of each slot.
        open: Slots held that no durable record marks decided.
        highest: The highest slot in ``held``.
        decided_through, applied_through: As last seen.
        applied: How many commands its state machines ran in this life.
        full: It was told that its disk has no room.
        failed: A sync of its present process failed.
        condemned: Its disk has damage that may hide a promise, or was lost: it must never vote.
        proposed: The last Accept that left. One object goes to many.
        led: It led when a deadline passed or its disk ran full.
        reads: Reads that wait in it, by client connection and number.
        watches: Watches that wait in it, by client connection and number.
        submission_bytes: The size of the largest submission that came in this life.
        now: Its monotonic clock, as it last read it.
        due: It handles a deadline: when a leader judges itself.
    """

    voter: Voter
    life: int = 0
    up: bool = False
    promised: Ballot = BALLOT_ZERO
    unwritten: deque[Record] = field(default_factory=deque)
    durable_promised: Ballot = BALLOT_ZERO
    durable_issued: set[Ballot] = field(default_factory=set)
    issued: Ballot = BALLOT_ZERO
    durable_votes: set[tuple[Ballot, Slot]] = field(default_factory=set)
    held: dict[Slot, tuple[Ballot, Value]] = field(default_factory=dict)
    open: dict[Slot, None] = field(default_factory=dict)
    highest: Slot = 0
    decided_through: Slot = 0
    applied_through: Slot = 0
    applied: int = 0
    full: bool = False
    failed: bool = False
    condemned: bool = False
    proposed: Accept | None = None
    led: bool = False
    reads: dict[ClientId, dict[int, Read]] = field(default_factory=dict)
    watches: dict[ClientId, dict[int, None]] = field(default_factory=dict)
    submission_bytes: int = 0
    now: float = 0.0
    due: bool = False
