"""The page put together: which parts there are, and every text as it will stand there.

Nothing from a run reaches the page but through the templates, which escape it; the only markup
that they take as it is are our own style sheet, script and plot, and JSON that cannot end its
element. Should a text slip through nevertheless, the page's policy runs no script but ours, by its
hash, and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepsen_like.report import embedded, keys, plots, shown, views
from jepsen_like.report.diagram import lay_out
from jepsen_like.report.facts import Facts
from jepsen_like.report.operations import Paired, pair
from jepsen_like.report.window import look

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"

WINDOWS_MAX = 5
"""Impossible operations that are drawn in full."""
KEYS_MAX = 100
"""Keys in the table that needs no script."""

SIGNS = {"yes": "✓", "no": "✗", "unknown": "?"}
WORDS = {"yes": "All good", "no": "Violation", "unknown": "Unknown"}


def render_page(facts: Facts) -> str:
    """Return the page as one HTML document."""
    paired = pair(facts.history)
    index = keys.index(paired.operations, facts.impossible)
    script = _own("page.js")
    context: dict[str, Any] = {
        "verdict": facts.verdict,
        "verdict_sign": SIGNS[facts.verdict],
        "verdict_word": WORDS[facts.verdict],
        "title": shown.visible(facts.title),
        "sentence": shown.visible(facts.sentence, shown.TEXT_CHARS),
        "warnings": [shown.visible(text, shown.TEXT_CHARS) for text in facts.warnings],
        "replay": shown.visible(facts.replay, shown.TEXT_CHARS),
        "figures": views.figures(facts.counts, paired.operations),
        "policy": _policy(script),
        "style": _safe(_own("page.css")),
        "script": _safe(script),
        "plot": _plot(facts, paired),
        **_story(facts),
        **_findings(facts, index, paired.timed),
        **_faults(facts),
        **_operations(facts, paired, index),
    }
    context["parts"] = [(anchor, name) for anchor, name, part in PARTS if context.get(part)]
    return _environment().get_template("page.html").render(context)


PARTS = (
    ("impossible", "Impossible operation", "windows"),
    ("story", "Story", "story"),
    ("messages", "Messages", "diagram"),
    ("time", "Latency and throughput", "plot"),
    ("faults", "Faults and marks", "effects"),
    ("slots", "Slots", "slots"),
    ("operations", "Operations", "kinds"),
    ("keys", "Keys", "keys"),
)
"""Anchor, name, and what has to be there for the part to be."""


def _story(facts: Facts) -> dict[str, Any]:
    diagram = lay_out(facts.arrows, facts.story)
    steps, left_out = views.steps(facts.story)
    return {
        "story": steps,
        "story_left_out": left_out,
        "diagram": None if diagram is None else views.diagram(diagram),
    }


def _findings(facts: Facts, index: Sequence[keys.Key], timed: bool) -> dict[str, Any]:
    """Return the windows on what is impossible. The index begins with those keys."""
    wrong = [key for key in index if key.impossible is not None]
    windows = [
        look(key, facts.explained.get(key.name, ()), facts.bands) for key in wrong[:WINDOWS_MAX]
    ]
    return {
        "windows": [views.window(each, timed) for each in windows if each is not None],
        "windows_left_out": len(wrong) - len(windows),
        "several_keys": len(index) > 1 or any(key.name is not None for key in index),
    }


def _faults(facts: Facts) -> dict[str, Any]:
    return {
        "effects": views.tallies(facts.effects),
        "marks": views.tallies(facts.marks),
        "bands": views.bands(facts.bands),
        "bands_count": len(facts.bands),
        "slots": None if facts.slots is None else views.slots(facts.slots),
    }


def _operations(facts: Facts, paired: Paired, index: Sequence[keys.Key]) -> dict[str, Any]:
    errors = keys.errors(paired.operations, views.ERRORS_MAX)
    return {
        "kinds": [views.kind(each, paired.timed) for each in keys.kinds(paired.operations)],
        "errors": [views.error(*each) for each in errors[: views.ERRORS_MAX]],
        "errors_left_out": max(0, len(errors) - views.ERRORS_MAX),
        "stray": paired.stray,
        "keys": [views.key(each, facts.verdict, paired.timed) for each in index[:KEYS_MAX]],
        "keys_count": len(index),
        "data": _safe(embedded.pack(index, paired.timed)) if index else None,
    }


_PLACE = re.compile(r"(LANE|PHASE)(\d+)")


def _plot(facts: Facts, paired: Paired) -> plots.Plot | None:
    """Return the plot with the names of faults and phases in it, escaped."""
    from markupsafe import escape

    operations = paired.operations if paired.timed else []
    plot = plots.draw(operations, facts.bands, facts.phases)
    if plot is None:
        return None
    names = {"LANE": plot.lanes, "PHASE": plot.phases}

    def fill(found: re.Match[str]) -> str:
        return str(escape(shown.visible(names[found[1]][int(found[2])], plots.NAME_CHARS)))

    return plot._replace(svg=_safe(_PLACE.sub(fill, plot.svg)))


# --- what is ours --------------------------------------------------------------------------------


@cache
def _own(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _safe(text: str) -> Markup:
    """Return markup of ours, or JSON made inert, as what a template takes as it is."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - see the law of this file


def _policy(script: str) -> str:
    """Return what the page may do: run the one script, style itself, show pictures it holds."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
