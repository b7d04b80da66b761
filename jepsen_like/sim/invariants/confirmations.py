"""Invariant 11 for linearizable reads, at the node that answers: who confirmed its lead, and when.

Histories show a stale read only if somebody's write ended at the wrong moment. Here it shows in
every run: a phase-2 quorum must have answered heartbeats after the read came, none of which had
promised a higher ballot, and the answer must reflect whatever any node had run by then. It knows
when messages left and arrived, and nothing of the rounds that a node believes in.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from paxos.core.ids import ClientId, NodeId, Slot, Voter
from paxos.core.messages import HeartbeatAnswer, Read, ReadAnswer, Status
from paxos.core.replica import Replica

_DONE = Status.DONE.value


class Confirmations:
    """What every voter confirmed, in the order in which its answers left.

    Args:
        timeline: Who votes.
        facts: What is known of each node.
    """

    def __init__(self, timeline: Timeline, facts: Mapping[int, NodeFacts]) -> None:
        self._timeline = timeline
        self._facts = facts
        self._step = 0  # counts answers that left
        self._left: dict[tuple[NodeId, int], int] = {}  # when a voter first answered a number
        self._heard: dict[NodeId, dict[Voter, int]] = {}  # by node: when what it heard had left
        self._came: dict[tuple[NodeId, ClientId, int], tuple[int, Slot]] = {}

    def started(self, facts: NodeFacts) -> None:
        """A node begins a life in which it has heard nothing."""
        self._heard[facts.voter.node] = {}

    def read_comes(self, facts: NodeFacts, client: ClientId, read: Read) -> None:
        """A linearizable read arrives."""
        applied = max(each.applied_through for each in self._facts.values())
        self._came.setdefault((facts.voter.node, client, read.number), (self._step, applied))

    def answer_leaves(self, facts: NodeFacts, answer: HeartbeatAnswer, _: Replica) -> None:
        """A voter answers a heartbeat. A number that it answered before tells nothing new."""
        self._step += 1
        self._left.setdefault((facts.voter.node, answer.number), self._step)

    def answer_arrives(
        self, facts: NodeFacts, sender: Voter, answer: HeartbeatAnswer, replica: Replica
    ) -> None:
        """It arrives at the node whose heartbeat it was, which may lead."""
        if answer.promised > replica.proposer.ballot:
            return
        left = self._left.get((sender.node, answer.number), 0)
        heard = self._heard.setdefault(facts.voter.node, {})
        heard[sender] = max(left, heard.get(sender, 0))

    def read_answered(
        self, facts: NodeFacts, client: ClientId, read: Read, answer: ReadAnswer
    ) -> None:
        """A linearizable read is answered."""
        me = facts.voter
        came, applied = self._came.pop((me.node, client, read.number))
        if answer.status != _DONE:
            return
        heard = self._heard.get(me.node, {})
        confirmed = [me, *(voter for voter, left in heard.items() if left > came)]
        voters = frozenset(confirmed)
        text = "{} answers {}, and only {} confirmed its lead after the read came"
        for configuration in self._timeline.live(facts.knows_through):
            sound = configuration.quorums.is_phase2(voters)
            require(sound, 11, text, me, read, sorted(map(str, confirmed)))
        text = "{} answers {} as of slot {}, and slot {} had been run when the read came"
        require(answer.slot >= applied, 11, text, me, read, answer.slot, applied)
