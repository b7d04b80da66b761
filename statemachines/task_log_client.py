"""The client of the task log: ``task_log_requests`` and ``task_log_answers`` over a connection.

It knows no event loop, no connection and no node: any object with three async methods will do. It
guards that refusals which a caller must tell apart arrive with types of their own, and that a watch
hands on every change once and in order, or ends with an error that says why it cannot.

All amounts are integers in micro-units; all times and durations are integers in microseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from paxos.core.state_machine import CommandFailed
from statemachines import task_log_answers as answers
from statemachines import task_log_requests as requests
from statemachines.machine_client import Level, MachineClient
from statemachines.task_log_answers import (
    AnswerInvalid,
    ChangeBatch,
    Changed,
    Claimed,
    Extended,
    Failed,
    NodeList,
    Registered,
    Replanned,
    Reported,
    Retention,
    Submitted,
    TaskExplanation,
    TaskPage,
    TaskRead,
    Ticked,
    decode_failure,
)
from statemachines.task_log_format import (
    DEFAULT_LIMITS,
    NodeChange,
    NodeSpec,
    Stats,
    Task,
    TaskChange,
    TaskLogLimits,
    TaskSpec,
)
from statemachines.task_log_requests import Scope


class TaskLogClient:
    """The task log over a cluster. Every method is one request.

    Each raises RequestInvalid before anything is sent if the request could never be taken,
    CommandFailed (TaskUnknown, TokenInvalid and RegistrationInvalid among them) if it was refused,
    and whatever the connection has for requests that ended refused or unknown. All commands but
    ``claim`` and ``register`` may be repeated after an unknown outcome: they change nothing twice.

    Args:
        client: The connection.
        machine: The name under which the cluster hosts the state machine.
        limits: Bounds, as the cluster has them.
    """

    def __init__(
        self,
        client: MachineClient,
        machine: str = "tasks",
        limits: TaskLogLimits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        """Bounds, as the cluster has them."""
        self._client = client
        self._machine = machine

    # --- tasks -----------------------------------------------------------------------------------

    async def submit(self, tasks: Iterable[TaskSpec]) -> Submitted:
        """Submit tasks, all or none; see ``task_spec`` and ``submit_command``."""
        slot, data = await self._execute(requests.submit_command(tasks, self.limits))
        return answers.decode_submit(data, slot)

    async def cancel(self, task_id: str) -> Changed:
        """Cancel a task that is not finished. A claim of it is lost."""
        slot, data = await self._execute(requests.cancel_command(task_id))
        return answers.decode_changed(data, slot)

    async def retry(self, task_id: str) -> Changed:
        """Begin anew with a task that is dead or cancelled, all its attempts before it."""
        slot, data = await self._execute(requests.retry_command(task_id))
        return answers.decode_changed(data, slot)

    async def replan(self, after: int = 0, limit: int | None = None) -> Replanned:
        """Place anew a bounded number of placed and unclaimed tasks; see ``replan_command``."""
        most = self.limits.replan_tasks_max if limit is None else limit
        slot, data = await self._execute(requests.replan_command(after, most, self.limits))
        return answers.decode_replan(data, slot)

    async def tick(self) -> Ticked:
        """Let happen what is due by replicated time, a bounded number of things."""
        slot, data = await self._execute(requests.tick_command())
        return answers.decode_tick(data, slot)

    async def retain(self, count: int, age: int = 0) -> Retention:
        """Keep at most ``count`` finished tasks, for at most ``age`` unless that is 0."""
        slot, data = await self._execute(requests.retain_command(count, age))
        return answers.decode_retain(data, slot)

    # --- nodes -----------------------------------------------------------------------------------

    async def register(self, node: NodeSpec, registration: int = 0) -> Registered:
        """Register a node, or with its present registration change what it said of itself."""
        command = requests.register_command(node, registration, self.limits)
        slot, data = await self._execute(command)
        return answers.decode_register(data, slot)

    async def report(self, node: str, registration: int, load: int) -> Reported:
        """Tell that a node is there, and its load (micro-units of its capacity)."""
        slot, data = await self._execute(requests.report_command(node, registration, load))
        return answers.decode_report(data, slot)

    async def leave(self, node: str, registration: int) -> Changed:
        """End a registration: what the node claimed, and what waits for it, goes to others."""
        slot, data = await self._execute(requests.leave_command(node, registration))
        return answers.decode_changed(data, slot)

    async def drain(self, node: str, drained: bool = True) -> Changed:
        """Keep new work from a node, or let it in again; what it has claimed it may finish."""
        slot, data = await self._execute(requests.drain_command(node, drained))
        return answers.decode_changed(data, slot)

    # --- claims ----------------------------------------------------------------------------------

    async def claim(self, node: str, registration: int, count: int, lease: int) -> Claimed:
        """Claim at most ``count`` tasks that are placed on a node, for ``lease``.

        After an unknown outcome, claims may have been made that nobody knows of; they lapse.
        """
        command = requests.claim_command(node, registration, count, lease, self.limits)
        slot, data = await self._execute(command)
        return answers.decode_claim(data, slot)

    async def extend(
        self, node: str, registration: int, claims: Sequence[tuple[str, int]], lease: int
    ) -> Extended:
        """Let claims, given as (id, token), end ``lease`` from now."""
        command = requests.extend_command(node, registration, claims, lease, self.limits)
        slot, data = await self._execute(command)
        extended = answers.decode_extend(data, slot)
        if len(extended.held) != len(claims):
            raise AnswerInvalid(f"{len(claims)} claims were answered by {len(extended.held)}")
        return extended

    async def progress(self, task_id: str, token: int, progress: bytes) -> Changed:
        """Tell whoever watches how far a claimed task is."""
        command = requests.progress_command(task_id, token, progress, self.limits)
        slot, data = await self._execute(command)
        return answers.decode_changed(data, slot)

    async def complete(self, task_id: str, token: int, result: bytes) -> Changed:
        """Complete a claimed task. To say it again with the same result gives the same answer."""
        command = requests.complete_command(task_id, token, result, self.limits)
        slot, data = await self._execute(command)
        return answers.decode_changed(data, slot)

    async def fail(self, task_id: str, token: int, reason: str, retry: bool = True) -> Failed:
        """End an attempt without a result; without ``retry`` the task is dead."""
        command = requests.fail_command(task_id, token, reason, retry, self.limits)
        slot, data = await self._execute(command)
        return answers.decode_fail(data, slot)

    # --- reads -----------------------------------------------------------------------------------

    async def get(self, task_id: str, level: Level = "linearizable") -> TaskRead:
        """Read one task, with its payload and result."""
        slot, data = await self._query(requests.get_query(task_id), level)
        return answers.decode_get(data, slot)

    async def page(
        self,
        state: str = "",
        kind: str = "",
        node: str = "",
        after: int = 0,
        limit: int | None = None,
        level: Level = "linearizable",
    ) -> TaskPage:
        """Read one page of tasks; see ``list_query``."""
        query = requests.list_query(state, kind, node, after, limit, self.limits)
        slot, data = await self._query(query, level)
        return answers.decode_list(data, slot)

    def tasks(
        self, state: str = "", kind: str = "", node: str = "", level: Level = "linearizable"
    ) -> Tasks:
        """Iterate over every task of one state, kind and node, each unless empty."""
        return Tasks(self, state, kind, node, level)

    async def nodes(self, level: Level = "linearizable") -> NodeList:
        """Read all known nodes."""
        slot, data = await self._query(requests.nodes_query(), level)
        return answers.decode_nodes(data, slot)

    async def stats(self, level: Level = "linearizable") -> Stats:
        """Read the task log in numbers."""
        _, data = await self._query(requests.stats_query(), level)
        return answers.decode_stats(data)

    async def explain(self, task_id: str, level: Level = "linearizable") -> TaskExplanation:
        """Ask why a task is where it is, and where it would go now."""
        slot, data = await self._query(requests.explain_query(task_id), level)
        return answers.decode_explain(data, slot)

    # --- watches ---------------------------------------------------------------------------------

    async def wait_work(self, node: str, registration: int) -> None:
        """Wait until a claim by a node would return a task, or be refused, however long it takes.

        It asks one replica, which may be behind: a claim may come back empty all the same.
        """
        await self._watch(requests.work_query(node, registration))

    async def watch_once(self, scope: Scope, name: str, after: int) -> ChangeBatch:
        """Wait for the next changes after a revision; ``watch`` does it again and again.

        Raises:
            ChangesCompacted: Changes after ``after`` are no longer kept.
        """
        slot, data = await self._watch(requests.watch_query(scope, name, after))
        batch = answers.decode_watch(data, slot)
        if batch.revision <= after:
            raise AnswerInvalid(f"a watch from {after} was answered up to {batch.revision}")
        return batch

    def watch(
        self, scope: Scope = "everything", name: str = "", *, after: int | None = None
    ) -> Changes:
        """Iterate over changes one by one, for ever.

        Args:
            scope: "everything", one "task", or one "node" and what is placed on it and done there.
            name: Of the task or the node.
            after: The revision that is already known; None begins with the next change.
        """
        return Changes(self, scope, name, after)

    async def _execute(self, command: bytes) -> tuple[int, bytes]:
        try:
            return await self._client.execute(self._machine, command)
        except CommandFailed as failure:
            raise decode_failure(failure) from None

    async def _query(self, query: bytes, level: Level) -> tuple[int, bytes]:
        try:
            return await self._client.query(self._machine, query, level)
        except CommandFailed as failure:
            raise decode_failure(failure) from None

    async def _watch(self, query: bytes) -> tuple[int, bytes]:
        try:
            return await self._client.watch_once(self._machine, query)
        except CommandFailed as failure:
            raise decode_failure(failure) from None


# Iterators, not generators: whoever leaves an ``async for`` early need not close them.


class Tasks:
    """Tasks in the order of submission, however many pages, each page as it is when it is read.

    A task that changes meanwhile is told once or not at all, as it then is.
    """

    def __init__(self, log: TaskLogClient, state: str, kind: str, node: str, level: Level) -> None:
        self._log = log
        self._filter = (state, kind, node)
        self._level: Level = level
        self._after: int | None = 0  # where the next page begins; None: there is none
        self._tasks: deque[Task] = deque()

    def __aiter__(self) -> Tasks:
        return self

    async def __anext__(self) -> Task:
        while not self._tasks:
            if self._after is None:
                raise StopAsyncIteration
            page = await self._log.page(*self._filter, after=self._after, level=self._level)
            self._tasks.extend(page.tasks)
            self._after = page.next_after
        return self._tasks.popleft()


class Changes:
    """Changes of tasks and nodes after a revision, one by one, for ever.

    Every change has a revision of its own: to resume without gap or repeat, begin a new watch
    with that of the last change dealt with as ``after``. Iterating raises ChangesCompacted if
    changes were forgotten before they could be told.
    """

    def __init__(self, log: TaskLogClient, scope: Scope, name: str, after: int | None) -> None:
        self._log = log
        self._scope: Scope = scope
        self._name = name
        self._after = after
        self._changes: deque[TaskChange | NodeChange] = deque()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> TaskChange | NodeChange:
        if self._after is None:
            self._after = (await self._log.stats()).revision
        while not self._changes:
            batch = await self._log.watch_once(self._scope, self._name, self._after)
            self._changes.extend(batch.changes)
            self._after = batch.revision
        return self._changes.popleft()
