"""The command line of the comparison: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.peers import page, parts, plan, report
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.failures import noted
from benchmarks.peers.floor import floor
from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.machine import description, settle
from benchmarks.peers.measurement import RunRecord, as_record
from benchmarks.peers.ours import KINDS, Ours
from benchmarks.peers.plan import Timing
from benchmarks.peers.progress import Progress, say
from benchmarks.peers.pysyncobj_cluster import PySyncObj
from benchmarks.peers.rounds import ClusterPart, measure_loads, order
from benchmarks.peers.zookeeper import ZooKeeper

_SYSTEMS: tuple[LifecycleSystem, ...] = (
    *map(Ours, KINDS),
    Etcd(),
    ZooKeeper(),
    PySyncObj(journal=True),
    PySyncObj(journal=True, batched=True),
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
    "pysyncobj-journal-batched",
)

CLUSTER_PARTS: Mapping[str, ClusterPart] = {
    "failover": ClusterPart(parts.measure_failover, estimate_s=60.0, rounds_max=5),
    "memory": ClusterPart(parts.measure_memory, estimate_s=20.0, rounds_max=3),
    "restart": ClusterPart(parts.measure_restart, estimate_s=30.0, rounds_max=3),
}
"""The parts of a run that are no loads, by name; each system may leave some out."""

PARTS = (*plan.PARTS, *CLUSTER_PARTS)
"""All parts of a run, by name."""


@dataclass(frozen=True)
class Options:
    """What is measured, and how.

    Attributes:
        systems: Those that can run.
        parts: Names of ``PARTS``.
        levels: Numbers of outstanding operations.
        rounds: How often.
        timing: How long each load runs.
        quiet_s: How long to wait for a quiet machine before each load and each other part.
        directory: Where clusters keep their data; None for the system's place.
    """

    systems: Sequence[LifecycleSystem]
    parts: Sequence[str]
    levels: Sequence[int]
    rounds: int
    timing: Timing
    quiet_s: float
    directory: Path | None

    def cluster_parts(self, number: int, system: LifecycleSystem) -> dict[str, ClusterPart]:
        """Return the parts that are no loads, of one system in one round."""
        return {
            name: part
            for name, part in CLUSTER_PARTS.items()
            if name in self.parts and name not in system.leaves_out and number <= part.rounds_max
        }

    def estimate_s(self) -> float:
        """Return about how long it takes."""
        numbers = range(1, self.rounds + 1)
        return sum(self._system_s(number, system) for number in numbers for system in self.systems)

    def _system_s(self, number: int, system: LifecycleSystem) -> float:
        loads = plan.loads_for(system, self.parts, self.levels, self.timing)
        lives = sum(part.estimate_s for part in self.cluster_parts(number, system).values())
        return sum(map(plan.load_s, loads)) + plan.CLUSTER_S * bool(loads) + lives


def measure_round(
    number: int,
    options: Options,
    record: RunRecord,
    progress: Progress,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Measure every system once into the record.

    What fails is noted there, and the rest goes on.

    Args:
        number: Of the round, from 1.
        options: What is measured.
        record: Of the run.
        progress: Told what is over.
        save: Called after each system.
    """
    settle(options.quiet_s)
    with noted(record, "the machine", number, "floors"):
        record["floors"].append(floor(options.directory))
    for system in order(number, options.systems):
        where = f"round {number} of {options.rounds}, {system.name}"
        _measure_loads(number, system, options, record, progress, where)
        for name, part in options.cluster_parts(number, system).items():
            settle(options.quiet_s)
            with noted(record, system.name, number, name):
                part.measure(record, system, number, options.directory)
            progress.done(part.estimate_s, f"{where}, {name}")
        save()


