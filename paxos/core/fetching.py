"""Fetching: one snapshot from whichever peers have it, piece by piece, from where it stopped.

It owns which snapshot this node fetches, from whom, and how far it has come. It guards that a piece
is taken only where it belongs, so that repeated, late and foreign ones change nothing, and that a
broken connection or a helper that lost the snapshot costs no byte twice. It never knows what the
bytes say: whether they are what the name promises is checked by whoever stores them. The one who
fetches sets the pace.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from paxos.core.effects import Effect, Send, StoreChunk
from paxos.core.ids import Instant, Slot, Voter
from paxos.core.messages import SnapshotChunk, SnapshotName, SnapshotRequest

CHUNK_PATIENCE_TIMEOUTS = 10
"""A chunk that has not come for so many election timeouts is asked for again, of another at best.

That is longer than a large chunk takes over a link of 1 Mbit/s that others use too.
"""

WAITS_TOLERATED = 2
"""For so many times the patience a fetch whose pieces come now and then is borne.

After that it gives way to a newer one that another peer offers, if it waited for most of the time.
The next is borne twice as long, so that of helpers that are all bad one is heard to its end.
"""

WAIT_SHARE = 4
"""For most of the time: in vain for so many times as long as pieces were on their way."""

SPOILT_PAUSE_S = 5.0
"""After what was fetched proved useless (or there was no room) so long nothing is fetched."""


class Fetcher:
    """What one node is fetching. At most one snapshot at a time.

    Args:
        patience_s: How long it waits for a chunk.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._name: SnapshotName | None = None
        self._offset = 0  # everything before it was taken
        self._helper: Voter | None = None  # whom the next chunk was asked of
        self._asked_at = -math.inf
        self._stalled = False  # a chunk was waited for in vain since the last one came
        # Since chunks last came for as long as the patience without an interruption: the seconds
        # that were waited in vain, those in which a chunk was on its way, and when the first chunk
        # came after the last interruption (None: none yet).
        self._waited_s = self._flowed_s = 0.0
        self._flows_since: float | None = None
        self._tolerated = WAITS_TOLERATED
        self._lacking: list[Voter] = []  # who said that they do not have it
        self._not_before = -math.inf
        self._fetched = 0  # bytes in all, ever

    @property
    def name(self) -> SnapshotName | None:
        """What is being fetched, or is fetched and being checked."""
        return self._name

    @property
    def offset(self) -> int:
        """How much of it has come."""
        return self._offset

    @property
    def helper(self) -> Voter | None:
        """Whom it is fetched from at present."""
        return self._helper

    @property
    def progress(self) -> int:
        """Bytes fetched since the start, of any snapshot: grows while fetching makes progress."""
        return self._fetched

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, and is being checked and made durable."""
        return self._name is not None and self._offset == self._name.size

    def next_deadline(self) -> float:
        """When ``repeat`` is due, in monotonic seconds."""
        if self._name is None or self.is_whole or self._helper is None:
            return math.inf
        return self._asked_at + self._patience_s

    def handle_offer(
        self, sender: Voter, name: SnapshotName, decided_through: Slot, now: Instant
    ) -> list[Effect]:
        """A peer offers a snapshot: begin with it, or go on with it if it is the one wanted.

        One that makes progress is not given up for another; what it lacks will be in the log. A
        helper that gives a piece now and then is no progress, if another has one to offer.
        """
        if name.through <= decided_through or now.monotonic < self._not_before:
            return []
        if self._name is None or (self._name != name and self._gives_way_to(sender, name)):
            self._begin(name)
        if self._name != name:
            return []
        if sender in self._lacking:
            self._lacking.remove(sender)
        return self._ask(sender, now) if self._helper is None else []

    def handle_chunk(
        self, sender: Voter, chunk: SnapshotChunk, others: Iterable[Voter], now: Instant
    ) -> list[Effect]:
        """Take a piece, if it is the next one, and ask for the one behind it.

        Args:
            sender: Who sent it.
            chunk: The piece; an empty one says that the sender has no such snapshot.
            others: Who else is reached and could help.
            now: The node's clocks.
        """
        name = self._name
        if name is None or chunk.name != name or self.is_whole:
            return []
        if not chunk.data:
            if sender != self._helper or chunk.offset != self._offset:
                return []
            self._lacking.append(sender)
            return self._ask_another(others, now)
        if chunk.offset != self._offset or len(chunk.data) > name.size - self._offset:
            return []
        self._offset += len(chunk.data)
        self._fetched += len(chunk.data)
        self._note_flow(now)
        # At its end this says that the helper need keep nothing more.
        return [StoreChunk(name, chunk.offset, chunk.data), *self._ask(sender, now)]

    def handle_disconnected(
        self, peer: Voter, others: Iterable[Voter], now: Instant
    ) -> list[Effect]:
        """A connection broke; if it was the helper's, go on with another."""
        if peer != self._helper or self.is_whole:
            return []
        self._note_wait(now)
        return self._ask_another((other for other in others if other != peer), now)

    def repeat(self, others: Iterable[Voter], now: Instant) -> list[Effect]:
        """A chunk does not come: ask another, or whoever shows a sign of life next."""
        if now.monotonic < self.next_deadline():
            return []
        self._stalled = True
        self._note_wait(now)
        return self._ask_another([other for other in others if other != self._helper], now)

    def handle_alive(self, peer: Voter, now: Instant) -> list[Effect]:
        """A peer shows a sign of life: if nobody helps at present, it may."""
        if self._name is None or self._helper is not None or peer in self._lacking:
            return []
        return self._ask(peer, now)

    def handle_spoilt(self, name: SnapshotName, now: Instant) -> None:
        """What was fetched is not what its name says, or there is no room for it."""
        if name == self._name:
            self.drop()
            self._not_before = now.monotonic + SPOILT_PAUSE_S

    def drop(self) -> None:
        """Fetch nothing any more: it is installed, or not needed."""
        self._clear()
        self._tolerated = WAITS_TOLERATED

    def _begin(self, name: SnapshotName) -> None:
        """Fetch this one, from its beginning, and nothing else."""
        tolerated = 2 * self._tolerated if self._hardly_flows() else self._tolerated
        self._clear()
        self._name, self._tolerated = name, tolerated

    def _clear(self) -> None:
        self._name, self._offset, self._helper, self._stalled = None, 0, None, False
        self._waited_s = self._flowed_s = 0.0
        self._flows_since = None
        self._lacking.clear()

    def _gives_way_to(self, sender: Voter, name: SnapshotName) -> bool:
        """Whether what is fetched is given up for another snapshot, which ``sender`` has."""
        assert self._name is not None
        if self.is_whole:
            return False
        if self._helper is None or self._stalled:
            return True
        is_newer = name.through > self._name.through
        return is_newer and sender != self._helper and self._hardly_flows()

    def _hardly_flows(self) -> bool:
        """Whether pieces come, but are waited for in vain most of the time, and for too long."""
        too_long = self._waited_s >= self._tolerated * self._patience_s
        return too_long and self._waited_s >= WAIT_SHARE * self._flowed_s

    def _note_wait(self, now: Instant) -> None:
        """A piece was waited for in vain since it was asked for."""
        self._waited_s += now.monotonic - self._asked_at
        self._flows_since = None

    def _note_flow(self, now: Instant) -> None:
        """A piece came: once they do so for as long as the patience, all is well again."""
        self._stalled = False
        self._flowed_s += now.monotonic - self._asked_at
        if self._flows_since is None:
            self._flows_since = now.monotonic
        elif now.monotonic >= self._flows_since + self._patience_s:
            self._waited_s = self._flowed_s = 0.0

    def _ask(self, helper: Voter, now: Instant) -> list[Effect]:
        assert self._name is not None
        self._helper = helper
        self._asked_at = now.monotonic
        return [Send(helper.node, SnapshotRequest(self._name, self._offset))]

    def _ask_another(self, others: Iterable[Voter], now: Instant) -> list[Effect]:
        """Go on with the first of ``others`` that might have it.

        With none the snapshot waits for a peer that comes back, or gives way to the next offer.
        """
        for other in others:
            if other not in self._lacking:
                return self._ask(other, now)
        self._helper = None
        return []
