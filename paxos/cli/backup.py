"""``paxos backup`` and ``paxos restore``: a cluster's whole state as one file, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.founding_options import Wanted, founding_options, tell_founded
from paxos.cli.operating import operate, operator_errors
from paxos.cli.options import OPERATOR_TIMEOUT_S, Asked, asked_options, json_option, read_cluster
from paxos.cli.output import bytes_text, print_json
from paxos.cli.teaching import TaughtCommand
from paxos.operations.backups import (
    BackupHead,
    BackupInvalid,
    backup_fields,
    open_backup,
    take_backup,
    verify_backup,
)
from paxos.operations.live import LiveCluster
from paxos.runtime.status import version
from paxos.snapshot_format import SnapshotInvalid

VERIFY_EXAMPLE = "paxos backup --verify monday.backup"


@click.command(
    cls=TaughtCommand,
    examples=[
        ("the whole state, while the cluster works", "paxos backup monday.backup"),
        ("is it whole, and what is in it?", VERIFY_EXAMPLE),
        ("from a certain node, for a script", "paxos backup --node 2 node-2.backup --json"),
    ],
)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--verify", is_flag=True, help="Read FILE and check every byte of it, instead.")
@click.option("--node", type=click.IntRange(min=1), metavar="N", help="Take it from this node.")
@asked_options(OPERATOR_TIMEOUT_S)
def backup(asked: Asked, *, file: Path, verify: bool, node: int | None) -> None:
    """Write the whole replicated state to one file.

    The cluster goes on working. The file reflects everything up to one slot, at least all that was
    acknowledged before you asked. It is verified and durable when the command returns, and until
    then nothing stands under its name. It is never written over another file. Taken with --config
    it also holds the cluster.toml, and all that `paxos restore` needs.

    --verify needs no cluster. A file that is damaged or cut ends it with status 5.
    """
    if verify:
        _verify(file, asked.json)
        return
    target = asked.target()
    text = None if target.file is None else target.file.path.read_text(encoding="utf-8")

    async def work(cluster: LiveCluster) -> BackupHead:
        with bar("backing up", asked.json) as progress, damaged(file):
            return await take_backup(
                cluster, file, node=node, cluster_file=text, version=version(), progress=progress
            )

    _tell(file, operate(target, work), asked.json, "backed up")


def _verify(file: Path, as_json: bool) -> None:
    with bar("verifying", as_json) as progress, damaged(file), operator_errors():
        found, _ = verify_backup(file, progress)
    _tell(file, found.head, as_json, "sound")


def _tell(file: Path, head: BackupHead, as_json: bool, what: str) -> None:
    if as_json:
        print_json({"file": str(file), **backup_fields(head)})
        return
    click.echo(
        f"{file}: {what}: cluster {head.cluster_id} through slot {head.through},"
        f" {bytes_text(head.size)}, from node {head.node}"
    )


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Say that a backup is no good.

    Raises:
        CommandError: With status 5.
    """
    try:
        yield
    except BackupInvalid as error:
        raise CommandError(Exit.DAMAGED, str(error), "Use another backup.") from error
    except SnapshotInvalid as error:
        raise CommandError(Exit.DAMAGED, f"{file}: {error}", "Use another backup.") from error


@contextmanager
def bar(label: str, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on standard error inside the context, if there is somebody to see it."""
    if as_json or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as drawn:
        shown: Any = drawn

        def move(done: int, total: int) -> None:
            shown.length = total
            shown.update(done - shown.pos)

        yield move


@click.command(
    cls=TaughtCommand,
    examples=[
        (
            "a new cluster of three on this machine",
            "paxos restore monday.backup ./restored --replicas 3 --base-port 7004",
        ),
        (
            "one that listens elsewhere, with SQLite",
            "paxos restore monday.backup ./again --url tcp://10.0.0.1:7001 --storage sqlite",
        ),
    ],
)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@founding_options
@click.option(
    "--like",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A cluster.toml to take machines and limits from, instead of the one in the backup.",
)
@json_option
def restore(wanted: Wanted, *, file: Path, like: Path | None, as_json: bool) -> None:
    """Found a new cluster in DIR that begins with the state of a backup.

    It has a cluster id and data directories of its own, so that no node of the old cluster can mix
    in, and no client that still looks for the old one is answered. Revisions, stamps and slots go
    on from where the backup was taken; what was acknowledged after it is not there. Requests that
    clients of the old cluster had open end as unknown.
    """
    from paxos import cluster as cluster_file
    from paxos.operations.founding import found_from

    with damaged(file), operator_errors():
        found, _ = verify_backup(file)
        text = open_backup(file).head.cluster_file
        if like is None and text is None:
            raise CommandError(
                Exit.USAGE,
                f"{file} was taken with --endpoints and holds no cluster.toml",
                "Give --like FILE, a cluster.toml with the same state machines.",
            )
        if like is not None:
            model = read_cluster(like)
        else:
            model = cluster_file.parse(text or "", file)
        with bar("restoring", as_json) as progress:
            made = found_from(found.snapshot, wanted.founding(model), progress)
    tell_founded(made, found.head.through, as_json)
