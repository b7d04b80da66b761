"""The faults inside a node: a disk and clocks that do what they are told to do wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from jepsen_like.live.fault_points import DiskFaults, FaultPoints, FaultyClock, FaultyDisk
from paxos.core.ballot import Ballot
from paxos.core.records import PromisedRecord
from paxos.storage.base import Identity, StorageFailed, StorageFull
from paxos.storage.segments import SegmentStorage, create, open_segments
from paxos.testing.disk import ModelDisk

HERE = Path("/data")
WHO = Identity("ab" * 16, 1, 7)
SEGMENT_BYTES = 64 * 1024


def _log(disk: ModelDisk, faults: DiskFaults) -> SegmentStorage:
    log = open_segments(HERE, WHO, segment_bytes=SEGMENT_BYTES, disk=FaultyDisk(disk, faults))
    log.load()
    return log


@pytest.fixture
def disk() -> ModelDisk:
    disk = ModelDisk()
    create(HERE, WHO, disk=disk)
    return disk


def _write(log: SegmentStorage, round_: int) -> None:
    log.append([PromisedRecord(Ballot(round_, 1))])
    log.sync()


def test_faulty_disk_without_a_fault_is_the_disk_below_it(disk: ModelDisk) -> None:
    faults = DiskFaults()
    log = _log(disk, faults)
    _write(log, 1)
    log.reserve()
    log.close()
    again = open_segments(HERE, WHO, disk=disk)
    assert list(again.load().records) == [PromisedRecord(Ballot(1, 1))]
    assert not faults.counts


def test_full_disk_refuses_to_reserve_and_takes_what_was_reserved(disk: ModelDisk) -> None:
    faults = DiskFaults()
    log = _log(disk, faults)
    faults.full = True
    with pytest.raises(StorageFull):
        log.reserve()
    assert faults.counts["full"] == 1
    _write(log, 1)
    faults.full = False
    log.reserve()
    assert faults.counts == {"full": 1}


def test_failed_sync_is_fatal_to_the_log_and_counted(disk: ModelDisk) -> None:
    faults = DiskFaults()
    log = _log(disk, faults)
    faults.sync_fails = True
    with pytest.raises(StorageFailed):
        _write(log, 1)
    assert faults.counts == {"failed": 1}
    faults.sync_fails = False
    with pytest.raises(StorageFailed):
        _write(log, 2)


def test_slow_sync_takes_longer_and_is_counted(disk: ModelDisk) -> None:
    faults = DiskFaults()
    log = _log(disk, faults)
    faults.sync_delay_s = 0.02
    began = time.monotonic()
    _write(log, 1)
    assert time.monotonic() - began >= 0.02
    assert faults.counts == {"slowed": 1}


def test_clock_at_another_rate_goes_on_from_where_it_was_and_trio_follows() -> None:
    clock = FaultyClock()

    async def act() -> float:
        before, wall = clock.current_time(), clock.wall_us()
        clock.set_rate(100.0)
        assert 0 <= clock.current_time() - before < 10
        assert clock.wall_us() >= wall
        began = time.monotonic()
        # Not for something else to happen: how long this takes is what is asked.
        with trio.move_on_after(2.0):
            await trio.sleep_forever()
        return time.monotonic() - began

    took_s = trio.run(act, clock=clock)
    assert 0.02 <= took_s < 1.0


def test_clock_that_jumps_changes_the_time_of_day_alone() -> None:
    clock = FaultyClock()
    before, wall = clock.current_time(), clock.wall_us()
    clock.jump(-3600)
    assert -3600e6 <= clock.wall_us() - wall < -3500e6
    assert 0 <= clock.current_time() - before < 100


def test_fault_points_asked_for_a_change_answer_with_how_things_stand() -> None:
    points = FaultPoints()
    answer = points.change({"number": 7, "wall_jump_s": 60, "disk_full": True})
    assert points.disk.full
    assert 60e6 <= answer["wall_us"] - answer["wall_before_us"] < 70e6
    assert answer["counts"] == {}
    points.change({"disk_full": False, "sync_delay_s": 0.5, "sync_fails": True, "clock_rate": 2})
    assert (points.disk.full, points.disk.sync_delay_s, points.disk.sync_fails) == (
        False,
        0.5,
        True,
    )
    assert points.clock.rate == 2
