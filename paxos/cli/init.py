"""``paxos init``: founds a cluster. Only translates options; ``paxos.cluster`` does the work."""

from __future__ import annotations

from pathlib import Path

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import base_port_option, json_option, storage_option, transport_option
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand

MACHINES = {
    "config": "statemachines.edge_config:EdgeConfig",
    "tasks": "statemachines.task_log:TaskLog",
}
"""The state machines of a new cluster, by the name that commands address them with."""


EXAMPLES = [
    ("three replicas on this machine, ports 7001 to 7003", "paxos init ./cluster --replicas 3"),
    (
        "five, over WebSocket, ports 9001 to 9005",
        "paxos init ./cluster --replicas 5 --transport ws --base-port 9001",
    ),
    (
        "a second state machine on the same log",
        "paxos init ./cluster --replicas 3 --machine drafts=statemachines.edge_config:EdgeConfig",
    ),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--replicas",
    type=click.IntRange(1, 9),
    required=True,
    metavar="N",
    help="How many replicas. 3 survive the loss of one, 5 of two.",
)
@transport_option
@base_port_option
@storage_option
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME=MODULE:CLASS",
    help="Another state machine on the same log; may be repeated.",
)
@json_option
def init(
    *,
    directory: Path,
    replicas: int,
    transport: str,
    base_port: int,
    storage: str,
    machines: tuple[str, ...],
    as_json: bool,
) -> None:
    """Found a cluster: configuration file and data directories.

    Writes DIR/cluster.toml and makes a data directory for each node beside it. DIR must be empty
    or not exist. Each node's data directory gets its identity here and nowhere
    else: to move a node to another machine, stop it and move its directory; never copy it.
    """
    from paxos import cluster
    from paxos.storage.base import StorageError

    try:
        made = cluster.found(
            directory,
            replicas=replicas,
            machines=MACHINES | dict(map(_named_machine, machines)),
            transport=transport,
            base_port=base_port,
            storage="sqlite" if storage == "sqlite" else "segments",
        )
    except (cluster.ClusterFileInvalid, StorageError) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{directory}: cannot be written: {error}") from error
    if as_json:
        nodes = [{"node": entry.id, "url": entry.url, "data": entry.data} for entry in made.nodes]
        print_json({"cluster_id": made.cluster, "config": str(made.path), "nodes": nodes})
        return
    click.echo(f"founded cluster {made.cluster} in {made.path}")
    for entry in made.nodes:
        click.echo(f"  paxos serve --config {made.path} --node {entry.id}    # {entry.url}")


def _named_machine(text: str) -> tuple[str, str]:
    name, separator, where = text.partition("=")
    if not separator or not name or not where:
        raise CommandError(
            Exit.USAGE,
            f"--machine {text!r} is not NAME=MODULE:CLASS",
            "Write it like --machine drafts=statemachines.edge_config:EdgeConfig.",
        )
    return name, where
