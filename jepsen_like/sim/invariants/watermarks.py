"""Invariants 1, 5, 8 and 10: decided before applied, no gap below, and decided means chosen.

Over restarts too: what a disk held is there again. Whoever knows slots decided knows who governs
what follows them.
"""

from __future__ import annotations

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.machines import StateMachines
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.config import Configurations
from paxos.core.ids import Slot
from paxos.core.records import WatermarkRecord
from paxos.core.replica import Replica


class Watermarks:
    """Follows each node's two watermarks, and what makes slots decided on its disk.

    Args:
        timeline: Who governs which slot.
        ledger: What is chosen.
        machines: What was run.
        marks: Takes note of rare states.
    """

    def __init__(
        self, timeline: Timeline, ledger: Ledger, machines: StateMachines, marks: Marks
    ) -> None:
        self._timeline = timeline
        self._ledger = ledger
        self._machines = machines
        self._marks = marks

    def started(self, facts: NodeFacts, replica: Replica) -> None:
        """A node has recovered: every durable vote is still there."""
        facts.decided_through = facts.applied_through = 0
        decided, applied = replica.learner.decided_through, replica.executor.applied_through
        if decided:
            self.decided(facts, replica, decided)
        if applied:
            self.applied(facts, applied)
        acceptor = replica.acceptor
        text = "{} recovered {} in slot {}, where it had durably accepted {} at {}"
        let_go = max(facts.compacted_through, facts.snapshot_through)
        for slot, (ballot, value) in facts.held.items():
            if slot <= let_go:
                continue
            held = acceptor.held(slot)
            kept = held is not None and (
                held.decided or (held.ballot == ballot and held.value == value)
            )
            found = "nothing" if held is None else held.value
            require(kept, 10, text, facts.voter, found, slot, value, ballot)
        following = facts.decided_through + 1
        if acceptor.highest > following and acceptor.held(following) is None:
            self._marks.hit("recovered above a hole")

    def applied(self, facts: NodeFacts, applied: Slot) -> None:
        """A node has applied slots since it was last looked at."""
        before, decided = facts.applied_through, facts.decided_through
        if not before < applied <= decided:
            text = "{} had applied through {}, now through {}, and knows slots decided through {}"
            require(False, 5, text, facts.voter, before, applied, decided)
        self._machines.applied(facts, applied)
        facts.applied_through = applied

    def decided(self, facts: NodeFacts, replica: Replica, decided: Slot) -> None:
        """A node knows slots decided since it was last looked at."""
        text = "{} knew slots decided through {}, now only through {}"
        before = facts.decided_through
        require(decided > before, 5, text, facts.voter, before, decided)
        covered = max(facts.snapshot_through, facts.compacted_through)
        for slot in range(max(before, covered) + 1, decided + 1):
            held = replica.acceptor.held(slot)
            if held is None:
                require(False, 5, "{} holds nothing in decided slot {}", facts.voter, slot)
            else:
                self._ledger.marked(facts.voter.node, slot, held.value)
        facts.decided_through = decided
        if facts.configurations is not None:
            self._compare(facts, facts.configurations, decided)

    def _compare(self, facts: NodeFacts, believed: Configurations, decided: Slot) -> None:
        """Look at who governs, by this node: only where something may have changed."""
        latest = believed.latest
        if latest is not facts.believed or self._timeline.at(decided + believed.alpha) != latest:
            facts.believed = latest
            self._timeline.agrees(facts.voter, decided, believed)

    def durable(self, facts: NodeFacts, record: WatermarkRecord) -> None:
        """Recovery will believe a watermark for every slot accepted at its ballot."""
        for slot in list(facts.open):
            if slot > record.through:
                continue
            ballot, value = facts.held[slot]
            if ballot == record.ballot:
                self._ledger.marked(facts.voter.node, slot, value)
                facts.known[slot] = value
                del facts.open[slot]
            else:
                self._marks.hit("watermark passed over a slot")
