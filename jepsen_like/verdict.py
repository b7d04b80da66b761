"""The three answers of every judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Verdict = Literal["yes", "no", "unknown"]
"""``yes``: shown to hold. ``no``: shown not to hold. ``unknown``: neither, for a stated reason."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return ``no`` if one is, else ``unknown`` if one is or there is none, else ``yes``."""
    seen = set(verdicts)
    if "no" in seen:
        return "no"
    return "yes" if seen == {"yes"} else "unknown"
