"""What every durable log must keep, as checks that any back end can be put through.

It owns no back end: it is given a way to make a *bench*, one data directory that can be crashed. It
guards the law of ``paxos.storage.base``: what was synced survives SIGKILL and loss of power, what a
crash left half-done is cut, and what a disk lost is told, never silently missing.

Each check takes a factory of benches and raises ``StorageBroken`` with a text that names what
fails. With pytest::

    @pytest.mark.parametrize("check", storage_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_storage_keeps_the_contract(check, tmp_path):
        check(lambda: MyBench(tmp_path / secrets.token_hex(4)))

Without it: ``storage_suite.check_storage(MyBench)``. ``SegmentBench`` is the bench to imitate for a
log whose disk can be replaced, ``SqliteBench`` for one that only has files.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from random import Random
from typing import NoReturn, Protocol, TypeVar

from paxos.core.ballot import Ballot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import NOOP, Value
from paxos.storage import segments, sqlite
from paxos.storage.base import (
    DirectoryInUse,
    Identity,
    Loaded,
    Storage,
    StorageError,
    StorageFailed,
    StorageFull,
    WrongIdentity,
)
from paxos.storage.layout import BLOCK, SECTOR
from paxos.storage.memory import MemoryStorage
from paxos.testing.disk import Crashed, ModelDisk

IDENTITY = Identity("c0ffee00c0ffee00c0ffee00c0ffee00", 3, 1234567890123)
"""Whose directory the benches of this module make."""

SUBSETS_OF = 7
"""Every subset of so many unsynced things is tried; of more, a sample."""

_T = TypeVar("_T")


class StorageBroken(AssertionError):
    """A log does not keep what the port promises; the text says where."""


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

    def crashes(self, batches: Sequence[Sequence[Record]]) -> Iterator[tuple[Bench, int]]:
        """Open and load the log, then append and sync each batch, and die: everywhere.

        Yields:
            A bench in each state that a crash may leave: killed between any two writes, or power
            lost there with any part of what was unsynced; and how many batches were synced before.
        """

    def break_sync(self) -> None:
        """Let the next sync of the open log fail. Later ones would succeed."""

    def fill(self, full: bool) -> None:
        """Take all free space away from the open log, or give it back."""

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Yield benches in which one bit of what is stored has changed, and which one."""


Check = Callable[[Callable[[], Bench]], None]


def _broken(text: str) -> NoReturn:
    raise StorageBroken(text)


def _expect(condition: object, text: str) -> None:
    if not condition:
        _broken(text)


def _expect_raised(wanted: type[StorageError], call: Callable[[], object], text: str) -> None:
    try:
        call()
    except wanted as error:
        _expect(str(error), f"{wanted.__name__} says nothing")
        return
    _broken(text)


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


# --- records to store ---------------------------------------------------------------------------


def record_batches(rng: Random, batches: int, value_bytes_max: int = 2000) -> list[list[Record]]:
    """Return batches of records as a node would write them: ballots rise, slots move on."""
    round_, slot, made = 1, 1, []
    for _ in range(batches):
        batch: list[Record] = []
        for _ in range(rng.randint(1, 4)):
            ballot = Ballot(round_, rng.randint(1, 3))
            match rng.randrange(8):
                case 0:
                    round_ += 1
                    batch.append(PromisedRecord(Ballot(round_, rng.randint(1, 3))))
                case 1:
                    round_ += 1
                    batch.append(IssuedRecord(Ballot(round_, IDENTITY.node)))
                case 2:
                    batch.append(WatermarkRecord(ballot, rng.randint(0, slot)))
                case 3:
                    batch.append(DecidedRecord(rng.randint(1, slot), _value(rng, value_bytes_max)))
                case _:
                    batch.append(AcceptedRecord(ballot, slot, _value(rng, value_bytes_max)))
                    slot += rng.randint(0, 2)
        made.append(batch)
    return made


def _value(rng: Random, bytes_max: int) -> Value:
    size = rng.choice((0, 1, 40, rng.randint(0, bytes_max)))
    match rng.randrange(4):
        case 0:
            return NOOP
        case 1:
            return Value(rng.randint(0, 2**50), bytes(size))  # whole sectors of zeros
        case _:
            return Value(rng.randint(0, 2**50), rng.randbytes(size))


def _accepted(slot: int, commands: bytes = b"command") -> list[Record]:
    return [AcceptedRecord(Ballot(2, 1), slot, Value(slot, commands))]


def _flat(batches: Sequence[Sequence[Record]]) -> list[Record]:
    return [record for batch in batches for record in batch]


