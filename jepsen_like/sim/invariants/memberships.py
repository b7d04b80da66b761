"""Invariant 10 over changes: "done" means that whoever was removed may be wiped this moment.

When an administrator is told that a change is done, every slot that the old configuration governs
is durable, as decided, on a phase-2 quorum of full voters of the new one. It counts disks itself. A
disk that was lost since its voter answered for it counts: that is a fault, like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.events import AdminRequested
from paxos.core.ids import ClientId, NodeId, Slot, Voter
from paxos.core.messages import AdminAnswer, Reconfigure, Settled, Status, TakeOver
from paxos.core.replica import Replica


class Memberships:
    """Follows what administrators ask and are told.

    Args:
        timeline: Which configuration governs which slot.
        ledger: What is chosen.
        facts: What is known of each node.
        marks: Takes note of rare states.
    """

    def __init__(
        self, timeline: Timeline, ledger: Ledger, facts: Mapping[int, NodeFacts], marks: Marks
    ) -> None:
        self._timeline = timeline
        self._ledger = ledger
        self._facts = facts
        self._marks = marks
        self._asked: dict[tuple[Voter, int, ClientId, int], Configuration] = {}
        self._settled: dict[Voter, Slot] = {}  # through where each has answered for its disk

    def asked(self, facts: NodeFacts, event: AdminRequested, _: Replica) -> None:
        """An administrator's request comes to a node."""
        request = event.request
        if isinstance(request, Reconfigure):
            key = (facts.voter, facts.life, event.client, request.number)
            self._asked[key] = request.configuration

    def settled_leaves(self, facts: NodeFacts, message: Settled, _: Replica) -> None:
        """A voter says that every slot through one is durable there as decided."""
        text = "{} leaves n{}, which does not hold all of that durably"
        sound = facts.decided_durably(message.through)
        require(sound, 7, text, message, facts.voter.node)
        before = self._settled.get(facts.voter, 0)
        self._settled[facts.voter] = max(before, message.through)

    def answered(self, facts: NodeFacts, client: ClientId, answer: AdminAnswer) -> None:
        """It is answered."""
        key = (facts.voter, facts.life, client, answer.number)
        configuration = self._asked.pop(key, None)
        if configuration is None:
            return
        if answer.status != Status.DONE:
            self._marks.hit("change was refused")
            return
        self._require_settled(facts, configuration)
        if facts.voter not in configuration.full_voters:
            self._marks.hit("removed leader finished its own removal")

    def _require_settled(self, facts: NodeFacts, configuration: Configuration) -> None:
        first = self._timeline.first_of(configuration)
        text = "{} says that the change to version {} is done, which was never chosen"
        require(first is not None, 10, text, facts.voter, configuration.version)
        before = (first or 1) - 1
        text = "{} says that the change to version {} is done; slots are chosen only through {}"
        through = self._ledger.chosen_through
        require(through >= before, 10, text, facts.voter, configuration.version, through)
        voters = sorted(configuration.full_voters)
        settled = [voter for voter in voters if self._has_held(voter, before)]
        text = (
            "{} says that the change to version {} is done, and slots through {} are durable as"
            " decided only on {}"
        )
        enough = configuration.quorums.is_phase2(frozenset(settled))
        names = [str(voter) for voter in settled]
        require(enough, 10, text, facts.voter, configuration.version, before, names)

    def _has_held(self, voter: Voter, through: Slot) -> bool:
        """Whether a voter's disk says, or said, that every slot through one is decided."""
        if self._settled.get(voter, 0) >= through:
            return True
        known = self._facts.get(voter.node)
        return known is not None and known.voter == voter and known.decided_durably(through)

    # --- leaders ---

    def takes_over(
        self, facts: NodeFacts, sender: Voter, message: TakeOver, replica: Replica
    ) -> None:
        """A node is told to lead in its sender's place."""
        configuration = self._timeline.at(replica.learner.decided_through + 1)
        latest = self._timeline.latest
        if sender not in latest.full_voters or sender not in configuration.full_voters:
            self._marks.hit("removed leader handed over")
        else:
            self._marks.hit("leader handed over")

    def leads(self, ballot: Ballot, founders: frozenset[NodeId]) -> None:
        """A ballot begins to lead."""
        if ballot.node not in founders:
            self._marks.hit("joined node became the leader")
