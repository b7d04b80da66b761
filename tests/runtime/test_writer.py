"""The writer: what waits for a write leaves when it is durable, in order, never after a failure."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from paxos.core.ballot import Ballot
from paxos.core.config import Change, Configuration
from paxos.core.effects import Persist, Send
from paxos.core.ids import Voter
from paxos.core.limits import Limits
from paxos.core.messages import CatchUp, SnapshotName
from paxos.core.quorum import Quorums
from paxos.core.records import AcceptedRecord, PromisedRecord, Record
from paxos.core.value import Value
from paxos.runtime.writer import (
    CHANGE_BYTES_MAX,
    WRITE_OVERHEAD,
    Disk,
    InlineDisk,
    ThreadDisk,
    Writer,
    record_bytes,
    room_min,
)
from paxos.storage.base import Identity, Loaded, SnapshotWriter, StorageFailed

ROOM = 1_000_000


class ScriptedStorage:
    """Remembers what was synced; syncs wait for a gate, and fail when told to."""

    identity = Identity("0" * 32, 1, 1)
    disk_bytes = 0
    sync_method = "scripted"

    def __init__(self) -> None:
        self.room_bytes = ROOM
        self.batches: list[list[Record]] = []
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()
        self._staged: list[Record] = []
        self.compacted: list[int] = []

    def load(self) -> Loaded:
        """Return nothing."""
        return Loaded((), None)

    def append(self, records: Sequence[Record]) -> None:
        """Stage."""
        self._staged.extend(records)

    def sync(self) -> None:
        """Wait for the gate; keep what is staged as one batch."""
        assert self.gate.wait(10)
        if self.fails:
            raise StorageFailed("the disk is gone")
        self.batches.append(self._staged)
        self._staged = []

    def reserve(self) -> None:
        """Do nothing."""

    def compact(self, through: int) -> None:
        """Remember it."""
        self.compacted.append(through)

    snapshots = ()

    def begin_snapshot(self, through: int) -> SnapshotWriter:
        """Not what is tested here."""
        raise NotImplementedError

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        """Not what is tested here."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def promised(round_: int) -> PromisedRecord:
    return PromisedRecord(Ballot(round_, 1))


def persist(number: int, *records: Record) -> Persist:
    return Persist(records or (promised(number),), (Send(2, CatchUp(number)),))


def released(sends: list[Send]) -> list[int]:
    return [send.message.after for send in sends if isinstance(send.message, CatchUp)]


class RungThread:
    """A thread disk, and how often it rang."""

    def __init__(self, storage: ScriptedStorage) -> None:
        self.rung = threading.Semaphore(0)
        self.disk = ThreadDisk(storage, self.rung.release)

    def wait(self) -> None:
        assert self.rung.acquire(timeout=10)


def test_writer_inline_releases_a_write_in_the_call_that_made_it() -> None:
    storage = ScriptedStorage()
    writer = Writer(storage, InlineDisk(storage))
    writer.stage(persist(1))
    writer.stage(persist(2))
    assert writer.can_write()
    assert released(writer.write()) == [1, 2]
    assert storage.batches == [[promised(1), promised(2)]]
    assert not writer.can_write()
    assert writer.write() == []
    assert writer.syncs == 1


def test_writer_on_a_thread_groups_what_arrives_during_a_write_into_the_next() -> None:
    storage = ScriptedStorage()
    thread = RungThread(storage)
    writer = Writer(storage, thread.disk)
    storage.gate.clear()
    writer.stage(persist(1))
    assert writer.write() == []
    writer.stage(persist(2))
    writer.stage(persist(3))
    assert not writer.can_write()
    assert writer.write() == []
    storage.gate.set()
    thread.wait()
    assert released(writer.write())[:1] == [1]
    thread.wait()
    writer.write()
    assert storage.batches == [[promised(1)], [promised(2), promised(3)]]
    writer.close()


def test_writer_barrier_waits_for_the_write_before_it() -> None:
    storage = ScriptedStorage()
    thread = RungThread(storage)
    writer = Writer(storage, thread.disk)
    storage.gate.clear()
    writer.stage(persist(1))
    assert writer.write() == []
    writer.stage(Persist((), (Send(2, CatchUp(2)),)))
    assert writer.write() == []
    storage.gate.set()
    thread.wait()
    assert released(writer.write()) == [1, 2]
    assert len(storage.batches) == 1
    writer.close()


