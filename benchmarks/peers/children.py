"""Processes, ports and directories of one run: owned here, gone when it ends.

Only processes started through a ``Children`` are ever signalled.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
T = TypeVar("T")


class ClusterFailed(Exception):
    """A system did not start, or its load did not run; the text has what it said last."""


class Children:
    """The processes of one cluster, and the directory they work in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: list[subprocess.Popen[str]] = []

    def serve(self, name: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a server; what it prints goes to ``NAME.log`` in the directory."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        self._running.append(process)
        return process

    def talk(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a process that is talked to: its three streams are text pipes."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=self.directory, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """End one process with SIGKILL; what it wrote stays as long as the directory does."""
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it was told last, it will not hear
                    stream.close()
        self._running.remove(process)

    def end_all(self) -> None:
        """End every process, the last one first."""
        for process in reversed(tuple(self._running)):
            self.end(process)

    def wait_for(self, ask: Callable[[], T | None], what: str, step_s: float = 0.05) -> T:
        """Ask until there is an answer; errors of a server that is not up yet count as none.

        Args:
            ask: Returns the answer, or None.
            what: What is waited for, if it does not come.
            step_s: Between two times it is asked.

        Raises:
            ClusterFailed: A process ended meanwhile, or there was no answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                answer = ask()
            except (OSError, ValueError, KeyError):
                answer = None
            if answer is not None:
                return answer
            if any(process.poll() is not None for process in self._running):
                raise ClusterFailed(f"no {what}, a process ended: {self._last_words()}")
            time.sleep(step_s)
        raise ClusterFailed(f"no {what} after {START_TIMEOUT_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        """Return the last line of each log, and of what each ended process said."""
        logs = sorted(self.directory.glob("*.log"))
        texts = [path.read_text(errors="replace") for path in logs]
        texts += [
            process.stderr.read()
            for process in self._running
            if process.stderr is not None and process.poll() is not None
        ]
        return "; ".join(text.splitlines()[-1] for text in texts if text.strip())


@contextmanager
def children(prefix: str, parent: Path | None) -> Iterator[Children]:
    """Own processes inside the context, in a new directory below ``parent``."""
    directory = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=parent))
    owned = Children(directory)
    try:
        yield owned
    finally:
        owned.end_all()
        shutil.rmtree(directory, ignore_errors=True)


def free_ports(count: int, *, in_a_row: bool = False) -> list[int]:
    """Return ports nobody listens on; they may be taken before one gets to use them."""
    if in_a_row:
        return _row_of_ports(count)
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _row_of_ports(count: int) -> list[int]:
    for base in range(21_000, 30_000, count):
        row = list(range(base, base + count))
        if all(_is_free(port) for port in row):
            return row
    raise ClusterFailed(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0
