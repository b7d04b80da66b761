"""What recovery makes of every way in which the bytes of a log can be wrong."""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import pytest

from paxos.codec import ProtocolError
from paxos.core.ballot import Ballot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import Value
from paxos.storage.base import (
    SLOT_UNBOUNDED,
    Damage,
    DataDamaged,
    Identity,
    Loaded,
    StorageError,
)
from paxos.storage.body import frame_record, read_records
from paxos.storage.layout import (
    BLOCK,
    SECTOR,
    decode_batch_header,
    decode_segment_header,
    encode_batch_header,
    encode_segment_header,
)
from paxos.storage.segments import create, open_segments
from paxos.testing.disk import Crashed, ModelDisk

IDENTITY = Identity("c0ffee", 3, 99)
DIRECTORY = Path("/data")
LAST = DIRECTORY / "segment-0000000002.log"
FIRST = DIRECTORY / "segment-0000000001.log"


BALLOT = Ballot(2, 1)


def accepted(slot: int, size: int = 100, ballot: Ballot = BALLOT) -> AcceptedRecord:
    return AcceptedRecord(ballot, slot, Value(slot, bytes([slot % 255 + 1]) * size))


def write(disk: ModelDisk, *batches: list[Record], segment_bytes: int = 16 * BLOCK) -> None:
    """Start, write the batches, one block each, and be killed."""
    storage = open_segments(DIRECTORY, IDENTITY, segment_bytes=segment_bytes, disk=disk)
    storage.load()
    for batch in batches:
        storage.append(batch)
        storage.sync()
    disk.kill()


def log(*batches: list[Record], segment_bytes: int = 16 * BLOCK) -> ModelDisk:
    """Return a disk with a log of two segments; ``at(i)`` is where ``batches[i]`` begins."""
    disk = ModelDisk()
    create(DIRECTORY, IDENTITY, disk=disk)
    write(disk, *batches, segment_bytes=segment_bytes)
    return disk


def at(index: int) -> int:
    return BLOCK * (2 + index)  # behind the segment's header and batch 1


def load(disk: ModelDisk) -> Loaded:
    """Return what a new process finds; it goes on to its end by SIGKILL."""
    loaded = open_segments(DIRECTORY, segment_bytes=16 * BLOCK, disk=disk).load()
    disk.kill()
    return loaded


def damage(disk: ModelDisk) -> Damage:
    found = load(disk).damage
    assert found is not None
    assert found.findings
    return found


def zero(disk: ModelDisk, path: Path, offset: int, size: int = SECTOR) -> None:
    disk.overwrite(path, offset, bytes(size))


THREE: tuple[list[Record], ...] = ([accepted(1)], [accepted(2), accepted(3)], [accepted(4)])


# --- the last batch: torn, or damaged -----------------------------------------------------------


LAST_BATCH: list[Record] = [accepted(9, 700), accepted(10, 0), accepted(11, 900)]
SECTORS = range(5)  # the header's, and four of the body
LOSSES = [lost for size in range(6) for lost in combinations(SECTORS, size)]


@pytest.mark.parametrize("lost", LOSSES, ids=str)
def test_last_batch_with_any_sectors_lost_is_cut_and_the_rest_is_kept(
    lost: tuple[int, ...],
) -> None:
    disk = log(*THREE, LAST_BATCH)
    for sector in lost:
        zero(disk, LAST, at(3) + sector * SECTOR)
    loaded = load(disk)
    kept = list(chain(*THREE, [] if lost else LAST_BATCH))
    assert loaded == Loaded(kept, None)
    assert load(disk) == Loaded(kept, None)


def test_last_batch_with_zero_sectors_of_its_own_survives_without_them() -> None:
    zeros: list[Record] = [AcceptedRecord(Ballot(2, 1), 9, Value(1, b"x" + bytes(2100) + b"y"))]
    disk = log(*THREE, zeros)
    for sector in (2, 3):  # all zero as written: nothing is lost with them
        zero(disk, LAST, at(3) + sector * SECTOR)
    assert load(disk) == Loaded([*chain(*THREE), *zeros], None)


def test_torn_last_batch_is_named_in_what_was_cut() -> None:
    disk = log(*THREE, LAST_BATCH)
    zero(disk, LAST, at(3) + 2 * SECTOR)
    storage = open_segments(DIRECTORY, disk=disk, segment_bytes=16 * BLOCK)
    storage.load()
    (line,) = storage.torn
    assert line == (
        f"{LAST.name}: offset {at(3)}: sector 1 of the batch is missing: never finished, and cut"
    )


