"""The files of the default log: making them, rolling over, running out of room, failing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.core.ballot import Ballot
from paxos.core.records import AcceptedRecord, DecidedRecord, PromisedRecord, Record
from paxos.core.value import Value
from paxos.storage.base import (
    DataDamaged,
    DirectoryInUse,
    Identity,
    StorageError,
    StorageFailed,
    StorageFull,
    WrongIdentity,
)
from paxos.storage.body import frame_record
from paxos.storage.directory import decode_identity, encode_identity
from paxos.storage.disk import RealDisk, refuse_platform
from paxos.storage.layout import BLOCK, SECTOR
from paxos.storage.segments import SegmentStorage, create, inspect, open_segments
from paxos.testing.disk import Crashed, ModelDisk
from paxos.testing.storage_suite import SegmentBench, record_batches, subsets
from tests.storage.reserving import reserving

IDENTITY = Identity("c0ffee", 3, 99)
DIRECTORY = Path("/data/node")

GOLDEN_IDENTITY = (
    b"paxos identity format 1\ncluster c0ffee\nnode 3\nincarnation 99\ncrc32 80793de1\n"
)


def accepted(slot: int, size: int = 100) -> list[Record]:
    return [AcceptedRecord(Ballot(2, 1), slot, Value(slot, bytes([slot % 255 + 1]) * size))]


def made(disk: ModelDisk | None = None) -> ModelDisk:
    disk = ModelDisk() if disk is None else disk
    create(DIRECTORY, IDENTITY, disk=disk)
    return disk


def opened(disk: ModelDisk, segment_bytes: int = 4 * BLOCK) -> SegmentStorage:
    storage = open_segments(DIRECTORY, IDENTITY, segment_bytes=segment_bytes, disk=disk)
    storage.load()
    return storage


def records(disk: ModelDisk) -> list[Record]:
    disk.kill()
    storage = open_segments(DIRECTORY, IDENTITY, segment_bytes=4 * BLOCK, disk=disk)
    loaded = storage.load()
    storage.close()
    assert loaded.damage is None
    return list(loaded.records)


# --- making a directory -------------------------------------------------------------------------


def test_identity_file_of_format_1_has_these_bytes() -> None:
    assert encode_identity(IDENTITY) == GOLDEN_IDENTITY
    assert decode_identity(GOLDEN_IDENTITY, Path("identity")) == IDENTITY


@pytest.mark.parametrize("bit", range(8))
def test_identity_file_with_any_bit_changed_is_damaged(bit: int) -> None:
    for offset in range(len(GOLDEN_IDENTITY)):
        changed = bytearray(GOLDEN_IDENTITY)
        changed[offset] ^= 1 << bit
        with pytest.raises(DataDamaged, match="identity file is damaged"):
            decode_identity(bytes(changed), Path("identity"))


def test_identity_file_of_another_format_says_which_program_to_start() -> None:
    text = b"paxos identity format 2\nwhatever\n"
    with pytest.raises(StorageError, match=r"identity format 2.*start the version"):
        decode_identity(text + b"crc32 %08x\n" % zlib.crc32(text), Path("identity"))


def test_create_cut_short_anywhere_leaves_no_identity_without_a_batch() -> None:
    rng = Random(0)
    finished = False
    for step in range(100):
        if finished:
            break
        disk = ModelDisk()
        disk.crash_at(step)
        try:
            create(DIRECTORY, IDENTITY, disk=disk)
        except Crashed:
            pass
        else:
            finished = True
        for kept in subsets(disk.unsynced(), rng):
            cut = disk.copy()
            cut.power_cut(frozenset(kept))
            try:
                assert records(cut) == []
            except WrongIdentity:
                assert not finished  # it was never made
    assert finished


def test_create_in_a_directory_with_something_in_it_is_refused() -> None:
    disk = made()
    with pytest.raises(StorageError, match="is not empty"):
        create(DIRECTORY, IDENTITY, disk=disk)
    assert records(disk) == []


def test_directory_without_identity_warns_of_making_it_again(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WrongIdentity, match="do not make it again under its old identity"):
            open_segments(directory)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    (tmp_path / "node" / "identity").chmod(0)
    with pytest.raises(StorageError, match=r"identity: cannot be read: Permission denied"):
        open_segments(tmp_path / "node")


def test_directory_whose_identity_is_no_file_is_named(tmp_path: Path) -> None:
    """Root may read whatever is forbidden to others, but not this."""
    create(tmp_path / "node", IDENTITY)
    (tmp_path / "node" / "identity").unlink()
    (tmp_path / "node" / "identity").mkdir()
    with pytest.raises(StorageError, match=r"identity: cannot be read: Is a directory"):
        open_segments(tmp_path / "node")


def test_directory_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    (tmp_path / "node" / "lock").mkdir()
    with pytest.raises(StorageError, match=r"node: cannot be used: Is a directory"):
        open_segments(tmp_path / "node")
    (tmp_path / "node" / "lock").rmdir()
    open_segments(tmp_path / "node").close()


def test_directory_of_another_node_names_what_is_there_and_what_was_expected() -> None:
    disk = made()
    with pytest.raises(WrongIdentity, match=r"node 3 instead of 4, incarnation 99 instead of 1"):
        open_segments(DIRECTORY, Identity("c0ffee", 4, 1), disk=disk)


def test_identity_without_a_batch_is_damage() -> None:
    disk = made()
    disk.remove(DIRECTORY / "segment-0000000001.log")
    with pytest.raises(DataDamaged, match="not one sound batch"):
        open_segments(DIRECTORY, disk=disk).load()


# --- appending ----------------------------------------------------------------------------------


def test_log_takes_nothing_before_it_was_loaded_or_after_it_was_closed() -> None:
    disk = made()
    storage = open_segments(DIRECTORY, disk=disk)
    for call in (storage.sync, storage.reserve, lambda: storage.append(accepted(1))):
        with pytest.raises(StorageError, match="load the log"):
            call()
    storage.load()
    with pytest.raises(StorageError, match="load was called before"):
        storage.load()
    storage.close()
    storage.close()
    for call in (storage.sync, storage.reserve, lambda: storage.append(accepted(1))):
        with pytest.raises(StorageError, match="closed"):
            call()


def test_batch_is_one_durable_write() -> None:
    disk = made()
    storage = opened(disk, 16 * BLOCK)
    storage.append(accepted(1))
    storage.append(accepted(2))
    before = disk.steps
    storage.sync()
    assert disk.steps - before == 2  # one write_durably: the write, and its sync
    storage.sync()
    assert disk.steps - before == 2
    assert disk.unsynced() == [each for each in disk.unsynced() if "0001" in each.where]


def test_segments_that_are_done_are_not_written_again() -> None:
    disk = made()
    storage = opened(disk)
    contents: dict[str, bytes] = {}
    for slot in range(1, 12):
        storage.append(accepted(slot))
        storage.sync()
        names = [name for name in disk.names(DIRECTORY) if name.endswith(".log")]
        for name in names[:-1]:
            data = disk.read(DIRECTORY / name)
            assert contents.setdefault(name, data) == data
    assert len(contents) == 4


def test_segment_of_an_earlier_run_is_cut_to_its_named_end() -> None:
    disk = made()
    storage = opened(disk, 16 * BLOCK)
    for slot in (1, 2):
        storage.append(accepted(slot))
        storage.sync()
    storage.close()
    second = opened(disk, 16 * BLOCK)
    # Header, batch 1 and slot 1; slot 2 stands in the new segment again.
    assert len(disk.read(DIRECTORY / "segment-0000000002.log")) == 3 * BLOCK
    sizes = [len(disk.read(DIRECTORY / name)) for name in disk.names(DIRECTORY) if "seg" in name]
    assert second.disk_bytes == sum(sizes) == (1 + 3 + 16) * BLOCK
    assert records(disk) == [*accepted(1), *accepted(2)]


def test_segment_size_must_hold_a_batch() -> None:
    disk = made()
    for size in (BLOCK, 5 * BLOCK + 1):
        with pytest.raises(ValueError, match="segment_bytes"):
            open_segments(DIRECTORY, segment_bytes=size, disk=disk)


# --- room ---------------------------------------------------------------------------------------


def test_full_disk_leaves_no_temporary_file_and_what_is_staged_staged() -> None:
    disk = made()
    storage = opened(disk)
    disk.capacity = storage.disk_bytes + BLOCK  # fails half-way
    with pytest.raises(StorageFull, match="make room on this disk"):
        storage.reserve()
    assert [name for name in disk.names(DIRECTORY) if name.endswith(".tmp")] == []
    for slot in (1, 2):
        storage.append(accepted(slot))
        storage.sync()
    storage.append(accepted(3))
    with pytest.raises(StorageFull):
        storage.sync()
    assert storage.reserve_due
    disk.capacity = None
    storage.sync()
    assert records(disk) == [*accepted(1), *accepted(2), *accepted(3)]


def test_full_disk_at_start_is_said_and_leaves_the_log_as_it_was() -> None:
    disk = made()
    disk.capacity = 0
    with pytest.raises(StorageFull):
        opened(disk)
    disk.capacity = None
    assert records(disk) == []


record_sizes = st.lists(st.integers(0, 20_000), max_size=12)


@given(st.lists(record_sizes, max_size=6), st.integers(4, 24), st.booleans())
@example([[11_000, 11_000, 100], [20_000, 20_000], [7000] * 8], 8, True)
@example([[100_000], [301_000, 301_000]], 100, True)  # neither fits what is left of the first
def test_group_that_fits_the_room_needs_no_new_segment(
    groups: list[list[int]], blocks: int, reserves: bool
) -> None:
    disk = made()
    storage = opened(disk, blocks * BLOCK)
    written: list[Record] = []
    for group in groups:
        disk.capacity = None
        if reserves:
            storage.reserve()
        disk.capacity = 0
        batch = [record for slot, size in enumerate(group, 1) for record in accepted(slot, size)]
        if sum(len(frame_record(record)) for record in batch) <= storage.room_bytes:
            storage.append(batch)
            storage.sync()
            written += batch
    disk.capacity = None
    assert records(disk) == written


def test_reserve_beside_sync_on_a_real_disk_loses_nothing(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    storage = open_segments(tmp_path / "node", segment_bytes=16 * BLOCK)
    storage.load()
    written = []
    with reserving(storage):
        for slot in range(1, 150):
            storage.append(accepted(slot, slot * 7))
            storage.sync()
            written += accepted(slot, slot * 7)
    storage.close()
    storage = open_segments(tmp_path / "node")
    assert storage.load().records == written
    storage.close()


@pytest.mark.parametrize("commands", [bytes(40_000), b"\xc1" * 40_000], ids=["zeros", "c1"])
def test_record_larger_than_a_segment_survives_a_crash_at_every_step_or_is_gone(
    commands: bytes,
) -> None:
    large: list[Record] = [AcceptedRecord(Ballot(2, 1), 2, Value(2, commands))]
    for step in range(200):
        disk = made()
        storage = opened(disk)
        storage.append(accepted(1))
        storage.sync()
        disk.crash_at(disk.steps + step)
        storage.append(large)
        finished = False
        try:
            storage.sync()
            finished = True
        except Crashed:
            disk.kill()
        found = records(disk)
        assert found == accepted(1) + large or (found == accepted(1) and not finished)
        # What is left of it does not stick to what is written next.
        storage = opened(disk)
        storage.append(accepted(3))
        storage.sync()
        assert records(disk) == found + accepted(3)
        if finished:
            return
    pytest.fail("it never came to an end")


# --- failures -----------------------------------------------------------------------------------


def life(disk: ModelDisk, acknowledged: list[Record]) -> None:
    storage = opened(disk)
    for number, batch in enumerate(record_batches(Random(1), 6, 3000)):
        if number % 2:
            storage.reserve()
        storage.append(batch)
        storage.sync()
        acknowledged += batch


def test_any_failed_sync_ends_the_log_and_loses_nothing_acknowledged() -> None:
    failed = 0
    for nth in range(1, 100):
        disk = made()
        disk.fail_sync(nth)
        acknowledged: list[Record] = []
        try:
            life(disk, acknowledged)
        except StorageFailed:
            failed += 1
        disk.power_cut()
        found = records(disk)
        assert found[: len(acknowledged)] == acknowledged
    assert 10 < failed < 90


def test_segment_whose_name_was_never_synced_may_go_once_the_next_run_has_repeated_it() -> None:
    disk = made()
    storage = opened(disk)
    for slot in (1, 2):
        storage.append(accepted(slot))
        storage.sync()
    written = accepted(1) + accepted(2)
    storage.append(accepted(3))  # the segment is full: this batch begins another
    disk.fail_sync(3)  # of the directory, after its zeros and its batch
    with pytest.raises(StorageFailed):
        storage.sync()
    disk.kill()  # the process ends, and the machine goes on
    assert records(disk) == written + accepted(len(written) + 1)
    disk.power_cut()
    assert records(disk) == written + accepted(len(written) + 1)


def test_short_write_is_completed_and_synced() -> None:
    for taken in (1, SECTOR, SECTOR + 7, BLOCK - 1):
        disk = made()
        storage = opened(disk)
        disk.script_writes([taken, 13])
        storage.append(accepted(1, 600))
        storage.sync()
        disk.power_cut()
        assert records(disk) == accepted(1, 600)


@pytest.mark.parametrize("taken", [1, 100, SECTOR, SECTOR + 7, 2 * SECTOR + 1, 3 * SECTOR])
@pytest.mark.parametrize("then", [-errno.EIO, 0])
def test_write_that_goes_no_further_leaves_no_sector_half_written(taken: int, then: int) -> None:
    disk = made()
    storage = opened(disk)
    storage.append(accepted(1))
    storage.sync()
    disk.script_writes([taken, then])
    storage.append(accepted(2, 2000))
    with pytest.raises(StorageFailed, match=r"writing a batch to segment-0000000002\.log"):
        storage.sync()
    with pytest.raises(StorageFailed):
        storage.reserve()
    assert records(disk) == accepted(1)


def test_disk_that_refuses_even_the_zeros_is_told_by_its_first_failure() -> None:
    disk = made()
    storage = opened(disk)
    disk.script_writes([100, -errno.EIO, -errno.ENXIO])
    storage.append(accepted(2, 2000))
    with pytest.raises(StorageFailed, match=os.strerror(errno.EIO)):
        storage.sync()


def test_failure_while_reserving_ends_the_log() -> None:
    disk = made()
    storage = opened(disk)
    disk.script_writes([-errno.EIO])
    with pytest.raises(StorageFailed, match=r"reserving a segment failed: .*this process must end"):
        storage.reserve()
    with pytest.raises(StorageFailed):
        storage.append(accepted(1))


# --- the real disk ------------------------------------------------------------------------------


def test_real_disk_names_how_it_syncs(tmp_path: Path) -> None:
    create(tmp_path / "node", IDENTITY)
    storage = open_segments(tmp_path / "node")
    assert storage.sync_method in {
        "pwritev(RWF_DSYNC)",
        "pwritev + fdatasync",
        "pwritev + F_FULLFSYNC",
        "pwritev + fsync",
    }
    storage.close()


def test_kernel_without_the_flag_is_noticed_and_synced_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    synced: list[int] = []

    def old_kernel(descriptor: int, buffers: Sequence[bytes], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(descriptor, buffers, offset)

    disk = RealDisk()
    disk.flags = 2
    monkeypatch.setattr(os, "pwritev", old_kernel)
    monkeypatch.setattr("paxos.storage.disk._full_sync", synced.append)
    create(tmp_path / "node", IDENTITY, disk=disk)
    storage = open_segments(tmp_path / "node", segment_bytes=4 * BLOCK, disk=disk)
    storage.load()
    before = len(synced)
    storage.append(accepted(1))
    storage.sync()
    assert len(synced) == before + 1
    assert storage.sync_method != "pwritev(RWF_DSYNC)"
    storage.close()
    assert inspect(tmp_path / "node").records == {"accepted": 1}


def test_error_of_the_durable_write_is_not_taken_for_a_missing_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "node", IDENTITY)
    storage = open_segments(tmp_path / "node", segment_bytes=4 * BLOCK)
    storage.load()
    method = storage.sync_method

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwritev", broken)
    storage.append(accepted(1))
    with pytest.raises(StorageFailed):
        storage.sync()
    assert storage.sync_method == method
    storage.close()


@pytest.mark.parametrize("platform", ["win32", "cygwin"])
def test_windows_is_refused_clearly(platform: str) -> None:
    with pytest.raises(StorageError, match="cannot run on Windows"):
        refuse_platform(platform)
    refuse_platform("linux")
    refuse_platform("darwin")


def test_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "node"
    create(directory, IDENTITY)
    storage = open_segments(directory)
    with pytest.raises(DirectoryInUse, match=f"process {os.getpid()} is using"):
        open_segments(directory)
    assert inspect(directory).in_use_by == os.getpid()
    (directory / "lock").write_text("nonsense")
    with pytest.raises(DirectoryInUse, match="another process is using"):
        open_segments(directory)
    storage.close()
    assert inspect(directory).in_use_by is None
    open_segments(directory).close()


@pytest.mark.processes
def test_process_killed_while_writing_loses_nothing_it_had_acknowledged(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    create(directory, IDENTITY)
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from paxos.core.ballot import Ballot
        from paxos.core.records import PromisedRecord
        from paxos.storage.segments import open_segments
        storage = open_segments(Path(sys.argv[1]), segment_bytes=1 << 16)
        start = len(storage.load().records)
        for round_ in range(start + 1, 10**9):
            storage.append([PromisedRecord(Ballot(round_, 1))])
            storage.sync()
            print(round_, flush=True)
    """)
    acknowledged = 0
    for lines in (3, 40, 1):
        command = [sys.executable, "-c", program, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(lines):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest, _ = child.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split("\n")[:-1])])
        storage = open_segments(directory, segment_bytes=1 << 16)
        loaded = storage.load()
        storage.close()
        assert loaded.damage is None
        assert len(loaded.records) in {acknowledged, acknowledged + 1}
        assert loaded.records[-1] == PromisedRecord(Ballot(len(loaded.records), 1))


