"""Random lives of the task log: snapshots of it, its copies, and what must always hold of it."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from paxos.core.state_machine import CommandFailed
from statemachines import key_index, snapshot_records, task_store
from statemachines import task_log_answers as answers
from statemachines import task_log_requests as requests
from statemachines.task_log import TaskLog
from statemachines.task_log_format import (
    BLOCKED,
    CLAIMED,
    DONE,
    LIVE,
    READY,
    STATES,
    WAITING,
    TaskChange,
    TaskLogLimits,
)
from tests.statemachines.task_log_commands import IDS, RandomCommands
from tests.statemachines.task_log_driver import Driver, indexes

LIMITS = TaskLogLimits(keep_changes=40, keep_finished=10, steps_max=6, evaluations_max=9)


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one or two records, and blocks of few keys, so that much can come in between."""
    monkeypatch.setattr(snapshot_records, "CHUNK_BYTES_MAX", 60)
    monkeypatch.setattr(key_index, "_BLOCK_KEYS_MAX", 4)


def step(driver: Driver, commands: RandomCommands) -> bytes | None:
    """Apply a random command; return its answer unless it was refused."""
    try:
        return driver.apply(commands.next())
    except CommandFailed:
        return None


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("seed", range(25))
def test_snapshot_read_between_changes_equals_the_one_read_at_once(seed: int) -> None:
    rng = Random(seed)
    driver = Driver(LIMITS)
    commands = RandomCommands(rng, driver)
    reading: list[tuple[Iterator[bytes], list[bytes], list[bytes]]] = []
    whole = 0
    for _ in range(500):
        step(driver, commands)
        if len(reading) < 3 and rng.random() < 0.05:
            reading.append((driver.log.snapshot(), [], list(driver.log.snapshot())))
        for chunks, taken, right in list(reading):
            for _ in range(rng.choice((0, 0, 1, 5))):
                chunk = next(chunks, None)
                if chunk is None:
                    assert taken == right
                    reading.remove((chunks, taken, right))
                    whole += 1
                    break
                taken.append(chunk)
    for chunks, taken, right in reading:
        assert [*taken, *chunks] == right
    assert whole > 0


@pytest.mark.parametrize("seed", range(25))
def test_copy_holds_the_same_indexes_and_goes_the_same_way(seed: int) -> None:
    rng = Random(seed)
    driver = Driver(LIMITS)
    commands = RandomCommands(rng, driver)
    taken = 0
    for _ in range(12):
        for _ in range(40):
            taken += step(driver, commands) is not None
        twin = driver.restored()
        assert indexes(twin.log) == indexes(driver.log)
        assert list(twin.log.snapshot()) == list(driver.log.snapshot())
        for _ in range(10):
            command = commands.next()
            twin.time = driver.time
            assert result(twin, command) == result(driver, command)
        assert list(twin.log.snapshot()) == list(driver.log.snapshot())
    assert taken > 200  # of 480: most commands mean something


def result(driver: Driver, command: bytes) -> bytes:
    try:
        return driver.apply(command)
    except CommandFailed as refused:
        return str(refused).encode()


@pytest.mark.parametrize("seed", range(12))
def test_random_life_keeps_what_is_promised(seed: int) -> None:
    driver = Driver(TaskLogLimits(keep_finished=10, steps_max=6, evaluations_max=9))
    commands = RandomCommands(Random(seed), driver)
    watcher = Promises()
    after = 0
    for _ in range(300):
        before = list(driver.log.snapshot())
        if step(driver, commands) is None:
            assert list(driver.log.snapshot()) == before  # a refusal changes nothing
        for change in driver.changes(after):
            watcher.see(change)
        after = driver.stats().revision
        check_state(driver)
    while answers.decode_tick(driver.apply(requests.tick_command())).more:
        check_state(driver)
    for state in STATES:
        assert watcher.seen[state] > 0


class Promises:
    """Follows the changes that a watch of everything tells."""

    def __init__(self) -> None:
        self.revision = 0
        self.seen: Counter[int] = Counter()
        self._claims: dict[str, int] = {}  # the present token, by task
        self._done: dict[str, int] = {}
        self._tokens = 0

    def see(self, change: object) -> None:
        self.revision += 1
        if not isinstance(change, TaskChange):
            return
        assert change.revision == self.revision
        self.seen[change.state] += 1
        name = change.id
        if change.state == CLAIMED and change.token == change.revision:
            assert change.token > self._tokens
            self._tokens = self._claims[name] = change.token
            return
        if change.state == CLAIMED:
            assert self._claims[name] == change.token  # progress, by who holds it
            return
        held = self._claims.pop(name, None)
        if change.state == DONE:
            # One result, by the token that held it; again only after it was forgotten.
            assert held == change.token
            assert self._done.get(name, 0) < change.token
            self._done[name] = change.token


def check_state(driver: Driver) -> None:
    """Check what must hold between any two commands."""
    tasks = [task for name in IDS if (task := driver.find(name)) is not None]
    nodes = driver.nodes()
    assert driver.stats().states == tuple(
        sum(task.state == state for task in tasks) for state in STATES
    )
    queued: Counter[int] = Counter()
    committed: Counter[int] = Counter()
    for task in tasks:
        assert (task.registration != 0) == (
            task.state == CLAIMED or (task.state == READY and task.node != "")
        )
        assert bool(task.missing) == (task.state == BLOCKED)
        assert (task.until != 0) == (task.state in (WAITING, CLAIMED))
        assert task.attempt <= task.spec.attempts
        assert (task.result is not None) == (task.state == DONE)
        for name in task.missing:
            assert name in task.spec.depends_on
            assert driver.find(name) is not None
        if task.state == CLAIMED:
            committed[task.registration] += task.spec.demand
        elif task.registration:
            queued[task.registration] += 1
    for row in nodes.values():
        assert (row.queued, row.committed) == (
            queued[row.registration],
            committed[row.registration],
        )
        if row.state == LIVE:
            assert row.committed <= row.spec.capacity


@pytest.mark.usefixtures("tiny_pieces")
def test_snapshot_keeps_what_is_replaced_only_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captures: list[weakref.ref[task_store.Capture]] = []
    capture_now = task_store.TaskStore.capture

    def capture_and_look(store: task_store.TaskStore) -> task_store.Capture:
        capture = capture_now(store)
        captures.append(weakref.ref(capture))
        return capture

    monkeypatch.setattr(task_store.TaskStore, "capture", capture_and_look)
    driver = Driver(LIMITS)
    commands = RandomCommands(Random(1), driver)
    for _ in range(100):
        step(driver, commands)
    never_read, half_read, read = (driver.log.snapshot() for _ in range(3))
    next(half_read)
    assert [each() is None for each in captures] == [False, False, False]
    list(read)
    del never_read, half_read, read
    gc.collect()
    assert [each() is None for each in captures] == [True, True, True]


def test_restore_over_another_state_leaves_nothing_of_it() -> None:
    driver = Driver(LIMITS)
    commands = RandomCommands(Random(2), driver)
    for _ in range(200):
        step(driver, commands)
    driver.log.restore(TaskLog(LIMITS).snapshot())
    assert indexes(driver.log) == indexes(TaskLog(LIMITS))


def test_restore_of_a_damaged_snapshot_leaves_the_state() -> None:
    driver = Driver(LIMITS)
    driver.task("a")
    before = indexes(driver.log)
    (chunk,) = driver.log.snapshot()
    with pytest.raises(snapshot_records.SnapshotDamaged):
        driver.log.restore([chunk[:-1]])
    assert indexes(driver.log) == before
