"""Virtual time: a heap of events, one seed's randomness, and the trace.

Everything that happens in a simulation happens because ``step`` took the earliest event. Events
at one instant happen in the order they were planned. No real clock, no global randomness, no
order of a hash: the same seed gives the same trace, byte for byte (invariant 15).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from jepsen_like.sim.invariants.violation import Violation
from jepsen_like.sim.plan import Plan

Sink = Callable[[str], None]

STEPS_AT_ONE_INSTANT_MAX = 20_000
"""More than this without time moving on is a loop (a deadline that stays in the past)."""


class World:
    """Time, chance and what is written down about them.

    Args:
        seed: Decides everything.
        plan: What this seed drew.
        sink: Takes the trace line by line, or None to write none (several times faster).
    """

    def __init__(self, seed: int, plan: Plan, sink: Sink | None) -> None:
        self.seed = seed
        self.plan = plan
        self.now = 0.0
        self.rng = random.Random(seed * 7919 + 1)
        self.effects: Counter[str] = Counter()  # by fault: how often it changed something
        self.deliveries = 0
        self.tracing = sink is not None
        self._sink = sink
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._steps_now = 0  # taken without time moving on

    def at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        """Plan ``act(*arguments)`` for the time ``when``, or for now if that has passed."""
        self._sequence += 1
        heappush(self._heap, (max(when, self.now), self._sequence, act, arguments))

    def after(self, delay: float, act: Callable[..., None], *arguments: Any) -> None:
        """Plan ``act(*arguments)`` for ``delay`` seconds from now."""
        self._sequence += 1
        heappush(self._heap, (self.now + delay, self._sequence, act, arguments))

    def step(self) -> None:
        """Let the earliest event happen."""
        self.advance(self.now)

    def advance(self, until: float) -> None:
        """Let events happen, through the first that is not before ``until``.

        Raises:
            Violation: An invariant does not hold, or time does not move on.
        """
        heap = self._heap
        now = -1.0
        while now < until:
            now, _, act, arguments = heappop(heap)
            if now > self.now:
                self.now, self._steps_now = now, 0
            else:
                self._steps_now += 1
                if self._steps_now > STEPS_AT_ONE_INSTANT_MAX:
                    text = f"time does not move on; what happens last is {act.__qualname__}"
                    raise Violation(13, text)
            act(*arguments)

    def say(self, line: str) -> None:
        """Write one line of the trace. Callers on hot paths ask ``tracing`` first."""
        if self._sink is not None:
            self._sink(f"{self.now:11.6f} {line}")
