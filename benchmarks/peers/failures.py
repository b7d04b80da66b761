"""What goes wrong in a run is noted in its record and said, and the run goes on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.measurement import RunRecord
from benchmarks.peers.progress import say


@contextmanager
def noted(record: RunRecord, system: str, number: int, part: str) -> Iterator[None]:
    """Note any exception that leaves the context, and go on behind it.

    Being stopped is not one: ``KeyboardInterrupt`` and ``SystemExit`` pass.

    Args:
        record: Of the run.
        system: What was measured.
        number: In which round.
        part: What of it.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - one system's fault must not cost the others' hour
        text = last_line(error)
        record["failures"].append({"system": system, "round": number, "part": part, "text": text})
        say(f"round {number}, {system}, {part} failed: {text}")


def last_line(error: BaseException) -> str:
    """Return what a traceback ends with, in one line, and the notes on the error.

    For a group it is that of the first of its exceptions.
    """
    notes = getattr(error, "__notes__", [])
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    known = isinstance(error, ClusterFailed)
    text = str(error) if known else f"{type(error).__name__}: {error}".strip(": ")
    return "; ".join([" ".join(text.split()), *notes])
