"""What becomes of a task: every change of a task or a node that a command, or time alone, brings.

It owns the transitions between the states, the placing of what becomes ready, and the follow-ups
that are too many for one command. It knows no bytes and no query. It guards four things: a claim's
token is the present one only while its lease, its node's registration and its task's deadline last;
an attempt ends in one way; what is due for a task or a node counts at once (``overdue``), so that
no claim's answer depends on how far the follow-ups came; and one command never does more than
``steps_max`` of them, nor looks at more than ``evaluations_max`` nodes to place tasks.

Follow-ups are found, not remembered: tasks on void or drained seats, tasks that wait for finished
ones, unplaced tasks from where the last sweep got to, finished tasks that are too many or too old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from statemachines import placement
from statemachines import task_log_format as form
from statemachines.command_fields import Fields
from statemachines.placement_batch import place_many
from statemachines.task_log_format import (
    BLOCKED,
    CANCELLED,
    CLAIMED,
    DEAD,
    DONE,
    LAPSED,
    LIVE,
    READY,
    TASK,
    WAITING,
    NodeChange,
    Task,
    TaskChange,
    TaskLogLimits,
    TaskSpec,
)
from statemachines.task_nodes import NodeRecord, NodeTable, queue_key
from statemachines.task_store import TaskStore

_FROM_THE_START = (-form.COUNT_MAX, 0)


class Choice(NamedTuple):
    """Where a task goes, and what that is to cost, as in ``Task.why``."""

    node: str
    registration: int
    why: Fields


class TaskRules:
    """The rules over one store and one table of nodes.

    Args:
        store: The tasks.
        nodes: The nodes.
        limits: Bounds.

    Attributes:
        now: Replicated time of the present command, microseconds. ``begin`` sets it.
        sweep: From where on unplaced tasks may find a node; None: none of them can. Replicated.
    """

    def __init__(self, store: TaskStore, nodes: NodeTable, limits: TaskLogLimits) -> None:
        self._store = store
        self._nodes = nodes
        self._limits = limits
        self._steps = 0  # follow-ups that the present command may still do
        self._evaluations = 0  # nodes that it may still look at
        self.now = 0
        self.sweep: tuple[int, int] | None = None
        # Each does one follow-up of its kind and says so, or finds none.
        self._follow_ups: tuple[Callable[[], bool], ...] = (
            self._vacate_one,
            self._settle_one_dependent,
            self._sweep_one,
            self._forget_one,
        )

    # --- time and follow-ups ----------------------------------------------------------------------

    def begin(self, now: int, steps: int) -> None:
        """Begin a command that may do so many follow-ups. Changes nothing yet."""
        self.now = now
        self._steps = steps
        self._evaluations = self._limits.evaluations_max

    def follow_up(self) -> bool:
        """Let happen what is due and what follows, as far as the command may; return if all did."""
        self._let_nodes_lapse()
        # A quarter is left for what follows, however much is due.
        least = self._steps // 4
        while self._steps > least:
            first = self._store.timers.first()
            if first is None or first[0] > self.now:
                break
            self._steps -= 1
            self.settle(self._store.at(first[1]))
        for follow_up in self._follow_ups:
            while self._steps > 0 and follow_up():
                self._steps -= 1
        due = self.next_due()
        is_due = due is not None and due <= self.now
        return not is_due and self._steps > 0 and self.sweep is None

    def next_due(self) -> int | None:
        """Return when time alone changes something next."""
        node, task = self._nodes.timers.first(), self._store.timers.first()
        times = [first[0] for first in (node, task) if first is not None]
        return min(times, default=None)

    def is_late(self, task: Task) -> bool:
        """Whether a task's deadline has passed before it was finished."""
        return task.state < DONE and 0 < task.spec.deadline <= self.now

    def overdue(self, task: Task) -> str:
        """Return why a claim is lost by now, whether or not that has been noted; else nothing."""
        if self.is_late(task):
            return "its deadline has passed"
        if task.until <= self.now:
            return f"the lease of node {task.node} ran out"
        record = self._nodes.record(task.node)
        if record is None or record.registration != task.registration or self.is_lapsed(record):
            return f"node {task.node} was lost"
        return ""

    def is_lapsed(self, record: NodeRecord) -> bool:
        """Whether a node's registration is over by now, whether or not that has been noted."""
        return record.state == LAPSED or record.until <= self.now

    def settle(self, task: Task) -> Task:
        """Bring a task up to date with what is due for it; return it as it is then."""
        if self.is_late(task):
            return self.end(task, DEAD, "its deadline has passed")
        if task.state == CLAIMED:
            reason = self.overdue(task)
            # No backoff: it is not known to be the task's fault, and it was kept waiting already.
            return self._try_again(task, reason, 0) if reason else task
        if task.state == WAITING and task.until <= self.now:
            return self.make_ready(task)
        return task

    def settle_node(self, record: NodeRecord) -> NodeRecord:
        """Bring a node up to date."""
        if record.state == LIVE and self.is_lapsed(record):
            return self.end_registration(record)
        return record

    def _let_nodes_lapse(self) -> None:
        """Let lapse whoever is due, so that no task is placed there."""
        while self._steps > 0:
            first = self._nodes.timers.first()
            if first is None or first[0] > self.now:
                return
            self._steps -= 1
            record = self._nodes.record(first[1])
            assert record is not None
            self.end_registration(record)

    def _vacate_one(self) -> bool:
        """Take one task off a seat that must be emptied."""
        registration = self._nodes.vacating.first()
        if registration is None:
            return False
        seat = self._nodes.seat(registration)
        claimed = seat.claims.first() if seat.void else None
        if claimed is not None:
            self.settle(self._store.at(claimed))
            return True
        waiting = seat.queue.first()
        assert waiting is not None
        self.make_ready(self._store.at(waiting[1]))
        return True

    def _settle_one_dependent(self) -> bool:
        """Tell one task that is blocked that one it waits for is finished."""
        first = self._store.settled.first()
        if first is None:
            return False
        created = self._store.waiting_for(self._store.at(first[1]).spec.id)
        assert created is not None
        self.look_at_dependencies(self._store.at(created))
        return True

    def _sweep_one(self) -> bool:
        """Try to place the next task that no node took when it became ready."""
        if self.sweep is None:
            return False
        key = next(self._store.unplaced.scan(self.sweep), None)
        if key is None or not self._nodes.open_count:
            self.sweep = None
            return False
        if self._evaluations <= 0:
            return False
        self.sweep = key[0], key[1] + 1
        task = self._store.at(key[1])
        choice = self._choose(task)
        if choice is not None:
            self._put(task, _placed(task, choice))
        return True

    def _forget_one(self) -> bool:
        """Forget the task that is finished for longest if there are too many, or it is too old."""
        store = self._store
        first = store.forgettable.first()
        if first is None:
            return False
        task = store.at(first[1])
        too_old = 0 < store.keep_age <= self.now - task.changed
        if store.finished_count <= store.keep_finished and not too_old:
            return False
        store.forget(task)
        return True

    # --- tasks ------------------------------------------------------------------------------------

    def create(self, spec: TaskSpec, missing: tuple[str, ...]) -> Task:
        """Add a task, on its way to wherever it belongs."""
        now = self.now
        base = Task(spec, 0, 0, now, now, BLOCKED, "", 0, 0, 0, 0, missing, "", None, b"", ())
        return self._put(None, base) if missing else self._arrive(None, base, 0)

    def make_ready(self, task: Task, reason: str = "", backoff: int = 0) -> Task:
        """Let a task be claimed, at its ``not_before`` or after a backoff; place it anew."""
        base = task._replace(missing=(), reason=reason or task.reason, progress=b"")
        return self._arrive(task, base, self.now + backoff)

    def claim(self, task: Task, lease: int) -> Task:
        """Give a task to the node on which it is placed; its token is the claim's revision."""
        return self._put(
            task,
            task._replace(
                state=CLAIMED,
                attempt=task.attempt + 1,
                token=self._store.revision + 1,
                until=self.now + lease,
            ),
        )

    def extend(self, task: Task, until: int) -> None:
        """Move the end of a claim's lease. Not a change that watches are told."""
        self._store.replace(task, task._replace(until=until))

    def tell_progress(self, task: Task, progress: bytes) -> Task:
        """Note how far a claimed task is."""
        return self._put(task, task._replace(progress=progress))

    def fail(self, task: Task, reason: str, retry: bool) -> Task:
        """End a claim without a result."""
        if not retry:
            return self.end(task, DEAD, reason)
        backoff = min(task.spec.backoff << (task.attempt - 1), form.BACKOFF_MAX)
        return self._try_again(task, reason, backoff)

    def end(self, task: Task, state: int, reason: str = "", result: bytes | None = None) -> Task:
        """Finish a task. Those that wait for it are looked at by follow-ups."""
        was_claimed = task.state == CLAIMED
        return self._put(
            task,
            task._replace(
                state=state,
                node=task.node if was_claimed else "",
                registration=0,
                until=0,
                missing=(),
                reason=reason,
                result=result,
                why=task.why if was_claimed else (),
            ),
        )

    def revive(self, task: Task, missing: tuple[str, ...]) -> Task:
        """Begin anew with a task that is dead or cancelled."""
        base = task._replace(
            state=BLOCKED, node="", attempt=0, missing=missing, reason="", progress=b"", why=()
        )
        return self._put(task, base) if missing else self._arrive(task, base, 0)

    def look_at_dependencies(self, task: Task) -> Task:
        """Bring a BLOCKED task up to date with those it waits for."""
        missing = []
        for name in task.missing:
            other = self._store.find(name)
            assert other is not None  # it is kept while a task that is not finished depends on it
            if other.state in (DEAD, CANCELLED):
                state = form.STATES[other.state]
                return self.end(task, DEAD, f"it depends on {name}, which is {state}")
            if other.state != DONE:
                missing.append(name)
        if not missing:
            return self.make_ready(task)
        new = task._replace(missing=tuple(missing))
        self._store.replace(task, new)
        return new

    def _try_again(self, task: Task, reason: str, backoff: int) -> Task:
        if task.attempt >= task.spec.attempts:
            return self.end(task, DEAD, f"all {task.attempt} attempts are used up: {reason}")
        return self.make_ready(task, reason, backoff)

    def _arrive(self, old: Task | None, base: Task, earliest: int) -> Task:
        """Let a task wait until a time, or be ready, on a node if there is one for it."""
        until = max(base.spec.not_before, earliest)
        if until > self.now:
            return self._put(
                old, base._replace(state=WAITING, node="", registration=0, until=until, why=())
            )
        looked = self._evaluations > 0
        choice = self._choose(base)
        if choice is not None:
            return self._put(old, _placed(base, choice))
        new = self._put(old, base._replace(state=READY, node="", registration=0, until=0, why=()))
        if not looked and self._nodes.open_count:
            key = queue_key(new)
            self.sweep = key if self.sweep is None else min(key, self.sweep)
        return new

    def _put(self, old: Task | None, new: Task) -> Task:
        """Make a change: at a revision of its own, told to watches."""
        revision = self._store.next_revision()
        if old is None:
            new = new._replace(created=revision, revision=revision)
            self._store.add(new)
        else:
            new = new._replace(revision=revision, changed=self.now)
            self._store.replace(old, new)
        spec = new.spec
        self._store.tell(
            TaskChange(
                revision,
                self.now,
                TASK,
                spec.id,
                spec.kind,
                new.state,
                new.node,
                new.attempt,
                new.token,
                new.reason,
                new.progress,
            )
        )
        return new

    # --- placing ----------------------------------------------------------------------------------

    def replan(self, tasks: Sequence[Task]) -> int:
        """Place READY tasks anew, all together; return how many were moved.

        The caller sees to it that the tasks times the nodes are not too many.
        """
        nodes = self._nodes
        self._let_nodes_lapse()
        if not nodes.open_count:
            return 0
        tasks = sorted(tasks, key=queue_key)  # who is first here waits least
        jobs = [nodes.job(task.spec) for task in tasks]
        for task, job in zip(tasks, jobs, strict=True):
            nodes.seat(task.registration).place.release(job)
        wanted = place_many(jobs, nodes.places, self.now)
        for task, job in zip(tasks, jobs, strict=True):
            nodes.seat(task.registration).place.take(job)
        moved = 0
        for task, name in zip(tasks, wanted, strict=True):
            if name is not None and name != task.node:
                self._put(task, _placed(task, self._choice(task, name)))
                moved += 1
        return moved

    def sweep_all(self) -> None:
        """Let all unplaced tasks be tried again: a node has opened."""
        if self._store.unplaced:
            self.sweep = _FROM_THE_START

    def _choose(self, task: Task) -> Choice | None:
        """Choose the node of a task, if there is one and the command may still look for it."""
        nodes = self._nodes
        self._let_nodes_lapse()
        if self._evaluations <= 0 or not nodes.open_count:
            return None
        self._evaluations -= len(nodes)
        if not task.registration:
            name = placement.place_one(nodes.job(task.spec), nodes.places, self.now)
            return None if name is None else self._choice(task, name)
        # What the task itself takes is not in its way.
        place, job = nodes.seat(task.registration).place, nodes.job(task.spec)
        place.release(job)
        name = placement.place_one(job, nodes.places, self.now)
        choice = None if name is None else self._choice(task, name)
        place.take(job)
        return choice

    def _choice(self, task: Task, name: str) -> Choice:
        record = self._nodes.record(name)
        assert record is not None
        places, job = self._nodes.places, self._nodes.job(task.spec)
        seen = placement.candidate(job, places[name], places.get(job.data), self.now)
        costs = map(form.tellable, (*seen.terms, seen.cost))
        return Choice(name, record.registration, (self.now, *costs))

    # --- nodes ------------------------------------------------------------------------------------

    def put_node(self, new: NodeRecord, told: bool) -> None:
        """Set what is known of a node; ``told``: as a change, at the present revision."""
        self._nodes.put(new)
        if told:
            spec = new.spec
            self._store.tell(
                NodeChange(
                    self._store.revision, self.now, form.NODE,
                    spec.name, spec.kind, new.state, new.drained,
                )
            )  # fmt: skip

    def end_registration(self, record: NodeRecord) -> NodeRecord:
        """Let a node lapse: what it holds is lost to it from now on."""
        self._store.next_revision()
        lapsed = record._replace(state=LAPSED)
        self.put_node(lapsed, told=True)
        return lapsed


def _placed(task: Task, choice: Choice) -> Task:
    return task._replace(
        state=READY, node=choice.node, registration=choice.registration, until=0, why=choice.why
    )
