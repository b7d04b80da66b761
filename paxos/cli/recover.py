"""``paxos recover``: a new cluster from what is left, when the quorum is gone for good.

Owns what is said before anything is done, and that it is done only by somebody who has read it: the
cluster's id is asked for. Every judgement is that of ``paxos.operations.survivors``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from paxos.cli.backup import bar
from paxos.cli.exits import CommandError, Exit
from paxos.cli.founding_options import Wanted, founding_options, tell_founded
from paxos.cli.operating import operator_errors
from paxos.cli.options import config_option, json_option, read_cluster
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand
from paxos.cluster import ClusterFile
from paxos.operations.founding import found_from
from paxos.operations.survivors import Remains, read_survivors, recovered_state, sum_up
from paxos.snapshot_format import SnapshotInvalid
from paxos.storage.base import DataDamaged
from paxos.storage.snapshots import SnapshotSpoilt

EXAMPLES = [
    (
        "nodes 2 and 3 of three are gone, and will not come back",
        "paxos recover ./recovered --from ./cluster/node-1 --replicas 3 --base-port 7004",
    ),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@founding_options
@click.option(
    "--from",
    "directories",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DATA_DIR",
    help="A data directory that is left. Give every one there is: each may know something more.",
)
@config_option()
@click.option(
    "--yes-lose-data",
    "confirmed",
    metavar="CLUSTER_ID",
    help="Go on without asking; the old cluster's id shows that you have read what is lost.",
)
@json_option
def recover(
    wanted: Wanted,
    *,
    directories: tuple[Path, ...],
    config_file: Path,
    confirmed: str | None,
    as_json: bool,
) -> None:
    """Found a new cluster in DIR from the data directories that are left.

    Only for a cluster that has lost its quorum for good: so many nodes that the rest can decide
    nothing more. While a quorum is left, replace the lost nodes instead (`paxos member replace`).
    --config is the old cluster's cluster.toml.

    Writes that were acknowledged may be lost. The command says what the directories hold, what
    may be missing, and asks for the old cluster's id before it does anything. The directories are
    only read. The new cluster has an id of its own, so that a node that comes back after all cannot
    mix in.
    """
    file = read_cluster(config_file)
    with operator_errors(), _damaged():
        remains = sum_up(file, read_survivors(file, directories))
    tell_remains(file, remains, as_json)
    if remains.has_quorum:
        raise CommandError(
            Exit.REFUSED,
            "refused: a quorum of the cluster is left, and it can go on without losing anything",
            "Start these nodes, then `paxos member replace` those that are lost.",
        )
    _confirm(file, confirmed)
    with operator_errors(), _damaged(), bar("recovering", as_json) as progress:
        state = recovered_state(file, remains)
        made = found_from(state, wanted.founding(file), progress)
    tell_founded(made, remains.through, as_json)


def _confirm(file: ClusterFile, confirmed: str | None) -> None:
    if confirmed is None:
        if not sys.stdin.isatty():
            raise CommandError(
                Exit.REFUSED,
                "refused: nobody is there to confirm what may be lost; nothing was done",
                f"Read the above, and give --yes-lose-data {file.cluster}",
            )
        confirmed = click.prompt("Type the old cluster's id to go on", err=True)
    if confirmed != file.cluster:
        raise CommandError(
            Exit.REFUSED,
            f"refused: {confirmed!r} is not the id of the old cluster; nothing was done",
            f"It is {file.cluster}.",
        )


def tell_remains(file: ClusterFile, remains: Remains, as_json: bool) -> None:
    """Say what the directories hold, and what may be lost."""
    if as_json:
        print_json(remains_fields(file, remains))
        return
    click.echo(f"cluster {file.cluster}: what is left of it")
    for survivor in remains.survivors:
        held = f"slots up to {max(survivor.held)}" if survivor.held else "no slots above that"
        base = (
            "no snapshot" if survivor.snapshot is None else f"snapshot {survivor.snapshot.through}"
        )
        click.echo(f"  node {survivor.identity.node}    {survivor.directory}: {base}, {held}")
        if survivor.damage is not None:
            for line in survivor.damage.findings:
                click.echo(f"            damage: {line}")
    if remains.missing:
        click.echo(f"  missing   {_nodes(remains.missing)}")
    click.echo(
        f"  recovered slots 1 to {remains.through}; known decided: 1 to {remains.decided_through}"
    )
    if remains.accepted_only:
        click.echo(
            f"            only accepted: slot {_ranges(remains.accepted_only)}: perhaps never"
            " acknowledged, and kept"
        )
    if remains.dropped:
        click.echo(
            f"  LOST      slots {_ranges(remains.dropped)} are here, and are dropped: nobody knows"
            f" slot {remains.through + 1} before them"
        )
    click.echo(f"  {_verdict(remains)}")


def _verdict(remains: Remains) -> str:
    if not remains.may_lose:
        return (
            "SAFE      nothing that was acknowledged is lost: every quorum that decides is met here"
        )
    return (
        f"MAY LOSE  whatever {_nodes(remains.missing) or 'the damaged logs'} decided without the"
        f" nodes above: any number of acknowledged writes after slot {remains.decided_through}"
    )


def remains_fields(file: ClusterFile, remains: Remains) -> dict[str, Any]:
    """Return what is left with the fields that scripts rely on."""
    return {
        "event": "remains",
        "cluster_id": file.cluster,
        "survivors": [
            {
                "node": survivor.identity.node,
                "data_dir": str(survivor.directory),
                "snapshot_through": 0 if survivor.snapshot is None else survivor.snapshot.through,
                "sound": survivor.knows_all,
            }
            for survivor in remains.survivors
        ],
        "missing": list(remains.missing),
        "through": remains.through,
        "decided_through": remains.decided_through,
        "accepted_only": list(remains.accepted_only),
        "dropped": list(remains.dropped),
        "has_quorum": remains.has_quorum,
        "may_lose": remains.may_lose,
    }


def _nodes(nodes: Sequence[int]) -> str:
    if not nodes:
        return ""
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"


def _ranges(slots: Sequence[int]) -> str:
    """Return slots in words, like 3-7, 9."""
    told: list[list[int]] = []
    for slot in slots:
        if told and slot == told[-1][1] + 1:
            told[-1][1] = slot
        else:
            told.append([slot, slot])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in told)


@contextmanager
def _damaged() -> Iterator[None]:
    try:
        yield
    except (DataDamaged, SnapshotInvalid, SnapshotSpoilt) as error:
        raise CommandError(
            Exit.DAMAGED, str(error), "Leave that directory out, and see what the others hold."
        ) from error
