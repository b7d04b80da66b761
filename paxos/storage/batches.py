"""Batches on their way into a segment: what is staged, what it becomes, and what room it needs.

Owns what a batch's header says of the records in it. It must never know a file. It guards the bound
that ``room_bytes`` rests on: a group of records that fits the room needs no new segment.
"""

from __future__ import annotations

from typing import NamedTuple

from paxos.core.ballot import BALLOT_ZERO
from paxos.core.ids import Slot
from paxos.storage.body import Tally, read_records
from paxos.storage.layout import BLOCK, SECTOR
from paxos.storage.recovery import Batch


class Staged:
    """Records that will stand in one batch, and what its header says of them."""

    __slots__ = ("flags", "highest", "issued", "parts", "promised", "size", "slots")

    def __init__(self, flags: int = 0) -> None:
        self.flags = flags
        self.parts: list[bytes] = []
        self.size = 0
        self.slots: tuple[Slot, Slot] = (0, 0)  # lowest and highest; zeros if there is none
        # What the tally stood at behind the last of them.
        self.highest: Slot = 0
        self.promised = BALLOT_ZERO
        self.issued = BALLOT_ZERO

    def add(self, framed: bytes, slot: Slot, tally: Tally) -> None:
        """Put a record, or a piece of one, behind those before it."""
        self.parts.append(framed)
        self.size += len(framed)
        if slot:
            lowest, highest = self.slots
            self.slots = (min(lowest, slot) if lowest else slot, max(highest, slot))
        self.highest = tally.highest
        self.promised = tally.promised
        self.issued = tally.issued


class Encoded(NamedTuple):
    """A batch as it is written, and what its header says may be gone."""

    buffers: list[bytes]
    length: int
    checksum: int
    compacted_through: Slot
    oldest_segment: int


def room(left: int, ahead: int, capacity: int) -> int:
    """Return how many bytes of records fit, in one batch or in many.

    Args:
        left: Bytes left in the segment that is written.
        ahead: Bytes in the one that is reserved, or 0.
        capacity: What one batch can hold.
    """
    one = min(capacity, max(left, ahead) - SECTOR)
    # Two batches that follow one another hold more than one batch can, so that n bytes make at most
    # 2 n / capacity + 2 of them. None spans segments: the end of the first may stay unused.
    padding = SECTOR + BLOCK
    unused = capacity + padding if ahead else 0
    many = (left + ahead - unused - 2 * padding) * capacity // (capacity + 2 * padding)
    return max(0, one, many)


def slots_of(batch: Batch) -> tuple[Slot, Slot]:
    """Return the lowest and highest slot of a batch that was read, or a range that holds them."""
    whole_range = (1, batch.header.highest)
    if batch.header.flags:
        return whole_range  # a later piece of a record that spans batches
    records, rest = read_records(batch.body)
    if rest:
        return whole_range
    tally = Tally()
    slots = [slot for slot in map(tally.note, records) if slot]
    return (min(slots), max(slots)) if slots else (0, 0)
