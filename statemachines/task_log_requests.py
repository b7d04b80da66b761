"""Requests to the task log: what a client asks for, made into bytes.

It is pure and does no I/O: builders make tasks, nodes, commands and queries. It guards that what
the state machine would refuse without looking at its state is refused here, before it is sent.

All amounts are integers in micro-units and all durations integers in microseconds; ``micro`` makes
them from decimals, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

from msgpack import packb

from paxos.core.state_machine import CommandFailed
from statemachines import task_log_checks as checks
from statemachines import task_log_format as form
from statemachines.task_log_format import (
    DEFAULT_LIMITS,
    FORMAT,
    MICRO,
    NodeSpec,
    TaskLogLimits,
    TaskSpec,
)

NodeKind = Literal["any", "cloud", "edge"]
Policy = Literal["balanced", "cost", "latency", "energy"]
Scope = Literal["everything", "task", "node"]


class RequestInvalid(ValueError):
    """The caller asked for something no state could satisfy. Nothing was sent."""


# --- what requests are made of --------------------------------------------------------------------


def micro(amount: Decimal | int | str) -> int:
    """Return an amount in micro-units, or seconds in microseconds: exactly, or not at all.

    Raises:
        RequestInvalid: It is no number, or finer than a millionth. Floats are refused: 0.1 is none.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        raise RequestInvalid(f"not a decimal number: {amount!r}")
    try:
        exact = Decimal(amount)
    except InvalidOperation:
        raise RequestInvalid(f"not a decimal number: {amount!r}") from None
    if not exact.is_finite() or exact.copy_abs() > form.NUMBER_MAX:
        raise RequestInvalid(f"out of range: {amount}")
    # By its first digit before anything else: 1E-1000000 as a fraction would take a million digits.
    too_fine = bool(exact) and exact.adjusted() < -6
    numerator, denominator = (0, 1) if too_fine or not exact else exact.as_integer_ratio()
    if too_fine or numerator * MICRO % denominator:
        raise RequestInvalid(f"finer than a millionth: {amount}")
    return numerator * MICRO // denominator


