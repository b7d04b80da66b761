"""Invariants 5, 6, 8 and 10 for snapshots: what they reflect, and what is let go because of them.

A snapshot is of the slots that its node applied; equal slots give equal bytes on every node; it
names who governs after it; and no node lets go of a slot that no durable snapshot covers. It knows
what was asked to be saved, and what became durable; it never looks into a snapshot's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.events import PeerDisconnected, SnapshotFetched
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.messages import SnapshotName, SnapshotOffer, SnapshotRequest
from paxos.core.replica import Replica
from paxos.core.snapshot import SnapshotHead


class Snapshots:
    """Follows every snapshot of every node.

    Args:
        timeline: Who governs which slot.
        facts: What is known of each node.
        marks: Takes note of rare states.
    """

    def __init__(self, timeline: Timeline, facts: Mapping[int, NodeFacts], marks: Marks) -> None:
        self._timeline = timeline
        self._facts = facts
        self._marks = marks
        self._names: dict[tuple[Slot, bool], SnapshotName] = {}  # the first, with state or without
        # By witness: through which slot it may forget. What it might once, it may: before a later
        # configuration replaces those of that moment, its full voters have all of it too (I10).
        self._forgettable: dict[NodeId, Slot] = {}
        # By who fetches: from whom it last asked for which snapshot, and whether that link broke.
        self._fetching: dict[NodeId, tuple[NodeId, SnapshotName, bool]] = {}

    # --- what a node saves ---

    def saves(self, facts: NodeFacts, head: SnapshotHead, replica: Replica) -> None:
        """A node asks for a snapshot to be written."""
        applied = replica.executor.applied_through
        if not facts.executes:
            applied = replica.learner.decided_through
        text = "{} takes a snapshot of slot {} and has applied through {}"
        require(head.through <= applied, 5, text, facts.voter, head.through, applied)
        expected = self._timeline.governing(head.through)
        text = "{} takes a snapshot of slot {} that says that {} govern, and not {}"
        same = tuple(head.governing) == expected
        told, wanted = (
            [f"v{g.configuration.version} from {g.first}" for g in each]
            for each in (head.governing, expected)
        )
        require(same, 8, text, facts.voter, head.through, told, wanted)
        if not facts.executes and not self._lacking(head.through, applied):
            self._forgettable[facts.voter.node] = head.through

    def durable(self, facts: NodeFacts, name: SnapshotName, has_state: bool) -> None:
        """A snapshot became durable: one with the state, or what a witness keeps of it."""
        first = self._names.setdefault((name.through, has_state), name)
        text = "{} has the snapshot {}, and another node had {}"
        require(first == name, 6, text, facts.voter, name, first)
        facts.snapshot_through = max(facts.snapshot_through, name.through)

    def compacts(self, facts: NodeFacts, through: Slot, replica: Replica) -> None:
        """A node lets go of what it holds at or below a slot."""
        me, decided = facts.voter, replica.learner.decided_through
        text = "{} lets go of slots through {} and knows slots decided only through {}"
        require(through <= decided, 5, text, me, through, decided)
        facts.compacted_through = max(facts.compacted_through, through)
        if not facts.executes:
            self._witness_compacts(facts, through, decided)
            return
        text = "{} lets go of slots through {}, and its durable snapshot is of slot {}"
        covered = through <= facts.snapshot_through
        require(covered, 5, text, me, through, facts.snapshot_through)

    def _witness_compacts(self, facts: NodeFacts, through: Slot, decided: Slot) -> None:
        """A witness has no state: others must have it."""
        text = "{} is a witness and lets go of slots through {}, which only {} have in a snapshot"
        if through > self._forgettable.get(facts.voter.node, 0):
            for names in self._lacking(through, decided):
                require(False, 5, text, facts.voter, through, names)
        self._marks.hit("witness compacted")

    def _lacking(self, through: Slot, decided: Slot) -> list[list[str]]:
        """Return the full voters with the state of a slot, where they are too few in a live one."""
        have = frozenset(
            each.voter
            for each in self._facts.values()
            if each.executes and each.snapshot_through >= through
        )
        keepers = [(each.quorums, each.full_voters & have) for each in self._timeline.live(decided)]
        return [
            [str(voter) for voter in sorted(some)]
            for quorums, some in keepers
            if not quorums.is_phase2(some)
        ]

    # --- what a node fetches ---

    def offer_arrives(
        self, facts: NodeFacts, sender: Voter, offer: SnapshotOffer, replica: Replica
    ) -> None:
        """A node is told that what it lacks is not in the log any more."""
        if offer.name.through > replica.learner.decided_through:
            self._marks.hit("snapshot outran the log")

    def request_arrives(
        self, facts: NodeFacts, sender: Voter, request: SnapshotRequest, replica: Replica
    ) -> None:
        """A helper is asked for a piece of a snapshot."""
        helper, name = facts.voter.node, request.name
        before = self._fetching.get(sender.node)
        self._fetching[sender.node] = (helper, name, False)
        if before is None or before[1] != name or not 0 < request.offset < name.size:
            return
        if before[0] != helper:
            self._marks.hit("fetch went on at another helper")
        elif before[2]:
            self._marks.hit("fetch was resumed after a broken connection")

    def link_broke(self, facts: NodeFacts, event: PeerDisconnected, _: Replica) -> None:
        """A node notices that a peer is gone."""
        fetching = self._fetching.get(facts.voter.node)
        if fetching is not None and fetching[0] == event.peer.node:
            self._fetching[facts.voter.node] = (*fetching[:2], True)

    def fetched(self, facts: NodeFacts, event: SnapshotFetched, replica: Replica) -> None:
        """A node is about to take over a snapshot that it fetched."""
        self.durable(facts, event.name, True)
        facts.restoring = event.name.through
        if event.name.through <= replica.executor.applied_through:
            self._marks.hit("fetched snapshot came too late")
        else:
            self._marks.hit("caught up by a snapshot")
        facts.mends(range(1, event.name.through + 1), "a snapshot", self._marks)
