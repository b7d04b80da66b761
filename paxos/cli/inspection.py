"""``paxos inspect``: what is in a data directory, and whether it is sound. Reads only.

Owns the wording alone; every judgement is that of ``paxos.storage.inspection``, and so of recovery.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import json_option
from paxos.cli.output import bytes_text, print_json, print_table
from paxos.cli.teaching import TaughtCommand
from paxos.core.messages import SnapshotName
from paxos.storage.base import SLOT_UNBOUNDED, Damage, DataDamaged, StorageError
from paxos.storage.inspection import Inspection
from paxos.storage.inspection import inspect as inspect_directory

KEEP = "Keep the directory: the other replicas hold the data."
MENDABLE = (
    "Start the node: what is in doubt is mended from its peers, and it votes for it again as soon"
    " as it may. If it happens again, replace the disk."
)


def replace_hint(node: int) -> str:
    """Return the one command that puts a new node in the place of one that must not vote again."""
    return (
        "The node must never vote again, because it may have forgotten a promise. Replace it:"
        f" paxos member replace {node} --url URL NEW_DIR"
    )


EXAMPLES = [
    ("is the log of node 1 sound?", "paxos inspect ./cluster/node-1"),
    ("the same, for a script", "paxos inspect ./cluster/node-1 --json"),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.argument("directory", metavar="DATA_DIR", type=click.Path(path_type=Path))
@json_option
def inspect(directory: Path, as_json: bool) -> None:
    """Read a node's log and say whether it is sound.

    Shows what is in DATA_DIR and changes nothing, so it may be asked at any time; while a node
    runs on the directory, its last write may be seen half done. A log that is damaged ends it
    with status 5, and the lines say which slots are in doubt. A last write that was never
    finished is no damage: nobody was told of it.
    """
    try:
        found = inspect_directory(directory)
    except DataDamaged as error:
        raise CommandError(Exit.DAMAGED, str(error), KEEP) from error
    except (StorageError, OSError) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    if as_json:
        print_json(inspection_document(directory, found))
    else:
        _print_for_people(directory, found)
    if found.damage is not None:
        hint = MENDABLE
        if found.damage.hides_promise:
            hint = replace_hint(found.identity.node)
        if found.in_use_by is not None:
            hint = f"Process {found.in_use_by} uses it just now: stop that node and look again."
        raise CommandError(Exit.DAMAGED, f"{directory}: the log is damaged", hint)


def inspection_document(directory: Path, found: Inspection) -> dict[str, Any]:
    """Return what was found, with the fields that scripts rely on."""
    return {
        "data_dir": str(directory),
        "sound": found.sound,
        "storage": found.storage,
        "cluster_id": found.identity.cluster,
        "node": found.identity.node,
        "incarnation": found.identity.incarnation,
        "batches": found.batches,
        "records": found.records,
        "slots": None if found.slots is None else list(found.slots),
        "decided": found.decided,
        "decided_through": found.decided_through,
        "promised": str(found.promised),
        "issued": str(found.issued),
        "disk_bytes": found.disk_bytes,
        "in_use_by": found.in_use_by,
        "snapshot": None if found.snapshot is None else name_fields(found.snapshot),
        "snapshots": [name_fields(name) for name in found.snapshots],
        "compacted_through": found.compacted_through,
        "oldest_segment": found.oldest_segment,
        "segments": [
            {
                "name": segment.name,
                "bytes": segment.bytes,
                "batches": segment.batches,
                "first_sequence": segment.first_sequence,
                "last_sequence": segment.last_sequence,
            }
            for segment in found.segments
        ],
        "torn": list(found.torn),
        "damage": None if found.damage is None else _damage_fields(found.damage),
    }


def name_fields(name: SnapshotName) -> dict[str, Any]:
    """Return which snapshot this is, as status documents say it too."""
    return {"through": name.through, "size": name.size, "digest": name.digest.hex()}


def _damage_fields(damage: Damage) -> dict[str, Any]:
    return {
        "unknown": [
            [first, None if last == SLOT_UNBOUNDED else last] for first, last in damage.unknown
        ],
        "hides_promise": damage.hides_promise,
        "findings": list(damage.findings),
    }


def _print_for_people(directory: Path, found: Inspection) -> None:
    identity = found.identity
    click.echo(f"{directory}: node {identity.node} of cluster {identity.cluster}")
    slots = "none" if found.slots is None else f"{found.slots[0]} to {found.slots[1]}"
    click.echo(f"  slots      {slots}; decided without a gap through {found.decided_through}")
    if found.snapshot is not None:
        size = bytes_text(found.snapshot.size)
        click.echo(f"  snapshot   through slot {found.snapshot.through}, {size}")
    if found.compacted_through:
        click.echo(f"  compacted  through slot {found.compacted_through}")
    click.echo(f"  ballots    promised {found.promised}, issued {found.issued}")
    records = ", ".join(f"{count} {kind}" for kind, count in found.records.items()) or "none"
    click.echo(f"  records    {records}, in {found.batches} batches")
    click.echo(f"  on disk    {bytes_text(found.disk_bytes)} ({found.storage})")
    if found.in_use_by is not None:
        click.echo(f"  in use     by process {found.in_use_by}")
    if found.segments:
        rows = [
            (f"  {one.name}", bytes_text(one.bytes), f"{one.first_sequence}-{one.last_sequence}")
            for one in found.segments
        ]
        print_table(("  segment", "size", "batches"), rows)
    for line in found.torn:
        click.echo(f"  unfinished {line}")
    if found.damage is None:
        click.echo("sound: nothing that was durable is lost")
        return
    for first, last in found.damage.unknown:
        end = "on" if last == SLOT_UNBOUNDED else f"to {last}"
        click.echo(f"  in doubt   slots {first} {end}")
    if found.damage.hides_promise:
        click.echo("  in doubt   what it promised: this node must never vote again")
    for line in found.damage.findings:
        click.echo(f"  damage     {line}")
