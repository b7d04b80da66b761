"""Answers of the task log: bytes made into what a client can read.

It is pure and does no I/O. It guards that an answer is read whole or refused with
``AnswerInvalid``, and that refusals which a client must tell apart have types of their own.

Amounts are integers in micro-units; times and durations are integers in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgpack import UnpackException, unpackb

from paxos.core.state_machine import CommandFailed
from statemachines import task_log_format as form
from statemachines.task_log_format import (
    FORMAT,
    Node,
    NodeChange,
    NodeSpec,
    Stats,
    Task,
    TaskChange,
    TaskSpec,
)


class AnswerInvalid(ValueError):
    """A node answered what this client cannot read: it runs another version, or another machine."""


class TaskUnknown(CommandFailed):
    """The task was never submitted, or was finished and forgotten since."""

    def __init__(self, task_id: str) -> None:
        super().__init__(str(form.unknown_task(task_id)))
        self.task_id = task_id


class TokenInvalid(CommandFailed):
    """The claim is lost: its lease ran out, its node was lost, or the task is finished.

    Attributes:
        token: The claim's token.
        why: What became of the task.
    """

    def __init__(self, token: int, why: str) -> None:
        super().__init__(str(form.token_invalid(token, why)))
        self.token = token
        self.why = why


class RegistrationInvalid(CommandFailed):
    """The node must register again: its lease ran out, or somebody else registered under its name.

    Attributes:
        node: The node.
        registration: Its registration that is gone.
        why: How it went.
    """

    def __init__(self, node: str, registration: int, why: str) -> None:
        super().__init__(str(form.registration_invalid(node, registration, why)))
        self.node = node
        self.registration = registration
        self.why = why


class ChangesCompacted(CommandFailed):
    """The changes asked for are no longer kept. Read the present state and go on from there.

    Attributes:
        revision: What was asked for: changes after it.
        oldest: The oldest revision to watch from.
    """

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(str(form.compacted(revision, oldest)))
        self.revision = revision
        self.oldest = oldest


# --- what answers are made of ---------------------------------------------------------------------

# ``slot`` in all of these is the log slot the answer reflects (reads) or was decided in (commands).


@dataclass(frozen=True, slots=True)
class Submitted:
    """The revision of each task's submission, in the order given; the first time's, if repeated."""

    revision: int
    created: tuple[tuple[str, int], ...]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration's token, and when it ends without a report (microseconds)."""

    registration: int
    until: int
    drained: bool
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """When the registration ends now, and whether the node is drained.

    Attributes:
        revision: The present one.
        until: When the registration ends; its lease after the time of this command.
        drained: Whether the node is.
        next_due: When something in the log is due next by time alone, None if nothing is; the time
            of this command if it left something to do. It happens with the first command that
            comes then, for example another report.
        slot: The log slot this was decided in.
    """

    revision: int
    until: int
    drained: bool
    next_due: int | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    """The revision of the change, or of the one before it if there was nothing to change."""

    revision: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A task to run, with its fencing token.

    Attributes:
        task: As submitted.
        attempt: Which attempt this is, from 1.
        token: Proves that this claim is the present one.
        until: When the lease ends, replicated time in microseconds.
    """

    task: TaskSpec
    attempt: int
    token: int
    until: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was claimed, in the order in which it is due; ``queued`` still wait for the node."""

    revision: int
    claims: tuple[Claim, ...]
    queued: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Extended:
    """When the leases end now, and for each claim whether it is still held."""

    revision: int
    until: int
    held: tuple[bool, ...]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """What became of a task whose attempt failed: "waiting", "ready" or "dead"."""

    revision: int
    state: str
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Replanned:
    """How many tasks were looked at and moved; go on with ``next_after`` unless it is None."""

    revision: int
    looked_at: int
    moved: int
    next_after: int | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Ticked:
    """Whether more is to be done at once, and when something is due next (None: nothing is)."""

    revision: int
    more: bool
    next_due: int | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """How many finished tasks are kept, and for how long (microseconds; 0: no limit)."""

    revision: int
    count: int
    age: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class TaskRead:
    """A task, or None if there is none of that id."""

    revision: int
    task: Task | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks in the order of submission, their payloads and results replaced by their lengths.

    More may follow if ``next_after`` is not None, even when this page is empty.
    """

    revision: int
    tasks: tuple[Task, ...]
    next_after: int | None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class NodeList:
    """All known nodes in the order of their names."""

    revision: int
    nodes: tuple[Node, ...]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could run a task now, and what it would cost there.

    Attributes:
        node: Its name.
        wait: Until there is room, microseconds.
        delay: Of the transfer of its input, microseconds.
        compute: Of the task itself, microseconds.
        price: Money, micro-units.
        energy: Micro-units.
        cost: What the task's policy wants little of, micro-units.
        finish: When the result would be there, microseconds since the Unix epoch.
        late: That is after the deadline.
        preferred: The policy takes such a node before any other.
    """

    node: str
    wait: int
    delay: int
    compute: int
    price: int
    energy: int
    cost: int
    finish: int
    late: bool
    preferred: bool


