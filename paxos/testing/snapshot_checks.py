"""What every log must keep of snapshots and of compaction, as checks of ``storage_suite``.

It guards the rules of the port that join state and log: a snapshot is there whole or not at all;
nothing that no snapshot covers ever leaves the log, and no promise; what a disk lost of a snapshot
is told, and the state said to be lost only if the log cannot make up for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from paxos.core.ballot import Ballot
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import Value
from paxos.storage.base import DataDamaged, Loaded, Storage, StorageFull
from paxos.storage.body import uncompacted
from paxos.storage.snapshots import PAYLOAD_BYTES, PIECE_BYTES
from paxos.testing.storage_benches import Act, Bench
from paxos.testing.storage_cases import (
    Check,
    accepted,
    broken,
    expect,
    expect_raised,
    flat,
    record_batches,
    write,
)

SIZES = (0, 1, PAYLOAD_BYTES - 1, PAYLOAD_BYTES, PAYLOAD_BYTES + 1, PIECE_BYTES + 5 * PAYLOAD_BYTES)


def snapshot_bytes(through: Slot, size: int) -> bytes:
    """Return the contents of the snapshot that the checks store at a slot."""
    return Random(through).randbytes(size)


def save(storage: Storage, through: Slot, size: int = 5000) -> SnapshotName:
    """Store a snapshot, in pieces of odd sizes."""
    data = snapshot_bytes(through, size)
    writer = storage.begin_snapshot(through)
    start, step = 0, 1
    while start < len(data):
        writer.write(data[start : start + step])
        start, step = start + step, step * 3 + 1
    expect(writer.size == size, "a writer miscounts its bytes")
    digest = hashlib.blake2b(data, digest_size=16).digest()
    expect(writer.digest == digest, "a writer tells another digest")
    name = writer.finish()
    expect(name == SnapshotName(through, size, digest), f"another name: {name}")
    return name


def _save(storage: Storage, through: Slot) -> None:
    save(storage, through)


def compact(storage: Storage, through: Slot) -> None:
    """Compact, durably, and give the space back."""
    storage.compact(through)
    storage.sync()
    storage.reserve()


def _expect_whole(storage: Storage, name: SnapshotName, when: str) -> None:
    data = snapshot_bytes(name.through, name.size)
    found = storage.read_snapshot(name, 0, name.size + 1)
    expect(found == data, f"{when}: snapshot {name} reads otherwise than it was written")


def _expect_gone(storage: Storage, name: SnapshotName, when: str) -> None:
    try:
        storage.read_snapshot(name, 0, 1)
    except LookupError:
        return
    broken(f"{when}: snapshot {name} can still be read")


def check_snapshot_is_read_as_it_was_written(make: Callable[[], Bench]) -> None:
    """Any range of it, after close, kill and power cut; and nothing of one that is not there."""
    bench = make()
    rng = Random(20)
    for through, size in enumerate(SIZES, 1):
        storage = bench.open()
        storage.load()
        name = save(storage, through, size)
        data = snapshot_bytes(through, size)
        for number in range(3):
            expect(storage.snapshots[-1] == name, f"{name} is not the latest")
            for _ in range(20):
                offset, length = rng.randint(0, size + 2), rng.randint(0, size + 2)
                found = storage.read_snapshot(name, offset, length)
                wanted = data[offset : offset + length]
                expect(found == wanted, f"{name}: bytes {offset}+{length} read otherwise")
            _expect_gone(storage, name._replace(digest=bytes(16)), "never written")
            (bench.kill, bench.power_cut, storage.close)[number]()
            storage = bench.open()
            loaded = storage.load()
            expect(loaded.damage is None, f"{name}: damage where none is: {loaded.damage}")
            expect(loaded.snapshot == name, f"load tells of {loaded.snapshot}, not of {name}")
            expect(loaded.compacted_through == 0, "compacted, and nobody asked for it")
        storage.close()


def check_latest_two_snapshots_are_kept(make: Callable[[], Bench]) -> None:
    """The third removes the first; one that comes late is not the latest; again is no third."""
    bench = make()
    storage = bench.open()
    storage.load()
    first, second = save(storage, 3), save(storage, 7)
    expect(storage.snapshots == (first, second), f"kept {storage.snapshots}")
    expect(save(storage, 7) == second, "equal bytes got another name")
    expect(storage.snapshots == (first, second), f"written again, kept {storage.snapshots}")
    third = save(storage, 9)
    expect(storage.snapshots == (second, third), f"of three, kept {storage.snapshots}")
    _expect_gone(storage, first, "two later ones are there")
    late = save(storage, 8)
    expect(storage.snapshots == (late, third), f"after a late one, kept {storage.snapshots}")
    before = storage.disk_bytes
    for through in range(10, 20):
        save(storage, through)
    expect(storage.disk_bytes <= before, "old snapshots still take space")
    bench.power_cut()
    storage = bench.open()
    expect(storage.load().snapshot == storage.snapshots[-1], "not the latest is loaded")
    expect([each.through for each in storage.snapshots] == [18, 19], f"kept {storage.snapshots}")


def check_unfinished_snapshot_leaves_nothing(make: Callable[[], Bench]) -> None:
    """Abandoned, killed or without power: there is no snapshot, and no space is taken."""
    bench = make()
    storage = bench.open()
    storage.load()
    kept = save(storage, 1)
    before = storage.disk_bytes
    for size in (0, 10, 2 * PIECE_BYTES):
        writer = storage.begin_snapshot(2)
        other = storage.begin_snapshot(2)
        writer.write(bytes(size))
        other.write(bytes(size))
        writer.abandon()
        other.abandon()
        expect(storage.disk_bytes == before, "what was abandoned still takes space")
        expect(storage.snapshots == (kept,), "what was abandoned is there")
        try:
            writer.finish()
        except ValueError:
            pass
        else:
            broken("what was abandoned can be finished")
    for number in range(3):
        storage.begin_snapshot(2).write(bytes(2 * PIECE_BYTES))
        (bench.kill, bench.power_cut, storage.close)[number]()
        storage = bench.open()
        loaded = storage.load()
        expect(loaded.snapshot == kept, f"{loaded.snapshot} is there and was never finished")
        expect(loaded.damage is None, f"unfinished, and called damage: {loaded.damage}")
        # A log that begins again may have been given more segments; snapshots cost nothing more.
        expect(storage.snapshots == (kept,), f"kept {storage.snapshots}")


class _Life:
    """A log over its life: what was written to it, and what must still be known of it."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.written: list[Record] = []
        self.highest: Slot = 0

    def batches(self, count: int) -> list[list[Record]]:
        """Return batches whose slots lie above those before."""
        made = record_batches(self.rng, count, 900)
        for number, batch in enumerate(made):
            made[number] = [_moved(record, self.highest) for record in batch]
        self.written += flat(made)
        slots = [_slot(record) for record in flat(made)]
        self.highest = max([self.highest, *slots])
        return made