def _write(storage: Storage, batches: Sequence[Sequence[Record]]) -> None:
    for batch in batches:
        storage.append(batch)
        storage.sync()


def _read(bench: Bench, when: str) -> list[Record]:
    """Return what a new process finds, which must be sound."""
    storage = bench.open()
    loaded = storage.load()
    storage.close()
    _expect(loaded.damage is None, f"{when}: damage is reported where none is: {loaded.damage}")
    return list(loaded.records)


def _expect_found(bench: Bench, wanted: Sequence[Record], when: str) -> None:
    found = _read(bench, when)
    _expect(
        found == list(wanted),
        f"{when}: found {len(found)} records instead of {len(wanted)}:"
        f" [{'; '.join(map(str, found))}] instead of [{'; '.join(map(str, wanted))}]",
    )


# --- the checks ---------------------------------------------------------------------------------


def check_new_log_is_empty(make: Callable[[], Bench]) -> None:
    """A directory that was just made holds nothing, however often it is opened."""
    bench = make()
    for time in ("first", "second", "third"):
        _expect_found(bench, [], f"opened for the {time} time")
    bench.power_cut()
    _expect_found(bench, [], "after a power cut")


def check_synced_records_are_found_again(make: Callable[[], Bench]) -> None:
    """What ``sync`` returned for is there after close, kill and power cut, in order."""
    bench = make()
    rng = Random(1)
    written: list[Record] = []
    for round_, end in enumerate((Storage.close, None, "power", "power", None, Storage.close)):
        storage = bench.open()
        _expect(list(storage.load().records) == written, f"round {round_}: records are missing")
        batches = record_batches(rng, 6)
        _write(storage, batches)
        written += _flat(batches)
        if end is None:
            bench.kill()
        elif end == "power":
            bench.power_cut()
        else:
            storage.close()
    _expect_found(bench, written, "at the end")


def check_records_of_every_size_are_kept(make: Callable[[], Bench]) -> None:
    """Sizes at the edges of sectors and blocks, all zeros, and far above what one batch holds."""
    bench = make()
    storage = bench.open()
    storage.load()
    rng = Random(2)
    written: list[Record] = []
    edges = [edge + more for edge in (0, SECTOR, BLOCK, 3 * BLOCK) for more in range(-40, 4)]
    for slot, size in enumerate((*filter(lambda size: size >= 0, edges), 60_000, 4_000_000), 1):
        for commands in (bytes(size), rng.randbytes(size)):
            storage.append(_accepted(slot, commands))
            written += _accepted(slot, commands)
        storage.append([PromisedRecord(Ballot(slot, 2))])
        written.append(PromisedRecord(Ballot(slot, 2)))
        storage.sync()
    bench.power_cut()
    _expect_found(bench, written, "after a power cut")


def check_unsynced_records_are_gone(make: Callable[[], Bench]) -> None:
    """What was only staged ends with the process, and harms nothing."""
    bench = make()
    for end in (bench.kill, bench.power_cut):
        storage = bench.open()
        storage.load()
        storage.append(_accepted(1))
        end()
        _expect_found(bench, [], f"staged, then {end.__name__}")
    storage = bench.open()
    storage.load()
    storage.sync()
    storage.append(())
    storage.sync()
    storage.append(_accepted(1))
    storage.close()
    _expect_found(bench, [], "staged, then closed")


def check_crash_anywhere_loses_nothing_synced(make: Callable[[], Bench]) -> None:
    """Die between any two writes, with any unsynced sector lost: recovery finds a prefix.

    And what recovery has read is durable from then on, whatever was durable before.
    """
    rng = Random(3)
    batches = record_batches(rng, 5, 1200)
    written = _flat(batches)
    more = _accepted(99, b"after the crash")
    for number, (bench, synced) in enumerate(make().crashes(batches)):
        when = f"crash {number}, after {synced} batches"
        storage = bench.open()
        loaded = storage.load()
        _expect(loaded.damage is None, f"{when}: taken for damage: {loaded.damage}")
        found = list(loaded.records)
        _expect(found == written[: len(found)], f"{when}: found what was never written")
        _expect(len(found) >= len(_flat(batches[:synced])), f"{when}: lost what was synced")
        bench.power_cut()
        _expect_found(bench, found, f"{when}: a power cut right after recovery")
        storage = bench.open()
        storage.load()
        _write(storage, [more])
        bench.power_cut()
        _expect_found(bench, [*found, *more], f"{when}: written on, then a power cut")


