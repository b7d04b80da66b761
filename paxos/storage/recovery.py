"""What a log still knows: the judgement over the bytes of its segments. Pure.

Owns the difference between a torn last batch, which is cut, and damage, which is told. It must
never open a file: it asks for the contents of one segment at a time, so that a log of any length is
read in the memory of one segment and its records. It guards the rule that a slot whose record is
lost is *unknown*, never empty:

- The last sound header names the oldest segment kept. What is older is neither read nor judged, and
  need not be there; any other segment that is missing is damage.
- Every block is looked at, up to the end that the next segment names; past it, none.
- A bad batch with a valid one after it is damage: its slots are unknown. The next header names
  them; where more than one batch is lost it cannot, and every slot up to its highest is unknown.
- A bad last batch is torn only if its header sector is all zero, or its header is valid and a
  sector marked as not zero is all zero: that is what a write leaves that was cut short. No other
  bad last batch can be explained so; it is damage that may hide a promise.
- A run begins with the last batch of the one before, once more. If that is bad and the first of the
  two is sound, nothing is lost.
- A slot that is unknown is mended by what stands for it after the loss: a decided value, or one
  that was accepted anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from paxos.codec import ProtocolError
from paxos.core.ids import Slot
from paxos.storage.base import SLOT_UNBOUNDED, Identity, StorageError
from paxos.storage.contents import Contents
from paxos.storage.layout import (
    BLOCK,
    SECTOR,
    ZEROS,
    BatchHeader,
    FormatUnknown,
    SegmentHeader,
    batch_segment_id,
    decode_batch_header,
    decode_segment_header,
    is_zero,
    lost_sectors,
    owner_digest,
)


class Segment(NamedTuple):
    """A segment file, before all of it is read.

    Attributes:
        name: The file's.
        number: From its name.
        size: The file's bytes.
        head: Its first block, or what there is of it.
        read: Returns all of it.
    """

    name: str
    number: int
    size: int
    head: bytes
    read: Callable[[], bytes]


class Batch(NamedTuple):
    """A sound batch, and where it stands. ``body`` looks into the bytes of the whole segment."""

    segment: str
    number: int
    offset: int
    header: BatchHeader
    body: memoryview


class Bad(NamedTuple):
    """A place where a batch should stand and none does.

    Attributes:
        segment: The file's name.
        offset: Where in it.
        what: What is wrong there.
        header: The batch's header, if that much is sound.
        torn: Whether a write that was cut short explains it.
        blocks: From here to where something sound stands, or 0 if nobody knows.
    """

    segment: str
    offset: int
    what: str
    header: BatchHeader | None
    torn: bool
    blocks: int = 0

    def __str__(self) -> str:
        return f"{self.segment}: offset {self.offset}: {self.what}"


@dataclass(slots=True)
class SegmentVerdict:
    """What one segment amounts to.

    Attributes:
        name: The file's.
        number: From its name.
        bytes: The file's.
        batches: How many are sound.
        first_sequence: Of the first sound one, or 0.
        last_sequence: Of the last sound one, or 0.
        highest: Neither in it nor in any segment before it stands a slot above this one.
    """

    name: str
    number: int
    bytes: int
    batches: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    highest: Slot = SLOT_UNBOUNDED


@dataclass(slots=True)
class Verdict:
    """What the bytes of a log amount to.

    Attributes:
        contents: The records, and what is in doubt.
        segments: Each segment that is kept, in order.
        left_over: Segments that are there and may be removed.
        batches: How many batches are sound.
        last: The last sound one, and where it stands last: that place may be damaged.
        last_header: The header of the newest segment, if that is sound.
        torn: One line per batch that was cut.
        findings: One line per place that is damaged.
        end_lost: The bad last batch was not torn: what it held, a promise too, is lost.
        oldest_segment: What is older than this one may be gone.
        compacted_through: What stood at or below may be gone, as the last header says.
        complete_above: Of no slot above this one has anything been removed.
    """

    contents: Contents
    segments: list[SegmentVerdict] = field(default_factory=list)
    left_over: list[Segment] = field(default_factory=list)
    batches: int = 0
    last: Batch | None = None
    last_header: SegmentHeader | None = None
    torn: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    end_lost: bool = False
    oldest_segment: int = 1
    compacted_through: Slot = 0
    complete_above: Slot = 0


def judge(segments: Sequence[Segment], identity: Identity, *, keep: bool = True) -> Verdict:
    """Look at every block of a log.

    Args:
        segments: All of them, in the order of their numbers.
        identity: Whose log it is.
        keep: Whether to keep the records in memory.

    Raises:
        StorageError: Another version of this program wrote it.
    """
    verdict = Verdict(Contents(identity.node, keep=keep))
    headers, damaged = _headers(segments, owner_digest(identity))
    _read_last_word(segments, headers, verdict)
    oldest = verdict.oldest_segment
    verdict.left_over = [segment for segment in segments if segment.number < oldest]
    chain = _Chain(verdict)
    expected = oldest
    for index, segment in enumerate(segments):
        header = headers[index]
        if segment.number < oldest:
            continue
        if segment.number != expected and not _repeats(segment, header, expected):
            verdict.findings.append(f"{segment.name}: the segment before it is missing")
            chain.lose_start()
        expected = segment.number + 1
        following = headers[index + 1] if index + 1 < len(segments) else None
        is_last = index == len(segments) - 1
        chain.enter(segment)
        if segment.name in damaged and header is not None:
            if is_last and not chain.continues(segment, header):
                header = headers[-1] = None
            else:
                what = "the segment's header is damaged"
                verdict.findings.append(f"{segment.name}: offset 0: {what}")
        if header is None:
            what = "the segment's header is damaged, or it belongs to another log"
            chain.miss(Bad(segment.name, 0, what, None, torn=False))
            continue
        end = _named_end(segment, header, following)
        _follow(chain, segment, header, end, is_last)
        if is_last and segment.size != header.size:
            what = f"the file ends here and not at {header.size}: a segment is missing, or its end"
            chain.miss(Bad(segment.name, segment.size, what, None, torn=False))
    if headers:
        verdict.last_header = headers[-1]
    chain.finish()
    return verdict


def _headers(
    segments: Sequence[Segment], owner: bytes
) -> tuple[list[SegmentHeader | None], set[str]]:
    """Return each segment's header, and which files have a damaged one.

    In place of a damaged header stands what the next segment says of its own predecessor. For the
    newest segment there is no next: its first batch says its id, and its size must be that of the
    one before, or its end may have been cut off. Where it begins to follow is for others to see.
    """
    headers: list[SegmentHeader | None] = []
    damaged: set[str] = set()
    for segment in segments:
        try:
            header = decode_segment_header(segment.head)
        except FormatUnknown as error:
            raise StorageError(f"{segment.name}: {error}") from None
        if header is None:
            damaged.add(segment.name)
        elif header.number != segment.number or header.owner != owner:
            header = None
        headers.append(header)
    if len(segments) > 1 and segments[-1].name in damaged:
        newest, before = segments[-1], headers[-2]
        if before is not None and before.size == newest.size:
            headers[-1] = _header_by_first_batch(newest, owner)
    for index, following in enumerate(headers[1:]):
        segment = segments[index]
        if (
            segment.name in damaged
            and following is not None
            and following.previous_number == segment.number
        ):
            headers[index] = SegmentHeader(
                segment.number, following.previous_id, segment.size, 0, b"", 0, owner
            )
    return headers, damaged


def _header_by_first_batch(segment: Segment, owner: bytes) -> SegmentHeader | None:
    id_ = batch_segment_id(segment.read()[BLOCK : BLOCK + SECTOR])
    if id_ is None:
        return None
    return SegmentHeader(segment.number, id_, segment.size, 0, b"", 0, owner)


def _read_last_word(
    segments: Sequence[Segment], headers: Sequence[SegmentHeader | None], verdict: Verdict
) -> None:
    """Find the last sound batch, and what its header says of the log as a whole."""
    for index in range(len(segments) - 1, -1, -1):
        segment, header = segments[index], headers[index]
        if header is None:
            continue
        following = headers[index + 1] if index + 1 < len(segments) else None
        last: BatchHeader | None = None
        for found in _scan(segment, header, _named_end(segment, header, following)):
            if isinstance(found, Batch) or not found.torn:
                last = found.header or last
        if last is not None:
            verdict.oldest_segment = min(last.oldest_segment, segment.number)
            verdict.compacted_through = last.compacted_through
            return


def _follow(
    chain: _Chain, segment: Segment, header: SegmentHeader, end: int | None, is_last: bool
) -> None:
    if end is None and not is_last and segment.size <= BLOCK:
        return  # the next one begins with all that stood here, and cannot say so
    for found in _scan(segment, header, end):
        if isinstance(found, Batch):
            chain.take(found)
        else:
            # A segment gets its name only when its first batch is durable.
            torn = found.torn and found.offset != BLOCK
            chain.miss(found._replace(torn=torn))


def _repeats(segment: Segment, header: SegmentHeader | None, missing: int) -> bool:
    """Whether a segment begins with all that one missing segment before it ever held.

    That one's name was not durable when its run ended: a failed sync of the directory, and later a
    loss of power, can take it back after the next run has read it, and repeated its only batch.
    """
    if header is None or segment.number != missing + 1 or missing == 1:
        return False
    return header.previous_number == missing and header.previous_end == BLOCK


def _named_end(
    segment: Segment, header: SegmentHeader, following: SegmentHeader | None
) -> int | None:
    """Return where the segment ends, if the next one is there to say so."""
    if following is None or following.previous_number != segment.number:
        return None
    return following.previous_end if following.previous_id == header.id else None


def _scan(segment: Segment, header: SegmentHeader, end: int | None) -> Iterator[Batch | Bad]:
    """Yield what stands in a segment before its end: sound batches, and what is wrong."""
    data = segment.read()
    if end is None:
        # Every segment began with a batch.
        stop = max(_used(data), BLOCK + 1)
    else:
        data = data if len(data) >= end else data.ljust(end, b"\0")
        stop = end
    view = memoryview(data)[:stop] if end is not None else memoryview(data)
    offset = BLOCK
    while offset < stop:
        sector = bytes(view[offset : offset + SECTOR])
        batch = _batch_header(sector, header.id, segment.name, offset)
        if batch is None:
            blank = is_zero(sector)
            what = "the batch's header is missing" if blank else "the batch's header is damaged"
            next_ = _next_header(view, offset + BLOCK, stop, header.id)
            blocks = -(-(next_ - offset) // BLOCK)
            yield Bad(segment.name, offset, what, None, blank, blocks)
            offset = next_
            continue
        body = view[offset + SECTOR : offset + SECTOR + batch.length]
        if batch.matches(body):
            yield Batch(segment.name, segment.number, offset, batch, body)
        else:
            lost = lost_sectors(batch, bytes(body).ljust(batch.length, b"\0"))
            what = f"sector {lost[0]} of the batch is missing" if lost else "the batch is damaged"
            yield Bad(segment.name, offset, what, batch, torn=bool(lost))
        offset += batch.span


def _used(data: bytes) -> int:
    """Return where the zeros begin that a segment ends with, or a little after that."""
    end = len(data)
    while end and data.endswith(ZEROS[: min(end, BLOCK)], 0, end):
        end -= min(end, BLOCK)
    return end


def _batch_header(sector: bytes, segment_id: bytes, name: str, offset: int) -> BatchHeader | None:
    try:
        return decode_batch_header(sector, segment_id)
    except FormatUnknown as error:
        raise StorageError(f"{name}: offset {offset}: {error}") from None


def _next_header(view: memoryview, start: int, stop: int, segment_id: bytes) -> int:
    for offset in range(start, stop, BLOCK):
        if decode_batch_header(bytes(view[offset : offset + SECTOR]), segment_id) is not None:
            return offset
    return stop


class _Chain:
    """Follows the batches from the first on, and notes where the chain is broken."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        # After the last sound header, whatever became of its body. None: nothing was found yet,
        # and what stood before the oldest segment was removed.
        self._next_sequence = 1 if verdict.oldest_segment == 1 else None
        self._start_lost = False  # the segment is missing that should be the oldest
        self._checksum = 0  # of that header
        self._bad: list[Bad] = []  # since the last sound header, that one's body included
        self._unsure: list[SegmentVerdict] = []  # whose highest slot the next header tells
        self._least = SLOT_UNBOUNDED  # compacted through, when the oldest segment was named

    def enter(self, segment: Segment) -> None:
        """What comes next stands in this segment."""
        of = SegmentVerdict(segment.name, segment.number, segment.size)
        self._verdict.segments.append(of)
        self._unsure.append(of)

    def lose_start(self) -> None:
        """A segment is missing."""
        self._start_lost = True

    def continues(self, segment: Segment, header: SegmentHeader) -> bool:
        """Whether a segment begins where what was found so far ends."""
        first = next(_scan(segment, header, None))
        if not isinstance(first, Batch):
            return False
        follows = (
            first.header.sequence == self._next_sequence
            and first.header.previous_checksum == self._checksum
        )
        return follows or self._again(first.header, first.offset)

    def _again(self, mine: BatchHeader, offset: int) -> bool:
        """Whether a run begins here with the batch that was the last one before."""
        last = self._verdict.last
        if last is None or offset != BLOCK:
            return False
        before = last.header
        return (mine.sequence, mine.length, mine.body_checksum, mine.previous_checksum) == (
            before.sequence,
            before.length,
            before.body_checksum,
            before.previous_checksum,
        )

    def take(self, batch: Batch) -> None:
        """A sound batch stands next."""
        verdict = self._verdict
        if self._again(batch.header, batch.offset):
            self._take_again(batch)
            return
        if not self._header_found(batch.header, batch.segment, batch.offset):
            return
        try:
            verdict.contents.take(batch.header, batch.body)
        except ProtocolError as error:
            raise StorageError(
                f"{batch.segment}: offset {batch.offset}: {error}; start the version that wrote it"
            ) from None
        verdict.batches += 1
        verdict.last = batch
        of = verdict.segments[-1]
        of.batches += 1
        of.first_sequence = of.first_sequence or batch.header.sequence
        of.last_sequence = batch.header.sequence

    def _take_again(self, batch: Batch) -> None:
        # The end of the segment before, which nobody names any more, was where it stood first.
        self._bad.clear()
        self._next_sequence = batch.header.sequence + 1
        self._checksum = batch.header.checksum
        self._verdict.last = batch

    def miss(self, bad: Bad) -> None:
        """Something else stands where a batch should."""
        last, of = self._verdict.last, self._verdict.segments[-1]
        if last is not None and bad.header is not None and self._again(bad.header, bad.offset):
            self._verdict.findings.append(str(bad))
            self._take_again(Batch(of.name, of.number, bad.offset, bad.header, last.body))
            return
        if bad.header is not None and not self._header_found(bad.header, bad.segment, bad.offset):
            return
        self._bad.append(bad)
        of.highest = SLOT_UNBOUNDED if bad.header is None else bad.header.highest
        if bad.header is None and of not in self._unsure:
            self._unsure.append(of)

    def finish(self) -> None:
        """There is nothing more. Tell a torn end from a damaged one."""
        bad, verdict = self._bad, self._verdict
        if len(bad) == 1 and bad[0].torn:
            verdict.torn.append(f"{bad[0]}: never finished, and cut")
        elif bad:
            verdict.findings += map(str, bad)
            verdict.end_lost = True
            header = bad[-1].header
            # No slot above this one can have been lost with it.
            verdict.contents.lose(1, SLOT_UNBOUNDED if header is None else header.highest)
        elif verdict.last is not None and verdict.last.number != verdict.segments[-1].number:
            # What it began with is not what the log ended with, and that was told.
            verdict.end_lost = True
            verdict.contents.lose(1, SLOT_UNBOUNDED)
        if verdict.oldest_segment > 1:
            verdict.complete_above = min(self._least, verdict.compacted_through)

    def _header_found(self, header: BatchHeader, segment: str, offset: int) -> bool:
        """Judge what is missing before a sound header; whether the header is to be believed."""
        verdict = self._verdict
        place = f"{segment}: offset {offset}"
        if self._next_sequence is None:
            self._begin(header)
        else:
            absent = header.sequence - self._next_sequence
            if absent < 0:
                verdict.findings.append(f"{place}: batch {header.sequence} stands there once more")
                self._gap(header, 1, header.highest)
                return False
            self._judge(header, absent, place)
        verdict.findings += map(str, self._bad)
        self._bad.clear()
        for of in self._unsure:
            of.highest = header.highest
        self._unsure.clear()
        verdict.segments[-1].highest = header.highest
        if header.oldest_segment == verdict.oldest_segment:
            self._least = min(self._least, header.compacted_through)
        self._next_sequence = header.sequence + 1
        self._checksum = header.checksum
        return True

    def _begin(self, header: BatchHeader) -> None:
        """The first sound header behind what was removed: nobody knows how many came before."""
        self._verdict.contents.restate(header)
        bad = self._bad
        if len(bad) == 1 and bad[0].blocks == 1 and not self._start_lost:
            self._gap(header, header.previous_lowest, header.previous_highest)
        elif bad or self._start_lost:
            self._gap(header, 1, header.highest)

    def _judge(self, header: BatchHeader, absent: int, place: str) -> None:
        verdict = self._verdict
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

    def _gap(self, header: BatchHeader, lowest: Slot, highest: Slot) -> None:
        self._verdict.contents.restate(header)
        self._verdict.contents.lose(lowest, highest)
