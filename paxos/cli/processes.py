"""Replica processes as children of this one: started, killed, and never left behind.

A child is ready when it has printed its ready line, which says that it answers clients. Whoever
starts children does it inside ``replica_processes``, which ends every one of them on the way out,
however that way is taken.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 64 * 1024
LOG_LINES_SHOWN = 5


class ReplicaProcessFailed(Exception):
    """A replica process ended, or did not get ready; the text has the last lines of its log."""


class ReplicaProcesses:
    """The replica processes of one cluster, by node id.

    Args:
        config_file: The cluster file they all read.
        logs: Directory for each process's standard error.
    """

    def __init__(self, config_file: Path, logs: Path) -> None:
        self._config_file = config_file
        self._logs = logs
        self._running: dict[int, trio.Process] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """Nodes that were started and neither killed nor stopped since."""
        return tuple(sorted(self._running))

    def pid(self, node: int) -> int:
        """Return the process id of a running node."""
        return self._running[node].pid

    async def start(self, node: int) -> dict[str, Any]:
        """Start a node and wait until it answers clients.

        Returns:
            Its ready line.

        Raises:
            ReplicaProcessFailed: It runs already, ended, or was not ready in time.
        """
        if node in self._running:
            raise ReplicaProcessFailed(f"node {node} runs already")
        command = [sys.executable, "-m", "paxos.cli", "serve", "--config", str(self._config_file)]
        with self._log(node).open("ab") as log:
            process = await trio.lowlevel.open_process(
                [*command, "--node", str(node)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C at the terminal is for the parent, which stops its children in order.
                process_group=0,
            )
        self._running[node] = process
        with trio.move_on_after(READY_TIMEOUT_S):
            line = await _first_line(process)
            if line:
                ready: dict[str, Any] = json.loads(line)
                return ready
            status = await process.wait()
            await self._forget(node)
            raise ReplicaProcessFailed(
                f"node {node} ended with status {status} before it was ready\n{self.log_tail(node)}"
            )
        raise ReplicaProcessFailed(
            f"node {node} was not ready within {READY_TIMEOUT_S:.0f} s\n{self.log_tail(node)}"
        )

    async def start_all(self, nodes: tuple[int, ...]) -> None:
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

    async def kill(self, *nodes: int) -> None:
        """Kill nodes with SIGKILL, all at once, and wait until they are gone."""
        for node in nodes:
            self._running[node].send_signal(signal.SIGKILL)
        for node in nodes:
            await self._running[node].wait()
            await self._forget(node)

    async def stop(self, node: int) -> int:
        """Ask a node to stop with SIGTERM; kill it if it does not. Returns its exit status."""
        process = self._running[node]
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIMEOUT_S) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
        status = await process.wait()
        await self._forget(node)
        return status

    async def end_all(self) -> None:
        """Stop everything that still runs, whatever happens meanwhile."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in self.running:
                    nursery.start_soon(self.stop, node)

    def log_tail(self, node: int) -> str:
        """Return the last lines a node wrote to standard error, indented."""
        path = self._log(node)
        if not path.exists():
            return ""
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])

    async def _forget(self, node: int) -> None:
        process = self._running.pop(node)
        if process.stdout is not None:
            await process.stdout.aclose()

    def _log(self, node: int) -> Path:
        return self._logs / f"node-{node}.log"


@asynccontextmanager
async def replica_processes(config_file: Path, logs: Path) -> AsyncIterator[ReplicaProcesses]:
    """Own replica processes inside the context; none of them outlives it."""
    processes = ReplicaProcesses(config_file, logs)
    try:
        yield processes
    finally:
        await processes.end_all()


async def _first_line(process: trio.Process) -> bytes:
    """Read up to the end of the first line; empty if the process closed its output instead."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
        more = await process.stdout.receive_some(LINE_BYTES_MAX)
        if not more:
            return b""
        line += more
    return line
