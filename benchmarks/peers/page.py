"""Puts a run into ``docs/performance.md``: what stands between two marks there is made here.

Everything else on the page is prose, and written by hand. ``python -m benchmarks.peers --page``
does it after a run, ``python -m benchmarks.peers.page`` once more, from the run's record alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import click

from benchmarks import growth_costs
from benchmarks.peers import plots, report
from benchmarks.peers.figures import Figures
from benchmarks.peers.measurement import RunRecord
from benchmarks.peers.plan import LIVES, PARTS

ROOT = Path(__file__).resolve().parents[2]
RECORD_NAME = "benchmarks/results/peers.json"
PAGE_NAME = "docs/performance.md"
GROWTH_NAME = "benchmarks/results/growth.json"
PLOTS_NAME = "docs/plots"
RECORD = ROOT / RECORD_NAME

BEGIN = "<!-- measured by benchmarks.peers from here on -->"
END = "<!-- measured by benchmarks.peers up to here -->"


ROUNDS_MIN = 5
"""The page is of a whole run: of fewer rounds nobody could tell chance from a difference."""


class PageInvalid(Exception):
    """The page does not have the two marks, in order and once."""


class RunNotWhole(click.ClickException):
    """The page is not of this run."""


def require_plots() -> None:
    """Go on only where plots can be drawn.

    Raises:
        click.UsageError: The library is missing.
    """
    if find_spec("matplotlib") is None:
        raise click.UsageError("plots need matplotlib: pip install 'multipaxos[test]'")


def figures_of(record: RunRecord, root: Path = ROOT) -> Figures:
    """Return the figures of a run, and those of ``benchmarks.growth`` that a tree has."""
    return Figures(record, growth_costs.read(root / GROWTH_NAME))


def require_whole(rounds: int, parts: Iterable[str]) -> None:
    """Go on only with as many rounds as the page shows, and all parts.

    Raises:
        RunNotWhole: There are fewer; the text says which are missing.
    """
    if rounds < ROUNDS_MIN:
        raise RunNotWhole(f"the page is of {ROUNDS_MIN} rounds, and this run has {rounds}")
    missing = [part for part in (*PARTS, *LIVES) if part not in set(parts)]
    if missing:
        raise RunNotWhole(f"the page has every part, and this run lacks {', '.join(missing)}")


def require_measured(record: RunRecord) -> None:
    """Go on only with a run that measured all that the page shows.

    Raises:
        RunNotWhole: It did not: of a part that has loads, each counts.
    """
    rounds = {row["round"] for row in record["measurements"]}
    shapes = set(Figures(record).shapes())
    lives = {
        "failover": record["failover"],
        "memory": record["memory"],
        "restart": record["restart"],
    }
    loads = [part for part, wanted in PARTS.items() if set(wanted) <= shapes]
    require_whole(len(rounds), [*loads, *(part for part, rows in lives.items() if rows)])


def section(figures: Figures) -> str:
    """Return the measured part of the page."""
    parts = [f"### {title}\n\n{body}" for title, body in report.sections(figures)]
    drawn = [
        f"![{plot.title}]({Path(PLOTS_NAME).name}/{plot.name}.svg)"
        for plot in plots.PLOTS
        if plot.has_data(figures)
    ]
    if drawn:
        parts.insert(2, "### Plots\n\n" + "\n".join(drawn))
    return "\n\n".join(parts)


def replaced(page: str, measured: str) -> str:
    """Return the page with its measured part replaced.

    Raises:
        PageInvalid: Nobody can tell where that is.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise PageInvalid(f"the page needs, once and in this order: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"


def write(record: RunRecord, root: Path = ROOT) -> None:
    """Write the page and its plots below the root of a tree.

    Raises:
        PageInvalid: The page has no place for it.
    """
    figures = figures_of(record, root)
    path = root / PAGE_NAME
    text = replaced(path.read_text(encoding="utf-8"), section(figures))
    plots.write(figures, root / PLOTS_NAME)
    path.write_text(text, encoding="utf-8")


@click.command()
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=RECORD,
    help=f"The record of the run; {RECORD_NAME} if it is not named.",
)
def main(json_file: Path) -> None:
    """Write the measured part of docs/performance.md, and its plots, from the record of a run."""
    require_plots()
    record = cast("RunRecord", json.loads(json_file.read_text(encoding="utf-8")))
    require_measured(record)
    write(record)


if __name__ == "__main__":
    main()
