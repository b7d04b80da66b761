"""Tells a story on standard output, chapter by chapter. Knows nothing of what it tells.

On a terminal it draws with rich; anywhere else it prints the same facts as plain lines, so that a
log of the demo reads like the demo.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*%#"
"""For a standard output that cannot show the others."""


class Narrator:
    """Tells the story, numbering its chapters."""

    def __init__(self) -> None:
        self._chapter = 0
        self._console = _console_on_a_terminal()

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """Tell a chapter inside the context; on a terminal something moves meanwhile."""
        self._chapter += 1
        self._tell("")
        self._tell(f"{self._chapter}. {title}", style="bold")
        if self._console is None:
            yield
        else:
            with self._console.status("", spinner="dots"):
                yield

    def fact(self, text: str) -> None:
        """Tell something that is so."""
        self._tell(f"   {text}")

    def proved(self, text: str) -> None:
        """Tell something that was checked and holds."""
        self._tell(f"   ok  {text}", style="green")

    def failed(self, text: str) -> None:
        """Tell something that was checked and does not hold."""
        self._tell(f"   FAILED  {text}", style="bold red")

    def end(self, text: str, good: bool) -> None:
        """End the story."""
        self._tell("")
        self._tell(text, style="bold green" if good else "bold red")

    def draw(self, counts: Sequence[int]) -> str:
        """Return counts as a row of bars that standard output can show."""
        try:
            BARS.encode(sys.stdout.encoding)
        except UnicodeEncodeError:
            return sparkline(counts, PLAIN_BARS)
        return sparkline(counts)

    def _tell(self, text: str, style: str = "") -> None:
        if self._console is None:
            click.echo(text)
            sys.stdout.flush()
        else:
            self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _console_on_a_terminal() -> Console | None:
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console()


@contextmanager
def progress_bar(text: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show how far something has come inside the context; call the value with how much is done.

    A bar on standard error if that is a terminal, else nothing: a bar in a log is noise.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


def sparkline(counts: Sequence[int], bars: str = BARS) -> str:
    """Draw counts as a row of bars, the highest count full; 0 is blank and only 0 is."""
    highest = max(counts, default=0)
    if highest == 0:
        return bars[0] * len(counts)
    steps = len(bars) - 1
    return "".join(bars[-(-count * steps // highest)] for count in counts)
