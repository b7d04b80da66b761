"""The disk that the other tests trust: it loses what a real one may lose, and no less."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from paxos.storage.base import DirectoryInUse
from paxos.testing.disk import SECTOR, Crashed, ModelDisk, Unsynced

HERE = Path("/here")
FILE = HERE / "file"


@pytest.fixture
def disk() -> ModelDisk:
    made = ModelDisk()
    made.make_directory(HERE)
    return made


def synced_file(disk: ModelDisk, data: bytes) -> None:
    file = disk.create(FILE)
    file.write((data,), 0)
    file.sync()
    disk.sync_directory(HERE)


def test_kill_keeps_unsynced_bytes_readable_and_unsynced(disk: ModelDisk) -> None:
    synced_file(disk, b"old")
    disk.create(HERE / "other").write((b"new",), 0)
    disk.kill()
    assert disk.read(HERE / "other") == b"new"
    disk.power_cut()
    assert disk.names(HERE) == ["file"]


def test_power_cut_keeps_exactly_the_chosen_sectors(disk: ModelDisk) -> None:
    file = disk.create(FILE)
    file.write((bytes(3 * SECTOR),), 0)
    file.sync()
    disk.sync_directory(HERE)
    file.write((b"x" * 3 * SECTOR,), 0)
    first, second, third = disk.unsynced()
    assert [each.number for each in (first, second, third)] == [0, 1, 2]
    disk.power_cut([first, third])
    wanted = b"x" * SECTOR + bytes(SECTOR) + b"x" * SECTOR
    assert disk.read(FILE) == wanted
    assert disk.unsynced() == []


def test_durable_write_makes_only_its_own_sectors_durable(disk: ModelDisk) -> None:
    synced_file(disk, bytes(4 * SECTOR))
    disk.kill()
    file = disk.create(HERE / "two")
    disk.sync_directory(HERE)
    file.write((b"a" * 4 * SECTOR,), 0)
    file.write_durably((b"b" * SECTOR,), SECTOR)
    disk.power_cut()
    assert disk.read(HERE / "two") == bytes(SECTOR) + b"b" * SECTOR


def test_sector_that_is_written_as_it_was_cannot_be_lost(disk: ModelDisk) -> None:
    synced_file(disk, bytes(SECTOR))
    disk.create(HERE / "two").write((b"",), 0)
    disk.sync_directory(HERE)
    assert disk.unsynced() == []


def test_name_without_directory_sync_may_be_lost_or_kept(disk: ModelDisk) -> None:
    synced_file(disk, b"data")
    disk.rename(FILE, HERE / "renamed")
    (change,) = disk.unsynced()
    assert change == Unsynced("name", "/here", change.number)
    lost, kept = disk.copy(), disk.copy()
    lost.power_cut()
    assert lost.names(HERE) == ["file"]
    kept.power_cut([change])
    assert kept.names(HERE) == ["renamed"]


def test_removed_and_truncated_data_may_come_back(disk: ModelDisk) -> None:
    synced_file(disk, b"x" * 2 * SECTOR)
    disk.truncate(FILE, SECTOR)
    assert len(disk.read(FILE)) == SECTOR
    (sector,) = disk.unsynced()
    kept = disk.copy()
    kept.power_cut([sector])
    assert len(kept.read(FILE)) == SECTOR
    disk.remove(FILE)
    with pytest.raises(FileNotFoundError):
        disk.read(FILE)
    disk.power_cut()
    assert len(disk.read(FILE)) == 2 * SECTOR


def test_failed_sync_forgets_the_pages_and_the_next_one_succeeds(disk: ModelDisk) -> None:
    file = disk.create(FILE)
    disk.sync_directory(HERE)
    file.write((b"data",), 0)
    disk.fail_sync(1)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.sync()
    assert disk.read(FILE) == b"data"
    disk.power_cut()
    assert disk.read(FILE) == b""


def test_failed_directory_sync_forgets_the_names(disk: ModelDisk) -> None:
    disk.create(FILE)
    disk.fail_sync(1)
    with pytest.raises(OSError, match="Input/output error"):
        disk.sync_directory(HERE)
    disk.sync_directory(HERE)
    assert disk.names(HERE) == ["file"]
    disk.power_cut()
    assert disk.names(HERE) == []


def test_scripted_writes_are_short_or_fail(disk: ModelDisk) -> None:
    file = disk.create(FILE)
    disk.script_writes([2, -errno.ENXIO])
    assert file.write((b"abc",), 0) == 2
    with pytest.raises(OSError, match="such device"):
        file.write((b"abc",), 0)
    assert file.write((b"abc",), 0) == 3


def test_disk_without_room_takes_what_fits_and_then_nothing(disk: ModelDisk) -> None:
    disk.capacity = 5
    file = disk.create(FILE)
    assert file.write((b"abcdefgh",), 0) == 5
    with pytest.raises(OSError, match="No space"):
        file.write((b"f",), 5)
    assert file.write((b"ABC",), 0) == 3  # what is there can be overwritten
    disk.remove(FILE)
    assert disk.create(HERE / "two").write((b"abc",), 0) == 3


def test_process_dies_at_the_chosen_step_and_does_nothing_more(disk: ModelDisk) -> None:
    file = disk.create(FILE)
    disk.crash_at(disk.steps + 1)
    with pytest.raises(Crashed):
        file.write_durably((b"abc",), 0)  # written, not synced
    with pytest.raises(Crashed):
        disk.remove(FILE)
    disk.kill()
    assert disk.read(FILE) == b"abc"
    assert len(disk.unsynced()) == 2
    with pytest.raises(Crashed):
        file.sync()


def test_lock_is_held_until_released_or_killed(disk: ModelDisk) -> None:
    lock = disk.lock(HERE)
    with pytest.raises(DirectoryInUse):
        disk.lock(HERE)
    assert disk.holder(HERE) == disk.process
    lock.release()
    old = disk.lock(HERE)
    disk.kill()
    assert disk.holder(HERE) is None
    disk.lock(HERE)
    old.release()  # a dead process releases nothing
    assert disk.holder(HERE) == disk.process


def test_file_is_not_created_twice(disk: ModelDisk) -> None:
    disk.create(FILE)
    with pytest.raises(FileExistsError):
        disk.create(FILE)


def test_file_is_read_in_part_and_lengthened_by_zeros(disk: ModelDisk) -> None:
    synced_file(disk, b"0123456789")
    assert disk.size(FILE) == 10
    assert disk.read(FILE, 3) == b"3456789"
    assert disk.read(FILE, 3, 4) == b"3456"
    assert disk.read(FILE, 8, 4) == b"89"
    disk.uncache(FILE)
    disk.truncate(FILE, 12)
    assert disk.read(FILE, 8) == b"89\0\0"
    disk.power_cut()
    assert disk.size(FILE) == 10
