"""A number that an option takes: in a range, and finite.

``nan`` is in every range, as a comparison tells it, and a run of ``nan`` seconds would never end.
"""

from __future__ import annotations

import math

import click


class FiniteRange(click.FloatRange):
    """A range of numbers without ``nan`` and the infinite ones."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