def _measure_loads(
    number: int,
    system: LifecycleSystem,
    options: Options,
    record: RunRecord,
    progress: Progress,
    where: str,
) -> None:
    loads = plan.loads_for(system, options.parts, options.levels, options.timing)
    if not loads:
        return
    rows = measure_loads(number, system, loads, options.directory, options.quiet_s)
    starting_s = plan.CLUSTER_S
    with noted(record, system.name, number, "loads"):
        for row in rows:
            record["measurements"].append(as_record(row))
            mark = f", disturbed: {row.other_cores:.1f} other cores" if row.disturbed else ""
            progress.done(
                starting_s + plan.load_s(row.load),
                f"{where}, {row.load.text}: {row.measurement.ops_s:,.0f}/s{mark}",
            )
            starting_s = 0.0


def new_record(options: Options, missing: Mapping[str, list[str]]) -> RunRecord:
    """Return the record of a run that has not measured anything yet."""
    left_out = {
        system.name: {
            name: reason for name, reason in system.leaves_out.items() if name in options.parts
        }
        for system in options.systems
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": options.rounds,
        "machine": description(options.directory or Path(tempfile.gettempdir())),
        "versions": {system.name: system.version() for system in options.systems},
        "missing": dict(missing),
        "left_out": {name: parts for name, parts in left_out.items() if parts},
        "floors": [],
        "measurements": [],
        "failover": [],
        "memory": [],
        "restart": [],
        "failures": [],
    }


def chosen(names: Sequence[str]) -> tuple[list[LifecycleSystem], dict[str, list[str]]]:
    """Return the named systems that can run, and what is missing for the others."""
    systems = [SYSTEMS[name] for name in names]
    missing = {system.name: what for system in systems if (what := system.missing())}
    return [system for system in systems if system.name not in missing], missing


def write_record(record: RunRecord, path: Path) -> None:
    """Write everything about a run to a file, which is at no time half written."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


@click.command(context_settings={"show_default": True})
@click.option(
    "--system",
    "names",
    multiple=True,
    type=click.Choice(list(SYSTEMS)),
    default=DEFAULT_SYSTEMS,
    help="What to measure; may be repeated.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    default=PARTS,
    help="What to measure of it; may be repeated.",
)
@click.option(
    "--outstanding",
    "levels",
    multiple=True,
    type=click.IntRange(1),
    default=plan.LEVELS,
    help="Only loads with so many operations under way at once; may be repeated.",
)
@click.option("--rounds", default=5, type=click.IntRange(1), help="Figures are medians of these.")
@click.option("--duration", default=3.0, help="Seconds that count, for each load.")
@click.option("--warmup", default=1.5, help="Seconds before them.")
@click.option("--quiet", default=10.0, help="Seconds to wait for quiet before each load and part.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the clusters keep data: on the disk that is meant.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write everything measured to this file, after each system.",
)
@click.option(
    "--page",
    "to_page",
    is_flag=True,
    help=f"Write {page.RECORD_NAME}, the plots and the measured part of {page.PAGE_NAME}.",
)
def main(
    *,
    names: tuple[str, ...],
    parts: tuple[str, ...],
    levels: tuple[int, ...],
    rounds: int,
    duration: float,
    warmup: float,
    quiet: float,
    directory: Path | None,
    json_file: Path | None,
    to_page: bool,
) -> None:
    """Measure this project beside its peers: three nodes each, on loopback, in one run.

    Without options, everything. Rounds are interleaved; figures are medians. A system that is not
    installed is named and left out.
    """
    if to_page:
        page.require_plots()
        page.require_whole(rounds, plan.whole_parts(parts, levels))
    systems, missing = chosen(names)
    for name, what in missing.items():
        say(f"left out: {name}; missing: {', '.join(what)}")
    if not systems:
        sys.exit(2)
    options = Options(systems, parts, levels, rounds, Timing(warmup, duration), quiet, directory)
    record = new_record(options, missing)
    progress = Progress(options.estimate_s())
    files = [path for path in (json_file, page.RECORD if to_page else None) if path is not None]

    def save() -> None:
        for path in files:
            write_record(record, path)

    for number in range(1, rounds + 1):
        measure_round(number, options, record, progress, save)
    print(report.text(page.figures_of(record)))
    if to_page:
        page.require_measured(record)
        page.write(record)
    if record["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    # So that being stopped ends the clusters too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
