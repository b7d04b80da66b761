"""What changes a task log is known to have made, by revision, from what its clients were answered.

An answer that names the revision which its operation made says what became of a task there. Reads
and watches that speak of the same revision must say the same. A submission or a completion that is
repeated is answered like the first one; cancellations are left out, for they may change nothing and
do not say so. It judges nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

from jepsen_like.checkers.task_records import Records, Spell, Task, Told
from jepsen_like.checkers.values import key_of

OPEN = frozenset({"blocked", "waiting", "ready"})
"""States of a task that nobody has and that is not at its end."""


class Change(NamedTuple):
    """One change of a task.

    Attributes:
        revision: That it made.
        id: The task.
        states: In which of them it left the task.
        token: Of the task afterwards; None if that is not known.
        spell: Of the operation that made it.
    """

    revision: int
    id: str
    states: frozenset[str]
    token: int | None
    spell: Spell


def changes(records: Records) -> list[Change]:
    """Return the known changes in the order of their revisions."""
    found = [
        Change(revision, id_, states, token, spell)
        for id_, task in records.tasks.items()
        for revision, states, token, spell in _changes_of(task)
        if revision is not None
    ]
    return sorted(found, key=lambda change: change.revision)


def _changes_of(task: Task) -> Iterator[tuple[int | None, frozenset[str], int | None, Spell]]:
    created = next((each.created for each in task.submits if each.created is not None), None)
    yield created, OPEN, 0, _first([each.spell for each in task.submits])
    for claimed in task.claims:
        yield claimed.token, frozenset({"claimed"}), claimed.token, claimed.spell
    for told in [each for each in task.completes if each.taken][:1]:
        same = [each for each in task.completes if each.taken is not False and _same(each, told)]
        spell = _first([each.spell for each in same])
        yield told.revision, frozenset({"done"}), told.token, spell
    for told in task.fails:
        if told.taken:
            yield told.revision, OPEN | {"dead"}, told.token, told.spell


def _same(one: Told, other: Told) -> bool:
    return one.token == other.token and key_of(one.result) == key_of(other.result)


def _first(spells: Sequence[Spell]) -> Spell:
    """Return when the first of equal operations happened: others are answered like that one."""
    invoked = min((spell.invoked for spell in spells), default=0)
    return Spell(invoked, min((spell.answered for spell in spells), default=inf))
