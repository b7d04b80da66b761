"""What all ``paxos config`` commands share: their options, their client, the fields of a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import click

from paxos.cli.connect import open_client
from paxos.cli.options import Target, client_options
from paxos.cli.output import value_fields
from statemachines.edge_config_client import EdgeConfigClient, KeyValue
from statemachines.machine_client import Level


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its ``Target`` and the name of the state machine."""
    machine = click.option(
        "--machine",
        default="config",
        show_default=True,
        metavar="NAME",
        help="Which of the cluster's edge configurations.",
    )
    return machine(client_options(command))


def level_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--level``."""
    return click.option(
        "--level",
        type=click.Choice(get_args(Level)),
        default="linearizable",
        show_default=True,
        help="How fresh the answer must be; local asks no quorum and may be old.",
    )(command)


def at_revision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--at-revision``."""
    return click.option(
        "--at-revision",
        type=click.IntRange(min=0),
        metavar="REVISION",
        help="Read as of this revision, as long as it is kept.",
    )(command)


@asynccontextmanager
async def open_store(target: Target, machine: str) -> AsyncIterator[EdgeConfigClient]:
    """Run a client of the configuration inside the context."""
    async with open_client(target) as client:
        yield EdgeConfigClient(client, machine)


def item_fields(item: KeyValue) -> dict[str, Any]:
    """Return a key that is there with the fields that scripts rely on."""
    return {
        "key": item.key,
        **value_fields(item.value),
        "content_type": item.content_type,
        "revision": item.mod_revision,
    }
