"""``python -m jepsen_like run``: real processes under real faults, recorded and judged.

It reads options, says before the run what would fail after it, shows progress, writes the files of
a run in the order of their worth, and chooses the exit status. What is run stands in
``jepsen_like.live``.
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jepsen_like.cli.exits import Exit
from jepsen_like.cli.finite import FiniteRange
from jepsen_like.verdict import Verdict
from jepsen_like.workload.base import Workload
from jepsen_like.workload.catalog import WORKLOADS, UnknownWorkload, find

if TYPE_CHECKING:
    from jepsen_like.live.judging import Judged
    from jepsen_like.live.plan import Plan
    from jepsen_like.live.run import Run

EXIT_OF: dict[Verdict, Exit] = {"yes": Exit.YES, "no": Exit.NO, "unknown": Exit.UNKNOWN}

NO_FAULTS = "none"

DEFAULT_KINDS = "kill,pause,partition"

EXAMPLES = """\b
Examples:
  # a minute of the configuration under the usual faults
  python -m jepsen_like run --workload config --time 60 --out run-1
  # registers, with disks that fill up and syncs that fail
  python -m jepsen_like run --workload register --nemesis kill,disk-full,failed-sync --out run-2
  # members that come and go, and are killed
  python -m jepsen_like run --workload config --nemesis churn,kill --time 60 --out run-4
  # disks that rot
  python -m jepsen_like run --workload append --nemesis damage --time 60 --out run-5
  # your own state machine in place of the counter's
  python -m jepsen_like run --workload counter --machine mine.machines:Counter --out run-3
  # judge a saved history again
  python -m jepsen_like check --model cas-register run-2/history.jsonl

Exit status: 0 yes; 1 no: an answer that no order explains; 2 unknown: nothing wrong was found, and
the run proved too little or was ended early; 3 bad input.
"""


class WorkloadName(click.ParamType[Workload]):
    """The name of a workload, or ``module:NAME`` of one of the caller's own."""

    name = "WORKLOAD"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Workload:
        """Return the workload."""
        try:
            return value if isinstance(value, Workload) else find(str(value))
        except UnknownWorkload as error:
            self.fail(str(error), param, ctx)


class Kinds(click.ParamType[tuple[str, ...]]):
    """Kinds of fault, separated by commas; or ``none``."""

    name = "KIND,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the kinds, each once, in the order given."""
        from jepsen_like.live.menu import KINDS

        if isinstance(value, tuple):
            return value
        kinds = tuple(dict.fromkeys(part.strip() for part in str(value).split(",")))
        if kinds == (NO_FAULTS,):
            return ()
        for kind in kinds:
            if kind not in KINDS:
                known = ", ".join(KINDS)
                self.fail(f"no fault {kind!r}: there are {known}, and none alone", param, ctx)
        return kinds


