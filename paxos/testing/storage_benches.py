"""Data directories that can be crashed, filled and spoilt: the benches of the three back ends.

Owns what a crash may leave of each. A bench for another back end imitates one of these:
``SegmentBench`` for a log whose disk can be replaced, ``SqliteBench`` for one that only has files.
It knows nothing of what is checked on it.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import Record
from paxos.storage import segments, sqlite
from paxos.storage.base import Identity, Loaded, SnapshotWriter, Storage
from paxos.storage.disk import File, RealDisk
from paxos.storage.layout import BLOCK, SECTOR
from paxos.storage.memory import MemoryStorage
from paxos.storage.snapshots import snapshot_file_name
from paxos.testing.disk import Crashed, ModelDisk

IDENTITY = Identity("c0ffee00c0ffee00c0ffee00c0ffee00", 3, 1234567890123)
"""Whose directory the benches of this module make."""

SUBSETS_OF = 7
"""Every subset of so many unsynced things is tried; of more, a sample."""

_T = TypeVar("_T")

Act = Callable[[Storage], None]
"""Something that is done to a log."""


class Bench(Protocol):
    """One data directory, made and never used, whose process and machine can be crashed.

    At most one log made by ``open`` is used at a time; after ``kill`` and ``power_cut`` none is.
    """

    identity: Identity

    def open(self, expected: Identity | None = None) -> Storage:
        """Open the log as a new process would, as ``expected``'s or, with None, as it is."""

    def kill(self) -> None:
        """The process that uses the log dies by SIGKILL."""

    def power_cut(self) -> None:
        """The machine loses power, and all that was not synced is gone."""

    def crashes(self, acts: Sequence[Act]) -> Iterator[tuple[Bench, int]]:
        """Open and load the log, then do to it one act after another, and die: everywhere.

        Yields:
            A bench in each state that a crash may leave: killed between any two writes, or power
            lost there with any part of what was unsynced; and how many acts had ended before.
        """

    def spoil_snapshot(self, name: SnapshotName) -> None:
        """Change a byte of a durable snapshot behind the back of everybody."""

    def break_sync(self) -> None:
        """Let the next sync of the open log fail. Later ones would succeed."""

    def fill(self, full: bool) -> None:
        """Take all free space away from the open log, or give it back."""

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Yield benches in which one bit of what is stored has changed, and which one."""


def subsets(
    things: Sequence[_T], rng: Random, samples: int = SUBSETS_OF
) -> Iterator[tuple[_T, ...]]:
    """Yield every subset of a few things; of many: none, all, all but one, one, and some others."""
    if len(things) <= SUBSETS_OF:
        sizes = range(len(things) + 1)
        yield from chain.from_iterable(combinations(things, size) for size in sizes)
        return
    yield ()
    yield tuple(things)
    for one in rng.sample(things, samples):
        yield (one,)
        yield tuple(each for each in things if each != one)
        yield tuple(each for each in things if rng.random() < 0.5)


def _middle(name: SnapshotName) -> int:
    """Return an offset in the middle of a snapshot's file, or in its header if that is all."""
    return BLOCK + name.size // 2 if name.size else 100