def _slot(record: Record) -> Slot:
    return record.slot if isinstance(record, AcceptedRecord | DecidedRecord) else 0


def _moved(record: Record, by: Slot) -> Record:
    match record:
        case AcceptedRecord(ballot, slot, value):
            return AcceptedRecord(ballot, slot + by, value)
        case DecidedRecord(slot, value):
            return DecidedRecord(slot + by, value)
        case WatermarkRecord(ballot, through):
            return WatermarkRecord(ballot, through + by)
    return record


def _slots_of(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if _slot(record)]


def expect_compacted(loaded: Loaded, written: Sequence[Record], when: str) -> None:
    """Hold what was loaded to what was written, all of it durable.

    Nothing above ``compacted_through`` is missing, nothing else is there, no promise is forgotten,
    and what the log would believe decided is what the whole log would.
    """
    through = loaded.compacted_through
    found = _slots_of(loaded.records)
    expect(found == _slots_of(uncompacted(written, through)), f"{when}: other records, {through}")
    whole, left = replay(written), replay(loaded.records)
    expect(left.promised == whole.promised, f"{when}: promised {left.promised}")
    expect(left.issued == whole.issued, f"{when}: issued {left.issued}")
    above = {slot: held for slot, held in whole.held.items() if slot > through}
    expect(left.held == above, f"{when}: another memory of the slots above {through}")


def check_compaction_keeps_what_no_snapshot_covers(make: Callable[[], Bench]) -> None:
    """Random lives of writing, snapshots and compaction, each with a random end."""
    for seed in range(30, 36):
        life = _Life(Random(seed))
        bench = make()
        through = 0
        for _ in range(6):
            storage = bench.open()
            loaded = storage.load()
            when = f"seed {seed}, {len(life.written)} records"
            expect(loaded.damage is None, f"{when}: {loaded.damage}")
            expect(loaded.compacted_through == through, f"{when}: {loaded.compacted_through}")
            expect_compacted(loaded, life.written, when)
            write(storage, life.batches(life.rng.randint(1, 8)))
            if life.rng.random() < 0.7:
                save(storage, life.highest)
                through = max(through, life.highest - life.rng.randint(0, 3))
                compact(storage, through)
            write(storage, life.batches(life.rng.randint(0, 4)))
            life.rng.choice((bench.kill, bench.power_cut, storage.close))()


