"""A simulated disk: records are staged, then under way in one write, then durable.

It keeps the law of the storage port: one write is outstanding, a write holds whatever was staged
when it began, and what a crash leaves of it is a prefix (a torn batch is cut). The checkers ask
it, and nothing else, what was durable when a vote left.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from paxos.core.effects import Persist
from paxos.core.records import Record


class SimDisk:
    """One node's durable log and what is on its way into it."""

    def __init__(self) -> None:
        self.durable: list[Record] = []
        self._staged: list[Persist] = []
        self._under_way: list[Persist] = []

    @property
    def idle(self) -> bool:
        """Whether no write is outstanding."""
        return not self._under_way

    @property
    def has_staged(self) -> bool:
        """Whether something waits for the next write."""
        return bool(self._staged)

    def stage(self, persist: Persist) -> None:
        """Let a write wait behind all earlier ones."""
        self._staged.append(persist)

    def begin(self) -> bool:
        """Begin one write of all that is staged.

        Returns:
            Whether it has any bytes: a barrier alone behind an idle disk takes no time.
        """
        self._under_way, self._staged = self._staged, []
        return any(persist.records for persist in self._under_way)

    def finish(self) -> list[Persist]:
        """Take the outstanding write as durable and return it."""
        done, self._under_way = self._under_way, []
        for persist in done:
            self.durable.extend(persist.records)
        return done

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[list[Record], int]:
        """Lose what is not durable: staged records always, those under way perhaps.

        Args:
            rng: Decides how much of the outstanding write survived.
            power_cut: Nothing that was under way survives.

        Returns:
            The records that turned out durable, and how many were lost.
        """
        kept = 0 if power_cut else rng.choice((0, rng.randint(0, len(self._under_way))))
        survived = _records(self._under_way[:kept])
        lost = len(_records(self._under_way[kept:])) + len(_records(self._staged))
        self._under_way, self._staged = [], []
        self.durable.extend(survived)
        return survived, lost


def _records(writes: Sequence[Persist]) -> list[Record]:
    return [record for persist in writes for record in persist.records]
