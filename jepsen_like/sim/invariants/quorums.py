"""Invariants 3, 5 and 8: who issues a ballot, who had promised, and no slot is left out.

It counts promises itself, as sets of voters, from what arrives at a proposer.
"""

from __future__ import annotations

from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.ballot import Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.messages import Accept, Prepare, Promise, Report


class PhaseOne:
    """Every ballot, who issued it, and who has completely promised it.

    Args:
        configurations: Who votes.
        marks: Takes note of rare states.
    """

    def __init__(self, configurations: Configurations, marks: Marks) -> None:
        require_meeting(configurations.at(1))
        self.issuers: dict[Ballot, tuple[NodeId, int]] = {}  # node and life
        self._configurations = configurations
        self._marks = marks
        self._after: dict[Ballot, Slot] = {}
        self._parts: dict[tuple[Ballot, Voter], dict[Slot, Slot | None]] = {}
        self._promised: dict[Ballot, set[Voter]] = {}
        self._reports: dict[tuple[Ballot, Slot], Report] = {}  # the first of each slot
        self._sound: set[Ballot] = set()
        self._proposed_through: dict[Ballot, Slot] = {}

    def prepares(self, node: NodeId, life: int, prepare: Prepare) -> None:
        """A Prepare leaves."""
        ballot = prepare.ballot
        issuer = self.issuers.setdefault(ballot, (node, life))
        text = "ballot {} is issued by n{} in life {}, and by n{} in life {}"
        require(issuer == (node, life), 3, text, ballot, *issuer, node, life)
        require(ballot.node == node, 3, "n{} issues the ballot {}", node, ballot)
        self._after.setdefault(ballot, prepare.after)

    def promise_arrives(self, sender: Voter, life: int, promise: Promise) -> None:
        """A Promise arrives at its ballot's proposer, which is in its ``life``."""
        ballot = promise.ballot
        self._mark_promise(sender, life, promise)
        parts = self._parts.setdefault((ballot, sender), {})
        parts[promise.above] = promise.through
        at: Slot | None = self._after.get(ballot, 0)
        while at is not None:
            if at not in parts:
                return
            at = parts[at]
        self._promised.setdefault(ballot, set()).add(sender)

    def _mark_promise(self, sender: Voter, life: int, promise: Promise) -> None:
        ballot, hit = promise.ballot, self._marks.hit
        if sender not in self._configurations.at(1).quorums.voters:
            hit("stranger's vote was ignored")
        if self.issuers.get(ballot, (0, life))[1] != life:
            hit("late promise arrived")
        if promise.through is not None:
            hit("promise came in parts")
        if any(report.ballot is None for report in promise.reports):
            hit("promise marked a decided value")
        for report in promise.reports:
            first = self._reports.setdefault((ballot, report.slot), report)
            if first.ballot != report.ballot:
                hit("two ballots for one slot")
                if first.value != report.value:
                    hit("two values for one slot")

    def accept_leaves(self, accept: Accept, learner: Learner) -> None:
        """An Accept leaves a proposer that knows what ``learner`` does."""
        ballot, slot, decided_through = accept.ballot, accept.slot, learner.decided_through
        window = decided_through + self._configurations.alpha
        if slot >= window:
            text = "{} leaves though only slots through {} are decided there"
            require(slot == window, 8, text, accept, decided_through)
            self._marks.hit("window was full")
        if ballot not in self._sound:
            promised = self._promised.get(ballot, set())
            text = "{} leaves with promises only of {}"
            sound = self._configurations.at(slot).quorums.is_phase1(promised)
            require(sound, 8, text, accept, sorted(map(str, promised)))
            self._sound.add(ballot)
        through = self._proposed_through.get(ballot, 0)
        if slot > through:
            text = "{} leaves, but nothing was proposed at this ballot for slot {} below it"
            for hole in range(max(through, decided_through) + 1, slot):
                require(learner.is_decided(hole), 5, text, accept, hole)
            self._proposed_through[ballot] = slot


def require_meeting(configuration: Configuration) -> None:
    """Invariant 8: every phase-1 quorum of a configuration meets every phase-2 quorum.

    Tried with every set of voters, whatever the configuration thinks of itself.
    """
    quorums = configuration.quorums
    voters = sorted(quorums.voters)
    for number in range(1 << len(voters)):
        some = {voter for place, voter in enumerate(voters) if number >> place & 1}
        if quorums.is_phase1(some):
            rest = quorums.voters - some
            text = "{} are a phase-1 quorum, and {}, none of them, are a phase-2 quorum"
            names = [sorted(map(str, each)) for each in (some, rest)]
            require(not quorums.is_phase2(rest), 8, text, *names)
