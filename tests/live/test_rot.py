"""Places to hit in a data directory: they are where they say, and hitting them is damage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from jepsen_like.live.rot import (
    Aim,
    Hit,
    Place,
    find_batches,
    find_place,
    hit,
    latest_snapshot,
    records_of,
)
from paxos.core.ballot import Ballot
from paxos.core.records import AcceptedRecord, PromisedRecord, WatermarkRecord
from paxos.core.value import Value
from paxos.storage.base import Identity
from paxos.storage.directory import IDENTITY_NAME
from paxos.storage.scrub import scrub
from paxos.storage.segments import create, open_segments

WHO = Identity("ab" * 16, 1, 7)
BALLOT = Ballot(3, 1)
SLOTS = 12
SNAPSHOT_AT = 6


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A node that runs: twelve slots in batches of their own, and a snapshot at the sixth."""
    home = tmp_path / "node"
    create(home, WHO)
    log = open_segments(home, WHO)
    log.load()
    log.append([PromisedRecord(BALLOT)])
    log.sync()
    for slot in range(1, SLOTS + 1):
        value = Value(1, b"%d" % slot * 300)
        log.append([AcceptedRecord(BALLOT, slot, value), WatermarkRecord(BALLOT, slot - 1)])
        log.sync()
        if slot == SNAPSHOT_AT:
            writer = log.begin_snapshot(slot)
            writer.write(b"state" * 1000)
            writer.finish()
    yield home
    log.close()


def _place(directory: Path, aim: Aim, seed: int, decided_through: int = SLOTS - 1) -> Place:
    place = find_place(directory, aim, decided_through, random.Random(seed))
    assert place is not None
    return place


def _slots_at(directory: Path, place: Place) -> list[int]:
    """Return the slots whose records hold all of a place."""
    return [
        slot
        for slot in range(1, SLOTS + 1)
        for batch in find_batches(directory)
        for each in records_of(batch, slot - 1, slot)
        if each.file == place.file
        and each.offset <= place.offset
        and place.offset + place.length <= each.offset + each.length
    ]


@pytest.mark.parametrize("seed", range(20))
def test_place_in_a_decided_record_is_above_the_snapshot_and_below_the_end(
    seed: int, directory: Path
) -> None:
    place = _place(directory, "decided", seed)
    assert place.decided
    (slot,) = set(_slots_at(directory, place))
    assert SNAPSHOT_AT < slot < SLOTS


def test_decided_record_that_is_hit_is_found_by_a_scrub_and_its_slot_in_doubt(
    directory: Path,
) -> None:
    rng = random.Random(1)
    place = _place(directory, "decided", 1)
    (slot,) = set(_slots_at(directory, place))
    assert scrub(directory).sound
    done = hit(place, rng)
    assert done.stands()
    damage = scrub(directory).damage
    assert damage is not None
    assert damage.unknown == ((slot, slot),)
    assert not damage.hides_promise


def test_place_at_the_end_that_is_hit_may_hide_a_promise(directory: Path) -> None:
    place = _place(directory, "end", 3)
    assert not place.decided  # the last slot is not known decided
    hit(place, random.Random(1))
    damage = scrub(directory).damage
    assert damage is not None
    assert damage.hides_promise


def test_place_in_a_snapshot_that_is_hit_spoils_it(directory: Path) -> None:
    assert latest_snapshot(directory) == SNAPSHOT_AT
    place = _place(directory, "snapshot", 1)
    # Behind its header's fields, so that something stands there.
    hit(place._replace(offset=4096 + 100), random.Random(1))
    report = scrub(directory)
    assert [name.through for name in report.spoilt] == [SNAPSHOT_AT]


def test_places_anywhere_come_to_be_in_every_sort_of_file_and_mostly_in_records(
    directory: Path,
) -> None:
    places = [_place(directory, "anywhere", seed) for seed in range(60)]
    assert {place.file.name.split("-")[0] for place in places} == {
        "segment",
        "snapshot",
        "identity",
    }
    for place in places:
        assert place.offset + place.length <= place.file.stat().st_size
        if place.decided:
            assert _slots_at(directory, place)
    assert any(place.decided for place in places)


def test_records_that_were_hit_are_not_hit_again_and_run_out(directory: Path) -> None:
    rng = random.Random(1)
    hit_slots: list[int] = []
    while (place := find_place(directory, "decided", SLOTS - 1, rng)) is not None:
        hit_slots += set(_slots_at(directory, place))
        hit(place, rng)
    assert sorted(hit_slots) == list(range(SNAPSHOT_AT + 1, SLOTS))
    snapshot = _place(directory, "snapshot", 1)
    hit(snapshot._replace(offset=4096 + 100), rng)
    assert find_place(directory, "snapshot", SLOTS, rng) is None


def test_snapshot_that_nobody_can_check_any_more_is_no_place(directory: Path) -> None:
    rng = random.Random(1)
    hit(Place(directory / IDENTITY_NAME, 0, 8, decided=False), rng)
    assert find_place(directory, "snapshot", SLOTS, rng) is None
    assert find_place(directory, "decided", SLOTS, rng) is not None


def test_directory_without_what_is_aimed_at_has_no_place(tmp_path: Path) -> None:
    create(tmp_path / "node", WHO)
    rng = random.Random(1)
    assert find_place(tmp_path / "node", "snapshot", 5, rng) is None
    assert find_place(tmp_path / "node", "decided", 5, rng) is None
    assert latest_snapshot(tmp_path / "node") == 0


def test_hit_that_was_overwritten_or_whose_file_went_does_not_stand(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    done = hit(Place(file, 10, 4, decided=False), random.Random(1))
    assert file.read_bytes()[10:14] == done.data != b"xxxx"
    assert file.read_bytes()[:10] + file.read_bytes()[14:] == b"x" * 96
    assert done.stands()
    assert not Hit(done.place, b"xxxx").stands()
    file.unlink()
    assert not done.stands()
    with pytest.raises(FileNotFoundError):
        hit(done.place, random.Random(1))
