"""A task log with a clock, driven by typed calls: what its tests have in common."""

from __future__ import annotations

from typing import Any

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import task_log_answers as answers
from statemachines import task_log_requests as requests
from statemachines.key_index import KeyIndex
from statemachines.task_log import TaskLog
from statemachines.task_log_format import (
    DEFAULT_LIMITS,
    MICRO,
    Node,
    NodeChange,
    NodeSpec,
    Stats,
    Task,
    TaskChange,
    TaskLogLimits,
    TaskSpec,
)

START = 1_700_000_000 * MICRO
LEASE = 10 * MICRO
"""What claims and registrations last, unless a test says otherwise."""


class Driver:
    """One task log, at ``time`` (microseconds). Refusals come as the typed errors of clients."""

    def __init__(self, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.log = TaskLog(limits)
        self.time = START
        self.slot = 0

    def apply(self, command: bytes) -> bytes:
        self.slot += 1
        try:
            return self.log.apply(command, Stamp(self.slot, 0, self.time))
        except CommandFailed as failure:
            raise answers.decode_failure(failure) from None

    def wait(self, microseconds: int) -> None:
        """Let time pass, and be noticed."""
        self.time += microseconds
        while answers.decode_tick(self.apply(requests.tick_command())).more:
            pass

    def submit(self, *specs: TaskSpec) -> answers.Submitted:
        return answers.decode_submit(self.apply(requests.submit_command(specs)))

    def task(self, task_id: str, kind: str = "work", **fields: Any) -> int:
        """Submit one task; return its ``created``."""
        ((_, created),) = self.submit(requests.task_spec(task_id, kind, **fields)).created
        return created

    def node(self, name: str, **fields: Any) -> int:
        """Register a node with room for ten tasks; return its registration."""
        return self.update(node_spec(name, **fields), 0)

    def update(self, spec: NodeSpec, registration: int) -> int:
        command = requests.register_command(spec, registration)
        return answers.decode_register(self.apply(command)).registration

    def report(self, name: str, registration: int, load: int = 0) -> answers.Reported:
        command = requests.report_command(name, registration, load)
        return answers.decode_report(self.apply(command))

    def leave(self, name: str, registration: int) -> int:
        command = requests.leave_command(name, registration)
        return answers.decode_changed(self.apply(command)).revision

    def drain(self, name: str, drained: bool = True) -> int:
        command = requests.drain_command(name, drained)
        return answers.decode_changed(self.apply(command)).revision

    def claim(
        self, name: str, registration: int, count: int = 1, lease: int = LEASE
    ) -> tuple[answers.Claim, ...]:
        command = requests.claim_command(name, registration, count, lease)
        return answers.decode_claim(self.apply(command)).claims

    def claimed(self, name: str, registration: int, count: int = 64) -> list[str]:
        """Claim; return the ids."""
        return [claim.task.id for claim in self.claim(name, registration, count)]

    def token(self, name: str, registration: int) -> int:
        """Claim one task; return its token."""
        (claim,) = self.claim(name, registration)
        return claim.token

    def extend(
        self, name: str, registration: int, *claims: tuple[str, int], lease: int = LEASE
    ) -> tuple[bool, ...]:
        command = requests.extend_command(name, registration, claims, lease)
        return answers.decode_extend(self.apply(command)).held

    def progress(self, task_id: str, token: int, progress: bytes) -> int:
        command = requests.progress_command(task_id, token, progress)
        return answers.decode_changed(self.apply(command)).revision

    def complete(self, task_id: str, token: int, result: bytes = b"") -> int:
        command = requests.complete_command(task_id, token, result)
        return answers.decode_changed(self.apply(command)).revision

    def fail(self, task_id: str, token: int, reason: str = "no", retry: bool = True) -> str:
        command = requests.fail_command(task_id, token, reason, retry)
        return answers.decode_fail(self.apply(command)).state

    def cancel(self, task_id: str) -> int:
        return answers.decode_changed(self.apply(requests.cancel_command(task_id))).revision

    def retry(self, task_id: str) -> int:
        return answers.decode_changed(self.apply(requests.retry_command(task_id))).revision

    def replan(self, after: int = 0, limit: int = 256) -> answers.Replanned:
        return answers.decode_replan(self.apply(requests.replan_command(after, limit)))

    def retain(self, count: int, age: int = 0) -> None:
        answers.decode_retain(self.apply(requests.retain_command(count, age)))

    def get(self, task_id: str) -> Task:
        task = self.find(task_id)
        assert task is not None
        return task

    def find(self, task_id: str) -> Task | None:
        return answers.decode_get(self.log.query(requests.get_query(task_id))).task

    def state(self, task_id: str) -> str:
        return STATE_NAMES[self.get(task_id).state]

    def page(self, **fields: Any) -> answers.TaskPage:
        return answers.decode_list(self.log.query(requests.list_query(**fields)))

    def ids(self, **fields: Any) -> list[str]:
        """List tasks, over all pages."""
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            page = self.page(**fields, after=after)
            found += [task.spec.id for task in page.tasks]
            after = page.next_after
        return found

    def nodes(self) -> dict[str, Node]:
        rows = answers.decode_nodes(self.log.query(requests.nodes_query())).nodes
        return {row.spec.name: row for row in rows}

    def stats(self) -> Stats:
        return answers.decode_stats(self.log.query(requests.stats_query()))

    def explain(self, task_id: str) -> answers.TaskExplanation:
        return answers.decode_explain(self.log.query(requests.explain_query(task_id)))

    def watch(
        self, after: int = 0, scope: requests.Scope = "everything", name: str = ""
    ) -> answers.ChangeBatch | None:
        try:
            data = self.log.watch(requests.watch_query(scope, name, after))
        except CommandFailed as failure:
            raise answers.decode_failure(failure) from None
        return None if data is None else answers.decode_watch(data)

    def changes(self, after: int = 0) -> list[TaskChange | NodeChange]:
        """Return all changes after a revision, from as many batches as it takes."""
        found: list[TaskChange | NodeChange] = []
        while (batch := self.watch(after)) is not None:
            found += batch.changes
            after = batch.revision
        return found

    def has_work(self, name: str, registration: int) -> bool:
        return self.log.watch(requests.work_query(name, registration)) is not None

    def restored(self) -> Driver:
        """Return another of the same state, restored from a snapshot of this one."""
        twin = Driver(self.limits)
        twin.log.restore(self.log.snapshot())
        twin.time, twin.slot = self.time, self.slot
        return twin


STATE_NAMES = dict(
    enumerate(("blocked", "waiting", "ready", "claimed", "done", "dead", "cancelled"), 1)
)


def node_spec(name: str, **fields: Any) -> NodeSpec:
    """Return an edge node with room for ten tasks, unless ``fields`` say otherwise."""
    return requests.node_spec(
        name,
        **{"kind": "edge", "lease": 1000 * MICRO, "capacity": 10 * MICRO, **fields},
    )


def indexes(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """Return all that an object of the task log holds in its private fields, as plain data.

    Two that behave alike hold alike, whatever the way on which they came there.
    """
    if isinstance(value, KeyIndex):
        return list(value.scan()), len(value)
    if isinstance(value, dict):
        return {key: indexes(each, seen) for key, each in value.items()}
    fields = [*getattr(value, "__slots__", ()), *getattr(value, "__dict__", ())]
    if isinstance(value, tuple) or id(value) in seen or not fields:
        return value
    seen |= {id(value)}
    skipped = ("_jobs", "_captures", "_queries", "_commands", "_pack", "_follow_ups", "_limits",
               "_steps", "_evaluations")  # fmt: skip
    return {name: indexes(getattr(value, name), seen) for name in fields if name not in skipped}
