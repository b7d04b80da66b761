"""Invariant 10 for disks: what was chosen can be had from those that are left, however they meet.

It asks what would be recovered if everybody lost all but their disks. Slots that an earlier
configuration governs may be had from a later one's voters, once those know them decided.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from paxos.core.config import Configuration
from paxos.core.ids import Slot, Voter
from paxos.core.value import Value


class Recovery:
    """What the disks of all nodes would give back.

    Args:
        timeline: Who governs which slot.
        ledger: What is chosen.
        facts: What is known of each node.
    """

    def __init__(self, timeline: Timeline, ledger: Ledger, facts: Mapping[int, NodeFacts]) -> None:
        self._timeline = timeline
        self._ledger = ledger
        self._facts = facts

    def at_stake(self) -> list[Configuration]:
        """Return every configuration whose voters may still be needed."""
        governing = self._timeline.every
        needed = [
            each.configuration
            for place, each in enumerate(governing[:-1])
            if not any(
                self._knows(later.configuration, governing[place + 1].first - 1)
                for later in governing[place + 1 :]
            )
        ]
        return [*needed, governing[-1].configuration, *self._ledger.pending()]

    def recoverable(self) -> None:
        """Invariant 10: every phase-1 quorum of disks would give back every chosen value.

        Of those that can still form one: a condemned node never promises again, and a promise
        counts for no slot that is in doubt. A slot that an earlier configuration governs may be
        known to a later one's instead, whose every phase-1 quorum knows it decided: then whoever
        was removed may be gone.
        """
        for slot, value in self._ledger.chosen.items():
            since = self._timeline.since(slot)
            if self._gives_back(since[0], slot, value):
                continue
            settled = any(self._still_knows(each, slot) for each in since[1:])
            blind = [str(voter) for voter in sorted(self._blind(since[0], slot, value))]
            text = "slot {} was chosen, but {} hold another value or none there"
            require(settled, 10, text, slot, blind)

    def _gives_back(self, configuration: Configuration, slot: Slot, value: Value) -> bool:
        return not configuration.quorums.is_phase1(self._blind(configuration, slot, value))

    def _blind(self, configuration: Configuration, slot: Slot, value: Value) -> set[Voter]:
        """Return the voters that can still promise, and would not give a value back."""
        blind = set()
        for voter in configuration.quorums.voters:
            if self._is_gone(voter):
                continue
            facts = self._facts[voter.node]
            if facts.condemned or slot in facts.doubt:
                continue
            if not facts.gives_back(slot, value):
                blind.add(voter)
        return blind

    def _knows(self, configuration: Configuration, slot: Slot) -> bool:
        """Whether every phase-1 quorum of a configuration knows a slot decided, durably."""
        ignorant = {
            voter
            for voter in configuration.quorums.voters
            if self._is_gone(voter) or not self._facts[voter.node].decided_durably(slot)
        }
        return not configuration.quorums.is_phase1(ignorant)

    def _still_knows(self, configuration: Configuration, slot: Slot) -> bool:
        """The same of those quorums that can still be formed."""
        ignorant = {
            voter
            for voter in configuration.quorums.voters
            if not self._is_gone(voter) and not self._facts[voter.node].decided_durably(slot)
        }
        return not configuration.quorums.is_phase1(ignorant)

    def _is_gone(self, voter: Voter) -> bool:
        """Whether nobody has a voter's disk any more: another may have its node's id."""
        facts = self._facts.get(voter.node)
        return facts is None or facts.voter != voter
