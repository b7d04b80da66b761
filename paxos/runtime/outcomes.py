"""How a request can end badly, each in a class of its own: failed, refused, or unknown.

Whoever handles one must be able to tell them apart: what failed was applied, what was refused was
not and never will be, and of what is unknown nobody can say.
"""

from __future__ import annotations

from paxos.core.errors import PaxosError
from paxos.core.ids import Slot
from paxos.core.state_machine import CommandFailed


class RequestFailed(CommandFailed):
    """The command was applied, at ``slot``, and the state machine refused it; a final answer.

    Attributes:
        reason: What the state machine said.
        slot: Where it happened; for a read, what the read reflects.
    """

    def __init__(self, reason: str, slot: Slot) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slot = slot


class RequestRefused(PaxosError):
    """The request had no effect and will have none; ``reason`` says why. It may be made again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoReplicaReachable(RequestRefused):
    """Refused because no replica could be reached until the deadline."""


class OutcomeUnknown(PaxosError):
    """The command may have been applied, or may be later, or never: **this is not a failure**.

    Do not simply repeat the command: it could then be applied twice. Read what it would have
    changed, or make commands that are safe to repeat. ``reason`` says what was lost.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
