"""How a change ended, as ``--json`` and a person are told it, and its exit status.

Owns ``outcome``, the word for how a change ended, and its exit status where nothing went wrong but
nothing was done either. Whether a change may be done is decided by the state machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import click

from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target
from paxos.cli.output import print_json, warn

Outcome = Literal["done", "condition_false", "absent", "refused", "unknown", "unreachable"]
"""How a change ended, as ``--json`` says it."""

_NOT_DONE: dict[int, Outcome] = {
    Exit.REFUSED: "refused",
    Exit.UNKNOWN: "unknown",
    Exit.UNREACHABLE: "unreachable",
}


@contextmanager
def changes(target: Target, **more: Any) -> Iterator[None]:
    """Under ``--json``, tell also a change that was not done as an object, then fail as usual.

    Args:
        target: Says whether ``--json`` was asked for.
        more: Further fields of that object, such as what was to be changed.
    """
    try:
        yield
    except CommandError as error:
        if target.json and error.exit_code in _NOT_DONE:
            outcome = _NOT_DONE[error.exit_code]
            fields = {"outcome": outcome, "revision": None, "slot": None, "reason": error.message}
            print_json(fields | more)
        raise


def tell_change(
    target: Target, outcome: Outcome, revision: int, slot: int, text: str, **more: Any
) -> None:
    """Print how a change ended; end with status 1 unless it was done."""
    if target.json:
        print_json({"outcome": outcome, "revision": revision, "slot": slot} | more)
    elif outcome == "done":
        click.echo(f"{text} (revision {revision})")
    else:
        warn(text)
    if outcome != "done":
        sys.exit(Exit.REFUSED)
