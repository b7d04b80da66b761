"""Snapshots to disk: made in slices, named only once durable, fetched ones checked as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from paxos import snapshot_format
from paxos.core.config import Configuration, Governing
from paxos.core.effects import StoreChunk
from paxos.core.errors import InvariantBroken
from paxos.core.events import (
    Event,
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
)
from paxos.core.ids import Voter
from paxos.core.messages import SnapshotName
from paxos.core.quorum import Quorums
from paxos.core.snapshot import Snapshot, SnapshotHead, SnapshotPart
from paxos.runtime import snapshots
from paxos.runtime.options import NodeOptions
from paxos.runtime.snapshots import SnapshotFetcher, SnapshotSaver, stored_snapshot
from paxos.storage.base import Identity, StorageFailed
from paxos.storage.memory import MemoryStorage

pytestmark = pytest.mark.usefixtures("autojump_clock")

IDENTITY = Identity("0" * 32, 1, 1)
FOUNDING = Governing(1, Configuration(1, Quorums.majority([Voter(1, 1)])))
EAGER = NodeOptions(snapshot_slice_s=1e-9, snapshot_pause_s=0.01, disk_retry_s=1.0)
"""Every part is a slice of its own."""


def snapshot(chunks: list[bytes], through: int = 7) -> Snapshot:
    head = SnapshotHead(through, 5, 100, b"d" * 16, (FOUNDING,))
    return Snapshot(head, lambda: (SnapshotPart("m", chunk) for chunk in chunks))


def encoded(chunks: list[bytes], through: int = 7) -> tuple[SnapshotName, bytes]:
    data = b"".join(snapshot_format.encode(snapshot(chunks, through)))
    return SnapshotName(through, len(data), hashlib.blake2b(data, digest_size=16).digest()), data


def chunks_of(stored: Snapshot) -> list[bytes]:
    return [part.chunk for part in stored.parts()]


async def elapse(seconds: float) -> None:
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


class Heard:
    """Events that were told, and a way to wait for the next."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Event](100)

    def tell(self, event: Event) -> None:
        self._send.send_nowait(event)

    async def next(self) -> Event:
        return await self._receive.receive()

    @property
    def pending(self) -> int:
        return self._receive.statistics().current_buffer_used


def loaded(storage: MemoryStorage) -> MemoryStorage:
    storage.load()
    return storage


@asynccontextmanager
async def saving(
    storage: Any, options: NodeOptions = EAGER
) -> AsyncIterator[tuple[SnapshotSaver, Heard]]:
    heard = Heard()
    saver = SnapshotSaver(storage, options, 1, heard.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saver.run)
        yield saver, heard
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def fetching(
    storage: Any, room_made: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[SnapshotFetcher, Heard]]:
    heard = Heard()
    fetcher = SnapshotFetcher(storage, EAGER, 1, heard.tell, room_made)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.run)
        yield fetcher, heard
        nursery.cancel_scope.cancel()


# --- saving ------------------------------------------------------------


async def test_snapshot_is_told_saved_once_it_can_be_read_back_whole() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    parts = [bytes([number]) * 50_000 for number in range(60)]
    async with saving(storage) as (saver, heard):
        saver.save(snapshot(parts))
        event = await heard.next()
    assert isinstance(event, SnapshotSaved)
    assert storage.snapshots == (event.name,)
    assert event.name == encoded(parts)[0]
    assert chunks_of(stored_snapshot(storage, event.name)) == parts
    assert saver.progress is None
    assert saver.trouble == ""


async def test_snapshot_is_made_in_slices_between_which_other_tasks_run() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    between = 0

    def parts() -> Iterator[SnapshotPart]:
        for number in range(20):
            yield SnapshotPart("m", bytes([number]) * 100_000)
            taken.append(between)

    taken: list[int] = []
    async with saving(storage) as (saver, heard), trio.open_nursery() as nursery:

        async def tick() -> None:
            nonlocal between
            while True:
                await elapse(EAGER.snapshot_pause_s)
                between += 1

        nursery.start_soon(tick)
        saver.save(Snapshot(snapshot([]).head, parts))
        assert isinstance(await heard.next(), SnapshotSaved)
        nursery.cancel_scope.cancel()
    # Never more than a few parts without a pause in which the other task had its turn.
    assert max(taken.count(moment) for moment in taken) <= 3


async def test_snapshot_on_a_full_disk_is_abandoned_told_and_the_next_one_is_saved() -> None:
    storage = loaded(MemoryStorage(IDENTITY, capacity=200_000))
    async with saving(storage) as (saver, heard):
        saver.save(snapshot([bytes(100_000)] * 30))
        assert await heard.next() == SnapshotNotSaved(7)
        assert "full" in saver.trouble
        assert storage.snapshots == ()
        storage.capacity = 2**30
        saver.save(snapshot([bytes(100_000)] * 30, through=9))
        assert isinstance(await heard.next(), SnapshotSaved)
        assert saver.trouble == ""


async def test_snapshot_of_a_machine_that_raises_is_not_saved_and_the_reason_is_kept() -> None:
    storage = loaded(MemoryStorage(IDENTITY))

    def parts() -> Iterator[SnapshotPart]:
        yield SnapshotPart("m", b"x")
        raise KeyError("nothing")

    async with saving(storage) as (saver, heard):
        saver.save(Snapshot(snapshot([]).head, parts))
        assert await heard.next() == SnapshotNotSaved(7)
        assert "KeyError" in saver.trouble
        assert storage.snapshots == ()


