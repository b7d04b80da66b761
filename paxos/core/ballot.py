"""Ballots: the totally ordered numbers under which proposers compete.

"Different proposals have different numbers" (Paxos Made Simple, section 2.2): a ballot is
(round, node), so two nodes can never issue the same one. Rounds are compared first.
"""

from __future__ import annotations

from typing import NamedTuple

from paxos.core.ids import NodeId


class Ballot(NamedTuple):
    """A proposal number, ordered by round and then by the node that issued it."""

    round: int
    node: NodeId

    def __str__(self) -> str:
        return f"{self.round}.{self.node}"

    def next_for(self, node: NodeId) -> Ballot:
        """Return the lowest ballot of ``node`` that is above this one in its round."""
        return Ballot(self.round + 1, node)


BALLOT_ZERO = Ballot(0, 0)
"""Below every ballot a node can issue: "has promised nothing"."""
