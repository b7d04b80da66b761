"""The command line of the comparison: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import get_args

import click

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.floor import floor
from benchmarks.peers.machine import description
from benchmarks.peers.measurement import Load, Operation, Row, System
from benchmarks.peers.ours import KINDS, Ours
from benchmarks.peers.pysyncobj_cluster import PySyncObj
from benchmarks.peers.report import run_as_json, table
from benchmarks.peers.rounds import measure_system, order
from benchmarks.peers.zookeeper import ZooKeeper

_SYSTEMS: tuple[System, ...] = (
    *map(Ours, KINDS),
    Etcd(),
    ZooKeeper(),
    PySyncObj(journal=True),
    PySyncObj(journal=False),
)
SYSTEMS = {system.name.replace(" ", "-"): system for system in _SYSTEMS}
DEFAULT_SYSTEMS = (
    "ours-minimal",
    "ours",
    "ours-awaiting",
    "etcd",
    "zookeeper",
    "pysyncobj-journal",
)


def chosen(names: tuple[str, ...]) -> tuple[list[System], dict[str, list[str]]]:
    """Return the named systems that can run, and what is missing for the others."""
    systems = [SYSTEMS[name] for name in names]
    missing = {system.name: what for system in systems if (what := system.missing())}
    return [system for system in systems if system.name not in missing], missing


@click.command(context_settings={"show_default": True})
@click.option(
    "--system",
    "names",
    multiple=True,
    type=click.Choice(list(SYSTEMS)),
    default=DEFAULT_SYSTEMS,
    help="What to measure; may be repeated.",
)
@click.option("--rounds", default=5, type=click.IntRange(1), help="Figures are medians of these.")
@click.option(
    "--outstanding",
    "levels",
    multiple=True,
    type=click.IntRange(1),
    default=(1, 16, 64, 256, 1024),
    help="Operations under way at once; may be repeated.",
)
@click.option(
    "--operation",
    "operations",
    multiple=True,
    type=click.Choice(get_args(Operation)),
    default=get_args(Operation),
    help="Reads are linearizable; may be repeated.",
)
@click.option("--connections", default=8, type=click.IntRange(1), help="Client connections.")
@click.option("--value-size", default=64, type=click.IntRange(1), help="Bytes.")
@click.option("--duration", default=5.0, help="Seconds that count, for each load.")
@click.option("--warmup", default=2.0, help="Seconds before them.")
@click.option("--quiet", default=10.0, help="Seconds to wait for quiet before each load.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the clusters keep data: on the disk that is meant.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write everything measured to this file.",
)
def main(
    *,
    names: tuple[str, ...],
    rounds: int,
    levels: tuple[int, ...],
    operations: tuple[Operation, ...],
    connections: int,
    value_size: int,
    duration: float,
    warmup: float,
    quiet: float,
    directory: Path | None,
    json_file: Path | None,
) -> None:
    """Measure this project beside its peers: three nodes each, on loopback, in one run.

    Closed loops of durable writes, and of linearizable reads if asked for. Rounds are interleaved;
    figures are medians. A system that is not installed is named and left out.
    """
    systems, missing = chosen(names)
    for name, what in missing.items():
        say(f"left out: {name}; missing: {', '.join(what)}")
    if not systems:
        sys.exit(2)
    loads = [
        Load(operation, level, connections, value_size, warmup, duration)
        for operation in operations
        for level in levels
    ]
    floors: list[dict[str, float]] = []
    rows: list[Row] = []
    failed = False
    for number in range(1, rounds + 1):
        floors.append(floor(directory))
        for system in order(number, systems):
            try:
                for row in measure_system(number, system, loads, directory, quiet):
                    rows.append(row)
                    say(progress(row, rounds))
            except ClusterFailed as failure:
                failed = True
                say(f"round {number}, {system.name} failed: {failure}")
    machine = description(directory or Path(tempfile.gettempdir()))
    versions = {system.name: system.version() for system in systems}
    result = run_as_json(machine, versions, missing, floors, rows)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in (machine, versions, floors[-1]):
        print(", ".join(f"{key}: {value}" for key, value in part.items()))
    print(f"\n{table(rows)}")
    if failed:
        sys.exit(1)


def progress(row: Row, rounds: int) -> str:
    """Return one line about a measurement."""
    mark = f", disturbed: {row.other_cores:.1f} other cores" if row.disturbed else ""
    return (
        f"round {row.round} of {rounds}, {row.system}, {row.load.operation}"
        f" at {row.load.outstanding}: {row.measurement.ops_s:,.0f}/s{mark}"
    )


def say(text: str) -> None:
    """Print to standard error: standard output is for the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # So that being stopped ends the clusters too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