@pytest.mark.parametrize("offset", range(0, SECTOR, 3))
def test_last_batch_with_a_changed_bit_in_its_header_may_hide_a_promise(offset: int) -> None:
    disk = log(*THREE, LAST_BATCH)
    disk.flip(LAST, at(3) + offset, offset % 8)
    found = damage(disk)
    assert found.hides_promise
    assert found.unknown == ((1, SLOT_UNBOUNDED),)
    assert f"{LAST.name}: offset {at(3)}" in found.findings[0]


@pytest.mark.parametrize("offset", range(SECTOR, SECTOR + 1600, 61))
def test_last_batch_with_a_changed_bit_in_its_body_may_hide_a_promise(offset: int) -> None:
    disk = log(*THREE, LAST_BATCH)
    disk.flip(LAST, at(3) + offset, offset % 8)
    found = damage(disk)
    assert found.hides_promise
    assert found.unknown == ((1, 11),)


def test_lost_sectors_of_an_earlier_batch_are_damage_not_a_torn_write() -> None:
    for sector in (0, 1):
        disk = log(*THREE)
        zero(disk, LAST, at(1) + sector * SECTOR)
        assert damage(disk).unknown == ((2, 3),)


def test_end_with_two_bad_batches_is_damage_although_the_last_could_be_torn() -> None:
    disk = log(*THREE, LAST_BATCH)
    zero(disk, LAST, at(3))
    disk.flip(LAST, at(2) + SECTOR)
    found = damage(disk)
    assert found.hides_promise
    assert len(found.findings) == 2


def test_first_batch_of_a_named_segment_is_never_torn() -> None:
    disk = log()
    zero(disk, LAST, BLOCK)
    zero(disk, FIRST, BLOCK)
    with pytest.raises(DataDamaged, match="not one sound batch"):
        load(disk)
    disk = log(*THREE)
    write(disk)
    newest = DIRECTORY / "segment-0000000003.log"
    for size in (SECTOR, BLOCK):
        zero(disk, newest, BLOCK, size)
        assert damage(disk).hides_promise


def test_segment_that_is_shorter_than_it_was_made_is_damage() -> None:
    disk = log(*THREE)
    disk.truncate(LAST, at(2))
    found = damage(disk)
    assert found.hides_promise
    assert "ends here" in found.findings[0]


def test_log_whose_end_is_damaged_takes_no_more_and_tells_it_each_time() -> None:
    disk = log(*THREE, LAST_BATCH)
    disk.flip(LAST, at(3) + SECTOR)
    first = damage(disk)
    storage = open_segments(DIRECTORY, disk=disk, segment_bytes=16 * BLOCK)
    storage.load()
    with pytest.raises(DataDamaged, match="never vote again"):
        storage.append([accepted(12)])
    with pytest.raises(DataDamaged, match="never vote again"):
        storage.sync()
    assert storage.room_bytes == 0
    disk.kill()
    assert damage(disk) == first


# --- damage in the middle -----------------------------------------------------------------------


@pytest.mark.parametrize("offset", [*range(0, SECTOR, 7), *range(SECTOR, SECTOR + 200, 13)])
def test_changed_bit_in_an_earlier_batch_leaves_exactly_its_slots_unknown(offset: int) -> None:
    disk = log(*THREE)
    disk.flip(LAST, at(1) + offset, offset % 8)
    loaded = load(disk)
    assert loaded.damage is not None
    assert loaded.damage.unknown == ((2, 3),)
    assert not loaded.damage.hides_promise
    assert sorted(replay(loaded.records).held) == [1, 4]


def test_promise_lost_with_an_earlier_batch_is_known_from_the_next_header() -> None:
    disk = log(
        [PromisedRecord(Ballot(7, 2)), IssuedRecord(Ballot(6, 3))],
        [PromisedRecord(Ballot(8, 1)), IssuedRecord(Ballot(9, 3))],
        [WatermarkRecord(Ballot(2, 1), 0)],
    )
    disk.flip(LAST, at(1) + SECTOR)
    loaded = load(disk)
    recovered = replay(loaded.records)
    assert recovered.promised == Ballot(8, 1)
    assert recovered.issued == Ballot(9, 3)
    assert loaded.damage is not None
    assert loaded.damage.unknown == ()


def test_several_batches_lost_leave_every_slot_up_to_the_next_highest_unknown() -> None:
    disk = log([accepted(1)], [accepted(8)], [accepted(3)], [accepted(5)])
    disk.flip(LAST, at(1))
    disk.flip(LAST, at(2))
    # Slot 5 stands behind the loss; slot 1 might have been accepted anew in what is lost.
    assert damage(disk).unknown == ((1, 4), (6, 8))