def task_spec(
    task_id: str,
    kind: str,
    payload: bytes = b"",
    *,
    priority: int = 0,
    not_before: int = 0,
    deadline: int = 0,
    attempts: int = 3,
    backoff: int = MICRO,
    depends_on: Sequence[str] = (),
    node_kind: NodeKind = "any",
    labels: Mapping[str, str] | None = None,
    demand: int = MICRO,
    size: int = MICRO,
    data_node: str = "",
    data_bytes: int = 0,
    policy: Policy = "balanced",
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> TaskSpec:
    """Return a task to submit; ``TaskSpec`` says what each field means and its unit.

    Raises:
        RequestInvalid: A field is not allowed.
    """
    spec = TaskSpec(
        task_id,
        kind,
        payload,
        priority,
        not_before,
        deadline,
        attempts,
        backoff,
        tuple(depends_on),
        _number_of(form.NODE_KINDS, node_kind, "kind of node"),
        tuple(sorted((labels or {}).items())),
        demand,
        size,
        data_node,
        data_bytes,
        _number_of(form.POLICIES, policy, "policy"),
    )
    _check(checks.check_task, tuple(spec), limits)
    return spec


def node_spec(
    name: str,
    kind: Literal["cloud", "edge"],
    *,
    lease: int,
    capacity: int = MICRO,
    labels: Mapping[str, str] | None = None,
    price: int = 0,
    speed: int = MICRO,
    energy: tuple[int, int, int] = (0, 0, 0),
    delay: int = 0,
    bandwidth: int = 125_000_000,
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> NodeSpec:
    """Return a node to register; ``NodeSpec`` says what each field means and its unit.

    Raises:
        RequestInvalid: A field is not allowed.
    """
    spec = NodeSpec(
        name,
        _number_of(form.NODE_KINDS, kind, "kind of node"),
        capacity,
        tuple(sorted((labels or {}).items())),
        price,
        speed,
        energy,
        delay,
        bandwidth,
        lease,
    )
    _check(checks.check_node, tuple(spec), limits)
    return spec


# --- commands -------------------------------------------------------------------------------------


def submit_command(tasks: Iterable[TaskSpec], limits: TaskLogLimits = DEFAULT_LIMITS) -> bytes:
    """Submit tasks, all or none. To submit the same again gives the same answer.

    Raises:
        RequestInvalid: There are none or too many, one is not allowed or twice there, or one
            depends on a later one.
    """
    fields = tuple(tuple(task) for task in tasks)
    _check(checks.check_submission, fields, limits)
    return _bytes(form.SUBMIT, fields)


def register_command(
    node: NodeSpec, registration: int = 0, limits: TaskLogLimits = DEFAULT_LIMITS
) -> bytes:
    """Register a node, or with its present registration change what it said of itself."""
    _check(checks.check_node, tuple(node), limits)
    _check(checks.check_count, registration, "the registration")
    return _bytes(form.REGISTER, node, registration)


def report_command(node: str, registration: int, load: int) -> bytes:
    """Tell that a node is there, and its load (micro-units of its capacity)."""
    _check_registration(node, registration)
    _check(checks.check_count, load, "the load", 0, form.NUMBER_MAX)
    return _bytes(form.REPORT, node, registration, load)


def leave_command(node: str, registration: int) -> bytes:
    """End a registration: what the node claimed, and what waits for it, goes to others."""
    _check_registration(node, registration)
    return _bytes(form.LEAVE, node, registration)


def drain_command(node: str, drained: bool = True) -> bytes:
    """Keep new work from a node, or let it in again; what it has claimed it may finish."""
    _check(checks.check_name, node, "the name of the node")
    return _bytes(form.DRAIN, node, drained)


def claim_command(
    node: str,
    registration: int,
    count: int,
    lease: int,
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> bytes:
    """Claim at most ``count`` tasks that are placed on a node, for ``lease`` microseconds."""
    _check_registration(node, registration)
    _check(checks.check_count, count, "the number of tasks", 1, limits.claim_tasks_max)
    _check(checks.check_lease, lease, limits)
    return _bytes(form.CLAIM, node, registration, count, lease)


def extend_command(
    node: str,
    registration: int,
    claims: Sequence[tuple[str, int]],
    lease: int,
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> bytes:
    """Let claims, given as (id, token), end ``lease`` microseconds from now."""
    _check_registration(node, registration)
    fields = tuple(map(tuple, claims))
    _check(checks.check_claims, fields, limits)
    _check(checks.check_lease, lease, limits)
    return _bytes(form.EXTEND, node, registration, fields, lease)


def progress_command(
    task_id: str, token: int, progress: bytes, limits: TaskLogLimits = DEFAULT_LIMITS
) -> bytes:
    """Tell whoever watches how far a claimed task is."""
    _check_claim(task_id, token)
    _check(checks.check_bytes, progress, "the progress", limits.progress_bytes_max)
    return _bytes(form.PROGRESS, task_id, token, progress)


def complete_command(
    task_id: str, token: int, result: bytes, limits: TaskLogLimits = DEFAULT_LIMITS
) -> bytes:
    """Complete a claimed task. To say it again with the same result gives the same answer."""
    _check_claim(task_id, token)
    _check(checks.check_bytes, result, "the result", limits.payload_bytes_max)
    return _bytes(form.COMPLETE, task_id, token, result)


def fail_command(
    task_id: str,
    token: int,
    reason: str,
    retry: bool = True,
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> bytes:
    """End an attempt without a result; without ``retry`` the task is dead, whatever is left."""
    _check_claim(task_id, token)
    _check(checks.check_reason, reason, limits)
    return _bytes(form.FAIL, task_id, token, reason, retry)


def cancel_command(task_id: str) -> bytes:
    """Cancel a task that is not finished. A claim of it is lost."""
    _check(checks.check_id, task_id)
    return _bytes(form.CANCEL, task_id)


def retry_command(task_id: str) -> bytes:
    """Begin anew with a task that is dead or cancelled, all its attempts before it."""
    _check(checks.check_id, task_id)
    return _bytes(form.RETRY, task_id)


def replan_command(after: int, limit: int, limits: TaskLogLimits = DEFAULT_LIMITS) -> bytes:
    """Place anew at most ``limit`` placed and unclaimed tasks that were created after ``after``."""
    _check(checks.check_count, after, "the revision")
    _check(checks.check_count, limit, "the limit", 1, limits.replan_tasks_max)
    return _bytes(form.REPLAN, after, limit)


def tick_command() -> bytes:
    """Let happen what is due by replicated time, a bounded number of things."""
    return _bytes(form.TICK)


def retain_command(count: int, age: int = 0) -> bytes:
    """Keep at most ``count`` finished tasks, for at most ``age`` microseconds unless that is 0."""
    _check(checks.check_count, count, "the number of finished tasks")
    _check(checks.check_count, age, "the age")
    return _bytes(form.RETAIN, count, age)


# --- queries --------------------------------------------------------------------------------------


def get_query(task_id: str) -> bytes:
    """Read one task, with its payload and result."""
    _check(checks.check_id, task_id)
    return _bytes(form.GET, task_id)


def list_query(
    state: str = "",
    kind: str = "",
    node: str = "",
    after: int = 0,
    limit: int | None = None,
    limits: TaskLogLimits = DEFAULT_LIMITS,
) -> bytes:
    """Read tasks in the order of submission, of one state, kind and node, each unless empty."""
    number = _number_of(form.STATES, state, "state") if state else 0
    for name, what in ((kind, "the kind"), (node, "the node")):
        if name:
            _check(checks.check_name, name, what)
    _check(checks.check_count, after, "the revision")
    if limit is None:
        limit = limits.answer_items_max
    _check(checks.check_count, limit, "the limit", 1)
    return _bytes(form.LIST, number, kind, node, after, limit)


def nodes_query() -> bytes:
    """Read all known nodes."""
    return _bytes(form.NODES)


def stats_query() -> bytes:
    """Ask for the task log in numbers."""
    return _bytes(form.STATS)


def explain_query(task_id: str) -> bytes:
    """Ask why a task is where it is, and where it would go now."""
    _check(checks.check_id, task_id)
    return _bytes(form.EXPLAIN, task_id)


def watch_query(scope: Scope, name: str, after: int) -> bytes:
    """Wait for changes after a revision: of everything (no name), of one task, or of one node."""
    _check(checks.check_count, after, "the revision")
    if scope == "everything":
        return _bytes(form.WATCH, form.EVERYTHING, "", after)
    if scope == "task":
        _check(checks.check_id, name)
        return _bytes(form.WATCH, form.ONE_TASK, name, after)
    _check(checks.check_name, name, "the name of the node")
    return _bytes(form.WATCH, form.ONE_NODE, name, after)


def work_query(node: str, registration: int) -> bytes:
    """Wait until a claim by a node would return a task, or be refused; read it as a watch."""
    _check_registration(node, registration)
    return _bytes(form.WATCH, form.WORK, node, registration)


# --- how the above is written and checked ---------------------------------------------------------


def _bytes(kind: int, *fields: object) -> bytes:
    data: bytes = packb((FORMAT, kind, *fields))
    return data


def _check(check: Callable[..., object], *arguments: object) -> None:
    """Run one of the state machine's own checks on what the caller gave."""
    try:
        check(*arguments)
    except CommandFailed as failure:
        raise RequestInvalid(str(failure)) from None


def _check_registration(node: str, registration: int) -> None:
    _check(checks.check_name, node, "the name of the node")
    _check(checks.check_count, registration, "the registration", 1)


def _check_claim(task_id: str, token: int) -> None:
    _check(checks.check_id, task_id)
    _check(checks.check_count, token, "the token", 1)


def _number_of(names: Mapping[int, str], name: str, what: str) -> int:
    for number, known in names.items():
        if known == name:
            return number
    raise RequestInvalid(f"unknown {what} {name!r}: one of {', '.join(names.values())}")
