"""A simulated node's clocks: off, fast or slow against the simulation's time.

It converts, and knows nothing of who reads it or what for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from paxos.core.ids import Instant

EPOCH_US = 1_700_000_000_000_000
"""What wall clocks show when a simulation begins, in microseconds."""

_new_instant: Callable[[tuple[float, int]], Instant] = partial(tuple.__new__, Instant)
# A tuple's own constructor: one is made for every pass.


class Clock:
    """One node's clocks: off, fast or slow against the simulation's time."""

    def __init__(self, rate: float, offset: float) -> None:
        self._rate = rate
        self._offset = offset
        self.wall_error_us = 0

    def leap(self, seconds: float) -> None:
        """Let the monotonic clock show that more time has passed."""
        self._offset += seconds

    def read(self, time: float) -> Instant:
        """Return what the clocks show at ``time``."""
        elapsed = time * self._rate
        wall = EPOCH_US + int(elapsed * 1e6) + self.wall_error_us
        return _new_instant((self._offset + elapsed, wall))

    def when(self, monotonic: float) -> float:
        """Return the time at which the monotonic clock shows ``monotonic``."""
        return (monotonic - self._offset) / self._rate