@dataclass(frozen=True, slots=True)
class TaskExplanation:
    """Where a task is, and where it would go now.

    Attributes:
        revision: Of the task log.
        task: As in a ``TaskPage``; its ``node`` is where it went and ``why`` what that was to cost.
        chosen: The node it would be placed on now; None if none could take it.
        candidates: Nodes that could take it now, the best first.
        refused: (node, reason) of the others.
        slot: The log slot this reflects.
    """

    revision: int
    task: Task
    chosen: str | None
    candidates: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """All changes after the revision asked from, up to and including ``revision``.

    Empty if none of them matched. Going on with ``after=revision`` misses and repeats nothing.
    """

    revision: int
    changes: tuple[TaskChange | NodeChange, ...]
    slot: int = 0


# --- answers --------------------------------------------------------------------------------------


def decode_submit(data: bytes, slot: int = 0) -> Submitted:
    """Read the answer to ``submit_command``."""
    revision, created = _fields(data, 2)
    return Submitted(revision, tuple(_row(each, 2) for each in _list(created)), slot)


def decode_register(data: bytes, slot: int = 0) -> Registered:
    """Read the answer to ``register_command``."""
    registration, until, drained = _fields(data, 3)
    return Registered(registration, until, drained, slot)


def decode_report(data: bytes, slot: int = 0) -> Reported:
    """Read the answer to ``report_command``."""
    revision, until, drained, next_due = _fields(data, 4)
    return Reported(revision, until, drained, next_due, slot)


def decode_changed(data: bytes, slot: int = 0) -> Changed:
    """Read the answer to a leave, drain, progress, complete, cancel or retry command."""
    (revision,) = _fields(data, 1)
    return Changed(revision, slot)


def decode_claim(data: bytes, slot: int = 0) -> Claimed:
    """Read the answer to ``claim_command``."""
    revision, rows, queued = _fields(data, 3)
    claims = []
    for row in _list(rows):
        spec, *rest = _row(row, 4)
        claims.append(Claim(_spec(spec), *rest))
    return Claimed(revision, tuple(claims), queued, slot)


def decode_extend(data: bytes, slot: int = 0) -> Extended:
    """Read the answer to ``extend_command``."""
    revision, until, held = _fields(data, 3)
    return Extended(revision, until, _list(held), slot)


def decode_fail(data: bytes, slot: int = 0) -> Failed:
    """Read the answer to ``fail_command``."""
    revision, state = _fields(data, 2)
    if type(state) is not int or state not in form.STATES:
        raise AnswerInvalid("an answer names a state that this client does not know")
    return Failed(revision, form.STATES[state], slot)


def decode_replan(data: bytes, slot: int = 0) -> Replanned:
    """Read the answer to ``replan_command``."""
    revision, looked_at, moved, next_after = _fields(data, 4)
    return Replanned(revision, looked_at, moved, next_after, slot)