class SegmentBench:
    """The default log on a model disk.

    Args:
        segment_bytes: Small, so that it rolls over often.
    """

    def __init__(self, *, segment_bytes: int = 4 * BLOCK, disk: ModelDisk | None = None) -> None:
        self.identity = IDENTITY
        self.directory = Path("/data/node")
        self.segment_bytes = segment_bytes
        if disk is None:
            disk = ModelDisk()
            segments.create(self.directory, IDENTITY, disk=disk)
        self.disk = disk

    def open(self, expected: Identity | None = None) -> segments.SegmentStorage:
        """Open the log on the model disk."""
        return segments.open_segments(
            self.directory, expected, segment_bytes=self.segment_bytes, disk=self.disk
        )

    def kill(self) -> None:
        """Kill whoever uses the disk."""
        self.disk.kill()

    def power_cut(self) -> None:
        """Lose everything unsynced."""
        self.disk.power_cut()

    def on(self, disk: ModelDisk) -> SegmentBench:
        """Return the same bench on another disk."""
        return SegmentBench(segment_bytes=self.segment_bytes, disk=disk)

    def crashes(self, acts: Sequence[Act]) -> Iterator[tuple[Bench, int]]:
        """Die at each step of the model disk, from opening on."""
        rng = Random(4)
        for step in range(self.disk.steps, 2**31):
            disk = self.disk.copy()
            disk.crash_at(step)
            done = 0
            try:
                storage = self.on(disk).open()
                storage.load()
                for number, act in enumerate(acts):
                    if number % 2:
                        storage.reserve()
                    act(storage)
                    done += 1
            except Crashed:
                pass
            yield self.on(disk.copy()), done
            for kept in subsets(disk.unsynced(), rng):
                cut = disk.copy()
                cut.power_cut(frozenset(kept))
                yield self.on(cut), done
            if done == len(acts):
                return

    def spoil_snapshot(self, name: SnapshotName) -> None:
        """Flip a bit in the middle of its file."""
        path = self.directory / snapshot_file_name(name)
        self.disk.flip(path, _middle(name))

    def break_sync(self) -> None:
        """Fail the disk's next sync, and forget what it was for."""
        self.disk.fail_sync()

    def fill(self, full: bool) -> None:
        """Let no file grow."""
        self.disk.capacity = 0 if full else None

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Change a bit in each field of each header, in each body, and in the identity."""
        rng = Random(7)
        names = [name for name in self.disk.names(self.directory) if not name.endswith(".tmp")]
        for name in names:
            path = self.directory / name
            data = self.disk.read(path)
            if name.startswith("segment-"):
                # A byte more says that another segment follows, and is no part of anything.
                data = data[: len(data) - len(data) % SECTOR]
            # Nothing past the last byte that is not zero was ever written; between batches there
            # is padding, which means nothing.
            used = [
                offset
                for start in range(0, len(data), BLOCK)
                for offset in range(start, start + min(BLOCK, len(data) - start))
                if data[offset] or offset - start < SECTOR
            ]
            for offset in sorted(rng.sample(used, min(len(used), 120))):
                if name != names[-1] or data[offset - offset % SECTOR : offset + SECTOR].strip(
                    b"\0"
                ):
                    disk = self.disk.copy()
                    disk.flip(path, offset, rng.randrange(8))
                    yield f"{name}: a bit of byte {offset}", self.on(disk)


class MemoryBench:
    """The log in memory."""

    def __init__(self) -> None:
        self.identity = IDENTITY
        self._storage = MemoryStorage(IDENTITY)
        self._storage.close()

    def open(self, expected: Identity | None = None) -> MemoryStorage:
        """Reopen it."""
        self._storage = self._storage.reopen(expected)
        return self._storage

    def kill(self) -> None:
        """Kill it."""
        self._storage.kill()

    def power_cut(self) -> None:
        """Cut its power."""
        self._storage.power_cut()

    def crashes(self, acts: Sequence[Act]) -> Iterator[tuple[Bench, int]]:
        """Die between any two acts, and in each before, in or after the first write it asks for."""
        for done in range(len(acts) + 1):
            for moment in _MOMENTS:
                for end in (MemoryStorage.kill, MemoryStorage.power_cut):
                    bench = MemoryBench()
                    storage = bench.open()
                    storage.load()
                    for act in acts[:done]:
                        act(storage)
                    _cut_short(storage, acts[done : done + 1], moment)
                    end(storage)
                    yield bench, done

    def spoil_snapshot(self, name: SnapshotName) -> None:
        """Say that it is."""
        self._storage.spoil_snapshot(name)

    def break_sync(self) -> None:
        """Fail its next sync."""
        self._storage.fails_next_sync = True

    def fill(self, full: bool) -> None:
        """Take its room away."""
        self._storage.capacity = 0 if full else 2**40

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Yield nothing: memory has no format."""
        yield from ()


_MOMENTS = ("before", "unsynced", "synced")


def _cut_short(storage: MemoryStorage, acts: Sequence[Act], moment: str) -> None:
    """Do an act up to a moment in the middle of its first sync."""

    def sync() -> None:
        if moment == "unsynced":
            storage.write()
        elif moment == "synced":
            MemoryStorage.sync(storage)
        raise Crashed

    storage.sync = sync  # type: ignore[method-assign]
    try:
        for act in acts:
            act(storage)
    except Crashed:
        pass


class _FullableDisk(RealDisk):
    """A real disk on which no file can be made while it is said to be full."""

    def __init__(self, full: Callable[[], bool]) -> None:
        super().__init__()
        self._full = full

    def create(self, path: Path) -> File:
        """Refuse, or create."""
        if self._full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


