"""A process with one leader that was given many writes, and takes more when it is told to.

For ``benchmarks.growth``, which keeps several of these and lets them take turns. It prints a JSON
object per line: once its log is as long as was asked for, then for each line on standard input:
``round`` times some writes, ``count`` counts calls over some. A leader has a process of its own,
as elsewhere, because what lies about in a process is part of what a collection of garbage costs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import hot_path
from benchmarks.call_counter import CallCounter
from benchmarks.hot_path import LEADER, MACHINES, Leading, Load, identity
from paxos.service import GC_THRESHOLDS
from paxos.storage import segments

PREPARED = 64
"""Slots whose frames are made at once."""

TOLD_EVERY_S = 5.0


class Worker:
    """A leader, and how its writes are measured.

    Args:
        load: What it is given.
        directory: Where its log is.
    """

    def __init__(self, load: Load, directory: Path) -> None:
        self._load = load
        log = directory / "log"
        segments.create(log, identity(LEADER))
        # As a serving process does.
        gc.collect()
        self._leading = Leading(load, segments.open_segments(log, identity(LEADER)))
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    def fill(self, entries: int) -> dict[str, Any]:
        """Give it so many writes; return what the first and the last tenth cost, in µs each."""
        slots = max(1, entries // self._load.writes)
        tenth = max(1, slots // 10)
        first = last = 0.0
        told = time.monotonic()
        for start in range(0, slots, PREPARED):
            taken = min(PREPARED, slots - start)
            used = self._run(taken)
            if start < tenth:
                first += used / tenth * min(1.0, (tenth - start) / taken)
            if start + taken > slots - tenth:
                last += used / tenth * min(1.0, (start + taken - slots + tenth) / taken)
            if time.monotonic() > told + TOLD_EVERY_S:
                told = time.monotonic()
                print(json.dumps({"written": (start + taken) / slots}), flush=True)
        to_us = 1e6 / self._load.writes
        return {"first_us": first * to_us, "last_us": last * to_us, **self._state()}

    def time_writes(self, slots: int) -> dict[str, Any]:
        """Return the CPU µs of a write, without what a snapshot under way costs if there is none.

        One that begins meanwhile counts in part; one that began before is made first.
        """
        self._finish_snapshot()
        return {"us": self._run(slots) * 1e6 / (slots * self._load.writes), **self._state()}

    def count(self, slots: int) -> dict[str, Any]:
        """Return calls per write, and blocks of memory that a write leaves behind."""
        while True:
            self._finish_snapshot()
            prepared = self._leading.prepare(slots)
            snapshots = self._leading.node.snapshots
            gc.collect()
            blocks = sys.getallocatedblocks()
            with CallCounter(hot_path.__file__) as counter:
                self._leading.run(prepared)
            blocks = sys.getallocatedblocks() - blocks
            if self._leading.node.snapshots == snapshots:
                writes = slots * self._load.writes
                counts = (counter.python, counter.c, blocks)
                names = ("python_calls", "c_calls", "blocks")
                return dict(zip(names, (each / writes for each in counts), strict=True))

    def _run(self, slots: int) -> float:
        prepared = self._leading.prepare(slots)
        before = time.process_time()
        self._leading.run(prepared)
        return time.process_time() - before

    def _finish_snapshot(self) -> None:
        while self._leading.node.saving:
            self._leading.node.take()

    def _state(self) -> dict[str, int]:
        node = self._leading.node
        return {"snapshots": node.snapshots, "slots": node.replica.executor.applied_through}


def main() -> None:
    """Fill, then do as told, until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", choices=MACHINES)
    for name in ("keys", "entries", "sessions", "submissions", "commands", "slots"):
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    load = Load(
        options.machine, options.keys, options.sessions, options.submissions, options.commands
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        worker = Worker(load, Path(directory))
        print(json.dumps(worker.fill(options.entries)), flush=True)
        for line in sys.stdin:
            act = worker.count if line.strip() == "count" else worker.time_writes
            print(json.dumps(act(options.slots)), flush=True)


if __name__ == "__main__":
    main()