# --- looking at it ------------------------------------------------------------------------------


def test_inspection_counts_what_is_there_and_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    create(directory, IDENTITY)
    storage = open_segments(directory, segment_bytes=4 * BLOCK)
    storage.load()
    batches: list[list[Record]] = [
        [*accepted(1), *accepted(2)],
        [DecidedRecord(1, Value(1, b"x")), PromisedRecord(Ballot(9, 2))],
        accepted(5),
    ]
    for batch in batches:
        storage.append(batch)
        storage.sync()
    storage.reserve()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    found = inspect(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert found.sound
    assert found.identity == IDENTITY
    assert found.storage == "segments"
    assert found.batches == 4
    assert found.records == {"accepted": 3, "decided": 1, "promised": 1}
    assert found.slots == (1, 5)
    assert (found.decided, found.decided_through) == (1, 1)
    assert found.promised == Ballot(9, 2)
    assert [each.name for each in found.segments] == [
        f"segment-000000000{number}.log" for number in (1, 2, 3)
    ]
    assert [each.batches for each in found.segments] == [0, 3, 1]
    assert (found.segments[1].first_sequence, found.segments[1].last_sequence) == (1, 3)
    assert found.disk_bytes == BLOCK + 8 * BLOCK + 1  # a full segment that others follow says so
    storage.close()


def test_inspection_tells_torn_from_damaged() -> None:
    bench = SegmentBench(segment_bytes=16 * BLOCK)
    storage = bench.open()
    storage.load()
    for slot in (1, 2):
        storage.append(accepted(slot, 600))
        storage.sync()
    bench.kill()
    last = bench.directory / "segment-0000000002.log"
    torn = bench.disk.copy()
    torn.overwrite(last, 3 * BLOCK + SECTOR, bytes(SECTOR))
    found = inspect(bench.directory, disk=torn)
    assert found.sound
    assert len(found.torn) == 1
    bench.disk.flip(last, 3 * BLOCK + SECTOR)
    found = inspect(bench.directory, disk=bench.disk)
    assert not found.sound
    assert found.damage is not None
    assert found.damage.hides_promise
    bench.disk.remove(last)
    bench.disk.remove(bench.directory / "segment-0000000001.log")
    assert not inspect(bench.directory, disk=bench.disk).sound
