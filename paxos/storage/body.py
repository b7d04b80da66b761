"""What stands in a batch: records, each wrapped in a msgpack ``bin``, one after another.

Shared by every back end that keeps bytes. Also owns the tally: the few numbers about a log that a
batch's header repeats, so that they survive the loss of the batch they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgpack import Packer, Unpacker, UnpackException

from paxos.codec import ProtocolError, decode_record, encode_record
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import Slot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)

_pack: Callable[[bytes], bytes] = Packer().pack


def frame_record(record: Record) -> bytes:
    """Return a record as it stands in a batch."""
    return _pack(encode_record(record))


def read_records(body: bytes | memoryview) -> tuple[list[Record], bytes]:
    """Return the whole records of ``body``, and the bytes of a last one that is cut short.

    Raises:
        ProtocolError: A record is not understood. As the bytes passed their checksum, another
            version wrote them.
    """
    unpacker = Unpacker(None, max_buffer_size=0)
    unpacker.feed(body)
    records: list[Record] = []
    read = 0
    try:
        for framed in unpacker:
            if type(framed) is not bytes:
                raise ProtocolError(f"a record is wrapped as bytes, not as {type(framed).__name__}")
            records.append(decode_record(framed))
            read = unpacker.tell()  # behind the last it would count the start of one that is cut
    except (ValueError, UnpackException) as error:
        raise ProtocolError(f"the batch is no sequence of records: {error}") from error
    return records, bytes(body[read:])


def uncompacted(records: Iterable[Record], through: Slot) -> list[Record]:
    """Return the records without those of slots at or below ``through``.

    Whoever accepted has promised: the highest ballot of what is left out stays, as a promise.
    """
    promised = BALLOT_ZERO
    kept: list[Record] = []
    for record in records:
        if not isinstance(record, AcceptedRecord | DecidedRecord) or record.slot > through:
            kept.append(record)
        elif isinstance(record, AcceptedRecord):
            promised = max(promised, record.ballot)
    return [PromisedRecord(promised), *kept] if promised > BALLOT_ZERO else kept


def summarised(records: Iterable[Record], through: Slot) -> list[Record]:
    """Return what is left of records once all up to ``through`` may be forgotten.

    What was accepted and decided above it; the highest promise and the highest round; and the
    watermarks that may still mark one of what is left.
    """
    tally = Tally()
    kept: list[Record] = []
    for record in records:
        slot = tally.note(record)
        if slot > through or (isinstance(record, WatermarkRecord) and record.through > through):
            kept.append(record)
    return [*tally.records(), *kept]


class Tally:
    """The highest numbers that ever went into a log.

    Attributes:
        promised: At or above every ballot promised or accepted.
        issued: The highest ballot this node sent a Prepare at.
        highest: The highest slot ever accepted or decided.
    """

    __slots__ = ("highest", "issued", "promised")

    def __init__(
        self, promised: Ballot = BALLOT_ZERO, issued: Ballot = BALLOT_ZERO, highest: Slot = 0
    ) -> None:
        self.promised = promised
        self.issued = issued
        self.highest = highest

    def records(self) -> list[Record]:
        """Return what was promised and issued, as records."""
        noted: list[Record] = []
        if self.promised > BALLOT_ZERO:
            noted.append(PromisedRecord(self.promised))
        if self.issued > BALLOT_ZERO:
            noted.append(IssuedRecord(self.issued))
        return noted

    def note(self, record: Record) -> Slot:
        """Take a record in; return the slot whose contents it carries, or 0."""
        if isinstance(record, AcceptedRecord):
            self.promised = max(self.promised, record.ballot)
        elif isinstance(record, PromisedRecord):
            self.promised = max(self.promised, record.ballot)
            return 0
        elif isinstance(record, IssuedRecord):
            self.issued = max(self.issued, record.ballot)
            return 0
        elif not isinstance(record, DecidedRecord):
            return 0
        self.highest = max(self.highest, record.slot)
        return record.slot
