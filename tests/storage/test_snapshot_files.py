"""The files of snapshots, and what compaction removes: formats, order, failures, threads."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from paxos.core.ballot import Ballot
from paxos.core.messages import SnapshotName
from paxos.core.records import AcceptedRecord, DecidedRecord, PromisedRecord, Record
from paxos.core.value import Value
from paxos.storage.base import DataDamaged, Identity, StorageError, StorageFailed
from paxos.storage.layout import BLOCK, PREFIX, SECTOR, decode_batch_header, decode_segment_header
from paxos.storage.layout import owner_digest as digest_of
from paxos.storage.resume import resume
from paxos.storage.scrub import scrub
from paxos.storage.segments import SegmentStorage, create, open_segments
from paxos.storage.snapshots import (
    PAYLOAD_BYTES,
    PIECE_BYTES,
    SNAPSHOT_BLOCK,
    SYNC_BYTES,
    file_bytes,
    snapshot_file_name,
    snapshot_name,
)
from paxos.testing.disk import Crashed, ModelDisk
from paxos.testing.snapshot_checks import save, snapshot_bytes
from tests.storage.reserving import reserving

IDENTITY = Identity("c0ffee", 3, 99)
DIRECTORY = Path("/data/node")


def made() -> ModelDisk:
    disk = ModelDisk()
    create(DIRECTORY, IDENTITY, disk=disk)
    return disk


def opened(disk: ModelDisk) -> SegmentStorage:
    storage = open_segments(DIRECTORY, IDENTITY, segment_bytes=4 * BLOCK, disk=disk)
    storage.load()
    return storage


def findings(disk: ModelDisk) -> tuple[str, ...]:
    disk.kill()
    damage = open_segments(DIRECTORY, segment_bytes=4 * BLOCK, disk=disk).load().damage
    disk.kill()
    assert damage is not None
    return damage.findings


def accepted(slot: int, size: int = 3500) -> list[Record]:
    return [AcceptedRecord(Ballot(2, 1), slot, Value(slot, bytes([slot % 255 + 1]) * size))]


def segment_numbers(disk: ModelDisk) -> list[int]:
    names = disk.names(DIRECTORY)
    return [int(name[8:18]) for name in names if name.endswith(".log")]


# --- the format ---------------------------------------------------------------------------------


def test_snapshot_file_of_format_1_has_these_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = made()
    storage = opened(disk)
    monkeypatch.setattr(os, "urandom", lambda size: bytes(range(size)))
    writer = storage.begin_snapshot(7)
    writer.write(b"state")
    name = writer.finish()
    digest = hashlib.blake2b(b"state", digest_size=16).digest()
    assert name == SnapshotName(7, 5, digest)
    file_name = f"snapshot-0000000000000000007-5-{digest.hex()}.snap"
    assert snapshot_file_name(name) == file_name
    assert snapshot_name(file_name) == name
    fields = (
        b"\x00\x01"
        + bytes(range(16))
        + (7).to_bytes(8, "big")
        + (5).to_bytes(8, "big")
        + digest
        + digest_of(IDENTITY)
    ).ljust(SECTOR - PREFIX, b"\0")
    block = zlib.crc32(bytes(range(16)) + bytes(8) + b"state").to_bytes(4, "big") + b"state"
    wanted = b"MPXN" + zlib.crc32(fields).to_bytes(4, "big") + fields
    assert disk.read(DIRECTORY / file_name) == wanted.ljust(BLOCK, b"\0") + block


def test_snapshot_file_is_as_long_as_its_size_says() -> None:
    disk = made()
    storage = opened(disk)
    for through, size in enumerate((0, 1, PAYLOAD_BYTES, PAYLOAD_BYTES + 1, PIECE_BYTES), 1):
        name = save(storage, through, size)
        assert disk.size(DIRECTORY / snapshot_file_name(name)) == file_bytes(size)
    assert file_bytes(PAYLOAD_BYTES) == BLOCK + SNAPSHOT_BLOCK


def test_snapshot_of_a_later_format_is_refused_and_not_called_damage() -> None:
    disk = made()
    name = save(opened(disk), 3)
    path = DIRECTORY / snapshot_file_name(name)
    fields = b"\x00\x02" + disk.read(path, PREFIX + 2, SECTOR - PREFIX - 2)
    disk.overwrite(path, 4, zlib.crc32(fields).to_bytes(4, "big") + fields)
    disk.kill()
    with pytest.raises(StorageError, match=r"format 2.*start the version") as caught:
        opened(disk)
    assert not isinstance(caught.value, DataDamaged)


def test_snapshot_that_was_copied_from_another_directory_is_not_believed() -> None:
    disk, other = made(), ModelDisk()
    create(DIRECTORY, IDENTITY._replace(incarnation=100), disk=other)
    storage = open_segments(DIRECTORY, disk=other)
    storage.load()
    name = save(storage, 3)
    file = disk.create(DIRECTORY / snapshot_file_name(name))
    file.write((other.read(DIRECTORY / snapshot_file_name(name)),), 0)
    (finding,) = findings(disk)
    assert "belongs to another directory" in finding


def test_snapshot_under_the_name_of_another_is_not_believed() -> None:
    disk = made()
    name = save(opened(disk), 3)
    wrong = snapshot_file_name(name._replace(through=4))
    disk.rename(DIRECTORY / snapshot_file_name(name), DIRECTORY / wrong)
    (finding,) = findings(disk)
    assert "tell of different snapshots" in finding


def test_snapshot_whose_blocks_were_exchanged_is_spoilt() -> None:
    disk = made()
    storage = opened(disk)
    name = save(storage, 3, 3 * PAYLOAD_BYTES)
    path = DIRECTORY / snapshot_file_name(name)
    first, second = (disk.read(path, BLOCK + at * SNAPSHOT_BLOCK, SNAPSHOT_BLOCK) for at in (0, 1))
    disk.overwrite(path, BLOCK, second + first)
    with pytest.raises(DataDamaged, match="bytes 0 to 65532"):
        storage.read_snapshot(name, 5, 10)


def test_snapshot_of_sound_blocks_and_another_digest_is_found_by_a_scrub() -> None:
    disk = made()
    name = save(opened(disk), 3)
    wrong = name._replace(digest=bytes(16))
    fields = bytearray(disk.read(DIRECTORY / snapshot_file_name(name), PREFIX, SECTOR - PREFIX))
    fields[34:50] = bytes(16)
    header = zlib.crc32(fields).to_bytes(4, "big") + fields
    disk.overwrite(DIRECTORY / snapshot_file_name(name), 4, header)
    disk.rename(DIRECTORY / snapshot_file_name(name), DIRECTORY / snapshot_file_name(wrong))
    report = scrub(DIRECTORY, disk=disk)
    assert report.spoilt == (wrong,)
    assert "the digest of all is another" in report.findings[0]


def test_spoilt_block_spoils_only_what_reads_it() -> None:
    disk = made()
    storage = opened(disk)
    name = save(storage, 3, 3 * PAYLOAD_BYTES)
    disk.flip(DIRECTORY / snapshot_file_name(name), BLOCK + SNAPSHOT_BLOCK + 50)
    data = snapshot_bytes(3, 3 * PAYLOAD_BYTES)
    assert storage.read_snapshot(name, 0, PAYLOAD_BYTES) == data[:PAYLOAD_BYTES]
    with pytest.raises(DataDamaged, match="a new snapshot will replace it"):
        storage.read_snapshot(name, PAYLOAD_BYTES - 1, 2)
    with pytest.raises(LookupError):
        storage.read_snapshot(name, 0, 1)


# --- writing ------------------------------------------------------------------------------------


def test_snapshot_is_synced_while_it_is_written_and_not_only_at_its_end() -> None:
    disk = made()
    writer = opened(disk).begin_snapshot(3)
    most = 0
    for _ in range(3 * SYNC_BYTES // PIECE_BYTES):
        writer.write(bytes([7]) * PIECE_BYTES)
        sectors = [each for each in disk.unsynced() if "snapshot" in each.where]
        most = max(most, len(sectors) * SECTOR)
    assert most <= SYNC_BYTES + 2 * PIECE_BYTES
    writer.abandon()


def test_any_failed_sync_while_saving_ends_the_log_and_loses_nothing() -> None:
    failed = 0
    for nth in range(1, 9):
        disk = made()
        storage = opened(disk)
        storage.append(accepted(1))
        storage.sync()
        kept = save(storage, 1)
        disk.fail_sync(nth)
        try:
            save(storage, 2, SYNC_BYTES + 2 * PIECE_BYTES)
        except StorageFailed:
            failed += 1
            with pytest.raises(StorageFailed):
                storage.append(accepted(2))
            with pytest.raises(StorageFailed):
                storage.begin_snapshot(3)
        disk.power_cut()
        loaded = open_segments(DIRECTORY, segment_bytes=4 * BLOCK, disk=disk).load()
        assert loaded.damage is None
        assert loaded.records == accepted(1)
        assert loaded.snapshot is not None
        assert loaded.snapshot.through >= kept.through
    assert failed == 3  # in between, at its end, and of its name


def test_short_writes_of_a_snapshot_are_completed() -> None:
    disk = made()
    storage = opened(disk)
    disk.script_writes([10, 700, 65_536, 1])
    name = save(storage, 3, 2 * PIECE_BYTES)
    assert storage.read_snapshot(name, 0, name.size) == snapshot_bytes(3, 2 * PIECE_BYTES)


@pytest.mark.parametrize("taken", [[-errno.EIO], [100, 0]])
def test_write_of_a_snapshot_that_fails_ends_the_log(taken: list[int]) -> None:
    disk = made()
    storage = opened(disk)
    disk.script_writes(taken)
    with pytest.raises(StorageFailed, match="writing a snapshot"):
        save(storage, 3, 2 * PIECE_BYTES)
    with pytest.raises(StorageFailed):
        storage.sync()


def test_snapshot_of_no_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="reflects a slot"):
        opened(made()).begin_snapshot(0)


def test_snapshot_is_read_by_threads_while_others_are_saved(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    storage = open_segments(tmp_path / "node", segment_bytes=16 * BLOCK)
    storage.load()
    save(storage, 1, 3 * PAYLOAD_BYTES)
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            name = storage.snapshots[-1]
            try:
                found = storage.read_snapshot(name, 100, 2 * PAYLOAD_BYTES)
            except LookupError:
                continue  # two later ones have come meanwhile
            except StorageError as error:
                failures.append(str(error))
                return
            if found != snapshot_bytes(name.through, name.size)[100 : 100 + 2 * PAYLOAD_BYTES]:
                failures.append(f"{name} reads otherwise")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for through in range(2, 12):
        save(storage, through, 3 * PAYLOAD_BYTES)
        storage.append(accepted(through))
        storage.sync()
    done.set()
    for reader in readers:
        reader.join()
    storage.close()
    assert failures == []


# --- compaction ---------------------------------------------------------------------------------


def written(disk: ModelDisk, slots: int) -> SegmentStorage:
    storage = opened(disk)
    for slot in range(1, slots + 1):
        storage.append(accepted(slot))
        storage.sync()
    return storage


def test_log_that_was_never_compacted_names_no_segment_as_gone() -> None:
    disk = made()
    written(disk, 8).close()
    opened(disk).close()
    for number in segment_numbers(disk):
        data = disk.read(DIRECTORY / f"segment-{number:010d}.log")
        header = decode_segment_header(data)
        assert header is not None
        for offset in range(BLOCK, len(data) - SECTOR, BLOCK):
            batch = decode_batch_header(data[offset : offset + SECTOR], header.id)
            if batch is not None:
                assert (batch.compacted_through, batch.oldest_segment) == (0, 1)


def test_slots_that_the_log_lost_below_the_snapshot_count_as_compacted() -> None:
    """They are decided, and nobody can tell their values: they must never look empty."""
    disk = made()
    storage = written(disk, 8)
    save(storage, 6)
    storage.compact(2)
    storage.append(accepted(9))
    storage.sync()
    storage.close()
    (lost,) = accepted(5)
    assert isinstance(lost, AcceptedRecord)
    for number in segment_numbers(disk):
        path = DIRECTORY / f"segment-{number:010d}.log"
        place = disk.read(path).find(lost.value.commands)
        if place >= 0:
            disk.flip(path, place, 0)
    for run in range(2):  # by the second the damaged segment is gone
        storage = open_segments(DIRECTORY, IDENTITY, segment_bytes=4 * BLOCK, disk=disk)
        loaded = storage.load()
        assert (loaded.damage is None) == bool(run)
        assert loaded.damage is None or loaded.damage.unknown == ()
        assert loaded.compacted_through == 6
        slots = [each.slot for each in loaded.records if isinstance(each, AcceptedRecord)]
        assert sorted(set(slots)) == [7, 8, 9]
        storage.close()


def test_segments_are_removed_only_when_a_durable_batch_has_said_so() -> None:
    disk = made()
    storage = written(disk, 8)
    before = segment_numbers(disk)
    save(storage, 6)
    storage.compact(6)
    storage.reserve()
    assert segment_numbers(disk) == before
    storage.sync()
    assert storage.reserve_due
    assert segment_numbers(disk)[: len(before)] == before
    before = segment_numbers(disk)
    storage.reserve()
    left = segment_numbers(disk)
    assert left == before[-len(left) :]
    assert len(left) < len(before)
    assert not storage.reserve_due


def test_segments_are_removed_oldest_first_and_cut_short_anywhere() -> None:
    for steps in range(6):
        disk = made()
        storage = written(disk, 11)
        save(storage, 9)
        storage.reserve()
        storage.compact(9)
        storage.sync()
        before = segment_numbers(disk)
        disk.crash_at(disk.steps + steps)
        with suppress(Crashed):
            storage.reserve()
        left = segment_numbers(disk)
        assert left == before[-len(left) :]
        disk.kill()
        loaded = open_segments(DIRECTORY, segment_bytes=4 * BLOCK, disk=disk).load()
        assert loaded.damage is None
        assert loaded.records == [PromisedRecord(Ballot(2, 1)), *accepted(10), *accepted(11)] or (
            loaded.records[-2:] == [*accepted(10), *accepted(11)]
        )


def test_segment_that_cannot_be_removed_ends_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = made()
    storage = written(disk, 8)
    save(storage, 6)
    storage.compact(6)
    storage.sync()

    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(disk, "remove", refuse)
    with pytest.raises(StorageFailed, match=r"removing segment-0000000001\.log"):
        storage.reserve()


def test_missing_segment_above_the_oldest_named_one_is_damage() -> None:
    disk = made()
    storage = written(disk, 12)
    save(storage, 5)
    storage.compact(5)
    storage.sync()
    storage.reserve()
    storage.close()
    first, second, *_ = segment_numbers(disk)
    for number in (first, second):
        damaged = disk.copy()
        damaged.remove(DIRECTORY / f"segment-{number:010d}.log")
        wanted = f"segment-{number + 1:010d}.log: the segment before it is missing"
        assert wanted in findings(damaged)


def test_compaction_beside_writes_on_a_real_disk_loses_nothing(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    storage = open_segments(tmp_path / "node", segment_bytes=8 * BLOCK)
    storage.load()
    with reserving(storage):
        for slot in range(1, 200):
            storage.append(accepted(slot))
            storage.sync()
            if slot % 20 == 0:
                save(storage, slot, 1000)
                storage.compact(slot - 5)
            assert storage.disk_bytes > 0
    storage.close()
    storage = open_segments(tmp_path / "node")
    loaded = storage.load()
    assert loaded.damage is None
    slots = [each.slot for each in loaded.records if isinstance(each, AcceptedRecord)]
    assert slots == list(range(176, 200))
    assert loaded.compacted_through == 175
    assert len(list((tmp_path / "node").glob("segment-*.log"))) < 12
    storage.close()


# --- from which snapshot a log goes on ----------------------------------------------------------


def decided(*slots: int) -> list[Record]:
    return [DecidedRecord(slot, Value(slot, b"x")) for slot in slots]


OLD, NEW = SnapshotName(3, 1, bytes(16)), SnapshotName(9, 1, bytes(16))


@pytest.mark.parametrize(
    ("records", "snapshots", "spoilt", "compacted", "complete", "wanted"),
    [
        (decided(), (), False, 0, 0, (None, 0)),
        (decided(10), (OLD, NEW), False, 8, 5, (NEW, 8)),
        # The latest is spoilt: the log holds all from the older one on, or from the beginning.
        (decided(*range(4, 9)), (OLD,), True, 8, 3, (OLD, 3)),
        (decided(*range(1, 9)), (), True, 8, 0, (None, 0)),
        # One slot is missing, or not known decided, or a segment is gone that reached further.
        (decided(*range(4, 8)), (OLD,), True, 8, 3, (None, 8)),
        ([*decided(4, 5, 6, 7), *accepted(8)], (OLD,), True, 8, 3, (None, 8)),
        (decided(*range(4, 9)), (OLD,), True, 8, 4, (None, 8)),
        # A witness has no snapshots, and has lost none.
        (decided(*range(1, 9)), (), False, 8, 0, (None, 8)),
    ],
)
def test_log_goes_on_from_the_latest_snapshot_that_it_joins(
    records: list[Record],
    snapshots: tuple[SnapshotName, ...],
    spoilt: bool,
    compacted: int,
    complete: int,
    wanted: tuple[SnapshotName | None, int],
) -> None:
    told = ["a line"] if spoilt else []
    assert resume(records, snapshots, told, compacted, complete) == wanted
