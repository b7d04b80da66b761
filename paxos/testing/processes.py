"""Replica processes as children of this one: started, killed, paused, and never left behind.

A child is ready when it has printed its ready line, which says that it answers clients. Whoever
starts children does it inside ``replica_processes``, which ends every one of them on the way out,
however that way is taken. What is said of a child (dead, stopped) is what the kernel said.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 64 * 1024
LOG_LINES_SHOWN = 5

PORTS = range(20_000, 30_000)
"""Below what systems give to outgoing connections, so that a free port stays free."""

CommandFor = Callable[[int], Sequence[str]]
"""The program that is a node, and its arguments, by node id."""


class ReplicaProcessFailed(Exception):
    """A replica process ended, or did not get ready; the text has the last lines of its log."""


def serve_command(config_file: Path) -> CommandFor:
    """Return the command that runs a node of ``config_file`` as everybody does."""

    def command_for(node: int) -> Sequence[str]:
        program = [sys.executable, "-m", "paxos.cli", "serve"]
        return [*program, "--config", str(config_file), "--node", str(node)]

    return command_for


def free_base_port(count: int) -> int:
    """Return the first of ``count`` neighbouring ports on which nothing listens now.

    Raises:
        ReplicaProcessFailed: None were found.
    """
    rng = random.SystemRandom()
    for _ in range(100):
        base = rng.randrange(PORTS.start, PORTS.stop - count)
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise ReplicaProcessFailed(
        f"found no {count} free ports between {PORTS.start} and {PORTS.stop}"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a port whose last connection is only being forgotten counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class _Child:
    """One process and what it has printed beyond the lines that were taken."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.ready = False  # its first line was taken; what comes now are answers
        self._printed = bytearray()
        self._talking = trio.Lock()
        self._asked = 0  # questions so far: an answer repeats the number of its question

    async def read_line(self) -> bytes:
        """Return the next line; empty if the process closed its output instead."""
        assert self.process.stdout is not None
        while (end := self._printed.find(b"\n") + 1) == 0 and len(self._printed) < LINE_BYTES_MAX:
            more = await self.process.stdout.receive_some(LINE_BYTES_MAX)
            if not more:
                return b""
            self._printed += more
        line = bytes(self._printed[:end])
        del self._printed[:end]
        return line

    async def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """Write a line and return the one that answers it; None if there is none."""
        assert self.process.stdin is not None
        async with self._talking:
            self._asked += 1
            line = json.dumps({"number": self._asked, **question}).encode() + b"\n"
            try:
                await self.process.stdin.send_all(line)
                while line := await self.read_line():
                    answer: dict[str, Any] = json.loads(line)
                    # Others are late: whoever asked has given up.
                    if answer["number"] == self._asked:
                        return answer
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it ended
            return None

    async def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                await pipe.aclose()


