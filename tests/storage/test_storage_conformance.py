"""All three back ends keep the port's promises, by the suite that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paxos.storage.base import Identity, StorageFailed
from paxos.storage.memory import MemoryStorage
from paxos.testing.storage_suite import (
    CHECKS,
    Check,
    MemoryBench,
    SegmentBench,
    SqliteBench,
    StorageBroken,
    check_storage,
)


def name_of(check: Check) -> str:
    return check.__name__.removeprefix("check_")


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_segments_on_a_faulty_disk_keep_the_contract(check: Check) -> None:
    check(SegmentBench)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_sqlite_in_a_directory_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    check(lambda: SqliteBench(tmp_path))


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_memory_with_kill_and_power_cut_keeps_the_contract(check: Check) -> None:
    check(MemoryBench)


def test_suite_runs_without_a_test_framework() -> None:
    check_storage(MemoryBench)


real_sync, real_reopen = MemoryStorage.sync, MemoryStorage.reopen


def sync_retried(storage: MemoryStorage) -> None:
    """Believe the second try of a sync that failed."""
    fails, storage.fails_next_sync = storage.fails_next_sync, False
    if fails:
        raise StorageFailed("failed")
    real_sync(storage)


def reopen_shared(storage: MemoryStorage, expected: Identity | None = None) -> MemoryStorage:
    """Let anybody in."""
    storage.kill()
    return real_reopen(storage, expected)


@pytest.mark.parametrize(
    ("verb", "broken", "text"),
    [
        ("sync", MemoryStorage.write, "records are missing"),
        ("sync", sync_retried, "believed"),
        ("reopen", reopen_shared, "two logs opened one directory"),
    ],
)
def test_suite_finds_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, verb: str, broken: Callable[..., object], text: str
) -> None:
    monkeypatch.setattr(MemoryStorage, verb, broken)
    with pytest.raises(StorageBroken, match=text):
        check_storage(MemoryBench)
