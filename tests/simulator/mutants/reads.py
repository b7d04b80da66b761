"""Broken reads (MUTANTS.md, E): for the simulator to find."""

from __future__ import annotations

from typing import Any

from paxos.core.barrier import ReadBarrier
from paxos.core.events import ReadsRequested
from paxos.core.effects import Effect
from paxos.core.ids import Instant
from paxos.core.messages import Level, Read
from paxos.core.replica import Replica


class ReadsWithoutQuorum(Replica):
    """E1: a leader answers from what it has, without asking whether it still leads."""

    def handle(self, event: Any, now: Instant) -> list[Effect]:
        if isinstance(event, ReadsRequested) and self.proposer.leading:
            local = [
                (client, Read(read.number, Level.LOCAL, read.machine, read.query, read.at_least))
                for client, read in event.reads
            ]
            event = ReadsRequested(local)
        return super().handle(event, now)


class _SharedBarrier(ReadBarrier):
    def add(self, reader: Any) -> None:
        if self._round is None:
            super().add(reader)
        else:
            self._readers.append(reader)


class SharesBegunRounds(Replica):
    """E3: a read joins a barrier round that began before it arrived."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.barrier.__class__ = _SharedBarrier
