"""Lets a program tell how far it is: lines that it writes to a named pipe.

Owns the pipe, and how much of what is written gets through: a line that is outrun by the next one
is left out, so that a talkative program costs the cluster little more than a quiet one. It knows no
worker and no task log.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

PAUSE_S: Final = 0.2
"""Between two lines that are told."""

LINE_BYTES_MAX: Final = 1024
"""Of a line, what is told: as much as the task log takes."""

_PIECE_BYTES = 4096


@asynccontextmanager
async def progress_pipe(
    path: Path, tell: Callable[[bytes], Awaitable[object]]
) -> AsyncIterator[None]:
    """Tell the latest of the lines that are written to a named pipe inside the context.

    Args:
        path: Where the pipe is made.
        tell: Called with one line at a time, without its end.
    """
    os.mkfifo(path, 0o600)
    # Open for both: then a writer never waits for a reader, and one that ends does not end it.
    async with trio.lowlevel.FdStream(os.open(path, os.O_RDWR | os.O_NONBLOCK)) as pipe:
        latest = _Latest()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_lines, pipe, latest)
            nursery.start_soon(_tell_lines, latest, tell)
            yield
            nursery.cancel_scope.cancel()


class _Latest:
    """The last line that was written and not told yet."""

    def __init__(self) -> None:
        self._line = b""
        self._written = trio.Event()

    def put(self, line: bytes) -> None:
        self._line = line
        self._written.set()

    async def take(self) -> bytes:
        await self._written.wait()
        self._written = trio.Event()
        return self._line


async def _read_lines(pipe: trio.lowlevel.FdStream, latest: _Latest) -> None:
    rest = b""
    while True:
        *lines, rest = (rest + await pipe.receive_some(_PIECE_BYTES)).split(b"\n")
        rest = rest[:LINE_BYTES_MAX]
        said = [line.strip() for line in lines if line.strip()]
        if said:
            latest.put(said[-1][:LINE_BYTES_MAX])


async def _tell_lines(latest: _Latest, tell: Callable[[bytes], Awaitable[object]]) -> None:
    while True:
        await tell(await latest.take())
        await trio.sleep(PAUSE_S)
