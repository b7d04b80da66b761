"""What a write costs one leader as something grows, and how many times the small cost the large is.

Pure, and apart from what measures it: a run beside peers judges it too, from the file of figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

By = Literal["calls", "CPU"]

RATIO_MAX: dict[By, float] = {"calls": 1.1, "CPU": 1.4}
FLAT: dict[str, tuple[int, int]] = {
    "keys": (1_000, 1_000_000),
    "entries": (1_000_000, 10_000_000),
}
"""What may grow without a write becoming dearer: between which sizes that is asked for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a write costs one leader, in one process.

    Attributes:
        part, size, machine: What grows, how much of it there is, and the state machine.
        python_calls, c_calls: Of functions, per write.
        blocks: Of memory that a write leaves behind.
        us: CPU µs of a write, each round; none with ``--counters``.
        first_us, last_us: CPU µs of a write while the log was filled, in its first and last tenth,
            snapshots included.
        snapshots: How many were begun in all.
    """

    part: str
    size: int
    machine: str
    python_calls: float
    c_calls: float
    blocks: float
    us: tuple[float, ...]
    first_us: float | None
    last_us: float | None
    snapshots: int


class Grown(NamedTuple):
    """How many times the cost at the smallest size that at the largest is.

    Attributes:
        part, machine: What grows, and the state machine.
        by: What is counted as cost.
        sizes: The smallest and the largest.
        times: The large cost over the small.
        rounds: Of which the costs are medians; calls are the same in each, and counted once.
    """

    part: str
    machine: str
    by: By
    sizes: tuple[int, int]
    times: float
    rounds: int


def grown(costs: Sequence[Cost]) -> list[Grown]:
    """Return, for what is to be flat, how the cost has grown."""
    found: list[Grown] = []
    machines = dict.fromkeys(cost.machine for cost in costs)
    for part in FLAT:
        for machine in machines:
            same = [cost for cost in costs if (cost.part, cost.machine) == (part, machine)]
            if len(same) < 2:
                continue
            few, many = (pick(same, key=lambda cost: cost.size) for pick in (min, max))
            sizes = few.size, many.size
            calls = (many.python_calls + many.c_calls) / (few.python_calls + few.c_calls)
            found.append(Grown(part, machine, "calls", sizes, calls, 1))
            if few.us and many.us:
                times = median(many.us) / median(few.us)
                rounds = min(len(few.us), len(many.us))
                found.append(Grown(part, machine, "CPU", sizes, times, rounds))
    return found


def read(path: Path) -> list[Cost]:
    """Return the costs in a file that ``benchmarks.growth`` wrote; none if it is not there."""
    if not path.exists():
        return []
    written: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["costs"]
    names = [field.name for field in fields(Cost)]
    return [Cost(**{name: cost[name] for name in names}) for cost in written]
