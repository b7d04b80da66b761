"""The task log: a replicated state machine that says what is to be done, where, and by whom.

It owns what commands mean, and what each refuses. Which change follows on which is the business of
``task_rules``, the tasks are kept by ``TaskStore``, the nodes by ``NodeTable``; queries and watches
are answered by ``TaskQueries``, and the bytes are laid down in ``task_log_format``. It never knows
who asks, or anything of the log beyond the ``Stamp``.

It guards: equal commands give equal states and results on every replica; a command that fails
changes nothing, not even what time alone would have (everything is checked before the first
change); a task has at most one result, and only the present claim's token brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from msgpack import Packer

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import placement
from statemachines import task_log_checks as checks
from statemachines import task_log_format as form
from statemachines.command_fields import Fields, expect_fields, fail_malformed, unpack_fields
from statemachines.snapshot_records import cut_records, read_records
from statemachines.task_log_format import (
    CANCELLED,
    CLAIMED,
    DEAD,
    DEFAULT_LIMITS,
    DONE,
    FORMAT,
    LIVE,
    READY,
    STATES,
    Task,
    TaskLogLimits,
    TaskSpec,
)
from statemachines.task_nodes import NodeRecord, NodeTable
from statemachines.task_queries import TaskQueries
from statemachines.task_rules import TaskRules
from statemachines.task_snapshot import load_state, snapshot_records
from statemachines.task_store import TaskStore

_RECORD_ITEMS_MAX = 64  # what a snapshot's record can hold in one list


class TaskLog:
    """The state machine. Its client is ``statemachines.task_log_client``.

    Args:
        limits: Bounds; must be equal on every node of a cluster.

    Raises:
        ValueError: A limit is more than a snapshot can hold.
    """

    def __init__(self, limits: TaskLogLimits = DEFAULT_LIMITS) -> None:
        if max(limits.depends_on_max, limits.labels_max) > _RECORD_ITEMS_MAX:
            raise ValueError(f"a task can have at most {_RECORD_ITEMS_MAX} dependencies and labels")
        self._limits = limits
        self._pack: Callable[[object], bytes] = Packer().pack
        self._begin_anew()
        self._commands: dict[int, Callable[[Fields], Fields]] = {
            form.SUBMIT: self._submit,
            form.REGISTER: self._register,
            form.REPORT: self._report,
            form.LEAVE: self._leave,
            form.DRAIN: self._drain,
            form.CLAIM: self._claim,
            form.EXTEND: self._extend,
            form.PROGRESS: self._progress,
            form.COMPLETE: self._complete,
            form.FAIL: self._fail,
            form.CANCEL: self._cancel,
            form.RETRY: self._retry,
            form.REPLAN: self._replan,
            form.TICK: self._tick,
            form.RETAIN: self._retain,
        }

    def _begin_anew(self) -> None:
        limits = self._limits
        self._nodes = NodeTable()
        self._store = TaskStore(self._nodes, limits.keep_changes, limits.keep_finished)
        self._rules = TaskRules(self._store, self._nodes, limits)
        self._queries = TaskQueries(self._store, self._nodes, limits)

    # --- the port --------------------------------------------------------------------------------

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run a command of ``task_log_format``; see ``StateMachine.apply``.

        After the command, some of what is due by now happens, and of what follows.
        """
        fields = unpack_fields(command, FORMAT)
        kind = fields[1]
        handler = self._commands.get(kind)
        if handler is None:
            fail_malformed("unknown command")
        steps, before = self._limits.steps_max, self._rules.now
        self._rules.begin(at.time, steps * 3 // 2 if kind == form.TICK else steps)
        try:
            answer = handler(fields)
        except CommandFailed:
            self._rules.now = before
            raise
        self._rules.follow_up()
        if self._store.overfull:
            # Waiting watches must see a change before it is forgotten.
            self._queries.look_at_changes()
            self._store.forget_changes()
        return self._pack(answer)

    def query(self, query: bytes) -> bytes:
        """Answer a query of ``task_log_format``; see ``StateMachine.query``."""
        return self._pack(self._queries.answer(unpack_fields(query, FORMAT), self._rules.now))

    def watch(self, query: bytes) -> bytes | None:
        """Return the changes after the query's revision, or None while there are none.

        Also answers, without changes, when the query's revision would soon be forgotten: whoever
        watches something quiet goes on from a newer revision.
        """
        answer = self._queries.watch(query)
        return None if answer is None else self._pack(answer)

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as chunks: nodes, changes, then tasks in the order of submission.

        What is in it is settled when this is called; chunks are encoded as they are taken, and
        later commands do not show in them. Several may be read at a time.
        """
        return cut_records(snapshot_records(self._store, self._nodes, self._rules))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state.

        Raises:
            SnapshotDamaged: The chunks are not a snapshot; the state is as it was.
        """
        before = self._nodes, self._store, self._rules, self._queries
        self._begin_anew()
        try:
            load_state(read_records(chunks), self._store, self._nodes, self._rules)
        except BaseException:
            self._nodes, self._store, self._rules, self._queries = before
            raise

    # --- tasks: check everything, then change -----------------------------------------------------

    def _submit(self, fields: Fields) -> Fields:
        expect_fields(fields, 3)
        specs = checks.check_submission(fields[2], self._limits)
        new: dict[str, TaskSpec] = {}
        for spec in specs:
            present = self._store.find(spec.id)
            if present is None:
                new[spec.id] = spec
            elif present.spec != spec:
                raise CommandFailed(f"task {spec.id} exists with other content")
        if len(self._store) + len(new) > self._limits.tasks_max:
            raise CommandFailed(f"the task log is full: the limit is {self._limits.tasks_max}")
        able: dict[str, placement.Node] = {}
        for spec in new.values():
            self._check_new(spec, new, able)
        for spec in new.values():
            self._rules.create(spec, self._missing(spec))
        created = []
        for spec in specs:
            task = self._store.find(spec.id)
            assert task is not None
            created.append((spec.id, task.created))
        return FORMAT, self._store.revision, created

    def _check_new(
        self, spec: TaskSpec, new: dict[str, TaskSpec], able: dict[str, placement.Node]
    ) -> None:
        """Refuse a task that could never be done. ``able``: see ``NodeTable.could_run``."""
        if 0 < spec.deadline <= self._rules.now:
            raise CommandFailed(f"the deadline of task {spec.id} is in the past")
        for name in spec.depends_on:
            other = self._store.find(name)
            if other is None and name not in new:
                raise CommandFailed(f"task {spec.id} depends on {name}, which does not exist")
            if other is not None and other.state in (DEAD, CANCELLED):
                state = STATES[other.state]
                raise CommandFailed(f"task {spec.id} depends on {name}, which is {state}")
        if not self._nodes.could_run(spec, able):
            reason = placement.impossible(self._nodes.job(spec), self._nodes.places)
            if reason:
                raise CommandFailed(f"task {spec.id} cannot be met: {reason}")

    def _missing(self, spec: TaskSpec) -> tuple[str, ...]:
        missing = []
        for name in spec.depends_on:
            other = self._store.find(name)
            if other is None or other.state != DONE:
                missing.append(name)
        return tuple(missing)

    def _cancel(self, fields: Fields) -> Fields:
        expect_fields(fields, 3)
        task = self._find(fields[2])
        if task.state in (DONE, DEAD) or self._rules.is_late(task):
            state = STATES[DONE if task.state == DONE else DEAD]
            raise CommandFailed(f"task {task.spec.id} is {state}")
        if task.state != CANCELLED:
            task = self._rules.end(task, CANCELLED)
        return FORMAT, task.revision

    def _retry(self, fields: Fields) -> Fields:
        expect_fields(fields, 3)
        task = self._find(fields[2])
        spec = task.spec
        if 0 < spec.deadline <= self._rules.now and task.state != DONE:
            raise CommandFailed(f"the deadline of task {spec.id} is in the past")
        if task.state not in (DEAD, CANCELLED):
            raise CommandFailed(
                f"task {spec.id} is {STATES[task.state]}: only dead and cancelled tasks can be"
                " retried"
            )
        for name in spec.depends_on:
            other = self._store.find(name)
            if other is None:
                raise CommandFailed(f"task {spec.id} depends on {name}, which is no longer kept")
            if other.state in (DEAD, CANCELLED):
                state = STATES[other.state]
                raise CommandFailed(
                    f"task {spec.id} depends on {name}, which is {state}: retry that first"
                )
        task = self._rules.revive(task, self._missing(spec))
        return FORMAT, task.revision

    def _find(self, task_id: object) -> Task:
        checks.check_id(task_id)
        assert isinstance(task_id, str)
        task = self._store.find(task_id)
        if task is None:
            raise form.unknown_task(task_id)
        return task

    # --- claims -----------------------------------------------------------------------------------

    def _claim(self, fields: Fields) -> Fields:
        expect_fields(fields, 6)
        _, _, name, registration, count, lease = fields
        limits, rules, store = self._limits, self._rules, self._store
        checks.check_count(count, "the number of tasks", 1, limits.claim_tasks_max)
        checks.check_lease(lease, limits)
        record = self._check_registration(name, registration)
        seat = self._nodes.seat(registration)
        if record.drained:
            return FORMAT, store.revision, (), len(seat.queue)
        if not seat.queue:
            rules.follow_up()  # unplaced tasks may be about to come here
        claims: list[Fields] = []
        room = limits.answer_bytes_max
        # Those whose deadline has passed end here, a bounded number of them.
        for _ in range(count + limits.steps_max):
            first = seat.queue.first()
            if first is None or len(claims) == count:
                break
            task = rules.settle(store.at(first[1]))
            if task.state != READY:
                continue
            spec = task.spec
            if seat.committed + spec.demand > record.spec.capacity:
                break  # the first must not be overtaken for ever by smaller ones
            room -= len(spec.payload)
            if claims and room < 0:
                break
            task = rules.claim(task, lease)
            claims.append((spec, task.attempt, task.token, task.until))
        return FORMAT, store.revision, claims, len(seat.queue)

    def _extend(self, fields: Fields) -> Fields:
        expect_fields(fields, 6)
        _, _, name, registration, claims, lease = fields
        checks.check_claims(claims, self._limits)
        checks.check_lease(lease, self._limits)
        self._check_registration(name, registration)
        until = self._rules.now + lease
        held = []
        for task_id, token in claims:
            task = self._store.find(task_id)
            if task is not None:
                task = self._rules.settle(task)
                if task.state == CLAIMED and task.token == token and task.node == name:
                    self._rules.extend(task, until)
                    held.append(True)
                    continue
            held.append(False)
        return FORMAT, self._store.revision, until, held

    def _progress(self, fields: Fields) -> Fields:
        expect_fields(fields, 5)
        _, _, task_id, token, progress = fields
        checks.check_bytes(progress, "the progress", self._limits.progress_bytes_max)
        task = self._rules.tell_progress(self._held(task_id, token), progress)
        return FORMAT, task.revision

    def _complete(self, fields: Fields) -> Fields:
        expect_fields(fields, 5)
        _, _, task_id, token, result = fields
        checks.check_bytes(result, "the result", self._limits.payload_bytes_max)
        checks.check_count(token, "the token", 1)
        task = self._find(task_id)
        if task.state == DONE and task.token == token and task.result == result:
            return FORMAT, task.revision
        task = self._rules.end(self._held(task_id, token), DONE, "", result)
        return FORMAT, task.revision

    def _fail(self, fields: Fields) -> Fields:
        expect_fields(fields, 6)
        _, _, task_id, token, reason, retry = fields
        checks.check_reason(reason, self._limits)
        checks.check_flag(retry, "retry")
        task = self._rules.fail(self._held(task_id, token), reason, retry)
        return FORMAT, task.revision, task.state

    def _held(self, task_id: object, token: object) -> Task:
        """Return a task that is claimed with this token now; refuse any other token."""
        checks.check_count(token, "the token", 1)
        assert isinstance(token, int)
        task = self._find(task_id)
        if task.state != CLAIMED or task.token != token:
            _refuse_token(task, token)
        lost = self._rules.overdue(task)
        if lost:
            raise form.token_invalid(token, lost)
        return task

    # --- nodes ------------------------------------------------------------------------------------

    def _register(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        spec = checks.check_node(fields[2], self._limits)
        checks.check_count(fields[3], "the registration")
        until = self._rules.now + spec.lease
        if fields[3]:
            record = self._check_registration(spec.name, fields[3])
            if record.spec[:4] != spec[:4]:
                raise CommandFailed(
                    f"to change its kind, capacity or labels, node {spec.name} must register anew"
                )
            self._rules.put_node(record._replace(spec=spec, until=until), told=False)
            return FORMAT, record.registration, until, record.drained
        before = self._nodes.record(spec.name)
        if before is None and len(self._nodes) >= self._limits.nodes_max:
            lapsed = min(
                filter(self._rules.is_lapsed, self._nodes.records()),
                key=lambda each: each.registration,
                default=None,
            )
            if lapsed is None:
                raise CommandFailed(f"too many nodes: the limit is {self._limits.nodes_max}")
            self._rules.settle_node(lapsed)
            self._nodes.forget(lapsed.spec.name)
        drained = before is not None and before.drained
        registration = self._store.next_revision()
        self._rules.put_node(NodeRecord(spec, registration, LIVE, drained, until, 0), told=True)
        self._rules.sweep_all()
        return FORMAT, registration, until, drained

    def _report(self, fields: Fields) -> Fields:
        expect_fields(fields, 5)
        _, _, name, registration, load = fields
        checks.check_count(load, "the load", 0, form.NUMBER_MAX)
        record = self._check_registration(name, registration)
        until = self._rules.now + record.spec.lease
        self._rules.put_node(record._replace(load=load, until=until), told=False)
        # Where nobody else has anything to say, those who report are asked to do what is left.
        due = self._rules.next_due() if self._rules.follow_up() else self._rules.now
        return FORMAT, self._store.revision, until, record.drained, due

    def _leave(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        self._rules.end_registration(self._check_registration(fields[2], fields[3]))
        return FORMAT, self._store.revision

    def _drain(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        _, _, name, drained = fields
        checks.check_name(name, "the name of the node")
        checks.check_flag(drained, "drained")
        known = self._nodes.record(name)
        if known is None:
            raise CommandFailed(f"unknown node: {name}")
        record = self._rules.settle_node(known)
        if record.drained != drained:
            self._store.next_revision()
            self._rules.put_node(record._replace(drained=drained), told=True)
            if not drained:
                self._rules.sweep_all()
        return FORMAT, self._store.revision

    def _check_registration(self, name: object, registration: object) -> NodeRecord:
        """Return a node whose registration this is, and is not over."""
        checks.check_name(name, "the name of the node")
        checks.check_count(registration, "the registration", 1)
        assert isinstance(name, str)
        assert isinstance(registration, int)
        record = self._nodes.record(name)
        if record is None:
            raise form.registration_invalid(name, registration, "the node is not registered")
        if record.registration != registration:
            raise form.registration_invalid(name, registration, "the node has registered again")
        if self._rules.is_lapsed(record):
            raise form.registration_invalid(name, registration, "its lease has lapsed")
        return record

    # --- the log as a whole -----------------------------------------------------------------------

    def _replan(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        _, _, after, limit = fields
        limits, store = self._limits, self._store
        checks.check_count(after, "the revision")
        checks.check_count(limit, "the limit", 1, limits.replan_tasks_max)
        limit = min(limit, max(1, limits.evaluations_max // max(1, len(self._nodes))))
        tasks: list[Task] = []
        looks = 2 * limits.replan_tasks_max  # unplaced ones are passed over
        next_after: int | None = None
        for task in store.scan(READY, "", "", after):
            if len(tasks) == limit or looks == 0:
                next_after = after
                break
            looks -= 1
            after = task.created
            if task.registration:
                tasks.append(task)
        moved = self._rules.replan(tasks)
        return FORMAT, store.revision, len(tasks), moved, next_after

    def _tick(self, fields: Fields) -> Fields:
        expect_fields(fields, 2)
        done = self._rules.follow_up()
        return FORMAT, self._store.revision, not done, self._rules.next_due()

    def _retain(self, fields: Fields) -> Fields:
        expect_fields(fields, 4)
        _, _, count, age = fields
        checks.check_count(count, "the number of finished tasks")
        checks.check_count(age, "the age")
        self._store.keep_finished, self._store.keep_age = count, age
        return FORMAT, self._store.revision, count, age


def _refuse_token(task: Task, token: int) -> NoReturn:
    task_id = task.spec.id
    if task.state == CLAIMED:
        why = f"task {task_id} is claimed by node {task.node} with token {task.token}"
    elif task.state == DONE and task.token == token:
        why = f"task {task_id} is done, with another result"
    elif task.state == DONE:
        why = f"task {task_id} is done, with token {task.token}"
    elif task.reason:
        why = f"task {task_id} is {STATES[task.state]}: {task.reason}"
    else:
        why = f"task {task_id} is {STATES[task.state]}"
    raise form.token_invalid(token, why)