def check_compaction_gives_space_back(make: Callable[[], Bench]) -> None:
    """Over many lives the log stays as large as what is kept, and also if the node is idle."""
    bench = make()
    life = _Life(Random(40))
    sizes = []
    for _ in range(12):
        storage = bench.open()
        expect(storage.load().compacted_through == life.highest, "forgot what was compacted")
        sizes.append(storage.disk_bytes)
        write(storage, life.batches(30))
        save(storage, life.highest, 100)
        compact(storage, life.highest)
        storage.close()
    expect(sizes[-1] <= 2 * max(sizes[1:4]), f"the log grows for ever: {sizes}")


def check_log_wholly_below_an_installed_snapshot_goes_on(make: Callable[[], Bench]) -> None:
    """A snapshot from far ahead is made the latest; the log holds only what lies below it."""
    bench = make()
    storage = bench.open()
    storage.load()
    life = _Life(Random(41))
    write(storage, life.batches(9))
    far = life.highest + 1000
    name = save(storage, far)
    compact(storage, far)
    write(storage, [[PromisedRecord(Ballot(10**6, 1))], *(accepted(far + n) for n in (2, 1))])
    for end in (bench.power_cut, bench.kill):
        end()
        storage = bench.open()
        loaded = storage.load()
        expect(loaded.damage is None, f"installed, and called damage: {loaded.damage}")
        expect((loaded.snapshot, loaded.compacted_through) == (name, far), f"{loaded}")
        slots = [_slot(record) for record in loaded.records if _slot(record)]
        expect(slots == [far + 2, far + 1], f"above the installed snapshot: {slots}")
        expect(replay(loaded.records).promised == Ballot(10**6, 1), "the promise is lost")


def check_new_directory_can_begin_with_a_snapshot(make: Callable[[], Bench]) -> None:
    """As a backup is restored: no record but a snapshot, and all below it compacted."""
    bench = make()
    storage = bench.open()
    storage.load()
    name = save(storage, 77)
    storage.compact(77)
    storage.sync()
    storage.close()
    storage = bench.open()
    loaded = storage.load()
    expect(loaded == Loaded(loaded.records, None, name, 77), f"loaded {loaded}")
    expect(not _slots_of(loaded.records), "records out of nowhere")


def check_crash_anywhere_around_a_snapshot_loses_nothing(make: Callable[[], Bench]) -> None:
    """Die at any step of writing, snapshot and compaction: log and snapshot join, whole.

    And what recovery has read is durable from then on, whatever was durable before.
    """
    life = _Life(Random(42))
    acts: list[Act] = []
    said: list[tuple[int, Slot, Slot]] = []  # records written, snapshot and compaction, after each
    saved = compacted = 0
    for _ in range(2):
        batch = life.batches(1)
        acts.append(partial(write, batches=batch))
        said.append((len(life.written), saved, compacted))
        saved = life.highest
        acts.append(partial(_save, through=saved))
        said.append((len(life.written), saved, compacted))
        compacted = saved - 1
        acts.append(partial(compact, through=compacted))
        said.append((len(life.written), saved, compacted))
    more = accepted(life.highest + 9)
    for number, (bench, done) in enumerate(make().crashes(acts)):
        when = f"crash {number}, after {done} acts"
        records, saved, compacted = said[done - 1] if done else (0, 0, 0)
        storage = bench.open()
        loaded = storage.load()
        expect(loaded.damage is None, f"{when}: taken for damage: {loaded.damage}")
        found = 0 if loaded.snapshot is None else loaded.snapshot.through
        expect(found >= saved, f"{when}: the snapshot of {saved} is lost")
        expect(compacted <= loaded.compacted_through <= found, f"{when}: {loaded}")
        if loaded.snapshot is not None:
            _expect_whole(storage, loaded.snapshot, when)
        prefix = next(
            (
                length
                for length in range(records, len(life.written) + 1)
                if _fits(loaded, life.written[:length])
            ),
            None,
        )
        expect(
            prefix is not None, f"{when}: not what was written: {list(map(str, loaded.records))}"
        )
        bench.power_cut()
        storage = bench.open()
        expect(storage.load() == loaded, f"{when}: a power cut right after recovery")
        write(storage, [more])
        bench.power_cut()
        storage = bench.open()
        again = storage.load()
        expect(again.snapshot == loaded.snapshot, f"{when}: written on, the snapshot is lost")
        expect(_slots_of(again.records)[-1:] == more, f"{when}: written on, and lost")
        storage.close()


def _fits(loaded: Loaded, written: Sequence[Record]) -> bool:
    kept = _slots_of(uncompacted(written, loaded.compacted_through))
    whole, left = replay(written), replay(loaded.records)
    same = (left.promised, left.issued) == (whole.promised, whole.issued)
    return same and _slots_of(loaded.records) == kept


