"""The ``paxos task`` commands that change something: each ends with an outcome.

Translates options and documents to tasks. Whether a task may be submitted, cancelled or tried again
is decided by the task log; how an outcome is told, by ``outcomes``.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, BinaryIO

import click

from paxos.cli.connect import exit_statuses, run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target
from paxos.cli.outcomes import changes, tell_change
from paxos.cli.output import print_json, value_text, warn
from paxos.cli.task_document import parse_tasks
from paxos.cli.task_fields import task_fields
from paxos.cli.task_options import AMOUNT, DURATION, MOMENT, SIZE, labels, log_options, now_us
from paxos.cli.task_store import open_log, wait_finished
from paxos.cli.teaching import TaughtCommand
from statemachines.task_log_answers import Changed, Submitted
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import (
    DEFAULT_LIMITS,
    DONE,
    NODE_KINDS,
    POLICIES,
    STATES,
    Task,
    TaskSpec,
)
from statemachines.task_log_requests import RequestInvalid, submit_command, task_spec

TWO_TASKS = (
    """echo '[{"id": "t-5", "kind": "echo"}, {"id": "t-6", "kind": "echo", "after": ["t-5"]}]'"""
    " | paxos task submit --batch -"
)


@click.command(
    cls=TaughtCommand,
    examples=[
        ("any free node may run it", "paxos task submit t-1 'hello' --kind echo"),
        (
            "on an edge node with a GPU, within five minutes",
            "paxos task submit t-2 --kind detect --on edge --label gpu=yes --deadline +5m",
        ),
        (
            "after another, where its input is; twice the usual work",
            "paxos task submit t-3 --kind report --after t-1 --data-on edge-1 --size 2",
        ),
        ("any bytes, from a file", "paxos task submit t-4 --kind detect --file logo.png"),
        ("several, all or none", TWO_TASKS),
    ],
)
@click.argument("task_id", metavar="[ID]", required=False)
@click.argument("payload", required=False)
@click.option("--kind", metavar="KIND", help="Which handler runs it.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="Take the payload from a file; - is standard input.",
)
@click.option(
    "--batch",
    type=click.File("rb"),
    metavar="FILE",
    help="Submit every task of a JSON document instead; - is standard input.",
)
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    show_default=True,
    metavar="N",
    help="From -100 to 100; higher goes first.",
)
@click.option(
    "--not-before",
    callback=MOMENT,
    metavar="TIME",
    help="Not to be begun before this: +5m, or 2026-11-21T18:00:00Z.",
)
@click.option("--deadline", callback=MOMENT, metavar="TIME", help="Dead if not done by then.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    metavar="N",
    help="How often it may be claimed.",
)
@click.option(
    "--backoff",
    callback=DURATION,
    default="1s",
    show_default=True,
    metavar="DURATION",
    help="Wait after the first failure; doubles with each, up to 1h.",
)
@click.option("--after", multiple=True, metavar="ID", help="Only once this task is done.")
@click.option(
    "--on",
    "node_kind",
    type=click.Choice(list(NODE_KINDS.values())),
    default="any",
    show_default=True,
    help="The kind of node that may run it.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=labels,
    metavar="NAME=VALUE",
    help="A label that its node must have; may be repeated.",
)
@click.option(
    "--demand",
    callback=AMOUNT,
    default="1",
    show_default=True,
    metavar="AMOUNT",
    help="How much of a node's capacity it takes while it runs.",
)
@click.option(
    "--size",
    callback=AMOUNT,
    default="1",
    show_default=True,
    metavar="AMOUNT",
    help="Its work: seconds on a node of speed 1.",
)
@click.option("--data-on", "data_node", default="", metavar="NODE", help="Where its input is.")
@click.option(
    "--data-size",
    "data_bytes",
    callback=SIZE,
    default="0",
    metavar="SIZE",
    help="What any other node must be sent: 10MB, 64KiB.",
)
@click.option(
    "--policy",
    type=click.Choice(list(POLICIES.values())),
    default="balanced",
    show_default=True,
    help="What it is placed for.",
)
@click.option("--wait", is_flag=True, help="Wait until it is finished, and print its result.")
@log_options
def submit(
    target: Target,
    *,
    machine: str,
    task_id: str | None,
    payload: str | None,
    kind: str | None,
    file: BinaryIO | None,
    batch: BinaryIO | None,
    wait: bool,
    **fields: Any,
) -> None:
    """Submit the task ID, with PAYLOAD as what its handler is given.

    To submit the same task again changes nothing, so a submission whose outcome is unknown may be
    repeated. The same id with other content is refused; times like +5m are other content each time.

    --batch takes a JSON list of objects, or one object per line, with "id", "kind", and perhaps
    "payload" (text, or any JSON) or "payload_base64", "priority", "not_before", "deadline",
    "attempts", "backoff", "after" (a list), "on", "labels" (an object), "demand", "size",
    "data_on", "data_size" and "policy". A task stands behind those it depends on. Each 64 of them
    are submitted all or none, in order.

    With --wait the exit status is 1 unless all of them are done.
    """
    if batch is not None:
        if task_id is not None or kind is not None or file is not None:
            raise click.UsageError("--batch takes the tasks from its document alone")
        with exit_statuses():
            specs = parse_tasks(batch.read(), now_us())
    else:
        specs = [_one_task(task_id, payload, kind, file, fields)]
    with exit_statuses():
        pieces = _checked_pieces(specs)

    async def act() -> Submitted:
        async with open_log(target, machine) as log:
            for piece in pieces:
                submitted = await log.submit(piece)
        return submitted

    with changes(target):
        result = run(act)
    _tell_submitted(target, result, specs)
    if wait:
        run(_wait, target, machine, [spec.id for spec in specs])


def _one_task(
    task_id: str | None,
    payload: str | None,
    kind: str | None,
    file: BinaryIO | None,
    fields: dict[str, Any],
) -> TaskSpec:
    if task_id is None or kind is None:
        raise click.UsageError("a task needs an ID and --kind; or give --batch")
    if payload is not None and file is not None:
        raise click.UsageError("give a PAYLOAD or --file, not both")
    # Bytes that are not UTF-8 arrive as lone surrogates; this gives them back as they were typed.
    data = (payload or "").encode("utf-8", "surrogateescape") if file is None else file.read()
    given = {name: value for name, value in fields.items() if value is not None}
    given["labels"] = dict(given["labels"])
    with exit_statuses():
        return task_spec(task_id, kind, data, depends_on=given.pop("after"), **given)


def _checked_pieces(specs: Sequence[TaskSpec]) -> list[Sequence[TaskSpec]]:
    """Cut tasks into submissions; all of them are checked before the first is sent.

    Raises:
        RequestInvalid: One is twice there, or depends on a later one.
    """
    most = DEFAULT_LIMITS.submit_tasks_max
    pieces = [specs[start : start + most] for start in range(0, len(specs), most)]
    places: dict[str, int] = {}
    for place, spec in enumerate(specs):
        if places.setdefault(spec.id, place) != place:
            raise RequestInvalid(f"task {spec.id} is there twice")
    for place, spec in enumerate(specs):
        for name in spec.depends_on:
            if places.get(name, -1) // most > place // most:
                raise RequestInvalid(f"task {spec.id} must stand behind {name}, its dependency")
    for piece in pieces:
        submit_command(piece)
    return pieces


def _tell_submitted(target: Target, result: Submitted, specs: Sequence[TaskSpec]) -> None:
    text = f"submitted {specs[0].id}" if len(specs) == 1 else f"submitted {len(specs)} tasks"
    more: dict[str, Any] = {"tasks": len(specs)}
    if len(specs) == 1:
        more = {"id": specs[0].id, "created": dict(result.created)[specs[0].id]}
    tell_change(target, "done", result.revision, result.slot, text, **more)


async def _wait(target: Target, machine: str, names: Sequence[str]) -> None:
    """Tell what comes of each task, in their order; end with status 1 unless all are done."""
    all_done = True
    async with open_log(target, machine) as log:
        for name in names:
            task = await wait_finished(log, name)
            all_done = all_done and task.state == DONE
            _tell_finished(target, task, alone=len(names) == 1)
    if not all_done:
        sys.exit(Exit.REFUSED)


def _tell_finished(target: Target, task: Task, alone: bool) -> None:
    name = task.spec.id
    if target.json:
        print_json(task_fields(task))
    elif task.state != DONE:
        warn(f"{name} is {STATES[task.state]}{': ' if task.reason else ''}{task.reason}")
    elif task.result is not None:
        text = value_text(task.result)
        click.echo(text if alone else f"{name}: {text}", nl=not alone or not text.endswith("\n"))


# --- cancel and retry ----------------------------------------------------------------------------


@click.command(
    cls=TaughtCommand,
    examples=[
        ("it is not needed any more", "paxos task cancel t-1"),
        ("several", "paxos task cancel t-1 t-2 t-3"),
    ],
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@log_options
def cancel(target: Target, *, machine: str, task_ids: tuple[str, ...]) -> None:
    """Cancel tasks that are not finished. Whoever runs one loses it.

    An ID of - reads ids from standard input, one per line. What depends on a cancelled
    task is dead. A task that is finished stays as it is, and the exit status is 1.
    """

    async def change(log: TaskLogClient, name: str) -> Changed:
        return await log.cancel(name)

    _change_each(target, machine, task_ids, change, "cancelled")


@click.command(
    cls=TaughtCommand,
    examples=[
        ("after what made it fail was mended", "paxos task retry t-1"),
        (
            "all that are dead",
            "paxos task list --state dead --ids | paxos task retry -",
        ),
    ],
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@log_options
def retry(target: Target, *, machine: str, task_ids: tuple[str, ...]) -> None:
    """Begin anew with tasks that are dead or cancelled, with all their attempts before them.

    An ID of - reads ids from standard input, one per line. A task in another state
    stays as it is, and the exit status is 1.
    """

    async def change(log: TaskLogClient, name: str) -> Changed:
        return await log.retry(name)

    _change_each(target, machine, task_ids, change, "begun anew:")


def _change_each(
    target: Target,
    machine: str,
    task_ids: Sequence[str],
    change: Callable[[TaskLogClient, str], Awaitable[Changed]],
    done: str,
) -> None:
    """Change tasks one by one; one that is refused does not keep the others from it."""
    if "-" in task_ids:
        read = sys.stdin.read().split()
        task_ids = [name for each in task_ids for name in (read if each == "-" else (each,))]

    async def act() -> bool:
        refused = False
        async with open_log(target, machine) as log:
            for name in task_ids:
                try:
                    with changes(target, id=name), exit_statuses():
                        result = await change(log, name)
                except CommandError as error:
                    if error.exit_code != Exit.REFUSED:
                        raise
                    refused = True
                    error.show()
                else:
                    tell_change(
                        target, "done", result.revision, result.slot, f"{done} {name}", id=name
                    )
        return refused

    if run(act):
        sys.exit(Exit.REFUSED)
