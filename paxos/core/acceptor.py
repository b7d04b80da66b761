"""The acceptor: promises ballots, accepts values, and remembers both.

It owns the promised ballot, what this node holds in every slot, where that begins
(``compacted_through``) and what damage has hidden of it (``unknown``). It guards invariant 2 (the
promise never decreases; an accepted ballot is never above it) and, by putting every Promise and
Accepted into the ``then`` of a write, invariant 7 (no vote leaves before it is durable). A slot
that it has forgotten, or cannot read, never passes for an empty one. It never knows time, who
leads, or what a quorum is.

Rules: Paxos Made Simple, section 2.2, P1a ("an acceptor can accept a proposal numbered n iff it
has not responded to a prepare request having a number greater than n"), for all slots at once
(section 3).
"""

from __future__ import annotations

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.effects import Effect, Persist, Send
from paxos.core.ids import Slot
from paxos.core.messages import Accept, Accepted, Compacted, Nack, Prepare, Promise, Report
from paxos.core.records import (
    AcceptedRecord,
    Held,
    PromisedRecord,
    Record,
    Recovered,
    WatermarkRecord,
    without,
)
from paxos.core.value import Value

CHANGE_BYTES = 96 * 1024
"""What a change of the configuration counts for in a message: no encoding of one is longer."""