def check_spoilt_snapshot_is_told_and_replaced(make: Callable[[], Bench]) -> None:
    """The older one serves if the log reaches back to it; else the state is lost, no vote is."""
    for size in (0, 3000, 3 * PAYLOAD_BYTES):
        bench = make()
        storage = bench.open()
        storage.load()
        old = save(storage, 3, size)
        slots = [DecidedRecord(slot, Value(slot, b"decided")) for slot in range(1, 9)]
        written: list[Record] = [PromisedRecord(Ballot(4, 2)), *slots]
        write(storage, [[record] for record in written])
        compact(storage, 3)
        latest = save(storage, 8, size)
        bench.spoil_snapshot(latest)
        if size:
            whole = partial(storage.read_snapshot, latest, 0, size)
            expect_raised(DataDamaged, whole, "spoilt bytes are handed out")
            expect(storage.snapshots == (old,), "a snapshot that is known to be spoilt is offered")
        storage.close()
        storage = bench.open()
        loaded = storage.load()
        _expect_told(loaded, "the log reaches back to the older one")
        expect(loaded.snapshot == old, f"went on from {loaded.snapshot}, not from {old}")
        expect(loaded.compacted_through == 3, f"compacted through {loaded.compacted_through}")
        expect_compacted(loaded, written, "from the older one")
        latest = save(storage, 8, size)
        compact(storage, 7)
        storage.close()
        storage = bench.open()
        expect(storage.load().damage is None, "a new snapshot did not replace the spoilt one")
        bench.spoil_snapshot(latest)
        storage.close()
        storage = bench.open()
        loaded = storage.load()
        _expect_told(loaded, "the log does not reach back to the older one")
        expect(loaded.snapshot is None, f"there is a gap from {loaded.snapshot} to slot 8")
        expect(loaded.compacted_through == 7, f"compacted through {loaded.compacted_through}")
        write(storage, [accepted(20)])
        written += accepted(20)
        fetched = save(storage, 15, size)
        compact(storage, 15)
        bench.power_cut()
        storage = bench.open()
        loaded = storage.load()
        expect(loaded.damage is None, f"a fetched snapshot did not mend: {loaded.damage}")
        expect((loaded.snapshot, loaded.compacted_through) == (fetched, 15), f"{loaded}")
        expect_compacted(loaded, written, "from a fetched one")


def _expect_told(loaded: Loaded, when: str) -> None:
    damage = loaded.damage
    expect(damage is not None, f"{when}: a spoilt snapshot is not told")
    assert damage is not None
    expect(damage.findings, f"{when}: damage without a finding")
    expect(damage.unknown == (), f"{when}: slots in doubt, and only a snapshot was spoilt")
    expect(not damage.hides_promise, f"{when}: a snapshot holds no promise")


def check_full_disk_while_saving_harms_nothing(make: Callable[[], Bench]) -> None:
    """No room for a snapshot: it says so, and the log goes on in the space it has reserved."""
    bench = make()
    storage = bench.open()
    storage.load()
    storage.reserve()
    kept = save(storage, 1)
    bench.fill(True)

    def try_to_save() -> None:
        writer = storage.begin_snapshot(2)
        try:
            writer.write(bytes(2 * PIECE_BYTES))
            writer.finish()
        finally:
            writer.abandon()

    expect_raised(StorageFull, try_to_save, "a snapshot was saved where there is no room")
    if storage.room_bytes:
        write(storage, [accepted(5)])
    bench.fill(False)
    storage.reserve()
    write(storage, [accepted(6)])
    expect(storage.snapshots == (kept,), f"kept {storage.snapshots}")
    name = save(storage, 2, 2 * PIECE_BYTES)
    bench.power_cut()
    storage = bench.open()
    loaded = storage.load()
    expect((loaded.damage, loaded.snapshot) == (None, name), f"after a full disk: {loaded}")
    expect(_slots_of(loaded.records)[-1:] == accepted(6), "after a full disk records are missing")
    storage.close()


CHECKS: tuple[Check, ...] = (
    check_snapshot_is_read_as_it_was_written,
    check_latest_two_snapshots_are_kept,
    check_unfinished_snapshot_leaves_nothing,
    check_compaction_keeps_what_no_snapshot_covers,
    check_compaction_gives_space_back,
    check_log_wholly_below_an_installed_snapshot_goes_on,
    check_new_directory_can_begin_with_a_snapshot,
    check_crash_anywhere_around_a_snapshot_loses_nothing,
    check_spoilt_snapshot_is_told_and_replaced,
    check_full_disk_while_saving_harms_nothing,
)
"""Every check of snapshots and compaction."""