@click.command("run", epilog=EXAMPLES)
@click.option(
    "--workload",
    type=WorkloadName(),
    required=True,
    metavar="NAME",
    help="What is asked: "
    + "; ".join(f"{each.name} ({each.summary})" for each in WORKLOADS.values())
    + "; or module:NAME of a Workload of your own.",
)
@click.option(
    "--nemesis",
    "kinds",
    type=Kinds(),
    default=DEFAULT_KINDS,
    show_default=True,
    metavar="KIND,...",
    help="Which faults: kill, kill-all, restart-storm, pause, partition, delay, loss, churn (nodes"
    " added, removed, replaced), damage (random bytes over their logs) and others (a wrong name"
    " lists them all), or none. Faults of storage and clocks run the nodes in a program of their"
    " own instead of plain `paxos serve`. Churn and damage go with no faults of links.",
)
@click.option(
    "--time",
    "seconds",
    type=FiniteRange(min=3),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long is asked: a tenth calm, then under faults, then a tenth calm again. Start,"
    " healing, final reads and the check come on top.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Gets history.jsonl, result.json, report.html and logs/; unless the verdict is yes also"
    " cluster/, what the nodes wrote. Must be empty or not exist.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of all operations and faults; drawn if it is not given. Real processes have a timing of"
    " their own: the same seed asks the same, and need not meet the same.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 9),
    default=3,
    show_default=True,
    metavar="N",
    help="Replica processes.",
)
@click.option(
    "--concurrency",
    "threads",
    type=click.IntRange(1, 200),
    default=16,
    show_default=True,
    metavar="N",
    help="Operations under way at once, at most; each by a client of its own.",
)
@click.option(
    "--keys",
    type=click.IntRange(1, 1000),
    default=6,
    show_default=True,
    metavar="N",
    help="Keys in use at once.",
)
@click.option(
    "--key-operations",
    type=click.IntRange(10, 100_000),
    metavar="N",
    help="Operations of a key; then a new key takes its place, so that every key's history stays"
    " short enough to be decided. Each workload has its own default.",
)
@click.option(
    "--rate",
    type=FiniteRange(min=0, min_open=True),
    default=400.0,
    show_default=True,
    metavar="R",
    help="Operations begun per second, if the cluster keeps up.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    metavar="SECONDS",
    help="Of each operation; under faults every third client gives up after a seventh of it. A"
    " shorter one leaves more outcomes unknown.",
)
@click.option(
    "--transport",
    type=click.Choice(["tcp", "ws"]),
    default="tcp",
    show_default=True,
    help="How nodes and clients talk.",
)
@click.option(
    "--network",
    type=click.Choice(["proxy", "namespaces"]),
    default="proxy",
    show_default=True,
    help="Where links are cut: in a proxy that needs no rights, or in network namespaces, which"
    " need root and iptables.",
)
@click.option(
    "--machine",
    metavar="MODULE:CLASS",
    help="The state machine, if not the workload's own: it must answer like it.",
)
@click.option("--no-report", is_flag=True, help="Write no report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json's object, on one line.")
def run_command(
    *,
    workload: Workload,
    out: Path,
    seed: int | None,
    machine: str | None,
    nodes: int,
    no_report: bool,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Test a cluster of real processes under real faults, and judge what its clients saw.

    Founds a cluster of replica processes on this machine, with real sockets and disks. Clients ask
    it one operation at a time each and write everything down; meanwhile faults happen. Then all is
    healed and every key read a last time. The history is saved before it is checked. The verdict is
    "yes" only if one order explains every answer and the run proved that it tested something.
    """
    from jepsen_like.live.menu import network_for, refusal
    from jepsen_like.live.plan import Plan

    _refuse_what_would_fail_later(workload, machine, out, no_report)
    kinds = chosen["kinds"]
    unfit = refusal(kinds, network_for(kinds, chosen["network"]), nodes)
    if unfit:
        raise click.BadParameter(unfit, param_hint="--nemesis")
    plan = Plan(
        workload=workload,
        machine=machine or workload.machine,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        replicas=nodes,
        **chosen,
    )
    out.mkdir(parents=True, exist_ok=True)
    run = _execute(plan, out, as_json)
    return _conclude(run, out, not no_report, as_json)


def _refuse_what_would_fail_later(
    workload: Workload, machine: str | None, out: Path, no_report: bool
) -> None:
    """Say now what a minute's run would only find out at its end."""
    from jepsen_like import report
    from paxos import service

    if out.exists() and any(out.iterdir()):
        raise click.BadParameter(
            f"{out} is not empty: name a new directory, for what a run recorded is not replaced",
            param_hint="--out",
        )
    service.load_machines({workload.name: machine or workload.machine})
    trouble = None if no_report else report.available()
    if trouble is not None:
        raise click.UsageError(f"{trouble}, or leave the report out with --no-report")


def _execute(plan: Plan, out: Path, as_json: bool) -> Run:
    import trio

    from jepsen_like.live.cluster import ClusterFailed
    from jepsen_like.live.run import Run
    from paxos.testing.processes import ReplicaProcessFailed

    with _progress(plan.seconds, as_json) as progress:
        run = Run(plan, out, progress)
        try:
            trio.run(run.execute, strict_exception_groups=True)
        except (ClusterFailed, ReplicaProcessFailed) as failure:
            raise click.ClickException(f"the cluster did not start: {failure}") from failure
    return run


@contextmanager
def _progress(total: float, as_json: bool) -> Iterator[Callable[[str, float], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    hidden = as_json or not console.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("start", total=total)
        yield lambda phase, done: progress.update(task, description=phase, completed=done)


# --- what came of it -----------------------------------------------------------------------------


def _conclude(run: Run, out: Path, with_report: bool, as_json: bool) -> int:
    """Judge, write, and say it. The histories are on the disk already."""
    from jepsen_like.live.judging import judge, result_document

    try:
        judged = judge(run)
    except KeyboardInterrupt:
        run.trouble = run.trouble or "interrupted while it was checked"
        judged = judge(run, check_seconds=0.0)
    document = result_document(run, judged)
    (out / "result.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if with_report:
        from jepsen_like import report
        from jepsen_like.live.telling import facts_of

        report.write(facts_of(run, judged, _replay_line(run.plan)), out / "report.html")
    if judged.verdict == "yes":
        # Large, and of use only to find out what went wrong.
        shutil.rmtree(out / "cluster")
    if as_json:
        click.echo(json.dumps(document))
    else:
        _tell(run, judged, out, with_report)
    return EXIT_OF[judged.verdict]


def _tell(run: Run, judged: Judged, out: Path, with_report: bool) -> None:
    plan, counts = run.plan, judged.counts
    click.echo(f"{judged.verdict}: {judged.reason}")
    if len(judged.checks) > 1:
        for check in judged.checks:
            click.echo(f"  {check.history}, as {check.model}: {check.verdict}: {check.reason}")
    click.echo(
        f"  {counts.operations} operations: {counts.ok} ok, {counts.fail} fail, {counts.info} info;"
        f" {counts.observed} saw a write; {judged.keys[1]} of {judged.keys[0]} keys read at the end"
    )
    for kind in plan.kinds:
        of_leader = run.leader_effects[kind]
        click.echo(
            f"  {kind}: {run.effects[kind]} with effect,"
            f" {run.in_flight[kind]} of them with operations under way"
            + (f", {of_leader} on the leader" if of_leader else "")
        )
        told = run.details.get(kind)
        if told:
            click.echo("    " + ", ".join(f"{count} {name}" for name, count in told.items()))
    if judged.calm is not None:
        click.echo(f"  calm phases: {judged.calm.answered} of {judged.calm.operations} done")
    for text in judged.warnings:
        click.echo(f"  not proved: {text}")
    click.echo(f"  {out / ('report.html' if with_report else 'history.jsonl')}")
    click.echo(f"  again: {_replay_line(plan)}")


def _replay_line(plan: Plan) -> str:
    """Return the line that asks the same again."""
    words = ["python -m jepsen_like run --workload", plan.workload.name]
    words += ["--nemesis", ",".join(plan.kinds) or NO_FAULTS, "--time", f"{plan.seconds:g}"]
    words += ["--seed", str(plan.seed)]
    chosen = {
        "nodes": plan.replicas,
        "threads": plan.threads,
        "keys": plan.keys,
        "key_operations": plan.key_operations,
        "rate": plan.rate,
        "timeout_s": plan.timeout_s,
        "transport": plan.transport,
        "network": plan.network,
    }
    for option in run_command.params:
        value = chosen.get(str(option.name))
        if value is not None and value != option.default:
            words += [option.opts[-1], str(value)]
    if plan.machine != plan.workload.machine:
        words += ["--machine", plan.machine]
    return shlex.join(" ".join(words).split()) + " --out DIR"