class Acceptor:
    """The memory of one voter.

    Args:
        recovered: What replaying this node's records gave. The acceptor takes it over.
        promise_bytes_max: Bound on the values in one part of a Promise and in one Decided.
    """

    def __init__(self, recovered: Recovered, promise_bytes_max: int) -> None:
        self._promised = recovered.promised
        self._held = recovered.held
        self._compacted_through = recovered.compacted_through
        self._unknown = recovered.unknown
        covered = recovered.snapshot[0].through if recovered.snapshot else 0
        # Slots accepted and not known decided: the only ones a watermark can still mark.
        self._undecided = {
            slot: None for slot, held in self._held.items() if not held.decided and slot > covered
        }
        self._highest = max(self._held, default=0)
        self._watermark = (BALLOT_ZERO, 0)  # the latest one noted, by ballot and slot
        self._unrecorded: tuple[WatermarkRecord, ...] = ()  # noted and not yet written
        self._promise_bytes_max = promise_bytes_max

    @property
    def promised(self) -> Ballot:
        """The ballot below which this node accepts nothing any more. Never decreases."""
        return self._promised

    @property
    def highest(self) -> Slot:
        """The highest slot in which this node holds anything, or did."""
        return self._highest

    @property
    def compacted_through(self) -> Slot:
        """What stood in the slots through this one is decided and forgotten. Never decreases."""
        return self._compacted_through

    @property
    def unknown(self) -> tuple[tuple[Slot, Slot], ...]:
        """Slots of which damage hides what was accepted: inclusive ranges, in order."""
        return self._unknown

    def held(self, slot: Slot) -> Held | None:
        """Return what this node holds in ``slot``, if anything."""
        return self._held.get(slot)

    def handle_prepare(
        self, prepare: Prepare, decided_through: Slot, leader: Ballot, clock: int
    ) -> list[Effect]:
        """Promise not to accept below ``prepare.ballot``, and report what is held above its slot.

        ``decided_through``, ``leader`` and ``clock`` (this node's wall clock, opaque here) are
        passed on in the answer.
        """
        ballot = prepare.ballot
        if ballot < self._promised:
            nack = Nack(ballot, self._promised, leader, decided_through)
            return [Send(ballot.node, nack)]
        records: tuple[Record, ...] = ()
        if ballot > self._promised:
            self._promised = ballot
            records = (PromisedRecord(ballot),)
        compacted, unknown = self._compacted_through, self._unknown
        promises = (
            Promise(ballot, above, through, decided_through, compacted, clock, reports, unknown)
            for above, through, reports in self._reports(prepare.after)
        )
        return [Persist(records, tuple(Send(ballot.node, promise) for promise in promises))]

    def handle_accept(
        self, accept: Accept, decided_through: Slot, leader: Ballot
    ) -> list[Effect] | None:
        """Accept ``accept.value`` unless a higher ballot was promised or the slot is forgotten.

        Returns:
            The effects, or None for an Accept that contradicts what is known (another value for
            the same ballot, or for a decided slot): a broken peer, to be dropped and counted.
        """
        ballot, slot, value = accept.ballot, accept.slot, accept.value
        if slot <= self._compacted_through:
            through = self._compacted_through
            compacted = Compacted(ballot, self._promised, through, decided_through)
            return [Send(ballot.node, compacted)]
        if ballot < self._promised:
            return [Send(ballot.node, Nack(ballot, self._promised, leader, decided_through))]
        then = (Send(ballot.node, Accepted(ballot, slot, decided_through)),)
        held = self._held.get(slot)
        if held is None:
            self._held[slot] = Held(ballot, value, False)
            self._undecided[slot] = None
            self._highest = max(self._highest, slot)
        elif (held.decided or held.ballot == ballot) and held.value != value:
            return None
        elif held.ballot == ballot and not self._is_unknown(slot):
            return [Persist((), then)]
        else:
            self._held[slot] = Held(ballot, value, held.decided)
        if self._unknown:
            self._mend(slot)
        self._promised = ballot
        self.note_watermark(ballot, accept.decided_through)
        records: tuple[Record, ...] = (*self._unrecorded, AcceptedRecord(ballot, slot, value))
        self._unrecorded = ()
        noted_ballot, noted_through = self._watermark
        if ballot == noted_ballot and slot <= noted_through:
            # It came after the watermark that covers it: let the next one be recorded anew.
            self._watermark = (ballot, slot - 1)
        return [Persist(records, then)]

    def note_watermark(self, ballot: Ballot, through: Slot) -> None:
        """The leader of ``ballot`` said ``through``: record it with the next write.

        One of an earlier ballot that is not recorded yet is kept, because a later ballot's does not
        cover what was accepted at the earlier one.
        """
        noted_ballot, noted_through = self._watermark
        if through == 0 or (ballot == noted_ballot and through <= noted_through):
            return
        kept = tuple(record for record in self._unrecorded if record.ballot != ballot)
        self._unrecorded = (*kept, WatermarkRecord(ballot, through))
        self._watermark = (ballot, through)

    def flush_watermark(self) -> tuple[WatermarkRecord, ...]:
        """Hand over what was noted and is not written yet.

        Once that is durable too, recovery would believe all that is known decided here.
        """
        records, self._unrecorded = self._unrecorded, ()
        return records

    def under_watermark(self, ballot: Ballot, through: Slot) -> list[tuple[Slot, Value]]:
        """Return what the leader of ``ballot`` has now said is decided.

        That is only what was accepted here at that ballot, at or below ``through``.
        """
        return [
            (slot, self._held[slot].value)
            for slot in self._undecided
            if slot <= through and self._held[slot].ballot == ballot
        ]

    def mark_decided(self, slot: Slot, value: Value, ballot: Ballot | None) -> bool:
        """Note that ``value`` is decided for ``slot``.

        Returns:
            Whether it needs no record: a watermark of ``ballot`` will make it durable, as the slot
            was accepted here at exactly that ballot; or it is compacted.
        """
        if slot <= self._compacted_through:
            return True  # a node that lost its snapshot learns it anew: nothing to keep
        self._undecided.pop(slot, None)
        if self._unknown:
            self._mend(slot)
        held = self._held.get(slot)
        if held is None:
            self._held[slot] = Held(BALLOT_ZERO, value, True)
            self._highest = max(self._highest, slot)
            return False
        # A new object, never a changed one: reports that are on their way stay what they were.
        self._held[slot] = Held(held.ballot, value, True)
        return held.ballot == ballot

    def compact(self, through: Slot) -> None:
        """Forget what stands at or below ``through``: it is decided, and in a durable snapshot."""
        if through <= self._compacted_through:
            return
        if through - self._compacted_through > len(self._held):
            gone = [slot for slot in self._held if slot <= through]
        else:
            gone = list(range(self._compacted_through + 1, through + 1))
        for slot in gone:
            self._held.pop(slot, None)
            self._undecided.pop(slot, None)
        self._compacted_through = through
        self._unknown = without(self._unknown, 0, through)

    def kept_from(self, through: Slot, entries_max: int, bytes_max: int) -> Slot:
        """Return the highest slot whose successors up to ``through`` are all worth keeping.

        That is at most ``entries_max`` of them and ``bytes_max`` bytes, for peers a little behind.
        """
        size, slot = 0, through
        while slot > self._compacted_through and through - slot < entries_max:
            held = self._held.get(slot)
            size += 0 if held is None else room(held.value)
            if size > bytes_max:
                break
            slot -= 1
        return slot

    def decided_run(self, after: Slot, through: Slot) -> tuple[Value, ...]:
        """Return the decided values above ``after``, up to ``through`` or the size bound.

        Empty if the first one is forgotten, or held and not known decided: a snapshot must do.
        """
        values: list[Value] = []
        size = 0
        for slot in range(after + 1, through + 1):
            held = self._held.get(slot)
            if held is None or not held.decided:
                break
            size += room(held.value)
            if values and size > self._promise_bytes_max:
                break
            values.append(held.value)
        return tuple(values)

    def _reports(self, after: Slot) -> list[tuple[Slot, Slot | None, tuple[Report, ...]]]:
        """Cut what is held above ``after`` into parts: (above, through, reports), None = no end."""
        parts: list[tuple[Slot, Slot | None, tuple[Report, ...]]] = []
        part: list[Report] = []
        above, size = after, 0
        for slot in self._slots_above(after):
            held = self._held[slot]
            size += room(held.value)
            if part and size > self._promise_bytes_max:
                parts.append((above, slot - 1, tuple(part)))
                above, part, size = slot - 1, [], room(held.value)
            part.append(Report(slot, None if held.decided else held.ballot, held.value))
        parts.append((above, None, tuple(part)))
        return parts

    def _slots_above(self, after: Slot) -> list[Slot]:
        """Return the slots above ``after`` that hold something, in order, however far apart."""
        if self._highest - after > len(self._held):
            return sorted(slot for slot in self._held if slot > after)
        return [slot for slot in range(after + 1, self._highest + 1) if slot in self._held]

    def _is_unknown(self, slot: Slot) -> bool:
        return any(first <= slot <= last for first, last in self._unknown)

    def _mend(self, slot: Slot) -> None:
        self._unknown = without(self._unknown, slot, slot)


def room(value: Value) -> int:
    """Return about how many bytes a value takes in a message."""
    return value.size + 32 + (0 if value.change is None else CHANGE_BYTES)
