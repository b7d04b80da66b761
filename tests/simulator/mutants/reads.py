"""Broken reads, for the simulator to find. They must never be in the library."""

from __future__ import annotations

from typing import Any

from paxos.core.effects import Effect
from paxos.core.events import ReadsRequested
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
