"""Runs one program for one task: payload on standard input, result from standard output.

Owns what the end of a program means and what it may take: time, output, and the processes it leaves
behind. It guards that nothing of a program outlives its task: a program that is too slow, says too
much or is no longer wanted is ended with all its children. It knows no worker, no log and no lease.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

FATAL_STATUS = os.EX_DATAERR
"""Exit status 65, EX_DATAERR in <sysexits.h>: the payload is bad, and will be bad next time."""

GRACE_S = 2.0
"""From SIGTERM to SIGKILL. What is ended has no result to save: another attempt makes one."""

DRAIN_S = 1.0
"""How long the pipes of a program that has ended are read on: a stray child may hold them open."""

ERROR_TAIL_BYTES = 4096
"""Of standard error, what is kept to say why a program failed."""

_PIECE_BYTES = 64 * 1024


class ProgramFailed(Exception):
    """A program did not give a result.

    Attributes:
        again: Whether another attempt may end otherwise.
    """

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What a program may take.

    Attributes:
        seconds: Its time from start to end; infinite for no bound.
        output_bytes_max: Its standard output, which is the result of the task.
    """

    seconds: float = math.inf
    output_bytes_max: int = 64 * 1024


async def run_program(
    command: Sequence[str],
    payload: bytes,
    limits: ProgramLimits,
    environment: Mapping[str, str],
) -> bytes:
    """Run a program to its end and return what it wrote to standard output.

    Cancelled, it ends the program and all its children first.

    Args:
        command: The program and its arguments; no shell is involved.
        payload: Its standard input. A program need not read it.
        limits: What it may take.
        environment: Its whole environment.

    Raises:
        ProgramFailed: It could not be started, ended with another status than 0, or took more than
            it may.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            # A group of its own, so that its children end with it, and Ctrl-C is for the worker.
            process_group=0,
        )
    except OSError as error:
        # Another attempt may come to a machine that has the program.
        raise ProgramFailed(f"{command[0]} cannot be started: {error.strerror}", True) from error
    running = _Running(process, limits.output_bytes_max)
    try:
        with trio.move_on_after(limits.seconds):
            await running.converse(payload)
    finally:
        with trio.CancelScope(shield=True):
            await running.end()
    return running.result(limits.seconds)


class _Running:
    """One process: what it has said so far, and how it ended."""

    def __init__(self, process: trio.Process, output_bytes_max: int) -> None:
        self._process = process
        self._output_bytes_max = output_bytes_max
        self._output = bytearray()
        self._errors = bytearray()
        self._status: int | None = None  # as it ended by itself

    async def converse(self, payload: bytes) -> None:
        """Feed and read the program until it ends, or says too much."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, payload)
            nursery.start_soon(self._read_output, nursery.cancel_scope)
            nursery.start_soon(self._read_errors)
            self._status = await self._process.wait()
            nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
            self._signal(signal.SIGKILL)  # whatever it left behind

    async def _feed(self, payload: bytes) -> None:
        assert self._process.stdin is not None
        async with self._process.stdin as pipe:
            try:
                await pipe.send_all(payload)
            except trio.BrokenResourceError:
                pass  # it does not want its input, which is its own affair

    async def _read_output(self, conversation: trio.CancelScope) -> None:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.receive_some(_PIECE_BYTES):
            self._output += piece
            if len(self._output) > self._output_bytes_max:
                conversation.cancel()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.receive_some(_PIECE_BYTES):
            self._errors += piece
            del self._errors[:-ERROR_TAIL_BYTES]

    async def end(self) -> None:
        """Leave nothing of the program behind."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with trio.move_on_after(GRACE_S):
                await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                await pipe.aclose()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass  # the whole group has ended

    def result(self, seconds: float) -> bytes:
        """Return the output of a program that ended well.

        Raises:
            ProgramFailed: It did not.
        """
        if len(self._output) > self._output_bytes_max:
            raise ProgramFailed(
                f"the program wrote more than {self._output_bytes_max} bytes to standard output",
                False,
            )
        if self._status is None:
            raise ProgramFailed(f"the program was ended after {seconds:g} s{self._said()}", True)
        if self._status < 0:
            name = signal.Signals(-self._status).name
            raise ProgramFailed(f"the program was killed by {name}{self._said()}", True)
        if self._status != 0:
            again = self._status != FATAL_STATUS
            raise ProgramFailed(f"exit status {self._status}{self._said()}", again)
        return bytes(self._output)

    def _said(self) -> str:
        lines = self._errors.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        text = "".join(character if character.isprintable() else " " for character in last)
        return f": {text}" if text else ""
