"""Any bit and any bytes of a data directory may change: what is told of it, and how it ends.

The bytes of a sound directory say which batch stands where; from that these tests work out for
themselves which slots are in doubt when some of them are hit, and hold the log to it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.core.ballot import Ballot
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    Held,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import Value
from paxos.storage.base import DataDamaged, Identity, Loaded
from paxos.storage.body import read_records
from paxos.storage.layout import BLOCK, SECTOR, decode_batch_header, decode_segment_header
from paxos.storage.reading import read_directory
from paxos.storage.scrub import scrub
from paxos.storage.segment_file import segment_name
from paxos.storage.segments import SegmentStorage, create, open_segments
from paxos.storage.snapshots import snapshot_name
from paxos.testing.disk import ModelDisk
from paxos.testing.snapshot_checks import compact, save

IDENTITY = Identity("c0ffee", 3, 99)
DIRECTORY = Path("/data")
SEGMENT_BYTES = 6 * BLOCK


class Place(NamedTuple):
    """Where a batch stands, and what it holds."""

    name: str
    start: int
    stop: int
    records: tuple[Record, ...]

    @property
    def slots(self) -> list[Slot]:
        return [each.slot for each in self.records if isinstance(each, SLOTTED)]


SLOTTED = AcceptedRecord | DecidedRecord


def opened(disk: ModelDisk) -> tuple[SegmentStorage, Loaded]:
    storage = open_segments(DIRECTORY, segment_bytes=SEGMENT_BYTES, disk=disk)
    return storage, storage.load()


def batch(slot: Slot, rng: Random, size: int) -> list[Record]:
    """Records of a node at work: two slots accepted, an older one decided, all by one leader."""
    ballot = Ballot(2 + slot // 10, 1)
    records: list[Record] = [
        AcceptedRecord(ballot, slot + extra, Value(slot, rng.randbytes(rng.randint(0, size))))
        for extra in (0, 1)
    ]
    match rng.randrange(5):
        case 0:
            records.append(WatermarkRecord(ballot, slot - 1))
        case 1:
            records.append(DecidedRecord(max(1, slot - 3), Value(slot, b"decided")))
        case 2:
            records.append(PromisedRecord(Ballot(2 + slot // 10, 2)))
        case 3:
            records.append(IssuedRecord(Ballot(2 + slot // 10, 3)))
    return records


@lru_cache
def worn(seed: int, size: int) -> ModelDisk:
    """Return the directory of a node that has run three times, and was compacted in the second."""
    rng = Random(seed)
    disk = ModelDisk()
    create(DIRECTORY, IDENTITY, disk=disk)
    slot = 1
    for run in range(3):
        storage, _ = opened(disk)
        for _ in range(rng.randint(8, 12)):
            storage.append(batch(slot, rng, size))
            storage.sync()
            slot += rng.randint(1, 2)
        if run < 2:
            save(storage, max(1, slot - 12), 70_000)
        if run == 1:
            save(storage, slot - 8, 70_000)
            compact(storage, slot - 10)
        storage.close() if run else disk.kill()
    return disk


@lru_cache
def places(disk: ModelDisk) -> list[Place]:
    """Return all batches of a sound directory, in order, each where recovery reads it.

    What stands in a segment that the last of them says may be gone is not among them.
    """
    oldest = ""
    names = [name for name in disk.names(DIRECTORY) if name.startswith("segment-")]
    contents = {name: disk.read(DIRECTORY / name) for name in names}
    headers = [decode_segment_header(contents[name]) for name in names]
    found: list[Place] = []
    for index, name in enumerate(names):
        header, data = headers[index], contents[name]
        following = headers[index + 1] if index + 1 < len(names) else None
        end = len(data) if following is None else following.previous_end
        assert header is not None
        offset = BLOCK
        while offset < end:
            batch_ = decode_batch_header(data[offset : offset + SECTOR], header.id)
            if batch_ is None:
                break
            stop = offset + SECTOR + batch_.length
            records, rest = read_records(data[offset + SECTOR : stop])
            assert not rest
            found.append(Place(name, offset, stop, tuple(records)))
            offset += batch_.span
            oldest = segment_name(batch_.oldest_segment)
    return [each for each in found if each.name >= oldest]


@lru_cache
def sound(disk: ModelDisk) -> Loaded:
    copied = disk.copy()
    loaded = opened(copied)[1]
    assert loaded.damage is None
    return loaded


def in_doubt(disk: ModelDisk, hit: Place, loaded: Loaded) -> tuple[tuple[Slot, Slot], ...]:
    """Work out which slots nobody knows any more when one batch is lost."""
    if not hit.slots:
        return ()
    all_of_them = places(disk)
    later = {s for each in all_of_them[all_of_them.index(hit) + 1 :] for s in each.slots}
    snapshot = loaded.snapshot
    assert snapshot is not None
    lost = range(max(min(hit.slots), snapshot.through + 1), max(hit.slots) + 1)
    ranges: list[tuple[Slot, Slot]] = []
    for slot in lost:
        if slot in later:
            continue
        if ranges and ranges[-1][1] == slot - 1:
            ranges[-1] = (ranges[-1][0], slot)
        else:
            ranges.append((slot, slot))
    return tuple(ranges)


def offsets_of(disk: ModelDisk) -> list[tuple[str, int]]:
    return [
        (name, disk.size(DIRECTORY / name))
        for name in disk.names(DIRECTORY)
        if not name.endswith(".tmp")
    ]


@st.composite
def bits(draw: st.DrawFn) -> tuple[int, str, int, int]:
    seed = draw(st.integers(0, 5))
    name, size = draw(st.sampled_from(offsets_of(worn(seed, 900))))
    return seed, name, draw(st.integers(0, size - 1)), draw(st.integers(0, 7))


@given(bits())
def test_changed_bit_anywhere_is_told_with_exactly_the_slots_in_doubt(
    where: tuple[int, str, int, int],
) -> None:
    seed, name, offset, bit = where
    before = worn(seed, 900)
    whole = sound(before)
    disk = before.copy()
    disk.flip(DIRECTORY / name, offset, bit)
    if name == "identity":
        with pytest.raises(DataDamaged, match="identity"):
            opened(disk)
        return
    report = scrub(DIRECTORY, disk=disk)
    loaded = opened(disk)[1]
    if report.damage is None:
        assert loaded.damage is None
    if (spoilt := snapshot_name(name)) is not None:
        if offset < SECTOR or offset >= BLOCK:
            assert spoilt in report.spoilt
        check_spoilt_snapshot(whole, loaded, spoilt, offset)
        return
    all_of_them = places(before)
    hit = [each for each in all_of_them if each.name == name and each.start <= offset < each.stop]
    past = name == all_of_them[-1].name and offset >= all_of_them[-1].stop
    if hit == all_of_them[-1:] or (past and loaded.damage is not None):
        # Behind the last batch may have stood another one, as far as anyone can tell.
        assert loaded.damage is not None
        assert loaded.damage.hides_promise
    elif hit:
        assert loaded.damage is not None
        assert not loaded.damage.hides_promise
        assert loaded.damage.unknown == in_doubt(before, hit[0], whole)
    elif offset < SECTOR and name >= all_of_them[0].name:
        assert loaded.damage is not None
        assert (loaded.damage.unknown, loaded.damage.hides_promise) == ((), False)
        assert loaded.records == whole.records
    else:
        assert loaded == whole


def check_spoilt_snapshot(whole: Loaded, found: Loaded, spoilt: SnapshotName, offset: int) -> None:
    if offset in range(SECTOR, BLOCK):
        assert found == whole  # padding
        return
    if spoilt != whole.snapshot and offset >= SECTOR:
        assert found == whole  # the older one; a start does not read all of it, a scrub does
        return
    assert found.damage is not None
    assert (found.damage.unknown, found.damage.hides_promise) == ((), False)
    if spoilt != whole.snapshot:
        assert (found.snapshot, found.compacted_through) == (
            whole.snapshot,
            whole.compacted_through,
        )
    else:
        # Slots that nobody holds any more lie between the older one and the log.
        assert found.snapshot is None
        assert found.compacted_through == whole.compacted_through


def memory(loaded: Loaded) -> dict[Slot, Held]:
    """Return what is held in each slot."""
    return replay(loaded.records).held


def same(known: Held | None, told: Held | None) -> bool:
    """Whether two memories of a slot agree in what counts: the decided value, or what was accepted.

    That it is decided may be forgotten, not what was accepted; which ballot it was that is decided
    no longer counts.
    """
    if known is None or told is None:
        return known is told
    if known.decided and told.decided:
        return known.value == told.value
    return (known.ballot, known.value) == (told.ballot, told.value)


overwrites = st.tuples(
    st.integers(0, 5),
    st.sampled_from([100, 900, 9000]),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 16, 500, 4096, 20_000]),
)


@given(overwrites)
@example((0, 900, Random(0), 1))
def test_overwritten_bytes_leave_every_slot_either_known_or_in_doubt(
    drawn: tuple[int, int, Random, int],
) -> None:
    seed, size, rng, length = drawn
    before = worn(seed, size)
    whole = sound(before)
    disk = before.copy()
    names = [each for each in offsets_of(before) if each[0].startswith("segment-")]
    name, file_bytes = rng.choice(names)
    start = rng.randrange(file_bytes)
    noise = rng.randbytes(min(length, file_bytes - start))
    disk.overwrite(DIRECTORY / name, start, noise)
    last = places(before)[-1]
    loaded = opened(disk)[1]
    damage = loaded.damage
    if damage is None:
        assert loaded == whole
        return
    if damage.hides_promise:
        assert name == last.name
        assert start + len(noise) > last.start or start < SECTOR
        return
    assert loaded.snapshot == whole.snapshot
    known, told = memory(whole), memory(loaded)
    assert whole.snapshot is not None
    for slot in {*known, *told}:
        doubted = any(first <= slot <= end for first, end in damage.unknown)
        if not doubted and slot > whole.snapshot.through:
            assert same(known.get(slot), told.get(slot)), slot
    found = replay(loaded.records)
    assert found.promised >= replay(whole.records).promised
    assert found.issued >= replay(whole.records).issued
    check_log_goes_on_and_heals(disk, damage.unknown)


def check_log_goes_on_and_heals(disk: ModelDisk, unknown: tuple[tuple[Slot, Slot], ...]) -> None:
    """Mend each slot by a decided value; compact; and there is no damage any more."""
    disk.kill()
    storage, _ = opened(disk)
    mended = [slot for first, end in unknown for slot in range(first, end + 1)]
    for slot in mended:
        storage.append([DecidedRecord(slot, Value(1, b"from a peer"))])
    storage.sync()
    # No power cut: one may bring back what was cut off behind a segment's end, and where the next
    # one's header is damaged that end is not named. Then more is in doubt, and rightly.
    disk.kill()
    storage, loaded = opened(disk)
    if loaded.damage is not None:  # or it was in a segment that has just become the oldest
        assert loaded.damage.unknown == ()
    assert {*mended} <= {slot for slot, held in replay(loaded.records).held.items() if held.decided}
    check_compaction_keeps_what_is_above(disk.copy(), loaded)
    highest = max([*memory(loaded), *mended])
    storage.append([AcceptedRecord(Ballot(99, 1), highest + 1, Value(1, b"on"))])
    storage.sync()
    save(storage, highest)
    compact(storage, highest)
    disk.power_cut()
    storage, loaded = opened(disk)
    assert loaded.damage is None
    assert sorted(memory(loaded)) == [highest + 1]
    storage.close()


def test_lost_segment_in_the_middle_is_told_with_the_slots_that_stood_in_it() -> None:
    before = worn(0, 900)
    whole = sound(before)
    all_of_them = places(before)
    names = sorted({each.name for each in all_of_them})
    for name in names[:-1]:
        disk = before.copy()
        disk.remove(DIRECTORY / name)
        loaded = opened(disk)[1]
        assert loaded.damage is not None
        assert not loaded.damage.hides_promise
        assert any("is missing" in finding for finding in loaded.damage.findings)
        lost = {slot for each in all_of_them if each.name == name for slot in each.slots}
        last = max(index for index, each in enumerate(all_of_them) if each.name == name)
        later = {slot for each in all_of_them[last + 1 :] for slot in each.slots}
        assert whole.snapshot is not None
        for slot in lost - later:
            if slot > whole.snapshot.through:
                assert any(first <= slot <= end for first, end in loaded.damage.unknown)
        check_log_goes_on_and_heals(disk, loaded.damage.unknown)


def check_compaction_keeps_what_is_above(disk: ModelDisk, before: Loaded) -> None:
    """Compact each slot in turn: whatever is damaged, nothing above it goes."""
    disk.kill()
    storage, _ = opened(disk)
    known = memory(before)
    for through in range(before.compacted_through + 1, max(known), 3):
        save(storage, through, 10)
        compact(storage, through)
        left = memory(read_directory(DIRECTORY, disk=disk).loaded)
        assert left == {slot: held for slot, held in known.items() if slot > through}


@pytest.mark.parametrize("size", [0, 3500, 6000])
def test_missing_newest_segment_may_hide_a_promise(size: int) -> None:
    disk = ModelDisk()
    create(DIRECTORY, IDENTITY, disk=disk)
    storage, _ = opened(disk)
    names = len(disk.names(DIRECTORY))
    for slot in range(1, 30):
        storage.append([AcceptedRecord(Ballot(2, 1), slot, Value(1, bytes(size)))])
        storage.sync()
        if len(disk.names(DIRECTORY)) == names:
            continue
        names = len(disk.names(DIRECTORY))
        lost = disk.copy()
        lost.remove(DIRECTORY / [each for each in disk.names(DIRECTORY) if "log" in each][-1])
        damage = opened(lost)[1].damage
        assert damage is not None
        assert damage.hides_promise
        assert any("a segment is missing" in finding for finding in damage.findings)
    assert names >= 8


def test_truncated_snapshot_is_spoilt() -> None:
    before = worn(1, 900)
    latest = sound(before).snapshot
    (name,) = [each for each in before.names(DIRECTORY) if snapshot_name(each) == latest]
    for size in (0, SECTOR, BLOCK, 66_000, before.size(DIRECTORY / name) - 1):
        disk = before.copy()
        disk.truncate(DIRECTORY / name, size)
        loaded = opened(disk)[1]
        assert loaded.damage is not None
        assert loaded.snapshot != latest
        assert not loaded.damage.hides_promise
