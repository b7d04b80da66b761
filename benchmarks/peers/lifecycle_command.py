"""What the commands share that measure kills and restarts: the systems, options, and the result."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarks.peers.children import ClusterFailed
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.lifecycle import LifecycleSystem
from benchmarks.peers.machine import description
from benchmarks.peers.ours import KINDS, Ours
from benchmarks.peers.pysyncobj_cluster import PySyncObj
from benchmarks.peers.zookeeper import ZooKeeper

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., None])
Measure = Callable[[LifecycleSystem, Path | None], T]

_SYSTEMS: tuple[LifecycleSystem, ...] = (
    *(Ours(kind) for kind in KINDS if kind.name in ("ours", "ours-minimal")),
    Etcd(),
    ZooKeeper(),
    PySyncObj(journal=True),
)
SYSTEMS = {system.name.replace(" ", "-"): system for system in _SYSTEMS}


@dataclass(frozen=True)
class Results:
    """What came of one measurement of several systems.

    Attributes:
        figures: By system.
        versions: Of the systems that were measured.
        left_out: Why the others were not.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def lifecycle_options(command: Command) -> Command:
    """Give a command the options ``--system``, ``--directory`` and ``--json``."""
    options = (
        click.option(
            "--system",
            "names",
            multiple=True,
            type=click.Choice(list(SYSTEMS)),
            default=tuple(SYSTEMS),
            show_default=True,
            help="What to measure; may be repeated.",
        ),
        click.option(
            "--directory",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Where the clusters keep data: on the disk that is meant.",
        ),
        click.option(
            "--json",
            "json_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write everything measured to this file.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def measure_systems(names: Sequence[str], directory: Path | None, measure: Measure[T]) -> Results:
    """Measure each system that can run, and say of the others why they could not."""
    # So that being stopped ends the clusters too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = Results()
    for name in names:
        system = SYSTEMS[name]
        missing = system.missing()
        if missing:
            results.left_out[name] = f"missing: {', '.join(missing)}"
            continue
        say(f"{name} ...")
        try:
            results.figures[name] = measure(system, directory)
        except ClusterFailed as failure:
            results.left_out[name] = str(failure)
            continue
        results.versions[name] = system.version()
    return results


def conclude(
    results: Results, lines: Sequence[str], json_file: Path | None, directory: Path | None
) -> None:
    """Print the table, write the JSON if that is wanted, and exit with 1 if a system is left out.

    Args:
        results: What was measured.
        lines: Of the table.
        json_file: Where the JSON goes.
        directory: Where the data was.
    """
    machine = description(directory or Path(tempfile.gettempdir()))
    print("\n".join(lines))
    for name, why in results.left_out.items():
        print(f"\nleft out: {name}; {why}")
    if json_file is not None:
        document = {
            "machine": machine,
            "versions": results.versions,
            "left_out": results.left_out,
            "figures": results.figures,
        }
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if results.left_out:
        sys.exit(1)


def say(text: str) -> None:
    """Print to standard error: standard output is for the table."""
    print(text, file=sys.stderr, flush=True)
