"""How much memory a check takes, and how much it may."""

from __future__ import annotations


class Meter:
    """Counts bytes by careful guesses: too many rather than too few."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @property
    def full(self) -> bool:
        """Whether as much was taken as there may be."""
        return self._taken >= self._limit

    def add(self, size: int) -> None:
        """Take some, or give some back if negative."""
        self._taken += size


class Account:
    """What one part of a check took, so that all of it can be given back at once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._taken = 0

    def add(self, size: int) -> None:
        """Take some, or give some back if negative."""
        self._taken += size
        self._meter.add(size)

    def close(self) -> None:
        """Give everything back."""
        self.add(-self._taken)
