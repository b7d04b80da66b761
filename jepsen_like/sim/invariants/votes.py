"""Invariants 7, 10 and 14: a vote leaves after its bytes are durable, and tells all it must."""

from __future__ import annotations

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.violation import require
from paxos.core.messages import Accepted, Prepare, Promise
from paxos.core.records import Record


class DurableVotes:
    """Compares each vote, and each ballot issued, with what its node's disk holds."""

    @staticmethod
    def durable(facts: NodeFacts, record: Record) -> None:
        """A record became durable: the first of those that were not, or the order is broken."""
        if not facts.unwritten:
            require(False, 7, "{} has durable, and never asked for: {}", facts.voter, record)
        first = facts.unwritten.popleft()
        if first is not record:
            text = "{} has durable: {}; and not, though it was asked for before: {}"
            require(first == record, 7, text, facts.voter, record, first)

    @staticmethod
    def accepted_leaves(facts: NodeFacts, message: Accepted) -> None:
        """A vote for a value leaves."""
        if facts.failed or facts.condemned:
            refuse(facts, message)
        if (message.ballot, message.slot) not in facts.durable_votes:
            unbacked(facts, message)

    @staticmethod
    def prepare_leaves(facts: NodeFacts, message: Prepare) -> None:
        """A ballot is used."""
        if facts.failed or facts.condemned:
            refuse(facts, message)
        if message.ballot not in facts.durable_issued:
            unbacked(facts, message)

    @staticmethod
    def promise_leaves(facts: NodeFacts, promise: Promise) -> None:
        """A vote for a ballot leaves. One without a value may hide its only trace."""
        if facts.failed or facts.condemned:
            refuse(facts, promise)
        if promise.ballot > facts.durable_promised:
            unbacked(facts, promise)
        through = facts.highest if promise.through is None else promise.through
        above = max(promise.above, promise.compacted_through)
        if above >= through:
            return
        reported = {report.slot: report for report in promise.reports}
        for slot in facts.doubt:
            if above < slot <= through and slot not in reported:
                text = "{} promises {} and says nothing of slot {}, of which damage took the value"
                said = any(first <= slot <= last for first, last in promise.unknown)
                require(said, 10, text, facts.voter, promise.ballot, slot)
        for slot in range(above + 1, through + 1):
            ballot, value = facts.held.get(slot, (promise.ballot, None))
            if ballot >= promise.ballot or value is None:
                continue  # accepted since, or nothing there
            report = reported.get(slot)
            if report is None and any(a <= slot <= b for a, b in promise.unknown):
                continue  # it says that it cannot say
            text = "{} promises {} and says nothing of slot {}, where it accepted {} at {}"
            require(report is not None, 10, text, facts.voter, promise.ballot, slot, value, ballot)
            if report is not None and report.ballot is not None:
                text = "{} promises {} and reports slot {} as {}, where it accepted {} at {}"
                same = report.ballot == ballot and report.value == value
                require(same, 10, text, facts.voter, promise.ballot, slot, report, value, ballot)


def unbacked(facts: NodeFacts, message: object) -> None:
    """Say that a vote leaves too early."""
    require(False, 7, "{} lets {} leave, which nothing durable backs", facts.voter, message)


def refuse(facts: NodeFacts, message: object) -> None:
    """Say that a process goes on which must not."""
    why = "a failed sync" if facts.failed else "damage that may hide a promise"
    require(False, 14, "{} sends {} after {}", facts.voter, message, why)
