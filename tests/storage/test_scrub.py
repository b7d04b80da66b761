"""Scrubbing and reading a data directory, at rest and beside a node that writes to it."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from paxos.core.ballot import Ballot
from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.core.value import Value
from paxos.storage import segments, sqlite
from paxos.storage.base import Identity, Storage, StorageError, WrongIdentity
from paxos.storage.disk import RealDisk
from paxos.storage.inspection import inspect
from paxos.storage.layout import BLOCK, SECTOR
from paxos.storage.reading import read_directory, read_snapshot_file
from paxos.storage.scrub import READ_AGAIN, scrub
from paxos.storage.snapshots import SnapshotSpoilt, snapshot_file_name
from paxos.testing.disk import ModelDisk
from paxos.testing.snapshot_checks import compact, save, snapshot_bytes

IDENTITY = Identity("c0ffee", 3, 99)
KINDS = {"segments": segments, "sqlite": sqlite}


def decided(slot: int, size: int = 100) -> list[Record]:
    return [DecidedRecord(slot, Value(slot, bytes([slot % 255 + 1]) * size))]


def opened(directory: Path, kind: str) -> Storage:
    if kind == "sqlite":
        return sqlite.open_sqlite(directory)
    return segments.open_segments(directory, segment_bytes=8 * BLOCK)


def filled(directory: Path, kind: str) -> Path:
    """Make a directory with ten slots, of which three are compacted, and two snapshots."""
    KINDS[kind].create(directory, IDENTITY)
    storage = opened(directory, kind)
    storage.load()
    for slot in range(1, 11):
        storage.append(decided(slot))
        storage.sync()
    save(storage, 3)
    compact(storage, 3)
    save(storage, 8)
    storage.close()
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_scrub_reads_every_file_and_tells_how_far_it_is(tmp_path: Path, kind: str) -> None:
    directory = filled(tmp_path / "node", kind)
    told: list[tuple[int, int]] = []
    report = scrub(directory, progress=lambda read, total: told.append((read, total)))
    assert report.sound
    assert report.findings == ()
    assert report.identity == IDENTITY
    assert report.storage == kind
    assert [each.through for each in report.snapshots] == [3, 8]
    assert report.spoilt == ()
    assert report.compacted_through == 3
    assert report.in_use_by is None
    files = [each for each in directory.iterdir() if each.suffix != ".tmp"]
    assert report.files == len(files) - (kind == "sqlite")
    size = sum(each.stat().st_size for each in files)
    assert size <= report.bytes_read == told[-1][0]
    assert all(read <= total for read, total in told)
    assert [read for read, _ in told] == sorted(read for read, _ in told)


@pytest.mark.parametrize("kind", KINDS)
def test_scrub_finds_a_spoilt_snapshot_that_a_start_does_not_read(
    tmp_path: Path, kind: str
) -> None:
    directory = filled(tmp_path / "node", kind)
    older, latest = read_directory(directory).snapshots
    path = directory / snapshot_file_name(older)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert read_directory(directory).loaded.damage is None
    report = scrub(directory)
    assert (report.snapshots, report.spoilt) == ((latest,), (older,))
    assert report.damage is not None
    assert (report.damage.unknown, report.damage.hides_promise) == ((), False)
    assert path.name in report.findings[0]
    with pytest.raises(SnapshotSpoilt):
        list(read_snapshot_file(directory, older))


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_directory_gives_what_a_start_would_and_changes_nothing(
    tmp_path: Path, kind: str
) -> None:
    directory = filled(tmp_path / "node", kind)
    before = {each.name: each.read_bytes() for each in directory.iterdir()}
    stored = read_directory(directory)
    assert {each.name: each.read_bytes() for each in directory.iterdir()} == before
    found = inspect(directory)
    assert found.compacted_through == 3
    assert found.snapshots == stored.snapshots
    assert found.snapshot == stored.snapshots[-1]
    assert found.decided_through == 10
    assert found.slots == (4, 10)
    assert found.disk_bytes == sum(
        each.stat().st_size
        for each in directory.iterdir()
        if each.name.startswith(("segment-", "snapshot-", "log.")) and each.suffix != ".tmp"
    )
    data = b"".join(read_snapshot_file(directory, stored.snapshots[0]))
    assert data == snapshot_bytes(3, 5000)
    with pytest.raises(LookupError):
        list(read_snapshot_file(directory, stored.snapshots[0]._replace(through=1)))
    storage = opened(directory, kind)
    assert storage.load() == stored.loaded
    storage.close()
    with pytest.raises(WrongIdentity):
        read_directory(tmp_path)


def test_scrub_beside_a_log_that_is_written_and_compacted_finds_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    segments.create(directory, IDENTITY)
    storage = segments.open_segments(directory, segment_bytes=8 * BLOCK)
    storage.load()
    done = threading.Event()
    failures: list[str] = []

    def write() -> None:
        slot = 0
        try:
            while not done.is_set():
                slot += 1
                storage.append(decided(slot, 6000))
                storage.sync()
                if slot % 10 == 0:
                    save(storage, slot, 100_000)
                    storage.compact(slot - 5)
                storage.reserve()
        except StorageError as failure:
            failures.append(str(failure))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = [scrub(directory) for _ in range(25)]
    finally:
        done.set()
        thread.join()
    storage.close()
    assert failures == []
    assert [report.findings for report in reports if not report.sound] == []
    assert {report.in_use_by for report in reports} == {os.getpid()}


class _DiskOfARunningNode(RealDisk):
    """Lists a file that is gone at the next look, as a segment that was just given its name."""

    def names(self, directory: Path) -> list[str]:
        """See the port."""
        return [*super().names(directory), "segment-0000000059.tmp"]


def test_scrub_of_a_file_that_goes_after_the_listing_reads_the_others(tmp_path: Path) -> None:
    segments.create(tmp_path, IDENTITY)
    told: list[tuple[int, int]] = []
    report = scrub(
        tmp_path,
        disk=_DiskOfARunningNode(),
        progress=lambda read, total: told.append((read, total)),
    )
    assert report.sound
    assert told[-1] == (report.bytes_read, report.bytes_read)


def test_scrub_of_a_long_log_needs_the_memory_of_a_segment(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    segments.create(directory, IDENTITY)
    storage = segments.open_segments(directory, segment_bytes=256 * BLOCK)
    storage.load()
    for slot in range(1, 41):
        storage.append(decided(slot, 900_000))
        storage.sync()
    save(storage, 40, 20_000_000)
    storage.close()
    tracemalloc.start()
    report = scrub(directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.sound
    assert report.bytes_read > 55_000_000
    assert peak < 8_000_000


class FlickeringDisk(ModelDisk):
    """Shows a batch half-written for the first few times that its segment is read."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """Read, and perhaps leave out a part of the second batch."""
        data = super().read(path, offset, length)
        if path.name == "segment-0000000002.log" and length is None and self.times:
            self.times -= 1
            hole = slice(2 * BLOCK + SECTOR, 2 * BLOCK + SECTOR + 40)
            data = data[: hole.start] + b"?" * 40 + data[hole.stop :]
        return data


def test_write_in_flight_is_read_again_before_it_is_called_bad() -> None:
    directory = Path("/data")
    disk = FlickeringDisk()
    segments.create(directory, IDENTITY, disk=disk)
    storage = segments.open_segments(directory, segment_bytes=8 * BLOCK, disk=disk)
    storage.load()
    storage.append([AcceptedRecord(Ballot(2, 1), 1, Value(1, b"x" * 900))])
    storage.sync()
    reads = 2  # of a newest segment, in one go
    disk.times = reads * (READ_AGAIN - 1)
    assert scrub(directory, disk=disk).sound
    disk.times = reads * READ_AGAIN
    assert not scrub(directory, disk=disk).sound
    storage.close()  # nobody writes: what looks bad is bad
    disk.times = reads
    assert not scrub(directory, disk=disk).sound
