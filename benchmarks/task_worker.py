"""One worker process of the task benchmark: ``python -m benchmarks.task_worker NODE URL...``.

It registers as a node and runs tasks that do nothing, until it is ended. What is measured is what
the task log and its worker cost: claims, leases, fenced completions.
"""

from __future__ import annotations

import sys

import trio

from paxos import service
from statemachines.task_handlers import Work
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_requests import node_spec
from statemachines.task_worker import ANY_KIND, SLOTS, TaskWorker

LEASE = 30_000_000
"""Microseconds; longer than a busy machine keeps a worker from saying that it is there."""


async def nothing(_work: Work) -> bytes:
    """Be done at once."""
    return b""


async def main(node: str, urls: list[str]) -> None:
    """Work until the process is ended."""
    async with service.open_client(urls, timeout=60) as client:
        # As many claims as it has slots, so that its capacity is what bounds it.
        spec = node_spec(node, "cloud", lease=LEASE, capacity=SLOTS * 1_000_000)
        await TaskWorker(TaskLogClient(client), spec, {ANY_KIND: nothing}).run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
