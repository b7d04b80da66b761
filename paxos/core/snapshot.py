"""What a snapshot says: the replicated state at one slot, and what governs the slots after it.

Owns the head of a snapshot. The bytes of a snapshot are the shell's (``paxos.snapshot_format``):
equal states at equal slots give equal bytes on every replica, so that one that is being fetched can
be gone on with at another helper, and so that digests can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from paxos.core.config import Governing
from paxos.core.ids import Slot

SESSIONS = ""
"""The section of a snapshot that holds the session table; no state machine may bear this name."""


class SnapshotPart(NamedTuple):
    """A piece of one section: of the session table, or of the state machine of that name."""

    section: str
    chunk: bytes


class SnapshotHead(NamedTuple):
    """What a snapshot says before its parts. All of it is replicated.

    Attributes:
        through: The last slot that it reflects.
        time: The latest stamp applied, in microseconds.
        log_bytes: Size of all values decided so far, as ``Executor.log_bytes`` counts them.
        results_digest: Of every result so far, as ``Executor.results_digest`` chains them.
        governing: Every configuration that governs a slot from ``through`` + 1 to alpha beyond
            ``through``, with its first slot.
    """

    through: Slot
    time: int
    log_bytes: int
    results_digest: bytes
    governing: tuple[Governing, ...]


class Snapshot(NamedTuple):
    """A snapshot in memory, or on its way from or to disk.

    ``parts`` may be called once for each reading; it gives the pieces in order: sections in order
    of their names, the session table first.
    """

    head: SnapshotHead
    parts: Callable[[], Iterable[SnapshotPart]]
