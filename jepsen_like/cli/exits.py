"""How every command ends."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses, equal for every command."""

    YES = 0
    """All good."""
    NO = 1
    """A violation was found."""
    UNKNOWN = 2
    """Nothing was found, and too little was shown to say that all is good."""
    BAD_INPUT = 3
    """The input or the harness itself is at fault: no verdict."""
