"""The model of one task of a task log, and the history of each task alone.

A claim names several tasks. But an order that explains a whole history explains what it says of
each task too; so each task is judged by itself, as an object of its own, by the searches that judge
every other model. What tasks have to do with one another is judged in ``tasks``.

Two things happen to a task that nobody asks for: its lease may end, and it may die (its attempts
are used up, its deadline passes, what it depends on is dead). They may happen at any time here, so
no order is refused that a correct task log could take. A claim of unknown outcome may have taken
any task; it shows only where a task is seen with a token that no known claim gave.

A task log that forgets finished tasks shows them as absent later, which is refuted here: a history
is to be recorded with room for all its tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from math import inf
from typing import Any, NamedTuple

from jepsen_like.checkers.models import IMPOSSIBLE, Action, BadOperation, Kind
from jepsen_like.checkers.task_records import UNTOLD, Records, Spell, Task, Told
from jepsen_like.checkers.values import key_of
from jepsen_like.history import Entry

ABSENT, OPEN, HELD, OVER = "absent", "open", "held", "over"
DONE, DEAD, CANCELLED = "done", "dead", "cancelled"

PHASE_OF = {
    "blocked": OPEN,
    "waiting": OPEN,
    "ready": OPEN,
    "claimed": HELD,
    "done": DONE,
    "dead": DEAD,
    "cancelled": CANCELLED,
}
"""By state as it is shown."""

ALIVE = (OPEN, HELD, OVER)


class Phase(NamedTuple):
    """A task.

    Attributes:
        name: One of those above; ``open`` is every state in which nobody has it and it is not at
            its end. ``over`` is a claim whose lease has ended, which was not yet acted upon.
        token: Of its last claim, 0 before the first: each later one is greater.
        attempt: How many claims there were since it was submitted or retried, so far as is known.
        result: Of a task that is done.
    """

    name: str = ABSENT
    token: int = 0
    attempt: int = 0
    result: Hashable = None


class SingleTask:
    """A task; absent at first. Its operations are those of ``single_tasks``."""

    name = "task"
    initial = Phase()
    split_by_key = True
    functions = frozenset(
        {"submit", "claim", "hold", "lose", "complete", "refuse", "fail", "cancel", "retry", "show"}
    )
    told: frozenset[str] = frozenset()

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does; everything stands in its argument."""
        make = _ACTIONS.get(f)
        if make is None or not isinstance(argument, list):
            raise BadOperation(f"{f} of a task takes a list, not {argument!r}")
        return make(*argument)


def _submit() -> Action:
    def step(task: Phase) -> Any:
        return Phase(OPEN) if task.name == ABSENT else task

    return Action(step, Kind.BLIND)


def _claim(token: int, attempt: int) -> Action:
    def step(task: Phase) -> Any:
        if task.name not in ALIVE or token <= task.token or attempt <= task.attempt:
            return IMPOSSIBLE
        return Phase(HELD, token, attempt)

    return Action(step)


def _hold(token: int) -> Action:
    return Action(lambda task: task if _holds(task, token) else IMPOSSIBLE, Kind.READ)


def _lose(token: int) -> Action:
    """Be told that a token is not valid: whoever had it has it no longer, and never again."""

    def step(task: Phase) -> Any:
        return task._replace(name=OVER) if _holds(task, token) else task

    return Action(step)


def _complete(token: int, result: Any) -> Action:
    value = key_of(result)

    def step(task: Phase) -> Any:
        if _holds(task, token):
            return Phase(DONE, token, task.attempt, value)
        return task if task.name == DONE and task[1::2] == (token, value) else IMPOSSIBLE

    return Action(step)


def _refuse(token: int, result: Any) -> Action:
    """Be refused a completion; never where the same one was accepted before."""
    value = key_of(result)
    lose = _lose(token).step

    def step(task: Phase) -> Any:
        if task.name == DONE and task[1::2] == (token, value):
            return IMPOSSIBLE
        return lose(task)

    return Action(step)


def _fail(token: int) -> Action:
    def step(task: Phase) -> Any:
        return task._replace(name=OPEN) if _holds(task, token) else IMPOSSIBLE

    return Action(step)


