"""The read barrier: linearizable reads without a write.

A read may be answered once a phase-2 quorum has confirmed, *in a round begun after the read
arrived*, that it has promised nothing above the leader's ballot, and once this node has applied
everything that could have been done before: the highest slot that phase 1 reported, and whatever
was decided here when the round began. One round serves every read that waited when it began.

It guards invariant 11 for linearizable reads. It never knows time, and it never answers: it says
which reads may be answered at which slot.

After Ongaro's dissertation, section 6.4 (ReadIndex): a read never joins a round that
had already begun.
"""

from __future__ import annotations

from paxos.core.config import Configuration
from paxos.core.ids import ClientId, Slot, Voter
from paxos.core.messages import Read

Reader = tuple[ClientId, Read]


class ReadBarrier:
    """The reads that wait for a confirmation of leadership."""

    def __init__(self) -> None:
        self._waiting: list[Reader] = []  # arrived after the present round began
        self._round: int | None = None  # the heartbeat number that began it
        self._readers: list[Reader] = []  # served by the present round
        self._required: Slot = 0  # what they must see
        self._confirmed: set[Voter] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._readers)

    @property
    def in_round(self) -> bool:
        """Whether a round is under way."""
        return self._round is not None

    @property
    def wants_round(self) -> bool:
        """Whether reads wait and no round is under way."""
        return self._round is None and bool(self._waiting)

    def add(self, reader: Reader) -> None:
        """Let a read wait for the next round."""
        self._waiting.append(reader)

    def begin(self, number: int, required: Slot) -> None:
        """Begin a round with heartbeat ``number``, which has not been sent before now."""
        self._round, self._required = number, required
        self._readers, self._waiting = self._waiting, []
        self._confirmed = set()

    def confirm(
        self, voter: Voter, number: int, live: tuple[Configuration, ...]
    ) -> tuple[Slot, list[Reader]]:
        """Count a voter that answered heartbeat ``number`` and has promised nothing higher.

        Returns:
            The slot that must be applied first, and the reads that may then be answered (none
            while a quorum is missing).
        """
        if self._round is None or number < self._round:
            return 0, []
        self._confirmed.add(voter)
        if not all(c.quorums.is_phase2(self._confirmed) for c in live):
            return 0, []
        readers, self._readers, self._round = self._readers, [], None
        return self._required, readers

    def forget(self, client: ClientId) -> None:
        """Drop the reads of a client that is gone."""
        self._waiting = [reader for reader in self._waiting if reader[0] != client]
        self._readers = [reader for reader in self._readers if reader[0] != client]

    def abandon(self) -> list[Reader]:
        """Leadership is lost: return every waiting read, unanswered, and start afresh."""
        readers = self._readers + self._waiting
        self._waiting, self._readers, self._round = [], [], None
        return readers
