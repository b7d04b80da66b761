"""The ``paxos task`` commands that only look: answers become lines, tables and objects."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import click

from paxos.cli.config_store import level_option
from paxos.cli.connect import run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.live_table import live_table
from paxos.cli.options import Target
from paxos.cli.output import print_json, print_table, value_text
from paxos.cli.task_fields import (
    TASK_COLUMNS,
    stats_text,
    summary_fields,
    task_fields,
    task_lines,
    task_row,
)
from paxos.cli.task_options import check_live, live_options, log_options, now_us
from paxos.cli.task_store import open_log, wait_changed
from paxos.cli.teaching import TaughtCommand
from statemachines.machine_client import Level
from statemachines.task_log_answers import TaskRead
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DONE, STATES, Task

LIVE_ROWS = 40
"""Tasks of a live table, unless --limit says otherwise: about what a screen holds."""


@click.command(
    "list",
    cls=TaughtCommand,
    examples=[
        ("all of them, in the order of submission", "paxos task list"),
        ("what a node has on its hands", "paxos task list --node edge-1 --state claimed"),
        (
            "as it changes, until Ctrl-C",
            "paxos task list --live --state ready --refreshes 1",
        ),
        ("ids alone, for a script", "paxos task list --kind detect --state dead --ids"),
    ],
)
@level_option
@click.option("--state", type=click.Choice(list(STATES.values())), help="Only in this state.")
@click.option("--kind", default="", metavar="KIND", help="Only of this kind.")
@click.option("--node", default="", metavar="NODE", help="Only those on this node.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"At most N tasks. Default: all of them; {LIVE_ROWS} with --live.",
)
@click.option("--ids", is_flag=True, help="Print ids, one per line, and nothing else.")
@live_options
@log_options
def list_(
    target: Target,
    *,
    machine: str,
    level: Level,
    state: str | None,
    kind: str,
    node: str,
    limit: int | None,
    ids: bool,
    live: bool,
    refreshes: int | None,
) -> None:
    """List tasks in the order of submission.

    "attempt" is how often a task was claimed, of how often it may be. The line below the table
    counts all tasks, also those that are not listed.
    """
    check_live(target, live, refreshes)
    if ids and (live or target.json):
        raise click.UsageError("--ids is neither --live nor --json")
    asked: dict[str, Any] = {"state": state or "", "kind": kind, "node": node, "level": level}

    async def act() -> None:
        async with open_log(target, machine) as log:
            if live:
                await _show_live(log, asked, limit or LIVE_ROWS, refreshes)
            elif ids or target.json:
                async for task, slot in _tasks(log, asked, limit):
                    if ids:
                        click.echo(task.spec.id)
                    else:
                        print_json(summary_fields(task) | {"slot": slot})
            else:
                rows = [task_row(task, now_us()) async for task, _ in _tasks(log, asked, limit)]
                print_table(TASK_COLUMNS, rows)
                click.echo(stats_text(await log.stats(level)))

    run(act)


async def _tasks(
    log: TaskLogClient, asked: dict[str, Any], limit: int | None
) -> AsyncIterator[tuple[Task, int]]:
    """Yield (task, slot) over all pages. Tasks may change between two pages."""
    after: int | None = 0
    while after is not None and limit != 0:
        page = await log.page(after=after, limit=limit, **asked)
        for task in page.tasks:
            yield task, page.slot
        after = page.next_after
        if limit is not None:
            limit -= len(page.tasks)


async def _show_live(
    log: TaskLogClient, asked: dict[str, Any], limit: int, refreshes: int | None
) -> None:
    with live_table(TASK_COLUMNS) as table:
        for shown in count(1):
            stats = await log.stats(asked["level"])
            rows = [task_row(task, now_us()) async for task, _ in _tasks(log, asked, limit)]
            table.show(rows, stats_text(stats))
            if shown == refreshes:
                return
            await wait_changed(log, stats.revision)


@click.command(
    cls=TaughtCommand,
    examples=[
        ("everything about a task", "paxos task show t-1"),
        ("exactly the bytes of its result", "paxos task show t-1 --raw > result"),
        ("for a script", "paxos task show t-1 --json"),
    ],
)
@level_option
@click.argument("task_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Print the bytes of its result and nothing else.")
@log_options
def show(target: Target, *, machine: str, level: Level, task_id: str, raw: bool) -> None:
    """Show one task. If there is none of that ID, or with --raw no result, the status is 1."""
    if raw and target.json:
        raise click.UsageError("give --raw or --json, not both")

    async def act() -> TaskRead:
        async with open_log(target, machine) as log:
            return await log.get(task_id, level)

    found = run(act)
    task = found.task
    if task is None:
        raise CommandError(Exit.REFUSED, f"there is no task {task_id}")
    if raw:
        if task.result is None:
            raise CommandError(Exit.REFUSED, f"{task_id} is {STATES[task.state]}: it has no result")
        sys.stdout.buffer.write(task.result)
    elif target.json:
        print_json(task_fields(task) | {"slot": found.slot})
    else:
        lines = task_lines(task, now_us())
        if task.state == DONE:
            lines.append(("result", value_text(task.result)))
        width = max(len(label) for label, _ in lines)
        for label, text in lines:
            click.echo(f"{label.ljust(width)}  {text}".rstrip())
