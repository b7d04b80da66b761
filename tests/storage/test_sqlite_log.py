"""What is particular about the SQLite back end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.core.ballot import Ballot
from paxos.core.config import Change, Configuration
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import NOOP, Value
from paxos.storage import segments
from paxos.storage.base import (
    SLOT_UNBOUNDED,
    DataDamaged,
    Identity,
    StorageError,
    StorageFull,
)
from paxos.storage.layout import BLOCK
from paxos.storage.memory import MemoryStorage
from paxos.storage.sqlite import DATABASE_NAME, SPARE_BYTES, create, open_sqlite
from paxos.testing.snapshot_checks import save
from paxos.testing.storage_suite import MemoryBench, SegmentBench, SqliteBench

IDENTITY = Identity("c0ffee", 3, 99)


def accepted(slot: int) -> list[Record]:
    return [AcceptedRecord(Ballot(2, 1), slot, Value(slot, b"command"))]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    create(path, IDENTITY)
    storage = open_sqlite(path, IDENTITY)
    storage.load()
    for slot in (1, 2, 3):
        storage.append(accepted(slot))
        storage.sync()
    storage.close()
    return path


@contextmanager
def edited(directory: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as connection:
        yield connection


def test_load_leaves_nothing_in_the_write_ahead_log(tmp_path: Path) -> None:
    bench = SqliteBench(tmp_path)
    storage = bench.open()
    storage.load()
    storage.append(accepted(1))
    storage.sync()
    bench.kill()
    log = bench.data / (DATABASE_NAME + "-wal")
    assert log.stat().st_size > 0
    storage = bench.open()
    assert storage.load().records == accepted(1)
    assert log.stat().st_size == 0  # SQLite syncs what a checkpoint moves
    storage.close()


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        ("UPDATE batches SET body = x'c4' WHERE sequence = 3", 1),
        ("UPDATE batches SET checksum = checksum + 1 WHERE sequence = 3", 1),
        ("UPDATE batches SET body = 'text' WHERE sequence = 2", 0),
        ("DELETE FROM batches WHERE sequence = 3", 1),
        ("UPDATE batches SET sequence = 9 WHERE sequence = 4", 2),
    ],
)
def test_row_that_is_not_what_was_written_is_damage_that_may_hide_a_promise(
    directory: Path, edit: str, kept: int
) -> None:
    with edited(directory) as connection:
        connection.execute(edit)
    storage = open_sqlite(directory)
    loaded = storage.load()
    assert len(loaded.records) == kept
    assert loaded.damage is not None
    assert loaded.damage.hides_promise
    assert loaded.damage.unknown == ((1, SLOT_UNBOUNDED),)
    with pytest.raises(DataDamaged, match="never vote again"):
        storage.append(accepted(4))
    storage.close()
    found = segments.inspect(directory)
    assert found.damage == loaded.damage


@pytest.mark.parametrize("edit", ["DELETE FROM batches", "PRAGMA application_id=1"])
def test_database_that_is_no_log_is_damaged(directory: Path, edit: str) -> None:
    with edited(directory) as connection:
        connection.execute(edit)
    storage = open_sqlite(directory)
    with pytest.raises(DataDamaged, match="replace the node"):
        storage.load()
    storage.close()


def test_database_of_another_format_says_which_program_to_start(directory: Path) -> None:
    with edited(directory) as connection:
        connection.execute("PRAGMA user_version=3")
    storage = open_sqlite(directory)
    with pytest.raises(StorageError, match=r"format 3.*start the version"):
        storage.load()
    storage.close()


def test_file_that_is_no_database_is_damaged(directory: Path) -> None:
    (directory / DATABASE_NAME).write_bytes(b"nonsense" * 1000)
    storage = open_sqlite(directory)
    with pytest.raises(DataDamaged, match="not a database"):
        storage.load()
    storage.close()


def test_directory_of_the_other_kind_is_told_apart(tmp_path: Path) -> None:
    segments.create(tmp_path / "node", IDENTITY)
    with pytest.raises(DataDamaged, match="other kind of storage"):
        open_sqlite(tmp_path / "node")
    segments.open_segments(tmp_path / "node").close()  # and is not left locked


def test_log_refuses_to_be_loaded_twice_or_used_before(directory: Path) -> None:
    storage = open_sqlite(directory)
    with pytest.raises(StorageError, match="load the log"):
        storage.append(accepted(4))
    assert storage.room_bytes == 0
    storage.load()
    with pytest.raises(StorageError, match="load was called before"):
        storage.load()
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="closed"):
        storage.sync()


def test_little_free_space_counts_as_none(directory: Path) -> None:
    free = SPARE_BYTES + 4 * BLOCK
    storage = open_sqlite(directory, free_bytes=lambda _: free)
    storage.load()
    assert storage.room_bytes == 2 * BLOCK
    assert storage.reserve_due
    free = SPARE_BYTES
    with pytest.raises(StorageFull, match="make room"):
        storage.reserve()
    assert storage.room_bytes == 0
    free = SPARE_BYTES * 4
    storage.reserve()
    assert storage.room_bytes > SPARE_BYTES
    storage.close()


def test_inspection_reads_a_copy(directory: Path) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    found = segments.inspect(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert found.storage == "sqlite"
    assert found.sound
    assert found.batches == 4
    assert found.records == {"accepted": 3}
    assert found.disk_bytes == (directory / DATABASE_NAME).stat().st_size


# --- the oracle: three back ends, one memory ----------------------------------------------------

ballots = st.builds(Ballot, st.integers(1, 9), st.integers(1, 3))
slots = st.integers(1, 12)
values = st.one_of(
    st.just(NOOP),
    st.builds(Value, st.integers(0, 2**62), st.binary(max_size=40)),
    st.builds(Value, st.integers(0, 9), st.integers(0, 14_000).map(bytes)),
)
any_record: st.SearchStrategy[Record] = st.one_of(
    st.builds(PromisedRecord, ballots),
    st.builds(IssuedRecord, ballots),
    st.builds(AcceptedRecord, ballots, slots, values),
    st.builds(DecidedRecord, slots, values),
    st.builds(WatermarkRecord, ballots, slots),
)
ends = st.sampled_from(["close", "kill", "power_cut"])
lives = st.lists(
    st.tuples(st.lists(st.lists(any_record, max_size=4), max_size=4), ends), max_size=3
)


# A third of the profile's examples: each runs three logs, one of them with real syncs.
@settings(max_examples=settings().max_examples // 3)
@given(lives)
def test_random_lives_replay_the_same_from_all_three_back_ends(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[list[list[Record]], str]]
) -> None:
    benches = (SegmentBench(), SqliteBench(tmp_path_factory.mktemp("sqlite")), MemoryBench())
    written: list[Record] = []
    for batches, end in [*lives, ([], "close")]:
        for bench in benches:
            storage = bench.open()
            loaded = storage.load()
            assert loaded.damage is None
            assert list(loaded.records) == written
            assert replay(loaded.records) == replay(written)
            for batch in batches:
                storage.append(batch)
                storage.sync()
            storage.close() if end == "close" else getattr(bench, end)()
        written += [record for batch in batches for record in batch]


def version(directory: Path) -> int:
    with edited(directory) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_database_is_of_format_2_from_its_first_change_of_membership_on(directory: Path) -> None:
    change = Change(Configuration(2, Quorums.majority([Voter(1, 5)])))
    storage = open_sqlite(directory)
    loaded = storage.load()
    storage.append(accepted(4))
    storage.sync()
    storage.close()
    assert version(directory) == 1
    storage = open_sqlite(directory)
    storage.load()
    written: list[Record] = [DecidedRecord(5, Value(None, b"", change))]
    storage.append(written)
    storage.sync()
    storage.append(accepted(6))
    storage.sync()
    storage.close()
    assert version(directory) == 2
    storage = open_sqlite(directory)
    assert storage.load().records == [*loaded.records, *accepted(4), *written, *accepted(6)]
    storage.close()


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM removed",
        "UPDATE removed SET checksum = checksum + 1",
        "UPDATE removed SET said = x'00'",
    ],
)
def test_damaged_word_on_what_was_removed_makes_the_log_useless(directory: Path, edit: str) -> None:
    storage = open_sqlite(directory)
    storage.load()
    save(storage, 3)
    storage.compact(3)
    storage.sync()
    storage.close()
    assert version(directory) == 2
    with edited(directory) as connection:
        connection.execute(edit)
    storage = open_sqlite(directory)
    with pytest.raises(DataDamaged, match=r"removed.*replace the node"):
        storage.load()
    storage.close()


def test_memory_log_is_reopened_by_one_user_at_a_time() -> None:
    storage = MemoryStorage(IDENTITY)
    storage.load()
    storage.append(accepted(1))
    storage.write()
    storage.kill()
    with pytest.raises(StorageError, match="killed"):
        storage.append(accepted(2))
    with pytest.raises(StorageError, match="killed"):
        storage.load()
    again = storage.reopen(IDENTITY)
    assert list(again.load().records) == accepted(1)
    again.append(accepted(2))
    again.write()
    again.power_cut()
    assert list(again.reopen().load().records) == accepted(1)


def test_memory_log_that_is_full_keeps_what_is_staged() -> None:
    storage = MemoryStorage(IDENTITY, capacity=100)
    storage.load()
    assert storage.capacity == 100
    storage.append([*accepted(1), *accepted(2)])
    with pytest.raises(StorageFull):
        storage.sync()
    storage.capacity = 1000
    storage.sync()
    assert storage.disk_bytes == 1000 - storage.room_bytes
    assert not storage.reserve_due


def test_create_in_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for make in (create, segments.create):
        with pytest.raises(StorageError, match="cannot be made"):
            make(tmp_path / "file" / "node", IDENTITY)


def test_sqlite_log_tells_its_size_and_how_it_syncs(directory: Path) -> None:
    storage = open_sqlite(directory)
    storage.load()
    assert storage.disk_bytes >= (directory / DATABASE_NAME).stat().st_size
    assert "synchronous=FULL" in storage.sync_method
    storage.close()
