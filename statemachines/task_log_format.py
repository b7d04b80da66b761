"""The bytes of the task log: what commands, queries and their answers look like.

It owns the numbers, the layouts and the texts of refusals that the state machine and its client
share, so that both mean the same; it knows no state. What may stand in a field is checked by
``task_log_checks``.

Everything is one msgpack array that begins with FORMAT. A command or query names its kind next:

    SUBMIT, [TaskSpec, ...]                   -> revision, [(id, created), ...]
    REGISTER, NodeSpec, registration          -> registration, until, drained
    REPORT, node, registration, load          -> revision, until, drained, next due or nil
    LEAVE, node, registration                 -> revision
    DRAIN, node, drained                      -> revision
    CLAIM, node, registration, count, lease   -> revision, [Claim, ...], queued
    EXTEND, node, registration, [(id, token), ...], lease -> revision, until, [held, ...]
    PROGRESS, id, token, progress             -> revision
    COMPLETE, id, token, result               -> revision
    FAIL, id, token, reason, retry            -> revision, state
    CANCEL, id                                -> revision
    RETRY, id                                 -> revision
    REPLAN, after, limit                      -> revision, looked at, moved, next after or nil
    TICK                                      -> revision, more, next due or nil
    RETAIN, count, age                        -> revision, count, age

    GET, id                                   -> revision, Task or nil
    LIST, state, kind, node, after, limit     -> revision, [Task, ...], next after or nil
    NODES                                     -> revision, [Node, ...]
    STATS                                     -> Stats
    EXPLAIN, id                               -> revision, Task, chosen, candidates, refused
    WATCH, scope, name, after                 -> next after, [TaskChange or NodeChange, ...]

A state of 0, and an empty kind or node, ask a LIST for any. To REGISTER with 0 begins a new
registration, and whatever was claimed under an older one is lost to the node; with the present
registration it stays, and may change price, speed, energy, link and lease. A Claim is (TaskSpec,
attempt, token, until); queued is how many tasks are still placed on the node. In an EXPLAIN, chosen
may be nil; a candidate is (node, wait, delay, compute, price, energy, cost, finish, late,
preferred), the best first; what is refused is (node, reason).

There is one counter, the revision: every change of a task or of a node takes the next one. A
claim's fencing token is the revision of that claim, a registration's token that of the
registration, and a task's place in the order of submission is the revision that created it.

Times are replicated time in microseconds since the Unix epoch, durations are microseconds; 0 says
"none". Sizes, demands, capacities, loads, prices and speeds are integers in micro-units
(1.0 is 1,000,000).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from paxos.core.state_machine import CommandFailed
from statemachines.command_fields import Fields

FORMAT: Final = 1
"""The first field of every command, query and answer."""

SUBMIT: Final = 1
REGISTER: Final = 2
REPORT: Final = 3
LEAVE: Final = 4
DRAIN: Final = 5
CLAIM: Final = 6
EXTEND: Final = 7
PROGRESS: Final = 8
COMPLETE: Final = 9
FAIL: Final = 10
CANCEL: Final = 11
RETRY: Final = 12
REPLAN: Final = 13
TICK: Final = 14
RETAIN: Final = 15

GET: Final = 32
LIST: Final = 33
NODES: Final = 34
STATS: Final = 35
EXPLAIN: Final = 36
WATCH: Final = 37

BLOCKED: Final = 1
WAITING: Final = 2
READY: Final = 3
CLAIMED: Final = 4
DONE: Final = 5
DEAD: Final = 6
CANCELLED: Final = 7
STATES: Final = {
    BLOCKED: "blocked",
    WAITING: "waiting",
    READY: "ready",
    CLAIMED: "claimed",
    DONE: "done",
    DEAD: "dead",
    CANCELLED: "cancelled",
}
"""States of a task. From DONE on it is finished; only ``RETRY`` brings DEAD and CANCELLED back."""

ANY: Final = 0
CLOUD: Final = 1
EDGE: Final = 2
NODE_KINDS: Final = {ANY: "any", CLOUD: "cloud", EDGE: "edge"}
"""Kinds of nodes that a task may ask for; a node itself is CLOUD or EDGE."""

BALANCED: Final = 0
COST: Final = 1
LATENCY: Final = 2
ENERGY: Final = 3
POLICIES: Final = {BALANCED: "balanced", COST: "cost", LATENCY: "latency", ENERGY: "energy"}
"""By what a task is placed."""

LIVE: Final = 1
LAPSED: Final = 2
NODE_STATES: Final = {LIVE: "live", LAPSED: "lapsed"}
"""A node is lapsed when its lease ran out, or when it left."""

EVERYTHING: Final = 0
ONE_TASK: Final = 1
ONE_NODE: Final = 2
WORK: Final = 3
"""What a watch is about. ONE_NODE: changes of the node, and of tasks that are placed on it or were
done by it. WORK: its ``after`` is the node's registration, and it is answered, with no changes, as
soon as a claim would return a task or be refused.
"""

TASK: Final = 1
NODE: Final = 2
"""The third field of a change says of what."""

MICRO: Final = 1_000_000
"""One unit, and one second."""

NUMBER_MAX: Final = 10**15
"""The largest size, demand, capacity, price, speed, delay or number of bytes."""

COUNT_MAX: Final = 2**63 - 1
"""The largest revision, token, time or limit that a field may hold, and estimate that is told."""

BACKOFF_MAX: Final = 3600 * MICRO
"""The longest wait before another attempt."""


class TaskSpec(NamedTuple):
    """A task as it is submitted; never changes.

    Attributes:
        id: Names the task, 1 to 128 printable ASCII characters without spaces.
        kind: Which handler runs it; as an id, at most 64 characters.
        payload: What the handler is given.
        priority: -100 to 100; higher goes first.
        not_before: Not to be claimed before this time.
        deadline: Dead if not done by then.
        attempts: How often it may be claimed, 1 to 100.
        backoff: Wait after the first failed attempt; doubles with each, up to BACKOFF_MAX.
        depends_on: Ids of the tasks that must be done before.
        node_kind: ANY, CLOUD or EDGE.
        labels: (name, value) pairs that the node must have, in ascending order of names.
        demand: Share of a node's capacity it takes while it is claimed.
        size: Work, in units of which a node's speed does so many per second.
        data_node: The node that holds the input; empty for none.
        data_bytes: What must be brought to any other node.
        policy: BALANCED, COST, LATENCY or ENERGY.
    """

    id: str
    kind: str
    payload: bytes
    priority: int
    not_before: int
    deadline: int
    attempts: int
    backoff: int
    depends_on: tuple[str, ...]
    node_kind: int
    labels: tuple[tuple[str, str], ...]
    demand: int
    size: int
    data_node: str
    data_bytes: int
    policy: int


class NodeSpec(NamedTuple):
    """A node as it registers.

    Attributes:
        name: Names the node, as a kind.
        kind: CLOUD or EDGE.
        capacity: How much demand it can take at a time.
        labels: (name, value) pairs in ascending order of names.
        price: Per second of compute.
        speed: Work per second.
        energy: (a, b, c) of its energy curve e(l) = a*l^2 + b*l + c.
        delay: Of its link, a duration.
        bandwidth: Of its link, bytes per second.
        lease: How long the registration lasts without a report, a duration.
    """

    name: str
    kind: int
    capacity: int
    labels: tuple[tuple[str, str], ...]
    price: int
    speed: int
    energy: tuple[int, int, int]
    delay: int
    bandwidth: int
    lease: int


class Task(NamedTuple):
    """A task as it is now. Immutable: a change replaces it.

    In a LIST and in other places without the bytes, ``payload`` and ``result`` are their lengths.

    Attributes:
        spec: As submitted.
        created: The revision that created it; its place in the order of submission.
        revision: Of its last change.
        submitted: Time of its submission.
        changed: Time of its last change.
        state: One of STATES.
        node: Where it is placed, is claimed, or was finished; else empty.
        registration: The registration of ``node`` while it is placed or claimed; else 0.
        attempt: How often it was claimed since it was submitted or retried.
        token: Of its last claim; 0 before the first.
        until: CLAIMED: when the lease ends. WAITING: when it becomes ready. Else 0.
        missing: Dependencies that were not yet done when it was last looked at.
        reason: Why it is DEAD, or why its last attempt failed; else empty.
        result: What its completion brought; None before.
        progress: The last that its present claim told; else empty.
        why: When it was placed on ``node``, and what it was to cost there, as in an EXPLAIN: (time,
            wait, delay, compute, price, energy, cost); empty if it is not placed.
    """

    spec: TaskSpec
    created: int
    revision: int
    submitted: int
    changed: int
    state: int
    node: str
    registration: int
    attempt: int
    token: int
    until: int
    missing: tuple[str, ...]
    reason: str
    result: bytes | None
    progress: bytes
    why: Fields


class Node(NamedTuple):
    """A node as it is now. In snapshots without the last four, which follow from the tasks.

    Attributes:
        spec: As it registered last.
        registration: The token of its last registration.
        state: LIVE or LAPSED.
        drained: Whether new work is kept from it.
        until: When its registration ends without a report.
        load: As it reported last.
        queued: Tasks placed on it and not claimed.
        claimed: Tasks claimed by it.
        committed: Demand of the claimed ones.
        backlog: Size of the queued and the claimed ones.
    """

    spec: NodeSpec
    registration: int
    state: int
    drained: bool
    until: int
    load: int
    queued: int
    claimed: int
    committed: int
    backlog: int


class TaskChange(NamedTuple):
    """One change of a task, as a watch tells it; fields as in ``Task`` and ``TaskSpec``."""

    revision: int
    time: int
    of: int  # TASK
    id: str
    kind: str
    state: int
    node: str
    attempt: int
    token: int
    reason: str
    progress: bytes


class NodeChange(NamedTuple):
    """One change of a node, as a watch tells it; fields as in ``Node`` and ``NodeSpec``."""

    revision: int
    time: int
    of: int  # NODE
    name: str
    kind: int
    state: int
    drained: bool


class Stats(NamedTuple):
    """The task log in numbers.

    Attributes:
        revision: The present one.
        oldest: Watches can go on from here.
        states: How many tasks are in each of STATES, in their order.
        unplaced: How many READY tasks no node takes now.
        live_nodes: Nodes with a registration.
        lapsed_nodes: Nodes without.
        keep_finished: How many finished tasks are kept.
        keep_age: For how long, a duration; 0: no limit.
        time: Replicated time of the last command.
    """

    revision: int
    oldest: int
    states: tuple[int, ...]
    unplaced: int
    live_nodes: int
    lapsed_nodes: int
    keep_finished: int
    keep_age: int
    time: int


@dataclass(frozen=True, slots=True)
class TaskLogLimits:
    """Bounds of a task log. Replicated: equal on every node of a cluster.

    Attributes:
        payload_bytes_max: A payload, and a result.
        progress_bytes_max: What one progress tells.
        reason_chars_max: Why an attempt failed. Longer ones are refused; clients cut them.
        submit_tasks_max: Tasks of one submission.
        depends_on_max: Dependencies of one task, at most 64.
        submit_depends_on_max: Dependencies of all tasks of one submission together.
        labels_max: Labels of a task or a node, at most 64.
        claim_tasks_max: Tasks of one claim, and of one extension.
        replan_tasks_max: Tasks of one replan.
        lease_max: A lease, a duration.
        nodes_max: Nodes that are known. A new one takes the place of the one lapsed for longest.
        tasks_max: Tasks that are known, finished ones among them.
        answer_bytes_max: Payloads, names and texts in one answer. It ends before, unless its first
            item exceeds it.
        answer_items_max: Items in one page or batch.
        scan_max: Tasks or changes one query looks at before it answers with what it has.
        keep_changes: How many revisions are kept for watches.
        keep_finished: How many finished tasks are kept until a command says otherwise.
        steps_max: Due timers and other follow-ups of one command; a tick does half as many more.
        evaluations_max: Nodes that placement looks at in one command, for all tasks together.
    """

    payload_bytes_max: int = 64 * 1024
    progress_bytes_max: int = 1024
    reason_chars_max: int = 1024
    submit_tasks_max: int = 64
    depends_on_max: int = 64
    submit_depends_on_max: int = 1024
    labels_max: int = 32
    claim_tasks_max: int = 64
    replan_tasks_max: int = 256
    lease_max: int = 24 * 3600 * MICRO
    nodes_max: int = 1024
    tasks_max: int = 4_000_000
    answer_bytes_max: int = 1024 * 1024
    answer_items_max: int = 1000
    scan_max: int = 5000
    keep_changes: int = 32_768
    keep_finished: int = 100_000
    steps_max: int = 48
    evaluations_max: int = 512


DEFAULT_LIMITS: Final = TaskLogLimits()


def tellable(estimate: int) -> int:
    """Return an estimate as it is told and kept.

    What follows from several fields may be more than any field holds, and cannot be written.
    """
    return min(estimate, COUNT_MAX)


# --- refusals that clients tell apart -------------------------------------------------------------


def unknown_task(task_id: str) -> CommandFailed:
    """Return the error for a task that is not there: never submitted, or forgotten since."""
    return CommandFailed(f"unknown task: {task_id}")


def token_invalid(token: int, why: str) -> CommandFailed:
    """Return the error for a claim's token that is not the present one."""
    return CommandFailed(f"token {token} is no longer valid: {why}")


