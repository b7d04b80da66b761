"""Tells a story on standard output: chapters, facts, progress. Knows nothing of what it tells.

On a terminal it draws with rich; anywhere else it prints the same facts as plain lines, so that a
log of the demo reads like the demo.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BARS = " ▁▂▃▄▅▆▇█"


class Meter(Protocol):
    """How far something has come."""

    def show(self, done: float) -> None:
        """Say how much is done so far."""


class Narrator:
    """Tells the story, numbering its chapters."""

    def __init__(self) -> None:
        self._chapter = 0
        self._drawn = sys.stdout.isatty()

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        click.echo()
        click.secho(f"{self._chapter}. {title}", bold=True)
        sys.stdout.flush()

    def fact(self, text: str) -> None:
        """Tell something that is so."""
        click.echo(f"   {text}")
        sys.stdout.flush()

    def proved(self, text: str) -> None:
        """Tell something that was checked and holds."""
        click.echo(f"   {click.style('ok', fg='green', bold=True)}  {text}")
        sys.stdout.flush()

    def failed(self, text: str) -> None:
        """Tell something that was checked and does not hold."""
        click.echo(f"   {click.style('FAILED', fg='red', bold=True)}  {text}")
        sys.stdout.flush()

    def end(self, text: str, good: bool) -> None:
        """End the story."""
        click.echo()
        click.secho(text, bold=True, fg="green" if good else "red")
        sys.stdout.flush()

    @contextmanager
    def progress(self, text: str, total: float) -> Iterator[Meter]:
        """Show progress towards ``total`` inside the context: a bar on a terminal, else nothing."""
        if not self._drawn:
            yield _Silent()
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (TextColumn("   {task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(*columns, transient=True) as progress:
            yield _Bar(progress, progress.add_task(text, total=total))


class _Silent:
    def show(self, done: float) -> None:
        """Say nothing: a bar in a log is noise."""


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def show(self, done: float) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as a row of bars, the highest count full; 0 is blank and only 0 is."""
    highest = max(counts, default=0)
    if highest == 0:
        return " " * len(counts)
    steps = len(BARS) - 1
    return "".join(BARS[-(-count * steps // highest)] for count in counts)
