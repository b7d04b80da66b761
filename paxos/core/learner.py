"""The learner: counts Accepted votes, and keeps what is decided in slot order.

It owns phase-2 quorums (counted here and nowhere else, as sets of voters) and ``decided_through``.
It guards invariant 8 for phase 2 and invariant 5's "no gap below". It never knows time or who is
alive; it never trusts a vote for a slot it was not told is being proposed.

Paxos Made Simple, section 2.3 ("to learn that a value has been chosen, a learner must find out that
a proposal has been accepted by a majority of acceptors").
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configurations
from paxos.core.ids import Slot, Voter
from paxos.core.messages import Accepted
from paxos.core.value import Value


class Learner:
    """What one node knows to be decided.

    Args:
        configurations: Says whose votes count for a slot.

    Attributes:
        decided_through: Every slot up to and including this one is decided and known here. Only the
            learner changes it; nothing else is asked for as often.
    """

    def __init__(self, configurations: Configurations) -> None:
        self._configurations = configurations
        self.decided_through: Slot = 0
        self._ahead: dict[Slot, Value] = {}  # decided above a hole
        self._counting = BALLOT_ZERO  # the ballot this node proposes at, if any
        self._votes: dict[Slot, set[Voter]] = {}  # per slot in flight at that ballot
        self._values: dict[Slot, Value] = {}  # what was proposed there

    @property
    def votes(self) -> Mapping[Slot, Set[Voter]]:
        """Who accepted what this node has in flight, by slot."""
        return self._votes

    @property
    def ahead(self) -> Mapping[Slot, Value]:
        """What is known decided above a hole, by slot."""
        return self._ahead

    def is_decided(self, slot: Slot) -> bool:
        """Whether this node knows the decided value of ``slot``."""
        return slot <= self.decided_through or slot in self._ahead

    def count_at(self, ballot: Ballot) -> None:
        """Count from now on the votes of ``ballot``, and only those."""
        self._counting = ballot
        self._votes.clear()
        self._values.clear()

    def open(self, slot: Slot, value: Value) -> None:
        """Expect votes for ``value`` in ``slot`` at the counted ballot."""
        self._votes[slot] = set()
        self._values[slot] = value

    def handle_accepted(self, sender: Voter, accepted: Accepted) -> Value | None:
        """Count a vote.

        Returns:
            The value if this vote completed a phase-2 quorum of the configuration that governs the
            slot, else None.
        """
        votes = self._votes.get(accepted.slot)
        if votes is None or accepted.ballot != self._counting:
            return None
        votes.add(sender)
        if not self._configurations.at(accepted.slot).quorums.is_phase2(votes):
            return None
        return self._values[accepted.slot]

    def decide(self, slot: Slot, value: Value) -> list[tuple[Slot, Value]]:
        """Note a decided value.

        Returns:
            The slots, in order, whose whole prefix is now decided: what may be executed next.
        """
        self._votes.pop(slot, None)
        self._values.pop(slot, None)
        self._ahead[slot] = value
        return self._run_on()

    def install(self, through: Slot) -> list[tuple[Slot, Value]]:
        """Go on behind a snapshot: every slot at or below ``through`` is decided and reflected.

        Returns:
            What was known decided above it and now has its whole prefix, in order.
        """
        if through <= self.decided_through:
            return []
        self.decided_through = through
        for known in (self._ahead, self._votes, self._values):
            for slot in [slot for slot in known if slot <= through]:
                del known[slot]
        return self._run_on()

    def _run_on(self) -> list[tuple[Slot, Value]]:
        """Take what is decided without a gap."""
        ready: list[tuple[Slot, Value]] = []
        following = self.decided_through + 1
        while following in self._ahead:
            ready.append((following, self._ahead.pop(following)))
            following += 1
        self.decided_through = following - 1
        return ready
