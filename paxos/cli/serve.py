"""``paxos serve``: one replica as the whole purpose of a process.

Owns the ready line, the signals, and what a node's failures mean to whoever started it. A node
that stops by itself always ends with a message, and with status 0 only if it was removed from the
cluster and nobody needs it any more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import trio

from paxos import service
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import config_option, read_cluster
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand
from paxos.cluster import ClusterFile
from paxos.core.errors import ConfigurationInvalid, InvariantBroken
from paxos.runtime import observe
from paxos.runtime.errors import plain_errors
from paxos.runtime.node import Node
from paxos.storage.base import DataDamaged, StorageError, StorageFailed, WrongIdentity
from paxos.transport import TransportError

STOP_TIMEOUT_S = 4.0
"""From the signal to the end at the latest. What was acknowledged is durable already, so a node
that cannot finish its tasks in time may simply end."""

EXAMPLES = [
    ("node 1 of three; start the others likewise", "paxos serve --config c/cluster.toml --node 1"),
    (
        "under a service manager, with logs for machines",
        "paxos serve --config c/cluster.toml --node 1 --log-format json",
    ),
]


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@config_option()
@click.option(
    "--node", type=int, required=True, metavar="N", help="Which node of the file this is."
)
@click.option(
    "--url",
    metavar="URL",
    help="Listen here, not where the file says: after `paxos member update N --url URL`.",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    show_default=True,
    help="Logs, on standard error: for people, or one JSON object per line.",
)
@click.option(
    "--log-level",
    type=click.Choice(list(observe.LEVELS)),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
def serve(
    config_file: Path,
    node: int,
    url: str | None,
    log_format: observe.LogFormat,
    log_level: str,
) -> None:
    """Run one replica until it is told to stop.

    SIGTERM and SIGINT end it with status 0, within 5 seconds. Once it answers clients it prints
    one JSON object on a line of standard output, with "event" ("ready"), "node", "listen" (its
    URL) and "applied_through" (a slot). Logs go to standard error.

    A node that was removed from the cluster ends by itself, with status 0, once a leader has said
    that nobody needs anything of it. It prints one more object first, with "event" ("removed"),
    "node", "configuration" (the version that is without it) and "text": its directory may be
    deleted. Started again, it ends likewise.

    Killing it in any way loses nothing that was acknowledged. A write or sync that fails ends it
    with status 1: start it again once the disk is well. A log that may have lost a promise is
    refused with status 5; with any other damage the node runs, and is mended by its peers.
    """
    cluster = read_cluster(config_file)
    observe.configure(log_format, log_level)
    with _exit_statuses(node):
        trio.run(_serve_until_told, cluster, node, url)


async def _serve_until_told(cluster: ClusterFile, node: int, url: str | None) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_when_told, signals, nursery.cancel_scope)
            removal = await service.serve(cluster, node, _print_ready, url)
            print_json(
                {
                    "event": "removed",
                    "node": node,
                    "configuration": removal.version,
                    "text": str(removal),
                }
            )
            nursery.cancel_scope.cancel()


async def _stop_when_told(signals: Any, serving: trio.CancelScope) -> None:
    async for number in signals:
        observe.logger().info("stopping", signal=signal.Signals(number).name)
        signal.signal(signal.SIGALRM, _end_now)
        signal.setitimer(signal.ITIMER_REAL, STOP_TIMEOUT_S)
        serving.cancel()


def _end_now(*_: object) -> None:
    os._exit(Exit.DONE)


def _print_ready(running: Node) -> None:
    print_json(
        {
            "event": "ready",
            "node": running.id,
            "listen": running.url,
            "applied_through": running.applied_through,
        }
    )


@contextmanager
def _exit_statuses(node: int) -> Iterator[None]:
    """Say what ended the node, and what to do about it."""
    try:
        with plain_errors():
            yield
    except DataDamaged as error:
        raise CommandError(
            Exit.DAMAGED,
            str(error),
            "`paxos inspect DATA_DIR` shows what is left of it, and this puts a new node in its"
            f" place: paxos member replace {node} --url URL NEW_DIR",
        ) from error
    except WrongIdentity as error:
        raise CommandError(
            Exit.USAGE,
            str(error),
            "If this node's data is lost, put a new one in its place, here or elsewhere:"
            f" paxos member replace {node} --url URL NEW_DIR",
        ) from error
    except StorageFailed as error:
        raise CommandError(
            Exit.REFUSED,
            f"the node stopped because its disk failed: {error}",
            "Nothing that was acknowledged is lost. Start it again once the disk is well.",
        ) from error
    except InvariantBroken as error:
        raise CommandError(
            Exit.REFUSED,
            f"the node stopped because it broke its own rules: {error}",
            "This is a defect. Keep the data directory, and report it.",
        ) from error
    except (StorageError, TransportError, ConfigurationInvalid) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
