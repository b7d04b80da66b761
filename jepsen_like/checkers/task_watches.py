"""Judges watches of a task log: every change is told once, in order, and is what was answered.

A watch is asked for everything after a revision and answers with each change up to another one. All
answers together, of any node and over any number of reconnects, tell one story; and where a change
was answered to who made it, the story says the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepsen_like.checkers.task_changes import Change, changes
from jepsen_like.checkers.task_records import Delivery, Records, Spell

Event = tuple[str | None, str | None, int]
"""Id, state and token."""

LEFT = {"dead": frozenset({"ready", "waiting", "blocked", "cancelled"})}
LEFT["cancelled"] = LEFT["dead"] - {"cancelled"}
"""To what a task may change that is dead or cancelled: a retry brings it back."""

Wrong = tuple[str, Spell]


def wrongly_watched(records: Records) -> Wrong | None:
    """Return what a watch told wrong, and which answer of it; None if all is right."""
    story: dict[int, Event] = {}
    known = {change.revision: change for change in changes(records)}
    for delivery in records.deliveries:
        wrong = _gap(delivery) or _tell(delivery, story) or _denied(delivery, known)
        if wrong is not None:
            return wrong, delivery.spell
    told = _impossible(story)
    if told is None:
        return None
    revision, text = told
    spell = next(each.spell for each in records.deliveries if each.after < revision <= each.through)
    return text, spell


def _gap(delivery: Delivery) -> str | None:
    revisions = [event[0] for event in delivery.events]
    if revisions == list(range(delivery.after + 1, delivery.through + 1)):
        return None
    missing = set(range(delivery.after + 1, delivery.through + 1)) - set(revisions)
    if missing:
        return f"a watch leaves out revision {min(missing)}"
    return f"a watch of {delivery.after + 1} to {delivery.through} repeats or adds a revision"


def _tell(delivery: Delivery, story: dict[int, Event]) -> str | None:
    for revision, id_, state, token in delivery.events:
        told = (id_, state, token)
        if story.setdefault(revision, told) != told:
            return f"watches told {story[revision]} and {told} of revision {revision}"
    return None


def _denied(delivery: Delivery, known: Mapping[int, Change]) -> str | None:
    for revision, id_, state, token in delivery.events:
        change = known.get(revision)
        if change is None:
            continue
        same = id_ == change.id and state in change.states
        if not same or (change.token is not None and token != change.token):
            return f"a watch told {id_!r} {state} of revision {revision}, which was {change.id!r}"
    return None


def _impossible(story: Mapping[int, Event]) -> tuple[int, str] | None:
    """Say where the story of a task goes on after its end, or with a lower token.

    Revisions may be missing where no watch told of them: then less is known, and nothing is wrong.
    """
    last: dict[str, tuple[int, Event, int]] = {}
    stretch = previous = 0  # revisions without a gap share a stretch
    for revision, event in sorted(story.items()):
        stretch += revision != previous + 1
        previous = revision
        id_ = event[0]
        if id_ is None:
            continue
        before = last.get(id_)
        last[id_] = (revision, event, stretch)
        if before is not None:
            wrong = _impossible_step(before[1], event, revision, gapless=before[2] == stretch)
            if wrong:
                return revision, f"{id_!r} {wrong} (told of revisions {before[0]} and {revision})"
    return None


def _impossible_step(before: Event, event: Event, revision: int, *, gapless: bool) -> str:
    (_, was, had), (_, state, token) = before, event
    if token < had:
        return f"has token {token} after {had}"
    if token > had and gapless and (state != "claimed" or token != revision):
        return f"has token {token} without a claim at that revision"
    if was == "done" or (gapless and was in LEFT and state not in LEFT[was]):
        return f"is {state} after it was {was}"
    return ""
