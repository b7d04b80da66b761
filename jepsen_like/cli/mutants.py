"""``python -m jepsen_like mutants``: known bugs, put into a copy of the product and looked for.

It reads options, shows progress and results, and chooses the exit status. What a mutant is and how
one is looked for stands in ``jepsen_like.mutation``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jepsen_like.cli.exits import Exit
from jepsen_like.mutation import table
from jepsen_like.mutation.hunt import Control, Order, Result, control, hunt_all
from jepsen_like.mutation.mutant import choose, read_mutants

DEFAULT_DIRECTORY = Path("tests/mutants")

BASES = 3
"""Enough for a median; each takes as many seeds as it needs."""


class Ids(click.ParamType[list[str]]):
    """``ID,...``: names with commas between them."""

    name = "ID,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names."""
        return [each.strip() for each in str(value).split(",") if each.strip()]


@click.command("mutants")
@click.option(
    "--from",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where they are: *.toml, *.patch or *.diff.",
)
@click.option("--only", "only", type=Ids(), default="", help="These alone.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; as many as cores by default.")
@click.option(
    "--bases",
    type=click.IntRange(min=1),
    default=BASES,
    show_default=True,
    help="Look for each so many times, from another seed on.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="The budget, instead of each one's own.")
@click.option(
    "--shrink",
    type=click.IntRange(min=0),
    default=150,
    show_default=True,
    help="Simulations to spend on shrinking each finding; 0 to leave it as it is.",
)
@click.option("--story", is_flag=True, help="Tell the shrunk story of each finding.")
@click.option("--markdown", is_flag=True, help="Print the table of the manual.")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
def mutants_command(  # noqa: PLR0917 - click passes options by name
    directory: Path,
    only: list[str],
    jobs: int | None,
    bases: int,
    seeds: int | None,
    shrink: int,
    story: bool,
    markdown: bool,
    as_json: bool,
) -> int:
    """Put each known bug into a copy of the product, and see the harness find it.

    The unchanged code then runs over the same seeds, and nothing may be found there. Exit status:
    0 every mutant that can run was found, within its budget and by a check that it names; 1 one was
    not; 2 none can run; 3 there are no mutants here, one does not apply, or the unchanged code was
    found guilty too.
    """
    mutants = choose(read_mutants(directory), only)
    order = Order(bases, seeds, shrink, jobs or os.cpu_count() or 1)
    quiet = as_json or markdown
    results: list[Result] = []
    if not quiet:
        click.echo(table.HEAD)
    with _progress("mutants", len(mutants), quiet) as advance:
        for result in hunt_all(mutants, order):
            results.append(result)
            advance(result.mutant.id)
            _tell(result, story, markdown, as_json)
    with _progress("control", None, quiet) as advance:
        checked = control(results, order, advance)
    if markdown:
        click.echo(table.markdown(results), nl=False)
    status = _judge(results, checked)
    _sum_up(results, checked, status, as_json, markdown)
    return status


@contextmanager
def _progress(name: str, total: int | None, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    columns = (name, BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=total)
        yield lambda what: progress.update(task, advance=1, description=what)


def _tell(result: Result, story: bool, markdown: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(table.fields(result)))
    elif not markdown:
        click.echo(table.line(result))
        if story and result.shrunk is not None:
            for line in result.shrunk["story"]:
                click.echo(f"      {line}")


def _judge(results: Sequence[Result], checked: Control) -> Exit:
    states = {result.state for result in results}
    if "invalid" in states or checked.findings:
        return Exit.BAD_INPUT
    if states & {"not found", "unexpected"}:
        return Exit.NO
    return Exit.YES if "found" in states else Exit.UNKNOWN


def _sum_up(
    results: Sequence[Result], checked: Control, status: Exit, as_json: bool, markdown: bool
) -> None:
    states = [result.state for result in results]
    found, missed = states.count("found"), states.count("not found") + states.count("unexpected")
    if as_json:
        fields = {
            "event": "summary",
            "status": int(status),
            "found": found,
            "not_found": missed,
            "invalid": states.count("invalid"),
            "not_run": len(states) - found - missed - states.count("invalid"),
            "control": {"seeds": checked.seeds, "findings": len(checked.findings)},
        }
        click.echo(json.dumps(fields))
    elif not markdown:
        rest = len(states) - found - missed - states.count("invalid")
        click.echo(table.control_line(checked))
        click.echo(f"{found} found, {missed} not found, {rest} cannot run yet or need not")
    elif checked.findings:
        click.echo(table.control_line(checked), err=True)