def registration_invalid(node: str, registration: int, why: str) -> CommandFailed:
    """Return the error for a registration that is not the present one of its node."""
    return CommandFailed(f"registration {registration} of node {node} is no longer valid: {why}")


def compacted(revision: int, oldest: int) -> CommandFailed:
    """Return the error for a watch whose next changes are no longer kept."""
    return CommandFailed(
        f"compacted: changes after revision {revision} are no longer kept; the oldest revision"
        f" to watch from is {oldest}"
    )


def parse_unknown_task(text: str) -> str | None:
    """Return the task's id if ``text`` is that of ``unknown_task``."""
    found = re.fullmatch(r"unknown task: (\S+)", text)
    return None if found is None else found[1]


def parse_token_invalid(text: str) -> tuple[int, str] | None:
    """Return (token, why) if ``text`` is that of ``token_invalid``."""
    found = re.fullmatch(r"token (\d+) is no longer valid: (.*)", text, re.DOTALL)
    return None if found is None else (int(found[1]), found[2])


def parse_registration_invalid(text: str) -> tuple[str, int, str] | None:
    """Return (node, registration, why) if ``text`` is that of ``registration_invalid``."""
    found = re.fullmatch(r"registration (\d+) of node (\S+) is no longer valid: (.*)", text)
    return None if found is None else (found[2], int(found[1]), found[3])


def parse_compacted(text: str) -> tuple[int, int] | None:
    """Return (asked revision, oldest revision) if ``text`` is that of ``compacted``."""
    found = re.fullmatch(r"compacted: changes after revision (\d+) .* from is (\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))