def check_failed_sync_is_final(make: Callable[[], Bench]) -> None:
    """Whichever sync fails: the log raises, takes nothing more, and keeps what was synced."""
    for good in range(6):
        bench = make()
        storage = bench.open()
        storage.load()
        batches = record_batches(Random(good), good)
        _write(storage, batches)
        storage.append(_accepted(50))
        bench.break_sync()
        _expect_raised(StorageFailed, storage.sync, f"sync {good + 1} failed and said nothing")
        _expect_raised(StorageFailed, storage.sync, "a failed sync was tried again, and believed")
        more = partial(storage.append, _accepted(51))
        _expect_raised(StorageFailed, more, "records are taken after a failed sync")
        _expect(storage.room_bytes == 0, "a log that failed offers room")
        bench.power_cut()
        found = _read(bench, "after a failed sync and a power cut")
        written = _flat(batches)
        _expect(found[: len(written)] == written, "a failed sync lost what was synced before")


def check_full_disk_is_seen_before_a_write(make: Callable[[], Bench]) -> None:
    """Without room ``reserve`` says so, nothing is lost, and with room the log goes on."""
    bench = make()
    storage = bench.open()
    storage.load()
    storage.reserve()
    bench.fill(True)
    written: list[Record] = []
    for slot in range(1, 200):
        try:
            storage.reserve()
        except StorageFull:
            break
        if storage.room_bytes < BLOCK:
            _broken("there is no room, and reserve does not say so")
        _write(storage, [_accepted(slot)])
        written += _accepted(slot)
    else:
        _broken("the disk is full and reserve never says so")
    _expect_raised(StorageFull, storage.reserve, "the second call does not say that it is full")
    bench.fill(False)
    storage.reserve()
    _expect(storage.room_bytes >= BLOCK, "there is room again, and the log offers none")
    _write(storage, [_accepted(500)])
    bench.power_cut()
    _expect_found(bench, [*written, *_accepted(500)], "after a full disk")


def check_one_process_per_directory(make: Callable[[], Bench]) -> None:
    """A second opening is refused while the first lasts, and only then."""
    bench = make()
    storage = bench.open()
    _expect_raised(DirectoryInUse, bench.open, "two logs opened one directory")
    storage.load()
    _write(storage, [_accepted(1)])
    _expect_raised(DirectoryInUse, bench.open, "two logs opened one directory, one in use")
    storage.close()
    bench.open().close()
    bench.open()
    bench.kill()
    _expect_found(bench, _accepted(1), "after the holder was killed")


def check_directory_of_another_node_is_refused(make: Callable[[], Bench]) -> None:
    """Another cluster, node or incarnation: refused, and the directory stays as it was."""
    bench = make()
    cluster, node, incarnation = bench.identity
    for other in (
        Identity("ff" + cluster[2:], node, incarnation),
        Identity(cluster, node + 1, incarnation),
        Identity(cluster, node, incarnation + 1),
    ):
        _expect_raised(WrongIdentity, partial(bench.open, other), f"opened as {other}")
    storage = bench.open(bench.identity)
    _expect(storage.identity == bench.identity, "the log tells another identity")
    storage.close()
    _expect_found(bench, [], "after wrong identities")


def check_changed_bit_is_told(make: Callable[[], Bench]) -> None:
    """No changed bit, in whatever field, ends in records that are silently missing or wrong."""
    bench = make()
    for batches in (record_batches(Random(5), 4, 300), record_batches(Random(6), 3, 300)):
        storage = bench.open()
        storage.load()
        _write(storage, batches)
        storage.close()
    for what, flipped in bench.flips():
        try:
            storage = flipped.open()
            damage = storage.load().damage
            storage.close()
        except StorageError as error:
            _expect(str(error), f"{what}: the error says nothing")
            continue
        _expect(damage is not None, f"{what}: not noticed")
        assert damage is not None
        _expect(damage.findings, f"{what}: damage without a finding")
        _expect(damage.unknown or not damage.hides_promise, f"{what}: a promise, but no slot")


def check_replay_is_the_same_as_in_memory(make: Callable[[], Bench]) -> None:
    """Random lives with random ends rebuild the same memory as a log that cannot go wrong."""
    for seed in range(10, 16):
        rng = Random(seed)
        bench = make()
        written: list[Record] = []
        for _ in range(4):
            storage = bench.open()
            found = list(storage.load().records)
            _expect(replay(found) == replay(written), f"seed {seed}: another memory")
            batches = record_batches(rng, rng.randint(0, 8))
            _write(storage, batches)
            written += _flat(batches)
            rng.choice((bench.kill, bench.power_cut, storage.close))()


