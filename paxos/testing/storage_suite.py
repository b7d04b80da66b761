"""What every durable log must keep, as checks that any back end can be put through.

It owns no back end: it is given a way to make a *bench*, one data directory that can be crashed. It
guards the law of ``paxos.storage.base``: what was synced survives SIGKILL and loss of power, what a
crash left half-done is cut, and what a disk lost is told, never silently missing.

Each check takes a factory of benches and raises ``StorageBroken`` with a text that names what
fails. With pytest::

    @pytest.mark.parametrize("check", storage_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_storage_keeps_the_contract(check, tmp_path):
        check(lambda: MyBench(tmp_path / secrets.token_hex(4)))

Without it: ``storage_suite.check_storage(MyBench)``. Benches to imitate stand in
``paxos.testing.storage_benches``; the checks of snapshots in ``paxos.testing.snapshot_checks``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from paxos.core.ballot import Ballot
from paxos.core.records import PromisedRecord, Record, replay
from paxos.storage.base import (
    DirectoryInUse,
    Identity,
    Storage,
    StorageError,
    StorageFailed,
    StorageFull,
    WrongIdentity,
)
from paxos.storage.layout import BLOCK, SECTOR
from paxos.testing import snapshot_checks
from paxos.testing.storage_benches import (
    IDENTITY,
    Act,
    Bench,
    MemoryBench,
    SegmentBench,
    SqliteBench,
    subsets,
)
from paxos.testing.storage_cases import (
    Check,
    StorageBroken,
    accepted,
    broken,
    expect,
    expect_found,
    expect_raised,
    flat,
    read,
    record_batches,
    write,
)

__all__ = [
    "CHECKS",
    "IDENTITY",
    "Act",
    "Bench",
    "Check",
    "MemoryBench",
    "SegmentBench",
    "SqliteBench",
    "StorageBroken",
    "check_storage",
    "record_batches",
    "subsets",
]


def check_new_log_is_empty(make: Callable[[], Bench]) -> None:
    """A directory that was just made holds nothing, however often it is opened."""
    bench = make()
    for time in ("first", "second", "third"):
        expect_found(bench, [], f"opened for the {time} time")
    bench.power_cut()
    expect_found(bench, [], "after a power cut")


def check_synced_records_are_found_again(make: Callable[[], Bench]) -> None:
    """What ``sync`` returned for is there after close, kill and power cut, in order."""
    bench = make()
    rng = Random(1)
    written: list[Record] = []
    for round_, end in enumerate((Storage.close, None, "power", "power", None, Storage.close)):
        storage = bench.open()
        expect(list(storage.load().records) == written, f"round {round_}: records are missing")
        batches = record_batches(rng, 6)
        write(storage, batches)
        written += flat(batches)
        if end is None:
            bench.kill()
        elif end == "power":
            bench.power_cut()
        else:
            storage.close()
    expect_found(bench, written, "at the end")


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
            storage.append(accepted(slot, commands))
            written += accepted(slot, commands)
        storage.append([PromisedRecord(Ballot(slot, 2))])
        written.append(PromisedRecord(Ballot(slot, 2)))
        storage.sync()
    bench.power_cut()
    expect_found(bench, written, "after a power cut")


def check_unsynced_records_are_gone(make: Callable[[], Bench]) -> None:
    """What was only staged ends with the process, and harms nothing."""
    bench = make()
    for end in (bench.kill, bench.power_cut):
        storage = bench.open()
        storage.load()
        storage.append(accepted(1))
        end()
        expect_found(bench, [], f"staged, then {end.__name__}")
    storage = bench.open()
    storage.load()
    storage.sync()
    storage.append(())
    storage.sync()
    storage.append(accepted(1))
    storage.close()
    expect_found(bench, [], "staged, then closed")


def check_crash_anywhere_loses_nothing_synced(make: Callable[[], Bench]) -> None:
    """Die between any two writes, with any unsynced sector lost: recovery finds a prefix.

    And what recovery has read is durable from then on, whatever was durable before.
    """
    rng = Random(3)
    batches = record_batches(rng, 5, 1200)
    written = flat(batches)
    more = accepted(99, b"after the crash")
    for number, (bench, synced) in enumerate(
        make().crashes([partial(write, batches=[each]) for each in batches])
    ):
        when = f"crash {number}, after {synced} batches"
        storage = bench.open()
        loaded = storage.load()
        expect(loaded.damage is None, f"{when}: taken for damage: {loaded.damage}")
        found = list(loaded.records)
        expect(found == written[: len(found)], f"{when}: found what was never written")
        expect(len(found) >= len(flat(batches[:synced])), f"{when}: lost what was synced")
        bench.power_cut()
        expect_found(bench, found, f"{when}: a power cut right after recovery")
        storage = bench.open()
        storage.load()
        write(storage, [more])
        bench.power_cut()
        expect_found(bench, [*found, *more], f"{when}: written on, then a power cut")


def check_failed_sync_is_final(make: Callable[[], Bench]) -> None:
    """Whichever sync fails: the log raises, takes nothing more, and keeps what was synced."""
    for good in range(6):
        bench = make()
        storage = bench.open()
        storage.load()
        batches = record_batches(Random(good), good)
        write(storage, batches)
        storage.append(accepted(50))
        bench.break_sync()
        expect_raised(StorageFailed, storage.sync, f"sync {good + 1} failed and said nothing")
        expect_raised(StorageFailed, storage.sync, "a failed sync was tried again, and believed")
        more = partial(storage.append, accepted(51))
        expect_raised(StorageFailed, more, "records are taken after a failed sync")
        expect(storage.room_bytes == 0, "a log that failed offers room")
        bench.power_cut()
        found = read(bench, "after a failed sync and a power cut")
        written = flat(batches)
        expect(found[: len(written)] == written, "a failed sync lost what was synced before")


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
            broken("there is no room, and reserve does not say so")
        write(storage, [accepted(slot)])
        written += accepted(slot)
    else:
        broken("the disk is full and reserve never says so")
    expect_raised(StorageFull, storage.reserve, "the second call does not say that it is full")
    bench.fill(False)
    storage.reserve()
    expect(storage.room_bytes >= BLOCK, "there is room again, and the log offers none")
    write(storage, [accepted(500)])
    bench.power_cut()
    expect_found(bench, [*written, *accepted(500)], "after a full disk")


def check_one_process_per_directory(make: Callable[[], Bench]) -> None:
    """A second opening is refused while the first lasts, and only then."""
    bench = make()
    storage = bench.open()
    expect_raised(DirectoryInUse, bench.open, "two logs opened one directory")
    storage.load()
    write(storage, [accepted(1)])
    expect_raised(DirectoryInUse, bench.open, "two logs opened one directory, one in use")
    storage.close()
    bench.open().close()
    bench.open()
    bench.kill()
    expect_found(bench, accepted(1), "after the holder was killed")


def check_directory_of_another_node_is_refused(make: Callable[[], Bench]) -> None:
    """Another cluster, node or incarnation: refused, and the directory stays as it was."""
    bench = make()
    cluster, node, incarnation = bench.identity
    for other in (
        Identity("ff" + cluster[2:], node, incarnation),
        Identity(cluster, node + 1, incarnation),
        Identity(cluster, node, incarnation + 1),
    ):
        expect_raised(WrongIdentity, partial(bench.open, other), f"opened as {other}")
    storage = bench.open(bench.identity)
    expect(storage.identity == bench.identity, "the log tells another identity")
    storage.close()
    expect_found(bench, [], "after wrong identities")


def check_changed_bit_is_told(make: Callable[[], Bench]) -> None:
    """No changed bit, in whatever field, ends in records that are silently missing or wrong."""
    bench = make()
    for batches in (record_batches(Random(5), 4, 300), record_batches(Random(6), 3, 300)):
        storage = bench.open()
        storage.load()
        write(storage, batches)
        storage.close()
    for what, flipped in bench.flips():
        try:
            storage = flipped.open()
            damage = storage.load().damage
            storage.close()
        except StorageError as error:
            expect(str(error), f"{what}: the error says nothing")
            continue
        expect(damage is not None, f"{what}: not noticed")
        assert damage is not None
        expect(damage.findings, f"{what}: damage without a finding")
        expect(damage.unknown or not damage.hides_promise, f"{what}: a promise, but no slot")


def check_replay_is_the_same_as_in_memory(make: Callable[[], Bench]) -> None:
    """Random lives with random ends rebuild the same memory as a log that cannot go wrong."""
    for seed in range(10, 16):
        rng = Random(seed)
        bench = make()
        written: list[Record] = []
        for _ in range(4):
            storage = bench.open()
            found = list(storage.load().records)
            expect(replay(found) == replay(written), f"seed {seed}: another memory")
            batches = record_batches(rng, rng.randint(0, 8))
            write(storage, batches)
            written += flat(batches)
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
    *snapshot_checks.CHECKS,
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
