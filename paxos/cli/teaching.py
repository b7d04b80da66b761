"""Commands whose help ends with examples that can be typed as they stand.

The examples are data, not prose: a test runs every one of them against a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

Example = tuple[str, str]
"""(what it does, the line to type)"""


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[Example]) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for purpose, line in examples:
            formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n")
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class TaughtCommand(click.Command):
    """A command with examples.

    Args:
        examples: Shown at the end of ``--help``, as they stand.
    """

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then what else there is to say."""
        _write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


class TaughtGroup(click.Group):
    """A group with examples; its commands have their own.

    Args:
        examples: Shown at the end of ``--help``, as they stand.
    """

    command_class = TaughtCommand

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order they were made."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then what else there is to say."""
        _write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)
