"""Broken proposers, for the simulator to find. They must never be in the library."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from paxos.core.ballot import Ballot
from paxos.core.effects import Effect, Persist, Send
from paxos.core.elector import Elector, Verdict
from paxos.core.ids import Instant, Slot, Voter
from paxos.core.messages import Accept, Report
from paxos.core.proposer import Phase, Proposer
from paxos.core.replica import Replica


class _DeafProposer(Proposer):
    def _merge(self, report: Report) -> None:
        if report.ballot is None:
            super()._merge(report)


class IgnoresReports(Replica):
    """B1: proposes its own value where an accepted one was reported."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _DeafProposer


class _EagerProposer(Proposer):
    def start_leading(self, decided_through: Slot) -> bool:
        voters = self._configurations.at(decided_through + 1).voters
        if self._phase is Phase.PREPARING and len(self._promised) >= max(1, len(voters) // 2):
            self._promised |= set(voters)
        return super().start_leading(decided_through)


class HalfIsEnough(Replica):
    """B3: phase 1 waits for half of the voters, not for more than half."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _EagerProposer


class _HastyProposer(Proposer):
    def campaign(self, *arguments: Any) -> list[Effect]:
        hasty: list[Effect] = []
        for effect in super().campaign(*arguments):
            if isinstance(effect, Persist):
                hasty += [*effect.then, Persist(effect.records, ())]
        return hasty


class PreparesBeforeSync(Replica):
    """B10: a Prepare leaves before its ballot is saved, so a restart may issue it again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _HastyProposer


class _GapFiller(Proposer):
    def propose(self, decided_through: Slot, latest_stamp: int, now: Instant) -> list[Accept]:
        for slot, report in list(self._reports.items()):
            if report.ballot is not None and slot < self._highest_reported:
                del self._reports[slot]
        return super().propose(decided_through, latest_stamp, now)


class FillsReportedSlots(Replica):
    """B11: below the highest reported slot it proposes no-ops, reported values or not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _GapFiller


class _HoleLeaver(Proposer):
    def propose(self, decided_through: Slot, latest_stamp: int, now: Instant) -> list[Accept]:
        if self._phase is Phase.LEADING:
            self._next_slot = max(self._next_slot, decided_through + 1)
            while self._next_slot < self._highest_reported and self._next_slot not in self._reports:
                self._next_slot += 1
        return super().propose(decided_through, latest_stamp, now)


class LeavesHoles(Replica):
    """B12: a slot of which phase 1 reported nothing is not filled, though a higher one was."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _HoleLeaver


class _OnceOnly(Proposer):
    def resend(
        self, votes: Mapping[Slot, Set[Voter]], decided_through: Slot, now: Instant
    ) -> list[Effect]:
        effects = list(super().resend(votes, decided_through, now))
        return [effect for effect in effects if not _is_accept(effect)]

    def resend_to(
        self, peer: Voter, votes: Mapping[Slot, Set[Voter]], decided_through: Slot
    ) -> list[Effect]:
        effects = list(super().resend_to(peer, votes, decided_through))
        return [effect for effect in effects if not _is_accept(effect)]


class _Stubborn(Elector):
    def judge_leading(
        self,
        ballot: Ballot,
        promised: Ballot,
        decided_through: Slot,
        has_work: bool,
        has_reads: bool,
        now: Instant,
    ) -> Verdict:
        return super().judge_leading(ballot, promised, decided_through, False, False, now)


class NeverResends(Replica):
    """H4: a lost Accept is never sent again.

    A stuck leader does not give way either: that rule alone would repair the loss, later.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _OnceOnly
        self.elector.__class__ = _Stubborn


def _is_accept(effect: Effect) -> bool:
    return isinstance(effect, Send) and isinstance(effect.message, Accept)
