"""Invariant 13, in part: once everything is healed, leaders last.

A node that comes back, with however high a round, must not depose a leader that works. How soon
there must be one, and that it gets things done, is the simulation's to judge.
"""

from __future__ import annotations

from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.quorums import PhaseOne
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.ballot import Ballot

HEALED_LEADERS_MAX = 6
"""A healed cluster needs one leader. Some that began under faults may still come and go."""


class Leadership:
    """Every ballot that began to propose, in that order.

    Args:
        ledger: What is chosen.
        phase_one: Which ballots were issued.
        marks: Takes note of rare states.
    """

    def __init__(self, ledger: Ledger, phase_one: PhaseOne, marks: Marks) -> None:
        self.ballots: dict[Ballot, None] = {}
        self._ledger = ledger
        self._phase_one = phase_one
        self._marks = marks
        self._last: Ballot | None = None
        self._before: int | None = None  # how many had led when everything was healed

    def healed(self) -> None:
        """Nothing goes wrong from now on."""
        self._before = len(self.ballots)

    def leads(self, ballot: Ballot) -> None:
        """An Accept leaves at a ballot that had none."""
        self.ballots[ballot] = None
        last, self._last = self._last, ballot
        if last is not None:
            self._mark(last, ballot)
        if self._before is not None:
            led = len(self.ballots) - self._before
            text = "{} is the {}. ballot to lead since everything was healed"
            require(led <= HEALED_LEADERS_MAX, 13, text, ballot, led)

    def _mark(self, last: Ballot, ballot: Ballot) -> None:
        if self._ledger.in_flight(last):
            self._marks.hit("leader replaced with accepts in flight")
        issuers = self._phase_one.issuers
        same_life = issuers.get(last) == issuers.get(ballot)
        if same_life and any(last < b < ballot and b.node != ballot.node for b in issuers):
            self._marks.hit("refused leader took its lead back")
