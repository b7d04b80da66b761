"""What something costs, counted in calls: equal on every machine, and on every run."""

from __future__ import annotations

import gc
import sys
from types import FrameType


class CallCounter:
    """Counts calls of Python and C functions, but not those that a garbage collection makes."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> CallCounter:
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
