"""The outbox: what was written is found again after every crash; damage is never passed over."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from paxos.storage.base import DirectoryInUse
from paxos.testing.disk import Crashed, ModelDisk, Unsynced
from statemachines import task_outbox
from statemachines.task_outbox import (
    Done,
    Failed,
    FileOutbox,
    MemoryOutbox,
    OutboxDamaged,
    OutboxFailed,
    Report,
)

WHERE = Path("/outbox")
FILE = WHERE / task_outbox.FILE_NAME
OWNER = "cluster/edge-1"


def opened(disk: ModelDisk, owner: str = OWNER) -> FileOutbox:
    return FileOutbox(WHERE, owner, disk)


def done(token: int, size: int = 3) -> Done:
    return Done(f"task-{token}", token, bytes([token % 256]) * size)


@pytest.mark.parametrize("kind", [FileOutbox, MemoryOutbox])
def test_outbox_written_and_settled_holds_the_rest_in_order(kind: type) -> None:
    outbox = opened(ModelDisk()) if kind is FileOutbox else MemoryOutbox()
    failure = Failed("b", 2, "no camera: é", retry=True)
    outbox.write([done(3), failure, done(1)])
    assert list(outbox.pending) == [done(3), failure, done(1)]
    outbox.write([done(5)], settled=[3, 99])
    assert list(outbox.pending) == [failure, done(1), done(5)]
    with pytest.raises(ValueError, match="token 5 of task task-5 was reported before"):
        outbox.write([done(6), done(5)])
    assert list(outbox.pending) == [failure, done(1), done(5)]


def test_outbox_reopened_after_a_kill_or_power_cut_holds_what_was_written() -> None:
    disk = ModelDisk()
    reports: list[Report] = [done(1), Failed("b", 2, "", retry=False)]
    opened(disk).write(reports)
    disk.kill()
    again = opened(disk)
    assert list(again.pending) == reports
    again.write([done(7, 70_000)], settled=[1])
    disk.power_cut()
    assert opened(disk).pending == (reports[1], done(7, 70_000))


def test_outbox_on_a_real_disk_survives_and_is_held_by_one(tmp_path: Path) -> None:
    first = FileOutbox(tmp_path / "deep" / "box", OWNER)
    first.write([done(1)])
    with pytest.raises(DirectoryInUse):
        FileOutbox(tmp_path / "deep" / "box", OWNER)
    first.close()
    second = FileOutbox(tmp_path / "deep" / "box", OWNER)
    assert second.pending == (done(1),)
    second.close()
    with pytest.raises(OutboxFailed, match="closed"):
        second.write([done(2)])


STEPS: list[tuple[list[Report], list[int]]] = [
    ([done(1), done(2, 1200)], []),
    ([done(3)], [1]),
    ([], [2]),
    ([done(4, 600), Failed("e", 5, "why", retry=True)], []),
]


def states_after(steps: list[tuple[list[Report], list[int]]]) -> list[tuple[Report, ...]]:
    box = MemoryOutbox()
    states = [box.pending]
    for reports, settled in steps:
        box.write(reports, settled)
        states.append(box.pending)
    return states


def run_steps(disk: ModelDisk) -> int:
    """Write every step, and return how many returned before the process died."""
    finished = 0
    try:
        box = opened(disk)
        for reports, settled in STEPS:
            box.write(reports, settled)
            finished += 1
    except Crashed:
        pass
    return finished


def subsets(unsynced: list[Unsynced]) -> list[tuple[Unsynced, ...]]:
    """All, or where those are too many, the small and the large ones."""
    sizes = range(len(unsynced) + 1)
    if len(unsynced) > 8:
        sizes = [0, 1, 2, len(unsynced) - 1, len(unsynced)]  # type: ignore[assignment]
    return [subset for size in sizes for subset in combinations(unsynced, size)]


@pytest.mark.parametrize("rewrite_bytes", [1, 1024 * 1024])
def test_outbox_cut_at_every_step_of_the_disk_loses_nothing_written(
    monkeypatch: pytest.MonkeyPatch, rewrite_bytes: int
) -> None:
    monkeypatch.setattr(task_outbox, "REWRITE_BYTES", rewrite_bytes)
    states = states_after(STEPS)
    whole = ModelDisk()
    assert run_steps(whole) == len(STEPS)
    cuts = 0
    for step in range(whole.steps):
        crashed = ModelDisk()
        crashed.crash_at(step)
        finished = run_steps(crashed)
        for kept in subsets(crashed.unsynced()):
            disk = crashed.copy()
            disk.power_cut(kept)
            # What was under way may have arrived or not; what had returned is there.
            assert opened(disk).pending in states[finished : finished + 2]
            cuts += 1
    assert cuts > 2 * whole.steps


def test_outbox_written_for_long_keeps_its_file_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_outbox, "REWRITE_BYTES", 4096)
    disk = ModelDisk()
    box = opened(disk)
    longest = 0
    for token in range(1, 300):
        box.write([done(token, 200)], settled=[token - 2])
        longest = max(longest, disk.size(FILE))
    assert longest < 4096 + 512
    assert disk.names(WHERE) == [task_outbox.FILE_NAME]
    disk.power_cut()
    assert opened(disk).pending == (done(298, 200), done(299, 200))


@pytest.mark.parametrize("short", [1, 19, 20, 30])
def test_outbox_whose_write_comes_up_short_completes_it(short: int) -> None:
    disk = ModelDisk()
    box = opened(disk)
    disk.script_writes([short])
    box.write([done(1, 100)])
    disk.power_cut()
    assert opened(disk).pending == (done(1, 100),)


def test_outbox_whose_disk_failed_once_takes_nothing_more() -> None:
    disk = ModelDisk()
    box = opened(disk)
    box.write([done(1)])
    disk.fail_sync()
    with pytest.raises(OutboxFailed, match="Input/output error"):
        box.write([done(2)])
    with pytest.raises(OutboxFailed, match="failed before"):
        box.write([done(3)])
    disk.power_cut()
    assert opened(disk).pending == (done(1),)


def test_outbox_damaged_before_its_last_batch_is_refused() -> None:
    fresh = ModelDisk()
    box = opened(fresh)
    ends = [fresh.size(FILE)]
    for token in (1, 2):
        box.write([done(token, 40)])
        ends.append(fresh.size(FILE))
    for offset in range(ends[2]):
        disk = fresh.copy()
        disk.flip(FILE, offset, bit=offset % 8)
        if offset < ends[1]:
            with pytest.raises(OutboxDamaged, match="move it away to go on without it"):
                opened(disk)
        else:  # not to be told from a write that a crash has torn: nobody was told of it
            assert opened(disk).pending == (done(1, 40),)


def test_outbox_cut_short_anywhere_keeps_the_whole_batches() -> None:
    fresh = ModelDisk()
    box = opened(fresh)
    first = fresh.size(FILE)
    box.write([done(1, 40)])
    second = fresh.size(FILE)
    for size in range(first, second):
        disk = fresh.copy()
        disk.truncate(FILE, size)
        assert opened(disk).pending == ()
        assert disk.size(FILE) == first


def test_outbox_of_another_owner_or_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = ModelDisk()
    opened(disk).write([done(1)])
    disk.kill()
    with pytest.raises(OutboxDamaged, match="belongs to cluster/edge-1, not to cluster/edge-2"):
        opened(disk, "cluster/edge-2")
    with monkeypatch.context() as later:
        later.setattr(task_outbox, "FORMAT", 2)
        with pytest.raises(OutboxDamaged, match="its format is not the one"):
            opened(disk)
    assert opened(disk).pending == (done(1),)  # and was left as it was, for nobody holds it


def test_outbox_format_1_reads_its_golden_bytes() -> None:
    golden = bytes.fromhex(GOLDEN)
    disk = ModelDisk()
    disk.make_directory(WHERE)
    disk.create(FILE).write_durably([golden], 0)
    disk.sync_directory(WHERE)
    assert opened(disk).pending == (Failed("b", 2, "why", retry=True), done(3))


GOLDEN = (
    "504f4201000000120000000000000000d8486cb5919201ae636c75737465722f656467652d31504f42010000001a"
    "0000000000000001b513c0d6929401a67461736b2d3101c4030101019502a16202a3776879c3504f420100000013"
    "00000000000000029c5a0fb3929401a67461736b2d3303c403030303920301"
)
