"""Judges what was claimed: that it was there, and due, and nobody else's.

Each function is a rule over a whole history; it returns what is wrong and where, or None. Rules of
tokens and results are in ``tasks``, the order of claims in ``task_order``.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from math import inf

from jepsen_like.checkers.task_records import Claimed, Records, Submitted, Task, Told, Wrong


def submitted_first(records: Records) -> Wrong | None:
    """A task is told of only once its submission was asked for."""
    for id_, task in records.tasks.items():
        asked = min((each.spell.invoked for each in task.submits), default=inf)
        seen = [each.spell for each in task.claims]
        seen += [each.spell for each in task.shows if each.state is not None]
        for spell in seen:
            if spell.answered < asked:
                return f"{id_!r} was told of before it was submitted", spell
    return None


def dependencies_done(records: Records) -> Wrong | None:
    """A task is claimed only when all that it depends on may be done."""
    for id_, task in records.tasks.items():
        if not task.claims:
            continue
        for needed in dict.fromkeys(name for each in task.submits for name in each.after):
            before = records.tasks.get(needed)
            for claimed in task.claims:
                if before is None or not _may_be_done(before, claimed):
                    reason = f"{id_!r} was claimed before {needed!r} was done"
                    return reason, claimed.spell
    return None


def _may_be_done(task: Task, claimed: Claimed) -> bool:
    """Whether some completion that is not known to be refused may have come before a claim."""
    return any(
        told.spell.invoked < claimed.spell.answered
        and (told.revision is None or told.revision < claimed.token)
        for told in task.completes
        if told.taken is not False
    )


def leases_last(records: Records) -> Wrong | None:
    """A task is given away again only when the lease on it, or on its node, is over.

    It was given at ``until - lease`` of the later claim, in replicated time. A failure, a
    cancellation, and a node that leaves or registers anew, give it away at once; an extension may
    let it end earlier, too.
    """
    for id_, task in records.tasks.items():
        claims = sorted(task.claims, key=lambda each: each.token)
        for first, later in pairwise(claims):
            if later.until is None or _until(task, first, later) <= _time(later):
                continue
            if first.node not in records.unsteady and not _let_go(records, task, first, later):
                reason = f"{id_!r} was given away while the lease of token {first.token} lasted"
                return reason, later.spell
    return None


def _until(task: Task, first: Claimed, later: Claimed) -> int:
    """Return when a lease ended, at the earliest; 0 if that is not known.

    The last extension decides; which that was is not known of those that were open at once.
    """
    holds = [told for told in task.holds if told.token == first.token and told.taken is not False]
    sure = [told for told in holds if told.spell.answered < later.spell.invoked]
    last = max((told.spell.invoked for told in sure), default=-1)
    ends = [told.until for told in sure if told.spell.answered > last]
    ends += [told.until for told in holds if told not in sure]
    if not sure:
        ends.append(first.until)
    return min(end or 0 for end in ends)


def _time(claimed: Claimed) -> int:
    """Return the replicated time at which it was given."""
    assert claimed.until is not None
    return claimed.until - claimed.lease


def _let_go(records: Records, task: Task, first: Claimed, later: Claimed) -> bool:
    """Whether something else than the lease's end may have taken it from its holder."""
    by_hand = [told.spell for told in task.fails if told.taken is not False]
    by_hand += [told.spell for told in (*task.cancels, *task.retries) if told.taken is not False]
    until = -1  # of the node's registration, at the least
    for each in records.registrations:
        if each.node != first.node or each.spell.invoked > later.spell.answered:
            continue
        if each.registration == first.registration:
            known = each.spell.answered < later.spell.invoked and each.until is not None
            until = max(until, each.until or 0) if known else until
        elif not each.renews:
            by_hand.append(each.spell)
    by_hand = [
        spell
        for spell in by_hand
        if spell.answered > first.spell.invoked and spell.invoked < later.spell.answered
    ]
    return bool(by_hand) or until <= _time(later)


def claims_fit(records: Records) -> Wrong | None:
    """A claim keeps to what was asked of the task, as far as that was written down."""
    for id_, task in records.tasks.items():
        for asked in task.submits[:1]:
            for claimed in task.claims:
                text = _unfit(asked, claimed)
                if text:
                    return f"{id_!r} was claimed {text}", claimed.spell
    return None


def _unfit(asked: Submitted, claimed: Claimed) -> str:
    if asked.node is not None and claimed.node != asked.node:
        return f"for node {claimed.node}, which cannot run it"
    if asked.attempts is not None and claimed.attempt > asked.attempts:
        return f"{claimed.attempt} times, and {asked.attempts} are allowed"
    if claimed.until is None:
        return ""
    if _time(claimed) < asked.not_before:
        return "before its time"
    return "after its deadline" if 0 < asked.deadline <= _time(claimed) else ""


def registrations_fence(records: Records) -> Wrong | None:
    """Once a node has registered again, its earlier registration claims and holds nothing."""
    known: dict[str, list[tuple[int, float]]] = {}  # by node: registrations, and when answered
    for each in records.registrations:
        if each.registration is not None and not each.renews:
            known.setdefault(each.node, []).append((each.registration, each.spell.answered))
    for node in known.values():
        node.sort()
    for id_, task in records.tasks.items():
        for claimed in task.claims:
            node = known.get(claimed.node, [])
            at = bisect_right(node, (claimed.registration, inf))
            if at == len(node):
                continue
            later, answered = node[at]
            if claimed.token > later:
                return f"{id_!r} was claimed with a registration that was over", claimed.spell
            for told in (*task.holds, *task.completes, *task.fails):
                first = told.revision is not None and told.revision > later
                outlived = told.token == claimed.token and told.taken
                outlived = outlived and (first or told.spell.invoked > answered)
                if outlived and not _repeats(task, told):
                    text = f"{id_!r}: token {told.token} outlived its node's registration"
                    return text, told.spell
    return None


def _repeats(task: Task, told: Told) -> bool:
    """Whether a completion may be the repetition of an earlier one, which is always answered."""
    return told in task.completes and any(
        each.spell.invoked < told.spell.invoked and each.taken is not False
        for each in task.completes
    )
