"""Judges a task log by what its clients saw: nothing lost, nothing done twice, no stale holder.

The history speaks the words of ``task_records``. What a task log tells of itself, its tokens and
its revisions, says in which order things happened; so nearly everything is decided in near linear
time, and what is left (one task by itself) is small. The rules:

- a token is given once, and tokens, like every revision, rise with time; reads are not stale;
- what is claimed was submitted, and so was, and is done, all that it depends on;
- a task has one result at most, and it was accepted from the holder of its last token: after a
  later claim, an older token completes, fails and extends nothing;
- nobody is given a task while another's lease on it lasts, before its time, after its deadline,
  more often than it may be tried, or for a node that cannot run it;
- a registration speaks for its node until the next one: then it claims nothing more, and what it
  had claimed is lost;
- a node is given its tasks by priority, and within a priority in the order of submission, where
  that is promised: only this node can run them, and it was registered all the time;
- a list leaves out no task, and every watch tells the same story, without gap or repeat;
- what is said of each task alone is explained by one order that keeps to real time
  (``task_model``; decided by the searches that judge every other model).

That everything comes to an end shows in the last list: see ``unfinished``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import inf
from time import perf_counter

from jepsen_like.checkers.direct import Ranked, out_of_rank
from jepsen_like.checkers.linearizability import Budget, Result, check
from jepsen_like.checkers.task_claims import (
    claims_fit,
    dependencies_done,
    leases_last,
    registrations_fence,
    submitted_first,
)
from jepsen_like.checkers.task_model import SingleTask, single_tasks
from jepsen_like.checkers.task_order import out_of_order
from jepsen_like.checkers.task_records import Records, Spell, Task, Wrong
from jepsen_like.checkers.task_revisions import (
    claims_whole,
    counter_rises,
    lists_whole,
    reads_reflect,
    tokens_known,
)
from jepsen_like.checkers.task_watches import wrongly_watched
from jepsen_like.checkers.values import key_of
from jepsen_like.checkers.watches import Judgement
from jepsen_like.history import NEMESIS, Entry

ENDED = frozenset({"done", "dead", "cancelled"})
"""States that a task leaves only if it is retried."""


def check_tasks(history: Sequence[Entry], budget: Budget | None = None) -> Judgement:
    """Judge a history of a task log: ``check_queue``, and then ``check_each_task``.

    Args:
        history: Entries in the order of real time, in the words of ``task_records``.
        budget: What the search for each task's order may cost, all together.

    Returns:
        "no" with the answer that is wrong, "unknown" with the reason, or "yes".

    Raises:
        HistoryError: If no run can have recorded it, or it is in other words.
    """
    queue = check_queue(history)
    return check_each_task(history, budget) if queue.verdict == "yes" else queue


def judge_tasks(history: Sequence[Entry], budget: Budget | None = None) -> Result:
    """Judge as ``check_tasks`` does, and say it as ``linearizability.check`` does.

    Raises:
        HistoryError: If no run can have recorded it, or it is in other words.
    """
    began = perf_counter()
    told = check_tasks(history, budget)
    types = Counter(entry.type for entry in history if entry.process != NEMESIS)
    return Result(
        verdict=told.verdict,
        model="tasks",
        operations=types["invoke"],
        unknown_outcome=types["invoke"] - types["ok"] - types["fail"],
        keys=len(Records(history).tasks),
        seconds=perf_counter() - began,
        reason=told.reason,
        entry=told.entry,
    )


def check_queue(history: Sequence[Entry]) -> Judgement:
    """Judge a history by every rule but the last, in near linear time; see ``check_tasks``."""
    records = Records(history)
    if not records.answered:
        return Judgement("unknown", "nothing was answered: the history shows nothing")
    for rule in _RULES:
        wrong = rule(records)
        if wrong is not None:
            return _no(*wrong)
    return Judgement("yes", "no task was lost, none has two results, no old token did anything")


def check_each_task(history: Sequence[Entry], budget: Budget | None = None) -> Judgement:
    """Judge whether one order explains what was said of each task alone; see ``check_tasks``."""
    entries, origins = single_tasks(Records(history))
    if not entries:
        return Judgement("unknown", "no task was told of: the history shows nothing")
    found = check(entries, SingleTask(), budget)
    if found.verdict == "no" and found.entry is not None:
        position = origins[found.entry]
        f = entries[found.entry].f
        reason = f"task {found.key!r}: no order explains this {history[position].f} ({f})"
        return Judgement("no", f"{reason} and all before it", position)
    if found.verdict == "unknown":
        return Judgement("unknown", found.reason)
    return Judgement("yes", "an order explains every answer on each task")


def check_story(history: Sequence[Entry]) -> Judgement:
    """Judge only what watches and lists told, where nobody wrote down what workers did.

    Returns:
        "no" with the answer that is wrong, "unknown" if no watch told anything, or "yes": every
        change was told once and in order, no task went on after its result, no list left one out.

    Raises:
        HistoryError: If no run can have recorded it, or it is in other words.
    """
    records = Records(history)
    wrong = wrongly_watched(records) or lists_whole(records)
    if wrong is not None:
        return _no(*wrong)
    if not any(delivery.events for delivery in records.deliveries):
        return Judgement("unknown", "no watch told of a change")
    return Judgement("yes", "every change was told once, and no task went on after its result")


def unfinished(history: Sequence[Entry]) -> list[str]:
    """Return the tasks that were not at their end when they were last seen.

    Those are the ones whose submission was acknowledged; whoever drained the log at the end of a
    run expects none. A task that was never seen again is among them.
    """
    left = []
    for id_, task in Records(history).tasks.items():
        if any(each.spell.answered != inf for each in task.submits):
            last = max(task.shows, key=lambda shown: shown.spell.answered, default=None)
            done = any(told.taken for told in task.completes)
            if not done and (last is None or last.state not in ENDED):
                left.append(id_)
    return left


def _no(reason: str, spell: Spell) -> Judgement:
    entry = spell.invoked if spell.answered == inf else int(spell.answered)
    return Judgement("no", reason, entry)


# --- one result, and the fence --------------------------------------------------------------------


def _one_result(records: Records) -> Wrong | None:
    for id_, task in records.tasks.items():
        accepted = [told for told in task.completes if told.taken]
        for first, other in pairwise(accepted):
            if (first.token, key_of(first.result)) != (other.token, key_of(other.result)):
                return f"{id_!r} has two results", other.spell
        if not accepted:
            continue
        later = [each for each in task.claims if each.token > accepted[0].token]
        if later:
            return f"{id_!r} was claimed again though it was done", later[0].spell
    return None


def _fenced(records: Records) -> Wrong | None:
    """Per task, tokens are an order: what one token does comes before what the next one does."""
    for id_, task in records.tasks.items():
        late = out_of_rank(_by_token(task))
        if late is not None:
            reason = f"{id_!r}: what one token did came after what a later one did"
            return reason, Spell(late.invoked, late.answered)
    return None


def _by_token(task: Task) -> Iterator[Ranked]:
    """Rank what is known: within a token the claim, then what extends it, then what ends it."""
    for claimed in task.claims:
        yield Ranked(3 * claimed.token, *claimed.spell)
    for told in task.holds:
        if told.taken:
            yield Ranked(3 * told.token + 1, *told.spell)
    for told in task.fails:
        if told.taken:
            yield Ranked(3 * told.token + 2, *told.spell)
    first: dict[int, float] = {}  # by token: when its first completion was answered
    for told in task.completes:
        if told.taken:
            # The same one again is answered like the first, however late; it keeps nothing back.
            first.setdefault(told.token, told.spell.answered)
            repeated = told.spell.answered > first[told.token]
            yield Ranked(3 * told.token + 2, *told.spell, holds=not repeated)


_RULES: tuple[Callable[[Records], Wrong | None], ...] = (
    counter_rises,
    reads_reflect,
    claims_whole,
    submitted_first,
    _one_result,
    _fenced,
    tokens_known,
    dependencies_done,
    leases_last,
    claims_fit,
    registrations_fence,
    out_of_order,
    lists_whole,
    wrongly_watched,
)
"""What is judged by itself, in the order in which a reader would want to be told of it."""
