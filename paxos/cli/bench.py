"""``paxos bench``: a closed loop against running replicas. Options in, one measurement out."""

from __future__ import annotations

from random import Random
from typing import Any

import click

from paxos.cli.connect import run
from paxos.cli.load import COMMANDS_MADE, Workload, put_load
from paxos.cli.measure import Load, report
from paxos.cli.narrator import progress_bar
from paxos.cli.options import Target, client_options
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand
from statemachines.edge_config_client import get_query, put_command

KEYS = 1000
"""Keys that are written in turn: the state stays small, whatever the duration."""

EXAMPLES = [
    ("the latency of one write at a time", "paxos bench --outstanding 1 --duration 5"),
    ("throughput", "paxos bench --connections 8 --outstanding 1024 --duration 10"),
    ("half of it linearizable reads, for a script", "paxos bench --read-ratio 0.5 --json"),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.option(
    "--connections",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Client connections, each with a session of its own.",
)
@click.option(
    "--outstanding",
    type=click.IntRange(1, 65_536),
    default=64,
    show_default=True,
    metavar="N",
    help="Operations under way at once, over all connections together.",
)
@click.option(
    "--value-size",
    type=click.IntRange(0, 1024 * 1024),
    default=100,
    show_default=True,
    metavar="BYTES",
    help="Size of each value written.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long is measured.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the load runs before that.",
)
@click.option(
    "--read-ratio",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="R",
    help="Share of linearizable reads among the operations, 0 to 1.",
)
@click.option(
    "--machine",
    default="config",
    show_default=True,
    metavar="NAME",
    help="Which of the cluster's edge configurations.",
)
@click.option(
    "--awaiting",
    is_flag=True,
    help="One task per outstanding operation, as in a program that awaits each call.",
)
@client_options
def bench(
    target: Target,
    *,
    connections: int,
    outstanding: int,
    value_size: int,
    duration: float,
    warmup: float,
    read_ratio: float,
    machine: str,
    awaiting: bool,
) -> None:
    """Measure running replicas in a closed loop.

    Each operation that ends is followed by the next. Writes keys below bench/ (1,000 of them,
    over and over), so use a cluster that is yours to fill. An operation counts if it ends while
    the window is open; "unknown" are operations whose outcome nobody can tell, "errors" those
    that were refused.
    """
    if outstanding < connections:
        raise click.UsageError("--outstanding is a total: at least one for each connection")
    load = Load(connections, outstanding, value_size, duration, warmup, read_ratio)
    workload = _edge_config_workload(machine, value_size)
    total = warmup + duration

    async def act() -> dict[str, Any]:
        with progress_bar("measuring", total) as progress:
            measured = await put_load(target, load, workload, awaiting=awaiting, progress=progress)
        return report(load, *measured)

    result = run(act)
    if target.json:
        print_json(result)
    else:
        _print_for_people(result)


def _edge_config_workload(machine: str, value_size: int) -> Workload:
    value = Random(value_size).randbytes(value_size)
    keys = [f"bench/{number % KEYS:010d}" for number in range(COMMANDS_MADE)]
    commands = [put_command(key, value) for key in keys]
    return Workload(machine, commands, [get_query(key) for key in keys])


def _print_for_people(result: dict[str, Any]) -> None:
    click.echo(
        f"{result['ops']} operations in {result['seconds']} s: {result['ops_s']:,.0f} per second"
    )
    click.echo(f"latency: p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms,")
    click.echo(f"         p99.9 {result['p999_ms']} ms")
    click.echo(f"CPU: client {result['client_cpu_s']} s,")
    click.echo(f"     replicas together {result['srv_cpu_s_per_1000']} s per 1000 operations")
    if result["errors"] or result["unknown"]:
        click.echo(f"not done: {result['errors']} refused, {result['unknown']} unknown")
