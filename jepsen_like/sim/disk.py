"""A simulated disk of records: staged, then under way in one write, then durable.

It keeps the law of the storage port: one write is outstanding, a write holds whatever was staged
when it began, and what a crash leaves of it is a prefix (a torn batch is cut). It is quick, and
kind: it cannot rot. ``log_disk`` puts the log that ships on a disk that can.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from paxos.core.effects import Persist, Send
from paxos.core.records import Record
from paxos.storage.base import StorageFailed


@dataclass(frozen=True, slots=True)
class Found:
    """What a node finds on its disk when it starts.

    Attributes:
        records: Everything, in order.
        survived: Those at the end that were not known to be durable.
        torn: Whether a write that had been cut short was cut off.
    """

    records: Sequence[Record]
    survived: Sequence[Record] = ()
    torn: bool = False


class NodeDisk(Protocol):
    """Where a simulated node keeps its log, over all its lives."""

    def stage(self, persist: Persist) -> None:
        """Let a write wait behind all earlier ones."""

    def write(self) -> tuple[list[Send], bool]:
        """Release what waited for finished writes, and begin the next unless one is outstanding.

        Returns:
            What may leave now, and whether a write has begun that takes time.
        """

    def complete(self) -> Sequence[Record]:
        """Make the outstanding write durable. Returns its records.

        Raises:
            StorageFailed: It failed; the process must end.
        """

    def fail(self, nth: int = 1) -> None:
        """Let the ``nth`` sync from now fail, or none if it is 0; a ``complete`` may be several."""

    def fill(self, full: bool) -> None:
        """Leave no more room than is reserved, or as much as is wanted."""

    def has_room(self) -> bool:
        """Whether another batch is sure to fit; reserves space ahead as the runtime does."""

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[Sequence[Record], int]:
        """Lose what is not durable: what is staged always, what is under way perhaps.

        Args:
            rng: Decides how much of the outstanding write survived.
            power_cut: The machine went, and not only the process.

        Returns:
            The records known to have turned out durable, and how many may be lost.
        """

    def load(self) -> Found:
        """Read everything back, at a start.

        Raises:
            StorageError: It is damaged, and the node must not run.
        """


class SimDisk:
    """Records in a list. Implements ``NodeDisk``."""

    def __init__(self) -> None:
        self.durable: list[Record] = []
        self._staged: list[Persist] = []
        self._under_way: list[Persist] = []
        self._released: list[Send] = []  # by writes that are durable
        self._fails = False
        self._full = False

    def stage(self, persist: Persist) -> None:
        """Let a write wait behind all earlier ones."""
        self._staged.append(persist)

    def write(self) -> tuple[list[Send], bool]:
        """Release, and begin. A barrier alone behind an idle disk takes no time."""
        released = self._released
        if self._under_way or not self._staged:
            if released:
                self._released = []
            return released, False
        self._released = []
        group, self._staged = self._staged, []
        if any(persist.records for persist in group):
            self._under_way = group
            return released, True
        for persist in group:
            released.extend(persist.then)
        return released, False

    def complete(self) -> Sequence[Record]:
        """Take the outstanding write as durable."""
        if self._fails:
            raise StorageFailed("the sync failed")
        records: list[Record] = []
        for persist in self._under_way:
            records.extend(persist.records)
            self._released.extend(persist.then)
        self._under_way = []
        self.durable.extend(records)
        return records

    def fail(self, nth: int = 1) -> None:
        """Let the next ``complete`` fail: it is one sync."""
        self._fails = nth > 0

    def fill(self, full: bool) -> None:
        """Be full at once, or not at all."""
        self._full = full

    def has_room(self) -> bool:
        """Whether it was not filled."""
        return not self._full

    def crash(self, rng: random.Random, power_cut: bool) -> tuple[Sequence[Record], int]:
        """Keep a prefix of the outstanding write, or nothing of it after a power cut."""
        kept = 0 if power_cut else rng.choice((0, rng.randint(0, len(self._under_way))))
        survived = _records(self._under_way[:kept])
        lost = len(_records(self._under_way[kept:])) + len(_records(self._staged))
        self._under_way, self._staged, self._released = [], [], []
        self._fails = False
        self.durable.extend(survived)
        return survived, lost

    def load(self) -> Found:
        """Return the list."""
        return Found(self.durable)


def _records(writes: Sequence[Persist]) -> list[Record]:
    return [record for persist in writes for record in persist.records]
