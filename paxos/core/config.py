"""Configurations: who votes, for which slots. A configuration is a value that governs a slot.

Membership is fixed for now, but every question about voters already names the slot it is asked
for (Lamport's alpha-window, Paxos Made Simple, section 3), so that a change decided at slot s can
govern from s + alpha on without touching a caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.quorum import Quorums


@dataclass(frozen=True, slots=True)
class Configuration:
    """The voters of a range of slots, and what a quorum is among them.

    Raises:
        ConfigurationInvalid: Two voters share a node id.
    """

    version: int
    quorums: Quorums

    def __post_init__(self) -> None:
        nodes = [voter.node for voter in self.quorums.voters]
        if len(set(nodes)) != len(nodes):
            raise ConfigurationInvalid(f"two voters share a node id: {sorted(nodes)}")

    @property
    def voters(self) -> tuple[Voter, ...]:
        """All voters, in order of node id."""
        return tuple(sorted(self.quorums.voters))


class Configurations:
    """Which configuration governs which slot, as far as this node knows.

    Args:
        founding: Governs from slot 1 on.
        alpha: How far above ``decided_through`` a slot may be proposed. Fixed at founding.
    """

    def __init__(self, founding: Configuration, alpha: int) -> None:
        if alpha < 1:
            raise ConfigurationInvalid(f"alpha must be at least 1, not {alpha}")
        self.alpha = alpha
        self._founding = founding
        self._nodes = tuple(voter.node for voter in founding.voters)

    def at(self, slot: Slot) -> Configuration:
        """Return the configuration that governs ``slot``."""
        return self._founding

    def live(self, decided_through: Slot) -> tuple[Configuration, ...]:
        """Return every configuration that governs a slot in (decided_through, + alpha]."""
        return (self._founding,)

    def voter_nodes(self, decided_through: Slot) -> tuple[NodeId, ...]:
        """Return the node ids of every voter of a live configuration, in order."""
        return self._nodes
