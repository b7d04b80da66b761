"""Says on standard error how far a run is, and how long it will still take."""

from __future__ import annotations

import sys
import time


class Progress:
    """How much of what was estimated is over.

    Args:
        estimate_s: About how long the whole takes.
    """

    def __init__(self, estimate_s: float) -> None:
        self._estimate_s = estimate_s
        self._over_s = 0.0
        self._started = time.monotonic()
        say(f"this takes about {_duration(estimate_s)}")

    def done(self, estimate_s: float, text: str) -> None:
        """Say what was done, which was estimated to take so long, and how long the rest takes."""
        self._over_s += estimate_s
        pace = (time.monotonic() - self._started) / self._over_s if self._over_s else 1.0
        left_s = max(0.0, self._estimate_s - self._over_s) * pace
        share = self._over_s / self._estimate_s if self._estimate_s else 1.0
        say(f"[{share:4.0%}, {_duration(left_s)} left] {text}")


def say(text: str) -> None:
    """Print to standard error: standard output is for the tables."""
    print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
