"""The options that commands about members share: parts, quorums, new nodes, patience."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target

if TYPE_CHECKING:
    from paxos.cluster import ClusterFile

PARTS = ("voter", "witness", "learner")


def _once(_context: object, _parameter: object, nodes: tuple[int, ...]) -> tuple[int, ...]:
    for node in nodes:
        if nodes.count(node) > 1:
            raise click.BadParameter(f"node {node} is named twice; name it once")
    return nodes


NODES = click.argument(
    "nodes",
    metavar="NODE...",
    nargs=-1,
    required=True,
    type=click.IntRange(min=1),
    callback=_once,
)
PRIORITY = click.option(
    "--priority",
    type=click.IntRange(min=0),
    metavar="P",
    help="Of the voters that could lead, those with the highest priority are preferred.",
)


def part_option(*parts: str, default: str | None) -> Callable[[Any], Any]:
    """``--as``."""
    return click.option(
        "--as",
        "part",
        type=click.Choice(parts),
        default=default,
        show_default=default is not None,
        help="Voters vote and keep the state; witnesses vote; learners keep the state.",
    )


def wait_option(command: Any) -> Any:
    """``--wait``."""
    return click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0, min_open=True),
        default=math.inf,
        metavar="SECONDS",
        help="How long to wait for a node to answer and catch up. Default: until it has.",
    )(command)


def quorum_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``quorums``: ``--majority``, sizes or sets; nothing means as they are."""

    @click.option("--majority", is_flag=True, help="Any majority of the voters is a quorum.")
    @click.option(
        "--phase1", type=click.IntRange(min=1), metavar="N", help="Voters needed to elect."
    )
    @click.option(
        "--phase2", type=click.IntRange(min=1), metavar="N", help="Voters needed to decide."
    )
    @click.option(
        "--phase1-set", "phase1_sets", multiple=True, metavar="1,2,...", help="A set that elects."
    )
    @click.option(
        "--phase2-set", "phase2_sets", multiple=True, metavar="1,2,...", help="A set that decides."
    )
    @wraps(command)
    def with_quorums(
        *args: Any,
        majority: bool,
        phase1: int | None,
        phase2: int | None,
        phase1_sets: tuple[str, ...],
        phase2_sets: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        from paxos.operations.plans import QuorumChoice

        if (phase1 is None) != (phase2 is None):
            raise click.UsageError("--phase1 and --phase2 go together")
        if bool(phase1_sets) != bool(phase2_sets):
            raise click.UsageError("--phase1-set and --phase2-set go together")
        if majority + (phase1 is not None) + bool(phase1_sets) > 1:
            raise click.UsageError("say what a quorum is in one way: majority, sizes or sets")
        choice = QuorumChoice(
            majority=majority,
            sizes=None if phase1 is None or phase2 is None else (phase1, phase2),
            phase1_sets=tuple(map(node_ids, phase1_sets)),
            phase2_sets=tuple(map(node_ids, phase2_sets)),
        )
        return command(*args, quorums=choice, **kwargs)

    return with_quorums


def node_ids(text: str) -> tuple[int, ...]:
    """Return the node ids of a list like 1,2,3.

    Raises:
        click.BadParameter: It is none, or names one twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of node ids; write it like 1,2,3")
    return _once(None, None, tuple(int(part) for part in parts))


def the_file(target: Target) -> ClusterFile:
    """Return the cluster file, which a new node's own is made from.

    Raises:
        click.UsageError: Only URLs were given.
    """
    if target.file is None:
        raise click.UsageError(
            "give --config FILE, the cluster.toml of any member: the new node gets its own from it"
        )
    return target.file


def pairs(urls: Sequence[str], directories: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return each new node's URL with its directory.

    Raises:
        CommandError: There is not one URL for each directory, or two nodes would share one.
    """
    if len(urls) != len(directories):
        raise CommandError(
            Exit.USAGE,
            f"{len(directories)} directories and {len(urls)} URLs: each new node needs both",
            "Repeat --url, in the order of the directories.",
        )
    for what, given in (("DIR", [path.resolve() for path in directories]), ("--url", urls)):
        if len(set(given)) < len(given):
            raise CommandError(
                Exit.USAGE,
                f"two new nodes have the same {what}",
                f"Give each a {what} of its own.",
            )
    return list(zip(urls, directories, strict=True))