class SqliteBench:
    """The SQLite log in a real directory. A crash is a copy of its files as they were.

    Args:
        directory: Empty; each crash gets a directory in it.
    """

    def __init__(self, directory: Path, *, data: Path | None = None) -> None:
        self.identity = IDENTITY
        self.full = False
        self._directory = directory
        self._storage: _WatchedSqlite | None = None
        if data is None:
            data = self._new_directory()
            sqlite.create(data, IDENTITY)
        self.data = data

    def _new_directory(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._directory))

    def open(self, expected: Identity | None = None) -> Storage:
        """Open the database."""
        opened = sqlite.open_sqlite(
            self.data,
            expected,
            free_bytes=lambda _: 0 if self.full else 2**40,
            disk=_FullableDisk(lambda: self.full),
        )
        self._storage = _WatchedSqlite(opened, self.data)
        return self._storage

    def kill(self) -> None:
        """Go on with a copy of the files as they can be read now."""
        self._crash(_image(self.data))

    def power_cut(self) -> None:
        """Go on with a copy of the files as they were when the last call had made them durable."""
        self._crash(_image(self.data) if self._storage is None else self._storage.durable)

    def crashes(self, acts: Sequence[Act]) -> Iterator[tuple[Bench, int]]:
        """Around each act, mix the sectors of the database before and after it.

        A file beside it is there or not: it has a name only when it is whole.
        """
        rng = Random(4)
        storage = self.open()
        storage.load()
        for done, act in enumerate(acts):
            before = _image(self.data)
            act(storage)
            after = _image(self.data)
            changed = [
                (name, offset)
                for name, data in after.items()
                if name.startswith(sqlite.DATABASE_NAME)
                for offset in range(0, len(data), SECTOR)
                if data[offset : offset + SECTOR] != before.get(name, b"")[offset : offset + SECTOR]
            ]
            for kept in subsets(changed, rng, samples=3):
                beside = after if len(kept) == len(changed) else before
                mixed = {name: bytearray(data) for name, data in beside.items()}
                mixed |= {
                    name: bytearray(data)
                    for name, data in before.items()
                    if name.startswith(sqlite.DATABASE_NAME)
                }
                for name, offset in kept:
                    sector = after[name][offset : offset + SECTOR]
                    into = mixed.setdefault(name, bytearray())
                    into.extend(bytes(max(0, offset + len(sector) - len(into))))
                    into[offset : offset + len(sector)] = sector
                yield self._with({name: bytes(data) for name, data in mixed.items()}), done
            yield self._with(after), done + 1
        storage.close()

    def spoil_snapshot(self, name: SnapshotName) -> None:
        """Flip a bit in the middle of its file."""
        path = self.data / snapshot_file_name(name)
        data = bytearray(path.read_bytes())
        data[_middle(name)] ^= 1
        path.write_bytes(data)

    def break_sync(self) -> None:
        """Let the operating system refuse the next write to its log."""
        assert self._storage is not None
        self._storage.breaks = True

    def fill(self, full: bool) -> None:
        """Tell it that nothing is free, or much."""
        self.full = full

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Change bits of the identity and of what stands in the rows of the database."""
        rng = Random(7)
        image = _image(self.data)
        for name in sorted(image):
            if name.endswith("-wal"):
                continue
            data = image[name]
            # In a database's first block are numbers that change nothing (counters, versions).
            used = [
                at
                for at, byte in enumerate(data)
                if byte and (at >= BLOCK or name != sqlite.DATABASE_NAME)
            ]
            for offset in sorted(rng.sample(used, min(len(used), 120))):
                changed = bytearray(data)
                changed[offset] ^= 1 << rng.randrange(8)
                yield f"{name}: a bit of byte {offset}", self._with({**image, name: bytes(changed)})

    def _crash(self, image: dict[str, bytes]) -> None:
        data = self._with(image).data
        if self._storage is not None:
            self._storage.close()
            self._storage = None
        shutil.rmtree(self.data)
        self.data = data

    def _with(self, image: dict[str, bytes]) -> SqliteBench:
        data = self._new_directory()
        for name, contents in image.items():
            (data / name).write_bytes(contents)
        return SqliteBench(self._directory, data=data)


def _image(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.name != "lock"}


class _WatchedSqlite:
    """Notes what its files were when they had last been made durable, and can break a sync."""

    def __init__(self, inner: sqlite.SqliteStorage, directory: Path) -> None:
        self.identity = inner.identity
        self.breaks = False
        self.durable = _image(directory)
        self._inner = inner
        self._directory = directory

    @property
    def sync_method(self) -> str:
        return self._inner.sync_method

    @property
    def disk_bytes(self) -> int:
        return self._inner.disk_bytes

    @property
    def room_bytes(self) -> int:
        return self._inner.room_bytes

    def load(self) -> Loaded:
        loaded = self._inner.load()
        self.durable = _image(self._directory)
        return loaded

    def append(self, records: Sequence[Record]) -> None:
        self._inner.append(records)

    def sync(self) -> None:
        if self.breaks:
            self.breaks = False
            written = len(_image(self._directory).get(sqlite.DATABASE_NAME + "-wal", b""))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (written, hard))
            try:
                self._inner.sync()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        else:
            self._inner.sync()
        self.durable = _image(self._directory)

    def reserve(self) -> None:
        self._inner.reserve()

    @property
    def snapshots(self) -> tuple[SnapshotName, ...]:
        return self._inner.snapshots

    def begin_snapshot(self, through: Slot) -> SnapshotWriter:
        return _WatchedSnapshot(self._inner.begin_snapshot(through), self._note)

    def read_snapshot(self, name: SnapshotName, offset: int, length: int) -> bytes:
        return self._inner.read_snapshot(name, offset, length)

    def compact(self, through: Slot) -> None:
        self._inner.compact(through)

    def _note(self) -> None:
        self.durable = _image(self._directory)

    def close(self) -> None:
        self._inner.close()


class _WatchedSnapshot:
    """Tells when it has been made durable."""

    def __init__(self, inner: SnapshotWriter, note: Callable[[], None]) -> None:
        self._inner = inner
        self._note = note

    @property
    def size(self) -> int:
        return self._inner.size

    @property
    def digest(self) -> bytes:
        return self._inner.digest

    def write(self, data: bytes) -> None:
        self._inner.write(data)

    def finish(self) -> SnapshotName:
        name = self._inner.finish()
        self._note()
        return name

    def abandon(self) -> None:
        self._inner.abandon()
