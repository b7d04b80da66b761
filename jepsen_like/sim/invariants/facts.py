"""What the checkers know of one node, by watching what passes through it.

Shared by all checkers of a run, so that a record is taken note of once. It says nothing of what the
node thinks of itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from jepsen_like.sim.marks import Marks
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.ids import ClientId, Slot, Voter
from paxos.core.messages import Accept, Read
from paxos.core.records import Record, Recovered
from paxos.core.value import Value


@dataclass(slots=True)
class NodeFacts:
    """One node, over all its lives.

    Attributes:
        executes: It runs state machines.
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
        known: The value of each slot that recovery would believe decided.
        snapshot_through: The slot of its latest durable snapshot.
        compacted_through: It was asked to let go of slots through this one.
        doubt: Slots of which damage hides what it accepted, until they are mended.
        restoring: The slot of the snapshot that its machines are made from, when they are.
        configurations: What it believes of who governs; its own object of this life.
        believed: The latest of them, as last seen.
        highest: The highest slot in ``held``.
        decided_through, applied_through: As last seen.
        learned_through: What it knows decided while its effects are looked at.
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
    executes: bool = True
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
    known: dict[Slot, Value] = field(default_factory=dict)
    snapshot_through: Slot = 0
    compacted_through: Slot = 0
    doubt: dict[Slot, None] = field(default_factory=dict)
    restoring: Slot = 0
    configurations: Configurations | None = None
    believed: Configuration | None = None
    highest: Slot = 0
    decided_through: Slot = 0
    applied_through: Slot = 0
    learned_through: Slot = 0
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

    @property
    def knows_through(self) -> Slot:
        """What it knows decided at this moment."""
        return max(self.decided_through, self.learned_through)

    def decided_durably(self, through: Slot) -> bool:
        """Whether recovery would believe every slot through this one decided."""
        if self.condemned:
            return False
        return all(slot in self.known for slot in range(self.snapshot_through + 1, through + 1))

    def gives_back(self, slot: Slot, value: Value) -> bool:
        """Whether a promise of this node, or its snapshot, would give a chosen value back."""
        if slot <= self.snapshot_through or slot in self.known:
            return True
        _, held = self.held.get(slot, (BALLOT_ZERO, None))
        return held is value or held == value

    def mends(self, slots: Iterable[Slot], how: str, marks: Marks) -> None:
        """What damage hid does not matter any more."""
        if not self.doubt:
            return
        for slot in slots:
            if slot in self.doubt:
                del self.doubt[slot]
                marks.hit(f"unknown slot was mended by {how}")

    def damaged(self, kept: Recovered) -> None:
        """A disk lost what it held in some slots; the node knows in which it may have."""
        for slot in list(dict.fromkeys((*self.held, *self.known))):
            if slot <= kept.compacted_through:
                continue
            if not any(first <= slot <= last for first, last in kept.unknown):
                continue
            self.doubt[slot] = None
            found, before = kept.held.get(slot), self.held.get(slot)
            if found is not None and before == (found.ballot, found.value):
                continue
            for lost in (self.held, self.known, self.open):
                lost.pop(slot, None)
            self.durable_votes = {vote for vote in self.durable_votes if vote[1] != slot}
            if found is not None:  # from before what was lost
                self.held[slot] = (found.ballot, found.value)
                self.durable_votes.add((found.ballot, slot))
                self.open[slot] = None

    def wiped(self) -> None:
        """Its machine is gone, with all it held."""
        self.held.clear()
        self.known.clear()
        self.open.clear()
        self.doubt.clear()
        self.snapshot_through = 0
