"""When the writes of an open loop completed, as its program tells them, line by line.

A line is the time of day in seconds: the program that puts the load and the one that kills a node
are two processes, perhaps of two languages, and this is the clock that all of them have.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.peers.children import Children

END = "end"
"""A line that ends the telling, where the stream itself goes on."""


class Completions:
    """The times that have been told so far; a thread of its own takes them in.

    Args:
        lines: Of the program; ends by itself or with the line ``END``.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._times: list[float] = []
        self._thread = threading.Thread(target=self._take_in, daemon=True)
        self._thread.start()

    def times(self) -> list[float]:
        """Return when each write completed that has, in the order they were told."""
        return self._times.copy()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be told: the lines are over, or one was not understood."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the end of the lines."""
        self._thread.join()

    def _take_in(self) -> None:
        for line in self._lines:
            if line.strip() == END:
                return
            self._times.append(float(line))


@contextmanager
def told_by(owned: Children, command: Sequence[str]) -> Iterator[Completions]:
    """Run a program inside the context that tells completions on its standard output."""
    process = owned.talk(command)
    assert process.stdout is not None
    completions = Completions(process.stdout)
    try:
        yield completions
    finally:
        process.kill()
        completions.join()  # the stream is not closed under its reader
        owned.end(process)
