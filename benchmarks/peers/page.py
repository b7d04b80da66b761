"""Puts a run into ``docs/performance.md``: what stands between two marks there is made here.

Everything else on the page is prose, and written by hand. ``python -m benchmarks.peers --page``
does it after a run, ``python -m benchmarks.peers.page`` once more, from the run's record alone.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import click

from benchmarks import growth_costs
from benchmarks.peers import plots, report
from benchmarks.peers.figures import Figures
from benchmarks.peers.measurement import RunRecord

ROOT = Path(__file__).resolve().parents[2]
RECORD_NAME = "benchmarks/results/peers.json"
PAGE_NAME = "docs/performance.md"
GROWTH_NAME = "benchmarks/results/growth.json"
PLOTS_NAME = "docs/plots"
RECORD = ROOT / RECORD_NAME

BEGIN = "<!-- measured by benchmarks.peers from here on -->"
END = "<!-- measured by benchmarks.peers up to here -->"


class PageInvalid(Exception):
    """The page does not have the two marks, in order and once."""


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
    write(cast("RunRecord", json.loads(json_file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
