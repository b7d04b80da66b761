"""Invariants 3, 5 and 8: who issues a ballot, who had promised, and no slot is left out.

It counts promises itself, as sets of voters, from what arrives at a proposer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.messages import Accept, Prepare, Promise, Report

if TYPE_CHECKING:
    from jepsen_like.sim.invariants.timeline import Timeline


@dataclass(slots=True)
class _Answer:
    """What one voter said of one ballot: the parts that came, and what they leave out."""

    parts: dict[Slot, Slot | None] = field(default_factory=dict)  # above -> through
    compacted_through: Slot = 0
    unknown: tuple[tuple[Slot, Slot], ...] = ()

    def covered(self, above: Slot, through: Slot | None) -> None:
        """A part came. What was said before stays said, if an answer to a retry says less."""
        before = self.parts.get(above, above)
        if before is not None:
            self.parts[above] = None if through is None else max(before, through)

    def covers(self, decided_through: Slot) -> bool:
        """Whether nothing above ``decided_through`` is left out."""
        at = max(decided_through, 0)
        if self.compacted_through > at:
            return False
        while True:
            reach = [t for above, t in self.parts.items() if above <= at and (t is None or t > at)]
            if not reach:
                return False
            if None in reach:
                return True
            at = max(through for through in reach if through is not None)

    def doubts(self, slot: Slot) -> bool:
        """Whether damage hides what was accepted there."""
        return any(first <= slot <= last for first, last in self.unknown)


class PhaseOne:
    """Every ballot, who issued it, and who has completely promised it.

    Args:
        timeline: Who votes.
        marks: Takes note of rare states.
    """

    def __init__(self, timeline: Timeline, marks: Marks) -> None:
        self.issuers: dict[Ballot, tuple[NodeId, int]] = {}  # node and life
        self._timeline = timeline
        self._marks = marks
        self._answers: dict[Ballot, dict[Voter, _Answer]] = {}
        self._reports: dict[tuple[Ballot, Slot], Report] = {}  # the first of each slot
        self._sound: set[tuple[Ballot, int]] = set()  # with the version of the configuration
        self._doubted: set[Ballot] = set()  # some promise has unknown slots
        self._behind: set[Ballot] = set()  # some promise had forgotten what the proposer lacked
        self._proposed_through: dict[Ballot, Slot] = {}

    def prepares(self, node: NodeId, life: int, prepare: Prepare) -> None:
        """A Prepare leaves."""
        ballot = prepare.ballot
        issuer = self.issuers.setdefault(ballot, (node, life))
        text = "ballot {} is issued by n{} in life {}, and by n{} in life {}"
        require(issuer == (node, life), 3, text, ballot, *issuer, node, life)
        require(ballot.node == node, 3, "n{} issues the ballot {}", node, ballot)

    def promise_arrives(
        self, sender: Voter, life: int, promise: Promise, decided_through: Slot
    ) -> None:
        """A Promise arrives at its ballot's proposer, which is in its ``life``."""
        ballot = promise.ballot
        self._mark_promise(sender, life, promise, decided_through)
        answer = self._answers.setdefault(ballot, {}).setdefault(sender, _Answer())
        answer.covered(promise.above, promise.through)
        answer.compacted_through = max(answer.compacted_through, promise.compacted_through)
        if promise.unknown:
            self._doubted.add(ballot)
            answer.unknown = (*answer.unknown, *promise.unknown)
        if promise.compacted_through > decided_through:
            self._behind.add(ballot)

    def _mark_promise(
        self, sender: Voter, life: int, promise: Promise, decided_through: Slot
    ) -> None:
        ballot, hit = promise.ballot, self._marks.hit
        live = self._timeline.live(decided_through)
        if not any(sender in each.quorums.voters for each in live):
            hit("stranger's vote was ignored")
        if self.issuers.get(ballot, (0, life))[1] != life:
            hit("late promise arrived")
        if promise.through is not None:
            hit("promise came in parts")
        if promise.compacted_through > decided_through:
            hit("promise had forgotten what its asker lacked")
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
        window = decided_through + self._timeline.alpha
        if slot >= window:
            text = "{} leaves though only slots through {} are decided there"
            require(slot == window, 8, text, accept, decided_through)
            self._marks.hit("window was full")
        configuration = self._timeline.at(slot)
        key = (ballot, configuration.version)
        if key not in self._sound:
            self._require_promised(accept, configuration, decided_through)
            if ballot not in self._doubted:
                self._sound.add(key)
        through = self._proposed_through.get(ballot, 0)
        if slot > through:
            text = "{} leaves, but nothing was proposed at this ballot for slot {} below it"
            for hole in range(max(through, decided_through) + 1, slot):
                require(learner.is_decided(hole), 5, text, accept, hole)
            if not through and ballot in self._behind:
                self._marks.hit("leader caught up before it led")
            self._proposed_through[ballot] = slot

    def _require_promised(
        self, accept: Accept, configuration: Configuration, decided_through: Slot
    ) -> None:
        answers = self._answers.get(accept.ballot, {})
        whole = {v for v, answer in answers.items() if answer.covers(decided_through)}
        promised = {voter for voter in whole if not answers[voter].doubts(accept.slot)}
        if len(promised) < len(whole):
            self._marks.hit("promise did not count for an unknown slot")
        text = "{} leaves with promises for its slot only of {}, under version {}"
        sound = configuration.quorums.is_phase1(promised)
        names = [str(voter) for voter in sorted(promised)]
        require(sound, 8, text, accept, names, configuration.version)


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
