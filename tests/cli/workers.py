"""Real ``paxos worker`` processes for tests: started, told to stop, and never left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paxos.cli.options import ENVIRONMENT
from tests.cli.replicas import END_TIMEOUT_S, Replicas, wait_until

LEASE = "3s"


class Worker:
    """One worker. What it says under ``--json`` goes to a file, so that it is never held up."""

    def __init__(self, cluster: Replicas, said: Path, node: str, *options: str) -> None:
        self.node = node
        self._said = said
        command = [sys.executable, "-m", "paxos.cli", "worker", "--node", node, "--json"]
        with said.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={
                    ENVIRONMENT: str(cluster.config),
                    "LANG": "C.UTF-8",
                    "PATH": "/usr/bin:/bin",
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    # What a worker that is killed leaves behind goes with the test's directory.
                    "TMPDIR": str(said.parent),
                },
                process_group=0,
            )

    @property
    def said(self) -> str:
        """Everything it has printed."""
        return self._said.read_text()

    def events(self, what: str = "") -> list[dict[str, Any]]:
        """Return what it has told, or that of one kind."""
        told = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [event for event in told if what in ("", event["event"])]

    def wait_event(self, what: str, count: int = 1) -> dict[str, Any]:
        """Wait until it has told that so often, and return the last of them."""

        def told() -> bool:
            assert self.process.poll() is None or self.events(what), self.said
            return len(self.events(what)) >= count

        wait_until(told, f"worker {self.node} tells {what!r}")
        return self.events(what)[count - 1]

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_end(self) -> int:
        """Wait until it ends, and return its exit status."""
        return self.process.wait(END_TIMEOUT_S)


@contextmanager
def worker(cluster: Replicas, directory: Path, node: str, *options: str) -> Iterator[Worker]:
    """Run a worker inside the context, from its registration on."""
    running = Worker(cluster, directory / f"{node}.jsonl", node, "--lease", LEASE, *options)
    try:
        running.wait_event("registered")
        yield running
    finally:
        if running.process.poll() is None:
            # Told twice it ends its programs too; killed it could not.
            running.tell(signal.SIGTERM)
            running.tell(signal.SIGINT)
        try:
            running.wait_end()
        except subprocess.TimeoutExpired:
            running.process.kill()
            raise
