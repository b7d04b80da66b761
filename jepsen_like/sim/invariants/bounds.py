"""Invariant 16: everything that a node holds for others is within its named bound.

Looked at where it can have grown, which is after a few kinds of event, and with every deadline.
Reads and watches that wait are counted here, from what came and what was answered.
"""

from __future__ import annotations

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.violation import require
from paxos.core.limits import Limits
from paxos.core.replica import Replica


class Bounds:
    """Compares what nodes hold with the bounds they were given.

    Args:
        limits: Those bounds.
        alpha: The slots that may be in flight.
    """

    def __init__(self, limits: Limits, alpha: int) -> None:
        self._limits = limits
        self._alpha = alpha

    def everything(self, facts: NodeFacts, replica: Replica) -> None:
        """Look at all of it."""
        self.submissions(facts, replica)
        self.slots(facts, replica)
        self.waiting(facts, replica)

    def submissions(self, facts: NodeFacts, replica: Replica) -> None:
        """Commands that have no slot yet, and sessions."""
        # One submission that is larger than the bound by itself is taken when nothing else waits.
        held = replica.proposer.pending_bytes
        bound = max(self._limits.pending_bytes_max, facts.submission_bytes)
        within(facts, "bytes of submissions without a slot", held, bound)
        within(facts, "sessions", replica.executor.sessions, self._limits.sessions_max)

    def slots(self, facts: NodeFacts, replica: Replica) -> None:
        """Slots proposed and undecided."""
        within(facts, "slots in flight", len(replica.proposer.in_flight), self._alpha)
        within(facts, "slots whose votes are counted", len(replica.learner.votes), self._alpha)

    def waiting(self, facts: NodeFacts, _: Replica) -> None:
        """Reads and watches, each per client connection."""
        for reads in facts.reads.values():
            within(facts, "waiting reads of one client", len(reads), self._limits.reads_max)
        for watches in facts.watches.values():
            within(facts, "waiting watches of one client", len(watches), self._limits.watches_max)


def within(facts: NodeFacts, what: str, count: int, bound: int) -> None:
    """Invariant 16, for one kind of thing."""
    if count > bound:
        text = "{} holds {} {}, and at most {} are allowed"
        require(False, 16, text, facts.voter, count, what, bound)
