"""The proposer: wins ballots with phase 1, and gives values to slots with phase 2.

It owns the ballots this node issues, the reports of phase 1, the submissions that wait for a slot
and what is in flight. It counts phase-1 quorums (here and nowhere else, as sets of voters). It
guards invariants 3 (a ballot is issued once; one value per ballot and slot), 4 (a value that may
be chosen is proposed again) and 8 for phase 1. It never counts Accepted votes and never knows what
a submission says. A slot is proposed only with promises from a phase-1 quorum of the configuration
that governs it, counted at that moment: a change of membership, and damage at a voter, make that a
question of the slot.

Paxos Made Simple, sections 2.2 and 3; docs/protocol.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import Enum

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Configurations
from paxos.core.effects import Effect, Persist, Send
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
        self._prepared_at = 0.0  # when the Prepare last left
        self._parts: dict[Voter, dict[Slot, Promise]] = {}  # incomplete answers, by ``above``
        self._promised: set[Voter] = set()
        # Inclusive ranges of slots for which a promise does not count: damage hides what was there.
        self._unknown: dict[Voter, tuple[tuple[Slot, Slot], ...]] = {}
        self._compacted_through: Slot = 0  # the highest reported: to be caught up, never proposed
        self._lacking = False  # promises are missing for what is live, sought, or next to propose
        self._sought: Configuration | None = None  # to be proposed once its voters have promised
        self._reports: dict[Slot, Report] = {}  # the strongest per slot not yet proposed
        self._highest_reported: Slot = 0
        # Phase 2.
        self._next_slot: Slot = 0
        self._in_flight: dict[Slot, InFlight] = {}  # in slot order
        self._unwritten: Slot = 0  # my own last proposal, until my own acceptor has it durable
        self._told_through: Slot = 0  # the watermark that last left
        self._notice_at = math.inf
        self._clock = StampClock()
        # Submissions that wait for a slot, by client, and whose turns they are, by arrival. Those
        # of a client that is gone stay until they come: to drop what it has is no walk over all.
        self._pending: dict[ClientId, deque[bytes]] = {}
        self._turns: deque[ClientId] = deque()
        self._pending_bytes = 0
        self._change: Change | None = None  # takes the next free slot

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
            self._in_flight
            or self._pending
            or self._next_slot <= max(self._highest_reported, self._push_through)
        )

    @property
    def is_changing(self) -> bool:
        """Whether a change of the configuration is in flight, or reported and to be proposed."""
        values = (
            *(flight.value for flight in self._in_flight.values()),
            *(report.value for report in self._reports.values()),
        )
        return any(value.change is not None for value in values)

    def may_read(self, decided_through: Slot) -> bool:
        """Whether nothing that an earlier ballot chose can be missing here.

        That takes promises from a phase-1 quorum of *every* live configuration, one that became
        live only after leading began too; that those can tell what they accepted; and that all they
        reported, or have forgotten since it was decided, is decided here.
        """
        reported = decided_through >= max(self._highest_reported, self._compacted_through)
        return reported and self._has_promises(decided_through) and self._can_tell(decided_through)

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
        self._clock.clear()
        self._issuing = self._lacking = True
        for slot, value in ahead.items():
            self._merge(Report(slot, None, value))
        sends = self._prepares(decided_through, now)
        if self._me not in self._voters(decided_through):
            # This node has no vote, but must hear that its ballot is durable.
            sends = (*sends, Send(self._me.node, Prepare(self._ballot, decided_through)))
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
        if sender in self._promised:
            return []
        parts = self._complete(sender, promise, decided_through)
        if parts is None:
            return []
        self._promised.add(sender)
        self._clock.read(sender, promise.clock, now)
        self.note_compacted(max(part.compacted_through for part in parts))
        unknown = tuple(dict.fromkeys(each for part in parts for each in part.unknown))
        if unknown:
            self._unknown[sender] = unknown
        reports = [report for part in parts for report in part.reports]
        for report in reports:
            self._merge(report)
        self._lacking = self._lacks(decided_through)
        return [report for report in reports if report.ballot is None]

    def note_compacted(self, through: Slot) -> None:
        """An acceptor has forgotten slots through ``through``: they are decided, never empty."""
        self._compacted_through = max(self._compacted_through, through)

    def is_catching_up(self, decided_through: Slot) -> bool:
        """Whether the ballot is won, and leading waits for slots that acceptors have forgotten."""
        return (
            self._phase is Phase.PREPARING
            and decided_through < self._compacted_through
            and self._has_promises(decided_through)
        )

    def seek(self, configuration: Configuration | None, decided_through: Slot) -> bool:
        """Gather promises of the voters of ``configuration`` too, which is to be proposed.

        Returns:
            Whether they form a phase-1 quorum of it.
        """
        self._sought = configuration
        if configuration is None:
            return False
        self._lacking = self._lacks(decided_through)
        return configuration.quorums.is_phase1(self._promised)

    def reach_out(self, decided_through: Slot, now: Instant) -> list[Effect]:
        """Send Prepare to who has not promised: a configuration is new, live or sought."""
        if self._phase is Phase.IDLE or self._issuing:
            return []
        self._lacking = self._lacks(decided_through)
        return self._repeat_prepare(decided_through, now)

    def start_leading(self, decided_through: Slot) -> bool:
        """Lead if phase 1 is complete for every live configuration.

        Returns:
            Whether leading began now.
        """
        if self._phase is not Phase.PREPARING:
            return False
        if decided_through < self._compacted_through or not self._has_promises(decided_through):
            return False
        self._phase = Phase.LEADING
        self._lacking = False
        self._next_slot = decided_through + 1
        self._reports = {s: r for s, r in self._reports.items() if s > decided_through}
        self._told_through = 0
        return True

    def stop(self) -> None:
        """Send nothing more at the present ballot, ever."""
        self._phase = Phase.IDLE
        self._parts.clear()
        self._promised = set()
        self._unknown.clear()
        self._compacted_through = 0
        self._lacking = False
        self._sought = None
        self._change = None
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

    def submit_change(self, change: Change | None) -> None:
        """Let a change take the next free slot, by itself; None takes it back."""
        self._change = change

    def propose(self, decided_through: Slot, latest_stamp: int, now: Instant) -> list[Accept]:
        """Give values to slots, as far as the window and the promises allow.

        Reported slots come first, with the value that may be chosen there; holes below a reported
        slot become no-ops; then a waiting change; then waiting submissions, in batches that form by
        themselves: a new one is made only when this node's own write of the one before is durable,
        from all that arrived meanwhile. While the latest configuration does not govern yet, and
        nothing waits, no-ops bring the log to where it does.
        """
        accepts: list[Accept] = []
        if self._phase is not Phase.LEADING:
            return accepts
        if self._next_slot <= decided_through:
            self._next_slot = decided_through + 1
            self._reports = {s: r for s, r in self._reports.items() if s > decided_through}
        window_end = decided_through + self._configurations.alpha
        while self._next_slot <= window_end:
            slot = self._next_slot
            report = self._reports.get(slot)
            if report is not None and report.ballot is None:
                del self._reports[slot]
                self._next_slot += 1  # decided already: nothing to propose
                continue
            reported = report is not None or slot < self._highest_reported
            if not reported and not self._has_new(slot):
                break
            configuration = self._configurations.at(slot)
            counting = self._counting(slot)
            if slot <= self._compacted_through or not configuration.quorums.is_phase1(counting):
                self._lacking = True
                break
            if report is not None:
                value = self._reports.pop(slot).value
            elif reported:
                value = NOOP
            else:
                value = self._new_value(slot, configuration, latest_stamp, now)
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

    def handle_installed(self, through: Slot) -> bool:
        """Note that a snapshot was installed: everything at or below ``through`` is decided.

        Returns:
            False if something proposed there at the present ballot was not known decided. What it
            came to is not told, so this ballot must stop, as if it differed.
        """
        lost = [slot for slot in self._in_flight if slot <= through]
        for slot in lost:
            del self._in_flight[slot]
        return not lost

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
        interval = self._timing.resend_interval_s
        due = self._notice_at
        if self._lacking and not self._issuing:
            due = min(due, self._prepared_at + interval)
        if self._in_flight:
            oldest = min(flight.sent_at for flight in self._in_flight.values())
            due = min(due, oldest + interval)
        return due

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
        sends: list[Effect] = []
        due = now.monotonic >= self._prepared_at + interval
        if self._lacking and not self._issuing and due:
            sends.extend(self._repeat_prepare(decided_through, now))
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
        missing = peer in self._voters(decided_through) and peer not in self._promised
        if self._lacking and missing and not self._issuing:
            prepare = Send(peer.node, Prepare(self._ballot, decided_through))
            sends.append(Persist((), (prepare,)))
        for slot, flight in self._in_flight.items():
            if peer in self._configurations.at(slot).quorums.voters and peer not in votes[slot]:
                accept = Accept(self._ballot, slot, flight.value, decided_through)
                sends.append(Send(peer.node, accept))
        return sends

    @property
    def _push_through(self) -> Slot:
        """The last slot before the latest configuration governs."""
        return self._configurations.latest_first - 1

    def _voters(self, decided_through: Slot) -> list[Voter]:
        """Whose promises matter: the voters of what is live, and of what is sought."""
        wanted = self._configurations.live(decided_through)
        if self._sought is not None:
            wanted = (*wanted, self._sought)
        return sorted({voter for configuration in wanted for voter in configuration.voters})

    def _has_promises(self, decided_through: Slot) -> bool:
        """Whether phase 1 is complete for every live configuration."""
        live = self._configurations.live(decided_through)
        return all(configuration.quorums.is_phase1(self._promised) for configuration in live)

    def _lacks(self, decided_through: Slot) -> bool:
        """Whether promises are missing for what is live or sought."""
        sought = self._sought
        lacks = sought is not None and not sought.quorums.is_phase1(self._promised)
        has = self._has_promises(decided_through) and self._can_tell(decided_through)
        return lacks or not has

    def _can_tell(self, decided_through: Slot) -> bool:
        """Whether, damage aside, no slot of the window lacks a quorum that knows what it holds."""
        if not self._unknown:
            return True
        end = decided_through + self._configurations.alpha
        return all(
            self._configurations.at(slot).quorums.is_phase1(self._counting(slot))
            for slot in range(decided_through + 1, end + 1)
        )

    def _counting(self, slot: Slot) -> Set[Voter]:
        """Return who has promised and can tell what it accepted in ``slot``."""
        if not self._unknown:
            return self._promised
        return {
            voter
            for voter in self._promised
            if not any(first <= slot <= last for first, last in self._unknown.get(voter, ()))
        }

    def _prepares(self, decided_through: Slot, now: Instant) -> tuple[Send, ...]:
        self._prepared_at = now.monotonic
        prepare = Prepare(self._ballot, decided_through)
        voters = self._voters(decided_through)
        return tuple(Send(voter.node, prepare) for voter in voters if voter not in self._promised)

    def _repeat_prepare(self, decided_through: Slot, now: Instant) -> list[Effect]:
        if self._promised.issuperset(self._voters(decided_through)):
            self._prepared_at = now.monotonic
            return []
        return [Persist((), self._prepares(decided_through, now))]

    def _complete(
        self, sender: Voter, promise: Promise, decided_through: Slot
    ) -> list[Promise] | None:
        """Collect parts of an answer; return them once they cover all above ``decided_through``."""
        parts = self._parts.setdefault(sender, {})
        parts[promise.above] = promise
        used: list[Promise] = []
        covered: Slot | None = decided_through
        while covered is not None:
            part = next((each for each in parts.values() if goes_on(each, covered)), None)
            if part is None:
                return None
            used.append(part)
            covered = part.through
        del self._parts[sender]
        return used

    def _merge(self, report: Report) -> None:
        """Keep the strongest report per slot: decided before all, then the highest ballot."""
        slot = report.slot
        self._highest_reported = max(self._highest_reported, slot)
        if slot < self._next_slot:
            return  # already proposed at this ballot: one value per (ballot, slot), ever
        known = self._reports.get(slot)
        if known is None or outweighs(report.ballot, known.ballot):
            self._reports[slot] = report

    def _has_new(self, slot: Slot) -> bool:
        """Whether something new is to stand in ``slot``."""
        if self._pending:
            return not self._unwritten or self._change is not None
        return self._change is not None or slot < self._configurations.latest_first

    def _new_value(
        self, slot: Slot, configuration: Configuration, latest_stamp: int, now: Instant
    ) -> Value:
        """Make the value of a slot for which nothing was reported."""
        if self._change is not None:
            change, self._change = self._change, None
            return Value(None, b"", change)
        if not self._pending:
            return NOOP
        if self._me in configuration.quorums.voters:
            self._unwritten = slot
        return self._batch(self._clock.stamp(configuration.quorums.voters, latest_stamp, now))

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


def goes_on(part: Promise, covered: Slot) -> bool:
    """Whether a part of an answer covers the slots right above ``covered``."""
    return part.above <= covered and (part.through is None or part.through > covered)


def outweighs(ballot: Ballot | None, known: Ballot | None) -> bool:
    """Whether a report at ``ballot`` beats one at ``known``; None marks a decided value."""
    return known is not None and (ballot is None or ballot > known)
