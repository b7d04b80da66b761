"""Latency and throughput over time, with the faults below them: one drawing, by matplotlib.

It returns SVG for the inside of a page. Colours are left to the page's style sheet, and texts that
come from a run are put in by the page, which escapes them: the drawing itself holds only texts of
ours. The same figures give the same drawing.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jepsen_like.report.facts import Band, Phase
from jepsen_like.report.operations import NANOSECONDS, Operation, Outcome
from jepsen_like.report.quantiles import quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_MAX = 3_000
"""Up to this many operations are drawn one by one; more become a density with percentiles."""
MARKED_MAX = 1_500
"""How many failed and how many unknown operations are drawn one by one, evenly chosen."""
BANDS_MAX = 400
"""How many faults are drawn; a page says when there are more."""
LANES_MAX = 14
"""How many kinds of fault get a lane of their own."""
NAME_CHARS = 16
"""Of the name of a fault or a phase."""
WIDTH = 640.0
"""Of the axes, in points, about."""
PHASE_ROWS, PHASE_CHAR = 3, 4.8
COLUMNS, ROWS = 240, 64
"""Cells of the density."""
SLICES = 120
"""Bars of the throughput, and points of a percentile."""

INK, FAINT, OK, FAIL, INFO, FAULT, GROUND = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
    "#060606",
    "#070707",
)
"""Stand-ins: the page's style sheet says what they look like, in the light and in the dark."""
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--line)",
    OK: "var(--ok)",
    FAIL: "var(--fail)",
    INFO: "var(--info)",
    FAULT: "var(--fault)",
    GROUND: "var(--ground)",
}
DENSITY = (0.17, 0.47, 0.75)
"""Of a picture's dots, which no style sheet reaches: a blue that reads on white and on black."""
MARKS: Mapping[Outcome, tuple[str, str]] = {
    "ok": ("o", OK),
    "fail": ("x", FAIL),
    "info": ("^", INFO),
}


class Plot(NamedTuple):
    """A drawing.

    Attributes:
        svg: Our own markup; ``LANEn`` and ``PHASEn`` stand where names of faults and phases go.
        lanes: Kinds of fault, from the top down.
        phases: Names of phases, from left to right.
        dense: Whether operations were too many to draw each.
        bands_left_out: Faults that were not drawn.
    """

    svg: str
    lanes: list[str]
    phases: list[str]
    dense: bool
    bands_left_out: int


def draw(
    operations: Sequence[Operation], bands: Sequence[Band], phases: Sequence[Phase]
) -> Plot | None:
    """Return the drawing, or None if there is nothing to draw."""
    if not operations and not bands:
        return None
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    kinds = _lanes(bands)
    span = _span(operations, bands, phases)
    shown = [_clamped(band, span) for band in bands if band.kind in kinds][:BANDS_MAX]
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own file says
        mpl.rcParams.update(_STYLE)
        lanes_height = 0.3 + 0.24 * len(kinds) if kinds else 0.0
        heights = [2.6, 1.5] + ([lanes_height] if kinds else [])
        figure = Figure(figsize=(10.4, sum(heights) + 0.75))
        FigureCanvasSVG(figure)
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
        figure.subplots_adjust(
            left=0.125,
            right=0.985,
            top=1 - 0.3 / figure.get_figheight(),
            bottom=0.45 / figure.get_figheight(),
            hspace=0.1,
        )
        latency, throughput = axes[0][0], axes[1][0]
        dense = len(operations) > POINTS_MAX
        _draw_latency(latency, operations, span, dense)
        _draw_throughput(throughput, operations, span)
        for each in (latency, throughput):
            _shade(each, shown)
        names = _draw_phases(latency, phases, span)
        if kinds:
            _draw_lanes(axes[2][0], kinds, shown)
        figure.align_ylabels()
        bottom = axes[-1][0]
        bottom.set_xlim(0, span)
        bottom.set_xlabel("seconds since the run began")
        svg = _svg(figure)
    return Plot(svg, kinds, names, dense, len(bands) - len(shown))


_STYLE: Any = {  # names by name: which there are differs between releases of the library
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}


def _lanes(bands: Sequence[Band]) -> list[str]:
    """Return the kinds of fault that get a lane, in the order in which they first struck."""
    first: dict[str, float] = {}
    for band in bands:
        first[band.kind] = min(band.start_s, first.get(band.kind, math.inf))
    return sorted(first, key=lambda kind: (first[kind], kind))[:LANES_MAX]


