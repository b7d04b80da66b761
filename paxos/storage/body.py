"""What stands in a batch: records, each wrapped in a msgpack ``bin``, one after another.

Shared by every back end that keeps bytes. Also owns the tally: the few numbers about a log that a
batch's header repeats, so that they survive the loss of the batch they came from.
"""

from __future__ import annotations

from collections.abc import Callable

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
)

_pack: Callable[[bytes], bytes] = Packer().pack


def frame_record(record: Record) -> bytes:
    """Return a record as it stands in a batch."""
    return _pack(encode_record(record))


def read_records(body: bytes) -> tuple[list[Record], bytes]:
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
    return records, body[read:]


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