CHECKS: tuple[Check, ...] = (
    check_new_log_is_empty,
    check_synced_records_are_found_again,
    check_records_of_every_size_are_kept,
    check_unsynced_records_are_gone,
    check_crash_anywhere_loses_nothing_synced,
    check_failed_sync_is_final,
    check_full_disk_is_seen_before_a_write,
    check_one_process_per_directory,
    check_directory_of_another_node_is_refused,
    check_changed_bit_is_told,
    check_replay_is_the_same_as_in_memory,
)
"""Every check of the suite."""


def check_storage(make: Callable[[], Bench]) -> None:
    """Put a back end through all checks.

    Args:
        make: Makes a bench with a new data directory each time it is called.

    Raises:
        StorageBroken: One fails.
    """
    for check in CHECKS:
        check(make)


# --- the benches of the three back ends ---------------------------------------------------------


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

    def crashes(self, batches: Sequence[Sequence[Record]]) -> Iterator[tuple[Bench, int]]:
        """Die at each step of the model disk, from opening on."""
        rng = Random(4)
        for step in range(self.disk.steps, 2**31):
            disk = self.disk.copy()
            disk.crash_at(step)
            synced = 0
            try:
                storage = self.on(disk).open()
                storage.load()
                for number, batch in enumerate(batches):
                    if number % 2:
                        storage.reserve()
                    storage.append(batch)
                    storage.sync()
                    synced += 1
            except Crashed:
                pass
            yield self.on(disk.copy()), synced
            for kept in subsets(disk.unsynced(), rng):
                cut = disk.copy()
                cut.power_cut(frozenset(kept))
                yield self.on(cut), synced
            if synced == len(batches):
                return

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

    def crashes(self, batches: Sequence[Sequence[Record]]) -> Iterator[tuple[Bench, int]]:
        """Die before the write, between write and sync, and after the sync of each batch."""
        for synced in range(len(batches) + 1):
            for wrote in (False, True):
                for end in (MemoryStorage.kill, MemoryStorage.power_cut):
                    bench = MemoryBench()
                    storage = bench.open()
                    storage.load()
                    _write(storage, batches[:synced])
                    storage.append(_flat(batches[synced : synced + 1]))
                    if wrote:
                        storage.write()
                    end(storage)
                    yield bench, synced

    def break_sync(self) -> None:
        """Fail its next sync."""
        self._storage.fails_next_sync = True

    def fill(self, full: bool) -> None:
        """Take its room away."""
        self._storage.capacity = 0 if full else 2**40

    def flips(self) -> Iterator[tuple[str, Bench]]:
        """Yield nothing: memory has no format."""
        yield from ()


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
            self.data, expected, free_bytes=lambda _: 0 if self.full else 2**40
        )
        self._storage = _WatchedSqlite(opened, self.data)
        return self._storage

    def kill(self) -> None:
        """Go on with a copy of the files as they can be read now."""
        self._crash(_image(self.data))

    def power_cut(self) -> None:
        """Go on with a copy of the files as they were when the last call had made them durable."""
        self._crash(_image(self.data) if self._storage is None else self._storage.durable)

    def crashes(self, batches: Sequence[Sequence[Record]]) -> Iterator[tuple[Bench, int]]:
        """Around each sync, mix the sectors of the files before and after it."""
        rng = Random(4)
        storage = self.open()
        storage.load()
        for synced, batch in enumerate(batches):
            before = _image(self.data)
            storage.append(batch)
            storage.sync()
            after = _image(self.data)
            changed = [
                (name, offset)
                for name, data in after.items()
                for offset in range(0, len(data), SECTOR)
                if data[offset : offset + SECTOR] != before.get(name, b"")[offset : offset + SECTOR]
            ]
            for kept in subsets(changed, rng, samples=3):
                mixed = {name: bytearray(data) for name, data in before.items()}
                for name, offset in kept:
                    sector = after[name][offset : offset + SECTOR]
                    into = mixed.setdefault(name, bytearray())
                    into.extend(bytes(max(0, offset + len(sector) - len(into))))
                    into[offset : offset + len(sector)] = sector
                yield self._with({name: bytes(data) for name, data in mixed.items()}), synced
            yield self._with(after), synced + 1
        storage.close()

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
        for name in ("identity", sqlite.DATABASE_NAME):
            data = image[name]
            # In a database's first block are numbers that change nothing (counters, versions).
            used = [
                at for at, byte in enumerate(data) if byte and (at >= BLOCK or name == "identity")
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

    def close(self) -> None:
        self._inner.close()
