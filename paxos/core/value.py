"""What a slot holds: a batch of clients' submissions with the leader's stamp, a change, or a no-op.

The bytes stay opaque from the client to the executor. Nothing on the way decodes them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from paxos.core.config import Change


@dataclass(slots=True)
class Value:
    """The value of one slot. Immutable by convention: never assign to a field.

    ``stamp`` is the leader's estimate of wall time in microseconds, fixed when the value is first
    proposed, or None for a no-op (which has no time). ``commands`` is a concatenation of clients'
    submissions exactly as they arrived. A ``change`` of the configuration stands alone: such a
    value has no stamp and no commands.
    """

    stamp: int | None
    commands: bytes
    change: Change | None = None

    @property
    def is_noop(self) -> bool:
        """Whether this value fills a hole and does nothing."""
        return self.stamp is None and self.change is None

    @property
    def size(self) -> int:
        """Length in bytes of what the clients sent."""
        return len(self.commands)

    def __str__(self) -> str:
        if self.change is not None:
            return str(self.change)
        if self.stamp is None:
            return "noop"
        return f"batch[{len(self.commands)}B {zlib.crc32(self.commands):08x} @{self.stamp}]"


NOOP = Value(None, b"")
"""Fills a slot for which phase 1 reported nothing although it reported a higher one."""
