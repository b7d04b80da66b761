"""The acceptor: promises ballots, accepts values, and remembers both.

It owns the promised ballot and what this node holds in every slot. It guards invariant 2 (the
promise never decreases; an accepted ballot is never above it) and, by putting every Promise and
Accepted into the ``then`` of a write, invariant 7 (no vote leaves before it is durable). It never
knows time, who leads, or what a quorum is.

Rules: Paxos Made Simple, section 2.2, P1a ("an acceptor can accept a proposal numbered n iff it
has not responded to a prepare request having a number greater than n"), for all slots at once
(section 3).
"""

from __future__ import annotations

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.effects import Effect, Persist, Send
from paxos.core.ids import Slot
from paxos.core.messages import Accept, Accepted, Nack, Prepare, Promise, Report
from paxos.core.records import (
    AcceptedRecord,
    Held,
    PromisedRecord,
    Record,
    Recovered,
    WatermarkRecord,
)
from paxos.core.value import Value


class Acceptor:
    """The memory of one voter.

    Args:
        recovered: What replaying this node's records gave. The acceptor takes it over.
        promise_bytes_max: Bound on the values in one part of a Promise and in one Decided.
    """

    def __init__(self, recovered: Recovered, promise_bytes_max: int) -> None:
        self._promised = recovered.promised
        self._held = recovered.held
        # Slots accepted and not known decided: the only ones a watermark can still mark.
        self._undecided = {slot: None for slot, held in self._held.items() if not held.decided}
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
        """The highest slot in which this node holds anything."""
        return self._highest

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
        promises = (
            Promise(ballot, above, through, decided_through, 0, clock, reports)
            for above, through, reports in self._reports(prepare.after)
        )
        return [Persist(records, tuple(Send(ballot.node, promise) for promise in promises))]

    def handle_accept(
        self, accept: Accept, decided_through: Slot, leader: Ballot
    ) -> list[Effect] | None:
        """Accept ``accept.value`` unless a higher ballot was promised.

        Returns:
            The effects, or None for an Accept that contradicts what is known (another value for
            the same ballot, or for a decided slot): a broken peer, to be dropped and counted.
        """
        ballot, slot, value = accept.ballot, accept.slot, accept.value
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
        elif held.ballot == ballot:
            return [Persist((), then)]
        else:
            self._held[slot] = Held(ballot, value, held.decided)
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
            Whether a watermark of ``ballot`` will make that durable: only if the slot was accepted
            here at exactly that ballot.
        """
        self._undecided.pop(slot, None)
        held = self._held.get(slot)
        if held is None:
            self._held[slot] = Held(BALLOT_ZERO, value, True)
            self._highest = max(self._highest, slot)
            return False
        # A new object, never a changed one: reports that are on their way stay what they were.
        self._held[slot] = Held(held.ballot, value, True)
        return held.ballot == ballot

    def decided_run(self, after: Slot, through: Slot) -> tuple[Value, ...]:
        """Return the decided values above ``after``, up to ``through`` or the size bound."""
        values: list[Value] = []
        size = 0
        for slot in range(after + 1, through + 1):
            held = self._held.get(slot)
            if held is None or not held.decided:
                break
            size += held.value.size + 16
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
            size += held.value.size + 32
            if part and size > self._promise_bytes_max:
                parts.append((above, slot - 1, tuple(part)))
                above, part, size = slot - 1, [], held.value.size + 32
            part.append(Report(slot, None if held.decided else held.ballot, held.value))
        parts.append((above, None, tuple(part)))
        return parts

    def _slots_above(self, after: Slot) -> list[Slot]:
        """Return the slots above ``after`` that hold something, in order, however far apart."""
        if self._highest - after > len(self._held):
            return sorted(slot for slot in self._held if slot > after)
        return [slot for slot in range(after + 1, self._highest + 1) if slot in self._held]
