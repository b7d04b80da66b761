"""A table that is shown again and again: in its place on a terminal, line by line elsewhere.

Owns how a table is redrawn and when that is worth it. It knows no cluster, and no clock: whoever
has new rows says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from paxos.cli.output import drawn_table, print_table

if TYPE_CHECKING:
    from rich.live import Live

Rows = Sequence[Sequence[str]]


class LiveTable:
    """A table with a line below it. Made by ``live_table``.

    Args:
        columns: Their names.
        live: What redraws it in its place; None where there is no terminal.
    """

    def __init__(self, columns: Sequence[str], live: Live | None) -> None:
        self._columns = columns
        self._live = live
        self._shown: tuple[Rows, str] | None = None

    def show(self, rows: Rows, caption: str) -> None:
        """Show rows in place of those before; off a terminal below them, if they differ."""
        if self._live is not None:
            from rich.text import Text

            table = drawn_table(self._columns, rows)
            table.caption = Text(caption)
            table.caption_justify = "left"
            self._live.update(table, refresh=True)
            return
        if self._shown == (rows, caption):
            return
        if self._shown is not None:
            click.echo()
        print_table(self._columns, rows)
        click.echo(caption)
        sys.stdout.flush()
        self._shown = (rows, caption)


@contextmanager
def live_table(columns: Sequence[str]) -> Iterator[LiveTable]:
    """Redraw a table inside the context; its last rows stay on the screen."""
    if not sys.stdout.isatty():
        yield LiveTable(columns, None)
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield LiveTable(columns, live)
