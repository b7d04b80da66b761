"""The atlas of damage: which voters may lose for ever what they promised.

It keeps a run recoverable: those that are left hold a quorum of either phase. Runs drawn to go
beyond that test the answer "unknown". It knows nodes by id, and nothing of what was lost.
"""

from __future__ import annotations

from jepsen_like.sim.plan import Plan


class Atlas:
    """What damage has been spent on.

    Args:
        plan: The quorums, and whether damage may go beyond what they bear.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._spent: dict[int, None] = {}

    @property
    def sound(self) -> list[int]:
        """The nodes that nothing has been taken from, in order."""
        return [node for node in range(1, self._plan.nodes + 1) if node not in self._spent]

    @property
    def quorum(self) -> int:
        """How many sound nodes hold a quorum of either phase."""
        return max(self._plan.phase1, self._plan.phase2)

    def spend(self, node: int) -> bool:
        """Let a node lose what it promised, unless the rest could not bear that.

        Returns:
            Whether it may; it does not count as sound from then on.
        """
        if node in self._spent:
            return False
        if len(self.sound) <= self.quorum and not self._plan.beyond:
            return False
        self._spent[node] = None
        return True