def test_several_batches_with_sound_headers_lost_leave_only_their_slots_unknown() -> None:
    disk = log([accepted(1)], [accepted(8)], [accepted(3)], [accepted(5)])
    disk.flip(LAST, at(1) + SECTOR)
    disk.flip(LAST, at(2) + SECTOR)
    assert damage(disk).unknown == ((3, 3), (8, 8))


def test_batch_lost_before_one_whose_body_is_lost_too_is_told_apart() -> None:
    disk = log([accepted(1)], [accepted(8)], [accepted(3)], [accepted(5)])
    disk.flip(LAST, at(1))
    disk.flip(LAST, at(2) + SECTOR)
    assert damage(disk).unknown == ((3, 3), (8, 8))


def test_unknown_slot_is_mended_by_what_stands_for_it_later() -> None:
    disk = log([accepted(1)], [accepted(2), accepted(3), accepted(4)], [accepted(5)])
    disk.flip(LAST, at(1) + SECTOR)
    write(disk, [DecidedRecord(3, Value(1, b"decided"))])
    assert damage(disk).unknown == ((2, 2), (4, 4))
    write(disk, [accepted(2, ballot=Ballot(3, 1)), accepted(4, ballot=Ballot(3, 1))])
    found = damage(disk)
    assert found.unknown == ()
    assert found.findings


def test_damage_in_an_earlier_run_is_told_at_every_start() -> None:
    disk = log(*THREE)
    disk.flip(LAST, at(1) + SECTOR)
    for slot in range(10, 13):
        assert damage(disk).unknown == ((2, 3),)
        write(disk, [accepted(slot)])


def test_slots_of_the_batch_that_a_run_repeats_are_named_by_the_next() -> None:
    disk = log(*THREE, [accepted(9), accepted(7)])
    write(disk, [accepted(12)])
    disk.flip(DIRECTORY / "segment-0000000003.log", BLOCK + SECTOR)
    assert damage(disk).unknown == ((7, 9),)


def test_slots_of_a_repeated_piece_of_a_record_are_within_the_unknown() -> None:
    disk = log([accepted(1)], segment_bytes=4 * BLOCK)
    storage = open_segments(DIRECTORY, disk=disk, segment_bytes=4 * BLOCK)
    storage.load()
    storage.append([accepted(6, 15_000)])  # two batches
    storage.reserve()
    disk.crash_at(disk.steps + 3)  # after the first
    with pytest.raises(Crashed):
        storage.sync()
    disk.kill()
    write(disk, [accepted(2)], segment_bytes=4 * BLOCK)
    repeated = disk.names(DIRECTORY)[-2]  # too large for the next batch to follow it there
    disk.flip(DIRECTORY / repeated, BLOCK + SECTOR)
    assert damage(disk).unknown == ((1, 1), (3, 6))


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("fill", [0, 0xC1, 0xC4])
def test_record_that_lost_one_of_its_pieces_leaves_its_slot_unknown(lost: int, fill: int) -> None:
    large = AcceptedRecord(Ballot(2, 1), 6, Value(1, bytes([fill]) * 40_000))  # four pieces
    disk = log([accepted(1)], [large], [accepted(7)], segment_bytes=4 * BLOCK)
    pieces = [DIRECTORY / f"segment-000000000{number}.log" for number in range(3, 7)]
    disk.flip(pieces[lost], BLOCK + SECTOR)
    loaded = load(disk)
    assert loaded.records[0] == accepted(1)
    assert loaded.records[-1] == accepted(7)
    assert sorted(replay(loaded.records).held) == [1, 7]
    assert loaded.damage is not None
    assert loaded.damage.unknown == ((6, 6),)


def twice_repeated() -> tuple[ModelDisk, Path, Path]:
    """Return a disk on which two runs began with the last batch, and their segments."""
    disk = log(*THREE)
    for _ in range(2):
        load(disk)
        disk.power_cut()  # it takes back that the end of each segment before was given back
    older, newest = (DIRECTORY / name for name in disk.names(DIRECTORY)[-2:])
    return disk, older, newest


def test_repeated_batch_that_is_bad_loses_nothing_where_its_first_place_is_read() -> None:
    disk, older, newest = twice_repeated()
    disk.flip(older, 0)  # so that nobody names the end of the segment before
    disk.flip(newest, BLOCK + SECTOR)
    for slot in (5, 6):
        loaded = load(disk)
        assert loaded.damage is not None
        assert (loaded.damage.unknown, loaded.damage.hides_promise) == ((), False)
        assert loaded.records[-1] == accepted(slot - 1)
        write(disk, [accepted(slot)])


