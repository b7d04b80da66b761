"""The port for state machines: four methods, no inheritance, no imports needed.

A state machine is replicated by running the same commands in the same order on every replica, so
``apply`` must depend on nothing but the state, its arguments and its own code: no clock, no
randomness, no iteration over sets, no floats that could round differently. Time comes in as
``Stamp``. A command may recurse 900 frames deep on every replica, whatever called it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from paxos.core.errors import PaxosError
from paxos.core.ids import Slot


class Stamp(NamedTuple):
    """Where and when a command is applied; equal on every replica.

    Attributes:
        slot: The log slot.
        position: Position of the command in the slot's batch, from 0.
        time: Replicated time in microseconds since the Unix epoch; never goes back.
    """

    slot: Slot
    position: int
    time: int


class CommandFailed(PaxosError):
    """Raised by ``apply`` or ``query`` to refuse a command with a text for the client.

    The text must be deterministic: it is a result like any other. Any other exception counts as a
    failed command too, but only its class name is reported, because its text may differ from
    replica to replica.
    """


@runtime_checkable
class StateMachine(Protocol):
    """What the library asks of a user's class."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Change the state; return the result for the client. Raise CommandFailed to refuse."""

    def query(self, query: bytes) -> bytes:
        """Answer a question without changing the state. Raise CommandFailed to refuse."""

    def snapshot(self) -> Iterable[bytes]:
        """Return the whole state as chunks. Equal states must give equal chunks."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by what ``snapshot`` of an equal machine returned."""


@runtime_checkable
class Watchable(Protocol):
    """Optional: a state machine that can be watched."""

    def watch(self, query: bytes) -> bytes | None:
        """Answer ``query`` if there is something to tell, else return None to be asked again.

        Called after every applied batch while a client waits, so it must be cheap when there is
        nothing new. The answer must let the client ask for what comes next. Raise CommandFailed
        when it can never be answered (for example because the revision was compacted).
        """
