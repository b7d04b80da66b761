"""What a state machine's client needs of a connection to a cluster.

The port that typed clients stand on and connections implement. It knows no machine, no event loop
and no network.
"""

from __future__ import annotations

from typing import Literal, Protocol

Level = Literal["linearizable", "session", "local"]


class MachineClient(Protocol):
    """What the client needs of a connection to a cluster. Each returns (slot, answer).

    All three raise ``CommandFailed`` with the state machine's text when it refused, and whatever
    the implementation has for requests that ended refused or unknown.
    """

    async def execute(self, machine: str, command: bytes) -> tuple[int, bytes]:
        """Replicate a command, exactly once, and return what applying it gave."""

    async def query(
        self, machine: str, query: bytes, level: Level = "linearizable"
    ) -> tuple[int, bytes]:
        """Ask the state machine at a read level."""

    async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
        """Ask a watchable state machine, and wait until it has something to tell."""