def _span(operations: Sequence[Operation], bands: Sequence[Band], phases: Sequence[Phase]) -> float:
    ends = [max(each.start, each.stop or 0) / NANOSECONDS for each in operations]
    ends += [band.stop_s for band in bands if math.isfinite(band.stop_s)]
    ends += [phase.stop_s for phase in phases if math.isfinite(phase.stop_s)]
    return max(ends, default=0.0) * 1.005 or 1.0


def _clamped(band: Band, span: float) -> Band:
    """Return a fault within the drawing: one that never ended lasts to its edge."""
    start, stop = (min(max(0.0, each), span) for each in (band.start_s, band.stop_s))
    return replace(band, start_s=start, stop_s=max(start, stop))


# --- latency -------------------------------------------------------------------------------------


def _draw_latency(axes: Axes, operations: Sequence[Operation], span: float, dense: bool) -> None:
    """Draw when each operation began and how long it took, on a logarithmic scale."""
    points: dict[Outcome, list[tuple[float, float]]] = {"ok": [], "fail": [], "info": []}
    answers: list[tuple[float, float]] = []
    for each in operations:
        if each.latency is not None:
            decades = math.log10(max(each.latency, 1_000) / NANOSECONDS)
            point = (each.start / NANOSECONDS, decades)
            # Among very many, a "no" is an answer like others, and would hide them.
            if dense and (each.outcome == "ok" or (each.outcome == "fail" and not each.error)):
                answers.append(point)
            else:
                points[each.outcome].append(point)
    every = [y for each_one in (answers, *points.values()) for _, y in each_one]
    low, high = math.floor(min(every, default=-3.0)), math.ceil(max(every, default=0.0) + 1e-9)
    high = max(high, low + 1)
    if dense:
        _draw_density(axes, answers, (span, low, high))
        _draw_quantiles(axes, answers, span)
    for outcome, (marker, colour) in MARKS.items():
        chosen = points[outcome]
        if dense:
            chosen = chosen[:: max(1, math.ceil(len(chosen) / MARKED_MAX))]
        if chosen:
            hollow: Any = {} if marker == "x" else {"markerfacecolor": "none"}
            axes.plot(
                [x for x, _ in chosen],
                [y for _, y in chosen],
                linestyle="none",
                marker=marker,
                color=colour,
                markersize=3.4,
                markeredgewidth=0.8,
                label=outcome,
                **hollow,
            )
    axes.set_ylim(low, high)
    axes.set_yticks(range(low, high + 1), [_decade(each) for each in range(low, high + 1)])
    axes.set_ylabel("latency")
    if every:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=6,
            frameon=False,
            borderaxespad=0,
            handletextpad=0.4,
            columnspacing=1.4,
        )


def _decade(power: int) -> str:
    for least, unit in ((0, "s"), (-3, "ms"), (-6, "µs")):
        if power >= least:
            return f"{10 ** (power - least):,} {unit}"
    return f"{10 ** (power + 9):,} ns"


def _draw_density(
    axes: Axes, points: Sequence[tuple[float, float]], bounds: tuple[float, int, int]
) -> None:
    """Draw how many operations fell where, as a picture of a bounded number of dots."""
    span, low, high = bounds
    cells = [[0] * COLUMNS for _ in range(ROWS)]
    for x, y in points:
        column = min(COLUMNS - 1, int(x / span * COLUMNS))
        row = min(ROWS - 1, int((y - low) / (high - low) * ROWS))
        cells[row][column] += 1
    most = math.log1p(max((count for row in cells for count in row), default=0)) or 1.0
    picture = [
        [(*DENSITY, 0.15 + 0.85 * math.log1p(count) / most if count else 0.0) for count in row]
        for row in cells
    ]
    axes.imshow(
        picture,
        extent=(0, span, low, high),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=1,
    )


def _draw_quantiles(axes: Axes, points: Sequence[tuple[float, float]], span: float) -> None:
    slices: list[list[float]] = [[] for _ in range(SLICES)]
    for x, y in points:
        slices[min(SLICES - 1, int(x / span * SLICES))].append(y)
    for column in slices:
        column.sort()
    for share, dashes, width in ((0.5, "-", 1.5), (0.95, "--", 1.2), (0.99, ":", 1.4)):
        xs = [(index + 0.5) * span / SLICES for index in range(SLICES)]
        ys = [quantile(column, share) if column else math.nan for column in slices]
        axes.plot(xs, ys, dashes, color=INK, linewidth=width, label=f"{share:.0%}")


# --- throughput ----------------------------------------------------------------------------------


