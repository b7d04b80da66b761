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
        """Return the whole state, as it is at this call, as chunks.

        The chunks are taken later, a few at a time, and commands are applied in between: those must
        not show in them. The call itself must be short, since nothing else runs meanwhile: keep
        references (a copy of a dictionary, whose values are replaced and never changed in place),
        and encode in the iterator, in chunks of some 64 KiB. More than one may be under way, and
        one may be dropped half way. ``restore`` may come in between, too.

        Equal states must give equal chunks, cut at the same places: an original and what was
        restored from it are compared byte by byte. A dictionary's own order will do, if ``restore``
        fills it in the order of the chunks; the order of a set will not.
        """

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by what ``snapshot`` of an equal machine returned.

        The chunks are read once and may come slowly; whatever is kept of them must be copied.
        """


@runtime_checkable
class Watchable(Protocol):
    """Optional: a state machine that can be watched."""

    def watch(self, query: bytes) -> bytes | None:
        """Answer ``query`` if there is something to tell, else return None to be asked again.

        Called after every applied batch while a client waits, so it must be cheap when there is
        nothing new. The answer must let the client ask for what comes next. Raise CommandFailed
        when it can never be answered (for example because the revision was compacted).
        """
