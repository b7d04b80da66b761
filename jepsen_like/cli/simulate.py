"""``python -m jepsen_like simulate``: many seeds on virtual time.

It reads options, shows progress and results, and chooses the exit status. What is run and judged
stands in ``jepsen_like.sim``.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from jepsen_like.cli.exits import Exit
from jepsen_like.sim.invariants import NAMES
from jepsen_like.sim.simulation import Outcome, simulate
from jepsen_like.sim.sweep import PRODUCTION, Summary, load_factory, sweep

STORY_LINES = 40
"""How much of the trace's end is told of a violation."""


class SeedRange(click.ParamType[range]):
    """``A:B``: the seeds from A to B - 1."""

    name = "A:B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """Return the range that the text names."""
        start, colon, stop = str(value).partition(":")
        if not (colon and start.isascii() and start.isdigit() and stop.isdigit()):
            self.fail(f"{value!r} is not two numbers A:B", param, ctx)
        seeds = range(int(start), int(stop))
        if not seeds:
            self.fail(f"{value!r} holds no seed: the seeds are A to B - 1", param, ctx)
        return seeds


@click.command("simulate")
@click.option("--seeds", type=SeedRange(), default="0:300", show_default=True, help="A to B - 1.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; as many as cores by default.")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the complete trace of one seed to this file.",
)
@click.option(
    "--replica",
    "factory_name",
    metavar="MODULE:CLASS",
    default=PRODUCTION,
    show_default=True,
    help="What to simulate: the replica that ships, or a variant of your own.",
)
def simulate_command(
    seeds: range, jobs: int | None, as_json: bool, trace: Path | None, factory_name: str
) -> int:
    """Run the replica on virtual time under faults, one run per seed, and check the invariants.

    The same seed gives the same run, byte for byte. Exit status: 0 all good; 1 an invariant was
    violated; 2 nothing was found, but the runs proved too little (on average per seed at least
    3,000 deliveries, 200 completed commands, one leader change and three kinds of fault with
    effect); 3 the harness itself failed.
    """
    if trace is not None:
        if len(seeds) != 1:
            raise click.UsageError("--trace takes one seed: --seeds N:N+1")
        _write_trace(seeds[0], factory_name, trace)
    with _progress(len(seeds), as_json) as advance:
        summary = sweep(seeds, jobs or os.cpu_count() or 1, factory_name, advance)
    if summary.violations:
        _tell_violations(summary.violations, factory_name, as_json)
    shortfalls = summary.shortfalls()
    if not summary.violations and not as_json:
        for line in shortfalls:
            click.echo(f"proved too little: {line}")
    status = Exit.NO if summary.violations else Exit.UNKNOWN if shortfalls else Exit.YES
    click.echo(_sum_up(summary, shortfalls, status, as_json))
    return status


def _write_trace(seed: int, factory_name: str, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        simulate(seed, load_factory(factory_name), lambda line: print(line, file=file))


@contextmanager
def _progress(total: int, as_json: bool) -> Iterator[Callable[[Outcome], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    hidden = as_json or not console.is_terminal
    columns = ("seeds", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("seeds", total=total)
        yield lambda _: progress.advance(task)


# --- what was found ------------------------------------------------------------------------------


def _tell_violations(violations: list[Outcome], factory_name: str, as_json: bool) -> None:
    """Tell the first one's story, and name the others."""
    for position, outcome in enumerate(violations):
        if as_json:
            click.echo(json.dumps(_violation_fields(outcome, factory_name)))
        elif position == 0:
            _tell_story(outcome, factory_name)
        else:
            click.echo(f"seed {outcome.seed}: I{outcome.number} {outcome.text}")


def _tell_story(outcome: Outcome, factory_name: str) -> None:
    story: deque[str] = deque(maxlen=STORY_LINES)
    again = simulate(outcome.seed, load_factory(factory_name), story.append)
    if (again.number, again.text) != (outcome.number, outcome.text):
        raise RuntimeError(f"seed {outcome.seed} ran differently the second time: {again}")
    click.echo(f"seed {outcome.seed} violates I{outcome.number}: {_name(outcome)}")
    click.echo(f"  {outcome.text}")
    click.echo("the end of its story (time, node or client, | what came, . what it did):")
    for line in story:
        click.echo(f"  {line}")
    click.echo(f"replay it: {_replay_line(outcome.seed, factory_name)}")


def _replay_line(seed: int, factory_name: str) -> str:
    replica = "" if factory_name == PRODUCTION else f" --replica {factory_name}"
    return f"python -m jepsen_like simulate --seeds {seed}:{seed + 1}{replica} --trace FILE"


def _name(outcome: Outcome) -> str:
    return "" if outcome.number is None else NAMES[outcome.number]


def _violation_fields(outcome: Outcome, factory_name: str) -> dict[str, object]:
    return {
        "event": "violation",
        "seed": outcome.seed,
        "invariant": outcome.number,
        "name": _name(outcome),
        "text": outcome.text,
        "replay": _replay_line(outcome.seed, factory_name),
    }


def _sum_up(summary: Summary, shortfalls: list[str], status: int, as_json: bool) -> str:
    effects = summary.effects_by_fault()
    if as_json:
        fields = {
            "event": "summary",
            "status": status,
            "seeds": summary.seeds,
            "deliveries": summary.deliveries,
            "commands": summary.commands,
            "elections": summary.elections,
            "leader_changes": summary.leader_changes,
            "crashes": summary.crashes,
            "effects": effects,
            "violations": len(summary.violations),
            "shortfalls": shortfalls,
        }
        return json.dumps(fields)
    found = len(summary.violations)
    verdict = f"{found} seeds violate an invariant" if found else "no violation"
    counts = " ".join(f"{name.replace(' ', '-')}={count}" for name, count in effects.items())
    return (
        f"{verdict}: {summary.seeds} seeds, {summary.deliveries} deliveries,"
        f" {summary.commands} commands, {summary.elections} elections,"
        f" {summary.crashes} crashes; effects: {counts}"
    )
