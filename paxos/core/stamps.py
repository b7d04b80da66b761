"""Replicated time: the wall clock a leader stamps its batches with.

The stamp is the lower median of the latest clock reading of each voter that answered at the
leader's ballot, carried forward on the leader's monotonic clock: one wrong clock among three moves
it by nothing. Agreement does not depend on it.
"""

from __future__ import annotations

from collections.abc import Set

from paxos.core.ids import Instant, Voter


class StampClock:
    """The readings one leader has at its ballot."""

    def __init__(self) -> None:
        self._offsets: dict[Voter, int] = {}  # wall clock minus my monotonic clock, microseconds

    def clear(self) -> None:
        """Forget all readings: a new ballot begins."""
        self._offsets.clear()

    def read(self, voter: Voter, wall: int, now: Instant) -> None:
        """Note that the voter's wall clock showed ``wall`` (microseconds) just now."""
        self._offsets[voter] = wall - int(now.monotonic * 1e6)

    def stamp(self, voters: Set[Voter], latest: int, now: Instant) -> int:
        """Return the stamp for a batch proposed now.

        Args:
            voters: Whose clocks count; without readings of a majority of them the stamp is
                ``latest``. Learners answer too, and who voted once and was removed has answered.
            latest: The latest stamp this node knows.
            now: The leader's clocks.
        """
        offsets = sorted(offset for voter, offset in self._offsets.items() if voter in voters)
        if len(offsets) <= len(voters) // 2:
            return latest
        return max(0, int(now.monotonic * 1e6) + offsets[(len(offsets) - 1) // 2])
