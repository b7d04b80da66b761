"""Streams of chance: one for each purpose, so that leaving one thing out changes no other draw.

Guards invariant 15 and the shrinking of schedules: what a link, a node, a spell or an operation
draws depends on the seed and on what it is, never on what else was drawn before.
"""

from __future__ import annotations

import random


def stream(seed: int, purpose: str, *numbers: int) -> random.Random:
    """Return the stream of one purpose, such as ``stream(seed, "loss", sender, to)``."""
    # A text is seeded by its SHA-512, not by `hash`: equal in every process.
    return random.Random("/".join((str(seed), purpose, *map(str, numbers))))
