"""Invariants 1, 3 and 4: what was proposed and what was chosen, over all nodes and all time.

It counts the durable votes itself and never asks a learner.
"""

from __future__ import annotations

from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.messages import Accept
from paxos.core.records import AcceptedRecord
from paxos.core.value import Value


class Ledger:
    """Every proposal, every durable vote, and every choice.

    Args:
        timeline: Who votes; it is told of each choice, in slot order.
        marks: Takes note of rare states.
    """

    def __init__(self, timeline: Timeline, marks: Marks) -> None:
        self.chosen: dict[Slot, Value] = {}
        self.chosen_through: Slot = 0
        self._timeline = timeline
        self._marks = marks
        self._chosen_at: dict[Slot, Ballot] = {}  # the lowest ballot it was chosen at
        self._known: set[Slot] = set()  # chosen, and some node knows
        self._proposals: dict[Slot, dict[Ballot, Value]] = {}
        self._votes: dict[tuple[Ballot, Slot], set[Voter]] = {}
        self._filled: Ballot | None = None  # the last ballot that put a no-op into a hole
        self._stamp = 0  # the highest of the chosen values through ``chosen_through``

    # --- proposals ---

    def proposed(self, node: NodeId, accept: Accept) -> None:
        """A proposer lets an Accept leave."""
        ballot, slot, value = accept.ballot, accept.slot, accept.value
        proposals = self._proposals.setdefault(slot, {})
        known = proposals.get(ballot)
        if known is value:
            return
        require(ballot.node == node, 3, "n{} proposes at {}", node, ballot)
        if known is not None:
            text = "two values at {} in slot {}: {} and {}"
            require(known == value, 3, text, ballot, slot, known, value)
            return
        if proposals or value.is_noop:
            self._mark_proposal(accept, proposals)
        proposals[ballot] = value
        if slot in self.chosen and self._chosen_at[slot] < ballot:
            self._compare_chosen(slot, ballot, value)

    def _mark_proposal(self, accept: Accept, earlier: dict[Ballot, Value]) -> None:
        ballot, slot, value = accept.ballot, accept.slot, accept.value
        filled = any(v.is_noop for v in earlier.values())
        if value.is_noop and not filled and ballot != self._filled:
            self._filled = ballot
            self._marks.hit("took over with a hole")
        if any(b.node != ballot.node and v == value for b, v in earlier.items() if b < ballot):
            self._marks.hit("another's value proposed again")
        if slot in self.chosen and slot not in self._known:
            self._marks.hit("chosen value proposed again")
        if value.change is not None and any(b.node != ballot.node for b in earlier):
            self._marks.hit("change was proposed again by another leader")

    def in_flight(self, ballot: Ballot) -> bool:
        """Whether something was proposed at ``ballot`` and is not chosen."""
        return any(
            ballot in proposals
            for slot, proposals in self._proposals.items()
            if slot > self.chosen_through and slot not in self.chosen
        )

    def pending(self) -> list[Configuration]:
        """Return every configuration that was proposed and may yet be chosen."""
        return [
            value.change.configuration
            for slot, proposals in self._proposals.items()
            if slot > self.chosen_through
            for value in proposals.values()
            if value.change is not None
        ]

    # --- votes ---

    def accepted(self, voter: Voter, record: AcceptedRecord) -> None:
        """An acceptance became durable."""
        ballot, slot, value = record.ballot, record.slot, record.value
        proposals = self._proposals.get(slot)
        proposal = None if proposals is None else proposals.get(ballot)
        if proposal is not value:
            text = "{} accepted at {} in slot {} what was not proposed: {}"
            require(proposal == value, 3, text, voter, ballot, slot, value)
        key = (ballot, slot)
        votes = self._votes.get(key)
        if votes is None:
            votes = self._votes[key] = set()
        votes.add(voter)
        if not self._timeline.at(slot).quorums.is_phase2(votes):
            return
        chosen = self.chosen.get(slot)
        if chosen is None:
            self._mark_choice(slot, votes)
            self._choose(slot, ballot, value)
        elif chosen is not value:
            self._compare_chosen(slot, ballot, value, 1)

    def _mark_choice(self, slot: Slot, votes: set[Voter]) -> None:
        configuration = self._timeline.at(slot)
        full = configuration.full_voters
        if len(full) < len(configuration.members) and not configuration.quorums.is_phase2(
            votes & full
        ):
            self._marks.hit("witness made the quorum")
        if slot < self._timeline.latest_first:
            self._marks.hit("configuration changed under load")

    def _choose(self, slot: Slot, ballot: Ballot, value: Value) -> None:
        self.chosen[slot] = value
        self._chosen_at[slot] = ballot
        if value.is_noop:
            self._marks.hit("no-op was chosen")
        for higher, proposal in self._proposals[slot].items():
            if higher > ballot:
                self._compare_chosen(slot, higher, proposal)
        while self.chosen_through + 1 in self.chosen:
            self.chosen_through += 1
            through = self.chosen[self.chosen_through]
            self._timeline.chosen(self.chosen_through, through)
            stamp = through.stamp
            if stamp is not None:
                if stamp < self._stamp:
                    self._marks.hit("stamp went back")
                self._stamp = max(self._stamp, stamp)

    def _compare_chosen(self, slot: Slot, ballot: Ballot, value: Value, number: int = 4) -> None:
        text = "slot {} was chosen at {} as {}, and {} at {} says {}"
        verb = "a quorum" if number == 1 else "a proposal"
        chosen = self.chosen[slot]
        require(
            chosen == value, number, text, slot, self._chosen_at[slot], chosen, verb, ballot, value
        )

    # --- decisions ---

    def marked(self, node: NodeId, slot: Slot, value: Value) -> None:
        """A node takes ``value`` for decided."""
        chosen = self.chosen.get(slot)
        if chosen is not value:
            text = "n{} takes slot {} for decided, but no phase-2 quorum has accepted a value there"
            require(chosen is not None, 8, text, node, slot)
            text = "n{} takes slot {} for decided as {}, but {} was chosen"
            require(chosen == value, 1, text, node, slot, value, chosen)
        self._known.add(slot)
