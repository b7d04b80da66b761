"""Quorum systems: which sets of voters decide. Pure arithmetic over sets.

The one law: every phase-1 quorum meets every phase-2 quorum (Flexible Paxos, Howard et al. 2016,
section 3). It is checked when a system is made, so that no caller can hold one that breaks it.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass

from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Voter


@dataclass(frozen=True, slots=True)
class Quorums:
    """Quorums by size over a fixed set of voters.

    Args:
        voters: The distinct voters that count.
        phase1: How many of them form a phase-1 quorum.
        phase2: How many of them form a phase-2 quorum.

    Raises:
        ConfigurationInvalid: No voters, a size out of range, or two quorums that need not meet.
    """

    voters: frozenset[Voter]
    phase1: int
    phase2: int

    def __post_init__(self) -> None:
        n = len(self.voters)
        if n == 0:
            raise ConfigurationInvalid("a configuration needs at least one voter")
        if not (1 <= self.phase1 <= n and 1 <= self.phase2 <= n):
            raise ConfigurationInvalid(
                f"quorum sizes {self.phase1} and {self.phase2} must lie between 1 and {n} voters"
            )
        if self.phase1 + self.phase2 <= n:
            raise ConfigurationInvalid(
                f"a phase-1 quorum of {self.phase1} and a phase-2 quorum of {self.phase2} among"
                f" {n} voters need not meet: their sizes must add up to more than {n}"
            )

    @classmethod
    def majority(cls, voters: Collection[Voter]) -> Quorums:
        """Return the system in which any majority is a quorum of both phases."""
        size = len(voters) // 2 + 1
        return cls(frozenset(voters), size, size)

    def is_phase1(self, answered: Set[Voter]) -> bool:
        """Whether the voters among ``answered`` form a phase-1 quorum."""
        return len(self.voters & answered) >= self.phase1

    def is_phase2(self, answered: Set[Voter]) -> bool:
        """Whether the voters among ``answered`` form a phase-2 quorum."""
        return len(self.voters & answered) >= self.phase2
