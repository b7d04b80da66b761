"""Quorum systems: which sets of voters decide. Pure arithmetic over sets.

The one law: every phase-1 quorum meets every phase-2 quorum (Flexible Paxos, Howard et al. 2016,
section 3). It is checked when a system is made, so that no caller can hold one that breaks it.
A system is given by sizes (``Quorums``) or by naming its smallest quorums (``QuorumSets``).
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


@dataclass(frozen=True, slots=True)
class QuorumSets:
    """Quorums by naming them: a set of voters is a quorum if it holds one of the named ones.

    Args:
        voters: The distinct voters that count.
        phase1_sets: The smallest phase-1 quorums.
        phase2_sets: The smallest phase-2 quorums.

    Raises:
        ConfigurationInvalid: No voters, no quorums, an empty quorum, a stranger in one, or two
            quorums that need not meet.
    """

    voters: frozenset[Voter]
    phase1_sets: frozenset[frozenset[Voter]]
    phase2_sets: frozenset[frozenset[Voter]]

    def __post_init__(self) -> None:
        if not self.voters:
            raise ConfigurationInvalid("a configuration needs at least one voter")
        if not self.phase1_sets or not self.phase2_sets:
            raise ConfigurationInvalid("each phase needs at least one quorum")
        for quorum in (*_in_order(self.phase1_sets), *_in_order(self.phase2_sets)):
            if not quorum:
                raise ConfigurationInvalid("a quorum needs at least one voter")
            strangers = set(quorum) - self.voters
            if strangers:
                raise ConfigurationInvalid(
                    f"the quorum {_names(quorum)} holds {_names(sorted(strangers))},"
                    " which does not vote"
                )
        # As bits, since there may be many pairs, and whoever may ask for a change sends them.
        bits = {voter: 1 << place for place, voter in enumerate(sorted(self.voters))}
        seconds = [(sum(map(bits.__getitem__, q)), q) for q in _in_order(self.phase2_sets)]
        for first in _in_order(self.phase1_sets):
            members = sum(map(bits.__getitem__, first))
            for others, second in seconds:
                if not members & others:
                    raise ConfigurationInvalid(
                        f"the phase-1 quorum {_names(first)} and the phase-2 quorum"
                        f" {_names(second)} do not meet"
                    )

    def is_phase1(self, answered: Set[Voter]) -> bool:
        """Whether the voters among ``answered`` form a phase-1 quorum."""
        return any(quorum <= answered for quorum in self.phase1_sets)

    def is_phase2(self, answered: Set[Voter]) -> bool:
        """Whether the voters among ``answered`` form a phase-2 quorum."""
        return any(quorum <= answered for quorum in self.phase2_sets)


QuorumSystem = Quorums | QuorumSets


def _in_order(sets: frozenset[frozenset[Voter]]) -> list[tuple[Voter, ...]]:
    return sorted(tuple(sorted(quorum)) for quorum in sets)


def _names(voters: Collection[Voter]) -> str:
    return "{" + ", ".join(str(voter.node) for voter in voters) + "}"
