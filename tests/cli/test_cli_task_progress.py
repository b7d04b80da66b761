"""Progress of programs: the latest line gets through, and none holds a program up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from paxos.cli.task_progress import LINE_BYTES_MAX, PAUSE_S, progress_pipe


@contextmanager
def writer(path: Path) -> Iterator[int]:
    """Open the pipe as a program does; it would wait if nobody read it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def told_of(path: Path, pieces: list[bytes]) -> list[bytes]:
    """Write pieces, each once the one before had time to be told, and return what was."""
    told: list[bytes] = []

    async def tell(line: bytes) -> None:
        await trio.lowlevel.checkpoint()
        told.append(line)

    async def act() -> None:
        async with progress_pipe(path, tell):
            for piece in pieces:
                with writer(path) as descriptor:
                    assert os.write(descriptor, piece) == len(piece)
                await pass_time(2 * PAUSE_S)

    trio.run(act)
    return told


async def pass_time(seconds: float) -> None:
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([b"10%\n", b"20%\n"], [b"10%", b"20%"]),
        ([b"10%\n20%\n30%\n"], [b"30%"]),
        ([b"ha", b"lf\n"], [b"half"]),
        ([b"half"], []),
        ([b" \n\n"], []),
        ([b"\xff\x00\r\n"], [b"\xff\x00"]),
        ([b"x" * 3000 + b"\n"], [b"x" * LINE_BYTES_MAX]),
        ([b"x" * 3000, b"y" * 3000, b"\n", b"z\n"], [b"x" * LINE_BYTES_MAX, b"z"]),
    ],
)
def test_lines_written_to_the_pipe_are_told_whole_and_the_latest_first(
    tmp_path: Path, pieces: list[bytes], told: list[bytes]
) -> None:
    assert told_of(tmp_path / "progress", pieces) == told


def test_lines_that_are_outrun_are_left_out(tmp_path: Path) -> None:
    told: list[bytes] = []
    path = tmp_path / "progress"

    async def tell(line: bytes) -> None:
        told.append(line)
        await trio.lowlevel.checkpoint()

    async def act() -> None:
        async with progress_pipe(path, tell):
            with writer(path) as descriptor:
                for number in range(1000):
                    os.write(descriptor, b"%d\n" % number)
                    await trio.testing.wait_all_tasks_blocked()
            await pass_time(2 * PAUSE_S)

    trio.run(act)
    assert told[-1] == b"999"
    assert len(told) < 100
