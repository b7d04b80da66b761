"""What commands print: one JSON object per line for scripts, plain lines for people.

Owns the spelling of ``--json`` fields for keys, changes and values. Standard output carries
results only; whatever explains goes to standard error. Tables and colours appear only when
standard output is a terminal, so a pipe always sees the same text.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table


def print_json(document: Mapping[str, Any]) -> None:
    """Print one object on one line, at once: a reader at the other end of a pipe waits for it."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # UTF-8 whatever the locale says: programs read this.
    click.echo(text.encode("utf-8", "replace"))
    sys.stdout.flush()


def value_fields(value: bytes | None) -> dict[str, str | None]:
    """Return ``value`` as text if it is UTF-8, else ``value_base64``; None stays None."""
    if value is None:
        return {"value": None}
    try:
        return {"value": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode("ascii")}


def value_text(value: bytes | None) -> str:
    """Return a value for a person: its text, or what kind of bytes it is."""
    if value is None:
        return "(deleted)"
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(value)} bytes, not text)"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table: drawn on a terminal, in aligned plain columns anywhere else."""
    if sys.stdout.isatty():
        _print_drawn_table(columns, rows, title)
        return
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _print_drawn_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> None:
    from rich.console import Console

    table = drawn_table(columns, rows)
    table.title = title or None
    Console().print(table)


def drawn_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table for a terminal; cells are plain text, whatever markup they look like."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def bytes_text(count: int | None) -> str:
    """Return a size for a person, in binary units."""
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit ends the loop")


def warn(text: str) -> None:
    """Tell the person something on standard error, without disturbing the results."""
    click.echo(f"paxos: {text}", err=True)
