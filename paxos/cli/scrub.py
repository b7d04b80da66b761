"""``paxos scrub``: reads all that a node has on disk, while it runs or not. Changes nothing.

Owns the wording alone; every judgement is that of ``paxos.storage.scrub``, and so of recovery.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from paxos.cli.backup import bar
from paxos.cli.exits import CommandError, Exit
from paxos.cli.inspection import name_fields, replace_hint
from paxos.cli.options import ENVIRONMENT, config_option, json_option, read_cluster
from paxos.cli.output import bytes_text, print_json
from paxos.cli.teaching import TaughtCommand
from paxos.storage.base import SLOT_UNBOUNDED, Damage, DataDamaged, StorageError
from paxos.storage.scrub import ScrubReport
from paxos.storage.scrub import scrub as scrub_directory

MENDABLE = (
    "Start the node, or start it again if it runs: it is mended from its peers by itself, and votes"
    " again as soon as it may. If it happens again, replace the disk."
)

EXAMPLES = [
    ("a node of the cluster file at hand, also while it runs", "paxos scrub --node 1"),
    ("a data directory, for a script", "paxos scrub ./cluster/node-1 --json"),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.argument("directory", metavar="[DATA_DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--node", type=click.IntRange(min=1), metavar="N", help="The node of --config.")
@config_option(required=False)
@json_option
def scrub(
    directory: Path | None, node: int | None, config_file: Path | None, as_json: bool
) -> None:
    """Read everything a node has on disk and check every byte.

    Disks rot in places that nobody reads; this reads all of them: log and snapshots. It reads
    beside the node, which may run meanwhile and is asked nothing, on the machine that the directory
    is on. Findings end it with status 5, and each line says which file, which bytes, and which
    slots are in doubt.
    """
    directory = _directory(directory, node, config_file)
    try:
        with bar("reading", as_json) as progress:
            report = scrub_directory(directory, progress=progress)
    except DataDamaged as error:
        raise CommandError(
            Exit.DAMAGED, str(error), "The node must be replaced: `paxos member replace --help`."
        ) from error
    except (StorageError, OSError) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    if as_json:
        print_json(report_fields(directory, report))
    else:
        _print_for_people(directory, report)
    if not report.sound:
        raise CommandError(
            Exit.DAMAGED, f"{directory}: damaged in {_places(report)}", _what_to_do(report)
        )


def _directory(directory: Path | None, node: int | None, config_file: Path | None) -> Path:
    if (directory is None) == (node is None):
        raise click.UsageError("give either DATA_DIR or --node N")
    if directory is not None:
        return directory
    assert node is not None
    named = config_file or os.environ.get(ENVIRONMENT)
    if not named:
        raise click.UsageError(
            f"--node N is of a cluster.toml: give --config, or set {ENVIRONMENT}"
        )
    return read_cluster(Path(named)).data_directory(node)


def _places(report: ScrubReport) -> str:
    count = len(report.findings)
    return "1 place" if count == 1 else f"{count} places"


def _what_to_do(report: ScrubReport) -> str:
    if report.damage is not None and report.damage.hides_promise:
        return replace_hint(report.identity.node)
    return MENDABLE


def report_fields(directory: Path, report: ScrubReport) -> dict[str, Any]:
    """Return what was found, with the fields that scripts rely on."""
    damage: Damage | None = report.damage
    unknown = () if damage is None else damage.unknown
    return {
        "data_dir": str(directory),
        "node": report.identity.node,
        "sound": report.sound,
        "files": report.files,
        "bytes": report.bytes_read,
        "in_use_by": report.in_use_by,
        "storage": report.storage,
        "batches": report.batches,
        "snapshots": [name_fields(name) for name in report.snapshots],
        "spoilt_snapshots": [name_fields(name) for name in report.spoilt],
        "compacted_through": report.compacted_through,
        "unknown": [[a, None if b == SLOT_UNBOUNDED else b] for a, b in unknown],
        "hides_promise": damage is not None and damage.hides_promise,
        "findings": list(report.findings),
    }


def _print_for_people(directory: Path, report: ScrubReport) -> None:
    click.echo(f"{directory}: read {bytes_text(report.bytes_read)} in {report.files} files")
    for line in report.findings:
        click.echo(f"  damage     {line}")
    if report.damage is not None:
        for first, last in report.damage.unknown:
            end = "on" if last == SLOT_UNBOUNDED else f"to {last}"
            click.echo(f"  in doubt   slots {first} {end}")
    if report.compacted_through > max((name.through for name in report.snapshots), default=0):
        click.echo(
            f"  no snapshot of slots 1 to {report.compacted_through}, which have left the log:"
            " a witness has none; another node fetches one from its peers when it starts"
        )
    if report.sound:
        click.echo("sound: every byte is as it was written")
