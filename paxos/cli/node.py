"""``paxos node``: the nodes that run tasks. Replicas of the log are ``paxos member``."""

from __future__ import annotations

from itertools import count

import click

from paxos.cli.config_store import level_option
from paxos.cli.connect import run
from paxos.cli.live_table import live_table
from paxos.cli.options import Target
from paxos.cli.outcomes import changes, tell_change
from paxos.cli.output import print_json, print_table
from paxos.cli.task_fields import NODE_COLUMNS, node_fields, node_row, stats_text
from paxos.cli.task_options import check_live, live_options, log_options, now_us
from paxos.cli.task_store import open_log, wait_changed
from paxos.cli.teaching import TaughtCommand, TaughtGroup
from statemachines.machine_client import Level
from statemachines.task_log_answers import Changed, NodeList
from statemachines.task_log_client import TaskLogClient

EXAMPLES = [
    ("which nodes run tasks, and how busy are they?", "paxos node list"),
    ("let a node finish what it has, and get nothing new", "paxos node drain edge-1"),
]


@click.group(cls=TaughtGroup, examples=EXAMPLES)
def node() -> None:
    """Show the nodes that run tasks, and keep new work from one.

    A node is what a `paxos worker` registers: cloud or edge, with a capacity, a speed, a price and
    labels. Do not confuse it with a replica of the log, which `paxos member` is about.
    """


@node.command(
    "list",
    cls=TaughtCommand,
    examples=[
        ("every node at a glance", "paxos node list"),
        ("as it changes, until Ctrl-C", "paxos node list --live --refreshes 1"),
        ("for a script", "paxos node list --json"),
    ],
)
@level_option
@live_options
@log_options
def list_(target: Target, *, machine: str, level: Level, live: bool, refreshes: int | None) -> None:
    """List all known nodes in the order of their names.

    "used" is the demand of the tasks that it has claimed, of its capacity; "queued" are those that
    wait for it. "lease" is how long it stays registered without a further report.
    """
    check_live(target, live, refreshes)

    async def act() -> NodeList | None:
        async with open_log(target, machine) as log:
            if live:
                await _show_live(log, level, refreshes)
                return None
            return await log.nodes(level)

    found = run(act)
    if found is None:
        return
    if target.json:
        for each in found.nodes:
            print_json(node_fields(each) | {"slot": found.slot})
    else:
        print_table(NODE_COLUMNS, [node_row(each, now_us()) for each in found.nodes])


async def _show_live(log: TaskLogClient, level: Level, refreshes: int | None) -> None:
    with live_table(NODE_COLUMNS) as table:
        for shown in count(1):
            stats = await log.stats(level)
            found = await log.nodes(level)
            table.show([node_row(each, now_us()) for each in found.nodes], stats_text(stats))
            if shown == refreshes:
                return
            await wait_changed(log, stats.revision)


@node.command(
    cls=TaughtCommand,
    examples=[
        ("before its machine is serviced", "paxos node drain edge-1"),
        ("and afterwards", "paxos node drain edge-1 --undo"),
    ],
)
@click.argument("name", metavar="NODE")
@click.option("--undo", is_flag=True, help="Let new work in again.")
@log_options
def drain(target: Target, *, machine: str, name: str, undo: bool) -> None:
    """Keep new work from a node. What it has claimed it finishes.

    What waits for it goes to others. It stays drained until --undo, also if its worker is started
    again. If there is no such node the exit status is 1.
    """

    async def act() -> Changed:
        async with open_log(target, machine) as log:
            return await log.drain(name, not undo)

    with changes(target, node=name):
        result = run(act)
    text = f"{name} takes new work again" if undo else f"{name} gets no new work"
    tell_change(target, "done", result.revision, result.slot, text, node=name)
