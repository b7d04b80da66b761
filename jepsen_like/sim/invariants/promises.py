"""Invariant 2: promises and issued rounds never decrease, restarts included."""

from __future__ import annotations

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.violation import require
from paxos.core.ballot import Ballot
from paxos.core.records import AcceptedRecord, IssuedRecord, PromisedRecord
from paxos.core.replica import Replica


class Promises:
    """Compares what a node asks to have written, and what it holds, with what it wrote before."""

    @staticmethod
    def accepts(facts: NodeFacts, record: AcceptedRecord) -> None:
        """A node asks for an acceptance to be written."""
        ballot = record.ballot
        if ballot is not facts.promised:
            text = "{} accepts at {} below its promise {}"
            require(ballot >= facts.promised, 2, text, facts.voter, ballot, facts.promised)
            facts.promised = ballot

    @staticmethod
    def promises(facts: NodeFacts, record: PromisedRecord, _: Replica) -> None:
        """A node asks for a promise to be written."""
        ballot = record.ballot
        text = "{} promises {} below its promise {}"
        require(ballot >= facts.promised, 2, text, facts.voter, ballot, facts.promised)
        facts.promised = ballot

    @staticmethod
    def issues(facts: NodeFacts, record: IssuedRecord, _: Replica) -> None:
        """A node asks for a ballot to be written as issued."""
        floor = max(facts.issued, facts.durable_promised)
        text = "{} issues {} at or below {}, which it issued or promised"
        require(record.ballot > floor, 2, text, facts.voter, record.ballot, floor)

    @staticmethod
    def started(facts: NodeFacts, replica: Replica) -> None:
        """A node has recovered from its log."""
        text = "{} recovered the promise {} but had durably promised {}"
        found, promised = replica.acceptor.promised, facts.durable_promised
        require(found >= promised, 2, text, facts.voter, found, promised)
        text = "{} recovered {} as the last ballot it issued but had durably issued {}"
        found, issued = replica.proposer.issued, facts.issued
        require(found >= issued, 2, text, facts.voter, found, issued)
        facts.promised = promised

    @staticmethod
    def holds(facts: NodeFacts, found: Ballot) -> None:
        """A node's acceptor holds nothing above or below what it asked to have written."""
        text = "{} holds the promise {} but wrote {}"
        require(found == facts.promised, 2, text, facts.voter, found, facts.promised)
