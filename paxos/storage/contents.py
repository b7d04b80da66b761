"""What the batches of a log say, taken in one at a time: records, and which slots are in doubt.

Owns the list of records and the ranges of slots whose records are lost. It must never know where a
batch stood. It guards the rule that a slot whose record is lost is *unknown*, never empty, until a
record that stands behind the loss, or a snapshot, says what to hold there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import NodeId, Slot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
)
from paxos.storage.body import read_records
from paxos.storage.layout import CONTINUES, BatchHeader


class Contents:
    """The records of a log in order, while it is read.

    Args:
        node: Whose log it is.
        keep: Whether to keep the records. Without them a log of any length takes little memory.

    Attributes:
        records: Of all sound batches so far; what a header says of batches that are lost or were
            removed stands among them, as records.
    """

    __slots__ = ("_after", "_doubts", "_keep", "_node", "_unfinished", "records")

    def __init__(self, node: NodeId, *, keep: bool = True) -> None:
        self.records: list[Record] = []
        self._node = node
        self._keep = keep
        self._unfinished = b""  # of a record that goes on in the next batch
        # What was lost: its lowest and highest slot, and how many of the slots below came before.
        self._doubts: list[tuple[int, Slot, Slot]] = []
        self._after: list[Slot] = []  # of what was accepted and decided after the first loss

    def take(self, header: BatchHeader, body: memoryview) -> None:
        """A sound batch stands next.

        Raises:
            ProtocolError: A record is not understood.
        """
        if header.flags & CONTINUES:
            if not self._unfinished:
                return  # its beginning is lost, and its slot among the unknown
            whole, self._unfinished = read_records(self._unfinished + body)
        else:
            whole, self._unfinished = read_records(body)
        if self._keep:
            self.records += whole
        if self._doubts:
            self._after += [
                record.slot
                for record in whole
                if isinstance(record, AcceptedRecord | DecidedRecord)
            ]

    def lose(self, lowest: Slot, highest: Slot) -> None:
        """What stood here of these slots is lost."""
        self._doubts.append((len(self._after), lowest, highest))
        self._unfinished = b""

    def restate(self, header: BatchHeader) -> None:
        """Take in what a header says of all batches before it, as records."""
        if header.promised > BALLOT_ZERO:
            self.records.append(PromisedRecord(header.promised))
        if header.issued_round:
            self.records.append(IssuedRecord(Ballot(header.issued_round, self._node)))

    def unknown(self, covered_through: Slot) -> tuple[tuple[Slot, Slot], ...]:
        """Return the slots whose records are lost, without those that something says all of.

        Args:
            covered_through: Up to here all is decided and may be gone.
        """
        parts = [
            part
            for position, lowest, highest in self._doubts
            for part in _still_unknown(
                self._after[position:], max(lowest, covered_through + 1), highest
            )
        ]
        return _merge(parts)


def _still_unknown(
    after: Sequence[Slot], lowest: Slot, highest: Slot
) -> Iterator[tuple[Slot, Slot]]:
    """Yield the parts of a range that no record after the loss mends."""
    if not highest:
        return
    for slot in sorted({slot for slot in after if lowest <= slot <= highest}):
        if lowest < slot:
            yield lowest, slot - 1
        lowest = slot + 1
    if lowest <= highest:
        yield lowest, highest


def _merge(ranges: Sequence[tuple[Slot, Slot]]) -> tuple[tuple[Slot, Slot], ...]:
    merged: list[tuple[Slot, Slot]] = []
    for lowest, highest in sorted(ranges):
        if merged and lowest <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], highest))
        else:
            merged.append((lowest, highest))
    return tuple(merged)