def decode_tick(data: bytes, slot: int = 0) -> Ticked:
    """Read the answer to ``tick_command``."""
    revision, more, next_due = _fields(data, 3)
    return Ticked(revision, more, next_due, slot)


def decode_retain(data: bytes, slot: int = 0) -> Retention:
    """Read the answer to ``retain_command``."""
    revision, count, age = _fields(data, 3)
    return Retention(revision, count, age, slot)


def decode_get(data: bytes, slot: int = 0) -> TaskRead:
    """Read the answer to ``get_query``."""
    revision, task = _fields(data, 2)
    return TaskRead(revision, None if task is None else _task(task), slot)


def decode_list(data: bytes, slot: int = 0) -> TaskPage:
    """Read the answer to ``list_query``."""
    revision, tasks, next_after = _fields(data, 3)
    return TaskPage(revision, tuple(map(_task, _list(tasks))), next_after, slot)


def decode_nodes(data: bytes, slot: int = 0) -> NodeList:
    """Read the answer to ``nodes_query``."""
    revision, rows = _fields(data, 2)
    nodes = []
    for row in _list(rows):
        spec, *rest = _row(row, len(Node._fields))
        nodes.append(Node(NodeSpec(*_row(spec, len(NodeSpec._fields))), *rest))
    return NodeList(revision, tuple(nodes), slot)


def decode_stats(data: bytes) -> Stats:
    """Read the answer to ``stats_query``."""
    return Stats(*_fields(data, len(Stats._fields)))


def decode_explain(data: bytes, slot: int = 0) -> TaskExplanation:
    """Read the answer to ``explain_query``."""
    revision, task, chosen, candidates, refused = _fields(data, 5)
    return TaskExplanation(
        revision,
        _task(task),
        chosen,
        tuple(Candidate(*_row(each, 10)) for each in _list(candidates)),
        tuple(_row(each, 2) for each in _list(refused)),
        slot,
    )


def decode_watch(data: bytes, slot: int = 0) -> ChangeBatch:
    """Read the answer to ``watch_query`` and, without changes, to ``work_query``."""
    revision, changes = _fields(data, 2)
    return ChangeBatch(revision, tuple(map(_change, _list(changes))), slot)


def decode_failure(failure: CommandFailed) -> CommandFailed:
    """Return the typed error that a failure's text stands for, or the failure itself."""
    text = str(failure)
    if (task := form.parse_unknown_task(text)) is not None:
        return TaskUnknown(task)
    if (token := form.parse_token_invalid(text)) is not None:
        return TokenInvalid(*token)
    if (registration := form.parse_registration_invalid(text)) is not None:
        return RegistrationInvalid(*registration)
    if (gone := form.parse_compacted(text)) is not None:
        return ChangesCompacted(*gone)
    return failure


# --- how the above is read -----------------------------------------------------------------------


def _fields(data: bytes, count: int) -> tuple[Any, ...]:
    """Return the fields of an answer after its format number."""
    try:
        fields = unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
    except (UnpackException, ValueError, TypeError, OverflowError, RecursionError):
        fields = None
    if type(fields) is not tuple or len(fields) != count + 1 or fields[0] != FORMAT:
        raise AnswerInvalid(f"not an answer of the task log, format {FORMAT}")
    return fields[1:]


def _list(items: object) -> tuple[Any, ...]:
    if type(items) is not tuple:
        raise AnswerInvalid("an answer holds no list where there should be one")
    return items


def _row(items: object, count: int) -> tuple[Any, ...]:
    if type(items) is not tuple or len(items) != count:
        raise AnswerInvalid("an answer holds something of another form")
    return items


def _spec(fields: object) -> TaskSpec:
    return TaskSpec(*_row(fields, len(TaskSpec._fields)))


def _task(fields: object) -> Task:
    spec, *rest = _row(fields, len(Task._fields))
    return Task(_spec(spec), *rest)


def _change(fields: object) -> TaskChange | NodeChange:
    if type(fields) is tuple and len(fields) == len(TaskChange._fields):
        return TaskChange(*fields)
    return NodeChange(*_row(fields, len(NodeChange._fields)))
