"""What a log still knows: the judgement over the bytes of its segments. Pure.

Owns the difference between a torn last batch, which is cut, and damage, which is told. It must
never open a file. It guards the rule that a slot whose record is lost is *unknown*, never empty:

- Every block is looked at, up to the end that the next segment names; past it, none.
- A bad batch with a valid one after it is damage: its slots are unknown. The next header names
  them; where more than one batch is lost it cannot, and every slot up to its highest is unknown.
- A bad last batch is torn only if its header sector is all zero, or its header is valid and a
  sector marked as not zero is all zero: that is what a write leaves that was cut short. No other
  bad last batch can be explained so; it is damage that may hide a promise.
- A slot that is unknown is mended by what stands for it after the loss: a decided value, or one
  that was accepted anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from paxos.codec import ProtocolError
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import Slot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
)
from paxos.storage.base import SLOT_UNBOUNDED, Damage, Identity, StorageError
from paxos.storage.body import read_records
from paxos.storage.layout import (
    BLOCK,
    CONTINUES,
    SECTOR,
    BatchHeader,
    FormatUnknown,
    SegmentHeader,
    decode_batch_header,
    decode_segment_header,
    is_zero,
    lost_sectors,
    owner_digest,
)


class SegmentBytes(NamedTuple):
    """A segment as it was read. ``number`` is from the file's name."""

    name: str
    number: int
    data: bytes


class Batch(NamedTuple):
    """A sound batch, and where it stands."""

    segment: str
    number: int
    offset: int
    header: BatchHeader
    body: bytes


class Bad(NamedTuple):
    """A place where a batch should stand and none does.

    Attributes:
        segment: The file's name.
        offset: Where in it.
        what: What is wrong there.
        header: The batch's header, if that much is sound.
        torn: Whether a write that was cut short explains it.
    """

    segment: str
    offset: int
    what: str
    header: BatchHeader | None
    torn: bool

    def __str__(self) -> str:
        return f"{self.segment}: offset {self.offset}: {self.what}"


class Gap(NamedTuple):
    """Slots whose contents are in doubt, and how many sound batches stand before the loss."""

    position: int
    lowest: Slot
    highest: Slot
    next: BatchHeader


@dataclass(slots=True)
class Verdict:
    """What the bytes of a log amount to.

    Attributes:
        batches: The sound batches, in order.
        headers: The header of each segment, in order; None where it is damaged.
        gaps: Where batches are missing between sound ones.
        torn: One line per batch that was cut.
        findings: One line per place that is damaged.
        end_lost: The bad last batch was not torn: what it held, a promise too, is lost.
        end_highest: No slot above this one can have been lost with it.
    """

    batches: list[Batch] = field(default_factory=list)
    headers: list[SegmentHeader | None] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    end_lost: bool = False
    end_highest: Slot = 0


def judge(segments: Sequence[SegmentBytes], identity: Identity) -> Verdict:
    """Look at every block of a log.

    Args:
        segments: All of them, in the order of their numbers.
        identity: Whose log it is.

    Raises:
        StorageError: Another version of this program wrote it.
    """
    verdict = Verdict()
    chain = _Chain(verdict)
    headers = verdict.headers
    owner = owner_digest(identity)
    headers += [_header(segment, owner) for segment in segments]
    for index, (segment, header) in enumerate(zip(segments, headers, strict=True)):
        is_last = index == len(segments) - 1
        expected = segments[index - 1].number + 1 if index else 1
        if segment.number != expected and not _repeats(segment, header, expected):
            verdict.findings.append(f"{segment.name}: the segment before it is missing")
        if header is None:
            what = "the segment's header is damaged, or it belongs to another log"
            chain.miss(Bad(segment.name, 0, what, None, torn=False))
            continue
        end = None if is_last else _named_end(segment, header, headers[index + 1])
        for found in _scan(segment, header, end):
            if isinstance(found, Batch):
                chain.take(found)
            else:
                # A segment gets its name only when its first batch is durable.
                torn = found.torn and found.offset != BLOCK
                chain.miss(found._replace(torn=torn))
        if is_last and len(segment.data) < header.size:
            what = f"the file ends here, before its {header.size} bytes"
            chain.miss(Bad(segment.name, len(segment.data), what, None, torn=False))
    chain.finish()
    return verdict


