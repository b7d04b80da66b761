"""Who cleans up after a run that was killed: a process that outlives it for a moment.

A run that ends in any way that Python sees takes its children along. One that is ended by SIGKILL
cannot, so it has a warden: a child that reads lines from a pipe, and when the pipe ends without a
good-bye kills the processes it was told of and runs the commands it was given. Run as a program, it
knows nothing but that; the standard library is all it loads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class Warden:
    """The run's end of the pipe. A context manager; leaving it in order says good-bye."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            # Ctrl-C is for the run; the warden ends when the run has.
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """The warden's own process."""
        return self._process.pid

    def guard(self, pid: int) -> None:
        """Have a process killed if this one dies. One that has ended meanwhile does no harm."""
        self._say({"guard": pid})

    def at_end(self, commands: Iterable[Sequence[str]]) -> None:
        """Have commands run if this process dies; each must be harmless when it is not needed."""
        self._say({"commands": [list(command) for command in commands]})

    def __enter__(self) -> Warden:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._say({"bye": True})
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _say(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()


def watch(lines: Iterable[bytes]) -> None:
    """Read what the run says until it ends, and clean up if it did not say good-bye."""
    guarded: dict[int, str] = {}
    commands: list[list[str]] = []
    for line in lines:
        said = json.loads(line)
        if "guard" in said:
            guarded[said["guard"]] = birth(said["guard"])
        commands += said.get("commands", [])
        if said.get("bye"):
            return
    for pid, born in guarded.items():
        # A number that was given to another process since is none of ours.
        if birth(pid) == born:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    for command in commands:
        subprocess.run(command, check=False, capture_output=True)


def birth(pid: int) -> str:
    """Return what tells a process from an earlier one of its number; empty where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(sys.stdin.buffer)
