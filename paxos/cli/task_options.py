"""Options of ``paxos task``, ``paxos node`` and ``paxos worker`` that hold quantities and labels.

Owns how a quantity on the command line becomes its integer, and how what is none is refused: with
the name of the option and how to write it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from paxos.cli.options import Target, client_options
from paxos.cli.quantities import (
    QuantityInvalid,
    parse_amount,
    parse_duration,
    parse_moment,
    parse_size,
)

MACHINE = "tasks"
"""The name under which clusters host the task log."""


OptionCallback = Callable[[click.Context, click.Parameter, Any], Any]


def quantity(parse: Callable[[str], int]) -> OptionCallback:
    """Return the callback of an option whose text ``parse`` reads; one left out stays None."""

    def callback(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            return parse(text)
        except QuantityInvalid as error:
            raise click.BadParameter(str(error)) from error

    return callback


def labels(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Return NAME=VALUE pairs in ascending order of their names."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise click.BadParameter(f"{text!r} is not a label; write it like gpu=yes")
        if name in found:
            raise click.BadParameter(f"the label {name!r} is given twice")
        found[name] = value
    return tuple(sorted(found.items()))


AMOUNT = quantity(parse_amount)
DURATION = quantity(parse_duration)
SIZE = quantity(parse_size)
MOMENT = quantity(lambda text: parse_moment(text, now_us()))


def now_us() -> int:
    """Return this machine's time of day, in microseconds since 1970."""
    return time.time_ns() // 1000


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its ``Target`` and the name of the state machine."""
    machine = click.option(
        "--machine",
        default=MACHINE,
        show_default=True,
        metavar="NAME",
        help="Which of the cluster's task logs.",
    )
    return machine(client_options(command))


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--live`` and ``--refreshes``, for a table that is shown again when it has changed."""
    live = click.option(
        "--live", is_flag=True, help="Show the table again whenever it changes, until Ctrl-C."
    )
    refreshes = click.option(
        "--refreshes",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --live: end once the table was shown N times.",
    )
    return live(refreshes(command))


def check_live(target: Target, live: bool, refreshes: int | None) -> None:
    """Refuse combinations of ``--live`` that mean nothing.

    Raises:
        click.UsageError: With ``--json``, or ``--refreshes`` without it.
    """
    if live and target.json:
        raise click.UsageError(
            "a live table is for people; `paxos task watch --json` tells each change"
        )
    if refreshes is not None and not live:
        raise click.UsageError("--refreshes is for --live")
