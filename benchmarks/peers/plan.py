"""What a run asks of every system: its loads, by part. A table, and how long it takes.

Values of another size come last: on the same cluster, what is read afterwards would have that size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from benchmarks.peers.measurement import Load, Operation, System

LEVELS = (1, 16, 64, 256, 1024)
VALUE_SIZE = 64
CONNECTIONS = 8

ENTRIES = 100_000
"""Writes before memory is looked at, and entries in a log that is started from."""

OVERHEAD_S = 2.5
"""What a load takes beside its warm-up and its window: a client that starts, a look for quiet."""
CLUSTER_S = 8.0
"""What it takes to start and warm up a cluster, on average over the systems."""


class Shape(NamedTuple):
    """A load but for its connections and its time."""

    operation: Operation
    outstanding: int
    value_size: int


PARTS: Mapping[str, tuple[Shape, ...]] = {
    "writes": tuple(Shape("write", level, VALUE_SIZE) for level in LEVELS),
    "reads": tuple(Shape("read", level, VALUE_SIZE) for level in LEVELS),
    "mixed": (Shape("mixed", 64, VALUE_SIZE),),
    "sizes": (Shape("write", 64, 1024), Shape("write", 64, 64 * 1024)),
}
"""The parts of a run that are loads, each with its loads."""

LIVES = ("failover", "memory", "restart")
"""The parts of a run that are none: clusters whose nodes are killed, filled and started again."""


class Timing(NamedTuple):
    """How long each load runs.

    Attributes:
        warmup_s: Seconds before the window that counts.
        duration_s: Seconds of that window.
    """

    warmup_s: float
    duration_s: float


def loads_for(
    system: System, parts: Iterable[str], levels: Iterable[int], timing: Timing
) -> list[Load]:
    """Return the loads of a system's round, in order.

    Args:
        system: Leaves out what it leaves out.
        parts: Names of parts, among them those of ``PARTS`` whose loads are wanted.
        levels: Loads with another number of outstanding operations are left out.
        timing: How long each load runs.
    """
    wanted, allowed = set(parts) - system.leaves_out.keys(), set(levels)
    return [
        Load(shape.operation, shape.outstanding, CONNECTIONS, shape.value_size, *timing)
        for part, shapes in PARTS.items()
        if part in wanted
        for shape in shapes
        if shape.outstanding in allowed
    ]


def load_s(load: Load) -> float:
    """Return about how long one load takes."""
    return load.warmup_s + load.duration_s + OVERHEAD_S


def whole_parts(parts: Iterable[str], levels: Iterable[int]) -> list[str]:
    """Return those of the named parts of which no load is left out because of its level."""
    allowed = set(levels)
    return [
        part for part in parts if all(shape.outstanding in allowed for shape in PARTS.get(part, ()))
    ]
