"""What ``--json`` and tables show of tasks and nodes.

Owns the names of the fields that scripts rely on, and how their values are spelled: times in UTC,
amounts as decimal numbers, durations ("..._s") as seconds. It asks nobody anything.
"""

from __future__ import annotations

from typing import Any

from paxos.cli.output import bytes_text, value_fields, value_text
from paxos.cli.quantities import MICRO, amount_text, duration_text, moment_text
from statemachines.task_log_format import (
    CLAIMED,
    DONE,
    LIVE,
    NODE_KINDS,
    NODE_STATES,
    POLICIES,
    READY,
    STATES,
    Node,
    NodeChange,
    Stats,
    Task,
    TaskChange,
)

TASK_COLUMNS = ("id", "kind", "state", "node", "attempt", "priority", "age", "note")
NODE_COLUMNS = (
    *("node", "kind", "state", "used", "capacity", "queued", "claimed"),
    *("load", "speed", "price", "lease"),
)


def amount_number(micro: int) -> int | float:
    """Return an amount as a JSON number; below 10**9 with all its digits as they were typed."""
    whole, rest = divmod(micro, MICRO)
    # A quotient of integers is the nearest float; JSON writes the fewest digits that name it.
    return micro / MICRO if rest else whole


def _moment(micros: int) -> str | None:
    return moment_text(micros) if micros else None


# --- tasks ----------------------------------------------------------------------------------------


def task_fields(task: Task) -> dict[str, Any]:
    """Return a task with its payload and result, as ``task show`` tells it."""
    fields = summary_fields(task)
    del fields["payload_bytes"], fields["result_bytes"]
    fields |= _bytes_fields("payload", task.spec.payload)
    return fields | _bytes_fields("result", task.result)


def summary_fields(task: Task) -> dict[str, Any]:
    """Return a task with the lengths of its payload and result, as ``task list`` tells it."""
    spec = task.spec
    return {
        "id": spec.id,
        "kind": spec.kind,
        "state": STATES[task.state],
        "node": task.node or None,
        "attempt": task.attempt,
        "attempts": spec.attempts,
        "token": task.token or None,
        "priority": spec.priority,
        "revision": task.revision,
        "created": task.created,
        "submitted": _moment(task.submitted),
        "changed": _moment(task.changed),
        "until": _moment(task.until),
        "not_before": _moment(spec.not_before),
        "deadline": _moment(spec.deadline),
        "backoff_s": amount_number(spec.backoff),
        "after": list(spec.depends_on),
        "missing": list(task.missing),
        "on": NODE_KINDS[spec.node_kind],
        "labels": dict(spec.labels),
        "demand": amount_number(spec.demand),
        "size": amount_number(spec.size),
        "data_on": spec.data_node or None,
        "data_size": spec.data_bytes,
        "policy": POLICIES[spec.policy],
        "reason": task.reason or None,
        **_bytes_fields("progress", task.progress or None),
        "payload_bytes": length(spec.payload),
        "result_bytes": None if task.result is None else length(task.result),
    }


def length(data: bytes | int) -> int:
    """Return the length of bytes of which a page may say only that."""
    return data if isinstance(data, int) else len(data)


def _bytes_fields(name: str, data: bytes | None) -> dict[str, str | None]:
    return {key.replace("value", name): text for key, text in value_fields(data).items()}


def task_row(task: Task, now: int) -> tuple[str, ...]:
    """Return a task's row under TASK_COLUMNS; ages are counted to ``now``."""
    spec = task.spec
    return (
        spec.id,
        spec.kind,
        STATES[task.state],
        task.node or "-",
        f"{task.attempt}/{spec.attempts}",
        str(spec.priority),
        duration_text(max(0, now - task.submitted)),
        task_note(task, now),
    )


def task_note(task: Task, now: int) -> str:
    """Return what a person wants to know of a task in its state, in a few words."""
    if task.state == DONE:
        size = None if task.result is None else length(task.result)
        return f"{bytes_text(size)} in {duration_text(max(0, task.changed - task.submitted))}"
    if task.missing:
        others = f" and {len(task.missing) - 1} more" if len(task.missing) > 1 else ""
        return f"after {task.missing[0]}{others}"
    if task.state == CLAIMED:
        told = f": {value_text(task.progress)}" if task.progress else ""
        return f"lease {duration_text(max(0, task.until - now))}{told}"
    if task.until:
        again = f" ({task.reason})" if task.reason else ""
        return f"in {duration_text(max(0, task.until - now))}{again}"
    if task.state == READY and not task.node:
        return "no node takes it now"
    return task.reason


