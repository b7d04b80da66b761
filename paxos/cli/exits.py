"""How a command ends: the exit statuses scripts rely on, and the errors that carry them.

Every failure a person can cause or repair leaves as a ``CommandError``: one sentence that names
the culprit, and a hint that says what to do. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """Exit statuses, the same for every command."""

    DONE = 0
    """What was asked for is done."""
    REFUSED = 1
    """Refused for good, a condition was false, or the key is absent. Nothing was changed."""
    USAGE = 2
    """Wrong usage or bad input: an option, a file, a port, a data directory."""
    UNKNOWN = 3
    """It may or may not have happened: look before you repeat it."""
    UNREACHABLE = 4
    """No replica answered."""
    DAMAGED = 5
    """What was durable cannot be read back."""


INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""


class CommandError(click.ClickException):
    """Ends a command with a message on standard error and an exit status.

    Args:
        exit_status: What scripts see.
        message: One sentence that names the culprit.
        hint: What to do about it; printed on a line of its own.
    """

    def __init__(self, exit_status: Exit, message: str, hint: str = "") -> None:
        super().__init__(message)
        # click reads it from the instance; only its annotation says that classes alone have it.
        self.exit_code = exit_status  # type: ignore[misc]
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message, and the hint below it."""
        click.echo(f"paxos: {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(f"       {self.hint}", file=file, err=file is None)
