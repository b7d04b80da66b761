"""``python -m jepsen_like simulate``: many seeds on virtual time.

It reads options, shows progress and results, and chooses the exit status. What is run and judged
stands in ``jepsen_like.sim``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from jepsen_like import report
from jepsen_like.cli.exits import Exit
from jepsen_like.sim import replay
from jepsen_like.sim.account import tell_case, tell_summary
from jepsen_like.sim.invariants import NAMES
from jepsen_like.sim.plan import PROFILES
from jepsen_like.sim.replay import Case
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.shrink import Shrunk, run_case, shrink, whole_case
from jepsen_like.sim.simulation import Outcome
from jepsen_like.sim.story import text_of
from jepsen_like.sim.sweep import PRODUCTION, Summary, load_factory, sweep
from jepsen_like.verdict import Verdict

STORY_LINES = 40
"""How much of the trace's end is told of a violation that is not shrunk."""

VERDICTS: dict[int, Verdict] = {Exit.YES: "yes", Exit.NO: "no", Exit.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted beside the verdict.

    Attributes:
        factory_name: Makes the replicas, as ``module:Class``.
        as_json: One object per line instead of text.
        shrinks: Whether the first violation is shrunk.
        page: Where the report goes.
        saved: Where the shrunk run goes.
        profile: What seeds are drawn for.
    """

    factory_name: str
    as_json: bool
    shrinks: bool
    page: Path | None
    saved: Path | None
    profile: str = PROFILES[0]

    @property
    def factory(self) -> ReplicaFactory:
        """What the name stands for."""
        return load_factory(self.factory_name)

    @property
    def replica(self) -> str:
        """What a line to replay must say of the replica."""
        return "" if self.factory_name == PRODUCTION else f" --replica {self.factory_name}"

    @property
    def drawn(self) -> str:
        """What a line that draws seeds must say of them and of the replica."""
        profile = "" if self.profile == PROFILES[0] else f" --profile {self.profile}"
        return profile + self.replica


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


OUTPUT_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command("simulate")
@click.option("--seeds", type=SeedRange(), default="0:300", show_default=True, help="A to B - 1.")
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=PROFILES[0],
    show_default=True,
    help="Draw anything; or clusters whose members come and go all the time; or clients of a task"
    " log.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; as many as cores by default.")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
@click.option("--trace", type=OUTPUT_FILE, help="Write the complete trace of one run to this file.")
@click.option("--report", "page", type=OUTPUT_FILE, help="Write a report, as one HTML file.")
@click.option("--no-shrink", is_flag=True, help="Tell the first violation as it is, at once.")
@click.option("--save", type=OUTPUT_FILE, help="Write the shrunk violation, to be replayed.")
@click.option(
    "--replay",
    "case_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run what --save wrote, instead of seeds.",
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
    *,
    seeds: range,
    profile: str,
    jobs: int | None,
    as_json: bool,
    trace: Path | None,
    page: Path | None,
    no_shrink: bool,
    save: Path | None,
    case_file: Path | None,
    factory_name: str,
) -> int:
    """Run the replica on virtual time under faults, one run per seed, and check the invariants.

    The same seed gives the same run, byte for byte. Exit status: 0 all good; 1 an invariant was
    violated; 2 nothing was found, but the runs proved too little (on average per seed at least
    3,000 deliveries, 200 completed commands, one leader change and three kinds of fault with
    effect; over 2,000 seeds and more every fault with effect and every mark reached); 3 the harness
    itself failed.
    """
    wish = Wish(factory_name, as_json, not no_shrink, page, save, profile)
    if page is not None and (trouble := report.available()):
        raise click.UsageError(trouble)
    if case_file is not None:
        return _replay(replay.load(case_file), case_file, wish, trace)
    if trace is not None:
        if len(seeds) != 1:
            raise click.UsageError("--trace takes one seed: --seeds N:N+1")
        with _sink(trace) as sink:
            run_case(whole_case(seeds[0], profile), wish.factory, sink)
    began = time.perf_counter()
    with _progress(len(seeds), as_json) as advance:
        summary = sweep(seeds, jobs or os.cpu_count() or 1, factory_name, advance, profile)
    return _conclude(seeds, summary, time.perf_counter() - began, wish)


def _conclude(seeds: range, summary: Summary, seconds: float, wish: Wish) -> int:
    """Tell what many seeds came to, and return the exit status."""
    shortfalls = summary.shortfalls()
    status = Exit.NO if summary.violations else Exit.UNKNOWN if shortfalls else Exit.YES
    if summary.violations:
        _tell_violations(summary.violations, wish)
    elif wish.page is not None:
        line = f"python -m jepsen_like simulate --seeds {seeds.start}:{seeds.stop}{wish.drawn}"
        _write_quiet_report(seeds, summary, VERDICTS[status], line, wish)
    if not wish.as_json:
        if not summary.violations:
            for text in shortfalls:
                click.echo(f"proved too little: {text}")
        click.echo(_pace(summary, seconds))
        click.echo(_marks(summary))
    click.echo(_sum_up(summary, shortfalls, seconds, status, wish.as_json))
    return status


def _replay(case: Case, path: Path, wish: Wish, trace: Path | None) -> int:
    """Run one saved run again."""
    with _sink(trace) as sink:
        outcome = run_case(case, wish.factory, sink)
    line = f"python -m jepsen_like simulate --replay {path}{wish.replica}"
    if wish.page is not None:
        report.write(tell_case(case, wish.factory, line), wish.page)
    if outcome.number is None:
        click.echo(_quiet(outcome, wish.as_json))
        return Exit.YES
    if wish.as_json:
        click.echo(json.dumps(_violation_fields(outcome, line)))
    else:
        _tell_end(case, outcome, line, wish)
    return Exit.NO


@contextmanager
def _sink(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """Take a trace into a file, or nowhere."""
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda line: print(line, file=file)


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


def _tell_violations(violations: list[Outcome], wish: Wish) -> None:
    """Tell the first one's story, and name the others."""
    first, *others = violations
    line = _replay_line(first.seed, wish)
    case = whole_case(first.seed, wish.profile)
    shrunk = shrink(case, wish.factory) if wish.shrinks else None
    if shrunk is not None:
        case = shrunk.case
        if wish.saved is not None:
            replay.save(case, wish.saved)
    if wish.as_json:
        click.echo(json.dumps(_violation_fields(first, line, shrunk)))
    elif shrunk is not None:
        _tell_shrunk(first, shrunk, line, wish)
    else:
        _tell_end(case, first, line, wish)
    if wish.page is not None:
        story = () if shrunk is None else shrunk.story
        report.write(tell_case(case, wish.factory, line, story), wish.page)
    for outcome in others:
        if wish.as_json:
            click.echo(json.dumps(_violation_fields(outcome, _replay_line(outcome.seed, wish))))
        else:
            click.echo(f"seed {outcome.seed}: I{outcome.number} {outcome.text}")


def _tell_shrunk(first: Outcome, shrunk: Shrunk, line: str, wish: Wish) -> None:
    click.echo(f"seed {first.seed} violates I{first.number}: {_name(first)}")
    click.echo(f"  {first.text}")
    case = shrunk.case
    click.echo(
        f"shrunk to {shrunk.steps} steps in {shrunk.runs} runs: {case.plan.nodes} nodes,"
        f" {len(case.schedule.spells)} spells, {shrunk.outcome.operations} operations. Its story:"
    )
    for step in shrunk.story:
        click.echo(f"  {text_of(step)}")
    if wish.saved is not None:
        click.echo(f"shrunk: python -m jepsen_like simulate --replay {wish.saved}{wish.replica}")
    click.echo(f"replay it: {line} --trace FILE")


def _tell_end(case: Case, outcome: Outcome, line: str, wish: Wish) -> None:
    """Tell a violation as it is: the end of its trace."""
    trace: list[str] = []
    again = run_case(case, wish.factory, trace.append)
    if (again.number, again.text) != (outcome.number, outcome.text):
        raise RuntimeError(f"seed {outcome.seed} ran differently the second time: {again}")
    click.echo(f"seed {outcome.seed} violates I{outcome.number}: {_name(outcome)}")
    click.echo(f"  {outcome.text}")
    click.echo("the end of its story (time, node or client, | what came, . what it did):")
    for told in trace[-STORY_LINES:]:
        click.echo(f"  {told}")
    click.echo(f"replay it: {line} --trace FILE")


def _replay_line(seed: int, wish: Wish) -> str:
    return f"python -m jepsen_like simulate --seeds {seed}:{seed + 1}{wish.drawn}"


def _name(outcome: Outcome) -> str:
    return "" if outcome.number is None else NAMES[outcome.number]


def _violation_fields(
    outcome: Outcome, line: str, shrunk: Shrunk | None = None
) -> dict[str, object]:
    fields: dict[str, object] = {
        "event": "violation",
        "seed": outcome.seed,
        "invariant": outcome.number,
        "name": _name(outcome),
        "text": outcome.text,
        "replay": f"{line} --trace FILE",
    }
    if shrunk is not None:
        fields["shrunk"] = {
            "steps": shrunk.steps,
            "runs": shrunk.runs,
            "text": shrunk.outcome.text,
            "story": [text_of(step).strip() for step in shrunk.story],
            "case": replay.to_fields(shrunk.case),
        }
    return fields


def _write_quiet_report(
    seeds: range, summary: Summary, verdict: Verdict, line: str, wish: Wish
) -> None:
    """Write a report where nothing was found: of one seed in full, of many in sums."""
    assert wish.page is not None  # asked by the caller
    if len(seeds) == 1:
        facts = tell_case(whole_case(seeds[0], wish.profile), wish.factory, line)
    else:
        sentence = f"{summary.seeds} seeds violate no invariant."
        if verdict == "unknown":
            sentence += " They proved too little for a yes."
        facts = tell_summary(summary, verdict, sentence, line)
    report.write(facts, wish.page)


# --- sums ----------------------------------------------------------------------------------------


def _quiet(outcome: Outcome, as_json: bool) -> str:
    if as_json:
        return json.dumps({"event": "summary", "status": int(Exit.YES), "seed": outcome.seed})
    return f"no violation: {outcome.deliveries} deliveries, {outcome.commands} commands"


def _pace(summary: Summary, seconds: float) -> str:
    return (
        f"{summary.simulated_s:.0f} simulated seconds in {seconds:.1f} s:"
        f" {summary.simulated_s / seconds:.1f} simulated seconds per second,"
        f" {summary.deliveries / seconds:.0f} deliveries per second"
    )


def _marks(summary: Summary) -> str:
    hit = [f"{name}={count}" for name, count in summary.marks.items() if count]
    return f"marks: {'; '.join(hit) or 'none'}"


def _sum_up(
    summary: Summary, shortfalls: list[str], seconds: float, status: int, as_json: bool
) -> str:
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
            "simulated_s": round(summary.simulated_s, 3),
            "seconds": round(seconds, 3),
            "effects": effects,
            "marks": summary.marks,
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
