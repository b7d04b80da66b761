"""All three back ends keep the port's promises, by the suite that is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from paxos.testing.storage_suite import CHECKS, Check, MemoryBench, SegmentBench, SqliteBench


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
