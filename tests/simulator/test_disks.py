"""The simulated disks keep the storage port's law, and are no kinder than a real disk."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from jepsen_like.sim.disk import NodeDisk, SimDisk
from jepsen_like.sim.invariants import Violation
from jepsen_like.sim.log_disk import LogDisk
from jepsen_like.sim.plan import REAL_LOG_LIMITS
from paxos.core.ballot import Ballot
from paxos.core.effects import Persist, Send
from paxos.core.ids import Voter
from paxos.core.messages import Accepted
from paxos.core.records import AcceptedRecord, PromisedRecord, Record, replay
from paxos.core.value import Value
from paxos.storage.base import DataDamaged, StorageFailed, StorageFull
from paxos.storage.segments import SegmentStorage

VOTER = Voter(1, 11)
VOTE = Send(2, Accepted(Ballot(1, 1), 1, 0))


def promise(number: int) -> Persist:
    return Persist((PromisedRecord(Ballot(number, 1)),), (VOTE,))


def records_of(*writes: Persist) -> list[Record]:
    return [record for write in writes for record in write.records]


class Chooses(random.Random):
    """Chance that always takes the last choice, and the highest number."""

    def choice(self, seq: Any) -> Any:
        return seq[-1]

    def randint(self, a: int, b: int) -> int:
        return max(a, b)


def opened_log() -> LogDisk:
    disk = LogDisk(VOTER, REAL_LOG_LIMITS)
    disk.load()
    disk.has_room()
    return disk


def write_durably(disk: NodeDisk, *writes: Persist) -> Sequence[Record]:
    for write in writes:
        disk.stage(write)
    assert disk.write() == ([], True)
    return disk.complete()


@pytest.mark.parametrize("make", [SimDisk, opened_log])
def test_disk_with_a_write_under_way_releases_nothing_before_it_is_durable(make: Any) -> None:
    disk: NodeDisk = make()
    disk.stage(promise(1))
    assert disk.write() == ([], True)
    disk.stage(promise(2))
    assert disk.write() == ([], False)
    assert list(disk.complete()) == records_of(promise(1))
    assert disk.write() == ([VOTE], True)


@pytest.mark.parametrize("make", [SimDisk, opened_log])
def test_disk_with_a_barrier_alone_writes_nothing(make: Any) -> None:
    disk: NodeDisk = make()
    disk.stage(Persist((), (VOTE,)))
    assert disk.write() == ([VOTE], False)


@pytest.mark.parametrize("make", [SimDisk, opened_log])
def test_disk_that_is_told_to_fail_fails_the_next_sync(make: Any) -> None:
    disk: NodeDisk = make()
    disk.stage(promise(1))
    disk.write()
    disk.fail()
    with pytest.raises(StorageFailed):
        disk.complete()


def test_list_of_records_after_a_power_cut_keeps_only_what_was_synced() -> None:
    disk = SimDisk()
    write_durably(disk, promise(1))
    disk.stage(promise(2))
    disk.write()
    disk.stage(promise(3))
    assert disk.crash(Chooses(), power_cut=True) == ([], 2)
    assert disk.load().records == records_of(promise(1))


def test_list_of_records_after_a_crash_may_keep_what_was_under_way_and_never_more() -> None:
    disk = SimDisk()
    disk.stage(promise(1))
    disk.write()
    disk.stage(promise(2))
    survived, lost = disk.crash(Chooses(), power_cut=False)
    assert (list(survived), lost) == (records_of(promise(1)), 1)
    assert list(disk.load().records) == list(survived)


@pytest.mark.parametrize("power_cut", [False, True])
def test_log_after_crashes_in_the_middle_of_writes_finds_all_that_was_durable(
    power_cut: bool,
) -> None:
    rng, disk = random.Random(1), opened_log()
    durable: list[Record] = []
    survivors = torn = 0
    for number in range(1, 60):
        durable += write_durably(disk, promise(3 * number), promise(3 * number + 1))
        disk.write()
        disk.stage(promise(3 * number + 2))
        disk.write()
        disk.crash(rng, power_cut)
        found = disk.load()
        disk.has_room()
        survivors += len(found.survived)
        torn += found.torn
        assert list(found.records) == durable + list(found.survived)
        durable += found.survived
    assert 0 < survivors < 59
    assert torn > 0 or not power_cut


def test_log_that_syncs_nothing_is_caught_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = opened_log()
    monkeypatch.setattr(SegmentStorage, "_write", lambda self, batch: None)
    write_durably(disk, promise(1))
    disk.crash(Chooses(), power_cut=False)
    with pytest.raises(Violation, match="durable"):
        disk.load()


def test_log_that_rots_is_refused_unless_what_rotted_is_never_read() -> None:
    refused = 0
    for seed in range(20):
        disk = opened_log()
        write_durably(disk, promise(1))
        disk.crash(Chooses(), power_cut=False)
        assert disk.rot(random.Random(seed)) > 0
        try:
            assert replay(disk.load().records).promised == Ballot(1, 1)
        except DataDamaged:
            refused += 1
    assert refused > 10


def test_log_on_a_full_disk_has_no_room_before_a_write_finds_none() -> None:
    disk = opened_log()
    disk.fill(True)
    number = 0
    while disk.has_room():
        number += 1
        value = Value(1, bytes(4000))
        disk.stage(Persist((AcceptedRecord(Ballot(1, 1), number, value),), ()))
        assert disk.write() == ([], True)
        disk.complete()
        disk.write()
    assert number > 0
    disk.fill(False)
    assert disk.has_room()


def test_log_on_a_full_disk_cannot_start_and_starts_once_there_is_room() -> None:
    disk = opened_log()
    write_durably(disk, promise(1))
    disk.crash(Chooses(), power_cut=False)
    disk.fill(True)
    with pytest.raises(StorageFull):
        disk.load()
    disk.fill(False)
    assert list(disk.load().records) == records_of(promise(1))


def test_log_in_use_refuses_a_second_process() -> None:
    assert opened_log().refuses_second()