def _draw_throughput(axes: Axes, operations: Sequence[Operation], span: float) -> None:
    """Draw how many operations ended per second, by outcome; unknown ones where they began."""
    width = span / SLICES
    per: dict[Outcome, list[int]] = {outcome: [0] * SLICES for outcome in MARKS}
    for each in operations:
        when = each.start if each.stop is None else each.stop
        per[each.outcome][min(SLICES - 1, max(0, int(when / NANOSECONDS / width)))] += 1
    edges = [index * width for index in range(SLICES + 1)]
    lines: dict[Outcome, str] = {"ok": "-", "fail": "--", "info": "-."}
    for outcome, (_, colour) in MARKS.items():
        if any(per[outcome]):
            rates = [count / width for count in per[outcome]]
            axes.stairs(
                rates,
                edges,
                color=colour,
                linestyle=lines[outcome],
                linewidth=1.2,
                label=outcome,
                baseline=None,
            )
            if outcome == "ok":
                axes.stairs(rates, edges, color=colour, alpha=0.15, fill=True)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("per second")


# --- faults --------------------------------------------------------------------------------------


def _draw_phases(axes: Axes, phases: Sequence[Phase], span: float) -> list[str]:
    """Mark where phases begin, and leave room for their names: short ones stand in two rows."""
    top = axes.get_ylim()[1]
    ends = [0.0] * PHASE_ROWS
    for index, phase in enumerate(phases):
        axes.axvline(phase.start_s, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
        left = phase.start_s / span * WIDTH
        width = PHASE_CHAR * min(len(phase.name), NAME_CHARS) + 8
        to_left = left + width > WIDTH
        if to_left:
            left -= width
        free = [row for row, end in enumerate(ends) if end <= left]
        row = free[0] if free else index % PHASE_ROWS
        ends[row] = left + width
        axes.annotate(
            f"PHASE{index}",
            (phase.start_s, top),
            xytext=(-3 if to_left else 3, -3 - 10 * row),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va="top",
            fontsize=8,
        )
    return [phase.name for phase in phases]


def _range(band: Band) -> tuple[float, float]:
    return band.start_s, band.stop_s - band.start_s


def _shade(axes: Axes, bands: Sequence[Band]) -> None:
    """Let faults be seen behind what they changed."""
    if bands:
        axes.broken_barh(
            [_range(band) for band in bands],
            (0, 1),
            transform=axes.get_xaxis_transform(),
            facecolor=FAULT,
            alpha=0.09,
            linewidth=0,
            zorder=0,
        )


def _draw_lanes(axes: Axes, kinds: Sequence[str], bands: Sequence[Band]) -> None:
    """Draw each fault as a bar: full if it changed something, hollow and dashed if not."""
    full: Any = {"facecolor": FAULT, "edgecolor": FAULT, "linewidth": 0.8}
    hollow: Any = {**full, "facecolor": "none", "linestyle": "--"}
    for row, kind in enumerate(kinds):
        own = [band for band in bands if band.kind == kind]
        for struck, look in ((True, full), (False, hollow)):
            ranges = [_range(band) for band in own if bool(band.effects) == struck]
            if ranges:
                axes.broken_barh(ranges, (row - 0.31, 0.62), **look)
        # However short, it is seen.
        starts = [band.start_s for band in own]
        axes.plot(starts, [row] * len(own), linestyle="none", marker="|", color=FAULT, markersize=7)
    axes.set_yticks(range(len(kinds)), [f"LANE{index}" for index in range(len(kinds))])
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


# --- the drawing as markup -----------------------------------------------------------------------

_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_STYLESHEET = re.compile(r"<style\b.*?</style>", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(?::xlink)?="[^"]*"')
_SIZE = re.compile(r'<svg\b[^>]*?viewBox="([^"]*)"[^>]*>')
_GROUPS = re.compile(r'<g id="[^"]*"')
_FONT = re.compile(r"font(?:-size)?: (\d+(?:\.\d+)?)px(?: [^;\"]*)?(?:; font-family: [^;\"]*)?")
_COLOUR = re.compile("|".join(VARIABLES))


def _svg(figure: Figure) -> str:
    """Return the figure as an element of a page: no address, no style of its own, no date."""
    out = io.StringIO()
    figure.savefig(
        out,
        format="svg",
        transparent=True,
        dpi=100,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    svg = _PROLOG.sub("", out.getvalue(), count=1)
    for pattern in (_METADATA, _STYLESHEET):
        svg = pattern.sub("", svg)
    svg = _SIZE.sub(
        r'<svg class="plot" viewBox="\1" role="img" aria-labelledby="plot-caption">', svg, count=1
    )
    svg = _NAMESPACES.sub("", svg).replace("xlink:href", "href")
    svg = _GROUPS.sub("<g", svg)
    svg = _FONT.sub(r"font-size: \1px", svg)
    return _COLOUR.sub(lambda found: VARIABLES[found.group()], svg)