def _header(segment: SegmentBytes, owner: bytes) -> SegmentHeader | None:
    try:
        header = decode_segment_header(segment.data)
    except FormatUnknown as error:
        raise StorageError(f"{segment.name}: {error}") from None
    if header is None or header.number != segment.number or header.owner != owner:
        return None
    return header


def _repeats(segment: SegmentBytes, header: SegmentHeader | None, missing: int) -> bool:
    """Whether a segment begins with all that one missing segment before it ever held.

    That one's name was not durable when its run ended: a failed sync of the directory, and later a
    loss of power, can take it back after the next run has read it, and repeated its only batch.
    """
    if header is None or segment.number != missing + 1 or missing == 1:
        return False
    return header.previous_number == missing and header.previous_end == BLOCK


def _named_end(
    segment: SegmentBytes, header: SegmentHeader, following: SegmentHeader | None
) -> int | None:
    """Return where the segment ends, if the next one is there to say so."""
    if following is None or following.previous_number != segment.number:
        return None
    return following.previous_end if following.previous_id == header.id else None


def _scan(segment: SegmentBytes, header: SegmentHeader, end: int | None) -> Iterator[Batch | Bad]:
    """Yield what stands in a segment before its end: sound batches, and what is wrong."""
    if end is None:
        data = segment.data
        # Every segment began with a batch.
        stop = max(len(data.rstrip(b"\0")), BLOCK + 1)
    else:
        data = segment.data[:end].ljust(end, b"\0")
        stop = end
    offset = BLOCK
    while offset < stop:
        sector = data[offset : offset + SECTOR]
        batch = _batch_header(sector, header.id, f"{segment.name}: offset {offset}")
        if batch is None:
            blank = is_zero(sector)
            what = "the batch's header is missing" if blank else "the batch's header is damaged"
            yield Bad(segment.name, offset, what, None, torn=blank)
            offset = _next_header(data, offset + BLOCK, stop, header.id)
            continue
        body = data[offset + SECTOR : offset + SECTOR + batch.length]
        if batch.matches(body):
            yield Batch(segment.name, segment.number, offset, batch, body)
        else:
            lost = lost_sectors(batch, body.ljust(batch.length, b"\0"))
            what = f"sector {lost[0]} of the batch is missing" if lost else "the batch is damaged"
            yield Bad(segment.name, offset, what, batch, torn=bool(lost))
        offset += batch.span


def _batch_header(sector: bytes, segment_id: bytes, place: str) -> BatchHeader | None:
    try:
        return decode_batch_header(sector, segment_id)
    except FormatUnknown as error:
        raise StorageError(f"{place}: {error}") from None


def _next_header(data: bytes, start: int, stop: int, segment_id: bytes) -> int:
    for offset in range(start, stop, BLOCK):
        if decode_batch_header(data[offset : offset + SECTOR], segment_id) is not None:
            return offset
    return stop


