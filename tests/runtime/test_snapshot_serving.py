"""Serving snapshots: in pieces that suit a link, within a rate, to each fetcher in its turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from paxos.core.events import Event, SnapshotSpoilt
from paxos.core.messages import SnapshotChunk, SnapshotName
from paxos.runtime import serving
from paxos.runtime.options import NodeOptions
from paxos.runtime.serving import CHUNK_FIRST_BYTES, CHUNK_MIN_BYTES, Fetcher, SnapshotServer
from paxos.storage.base import Identity
from paxos.storage.memory import MemoryStorage

pytestmark = pytest.mark.usefixtures("autojump_clock")

PEER, OTHER, CLIENT = Fetcher(False, 2), Fetcher(False, 3), Fetcher(True, 9)
CHUNK_MAX = 256 * 1024
SIZE = 4 * 1024 * 1024
FAST = 2**50


def storage_with_snapshot(size: int = SIZE) -> tuple[MemoryStorage, SnapshotName, bytes]:
    storage = MemoryStorage(Identity("0" * 32, 1, 1))
    storage.load()
    data = bytes(range(256)) * (size // 256)
    writer = storage.begin_snapshot(5)
    writer.write(data)
    return storage, writer.finish(), data


class World:
    """A server, and fetchers whose links carry ``rates`` bytes a second."""

    def __init__(self, storage: MemoryStorage, rate: int = FAST) -> None:
        self.storage = storage
        self.told: list[Event] = []
        self.sent: list[tuple[float, Fetcher, SnapshotChunk]] = []
        self.unsent: dict[Fetcher, int] = {}
        self._came = trio.Event()
        self.server = SnapshotServer(
            storage,
            NodeOptions(snapshot_bytes_per_s=rate),
            CHUNK_MAX,
            1,
            send=self._send,
            unsent_bytes=lambda fetcher: self.unsent.get(fetcher, 0),
            tell=self.told.append,
        )

    def _send(self, fetcher: Fetcher, chunk: SnapshotChunk) -> bool:
        self.sent.append((trio.current_time(), fetcher, chunk))
        came, self._came = self._came, trio.Event()
        came.set()
        return True

    async def chunk(self, fetcher: Fetcher) -> SnapshotChunk:
        """Wait for the next piece for ``fetcher`` and take it out."""
        while True:
            for position, (_, to, chunk) in enumerate(self.sent):
                if to == fetcher:
                    del self.sent[position]
                    return chunk
            await self._came.wait()

    async def fetch(
        self, fetcher: Fetcher, name: SnapshotName, bytes_per_s: float = FAST
    ) -> tuple[bytes, list[int]]:
        """Fetch all of it over a link of that speed; return it and the sizes of the pieces."""
        data, sizes = b"", []
        while len(data) < name.size:
            self.server.ask(fetcher, name, len(data))
            chunk = await self.chunk(fetcher)
            assert chunk.offset == len(data)
            with trio.move_on_after(len(chunk.data) / bytes_per_s):
                await trio.sleep_forever()
            data += chunk.data
            sizes.append(len(chunk.data))
        return data, sizes


@asynccontextmanager
async def serving_world(storage: MemoryStorage, rate: int = FAST) -> AsyncIterator[World]:
    world = World(storage, rate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.server.run)
        yield world
        nursery.cancel_scope.cancel()


async def test_snapshot_is_served_whole_in_pieces_that_grow_on_a_fast_link() -> None:
    storage, name, data = storage_with_snapshot()
    async with serving_world(storage) as world:
        got, sizes = await world.fetch(PEER, name)
    assert got == data
    assert sizes[0] == CHUNK_FIRST_BYTES
    assert max(sizes) == CHUNK_MAX


async def test_snapshot_over_one_megabit_per_second_goes_in_pieces_of_a_tenth_of_a_second() -> None:
    storage, name, data = storage_with_snapshot(512 * 1024)
    async with serving_world(storage) as world:
        got, sizes = await world.fetch(PEER, name, bytes_per_s=125_000)
    assert got == data
    assert min(sizes[2:-1]) >= CHUNK_MIN_BYTES
    # After the first few, no piece keeps a heartbeat waiting for longer than that.
    assert max(sizes[3:]) <= 12_500


async def test_snapshots_served_together_stay_within_the_rate() -> None:
    storage, name, _ = storage_with_snapshot()
    async with serving_world(storage, rate=1024 * 1024) as world:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.fetch, PEER, name)
            nursery.start_soon(world.fetch, CLIENT, name)
        took_s = trio.current_time() - start
    assert 2 * SIZE / 2**20 - 1 <= took_s <= 2 * SIZE / 2**20 + 1


async def test_fetcher_with_a_full_outbox_waits_and_does_not_hold_up_others() -> None:
    storage, name, data = storage_with_snapshot()
    async with serving_world(storage) as world:
        world.unsent[PEER] = NodeOptions().snapshot_unsent_bytes_max
        world.server.ask(PEER, name, 0)
        got, _ = await world.fetch(OTHER, name)
        assert got == data
        assert all(to != PEER for _, to, _ in world.sent)
        world.unsent[PEER] = 0
        assert (await world.chunk(PEER)).data == data[:CHUNK_FIRST_BYTES]


async def test_snapshot_that_is_gone_is_answered_by_an_empty_piece() -> None:
    storage, name, _ = storage_with_snapshot()
    other = name._replace(through=4)
    async with serving_world(storage) as world:
        world.server.ask(CLIENT, other, 0)
        assert await world.chunk(CLIENT) == SnapshotChunk(other, 0, b"")


async def test_snapshot_found_damaged_is_not_served_and_the_replica_hears_of_it() -> None:
    storage, name, _ = storage_with_snapshot()
    storage.spoil_snapshot(name)
    async with serving_world(storage) as world:
        world.server.ask(PEER, name, 0)
        assert await world.chunk(PEER) == SnapshotChunk(name, 0, b"")
    assert world.told == [SnapshotSpoilt(name)]


async def test_fetcher_that_is_gone_is_forgotten_with_all_it_asked_for() -> None:
    storage, name, data = storage_with_snapshot()
    async with serving_world(storage) as world:
        for offset in (0, 100):
            world.server.ask(PEER, name, offset)
        world.server.forget(PEER)
        world.server.forget(OTHER)
        got, _ = await world.fetch(OTHER, name)
        assert got == data
        assert all(to != PEER for _, to, _ in world.sent)


async def test_fetcher_that_asks_for_too_much_at_once_gets_the_first_few() -> None:
    storage, name, _ = storage_with_snapshot()
    async with serving_world(storage) as world:
        for offset in range(2 * serving.REQUESTS_MAX):
            world.server.ask(PEER, name, offset)
        world.server.ask(PEER, name, 0)
        offsets = [(await world.chunk(PEER)).offset for _ in range(serving.REQUESTS_MAX)]
        assert offsets == list(range(serving.REQUESTS_MAX))
        with trio.move_on_after(1) as waited:
            await world.chunk(PEER)
        assert waited.cancelled_caught
