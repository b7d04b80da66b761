"""Real ``paxos serve`` processes for tests: founded, started, killed, and never left behind.

Waits are for a condition that the processes themselves fulfil (the ready line, the end of a
process); whoever waits for something else asks ``paxos status`` again until it is so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from paxos.cli import main
from paxos.cli.options import ENVIRONMENT
from paxos.testing.processes import free_base_port

# Guards against a hang on a machine that does much else; nothing is promised about these.
READY_TIMEOUT_S = 60.0
WAIT_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
# Promised: a replica that is told to stop ends within this.
STOP_TIMEOUT_S = 5.0
"""What the contract of ``paxos serve`` says."""


def paxos(*arguments: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
    """Run a command in this process; the environment names no cluster unless ``env`` does."""
    return CliRunner().invoke(main, arguments, env={ENVIRONMENT: ""} | (env or {}), input=stdin)


def objects(result: Result) -> list[dict[str, Any]]:
    """Return what a command printed under ``--json``."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Ask until it holds. ``holds`` asks a process, and so never spins for nothing."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"after {timeout_s:g} s still not: {what}"


class Replicas:
    """The processes of one cluster."""

    def __init__(self, directory: Path, transport: str, replicas: int, storage: str) -> None:
        arguments = ["--replicas", str(replicas), "--transport", transport, "--storage", storage]
        port = str(free_base_port(replicas))
        made = paxos("init", str(directory), *arguments, "--base-port", port, "--json")
        assert made.exit_code == 0, made.output
        self.founded = objects(made)[0]
        self.config = directory / "cluster.toml"
        self.nodes = tuple(range(1, replicas + 1))
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run a client command against this cluster."""
        return paxos(*arguments, env={ENVIRONMENT: str(self.config)}, stdin=stdin)

    def url(self, node: int) -> str:
        """Where a node listens."""
        url: str = self.founded["nodes"][node - 1]["url"]
        return url

    def data(self, node: int) -> Path:
        """Where a node keeps its log."""
        return self.config.parent / str(self.founded["nodes"][node - 1]["data"])

    def log(self, node: int) -> str:
        """What a node said on standard error."""
        return (self.config.parent / f"{node}.log").read_text()

    def spawn(self, node: int, *options: str) -> subprocess.Popen[bytes]:
        """Start a node without waiting for it."""
        command = [sys.executable, "-m", "paxos.cli", "serve", "--config", str(self.config)]
        with (self.config.parent / f"{node}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--node", str(node), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        self.running[node] = process
        return process

    def wait_ready(self, node: int) -> dict[str, Any]:
        """Wait for a node's ready line and return it."""
        process = self.running[node]
        assert process.stdout is not None
        with _killed_after(process, READY_TIMEOUT_S):
            line = process.stdout.readline()
        assert line, f"node {node} was not ready:\n{self.log(node)}"
        ready: dict[str, Any] = json.loads(line)
        return ready

    def start(self, *nodes: int) -> list[dict[str, Any]]:
        """Start nodes side by side; return their ready lines."""
        for node in nodes:
            self.spawn(node)
        return [self.wait_ready(node) for node in nodes]

    def end(self, node: int, number: int = signal.SIGTERM) -> int:
        """Send a running node a signal and return its exit status."""
        process = self.running[node]
        process.send_signal(number)
        return self.wait_end(node)

    def wait_end(self, node: int) -> int:
        """Wait for a node to end and return its exit status."""
        process = self.running.pop(node)
        try:
            return process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def kill(self, *nodes: int) -> None:
        """Kill nodes with SIGKILL, all before the first is waited for."""
        for node in nodes:
            self.running[node].send_signal(signal.SIGKILL)
        for node in nodes:
            self.wait_end(node)

    def status(self) -> dict[int, dict[str, Any]]:
        """Ask every node; return its row of the status document by node id."""
        document = objects(self("status", "--json"))[0]
        return {row["node"]: row for row in document["nodes"]}

    def leader(self) -> int:
        """Wait until exactly one replica leads, and return it."""
        leading: list[int] = []

        def one_leads() -> bool:
            leading[:] = [node for node, row in self.status().items() if row["role"] == "leader"]
            return len(leading) == 1

        wait_until(one_leads, "one leader")
        return leading[0]

    def wait_equal(self) -> str:
        """Wait until all nodes answer with one digest at one slot, and return the digest."""
        rows: list[dict[str, Any]] = []

        def equal() -> bool:
            rows[:] = self.status().values()
            told = {(row["applied_through"], row["digest"]) for row in rows}
            # A replica that is busy with a large state says no digest.
            return len(told) == 1 and bool(rows[0]["digest"])

        wait_until(equal, "all replicas hold the same state")
        digest: str = rows[0]["digest"]
        return digest

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Put a closed loop on the cluster, and enter the block once writes are decided."""
        before = max(row["decided_through"] or 0 for row in self.status().values())
        command = [sys.executable, "-m", "paxos.cli", "bench", "--config", str(self.config)]
        bench = subprocess.Popen([*command, "--duration", "120"], stdout=subprocess.DEVNULL)
        try:
            wait_until(
                lambda: (
                    max(row["decided_through"] or 0 for row in self.status().values()) > before + 20
                ),
                "the load is under way",
            )
            yield
        finally:
            bench.kill()
            bench.wait()

    def close(self) -> None:
        """End whatever still runs."""
        for node in tuple(self.running):
            self.running[node].kill()
            self.wait_end(node)


@contextmanager
def replicas(
    directory: Path, transport: str = "tcp", count: int = 3, storage: str = "segments"
) -> Iterator[Replicas]:
    """Found a cluster; whatever was started of it is ended on the way out."""
    cluster = Replicas(directory, transport, count, storage)
    try:
        yield cluster
    finally:
        cluster.close()


def flip_a_bit(data: Path, needle: bytes) -> Path:
    """Flip a bit of ``needle`` where a log holds it, and return the file it was found in."""
    for path in sorted(data.iterdir()):
        content = bytearray(path.read_bytes())
        if needle in content:
            content[content.index(needle)] ^= 1
            path.write_bytes(content)
            return path
    raise AssertionError(f"no file in {data} holds {needle!r}")


def processes_that_name(text: str) -> list[int]:
    """Return the ids of processes with ``text`` in their command line, this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            if text.encode() in line:
                found.append(int(entry.name))
    return found


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