class _Chain:
    """Follows the batches from the first on, and notes where the chain is broken."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._next_sequence = 1  # after the last sound header, whatever became of its body
        self._checksum: int | None = 0  # of that header; None: there is a gap behind it
        self._bad: list[Bad] = []  # since the last sound header, that one's body included

    def take(self, batch: Batch) -> None:
        """A sound batch stands next."""
        if self._header_found(batch.header, f"{batch.segment}: offset {batch.offset}"):
            self._verdict.batches.append(batch)

    def miss(self, bad: Bad) -> None:
        """Something else stands where a batch should."""
        if bad.header is not None and not self._header_found(
            bad.header, f"{bad.segment}: offset {bad.offset}"
        ):
            return
        self._bad.append(bad)

    def finish(self) -> None:
        """There is nothing more. Tell a torn end from a damaged one."""
        bad, verdict = self._bad, self._verdict
        if len(bad) == 1 and bad[0].torn:
            verdict.torn.append(f"{bad[0]}: never finished, and cut")
        elif bad:
            verdict.findings += map(str, bad)
            verdict.end_lost = True
            header = bad[-1].header
            verdict.end_highest = SLOT_UNBOUNDED if header is None else header.highest

    def _header_found(self, header: BatchHeader, place: str) -> bool:
        """Judge what is missing before a sound header; whether the header is to be believed."""
        verdict = self._verdict
        absent = header.sequence - self._next_sequence
        if absent < 0:
            verdict.findings.append(f"{place}: batch {header.sequence} stands there once more")
            self._gap(header, 1, header.highest)
            return False
        lost = absent + sum(bad.header is not None for bad in self._bad)
        broken = absent == 0 and header.previous_checksum != self._checksum
        if lost == 1 and not broken:
            self._gap(header, header.previous_lowest, header.previous_highest)
        elif lost or broken:
            self._gap(header, 1, header.highest)
        if absent and not self._bad:
            verdict.findings.append(f"{place}: {absent} batches are missing before this one")
        if broken:
            verdict.findings.append(f"{place}: does not follow from the batch before it")
        verdict.findings += map(str, self._bad)
        self._bad.clear()
        self._next_sequence = header.sequence + 1
        self._checksum = header.checksum
        return True

    def _gap(self, header: BatchHeader, lowest: Slot, highest: Slot) -> None:
        self._verdict.gaps.append(Gap(len(self._verdict.batches), lowest, highest, header))


@dataclass(frozen=True, slots=True)
class Contents:
    """The records of a log in order, and what is wrong with it."""

    records: list[Record]
    damage: Damage | None


def read_contents(verdict: Verdict, identity: Identity) -> Contents:
    """Decode the records of all sound batches, and work out which slots are unknown.

    Raises:
        StorageError: A record is not understood: another version of this program wrote it.
    """
    records: list[Record] = []
    doubts: list[tuple[int, Slot, Slot]] = []
    gaps = iter((*verdict.gaps, None))
    gap = next(gaps)
    unfinished: bytes = b""
    for position, batch in enumerate(verdict.batches):
        while gap is not None and gap.position == position:
            records += _restated(gap.next, identity)
            doubts.append((len(records), gap.lowest, gap.highest))
            unfinished = b""
            gap = next(gaps)
        continues = bool(batch.header.flags & CONTINUES)
        if continues and not unfinished:
            continue  # its beginning is lost, and its slot among the unknown
        try:
            whole, unfinished = read_records(unfinished + batch.body if continues else batch.body)
        except ProtocolError as error:
            raise StorageError(
                f"{batch.segment}: offset {batch.offset}: {error}; start the version that wrote it"
            ) from None
        records += whole
    while gap is not None:
        records += _restated(gap.next, identity)
        doubts.append((len(records), gap.lowest, gap.highest))
        gap = next(gaps)
    if verdict.end_lost:
        doubts.append((len(records), 1, verdict.end_highest))
    if not verdict.findings:
        return Contents(records, None)
    unknown = _merge([part for doubt in doubts for part in _still_unknown(records, *doubt)])
    return Contents(records, Damage(unknown, verdict.end_lost, tuple(verdict.findings)))


def _restated(header: BatchHeader, identity: Identity) -> list[Record]:
    """Return what a header says of all batches before it, as records."""
    restated: list[Record] = []
    if header.promised > BALLOT_ZERO:
        restated.append(PromisedRecord(header.promised))
    if header.issued_round:
        restated.append(IssuedRecord(Ballot(header.issued_round, identity.node)))
    return restated


def _still_unknown(
    records: Sequence[Record], position: int, lowest: Slot, highest: Slot
) -> Iterator[tuple[Slot, Slot]]:
    """Yield the parts of a range that no record after the loss mends."""
    if not highest:
        return
    mended = {
        record.slot
        for record in records[position:]
        if isinstance(record, AcceptedRecord | DecidedRecord) and lowest <= record.slot <= highest
    }
    for slot in sorted(mended):
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
