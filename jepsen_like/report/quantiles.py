"""Quantiles of figures that are in order already."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest element that at least ``share`` of all are not above.

    Args:
        ordered: At least one figure, ascending.
        share: Above 0, and at most 1.
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
