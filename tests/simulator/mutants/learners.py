"""Broken learners and executors, for the simulator to find. Never in the library."""

from __future__ import annotations

from typing import Any

from paxos.core.effects import Effect, Reply
from paxos.core.events import Submitted
from paxos.core.executor import Applied, Executor
from paxos.core.ids import Instant, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.messages import Accepted, Result, Results, Status, Submit
from paxos.core.replica import Replica
from paxos.core.value import Value


class _ModestLearner(Learner):
    def handle_accepted(self, sender: Voter, accepted: Accepted) -> Value | None:
        value = super().handle_accepted(sender, accepted)
        votes = self._votes.get(accepted.slot, set())
        enough = self._configurations.at(accepted.slot).quorums.phase2 - 1
        if value is None and len(votes) >= enough > 0:
            return self._values[accepted.slot]
        return value


class OneVoteShort(Replica):
    """B4: a phase-2 quorum is one too small."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.learner.__class__ = _ModestLearner


class _CountingLearner(Learner):
    """Counts votes, not voters."""

    def handle_accepted(self, sender: Voter, accepted: Accepted) -> Value | None:
        counts: dict[tuple[Any, Slot], int] = self.__dict__.setdefault("_counts", {})
        known = accepted.slot in self._votes and accepted.ballot == self._counting
        value = super().handle_accepted(sender, accepted)
        if not known:
            return value
        key = (accepted.ballot, accepted.slot)
        counts[key] = counts.get(key, 0) + 1
        enough = counts[key] >= self._configurations.at(accepted.slot).quorums.phase2
        return self._values[accepted.slot] if enough else value


class CountsVotes(Replica):
    """B5: the same acceptor's vote, doubled by the network, counts twice."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.learner.__class__ = _CountingLearner


class _LeapingLearner(Learner):
    def decide(self, slot: Slot, value: Value) -> list[tuple[Slot, Value]]:
        ready = super().decide(slot, value)
        if slot in self._ahead:
            ready = [(s, v) for s, v in sorted(self._ahead.items()) if s <= slot]
            self._ahead.clear()
            self._decided_through = slot
        return ready


class _LeapingExecutor(Executor):
    def apply(self, slot: Slot, value: Value) -> Applied:
        self._applied_through = slot - 1
        return super().apply(slot, value)


class AppliesOverGap(Replica):
    """C1: applies a slot although one below it is not decided here."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.learner.__class__ = _LeapingLearner
        self.executor.__class__ = _LeapingExecutor


class _AmnesiacExecutor(Executor):
    """Remembers no request."""

    def _apply_submit(self, submit: Submit, position: int, applied: Applied) -> int:
        session = self._sessions.use(submit.session)
        if session is not None:
            session.acked_through = 0
            session.results.clear()
        return super()._apply_submit(submit, position, applied)


class AppliesTwiceAfterRestart(Replica):
    """C4: what says how far the log was applied is saved too late."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        last = self.executor.applied_through
        held = self.acceptor.held(last)
        if held is not None:
            self.executor.__class__ = _AmnesiacExecutor
            self.executor._applied_through = last - 1
            self.executor.apply(last, held.value)
            self.executor.__class__ = Executor


class RepliesEarly(Replica):
    """C7: a client is told that its command is done when it was merely taken."""

    def handle(self, event: Any, now: Instant) -> list[Effect]:
        effects = super().handle(event, now)
        if isinstance(event, Submitted) and self.proposer.leading:
            for taken in event.submissions:
                for submit in self.executor._unpack(taken.payload):
                    if isinstance(submit, Submit):
                        slot = self.learner.decided_through + 1
                        done = Result(submit.first, Status.DONE, slot, b"")
                        effects.append(Reply(taken.client, Results(submit.session, (done,))))
        return effects


class AppliesRetries(Replica):
    """D1: a retry is applied again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.executor.__class__ = _AmnesiacExecutor
