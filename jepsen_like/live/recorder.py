"""Writes a history down while it happens.

Every entry is in the file before anything else happens, in the order of real time on one monotonic
clock, so that the history outlives whatever comes after: the checker, and this process. It judges
nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from jepsen_like.history import NEMESIS, Entry, EntryType, entry_line


class Clock:
    """Time since the run began, on the monotonic clock of this process.

    Args:
        now_ns: The clock.
    """

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._began_ns = now_ns()

    def restart(self) -> None:
        """Let the run begin now. Before anything is recorded."""
        self._began_ns = self._now_ns()

    def ns(self) -> int:
        """Return nanoseconds since the run began."""
        return self._now_ns() - self._began_ns

    def seconds(self) -> float:
        """Return seconds since the run began."""
        return self.ns() / 1e9


class Recorder:
    """The history of one run, in memory and in a file.

    Args:
        path: The file; it must not be there yet.
        clock: The run's clock; several recorders may share it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.under_way = 0  # operations that began and have not ended
        self._clock = clock
        self._file: IO[str] = path.open("x", encoding="utf-8", newline="\n")

    def invoke(self, process: int, f: str, key: str | None, value: Any) -> Entry:
        """Write down that an operation begins. Call it before the request leaves."""
        self.under_way += 1
        return self._add(Entry(process, "invoke", f, key, value, self._clock.ns()))

    def end(self, began: Entry, kind: EntryType, value: Any, error: str | None = None) -> Entry:
        """Write down how an operation ended. Call it after the answer came."""
        self.under_way -= 1
        return self._add(
            Entry(began.process, kind, began.f, began.key, value, self._clock.ns(), error)
        )

    def note(self, f: str, value: Any) -> None:
        """Write down what the nemesis, or the run itself, did."""
        self._add(Entry(NEMESIS, "info", f, None, value, self._clock.ns()))

    def close(self) -> None:
        """Bring everything to the disk, and close the file. Twice is once."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        self._file.write(entry_line(entry))
        self._file.flush()
        return entry
