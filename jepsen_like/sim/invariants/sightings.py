"""Marks of what passes between a node and its peers and clients, which no checker asks about."""

from __future__ import annotations

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.marks import Marks
from paxos.core.effects import Reply
from paxos.core.events import Event, ReadsRequested, Received, Submitted
from paxos.core.ids import Voter
from paxos.core.messages import (
    Accepted,
    Decided,
    HeartbeatAnswer,
    Level,
    Nack,
    Overloaded,
    ReadAnswer,
    Redirect,
    Results,
    Status,
)
from paxos.core.replica import Replica

_EXPIRED, _REFUSED = Status.EXPIRED.value, Status.REFUSED.value


class Sightings:
    """Sees messages come and answers go.

    Args:
        marks: Takes note of what is rare.
    """

    def __init__(self, marks: Marks) -> None:
        self._hit = marks.hit

    # --- from peers, before they are handled ---

    def accepted_arrives(
        self, facts: NodeFacts, sender: Voter, message: Accepted, replica: Replica
    ) -> None:
        """A vote for a value arrives at its proposer."""
        votes = replica.learner.votes.get(message.slot)
        if votes is not None and sender in votes and message.ballot == replica.proposer.ballot:
            self._hit("vote counted twice")

    def decided_arrives(
        self, facts: NodeFacts, sender: Voter, message: Decided, replica: Replica
    ) -> None:
        """Decided values arrive at a node that may lack them."""
        last = message.first + len(message.values) - 1
        if message.first <= replica.learner.decided_through + 1 <= last:
            self._hit("caught up by decided values")

    def answer_arrives(
        self, facts: NodeFacts, sender: Voter, message: HeartbeatAnswer, replica: Replica
    ) -> None:
        """A heartbeat's answer arrives; where a campaign is due, it is a pre-vote."""
        if replica.elector.waiting and message.leader.node not in (0, facts.voter.node):
            self._hit("pre-vote refused")

    # --- to peers ---

    def nack_leaves(self, message: Nack, led: bool) -> None:
        """A refusal leaves; ``led`` says whether either of its ballots ever proposed anything."""
        if not led:
            self._hit("campaigns duelled")

    # --- to clients ---

    def results_leave(self, facts: NodeFacts, event: Event, reply: Reply, message: Results) -> None:
        """Results leave for a client."""
        for _, status, slot, _ in message.results:
            if status == _EXPIRED:
                self._hit("session was evicted")
            elif status == _REFUSED:
                self._hit("too many requests open")
            elif slot <= facts.applied_through:
                self._hit("retry answered from the session table")

    def overload_leaves(
        self, facts: NodeFacts, event: Event, reply: Reply, message: Overloaded
    ) -> None:
        """A submission is refused."""
        self._hit("submission was overloaded")

    def redirect_leaves(
        self, facts: NodeFacts, event: Event, reply: Reply, message: Redirect
    ) -> None:
        """A client is sent elsewhere: what it waits for here at the highest level is lost."""
        reads = facts.reads.get(reply.client)
        if not reads or type(event) is Submitted:
            return
        lost = [n for n, read in reads.items() if read.level is Level.LINEARIZABLE]
        for number in lost:
            del reads[number]
        if lost and type(event) is not ReadsRequested:
            self._hit("barrier round was lost")

    def read_answered(
        self, facts: NodeFacts, event: Event, reply: Reply, message: ReadAnswer
    ) -> None:
        """A read or watch is answered."""
        facts.watches.get(reply.client, {}).pop(message.number, None)
        read = facts.reads.get(reply.client, {}).pop(message.number, None)
        if read is None or type(event) is ReadsRequested:
            return
        confirmed = type(event) is Received and type(event.message) is HeartbeatAnswer
        if read.level is not Level.LINEARIZABLE or not confirmed:
            self._hit("read waited for its slot")
