"""What a slot holds: a batch of clients' submissions with the leader's time stamp, or a no-op.

The bytes stay opaque from the client to the executor. Nothing on the way decodes them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(slots=True)
class Value:
    """The value of one slot. Immutable by convention: never assign to a field.

    ``stamp`` is the leader's estimate of wall time in microseconds, fixed when the value is first
    proposed, or None for a no-op (which has no time). ``commands`` is a concatenation of clients'
    submissions exactly as they arrived.
    """

    stamp: int | None
    commands: bytes

    @property
    def is_noop(self) -> bool:
        """Whether this value fills a hole and does nothing."""
        return self.stamp is None

    @property
    def size(self) -> int:
        """Length in bytes of what the clients sent."""
        return len(self.commands)

    def __str__(self) -> str:
        if self.stamp is None:
            return "noop"
        return f"batch[{len(self.commands)}B {zlib.crc32(self.commands):08x} @{self.stamp}]"


NOOP = Value(None, b"")
"""Fills a slot for which phase 1 reported nothing although it reported a higher one."""