def test_batches_behind_a_repeated_one_that_is_bad_are_read() -> None:
    disk = log(*THREE)
    load(disk)
    disk.power_cut()
    write(disk, [accepted(5)])
    older, newest = (DIRECTORY / name for name in disk.names(DIRECTORY)[-2:])
    disk.flip(older, 0)
    disk.flip(newest, BLOCK + SECTOR)
    loaded = load(disk)
    assert loaded.records == [*chain(*THREE), accepted(5)]
    assert loaded.damage is not None
    assert (loaded.damage.unknown, loaded.damage.hides_promise) == ((), False)


def test_newest_segment_that_begins_with_a_batch_of_the_past_hides_promises() -> None:
    disk = log(*THREE)
    load(disk)
    newest = DIRECTORY / "segment-0000000003.log"
    replaced(disk, -1, [accepted(1)], sequence=1, path=newest)
    found = damage(disk)
    assert found.hides_promise
    assert found.unknown == ((1, SLOT_UNBOUNDED),)


def test_promise_of_an_earlier_run_stands_in_the_headers_of_later_ones() -> None:
    disk = log([PromisedRecord(Ballot(7, 2)), IssuedRecord(Ballot(6, 3))], [accepted(30)])
    write(disk, [accepted(2)], [accepted(3)])
    disk.flip(LAST, at(0))
    newest = DIRECTORY / "segment-0000000003.log"
    disk.flip(newest, BLOCK)  # the second batch, again
    disk.flip(newest, 2 * BLOCK)
    loaded = load(disk)
    recovered = replay(loaded.records)
    assert recovered.promised == Ballot(7, 2)
    assert recovered.issued == Ballot(6, 3)
    assert loaded.damage is not None
    assert loaded.damage.unknown == ((1, 2), (4, 30))


# --- segments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", range(0, SECTOR, 5))
def test_changed_bit_in_a_segment_header_is_damage_that_the_next_segment_makes_good(
    offset: int,
) -> None:
    disk = log(*THREE)
    write(disk, [accepted(5)])
    newest = disk.copy()
    disk.flip(LAST, offset, offset % 8)
    loaded = load(disk)
    assert loaded.records == [*chain(*THREE), accepted(5)]
    assert loaded.damage is not None
    assert not loaded.damage.hides_promise
    assert loaded.damage.unknown == ()
    assert loaded.damage.findings == (f"{LAST.name}: offset 0: the segment's header is damaged",)
    path = DIRECTORY / "segment-0000000003.log"
    newest.flip(path, offset, offset % 8)
    assert load(newest.copy()).records == loaded.records
    assert not damage(newest.copy()).hides_promise
    # One that is shorter than the segment before was made may have lost what it ended with.
    newest.truncate(path, 15 * BLOCK)
    assert damage(newest).hides_promise


def test_newest_segment_with_a_damaged_header_must_go_on_from_the_one_before() -> None:
    disk = log(*THREE)
    write(disk, [accepted(5)])
    path = DIRECTORY / "segment-0000000003.log"
    disk.flip(path, 100)
    disk.flip(LAST, at(1))  # and what it should follow is lost
    assert damage(disk).hides_promise


def test_missing_segment_is_damage_that_is_named() -> None:
    disk = log(*THREE)
    write(disk, [accepted(5)])
    disk.remove(LAST)
    found = damage(disk)
    assert found.unknown == ((1, 3),)
    assert "segment-0000000003.log: the segment before it is missing" in found.findings


def test_missing_first_segment_is_damage() -> None:
    disk = log(*THREE)
    disk.remove(FIRST)
    assert any("missing" in finding for finding in damage(disk).findings)


def test_segment_of_another_log_is_damage() -> None:
    disk = log(*THREE)
    write(disk, [accepted(5)])
    newest = DIRECTORY / "segment-0000000003.log"
    header = decode_segment_header(disk.read(newest))
    assert header is not None
    disk.overwrite(newest, 0, encode_segment_header(replace(header, owner=bytes(16))))
    found = damage(disk)
    assert found.hides_promise
    assert "belongs to another log" in found.findings[0]


def test_nothing_past_a_named_end_is_judged() -> None:
    disk = log(*THREE)
    write(disk, [accepted(5)])
    # The third batch stands again in the next segment.
    for offset in (at(2), at(2) + 1, at(2) + SECTOR, at(3)):
        disk.overwrite(LAST, offset, b"\xff" * 9)
    assert load(disk) == Loaded([*chain(*THREE), accepted(5)], None)


