"""What something costs, counted in calls: equal on every machine, and on every run."""

from __future__ import annotations

import gc
import sys
from types import FrameType


class CallCounter:
    """Counts calls of Python and C functions, but not those that a garbage collection makes.

    Args:
        drivers: Files whose code only drives what is measured: their functions do not count, nor
            what these call of C.

    Attributes:
        python: Calls of functions written in Python; each time a generator goes on is one.
        c: Calls of functions written in C, as far as the interpreter tells them to profilers.
    """

    def __init__(self, *drivers: str) -> None:
        self.python = 0
        self.c = 0
        self._drivers = frozenset((__file__, *drivers))

    @property
    def calls(self) -> int:
        """Both."""
        return self.python + self.c

    def __enter__(self) -> CallCounter:
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        # The frame is that of the function called, for a C function that of its caller.
        if event == "call":
            self.python += frame.f_code.co_filename not in self._drivers
        elif event == "c_call":
            self.c += frame.f_code.co_filename not in self._drivers
