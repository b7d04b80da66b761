"""Broken replicas that tests hand to the simulator; known bugs stand in tests/mutants."""

from __future__ import annotations

from typing import Any

from paxos.core.acceptor import Acceptor
from paxos.core.ballot import Ballot
from paxos.core.effects import Effect, Persist
from paxos.core.ids import Slot
from paxos.core.messages import Accept, Prepare, Report
from paxos.core.proposer import Proposer
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
    """Accepts a ballot below its promise: I2."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _LaxAcceptor


class _HastyPromiser(Acceptor):
    def handle_prepare(
        self, prepare: Prepare, decided_through: Slot, leader: Ballot, clock: int
    ) -> list[Effect]:
        hasty: list[Effect] = []
        for effect in super().handle_prepare(prepare, decided_through, leader, clock):
            if isinstance(effect, Persist):
                hasty += [*effect.then, Persist(effect.records, ())]
            else:
                hasty.append(effect)
        return hasty


class PromisesBeforeSync(Replica):
    """The promise leaves before it is durable: I7."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.acceptor.__class__ = _HastyPromiser


class _DeafProposer(Proposer):
    def _merge(self, report: Report) -> None:
        if report.ballot is None:
            super()._merge(report)


class IgnoresReports(Replica):
    """Proposes its own value where an accepted one was reported: I4."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposer.__class__ = _DeafProposer


def no_replica() -> None:
    """Take none of the arguments that a replica is made with: the harness itself fails."""
