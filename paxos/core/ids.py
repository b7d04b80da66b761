"""The small names everything else is spelled in. Guards nothing; imports nothing of ours."""

from __future__ import annotations

from typing import NamedTuple

NodeId = int
"""A node's stable identity, from 1. Never used again once a node has been replaced."""

Slot = int
"""A position in the log, from 1. Slot 0 is "before the log"."""

ClientId = int
"""A client connection as one node numbers it. Means nothing on another node or after a restart."""

SessionId = int
"""A client's session, as the replicated session table numbered it."""

RequestNumber = int
"""A request within its session, from 1."""


class Voter(NamedTuple):
    """A node in one life of its data directory. Votes count only from exactly this pair.

    The incarnation is drawn when the data directory is made, so a copied or re-made directory
    is told apart from the one whose promises the cluster relies on.
    """

    node: NodeId
    incarnation: int

    def __str__(self) -> str:
        return f"n{self.node}"


class Instant(NamedTuple):
    """One reading of a node's two clocks, taken together by the shell.

    ``monotonic`` is in seconds and orders deadlines. ``wall`` is in microseconds since the Unix
    epoch and feeds only replicated time stamps. Safety depends on neither.
    """

    monotonic: float
    wall: int
