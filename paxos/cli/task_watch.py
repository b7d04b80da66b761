"""``paxos task watch``: changes of tasks and nodes, in order, as they happen."""

from __future__ import annotations

import sys

import click

from paxos.cli.connect import run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target
from paxos.cli.output import print_json
from paxos.cli.task_fields import change_fields, change_text
from paxos.cli.task_options import log_options
from paxos.cli.task_store import is_finished, open_log
from paxos.cli.teaching import TaughtCommand
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DONE, STATES, NodeChange, Task, TaskChange
from statemachines.task_log_requests import Scope


@click.command(
    cls=TaughtCommand,
    examples=[
        ("everything, from now on", "paxos task watch"),
        ("one task, until it is finished", "paxos task watch t-1"),
        ("a node, and what is placed on it", "paxos task watch --node edge-1"),
        (
            "all that happened from the beginning, for a script",
            "paxos task watch --from-revision 1 --json",
        ),
    ],
)
@click.argument("task_id", metavar="[ID]", required=False)
@click.option("--node", metavar="NODE", help="Watch a node, and tasks as they are placed on it.")
@click.option(
    "--from-revision",
    type=click.IntRange(min=1),
    metavar="REVISION",
    help="The first revision to show. Default: the next one.",
)
@click.option(
    "--events", type=click.IntRange(min=1), metavar="N", help="End once N changes were shown."
)
@log_options
def watch(
    target: Target,
    *,
    machine: str,
    task_id: str | None,
    node: str | None,
    from_revision: int | None,
    events: int | None,
) -> None:
    """Show every change of tasks and nodes, in order, as it happens.

    Goes on until it is interrupted, over the loss of any replica, without a gap or a repeat. With
    an ID it ends when that task is finished: with status 0 if it is done, else with 1. --timeout
    is for the first answer. Revisions that are no longer kept are refused with status 1.
    """
    if task_id is not None and node is not None:
        raise click.UsageError("give an ID or --node, not both")
    watching = _Watching(target, events)

    async def act() -> None:
        async with open_log(target, machine) as log:
            if task_id is not None:
                await watching.task(log, task_id, from_revision)
            elif node is not None:
                await watching.scope(log, "node", node, from_revision)
            else:
                await watching.scope(log, "everything", "", from_revision)

    run(act)
    watching.end()


class _Watching:
    """Shows changes, and knows when it has shown enough of them."""

    def __init__(self, target: Target, events: int | None) -> None:
        self._target = target
        self._left = events
        self._finished: TaskChange | Task | None = None

    async def task(self, log: TaskLogClient, task_id: str, from_revision: int | None) -> None:
        """Show the changes of one task until it is finished."""
        found = await log.get(task_id)
        if found.task is None:
            raise CommandError(Exit.REFUSED, f"there is no task {task_id}")
        if from_revision is None and is_finished(found.task):
            self._finished = found.task
            return
        after = found.revision if from_revision is None else from_revision - 1
        async for change in log.watch("task", task_id, after=after):
            if not self._show(change):
                return
            # A task that was begun anew had been finished before, and that is told too.
            present = change.revision >= found.task.revision
            if present and isinstance(change, TaskChange) and change.state >= DONE:
                self._finished = change
                return

    async def scope(
        self, log: TaskLogClient, scope: Scope, name: str, from_revision: int | None
    ) -> None:
        """Show changes until there are enough of them."""
        # Also finds out, within the timeout, whether there is anybody to ask.
        after = (await log.stats()).revision
        if from_revision is not None:
            after = from_revision - 1
        async for change in log.watch(scope, name, after=after):
            if not self._show(change):
                return

    def _show(self, change: TaskChange | NodeChange) -> bool:
        if self._target.json:
            print_json(change_fields(change))
        else:
            click.echo(change_text(change))
            sys.stdout.flush()
        if self._left is not None:
            self._left -= 1
        return self._left != 0

    def end(self) -> None:
        """End with status 1 if the task that was watched was finished without a result.

        Raises:
            CommandError: It is dead or cancelled.
        """
        task = self._finished
        if task is None or task.state == DONE:
            return
        name = task.id if isinstance(task, TaskChange) else task.spec.id
        reason = f": {task.reason}" if task.reason else ""
        raise CommandError(Exit.REFUSED, f"{name} is {STATES[task.state]}{reason}")