def replaced(
    disk: ModelDisk, index: int, records: list[Record], sequence: int, path: Path = LAST
) -> None:
    """Put another batch, sound in itself, where ``batches[index]`` stands."""
    header = decode_segment_header(disk.read(path))
    assert header is not None
    old = decode_batch_header(disk.read(path)[at(index) : at(index) + SECTOR], header.id)
    assert old is not None
    body = b"".join(map(frame_record, records))
    sector, _ = encode_batch_header(
        body,
        flags=0,
        segment_id=header.id,
        sequence=sequence,
        previous_checksum=old.previous_checksum,
        previous_slots=(old.previous_lowest, old.previous_highest),
        highest=old.highest,
        promised=old.promised,
        issued_round=old.issued_round,
    )
    disk.overwrite(path, at(index), (sector + body).ljust(BLOCK, b"\0"))


def test_batch_that_the_next_does_not_follow_from_is_damage() -> None:
    disk = log(*THREE)
    replaced(disk, 1, [accepted(2, 7)], sequence=3)
    found = damage(disk)
    assert found.unknown == ((1, 3),)
    assert "does not follow" in found.findings[0]


def test_batch_with_a_sequence_number_of_the_past_is_damage() -> None:
    disk = log(*THREE)
    replaced(disk, 1, [accepted(2)], sequence=2)
    assert any("once more" in finding for finding in damage(disk).findings)


def test_batch_with_a_sequence_number_of_the_future_shows_that_others_are_missing() -> None:
    disk = log(*THREE)
    replaced(disk, 2, [accepted(4)], sequence=9)
    found = damage(disk)
    assert found.unknown == ((1, 3),)
    assert "5 batches are missing before this one" in found.findings[0]


# --- other versions -----------------------------------------------------------------------------


def test_record_of_another_version_is_refused_and_not_called_damage() -> None:
    disk = log(*THREE)
    header = decode_segment_header(disk.read(LAST))
    assert header is not None
    old = decode_batch_header(disk.read(LAST)[at(2) : at(2) + SECTOR], header.id)
    assert old is not None
    body = b"\xc4\x02\xf1\x90"
    sector, _ = encode_batch_header(
        body,
        flags=0,
        segment_id=header.id,
        sequence=old.sequence,
        previous_checksum=old.previous_checksum,
        previous_slots=(2, 3),
        highest=4,
        promised=old.promised,
        issued_round=0,
    )
    disk.overwrite(LAST, at(2), (sector + body).ljust(BLOCK, b"\0"))
    with pytest.raises(StorageError, match="start the version that wrote it") as caught:
        load(disk)
    assert not isinstance(caught.value, DataDamaged)


def test_record_stands_in_a_batch_as_a_msgpack_bin() -> None:
    assert frame_record(PromisedRecord(Ballot(5, 2))).hex() == "c4051191920502"


@pytest.mark.parametrize("body", [b"\x07", b"\xc1", b"\xc4\x01\x13", b"\x93\x01\x02\x03", bytes(9)])
def test_body_that_is_no_sequence_of_records_raises_the_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_records(frame_record(accepted(1)) + body)


def test_body_that_is_cut_short_gives_its_whole_records_and_the_rest() -> None:
    whole, cut = frame_record(accepted(1)), frame_record(accepted(2))
    for length in range(len(cut)):
        assert read_records(whole + cut[:length]) == ([accepted(1)], cut[:length])


def test_headers_of_another_format_are_refused_and_not_called_damage() -> None:
    for offset in (0, at(1)):
        disk = log(*THREE)
        sector = disk.read(LAST)[offset : offset + SECTOR]
        fields = b"\x00\x03" + sector[10:]
        disk.overwrite(LAST, offset, sector[:4] + zlib.crc32(fields).to_bytes(4, "big") + fields)
        with pytest.raises(StorageError, match=r"format 3.*start the version") as caught:
            load(disk)
        assert not isinstance(caught.value, DataDamaged)


def test_damage_before_a_damaged_end_is_told_with_it() -> None:
    disk = log(*THREE)
    disk.flip(LAST, at(1) + SECTOR)
    disk.flip(LAST, at(2) + SECTOR)
    loaded = load(disk)
    assert loaded.records == [accepted(1), PromisedRecord(BALLOT)]
    assert loaded.damage is not None
    assert loaded.damage.hides_promise
    assert len(loaded.damage.findings) == 2


def test_bad_batch_with_a_sequence_number_of_the_past_is_damage() -> None:
    disk = log(*THREE)
    replaced(disk, 1, [accepted(2)], sequence=2)
    disk.flip(LAST, at(1) + SECTOR)
    assert any("once more" in finding for finding in damage(disk).findings)
