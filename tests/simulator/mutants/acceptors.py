"""Broken acceptors, for the simulator to find. They must never be in the library."""

from __future__ import annotations

from typing import Any

from paxos.core.acceptor import Acceptor
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.effects import Effect, Persist
from paxos.core.ids import Slot
from paxos.core.messages import Accept, Prepare, Report
from paxos.core.records import Recovered
from paxos.core.replica import Replica


class _LaxAcceptor(Acceptor):
    def handle_accept(
        self, accept: Accept, decided_through: Slot, leader: Ballot
    ) -> list[Effect] | None:
        promised = self._promised
        self._promised = min(promised, accept.ballot)
        effects = super().handle_accept(accept, decided_through, leader)
        self._promised = max(promised, self._promised)
        return effects


class AcceptsBelowPromise(Replica):
    """A1: accepts a ballot below its promise."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _LaxAcceptor


class _HastyPromiser(Acceptor):
    def handle_prepare(
        self, prepare: Prepare, decided_through: Slot, leader: Ballot, clock: int
    ) -> list[Effect]:
        return _at_once(super().handle_prepare(prepare, decided_through, leader, clock))


class PromisesBeforeSync(Replica):
    """A3: the promise leaves before it is durable."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _HastyPromiser


class _HastyAcceptor(Acceptor):
    def handle_accept(
        self, accept: Accept, decided_through: Slot, leader: Ballot
    ) -> list[Effect] | None:
        return _at_once(super().handle_accept(accept, decided_through, leader) or [])


class AcceptsBeforeSync(Replica):
    """A4: the vote leaves before the value is durable."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _HastyAcceptor


def _at_once(effects: list[Effect]) -> list[Effect]:
    """Let what should wait for a write leave before it."""
    hasty: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Persist):
            hasty += [*effect.then, Persist(effect.records, ())]
        else:
            hasty.append(effect)
    return hasty


class ForgetsPromise(Replica):
    """A5: a restart keeps accepted values only."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        recovered: Recovered = arguments[2]
        ballots = (held.ballot for held in recovered.held.values())
        recovered.promised = max(ballots, default=BALLOT_ZERO)
        super().__init__(*arguments, **options)


class ForgetsAccepted(Replica):
    """A6: a restart keeps the promise, and of the values only decided ones."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        recovered: Recovered = arguments[2]
        recovered.held = {slot: held for slot, held in recovered.held.items() if held.decided}
        super().__init__(*arguments, **options)


class _ForgetfulReporter(Acceptor):
    def _reports(self, after: Slot) -> list[tuple[Slot, Slot | None, tuple[Report, ...]]]:
        """Cut off all parts but the first, and say that it was all."""
        above, _, reports = super()._reports(after)[0]
        return [(above, None, reports)]


class PromisesInPart(Replica):
    """A8: a promise leaves out what does not fit its first part."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _ForgetfulReporter
