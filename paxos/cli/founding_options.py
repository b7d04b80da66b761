"""What ``paxos restore`` and ``paxos recover`` share: where the new cluster is, what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paxos.cli.options import base_port_option, storage_option, transport_option
from paxos.cli.output import print_json

if TYPE_CHECKING:
    from paxos.cluster import ClusterFile, StorageKind
    from paxos.operations.founding import Founding

REPLICAS_MAX = 9


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say of the new cluster."""

    directory: Path
    urls: tuple[str, ...]
    storage: str

    def founding(self, like: ClusterFile) -> Founding:
        """Return it as what ``paxos.operations.founding`` takes."""
        from paxos.operations.founding import Founding

        storage: StorageKind = "sqlite" if self.storage == "sqlite" else "segments"
        return Founding(self.directory, self.urls, like, storage)


def founding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``DIR`` and who the nodes of the new cluster are, as one ``Wanted``."""

    @click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
    @click.option(
        "--replicas",
        type=click.IntRange(1, REPLICAS_MAX),
        metavar="N",
        help="How many replicas, on this machine.",
    )
    @transport_option
    @base_port_option
    @click.option(
        "--url", "urls", multiple=True, metavar="URL", help="Where each node listens, instead."
    )
    @storage_option
    @wraps(command)
    def with_wanted(
        *args: Any,
        directory: Path,
        replicas: int | None,
        transport: str,
        base_port: int,
        urls: tuple[str, ...],
        storage: str,
        **kwargs: Any,
    ) -> Any:
        from paxos.operations.founding import urls_from

        if (replicas is None) == (not urls):
            raise click.UsageError("give --replicas N, or one --url for each node")
        given = urls or tuple(urls_from(transport, base_port, replicas or 0))
        return command(Wanted(directory, given, storage), *args, **kwargs)

    return with_wanted


def tell_founded(made: ClusterFile, through: int, as_json: bool) -> None:
    """Say what was founded, and how it is run."""
    if as_json:
        nodes = [{"node": entry.id, "url": entry.url, "data": entry.data} for entry in made.nodes]
        fields = {"cluster_id": made.cluster, "config": str(made.path), "through": through}
        print_json(fields | {"nodes": nodes})
        return
    click.echo(f"founded cluster {made.cluster} in {made.path}; it goes on after slot {through}")
    for entry in made.nodes:
        click.echo(f"  paxos serve --config {made.path} --node {entry.id}    # {entry.url}")
