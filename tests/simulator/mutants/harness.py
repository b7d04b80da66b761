"""What breaks the simulator instead of the replica: no verdict may come of it."""

from __future__ import annotations


def no_replica() -> None:
    """Take none of the arguments that a replica is made with."""
