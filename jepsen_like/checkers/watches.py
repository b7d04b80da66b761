"""Judges watches: what was told must be what was written, in order, without gap or repeat.

A watch is asked for everything after a revision, and answers with the changes up to another one;
asked from there it goes on. So each answer covers the revisions ``after < r <= through``, and all
answers together, of any node and over any number of reconnects, must tell one and the same story.
An answer that says that the revisions were compacted tells nothing, and is never wrong.

It knows no real time but that nothing is told before it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jepsen_like.checkers.values import key_of
from jepsen_like.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found.

    Attributes:
        verdict: Whether the promise holds.
        reason: Why, in one sentence.
        entry: Of "no": the position in the history of the answer that is wrong.
    """

    verdict: Verdict
    reason: str
    entry: int | None = None


class Write(NamedTuple):
    """A write of several keys at once; null deletes.

    Attributes:
        invoked: Position of its invoke in the history.
        answered: Position of its answer; infinite where the outcome is unknown.
        puts: New values by key.
        guards: The values by key without which it would not have happened.
    """

    invoked: int
    answered: float
    puts: Mapping[str, Any]
    guards: Mapping[str, Any]


class Delivery(NamedTuple):
    """One answer of a watch.

    Attributes:
        entry: Position of the answer in the history.
        after: The revision it was asked from; that one is not told again.
        through: The revision up to which it tells everything; None if it could not.
        keys: The keys it is of; None for all.
        events: Revision, key and value (null: deleted) of each change.
    """

    entry: int
    after: int
    through: int | None
    keys: frozenset[str] | None
    events: Sequence[tuple[int, str, Any]]


Told = dict[int, dict[str, Any]]
"""By revision: what some watch told of it."""


def check_watches(
    deliveries: Sequence[Delivery], writes: Mapping[int, Write], unknown: Iterable[Write] = ()
) -> Judgement:
    """Judge what watches told.

    Args:
        deliveries: Their answers.
        writes: Every write that is known to have happened, by revision.
        unknown: Writes that may have happened, nobody knows when.

    Returns:
        "no" with the first wrong answer; "unknown" if no watch told anything; else "yes".
    """
    left = list(unknown)
    told: Told = {}
    for delivery in deliveries:
        wrong = _misordered(delivery) or _tell(delivery, told) or _missing(delivery, writes)
        if wrong:
            return Judgement("no", wrong, delivery.entry)
    for delivery in deliveries:
        wrong = _unwritten(delivery, writes, left) or _untold(delivery, told)
        if wrong:
            return Judgement("no", wrong, delivery.entry)
    if not told:
        return Judgement("unknown", "no watch told of a change")
    return Judgement("yes", "every watch told every change once, in order")


def told_by(deliveries: Iterable[Delivery]) -> Told:
    """Return what all watches together told, by revision."""
    told: Told = {}
    for delivery in deliveries:
        _tell(delivery, told)
    return told


def writer_of(changes: Mapping[str, Any], unknown: Iterable[Write]) -> Write | None:
    """Return the first write of unknown outcome that made these changes, maybe among others."""
    for write in unknown:
        if _explains(write, changes, frozenset(changes)):
            return write
    return None


def _misordered(delivery: Delivery) -> str | None:
    """Say what is wrong with an answer by itself."""
    if delivery.through is None:
        return "a watch told changes, and that it cannot" if delivery.events else None
    if delivery.through < delivery.after:
        return f"a watch after {delivery.after} was answered through {delivery.through}"
    last = delivery.after
    seen: set[tuple[int, str]] = set()
    for revision, key, _ in delivery.events:
        if revision < last or revision == delivery.after:
            return f"a watch told revision {revision} after {last}"
        if revision > delivery.through:
            return f"a watch told revision {revision}, beyond its end {delivery.through}"
        if (revision, key) in seen:
            return f"a watch told {key!r} at revision {revision} twice"
        if delivery.keys is not None and key not in delivery.keys:
            return f"a watch told of {key!r}, which it was not asked for"
        seen.add((revision, key))
        last = revision
    return None


def _tell(delivery: Delivery, told: Told) -> str | None:
    """Add what an answer told; say where it contradicts an earlier one."""
    for revision, key, value in delivery.events:
        changes = told.setdefault(revision, {})
        if key_of(changes.setdefault(key, value)) != key_of(value):
            return f"watches told {changes[key]!r} and {value!r} of {key!r} at revision {revision}"
    return None


def _events_by_revision(delivery: Delivery) -> Told:
    changes: Told = {}
    for revision, key, value in delivery.events:
        changes.setdefault(revision, {})[key] = value
    return changes


def _covers(delivery: Delivery, revision: int) -> bool:
    return delivery.through is not None and delivery.after < revision <= delivery.through


def _missing(delivery: Delivery, writes: Mapping[int, Write]) -> str | None:
    """Say which known write an answer left out, or told wrong, or told before it was asked for."""
    changes = _events_by_revision(delivery)
    for revision, write in writes.items():
        if not _covers(delivery, revision):
            continue
        told = changes.get(revision, {})
        if told and write.invoked > delivery.entry:
            return f"a watch told revision {revision} before that write was invoked"
        if not _explains(write, told, delivery.keys):
            return f"a watch told {told} at revision {revision}, and {dict(write.puts)} was written"
    return None


def _unwritten(
    delivery: Delivery, writes: Mapping[int, Write], unknown: Sequence[Write]
) -> str | None:
    """Say which change an answer told that nobody can have made."""
    for revision, changes in _events_by_revision(delivery).items():
        if revision in writes:
            continue
        able = (w for w in unknown if w.invoked < delivery.entry)
        if not any(_explains(write, changes, delivery.keys) for write in able):
            return f"a watch told {changes} at revision {revision}, which nobody wrote"
    return None


def _untold(delivery: Delivery, told: Told) -> str | None:
    """Say what an answer left out that another one told."""
    own = _events_by_revision(delivery)
    for revision, changes in told.items():
        if not _covers(delivery, revision):
            continue
        expected = {k: v for k, v in changes.items() if delivery.keys is None or k in delivery.keys}
        if expected.keys() - own.get(revision, {}).keys():
            return f"a watch left out {expected} at revision {revision}, which another one told"
    return None


def _explains(write: Write, changes: Mapping[str, Any], keys: frozenset[str] | None) -> bool:
    """Tell whether a write made exactly these changes. Deleting what is absent changes nothing."""
    if any(key not in write.puts for key in changes):
        return False
    return all(
        key_of(changes[key]) == key_of(value) if key in changes else value is None
        for key, value in write.puts.items()
        if keys is None or key in keys
    )