def test_writer_barrier_with_nothing_before_it_is_released_without_a_sync() -> None:
    storage = ScriptedStorage()
    storage.fails = True
    writer = Writer(storage, InlineDisk(storage))
    writer.stage(Persist((), (Send(2, CatchUp(1)),)))
    assert released(writer.write()) == [1]


@pytest.mark.parametrize("threaded", [False, True])
def test_writer_after_a_failed_sync_releases_nothing(threaded: bool) -> None:
    storage = ScriptedStorage()
    storage.fails = True
    thread = RungThread(storage)
    disk: Disk = thread.disk if threaded else InlineDisk(storage)
    writer = Writer(storage, disk)
    writer.stage(persist(1))
    if threaded:
        assert writer.write() == []
        thread.wait()
    with pytest.raises(StorageFailed):
        writer.write()
    assert storage.batches == []
    thread.disk.close()


def test_writer_without_room_writes_what_fits_and_keeps_the_rest_in_order() -> None:
    storage = ScriptedStorage()
    large = AcceptedRecord(Ballot(1, 1), 1, Value(1, bytes(100_000)))
    storage.room_bytes = record_bytes([large]) + WRITE_OVERHEAD
    writer = Writer(storage, InlineDisk(storage))
    for number in (1, 2, 3):
        writer.stage(persist(number, large))
    assert released(writer.write()) == [1]
    storage.room_bytes = WRITE_OVERHEAD
    assert not writer.can_write()
    assert writer.write() == []
    storage.room_bytes = ROOM
    assert writer.can_write()
    assert released(writer.write()) == [2, 3]
    assert [len(batch) for batch in storage.batches] == [1, 2]


def test_record_bytes_is_never_below_what_is_encoded() -> None:
    from paxos import codec

    for size in (0, 1, 300, 70_000):
        record = AcceptedRecord(Ballot(2**62, 2**62), 2**62, Value(2**62, bytes(size)))
        assert record_bytes([record]) >= len(codec.encode_record(record)) + 32


@pytest.mark.parametrize("staged", [False, True])
def test_writer_makes_a_compaction_durable_with_the_next_write_or_with_one_of_its_own(
    staged: bool,
) -> None:
    storage = ScriptedStorage()
    writer = Writer(storage, InlineDisk(storage))
    if staged:
        writer.stage(persist(1))
    writer.compact(7)
    assert storage.compacted == [7]
    assert writer.compactions == 0
    assert writer.can_write()
    assert released(writer.write()) == ([1] if staged else [])
    assert writer.compactions == 1
    assert writer.syncs == len(storage.batches) == 1
    assert not writer.can_write()


def test_writer_compaction_during_a_write_waits_for_the_next() -> None:
    storage = ScriptedStorage()
    thread = RungThread(storage)
    writer = Writer(storage, thread.disk)
    storage.gate.clear()
    writer.stage(persist(1))
    assert writer.write() == []
    writer.compact(7)
    assert not writer.can_write()
    storage.gate.set()
    thread.wait()
    assert released(writer.write()) == [1]
    assert writer.compactions == 0
    thread.wait()
    writer.write()
    assert writer.compactions == 1
    assert storage.batches == [[promised(1)], []]
    writer.close()


def test_writer_barrier_behind_a_compaction_waits_for_it() -> None:
    storage = ScriptedStorage()
    thread = RungThread(storage)
    writer = Writer(storage, thread.disk)
    storage.gate.clear()
    writer.compact(7)
    assert writer.write() == []
    assert writer.outstanding
    writer.stage(Persist((), (Send(2, CatchUp(2)),)))
    assert writer.write() == []
    storage.gate.set()
    thread.wait()
    assert released(writer.write()) == [2]
    writer.close()


def test_writer_counts_a_change_of_the_configuration_at_its_largest() -> None:
    member = Configuration(1, Quorums.majority([Voter(1, 1)]))
    change = AcceptedRecord(Ballot(1, 1), 1, Value(None, b"", Change(member)))
    assert record_bytes([change]) >= CHANGE_BYTES_MAX


def test_room_min_has_place_for_the_largest_record_of_any_kind() -> None:
    small = Limits(batch_bytes_max=10, submission_bytes_max=20)
    member = Configuration(1, Quorums.majority([Voter(1, 1)]))
    change = AcceptedRecord(Ballot(1, 1), 1, Value(None, b"", Change(member)))
    assert room_min(small) >= record_bytes([change]) + WRITE_OVERHEAD
    batch = AcceptedRecord(Ballot(1, 1), 1, Value(1, bytes(Limits().submission_bytes_max)))
    assert room_min(Limits()) >= record_bytes([batch]) + WRITE_OVERHEAD
