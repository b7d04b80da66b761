"""The proposer: wins ballots with phase 1, and gives values to slots with phase 2.

It owns the ballots this node issues, the reports of phase 1, the submissions that wait for a slot
and what is in flight. It counts phase-1 quorums (here and nowhere else, as sets of voters). It
guards invariants 3 (a ballot is issued once; one value per ballot and slot), 4 (a value that may
be chosen is proposed again) and 8 for phase 1. It never counts Accepted votes and never knows what
a submission says.

Paxos Made Simple, sections 2.2 and 3; docs/protocol.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import Enum

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configurations
from paxos.core.effects import Effect, Persist, Send
from paxos.core.errors import ensure
from paxos.core.ids import ClientId, Instant, Slot, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.messages import Accept, HeartbeatAnswer, Prepare, Promise, Report
from paxos.core.records import IssuedRecord
from paxos.core.stamps import StampClock
from paxos.core.value import NOOP, Value


class Phase(Enum):
    """What a proposer is doing with its ballot."""

    IDLE = "idle"
    PREPARING = "preparing"
    LEADING = "leading"


@dataclass(slots=True)
class InFlight:
    """A value proposed and not yet known decided; ``sent_at`` is when it last left."""

    value: Value
    sent_at: float


class Proposer:
    """One node's attempts to lead.

    Args:
        me: This node, as a voter (or not: a proposer need not be an acceptor).
        configurations: Who votes on which slot, and alpha.
        issued: The highest ballot this node ever issued, from its records.
        limits: Bounds.
        timing: Durations.
    """

    def __init__(
        self,
        me: Voter,
        configurations: Configurations,
        issued: Ballot,
        limits: Limits,
        timing: Timing,
    ) -> None:
        self._me = me
        self._configurations = configurations
        self._issued = issued
        self._limits = limits
        self._timing = timing
        self._phase = Phase.IDLE
        self._ballot = BALLOT_ZERO
        # Phase 1.
        self._issuing = False  # whether the last ballot issued is still on its way to disk
        self._after: Slot = 0  # the Prepare asks about the slots above
        self._prepared_at = 0.0  # when the Prepare last left
        self._parts: dict[Voter, dict[Slot, Promise]] = {}  # incomplete answers, by ``above``
        self._promised: set[Voter] = set()
        self._reports: dict[Slot, Report] = {}  # the strongest per slot not yet proposed
        self._highest_reported: Slot = 0
        # Phase 2.
        self._next_slot: Slot = 0
        self._in_flight: dict[Slot, InFlight] = {}  # in slot order
        self._unwritten: Slot = 0  # my own last proposal, until my own acceptor has it durable
        self._required: Slot = 0  # what a linearizable read must at least see
        self._told_through: Slot = 0  # the watermark that last left
        self._notice_at = math.inf
        self._clock = StampClock()
        # Submissions that wait for a slot, by client, and whose turns they are, by arrival. Those
        # of a client that is gone stay until they come: to drop what it has is no walk over all.
        self._pending: dict[ClientId, deque[bytes]] = {}
        self._turns: deque[ClientId] = deque()
        self._pending_bytes = 0

    @property
    def ballot(self) -> Ballot:
        """The ballot this node campaigns or leads with; meaningless while idle."""
        return self._ballot

    @property
    def issued(self) -> Ballot:
        """The highest ballot this node ever issued. Never decreases."""
        return self._issued

    @property
    def phase(self) -> Phase:
        """Idle, preparing or leading."""
        return self._phase

    @property
    def leading(self) -> bool:
        """Whether phase 1 is complete and nothing higher was seen."""
        return self._phase is Phase.LEADING

    @property
    def issuing(self) -> bool:
        """Whether the last ballot's record is not durable yet: a slow disk, so no further one."""
        return self._issuing

    @property
    def promised(self) -> Set[Voter]:
        """Who has completely promised the present ballot."""
        return self._promised

    @property
    def pending_bytes(self) -> int:
        """Bytes of submissions that have no slot yet."""
        return self._pending_bytes

    @property
    def in_flight(self) -> Mapping[Slot, InFlight]:
        """What is proposed and undecided, by slot."""
        return self._in_flight

    @property
    def has_work(self) -> bool:
        """Whether a command or a slot waits to be decided."""
        return self.leading and bool(
            self._in_flight or self._pending or self._next_slot <= self._highest_reported
        )

    @property
    def required(self) -> Slot:
        """The slot a linearizable read must see because of what phase 1 reported."""
        return self._required

    def is_outbid_by(self, ballot: Ballot) -> bool:
        """Whether ``ballot`` is above the one this node campaigns or leads with."""
        return self._phase is not Phase.IDLE and ballot > self._ballot

    # --- phase 1 ---

    def campaign(
        self, above: Ballot, decided_through: Slot, ahead: Mapping[Slot, Value], now: Instant
    ) -> list[Effect]:
        """Issue a ballot above ``above`` and everything issued before, and prepare it.

        ``ahead`` is what this node knows decided above a hole: never to be proposed again. The
        Prepare leaves only once the ballot is durably recorded as issued: a ballot that is
        used again after a crash would gather promises for two different proposals.
        """
        self.stop()
        self._issued = max(self._issued, above).next_for(self._me.node)
        self._ballot = self._issued
        self._phase = Phase.PREPARING
        self._after = decided_through
        self._clock.clear()
        self._issuing = True
        for slot, value in ahead.items():
            self._merge(Report(slot, None, value))
        sends = self._prepares(now)
        if self._me not in self._voters():
            # This node has no vote, but must hear that its ballot is durable.
            sends = (*sends, Send(self._me.node, Prepare(self._ballot, self._after)))
        return [Persist((IssuedRecord(self._ballot),), sends)]

    def handle_own_prepare(self, prepare: Prepare) -> None:
        """Note that a ballot is durable as issued: its Prepares have left."""
        if prepare.ballot == self._issued:
            self._issuing = False

    def handle_promise(
        self, sender: Voter, promise: Promise, decided_through: Slot, now: Instant
    ) -> list[Report]:
        """Take one part of an acceptor's answer.

        Returns:
            What the now complete answer marks decided; empty while it is not complete.
        """
        if self._phase is Phase.IDLE or promise.ballot != self._ballot:
            return []
        if sender in self._promised or promise.compacted_through > decided_through:
            # What it has forgotten must be caught up first; it will be asked again.
            return []
        reports = self._complete(sender, promise)
        if reports is None:
            return []
        self._promised.add(sender)
        self._clock.read(sender, promise.clock, now)
        for report in reports:
            self._merge(report)
        return [report for report in reports if report.ballot is None]

    def start_leading(self, decided_through: Slot) -> bool:
        """Lead if phase 1 is complete for every live configuration.

        Returns:
            Whether leading began now.
        """
        if self._phase is not Phase.PREPARING:
            return False
        live = self._configurations.live(decided_through)
        if not all(c.quorums.is_phase1(self._promised) for c in live):
            return False
        self._phase = Phase.LEADING
        self._next_slot = decided_through + 1
        self._reports = {s: r for s, r in self._reports.items() if s > decided_through}
        self._required = max(self._highest_reported, decided_through)
        self._told_through = 0
        return True

    def stop(self) -> None:
        """Send nothing more at the present ballot, ever."""
        self._phase = Phase.IDLE
        self._parts.clear()
        self._promised = set()
        self._reports.clear()
        self._highest_reported = 0
        self._next_slot = 0
        self._in_flight.clear()
        self._unwritten = 0
        self._notice_at = math.inf
        self._pending.clear()
        self._turns.clear()
        self._pending_bytes = 0

    # --- phase 2 ---

    def submit(self, client: ClientId, submission: bytes) -> bool:
        """Let a client's submission wait for the next batch.

        Returns:
            False if too much waits already: the client must ask later.
        """
        total = self._pending_bytes + len(submission)
        if self._pending and total > self._limits.pending_bytes_max:
            return False  # one that is larger than the bound by itself would never be taken
        waiting = self._pending.get(client)
        if waiting is None:
            waiting = self._pending[client] = deque()
        waiting.append(submission)
        self._turns.append(client)
        self._pending_bytes = total
        return True

    def forget(self, client: ClientId) -> None:
        """A client is gone: what of it has no slot yet gets none.

        It asks again at the node it turns to, and for both attempts to take up slots would make a
        cluster slower that is too slow for its clients already.
        """
        self._pending_bytes -= sum(map(len, self._pending.pop(client, ())))
        if not self._pending:
            self._turns.clear()

    def propose(self, decided_through: Slot, latest_stamp: int, now: Instant) -> list[Accept]:
        """Give values to slots, as far as the window and the promises allow.

        Reported slots come first, with the value that may be chosen there; holes below a reported
        slot become no-ops; then waiting submissions, in batches that form by themselves: a new one
        is made only when this node's own write of the one before is durable, from all that arrived
        meanwhile.
        """
        accepts: list[Accept] = []
        if self._phase is not Phase.LEADING:
            return accepts
        if self._next_slot <= decided_through:
            self._next_slot = decided_through + 1
        window_end = decided_through + self._configurations.alpha
        while self._next_slot <= window_end:
            slot = self._next_slot
            report = self._reports.pop(slot, None)
            if report is not None and report.ballot is None:
                self._next_slot += 1  # decided already: nothing to propose
                continue
            reported = report is not None or slot < self._highest_reported
            if not reported and (not self._pending or self._unwritten):
                break
            configuration = self._configurations.at(slot)
            ensure(
                configuration.quorums.is_phase1(self._promised),
                f"leading {self._ballot} without a phase-1 quorum for slot {slot}",
            )
            if report is not None:
                value = report.value
            elif reported:
                value = NOOP
            else:
                voters = len(configuration.quorums.voters)
                value = self._batch(self._clock.stamp(voters, latest_stamp, now))
                if self._me in configuration.quorums.voters:
                    self._unwritten = slot
            self._next_slot += 1
            self._in_flight[slot] = InFlight(value, now.monotonic)
            accepts.append(Accept(self._ballot, slot, value, decided_through))
            self._told_through = decided_through
            self._notice_at = math.inf
        return accepts

    def written(self, ballot: Ballot, slot: Slot) -> None:
        """Note that this node's own acceptor has ``slot`` durable: the next batch may form."""
        if ballot == self._ballot and slot >= self._unwritten:
            self._unwritten = 0

    def handle_decided(self, slot: Slot, value: Value) -> bool:
        """Note a decision, wherever it came from.

        Returns:
            False if it differs from what was proposed here at the present ballot. Then some higher
            ballot decided it, and this one must stop.
        """
        if self._phase is Phase.IDLE:
            return True
        flight = self._in_flight.pop(slot, None)
        if flight is not None:
            return flight.value == value
        self._merge(Report(slot, None, value))
        return True

    def owe_notice(self, decided_through: Slot, now: Instant) -> None:
        """Followers must hear of ``decided_through`` soon, if nothing that carries it leaves."""
        if self._told_through < decided_through and self._notice_at == math.inf:
            self._notice_at = now.monotonic + self._timing.notice_interval_s

    def told(self, decided_through: Slot) -> None:
        """Heartbeats with this watermark have left."""
        self._told_through = decided_through
        self._notice_at = math.inf

    def read_clock(self, sender: Voter, answer: HeartbeatAnswer, now: Instant) -> None:
        """Take the wall clock of a voter that answered while it holds the present ballot."""
        if self._phase is Phase.LEADING and answer.promised == self._ballot:
            self._clock.read(sender, answer.clock, now)

    # --- repair and time ---

    def next_deadline(self) -> float:
        """When ``resend`` or a notice is due, in monotonic seconds."""
        if self._phase is Phase.PREPARING:
            repeat_at = self._prepared_at + self._timing.resend_interval_s
            return math.inf if self._issuing else repeat_at
        if not self._in_flight:
            return self._notice_at
        oldest = min(flight.sent_at for flight in self._in_flight.values())
        return min(self._notice_at, oldest + self._timing.resend_interval_s)

    def notice_due(self, now: Instant) -> bool:
        """Whether followers wait too long for the watermark."""
        return now.monotonic >= self._notice_at

    def resend(
        self, votes: Mapping[Slot, Set[Voter]], decided_through: Slot, now: Instant
    ) -> list[Effect]:
        """Send again what has had no answer for an interval: outboxes and links may drop.

        Args:
            votes: Who has accepted what is in flight.
            decided_through: The watermark to send along.
            now: The node's clocks.
        """
        # Computed as in ``next_deadline``, so that rounding cannot make the two disagree for ever.
        interval = self._timing.resend_interval_s
        if self._phase is Phase.PREPARING and not self._issuing:
            due = now.monotonic >= self._prepared_at + interval
            return [Persist((), self._prepares(now))] if due else []
        sends: list[Effect] = []
        for slot, flight in self._in_flight.items():
            if now.monotonic >= flight.sent_at + interval:
                flight.sent_at = now.monotonic
                accept = Accept(self._ballot, slot, flight.value, decided_through)
                missing = (v for v in self._configurations.at(slot).voters if v not in votes[slot])
                sends.extend(Send(voter.node, accept) for voter in missing)
        return sends

    def resend_to(
        self, peer: Voter, votes: Mapping[Slot, Set[Voter]], decided_through: Slot
    ) -> list[Effect]:
        """Send again to one voter, on a new connection, whatever it has not answered."""
        sends: list[Effect] = []
        missing = peer in self._voters() and peer not in self._promised
        if self._phase is Phase.PREPARING and missing and not self._issuing:
            prepare = Send(peer.node, Prepare(self._ballot, self._after))
            sends.append(Persist((), (prepare,)))
        for slot, flight in self._in_flight.items():
            if peer in self._configurations.at(slot).quorums.voters and peer not in votes[slot]:
                accept = Accept(self._ballot, slot, flight.value, decided_through)
                sends.append(Send(peer.node, accept))
        return sends

    def _voters(self) -> list[Voter]:
        live = self._configurations.live(self._after)
        return sorted({voter for configuration in live for voter in configuration.voters})

    def _prepares(self, now: Instant) -> tuple[Send, ...]:
        self._prepared_at = now.monotonic
        prepare = Prepare(self._ballot, self._after)
        return tuple(
            Send(voter.node, prepare) for voter in self._voters() if voter not in self._promised
        )

    def _complete(self, sender: Voter, promise: Promise) -> list[Report] | None:
        """Collect parts of an answer; return all its reports once they cover what was asked."""
        parts = self._parts.setdefault(sender, {})
        parts[promise.above] = promise
        reports: list[Report] = []
        above: Slot | None = self._after
        while above is not None:
            part = parts.get(above)
            if part is None:
                return None
            reports.extend(part.reports)
            above = part.through
        del self._parts[sender]
        return reports

    def _merge(self, report: Report) -> None:
        """Keep the strongest report per slot: decided before all, then the highest ballot."""
        slot = report.slot
        self._highest_reported = max(self._highest_reported, slot)
        if slot < self._next_slot:
            return  # already proposed at this ballot: one value per (ballot, slot), ever
        known = self._reports.get(slot)
        if known is None or outweighs(report.ballot, known.ballot):
            self._reports[slot] = report

    def _batch(self, stamp: int) -> Value:
        pending, turns = self._pending, self._turns
        taken: list[bytes] = []
        room = self._limits.batch_bytes_max
        while pending:
            client = turns[0]
            waiting = pending.get(client)
            if waiting is not None:
                room -= len(waiting[0])
                if taken and room < 0:
                    break
                self._pending_bytes -= len(waiting[0])
                taken.append(waiting.popleft())
                if not waiting:
                    del pending[client]
            turns.popleft()
        return Value(stamp, b"".join(taken))


def outweighs(ballot: Ballot | None, known: Ballot | None) -> bool:
    """Whether a report at ``ballot`` beats one at ``known``; None marks a decided value."""
    return known is not None and (ballot is None or ballot > known)
