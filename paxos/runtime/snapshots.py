"""Snapshots on their way to disk: the node's own, made a little at a time, and fetched ones.

Owns the pace at which a snapshot is made, the threads that write, and the check of what was
fetched. It guards two promises: a snapshot is named (``SnapshotSaved``, ``SnapshotFetched``) only
once it is durable, and a fetched one only if its bytes are those that its name stands for. Knows
nothing of channels, and decides nothing about when a snapshot is due or whose is fetched.

The parts of a snapshot are read in the node's own thread, between its passes, because state
machines are not made for several threads; everything that touches the disk is done in others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import trio

from paxos import snapshot_format
from paxos.core.effects import StoreChunk
from paxos.core.errors import ensure
from paxos.core.events import (
    Event,
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
)
from paxos.core.ids import NodeId, Slot
from paxos.core.messages import SnapshotName
from paxos.core.snapshot import Snapshot
from paxos.runtime.observe import logger
from paxos.storage.base import DataDamaged, StorageFull

if TYPE_CHECKING:
    from paxos.runtime.options import NodeOptions
    from paxos.storage.base import SnapshotWriter, Storage

PIECE_BYTES = 1024 * 1024
"""What is handed to the writing thread at once: large enough that the hand-over costs nothing."""

BACKLOG_MAX = 8
"""Fetched pieces that wait for the disk; while there are more, no further one is taken in."""

HEAD_BYTES_MAX = 1024 * 1024
"""The head of a snapshot fits in here many times over."""

Tell = Callable[[Event], None]
"""Hands an event to the replica, soon."""


class Progress(NamedTuple):
    """How far a snapshot has come: the slot it reflects, bytes done, and bytes in all if known."""

    through: Slot
    bytes_done: int
    bytes_all: int | None


def stored_snapshot(storage: Storage, name: SnapshotName) -> Snapshot:
    """Return a durable snapshot; its head is read now, its parts whenever they are asked for.

    Raises:
        LookupError: It is not there.
        DataDamaged: What is read now, or later, is not what was written.
        SnapshotInvalid: It is not a snapshot that this release can read.
    """

    def read_at(offset: int, length: int) -> bytes:
        return storage.read_snapshot(name, offset, length)

    return snapshot_format.read(name.size, read_at)


class SnapshotSaver:
    """Carries out ``SaveSnapshot``: one at a time, in slices that hold up nothing else.

    Args:
        storage: Where to.
        options: How long a slice may take, and how long the pause after it is.
        node: For the log.
        tell: Hears how it ended.
    """

    def __init__(self, storage: Storage, options: NodeOptions, node: NodeId, tell: Tell) -> None:
        self._storage = storage
        self._slice_s = options.snapshot_slice_s
        self._pause_s = options.snapshot_pause_s
        self._tell = tell
        self._log = logger(node=node)
        self._wanted: Snapshot | None = None
        self._bell = trio.Event()
        self._through: Slot = 0
        self._bytes_done = 0
        self.trouble = ""
        """Why the last one was not saved; empty if it was."""

    @property
    def progress(self) -> Progress | None:
        """How far the one that is under way has come."""
        if self._wanted is None:
            return None
        return Progress(self._wanted.head.through, self._bytes_done, None)

    def save(self, snapshot: Snapshot) -> None:
        """Begin. ``SnapshotSaved`` or ``SnapshotNotSaved`` follows."""
        ensure(self._wanted is None, "a second snapshot while one is being saved")
        self._wanted = snapshot
        self._bytes_done = 0
        self._bell.set()

    async def run(self) -> None:
        """Save what is asked for, until cancelled.

        Raises:
            StorageFailed: Fatal.
        """
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            assert self._wanted is not None
            event = await self._save(self._wanted)
            self._wanted = None
            self._tell(event)

    async def _save(self, snapshot: Snapshot) -> Event:
        through = snapshot.head.through
        began = trio.current_time()
        self._log.info("snapshot begins", through=through)
        writer: SnapshotWriter | None = None
        try:
            writer = await trio.to_thread.run_sync(self._storage.begin_snapshot, through)
            pieces = snapshot_format.encode(snapshot)
            while (piece := await self._next_piece(pieces)) is not None:
                await trio.to_thread.run_sync(writer.write, piece)
                self._bytes_done += len(piece)
            name = await trio.to_thread.run_sync(writer.finish)
        except (StorageFull, _MachineFailed) as error:
            self.trouble = str(error)
            self._log.error("snapshot not saved", through=through, why=self.trouble)
            if writer is not None:
                await trio.to_thread.run_sync(writer.abandon)
            return SnapshotNotSaved(through)
        except trio.Cancelled:
            if writer is not None:
                writer.abandon()
            raise
        self.trouble = ""
        took_s = round(trio.current_time() - began, 3)
        self._log.info("snapshot saved", through=through, size=name.size, took_s=took_s)
        return SnapshotSaved(name)

    async def _next_piece(self, pieces: Iterator[bytes]) -> bytes | None:
        """Gather what is written at once, in slices with pauses between; None at the end."""
        gathered = bytearray()
        while len(gathered) < PIECE_BYTES:
            # Not trio's clock: what counts is how long the processor was really held.
            until = time.perf_counter() + self._slice_s
            try:
                for each in pieces:
                    gathered += each
                    if len(gathered) >= PIECE_BYTES or time.perf_counter() >= until:
                        break
                else:
                    return bytes(gathered) if gathered else None
            except MemoryError:
                raise
            except Exception as error:
                # A state machine's own code: no reason to stop serving what it still can do.
                raise _MachineFailed(
                    f"a state machine's snapshot failed: {type(error).__name__}: {error}"
                ) from error
            if len(gathered) < PIECE_BYTES:
                await trio.sleep(self._pause_s)
        return bytes(gathered)


class _MachineFailed(Exception):
    """A state machine raised while its snapshot was made."""


class _Incoming:
    """A snapshot that is being fetched, as far as it is written."""

    __slots__ = ("first", "name", "size", "writer")

    def __init__(self, name: SnapshotName, writer: SnapshotWriter) -> None:
        self.name = name
        self.writer = writer
        self.size = 0
        self.first = bytearray()
        """The beginning, where the head is."""

    def write(self, data: bytes) -> None:
        """Write what comes next. Blocking."""
        self.writer.write(data)
        self.size += len(data)
        if len(self.first) < HEAD_BYTES_MAX:
            self.first += data[: HEAD_BYTES_MAX - len(self.first)]

    def flaw(self) -> str:
        """Return what is wrong with it now that it should be whole; empty if nothing is."""
        if self.size != self.name.size:
            return f"it has {self.size} bytes, not {self.name.size}"
        if self.writer.digest != self.name.digest:
            return "its digest is not the one it was offered by"
        first = bytes(self.first)
        try:
            head = snapshot_format.read(
                self.name.size, lambda start, length: first[start : start + length]
            ).head
        except snapshot_format.SnapshotInvalid as error:
            return str(error)
        if head.through != self.name.through:
            return f"it reflects slot {head.through}, not {self.name.through}"
        return ""


class SnapshotFetcher:
    """Carries out ``StoreChunk``: keeps the pieces of a fetched snapshot, and checks the whole.

    Args:
        storage: Where to.
        options: How long to wait when there is no room.
        node: For the log.
        tell: Hears how it ended.
        room_made: Called whenever the backlog has become shorter.
    """

    def __init__(
        self,
        storage: Storage,
        options: NodeOptions,
        node: NodeId,
        tell: Tell,
        room_made: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._retry_s = options.disk_retry_s
        self._tell = tell
        self._room_made = room_made
        self._log = logger(node=node)
        self._waiting: deque[StoreChunk] = deque()
        self._bell = trio.Event()
        self._incoming: _Incoming | None = None
        self.trouble = ""
        """Why the last one was not taken; empty if it was."""

    @property
    def congested(self) -> bool:
        """Whether the disk is so far behind that no further piece should be taken in."""
        return len(self._waiting) >= BACKLOG_MAX

    @property
    def progress(self) -> Progress | None:
        """How far the one that is being fetched has come."""
        incoming = self._incoming
        if incoming is None:
            return None
        return Progress(incoming.name.through, incoming.size, incoming.name.size)

    def store(self, chunk: StoreChunk) -> None:
        """Keep a piece. Once all are there, ``SnapshotFetched`` or ``SnapshotSpoilt`` follows."""
        self._waiting.append(chunk)
        self._bell.set()

    async def run(self) -> None:
        """Store what comes, until cancelled.

        Raises:
            StorageFailed: Fatal.
        """
        try:
            while True:
                await self._bell.wait()
                self._bell = trio.Event()
                while self._waiting:
                    chunk = self._waiting.popleft()
                    try:
                        await self._store(chunk)
                    except StorageFull as error:
                        await self._no_room(chunk.name, str(error))
                    self._room_made()
        finally:
            self._abandon()

    async def _store(self, chunk: StoreChunk) -> None:
        if chunk.offset == 0:
            self._abandon()
            writer = await trio.to_thread.run_sync(self._storage.begin_snapshot, chunk.name.through)
            self._incoming = _Incoming(chunk.name, writer)
        incoming = self._incoming
        if incoming is None or (incoming.name, incoming.size) != (chunk.name, chunk.offset):
            # Of one that was given up meanwhile, or twice the same piece.
            self._log.debug("piece of a snapshot out of order", chunk=str(chunk))
            return
        await trio.to_thread.run_sync(incoming.write, chunk.data)
        if incoming.size >= incoming.name.size:
            await self._conclude(incoming)

    async def _conclude(self, incoming: _Incoming) -> None:
        name = incoming.name
        self.trouble = incoming.flaw()
        if self.trouble:
            self._log.error("fetched snapshot spoilt", through=name.through, why=self.trouble)
            self._abandon()
            self._tell(SnapshotSpoilt(name))
            return
        written = await trio.to_thread.run_sync(incoming.writer.finish)
        self._incoming = None
        ensure(written == name, f"the snapshot {name} was stored as {written}")
        try:
            snapshot = stored_snapshot(self._storage, name)
        except (LookupError, DataDamaged) as error:
            # This node's own have become newer meanwhile; or the disk has lost it again.
            self.trouble = str(error)
            self._log.error("fetched snapshot is gone", through=name.through, why=self.trouble)
            self._tell(SnapshotSpoilt(name))
            return
        self._log.info("snapshot fetched", through=name.through, size=name.size)
        self._tell(SnapshotFetched(name, snapshot))

    async def _no_room(self, name: SnapshotName, why: str) -> None:
        self.trouble = why
        self._log.error("no room for a fetched snapshot", through=name.through, why=why)
        self._abandon()
        # It will be fetched anew at once: not more often than a full disk is looked at.
        await trio.sleep(self._retry_s)
        self._tell(SnapshotSpoilt(name))

    def _abandon(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.writer.abandon()
