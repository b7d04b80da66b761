"""Commands whose reader goes away or whose user has had enough."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.replicas import Replicas, wait_until

pytestmark = pytest.mark.processes

END_TIMEOUT_S = 30.0


@contextmanager
def command(cluster: Replicas, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client command as a process of its own; it is gone when the context ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "paxos.cli", *arguments, "--config", str(cluster.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_watch_shows_a_change_at_once_and_ends_with_130_when_interrupted(
    tcp_cluster: Replicas,
) -> None:
    with command(tcp_cluster, "config", "watch", "pipes/", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = process.stdout

        def told() -> bool:
            # The watch shows what comes after its start: write until it has started.
            assert tcp_cluster("config", "put", "pipes/k", "v").exit_code == 0
            return bool(select.select([shown], [], [], 0.1)[0])

        wait_until(told, "the watch shows a change")
        event = json.loads(shown.readline())
        assert (event["type"], event["key"], event["value"]) == ("put", "pipes/k", "v")
        process.send_signal(signal.SIGINT)
        assert process.wait(END_TIMEOUT_S) == 130
        assert process.stderr.read() == b""


def test_list_whose_reader_leaves_ends_without_a_traceback(tcp_cluster: Replicas) -> None:
    document = {f"pipes-list/{number:04d}": "x" * 100 for number in range(2000)}
    imported = tcp_cluster("config", "import", "-", stdin=json.dumps(document).encode())
    assert imported.exit_code == 0
    with command(tcp_cluster, "config", "list", "pipes-list/") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"pipes-list/0000")
        process.stdout.close()
        assert process.wait(END_TIMEOUT_S) != 0
        assert b"Traceback" not in process.stderr.read()
