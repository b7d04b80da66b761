"""The index of keys: what happened to each, the worst first.

A key is worse if an operation on it has no explanation, then if more of its operations are unknown
or failed. It looks at outcomes, not at models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jepsen_like.report.operations import Operation, Outcome, tally
from jepsen_like.report.quantiles import quantile


class Key(NamedTuple):
    """One key.

    Attributes:
        name: As in the history; None where there is one object.
        operations: In the order in which they began.
        counts: By outcome.
        slowest: Of the latencies of what was ``ok``, in nanoseconds; None if there is none.
        impossible: The first operation that no order explains, or None.
    """

    name: str | None
    operations: Sequence[Operation]
    counts: Mapping[str, int]
    slowest: float | None
    impossible: Operation | None


def index(operations: Iterable[Operation], impossible: Mapping[str | None, int]) -> list[Key]:
    """Return all keys, the worst first.

    Args:
        operations: In the order in which they began.
        impossible: By key: the position of an entry of the operation without an explanation.
    """
    by_key: dict[str | None, list[Operation]] = {}
    for operation in operations:
        by_key.setdefault(operation.key, []).append(operation)
    keys = [_key(name, own, impossible.get(name)) for name, own in by_key.items()]
    return sorted(keys, key=_badness)


def _key(name: str | None, operations: Sequence[Operation], position: int | None) -> Key:
    latencies = _latencies(operations)
    found = None
    if position is not None:
        at = (each for each in operations if position in (each.invoked_at, each.answered_at))
        found = next(at, None)
    return Key(
        name,
        operations,
        tally(operations),
        latencies[-1] if latencies else None,
        found,
    )


def _latencies(operations: Iterable[Operation]) -> list[int]:
    """Return how long those took that were ``ok``, ascending."""
    return sorted(
        each.latency for each in operations if each.outcome == "ok" and each.latency is not None
    )


def _badness(key: Key) -> tuple[bool, int, int, int, str]:
    counts = key.counts
    sound = key.impossible is None
    return sound, -counts["info"], -counts["fail"], -counts["operations"], key.name or ""


class Kind(NamedTuple):
    """All operations of one name: how they ended, and how long the ``ok`` ones took."""

    f: str
    counts: Mapping[str, int]
    quantiles: Sequence[float]


SHARES = (0.5, 0.95, 0.99, 1.0)
"""The quantiles of a ``Kind``."""


def kinds(operations: Iterable[Operation]) -> list[Kind]:
    """Return the operations by name, in the order of names."""
    by_name: dict[str, list[Operation]] = {}
    for operation in operations:
        by_name.setdefault(operation.f, []).append(operation)
    return [_kind(f, by_name[f]) for f in sorted(by_name)]


def _kind(f: str, operations: Sequence[Operation]) -> Kind:
    latencies = _latencies(operations)
    quantiles = [quantile(latencies, share) for share in SHARES] if latencies else []
    return Kind(f, tally(operations), quantiles)


_NUMBER = re.compile(r"\d+")


def errors(operations: Iterable[Operation], most: int) -> list[tuple[str, Outcome, int]]:
    """Return what failed operations said, and how often, the most frequent first.

    If there are more than ``most`` different texts, numbers are taken for equal: ports and times
    would make a table of one error.
    """
    said: Counter[tuple[str, Outcome]] = Counter(
        (each.error or "", each.outcome) for each in operations if each.outcome != "ok"
    )
    if len(said) > most:
        alike: Counter[tuple[str, Outcome]] = Counter()
        for (error, outcome), count in said.items():
            alike[_NUMBER.sub("#", error), outcome] += count
        said = alike
    ordered = sorted(said.items(), key=lambda item: (-item[1], item[0]))
    return [(error, outcome, count) for (error, outcome), count in ordered]