class ReplicaProcesses:
    """The replica processes of one cluster, by node id.

    Args:
        command_for: What runs a node; ``serve_command`` for the plain product.
        logs: Directory for each process's standard error.
        started: Called with the id of each new process, before it is waited for.
        asked: Whether the program answers lines on its standard input (``ask``).
    """

    def __init__(
        self,
        command_for: CommandFor,
        logs: Path,
        *,
        started: Callable[[int], None] | None = None,
        asked: bool = False,
    ) -> None:
        self._command_for = command_for
        self._logs = logs
        self._started = started
        self._asked = asked
        self._running: dict[int, _Child] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """Nodes that were started and neither killed nor stopped since."""
        return tuple(sorted(self._running))

    def pid(self, node: int) -> int:
        """Return the process id of a running node."""
        return self._running[node].process.pid

    def ended(self, node: int) -> int | None:
        """Return the exit status of a running node that has ended by itself; None if it lives."""
        return self._running[node].process.poll()

    async def start(self, node: int) -> dict[str, Any]:
        """Start a node and wait until it answers clients.

        Cancelled, it leaves the node running, as far as it has come.

        Returns:
            Its ready line.

        Raises:
            ReplicaProcessFailed: It runs already, ended, or was not ready in time.
        """
        if node in self._running:
            raise ReplicaProcessFailed(f"node {node} runs already")
        with self._log(node).open("ab") as log, trio.CancelScope(shield=True):
            # A cancelled start would otherwise leave a process that nobody knows of.
            process = await trio.lowlevel.open_process(
                list(self._command_for(node)),
                stdin=subprocess.PIPE if self._asked else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C at the terminal is for the parent, which stops its children in order.
                process_group=0,
            )
            self._running[node] = child = _Child(process)
        if self._started is not None:
            self._started(process.pid)
        with trio.move_on_after(READY_TIMEOUT_S):
            line = await child.read_line()
            if line:
                child.ready = True
                ready: dict[str, Any] = json.loads(line)
                return ready
            status = await self.wait_end(node)
            raise ReplicaProcessFailed(
                f"node {node} ended with status {status} before it was ready\n{self.log_tail(node)}"
            )
        raise ReplicaProcessFailed(
            f"node {node} was not ready within {READY_TIMEOUT_S:.0f} s\n{self.log_tail(node)}"
        )

    async def start_all(self, nodes: Iterable[int]) -> None:
        """Start several nodes side by side.

        Raises:
            ReplicaProcessFailed: One of them did not get ready.
        """
        failures: list[ReplicaProcessFailed] = []

        async def start_one(node: int) -> None:
            try:
                await self.start(node)
            except ReplicaProcessFailed as failure:
                failures.append(failure)

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(start_one, node)
        if failures:
            raise failures[0]

    async def kill(self, *nodes: int) -> tuple[int, ...]:
        """Kill nodes with SIGKILL, all at once, and wait until they are gone.

        Returns:
            How each ended, as ``wait_end``: one that had ended before says so by its status.
        """
        for node in nodes:
            self._running[node].process.send_signal(signal.SIGKILL)
        return tuple([await self.wait_end(node) for node in nodes])

    async def pause(self, node: int) -> bool:
        """Stop a node with SIGSTOP, and wait for the kernel to say so.

        Returns:
            Whether it is stopped; False if it had ended.
        """
        process = self._running[node].process
        process.send_signal(signal.SIGSTOP)
        # Also waits for an end, which is left to be collected by who waits for it.
        what = os.WSTOPPED | os.WEXITED | os.WNOWAIT
        try:
            seen = await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, what)
        except ChildProcessError:  # it ended, and another task has collected it
            return False
        return seen is not None and seen.si_code == os.CLD_STOPPED

    def resume(self, node: int) -> None:
        """Let a paused node go on; nothing happens to one that is not paused."""
        self._running[node].process.send_signal(signal.SIGCONT)

    async def stop(self, node: int) -> int:
        """Ask a node to stop with SIGTERM; kill it if it does not. Returns its exit status."""
        process = self._running[node].process
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        with trio.move_on_after(STOP_TIMEOUT_S) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
        return await self.wait_end(node)

    async def wait_end(self, node: int) -> int:
        """Wait until a running node ends by itself; return its exit status, as ``Popen`` does."""
        child = self._running[node]
        status = await child.process.wait()
        if self._running.get(node) is child:
            del self._running[node]
            await child.close()
        return status

    async def end_all(self) -> None:
        """Stop everything that still runs, whatever happens meanwhile."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in self.running:
                    nursery.start_soon(self.stop, node)

    async def ask(self, node: int, question: dict[str, Any]) -> dict[str, Any] | None:
        """Put a question to the program of a node, as one JSON object on a line each way.

        It has a key "number" beside those of ``question``, and the answer must repeat it.

        Returns:
            Its answer, or None if it ended first, or does not run, or is not ready yet; also if
            these processes are not asked.
        """
        child = self._running.get(node)
        if child is None or not child.ready or not self._asked:
            return None
        return await child.ask(question)

    def log_tail(self, node: int) -> str:
        """Return the last lines a node wrote to standard error, indented."""
        path = self._log(node)
        if not path.exists():
            return ""
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])

    def _log(self, node: int) -> Path:
        return self._logs / f"node-{node}.log"


@asynccontextmanager
async def replica_processes(
    command_for: CommandFor,
    logs: Path,
    *,
    started: Callable[[int], None] | None = None,
    asked: bool = False,
) -> AsyncIterator[ReplicaProcesses]:
    """Own replica processes inside the context; none of them outlives it.

    Args:
        command_for: As of ``ReplicaProcesses``, like the rest.
        logs: Likewise.
        started: Likewise.
        asked: Likewise.
    """
    processes = ReplicaProcesses(command_for, logs, started=started, asked=asked)
    try:
        yield processes
    finally:
        await processes.end_all()
