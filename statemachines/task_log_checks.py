"""What may stand in the commands and queries of the task log: bytes in, checked fields out.

It owns the checks that need no state, for the state machine and for its client, which refuses the
same before anything is sent. It guards that whatever bytes come in, the only thing that comes out
beside well-typed fields is ``CommandFailed``, with a text equal on every replica.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NoReturn

from paxos.core.state_machine import CommandFailed
from statemachines.command_fields import fail_malformed
from statemachines.task_log_format import (
    BACKOFF_MAX,
    CLOUD,
    COUNT_MAX,
    DEFAULT_LIMITS,
    EDGE,
    NODE_KINDS,
    NUMBER_MAX,
    POLICIES,
    NodeSpec,
    TaskLogLimits,
    TaskSpec,
)

ATTEMPTS_MAX: Final = 100
PRIORITY_MAX: Final = 100
ID_CHARS_MAX: Final = 128
NAME_CHARS_MAX: Final = 64

# ASCII, since what Unicode calls printable grows from version to version, and so between replicas.
_NAME = re.compile(r"[\x21-\x7e]+").fullmatch
_SURROGATE = re.compile(r"[\ud800-\udfff]").search


# --- checks of single fields ----------------------------------------------------------------------


def check_count(count: object, what: str, least: int = 0, most: int = COUNT_MAX) -> None:
    """Refuse what is no integer from ``least`` to ``most``."""
    if type(count) is not int:
        fail_malformed(f"{what} is not a whole number")
    if not least <= count <= most:
        raise CommandFailed(f"{what} is not from {least} to {most}")


def check_name(name: object, what: str, most: int = NAME_CHARS_MAX) -> None:
    """Refuse what is no id, kind, node or label: printable ASCII without spaces."""
    if type(name) is not str:
        fail_malformed(f"{what} is not text")
    if not name:
        raise CommandFailed(f"{what} is empty")
    if len(name) > most:
        raise CommandFailed(f"{what} is too long: the limit is {most} characters")
    if _NAME(name) is None:
        raise CommandFailed(f"{what} may hold only printable ASCII characters without spaces")


def check_id(task_id: object) -> None:
    """Refuse what is no task id."""
    check_name(task_id, "the task id", ID_CHARS_MAX)


def check_bytes(data: object, what: str, most: int) -> None:
    """Refuse what is not bytes, or too long."""
    if type(data) is not bytes:
        fail_malformed(f"{what} is not bytes")
    if len(data) > most:
        raise CommandFailed(f"{what} is too long: {len(data)} bytes, the limit is {most}")


def check_reason(reason: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
    """Refuse a reason that is not text in UTF-8, or too long."""
    if type(reason) is not str or _SURROGATE(reason) is not None:
        fail_malformed("the reason is not text")
    if len(reason) > limits.reason_chars_max:
        raise CommandFailed(
            f"the reason is too long: the limit is {limits.reason_chars_max} characters"
        )


def check_flag(flag: object, what: str) -> None:
    """Refuse what is neither true nor false."""
    if type(flag) is not bool:
        fail_malformed(f"{what} is not true or false")


def check_lease(lease: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
    """Refuse a lease that is not positive, or too long."""
    check_count(lease, "the lease in microseconds", 1, limits.lease_max)


def check_labels(labels: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
    """Refuse anything but (name, value) pairs in strictly ascending order of names."""
    if type(labels) is not tuple:
        fail_malformed("the labels are not a list")
    if len(labels) > limits.labels_max:
        raise CommandFailed(f"too many labels: the limit is {limits.labels_max}")
    before = ""
    for label in labels:
        if type(label) is not tuple or len(label) != 2:
            fail_malformed("a label is not (name, value)")
        name, value = label
        check_name(name, "the name of a label")
        check_name(value, "the value of a label")
        if name <= before:
            fail_malformed("the labels are not in ascending order of their names")
        before = name


# --- checks of tasks and nodes --------------------------------------------------------------------


def check_task(fields: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> TaskSpec:
    """Return a submitted task; refuse whatever can be refused without looking at other tasks."""
    if type(fields) is not tuple or len(fields) != len(TaskSpec._fields):
        fail_malformed("a task has another number of fields")
    spec = TaskSpec._make(fields)
    check_id(spec.id)
    check_name(spec.kind, "the kind")
    check_bytes(spec.payload, "the payload", limits.payload_bytes_max)
    check_count(spec.priority, "the priority", -PRIORITY_MAX, PRIORITY_MAX)
    check_count(spec.not_before, "not_before")
    check_count(spec.deadline, "the deadline")
    check_count(spec.attempts, "the number of attempts", 1, ATTEMPTS_MAX)
    check_count(spec.backoff, "the backoff in microseconds", 0, BACKOFF_MAX)
    if type(spec.node_kind) is not int or spec.node_kind not in NODE_KINDS:
        fail_malformed("unknown kind of node")
    check_labels(spec.labels, limits)
    check_count(spec.demand, "the demand", 1, NUMBER_MAX)
    check_count(spec.size, "the size", 0, NUMBER_MAX)
    if spec.data_node != "":
        check_name(spec.data_node, "the node that holds the data")
    check_count(spec.data_bytes, "the number of bytes to transfer", 0, NUMBER_MAX)
    if type(spec.policy) is not int or spec.policy not in POLICIES:
        fail_malformed("unknown policy")
    _check_dependencies(spec, limits)
    return spec


def _check_dependencies(spec: TaskSpec, limits: TaskLogLimits) -> None:
    if type(spec.depends_on) is not tuple:
        fail_malformed("the dependencies are not a list")
    if len(spec.depends_on) > limits.depends_on_max:
        raise CommandFailed(f"too many dependencies: the limit is {limits.depends_on_max}")
    for number, name in enumerate(spec.depends_on):
        check_id(name)
        if name == spec.id:
            raise CommandFailed(f"task {spec.id} depends on itself")
        if name in spec.depends_on[:number]:
            raise CommandFailed(f"task {spec.id} names a dependency twice: {name}")
    if 0 < spec.deadline <= spec.not_before:
        raise CommandFailed(f"task {spec.id} must not begin before its deadline has passed")


def check_submission(tasks: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> tuple[TaskSpec, ...]:
    """Return the tasks of a submission; refuse what is wrong between them.

    A task may depend on those that stand before it, and on tasks submitted earlier.
    """
    if type(tasks) is not tuple:
        fail_malformed("the tasks are not a list")
    if not tasks:
        raise CommandFailed("the submission holds no task")
    if len(tasks) > limits.submit_tasks_max:
        raise CommandFailed(
            f"too many tasks in one submission: the limit is {limits.submit_tasks_max}"
        )
    specs = tuple(check_task(fields, limits) for fields in tasks)
    if sum(len(spec.depends_on) for spec in specs) > limits.submit_depends_on_max:
        raise CommandFailed(
            f"too many dependencies in one submission: the limit is {limits.submit_depends_on_max}"
        )
    places: dict[str, int] = {}
    for place, spec in enumerate(specs):
        if spec.id in places:
            raise CommandFailed(f"the submission holds a task twice: {spec.id}")
        places[spec.id] = place
    for place, spec in enumerate(specs):
        for name in spec.depends_on:
            if places.get(name, -1) > place:
                _refuse_order(specs, places, spec, name)
    return specs


def _refuse_order(
    specs: Sequence[TaskSpec], places: dict[str, int], spec: TaskSpec, later: str
) -> NoReturn:
    """Say whether ``spec`` waits for a later task in a cycle, or just stands before it."""
    came_from = {later: spec.id}
    pending = [later]
    while pending:
        name = pending.pop()
        for other in specs[places[name]].depends_on:
            if other == spec.id:
                path = [spec.id, name]
                while path[-1] != spec.id:
                    path.append(came_from[path[-1]])
                raise CommandFailed(f"the dependencies form a cycle: {' <- '.join(path)}")
            if other in places and other not in came_from:
                came_from[other] = name
                pending.append(other)
    raise CommandFailed(f"task {spec.id} depends on {later}, which comes later in the submission")


def check_node(fields: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> NodeSpec:
    """Return a node that registers."""
    if type(fields) is not tuple or len(fields) != len(NodeSpec._fields):
        fail_malformed("a node has another number of fields")
    spec = NodeSpec._make(fields)
    check_name(spec.name, "the name of the node")
    if type(spec.kind) is not int or spec.kind not in (CLOUD, EDGE):
        fail_malformed("a node is neither cloud nor edge")
    check_count(spec.capacity, "the capacity", 1, NUMBER_MAX)
    check_labels(spec.labels, limits)
    check_count(spec.price, "the price", 0, NUMBER_MAX)
    check_count(spec.speed, "the speed", 1, NUMBER_MAX)
    if type(spec.energy) is not tuple or len(spec.energy) != 3:
        fail_malformed("the energy curve is not (a, b, c)")
    for coefficient in spec.energy:
        check_count(coefficient, "a coefficient of the energy curve", 0, NUMBER_MAX)
    check_count(spec.delay, "the delay", 0, NUMBER_MAX)
    check_count(spec.bandwidth, "the bandwidth", 1, NUMBER_MAX)
    check_lease(spec.lease, limits)
    return spec


def check_claims(claims: object, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
    """Refuse anything but a list of (id, token)."""
    if type(claims) is not tuple:
        fail_malformed("the claims are not a list")
    if len(claims) > limits.claim_tasks_max:
        raise CommandFailed(f"too many claims: the limit is {limits.claim_tasks_max}")
    for claim in claims:
        if type(claim) is not tuple or len(claim) != 2:
            fail_malformed("a claim is not (id, token)")
        check_id(claim[0])
        check_count(claim[1], "the token", 1)
