"""A run's figures as drawings, one SVG file each, by matplotlib. Equal figures give equal files.

matplotlib takes a second to load, and is not everywhere: it is loaded when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.figures import Field, Figures
from benchmarks.peers.measurement import Operation
from benchmarks.peers.plan import LEVELS, VALUE_SIZE, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Mapping[str, str] = {
    "ours-minimal": "#0072b2",
    "ours": "#56b4e9",
    "ours-awaiting": "#009e73",
    "etcd": "#d55e00",
    "zookeeper": "#e69f00",
    "pysyncobj journal": "#cc79a7",
    "pysyncobj journal batched": "#8a4a6f",
}
"""Told apart by people who see colours differently; other systems are grey."""
GREY = "#777777"

STYLE: Any = {  # names by name: which there are differs between releases of the library
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks.peers",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a field of a load over the operations outstanding, a line per system."""

    title: str
    operation: Operation
    field: Field
    unit: str
    factor: float = 1.0

    def points(self, figures: Figures, system: str) -> list[tuple[int, float]]:
        """Return what to draw of a system."""
        medians = (
            (level, figures.median(system, Shape(self.operation, level, VALUE_SIZE), self.field))
            for level in LEVELS
        )
        return [(level, value * self.factor) for level, value in medians if value is not None]


@dataclass(frozen=True)
class Plot:
    """One file: panels side by side."""

    name: str
    title: str
    panels: Sequence[Panel]

    def has_data(self, figures: Figures) -> bool:
        """Whether there is anything to draw."""
        return any(
            panel.points(figures, system) for panel in self.panels for system in figures.systems()
        )


PLOTS = (
    Plot(
        "throughput",
        "Operations per second over operations outstanding",
        (
            Panel("durable writes", "write", "ops_s", "operations/s"),
            Panel("linearizable reads", "read", "ops_s", "operations/s"),
        ),
    ),
    Plot(
        "write-latency",
        "Latency of writes over operations outstanding",
        (
            Panel("durable writes, p50", "write", "p50_ms", "ms"),
            Panel("durable writes, p99", "write", "p99_ms", "ms"),
        ),
    ),
    Plot(
        "read-latency",
        "Latency of reads over operations outstanding",
        (
            Panel("linearizable reads, p50", "read", "p50_ms", "ms"),
            Panel("linearizable reads, p99", "read", "p99_ms", "ms"),
        ),
    ),
    Plot(
        "cpu",
        "CPU time for 1,000 writes over operations outstanding",
        (
            Panel("all servers", "write", "srv_cpu_s_per_1000", "CPU ms for 1,000 writes", 1000),
            Panel("client", "write", "client_cpu_s_per_1000", "CPU ms for 1,000 writes", 1000),
        ),
    ),
)


def write(figures: Figures, directory: Path) -> None:
    """Draw everything there are figures for.

    Args:
        figures: The run.
        directory: Gets a file for each plot; is made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        if plot.has_data(figures):
            _draw(plot, figures, directory / f"{plot.name}.svg")


def _draw(plot: Plot, figures: Figures, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own file says
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        FigureCanvasSVG(figure)
        (all_axes,) = figure.subplots(1, len(plot.panels), squeeze=False)
        for axes, panel in zip(all_axes, plot.panels, strict=True):
            _draw_panel(axes, panel, figures)
        lines = {line.get_label(): line for axes in all_axes for line in axes.get_lines()}
        figure.legend(handles=[*lines.values()], loc="outside lower center", ncols=len(lines))
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw_panel(axes: Axes, panel: Panel, figures: Figures) -> None:
    for system in figures.systems():
        points = panel.points(figures, system)
        if points:
            levels, values = zip(*points, strict=True)
            colour = COLOURS.get(system, GREY)
            axes.plot(levels, values, marker="o", markersize=4, color=colour, label=system)
    axes.set_title(panel.title)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(LEVELS, [f"{level:,}" for level in LEVELS])
    axes.set_xlabel("operations outstanding")
    axes.set_ylabel(panel.unit)