def _cancel() -> Action:
    def step(task: Phase) -> Any:
        return IMPOSSIBLE if task.name in (ABSENT, DONE) else task._replace(name=CANCELLED)

    return Action(step)


def _retry() -> Action:
    """Be made ready anew: a task that died, of which nobody need have been told."""

    def step(task: Phase) -> Any:
        return IMPOSSIBLE if task.name in (ABSENT, DONE) else Phase(OPEN, task.token)

    return Action(step)


def _show(state: str | None, token: int, attempt: int, *result: Any) -> Action:
    name = ABSENT if state is None else PHASE_OF.get(state, "")
    values = tuple(map(key_of, result))  # one, or none in a list

    def step(task: Phase) -> Any:
        if token > task.token and attempt > task.attempt and task.name not in (ABSENT, DONE):
            # By a claim of unknown outcome; if it is at its end, before it came to that.
            held = HELD if task.name in ALIVE else task.name
            task = Phase(held, token, attempt)
        if (token, attempt) != (task.token, task.attempt):
            return IMPOSSIBLE
        if name == task.name or (name == HELD and task.name == OVER):
            return task if name != DONE or values in ((), (task.result,)) else IMPOSSIBLE
        may_become = name == OPEN and task.name in (HELD, OVER)
        may_die = name == DEAD and task.name in ALIVE
        return task._replace(name=name) if may_become or may_die else IMPOSSIBLE

    return Action(step)


def _holds(task: Phase, token: int) -> bool:
    return task.name == HELD and task.token == token


_ACTIONS: dict[str, Callable[..., Action]] = {
    "submit": _submit,
    "claim": _claim,
    "hold": _hold,
    "lose": _lose,
    "complete": _complete,
    "refuse": _refuse,
    "fail": _fail,
    "cancel": _cancel,
    "retry": _retry,
    "show": _show,
}


# --- each task's own history ----------------------------------------------------------------------


class SingleTasks(NamedTuple):
    """The history of every task alone.

    Attributes:
        entries: In the order of real time; the key is the task's id.
        origins: Of each entry: its position in the history that it was made of.
    """

    entries: list[Entry]
    origins: list[int]


def single_tasks(records: Records) -> SingleTasks:
    """Take a history apart, task by task. What is of no consequence to its state is left out."""
    found = [
        (spell, id_, f, argument)
        for id_, task in records.tasks.items()
        for spell, f, argument in _operations(task)
    ]
    ends: list[tuple[float, int, Entry]] = []
    for process, (spell, id_, f, argument) in enumerate(found):
        ends.append((spell.invoked, process, Entry(process, "invoke", f, id_, argument, 0)))
        if spell.answered != inf:
            ends.append((spell.answered, process, Entry(process, "ok", f, id_, None, 0)))
    ends.sort(key=lambda end: end[0])
    return SingleTasks([end[2] for end in ends], [int(end[0]) for end in ends])


def _operations(task: Task) -> Iterator[tuple[Spell, str, list[Any]]]:
    for submitted in task.submits:
        yield submitted.spell, "submit", []
    for claimed in task.claims:
        yield claimed.spell, "claim", [claimed.token, claimed.attempt]
    nodes = {claimed.token: claimed.node for claimed in task.claims}
    for told in task.holds:
        # To be told by another node that it does not hold the task says nothing of the holder.
        if told.taken or (told.taken is False and nodes.get(told.token) == told.node):
            yield told.spell, "hold" if told.taken else "lose", [told.token]
    for told in task.completes:
        yield told.spell, "refuse" if told.taken is False else "complete", [told.token, told.result]
    for told in task.fails:
        yield told.spell, "lose" if told.taken is False else "fail", [told.token]
    yield from _changes(task.cancels, "cancel")
    yield from _changes(task.retries, "retry")
    for shown in task.shows:
        result = () if shown.result is UNTOLD else (shown.result,)
        yield shown.spell, "show", [shown.state, shown.token, shown.attempt, *result]


def _changes(changes: list[Told], f: str) -> Iterator[tuple[Spell, str, list[Any]]]:
    for told in changes:
        if told.taken is not False:
            yield told.spell, f, []