def task_lines(task: Task, now: int) -> list[tuple[str, str]]:
    """Return (label, text) of everything a person may ask about one task, result left out."""
    spec = task.spec
    wanted = [NODE_KINDS[spec.node_kind], *("=".join(label) for label in spec.labels)]
    lines = [
        ("task", spec.id),
        ("kind", spec.kind),
        ("state", f"{STATES[task.state]} since {moment_text(task.changed)}"),
        ("note", task_note(task, now)),
        ("node", task.node),
        ("attempt", f"{task.attempt} of {spec.attempts}"),
        ("token", str(task.token or "")),
        ("priority", str(spec.priority)),
        ("submitted", f"{moment_text(task.submitted)} (revision {task.created})"),
        ("not before", _moment(spec.not_before) or ""),
        ("deadline", _moment(spec.deadline) or ""),
        ("after", " ".join(spec.depends_on)),
        ("on", " ".join(wanted)),
        ("size", amount_text(spec.size)),
        ("demand", amount_text(spec.demand)),
        ("data", f"{bytes_text(spec.data_bytes)} on {spec.data_node}" if spec.data_node else ""),
        ("policy", POLICIES[spec.policy]),
        ("reason", task.reason),
        ("payload", value_text(spec.payload)),
    ]
    return [(label, text) for label, text in lines if text]


def stats_text(stats: Stats) -> str:
    """Return the task log in one line."""
    counts = zip(STATES.values(), stats.states, strict=True)
    told = [f"{count} {state}" for state, count in counts if count] or ["no task"]
    nodes = f"{stats.live_nodes} live nodes" if stats.live_nodes != 1 else "1 live node"
    unplaced = f", {stats.unplaced} unplaced" if stats.unplaced else ""
    return f"{', '.join(told)}{unplaced}; {nodes}; revision {stats.revision}"


# --- changes --------------------------------------------------------------------------------------


def change_fields(change: TaskChange | NodeChange) -> dict[str, Any]:
    """Return a change with the fields that scripts rely on; "type" says of what."""
    when = {"revision": change.revision, "time": moment_text(change.time)}
    if isinstance(change, NodeChange):
        return when | {
            "type": "node",
            "node": change.name,
            "kind": NODE_KINDS[change.kind],
            "state": NODE_STATES[change.state],
            "draining": change.drained,
        }
    return when | {
        "type": "task",
        "id": change.id,
        "kind": change.kind,
        "state": STATES[change.state],
        "node": change.node or None,
        "attempt": change.attempt,
        "token": change.token or None,
        "reason": change.reason or None,
        **_bytes_fields("progress", change.progress or None),
    }


def change_text(change: TaskChange | NodeChange) -> str:
    """Return a change as a line."""
    if isinstance(change, NodeChange):
        draining = ", draining" if change.drained else ""
        return f"{change.revision}  node {change.name}  {NODE_STATES[change.state]}{draining}"
    parts = [str(change.revision), change.id, STATES[change.state]]
    if change.node:
        parts.append(f"on {change.node}")
    if change.attempt:
        parts.append(f"attempt {change.attempt}, token {change.token}")
    if change.reason:
        parts.append(f"({change.reason})")
    if change.progress:
        parts.append(value_text(change.progress))
    return "  ".join(parts)


# --- nodes ----------------------------------------------------------------------------------------


def node_fields(node: Node) -> dict[str, Any]:
    """Return a node with the fields that scripts rely on."""
    spec = node.spec
    return {
        "node": spec.name,
        "kind": NODE_KINDS[spec.kind],
        "state": NODE_STATES[node.state],
        "draining": node.drained,
        "registration": node.registration,
        "until": _moment(node.until),
        "capacity": amount_number(spec.capacity),
        "used": amount_number(node.committed),
        "queued": node.queued,
        "claimed": node.claimed,
        "load": amount_number(node.load),
        "backlog": amount_number(node.backlog),
        "labels": dict(spec.labels),
        "speed": amount_number(spec.speed),
        "price": amount_number(spec.price),
        "energy": [amount_number(coefficient) for coefficient in spec.energy],
        "delay_s": amount_number(spec.delay),
        "bandwidth": spec.bandwidth,
    }


def node_row(node: Node, now: int) -> tuple[str, ...]:
    """Return a node's row under NODE_COLUMNS."""
    spec = node.spec
    live = node.state == LIVE
    state = "draining" if live and node.drained else NODE_STATES[node.state]
    return (
        spec.name,
        NODE_KINDS[spec.kind],
        state,
        amount_text(node.committed),
        amount_text(spec.capacity),
        str(node.queued),
        str(node.claimed),
        amount_text(node.load),
        amount_text(spec.speed),
        amount_text(spec.price),
        duration_text(max(0, node.until - now)) if live else "-",
    )