async def test_snapshot_on_a_disk_that_fails_ends_the_node() -> None:
    class Broken(MemoryStorage):
        def begin_snapshot(self, through: int) -> Any:
            raise StorageFailed("no more")

    with pytest.RaisesGroup(StorageFailed):
        async with saving(loaded(Broken(IDENTITY))) as (saver, _):
            saver.save(snapshot([b"x"]))
            await trio.sleep_forever()


async def test_second_snapshot_while_one_is_being_saved_breaks_an_invariant() -> None:
    async with saving(loaded(MemoryStorage(IDENTITY))) as (saver, _):
        saver.save(snapshot([b"x"]))
        with pytest.raises(InvariantBroken):
            saver.save(snapshot([b"x"]))


async def test_snapshot_that_is_cut_off_by_the_end_of_the_node_leaves_nothing() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    begun = trio.Event()

    def parts() -> Iterator[SnapshotPart]:
        while True:
            begun.set()
            yield SnapshotPart("m", bytes(100_000))

    async with saving(storage) as (saver, heard):
        saver.save(Snapshot(snapshot([]).head, parts))
        await begun.wait()
    assert storage.snapshots == ()
    assert heard.pending == 0


# --- fetching ------------------------------------------------------------


def pieces(name: SnapshotName, data: bytes, size: int = 10_000) -> list[StoreChunk]:
    return [
        StoreChunk(name, start, data[start : start + size]) for start in range(0, len(data), size)
    ]


async def test_fetched_snapshot_is_told_once_it_is_durable_and_equal_to_its_name() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    parts = [bytes([number]) * 5_000 for number in range(20)]
    name, data = encoded(parts)
    async with fetching(storage) as (fetcher, heard):
        for piece in pieces(name, data):
            fetcher.store(piece)
        event = await heard.next()
    assert isinstance(event, SnapshotFetched)
    assert event.name == name
    assert storage.snapshots == (name,)
    assert event.snapshot.head.through == 7
    assert chunks_of(event.snapshot) == parts


@pytest.mark.parametrize("flaw", ["a byte differs", "too much", "of another slot", "nonsense"])
async def test_fetched_snapshot_with_a_flaw_is_spoilt_and_never_durable(flaw: str) -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    name, data = encoded([b"x" * 30_000])
    if flaw == "a byte differs":
        data = data[:20_000] + b"y" + data[20_001:]
    elif flaw == "too much":
        data += b"more"
    elif flaw == "of another slot":
        name = name._replace(through=8)
    else:
        data = b"z" * name.size
        name = SnapshotName(7, len(data), hashlib.blake2b(data, digest_size=16).digest())
    async with fetching(storage) as (fetcher, heard):
        for piece in pieces(name, data):
            fetcher.store(piece)
        assert await heard.next() == SnapshotSpoilt(name)
        assert fetcher.trouble
        assert storage.snapshots == ()


async def test_fetched_snapshot_that_newer_ones_have_displaced_meanwhile_is_not_told() -> None:
    """This node has saved two of its own behind it: the fetched one is removed as it is named."""
    storage = loaded(MemoryStorage(IDENTITY))
    async with saving(storage) as (saver, heard):
        for through in (8, 9):
            saver.save(snapshot([b"x"], through=through))
            await heard.next()
    name, data = encoded([b"x" * 30_000])
    async with fetching(storage) as (fetcher, heard):
        for piece in pieces(name, data):
            fetcher.store(piece)
        assert await heard.next() == SnapshotSpoilt(name)
    assert [each.through for each in storage.snapshots] == [8, 9]


async def test_fetched_pieces_out_of_order_are_dropped_and_offset_0_begins_anew() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    name, data = encoded([b"x" * 30_000])
    first, second, third, *rest = pieces(name, data)
    async with fetching(storage) as (fetcher, heard):
        # Of one that was given up; anew; a gap; twice the same; and then the rest.
        for piece in (second, first, second, first, *rest[-1:], second, second, third, *rest):
            fetcher.store(piece)
        assert isinstance(await heard.next(), SnapshotFetched)
        assert heard.pending == 0


async def test_fetched_snapshot_without_room_is_spoilt_after_a_pause_not_at_once() -> None:
    storage = loaded(MemoryStorage(IDENTITY, capacity=20_000))
    name, data = encoded([b"x" * 50_000])
    async with fetching(storage) as (fetcher, heard):
        start = trio.current_time()
        for piece in pieces(name, data):
            fetcher.store(piece)
        assert await heard.next() == SnapshotSpoilt(name)
        assert trio.current_time() - start >= EAGER.disk_retry_s
        assert "full" in fetcher.trouble


async def test_fetcher_with_too_much_unwritten_is_congested_and_tells_when_there_is_room() -> None:
    storage = loaded(MemoryStorage(IDENTITY))
    name, data = encoded([b"x" * 200_000])
    room = trio.Event()
    async with fetching(storage, room.set) as (fetcher, heard):
        congested = [fetcher.congested]
        for piece in pieces(name, data)[: snapshots.BACKLOG_MAX]:
            fetcher.store(piece)
            congested.append(fetcher.congested)
        await room.wait()
        congested.append(fetcher.congested)
        assert congested == [False] * snapshots.BACKLOG_MAX + [True, False]
        assert heard.pending == 0
