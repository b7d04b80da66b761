"""What the ``paxos task`` and ``paxos node`` commands share: their client, and how they wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from paxos.cli.connect import open_client
from paxos.cli.options import Target
from statemachines.task_log_answers import ChangesCompacted, TaskUnknown
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DONE, Task

REDRAW_S: Final = 1.0
"""A live table is read again at the latest after so many seconds, for the times that it shows."""

SETTLE_S: Final = 0.2
"""Between two readings of a live table: changes come in crowds."""


@asynccontextmanager
async def open_log(target: Target, machine: str) -> AsyncIterator[TaskLogClient]:
    """Run a client of the task log inside the context."""
    async with open_client(target) as client:
        yield TaskLogClient(client, machine)


def is_finished(task: Task) -> bool:
    """Return whether nothing more happens to a task by itself."""
    return task.state >= DONE


async def wait_finished(log: TaskLogClient, task_id: str) -> Task:
    """Wait until a task is done, dead or cancelled, and return it.

    Raises:
        TaskUnknown: There is none, or it was finished and forgotten.
    """
    while True:
        found = await log.get(task_id)
        if found.task is None:
            raise TaskUnknown(task_id)
        if is_finished(found.task):
            return found.task
        try:
            await log.watch_once("task", task_id, found.revision)
        except ChangesCompacted:
            pass  # read it again: only its present state matters


async def wait_changed(log: TaskLogClient, revision: int) -> None:
    """Wait until something has changed after ``revision``, or a table is worth redrawing."""
    with trio.move_on_after(REDRAW_S):
        try:
            await log.watch_once("everything", "", revision)
        except ChangesCompacted:
            pass  # a great deal has changed
    await trio.sleep(SETTLE_S)
