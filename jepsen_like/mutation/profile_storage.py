"""Profile "storage": lives of the log that ships on a disk that fails, and the port's own suite.

Seeds take turns: a life drawn at random (writes, kills, power cuts with any part kept, failed
syncs, short writes, flipped bits, a lost directory), held to what was durable; and one check of
``paxos.testing.storage_suite``, which is named as the finding's check.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from jepsen_like.mutation.profiles import Finding
from paxos.core.records import IssuedRecord, PromisedRecord, Record, replay
from paxos.storage import segments
from paxos.storage.base import (
    DirectoryInUse,
    Loaded,
    Storage,
    StorageError,
    StorageFailed,
    WrongIdentity,
)
from paxos.testing import storage_suite
from paxos.testing.disk import Crashed, ModelDisk
from paxos.testing.storage_suite import IDENTITY, SegmentBench, StorageBroken, record_batches

LIFE = "life"
"""The check that a random life counts as."""

LIVES_MAX = 4

WHOLE = (512, 1024, 4096)
SHORT = (1, 511, 700, *WHOLE)
"""Bytes that a disk takes of a write. Half a sector at the very moment of a kill is told as damage,
and rightly: nothing proves that it was not more."""

SUITE_EVERY = 16
"""One seed in so many runs a check of the suite: some take as long as a thousand lives."""

ENDS = ("close", "kill", "power cut", "crash", "failed sync")


def judge(seed: int) -> Finding | None:
    """Run one life, or one check of the suite."""
    turn, place = divmod(seed, SUITE_EVERY)
    if place == SUITE_EVERY - 1:
        check = storage_suite.CHECKS[turn % len(storage_suite.CHECKS)]
        name = check.__name__.removeprefix("check_")
        return _finding(name, lambda: check(SegmentBench))
    return _finding(LIFE, lambda: _Log(random.Random(f"storage/{seed}")).live())


def _finding(name: str, run: Callable[[], None]) -> Finding | None:
    try:
        run()
    except StorageBroken as broken:
        return Finding(name, str(broken))
    except Crashed:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the log raises that it does not announce
        return Finding(name, f"raised {error!r}")
    return None


def _expect(condition: object, text: str) -> None:
    if not condition:
        raise StorageBroken(text)


class _Log:
    """One data directory over several lives, and what must be found in it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._bench = SegmentBench()
        self._disk: ModelDisk = self._bench.disk
        self._durable: list[Record] = []  # for sure
        self._perhaps: list[Record] = []  # behind that: any prefix of it

    def live(self) -> None:
        """Live and die several times; in the end perhaps rot, or lose everything."""
        rng = self._rng
        self._bench = SegmentBench()
        self._disk = self._bench.disk
        if rng.random() < 0.5:
            self._cut_power()  # what made the directory said that it was durable
        for _ in range(rng.randint(1, LIVES_MAX)):
            storage = self._open()
            self._end(storage, rng.choice(ENDS))
        chance = rng.random()
        if chance < 0.4:
            self._rot()
        elif chance < 0.6:
            self._lose_everything()
        else:
            self._open().close()

    def _open(self) -> Storage:
        storage = self._bench.open()
        loaded = storage.load()
        _expect(loaded.damage is None, f"a mere crash is taken for damage: {loaded.damage}")
        self._take(loaded)
        try:
            self._bench.open()
        except DirectoryInUse:
            return storage
        raise StorageBroken("two processes hold one data directory")

    def _take(self, loaded: Loaded) -> None:
        found, least = list(loaded.records), len(self._durable)
        all_of_it = self._durable + self._perhaps
        _expect(found == all_of_it[: len(found)], "found what was never written, or out of order")
        _expect(len(found) >= least, f"found {len(found)} records of {least} that were durable")
        # What a start has read is relied on from then on.
        self._durable, self._perhaps = found, []

    def _end(self, storage: Storage, end: str) -> None:
        rng = self._rng
        batches = record_batches(rng, rng.randint(0, 6), rng.choice((60, 2000, 9000)))
        fails_at = rng.randrange(len(batches)) if batches and end == "failed sync" else None
        if end == "crash":
            self._disk.crash_at(self._disk.steps + rng.randrange(12))
        try:
            for number, batch in enumerate(batches):
                if rng.random() < 0.4:
                    storage.reserve()
                if rng.random() < 0.2 and fails_at is None:
                    self._disk.script_writes([rng.choice(WHOLE if end == "crash" else SHORT)])
                storage.append(batch)
                self._perhaps += batch
                if number == fails_at:
                    self._fail(storage)
                    break
                storage.sync()
                self._durable, self._perhaps = self._durable + self._perhaps, []
        except Crashed:
            pass
        if end in ("close", "failed sync"):
            storage.close()
        # What a disk made of a failed sync shows only when the power goes.
        if end in ("power cut", "failed sync") or rng.random() < 0.5:
            self._cut_power()
        else:
            self._disk.kill()

    def _fail(self, storage: Storage) -> None:
        self._disk.fail_sync(self._rng.choice((1, 1, 2)))
        try:
            storage.sync()
        except StorageFailed:
            self._refuses(storage)
        else:  # it took one sync only, and that did not fail
            self._durable, self._perhaps = self._durable + self._perhaps, []

    @staticmethod
    def _refuses(storage: Storage) -> None:
        try:
            storage.sync()
        except StorageFailed:
            return
        raise StorageBroken("a failed sync was tried again, and believed")

    def _cut_power(self) -> None:
        kept = self._rng.choice((0.0, 0.5, 1.0))
        self._disk.power_cut([each for each in self._disk.unsynced() if self._rng.random() < kept])

    # --- what no log survives: it must be told ---

    def _rot(self) -> None:
        directory, rng = self._bench.directory, self._rng
        storage = self._open()
        for batch in record_batches(rng, rng.randint(0, 4), 60):
            storage.append(batch)
            storage.sync()
            self._durable = self._durable + batch
        storage.close()
        names = [name for name in self._disk.names(directory) if name.startswith("segment-")]
        path = directory / (names[-1] if rng.random() < 0.5 else rng.choice(names))
        # Between batches there is padding, which means nothing.
        written = [at for at, byte in enumerate(self._disk.read(path)) if byte]
        for _ in range(rng.choice((1, 2))):
            self._disk.flip(path, rng.choice(written), rng.randrange(8))
        try:
            loaded = self._bench.open().load()
        except StorageError:
            return
        self._compare(loaded)

    def _compare(self, loaded: Loaded) -> None:
        damage, found = loaded.damage, replay(loaded.records)
        if damage is None:
            _expect(
                list(loaded.records) == self._durable, "rotten bytes, and nothing is said of it"
            )
            return
        told = replay(_ballots(self._durable))
        known = found.promised >= told.promised and found.issued >= told.issued
        _expect(known or damage.hides_promise, "a promise or round is lost, and nothing says so")

    def _lose_everything(self) -> None:
        directory = self._bench.directory
        for name in self._disk.names(directory):
            self._disk.remove(directory / name)
        self._disk.sync_directory(directory)
        try:
            segments.open_segments(directory, IDENTITY, disk=self._disk).load()
        except WrongIdentity:
            return
        raise StorageBroken("a directory that lost everything is opened under its old identity")


def _ballots(records: Sequence[Record]) -> list[Record]:
    return [each for each in records if isinstance(each, PromisedRecord | IssuedRecord)]
