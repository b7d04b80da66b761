"""The figures of a run, looked up in its record: medians of rounds. Pure: knows no process.

Rounds that other work disturbed do not count, unless all were: then all count.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from benchmarks.growth_costs import FLAT, By, Cost, grown
from benchmarks.peers.measurement import LoadRecord, MemoryRecord, RunRecord
from benchmarks.peers.plan import ENTRIES, VALUE_SIZE, Shape

Field = Literal[
    "ops_s",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p999_ms",
    "client_cores",
    "client_cpu_s_per_1000",
    "srv_cpu_s_per_1000",
    "leader_cpu_s_per_1000",
    "follower_cpu_s_per_1000",
]


class Sampled(NamedTuple):
    """A figure, and of how many samples it is: the fewest that any system has that it compares."""

    value: float | None
    samples: int


NOTHING = Sampled(None, 0)


class Figures:
    """What a run found.

    Args:
        record: Of the run.
        costs: What ``benchmarks.growth`` found, if it was run.
    """

    def __init__(self, record: RunRecord, costs: Sequence[Cost] = ()) -> None:
        self.record = record
        self._grown = grown(costs)
        self._rows: dict[tuple[str, Shape], list[LoadRecord]] = {}
        for row in record["measurements"]:
            shape = Shape(row["operation"], row["outstanding"], row["value_size"])
            self._rows.setdefault((row["system"], shape), []).append(row)

    def systems(self) -> list[str]:
        """Return the systems that a load was put on, in the order of the run's versions."""
        measured = {system for system, _ in self._rows}
        return [system for system in self.record["versions"] if system in measured]

    def shapes(self) -> list[Shape]:
        """Return the loads that any system was put under."""
        return list(dict.fromkeys(shape for _, shape in self._rows))

    def rows(self, system: str, shape: Shape) -> list[LoadRecord]:
        """Return the rounds of one load that count."""
        rows = self._rows.get((system, shape), [])
        return [row for row in rows if not row["disturbed"]] or rows

    def values(self, system: str, shape: Shape, field: Field) -> list[float]:
        """Return one field of the rounds that count, where it is known."""
        known = (row[field] for row in self.rows(system, shape))
        return [value for value in known if value is not None]

    def median(self, system: str, shape: Shape, field: Field) -> float | None:
        """Return the median of one field, or None if it was not measured."""
        return median(self.values(system, shape, field))

    def sampled(self, system: str, shape: Shape, field: Field) -> Sampled:
        """Return the median of one field, and of how many rounds."""
        return sampled(self.values(system, shape, field))

    def floor_ms(self) -> Sampled:
        """Return the medians of a sync and of a round trip over loopback, added."""
        floors = self.record["floors"]
        sync = median([each["sync_ms"] for each in floors])
        round_trip = median([each["round_trip_ms"] for each in floors])
        if sync is None or round_trip is None:
            return NOTHING
        return Sampled(sync + round_trip, len(floors))

    def failover_gaps_s(self, system: str) -> list[float]:
        """Return the gap of each SIGKILL of a leader."""
        return [row["gap_s"] for row in self.record["failover"] if row["system"] == system]

    def rss_mib(self, system: str) -> list[float]:
        """Return the RSS of the largest server after ``ENTRIES`` writes, of each round."""
        return [max(row["rss_mib"]) for row in self._memory(system)]

    def pss_mib(self, system: str) -> list[float]:
        """Return the PSS of the largest server after ``ENTRIES`` writes, of each round."""
        return [max(row["pss_mib"]) for row in self._memory(system)]

    def imports_s(self, system: str) -> list[float]:
        """Return how long loading the program took at each restart."""
        return [
            row["import_s"]
            for row in self.record["restart"]
            if row["system"] == system and row["entries"] == ENTRIES
        ]

    def slots(self, system: str) -> list[float]:
        """Return how many slots of the log ``ENTRIES`` took before each restart, where known."""
        rows = (row for row in self.record["restart"] if row["system"] == system)
        return [row["slots"] for row in rows if row["entries"] == ENTRIES and row["slots"]]

    def restarts_beyond_import_s(self, system: str) -> list[float]:
        """Return how long each restart with ``ENTRIES`` took beside loading the program."""
        rows = (row for row in self.record["restart"] if row["system"] == system)
        return [row["ready_s"] - row["import_s"] for row in rows if row["entries"] == ENTRIES]

    def grown(self, part: str, machine: str, by: By) -> Sampled:
        """Return how many times dearer a write is between the sizes that were asked for."""
        wanted = part, machine, by, FLAT[part]
        found = [each for each in self._grown if each[:4] == wanted]
        return Sampled(found[0].times, found[0].rounds) if found else NOTHING

    def _memory(self, system: str) -> list[MemoryRecord]:
        rows = (row for row in self.record["memory"] if row["system"] == system)
        return [row for row in rows if row["writes"] == ENTRIES]


def writes(outstanding: int) -> Shape:
    """Return the load of 64-byte writes."""
    return Shape("write", outstanding, VALUE_SIZE)


def reads(outstanding: int) -> Shape:
    """Return the load of reads."""
    return Shape("read", outstanding, VALUE_SIZE)


def median(values: Sequence[float]) -> float | None:
    """Return the median, or None of nothing."""
    return statistics.median(values) if values else None


def sampled(values: Sequence[float]) -> Sampled:
    """Return the median of samples, and how many there are."""
    return Sampled(median(values), len(values))


def ratio(value: float | None, base: float | None) -> float | None:
    """Return ``value / base``, or None if one of them is not known."""
    return None if value is None or not base else value / base


def compared(figure: Sampled, base: Sampled) -> Sampled:
    """Return how many times the base a figure is."""
    return Sampled(ratio(figure.value, base.value), min(figure.samples, base.samples))


def best(figures: Iterable[Sampled]) -> Sampled:
    """Return the largest figure; not known if one of them is not: it might be that."""
    known = list(figures)
    values = [value for value, _ in known if value is not None]
    largest = max(values) if len(values) == len(known) else None
    return Sampled(largest, min(samples for _, samples in known))
