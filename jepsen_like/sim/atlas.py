"""The atlas of damage: which voters may lose for ever what they promised, or a part of it.

It keeps a run recoverable: those that are left hold quorums of either phase in every configuration
that may matter. Runs drawn to go beyond that test the answer "unknown". A node whose damage was
mended counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from paxos.core.config import Configuration

if TYPE_CHECKING:
    from jepsen_like.sim.node import SimNode


class Atlas:
    """What damage has been spent on.

    Args:
        nodes: All there are; it may grow and shrink.
        at_stake: Returns the configurations that may matter now.
        beyond: Whether damage may go beyond what quorums bear.
    """

    def __init__(
        self,
        nodes: Sequence[SimNode],
        at_stake: Callable[[], Sequence[Configuration]],
        beyond: bool,
    ) -> None:
        self._nodes = nodes
        self._at_stake = at_stake
        self._beyond = beyond
        self._spent: dict[int, int] = {}  # by node: the life that ended by it

    @property
    def sound(self) -> list[SimNode]:
        """The nodes from which nothing has been taken that is not mended, in order."""
        return [node for node in self._nodes if self._is_sound(node)]

    def _is_sound(self, node: SimNode) -> bool:
        if node.lost or node.retired:
            return False
        if node.voter.node not in self._spent:
            return True
        return node.life > self._spent[node.voter.node] and node.up and node.mended

    def holds(self, nodes: Collection[SimNode], more: Sequence[Configuration] = ()) -> bool:
        """Whether nodes hold quorums of both phases in all that is at stake, and in ``more``."""
        voters = frozenset(node.voter for node in nodes)
        return all(
            each.quorums.is_phase1(voters) and each.quorums.is_phase2(voters & each.full_voters)
            for each in (*self._at_stake(), *more)
        )

    def bears(self, configuration: Configuration) -> bool:
        """Whether sound nodes would hold quorums of a configuration too."""
        return self.holds(self.sound, [configuration])

    def spend(self, node: SimNode) -> bool:
        """Let a node lose what it promised, unless the rest could not bear that.

        Returns:
            Whether it may; it does not count as sound from then on.
        """
        if not self._is_sound(node):
            return False
        rest = [other for other in self.sound if other is not node]
        if not self.holds(rest) and not self._beyond:
            return False
        self._spent[node.voter.node] = node.life
        return True
