"""Judges the one counter of a task log: tokens and revisions, and reads that name one.

Each function is a rule over a whole history; it returns what is wrong and where, or None.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from math import inf

from jepsen_like.checkers.direct import Ranked, out_of_rank
from jepsen_like.checkers.task_changes import OPEN, Change, changes
from jepsen_like.checkers.task_records import UNTOLD, Records, Shown, Spell, Task, Wrong


def _made(records: Records) -> Iterator[tuple[int, Spell]]:
    """Yield each revision that something is known to have made, once for each maker."""
    for change in changes(records):
        yield change.revision, change.spell
    for each in records.registrations:
        if each.registration is not None and not each.renews:
            yield each.registration, each.spell


def _reflected(records: Records) -> Iterator[tuple[int, Spell]]:
    for page in records.pages:
        if page.revision is not None:
            yield page.revision, page.spell
    for task in records.tasks.values():
        for shown in task.shows:
            if shown.revision is not None and shown.result is not UNTOLD:
                yield shown.revision, shown.spell


def counter_rises(records: Records) -> Wrong | None:
    """Each revision is made once, and none is below one that was answered before it was asked."""
    made = sorted(_made(records))
    for (revision, _), (other, spell) in pairwise(made):
        if revision == other:
            return f"token or revision {revision} was given twice", spell
    ranked = [Ranked(2 * revision, *spell) for revision, spell in made]
    ranked += [Ranked(2 * revision + 1, *spell) for revision, spell in _reflected(records)]
    late = out_of_rank(ranked)
    if late is None:
        return None
    reason = f"revision {int(late.rank) // 2} was answered before a lower one was asked for"
    return reason, Spell(late.invoked, late.answered)


def tokens_known(records: Records) -> Wrong | None:
    """A token that something was accepted with came from a claim; one that was lost, maybe."""
    for id_, task in records.tasks.items():
        given = {claimed.token for claimed in task.claims}
        used = [told for told in _accepted(task) if told[0] not in given]
        for token, spell in used:
            if not any(lost.invoked < spell.answered for lost in records.lost_claims):
                return f"{id_!r} has token {token}, which no claim gave", spell
    return None


def _accepted(task: Task) -> Iterator[tuple[int, Spell]]:
    for told in (*task.holds, *task.completes, *task.fails):
        if told.taken:
            yield told.token, told.spell
    for shown in task.shows:
        if shown.token:
            yield shown.token, shown.spell


def reads_reflect(records: Records) -> Wrong | None:
    """What is read at a revision holds what was made up to it, and nothing of what came later."""
    by_task: dict[str, list[Change]] = {}
    for change in changes(records):
        by_task.setdefault(change.id, []).append(change)
    for id_, known in by_task.items():
        created = next((each.created for each in records.tasks[id_].submits if each.created), None)
        if created is not None and known[0].revision < created:
            return f"{id_!r} was changed before it was created", known[0].spell
        for shown in records.tasks[id_].shows:
            if shown.revision is not None and _denied(known, created, shown, shown.revision):
                text = (
                    f"{id_!r} was {shown.state} at revision {shown.revision}: it cannot have been"
                )
                return text, shown.spell
    return None


def _denied(known: list[Change], created: int | None, shown: Shown, revision: int) -> bool:
    """Whether a read cannot be of the revision that it names."""
    at = bisect_right(known, revision, key=lambda change: change.revision)
    tokens = [change.token for change in known[:at] if change.token is not None]
    if not shown.token <= revision or shown.token < max(tokens, default=0):
        return True
    if created is not None and (shown.state is not None) != (created <= revision):
        return True
    if at and known[at - 1].revision == revision and shown.state not in known[at - 1].states:
        return True
    done = next((change.revision for change in known if "done" in change.states), None)
    return done is not None and (shown.state == "done") != (done <= revision)


def claims_whole(records: Records) -> Wrong | None:
    """A claim of several tasks is one step: nothing else is of a revision in its midst."""
    spans: dict[Spell, list[int]] = {}
    for task in records.tasks.values():
        for claimed in task.claims:
            spans.setdefault(claimed.spell, []).append(claimed.token)
    known = sorted([*_made(records), *_reflected(records)])
    for spell, tokens in spans.items():
        at = bisect_left(known, (min(tokens), Spell(-1, -1)))
        while at < len(known) and known[at][0] < max(tokens):
            revision, other = known[at]
            if other != spell:
                return f"revision {revision} lies in the midst of a claim", other
            at += 1
    return None


# --- lists ----------------------------------------------------------------------------------------


def lists_whole(records: Records) -> Wrong | None:
    """A list shows every task that it must: acknowledged before it, or made by its revision."""
    known = sorted(
        (change.revision, change.id, change.spell)
        for change in changes(records)
        if change.states is OPEN
    )
    for page in records.pages:
        for id_, at in page.ids.items():
            if not page.after < at <= (inf if page.through is None else page.through):
                return f"a list shows {id_!r}, which stands elsewhere", page.spell
        revision = -1 if page.revision is None else page.revision
        for created, id_, spell in known[bisect_right(known, page.after, key=_revision) :]:
            if page.through is not None and created > page.through:
                break
            due = spell.answered < page.spell.invoked or created <= revision
            if due and page.ids.get(id_) != created:
                return f"a list leaves out {id_!r}, which was submitted", page.spell
    return None


def _revision(known: tuple[int, str, Spell]) -> int:
    return known[0]
