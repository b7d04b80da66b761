"""RQ on one Redis: the queue that our task log is measured beside.

Its job does nothing, as ours does. Synced, Redis writes and syncs its log before it answers, so
that what it acknowledged survives a power cut; otherwise it syncs once a second, and loses up to
that. It is one process, so that it does not survive a lost machine. A worker that is killed keeps
its job until RQ's own maintenance finds it, and results are not fenced. Workers run jobs in their
own process, as ours do. RQ is loaded only where it is installed.
"""

from __future__ import annotations

import shutil
import sys
import time
from importlib import import_module, util
from pathlib import Path
from typing import Any

from benchmarks.peers.children import HOST, children, free_ports

BATCH = 64
"""Jobs of one round trip: as many as one submission of ours has."""

RESULT_TTL_S = 3600
JOB = "operator.truth"


def missing() -> list[str]:
    """Return what is not installed."""
    absent = []
    if shutil.which("redis-server") is None:
        absent.append("redis-server (apt install redis-server)")
    if util.find_spec("rq") is None:
        absent.append("rq (pip install rq)")
    return absent


def measure(tasks: int, workers: int, parent: Path | None, *, synced: bool) -> tuple[float, float]:
    """Return the seconds until all tasks were submitted, and until all were done."""
    redis: Any = import_module("redis")
    rq: Any = import_module("rq")
    [port] = free_ports(1)
    with children("rq", parent) as owned:
        sync = "always" if synced else "everysec"
        settings = ["--port", str(port), "--save", "", "--appendonly", "yes", "--appendfsync", sync]
        owned.serve("redis", ["redis-server", *settings])
        connection = redis.Redis(HOST, port)

        def ping() -> bool | None:
            try:
                return bool(connection.ping())
            except redis.ConnectionError:
                return None

        owned.wait_for(ping, "answer of redis")
        url = f"redis://{HOST}:{port}"
        worker = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", url]
        for number in range(workers):
            name = f"w{number}"
            owned.serve(name, [*worker, "--name", name, "--worker-class", "rq.SimpleWorker"])
        queue = rq.Queue(connection=connection)
        owned.wait_for(lambda: rq.Worker.count(queue=queue) == workers or None, "workers")
        began = time.monotonic()
        for first in range(0, tasks, BATCH):
            prepared = [
                rq.Queue.prepare_data(JOB, (number,), result_ttl=RESULT_TTL_S)
                for number in range(first, min(first + BATCH, tasks))
            ]
            queue.enqueue_many(prepared)
        submitted = time.monotonic() - began
        done = rq.registry.FinishedJobRegistry(queue=queue)
        while done.count < tasks:
            time.sleep(0.1)
        return submitted, time.monotonic() - began
