"""A run as one HTML file.

The door of the package: it asks for the libraries of the page only when a page is made, so that
whoever merely fills in ``Facts`` needs none of them.
"""

from __future__ import annotations

from pathlib import Path

from jepsen_like.report.facts import Facts
from jepsen_like.report.libraries import ReportUnavailable, available, require

__all__ = ["Facts", "ReportUnavailable", "available", "render", "write"]


def render(facts: Facts) -> str:
    """Return the page. Equal facts give an equal page.

    Args:
        facts: What there is to tell. Its texts are escaped, whatever they hold.

    Returns:
        One HTML document that needs nothing else, and is forbidden to load anything.

    Raises:
        ReportUnavailable: jinja2 or matplotlib is not installed; ask ``available`` before a run.
    """
    require()
    from jepsen_like.report.page import render_page

    return render_page(facts)


def write(facts: Facts, path: Path | str) -> None:
    """Write the page to a file, in UTF-8.

    Args:
        facts: What there is to tell.
        path: The file; its directory exists.

    Raises:
        ReportUnavailable: As for ``render``.
        OSError: The file cannot be written.
    """
    Path(path).write_text(render(facts), encoding="utf-8", newline="\n")
