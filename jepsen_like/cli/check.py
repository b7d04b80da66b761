"""``python -m jepsen_like check``: judge recorded histories.

It reads files, prints one line for each and chooses the exit status. What is judged, and how,
stands in ``jepsen_like.checkers``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from jepsen_like.checkers.linearizability import MODELS, Budget, check
from jepsen_like.checkers.tasks import judge_tasks
from jepsen_like.cli.exits import Exit
from jepsen_like.cli.finite import FiniteRange
from jepsen_like.formats import FORMATS, read_file
from jepsen_like.history import HistoryError

MEGABYTE = 1_000_000

TASKS = "tasks"
"""The one model whose histories have no keys, and more judges than one."""


@click.command("check")
@click.option(
    "--model",
    type=click.Choice(sorted([*MODELS, TASKS])),
    required=True,
    help="What the operations are of; see above.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(sorted(FORMATS)),
    help="How the files are written. By default their names say so: .jsonl is jsonl, .log is"
    " jepsen-log, .txt is kv-log.",
)
@click.option(
    "--time",
    "seconds",
    type=FiniteRange(min=0),
    default=Budget().seconds,
    show_default=True,
    metavar="S",
    help="Seconds that may go into one file. Then the answer is unknown.",
)
@click.option(
    "--memory",
    "megabytes",
    type=click.IntRange(min=1),
    default=Budget().memory_bytes // MEGABYTE,
    show_default=True,
    metavar="MB",
    help="Megabytes that the search of one file may take, beside the history itself. Then the"
    " answer is unknown.",
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
def check_command(
    model: str,
    format_name: str | None,
    seconds: float,
    megabytes: int,
    files: Sequence[Path],
) -> int:
    """Tell whether recorded histories are linearizable: whether one order explains every answer.

    Prints one object of JSON per file, in the order given, and nothing else:

    \b
        file, model
        linearizable     "yes", "no" or "unknown"
        operations       how many clients began
        unknown_outcome  how many of them ended "info", or never
        keys             how many objects they were on; each is judged by itself
        seconds          how long that took, reading not counted
        reason           a sentence: the answer that is impossible, or why it is unknown

    Models (first state; operations):

    \b
        cas-register  null; read, write, cas with [old, new]
        kv            null under each key; read, write, cas, delete
        kv-append     "" under each key; get, put, append
        append        []; append, read
        set           []; add, read (a list in any order)
        counter       0; add, read
        queue         []; enqueue, dequeue (null if it is empty)
        mutex         free; acquire (a rising token), release with the token
        tasks         a task log, whole: see docs/testing.md

    Exit status: 0 all yes; 1 some no; 2 some unknown; 3 bad input. Of several, 3 beats 1 beats 2.
    A history in which nothing was answered shows nothing, and is unknown.
    """  # noqa: D301 - the backslashes are for click: it keeps these lines as they are
    budget = Budget(seconds, megabytes * MEGABYTE)
    statuses = {_judge(path, model, format_name, budget) for path in files}
    worst_first = (Exit.BAD_INPUT, Exit.NO, Exit.UNKNOWN, Exit.YES)
    return next(status for status in worst_first if status in statuses)


def _judge(path: Path, model: str, format_name: str | None, budget: Budget) -> Exit:
    """Print what is found of one file."""
    try:
        file = read_file(path, format_name)
    except (HistoryError, OSError) as error:
        text = str(error) if isinstance(error, HistoryError) else f"{path}: {error.strerror}"
        return _refuse(path, model, text)
    try:
        judged_by = judge_tasks if model == TASKS else partial(check, model=model)
        result = judged_by(file.entries, budget=budget)
    except HistoryError as error:
        return _refuse(path, model, f"{path}:{file.lines[error.position]}: {error}")
    reason = result.reason
    if result.entry is not None:
        reason = f"line {file.lines[result.entry]}: {reason}"
    _print(
        file=str(path),
        model=model,
        linearizable=result.verdict,
        operations=result.operations,
        unknown_outcome=result.unknown_outcome,
        keys=result.keys,
        seconds=round(result.seconds, 6),
        reason=reason,
    )
    return {"yes": Exit.YES, "no": Exit.NO, "unknown": Exit.UNKNOWN}[result.verdict]


def _refuse(path: Path, model: str, text: str) -> Exit:
    """Say that a file is no history; its line says so too, so that there is one for each file."""
    click.echo(f"error: {text}", err=True)
    _print(
        file=str(path),
        model=model,
        linearizable="unknown",
        operations=0,
        unknown_outcome=0,
        keys=0,
        seconds=0.0,
        reason=f"bad input: {text}",
    )
    return Exit.BAD_INPUT


def _print(**fields: Any) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False))
