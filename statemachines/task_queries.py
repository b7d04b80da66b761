"""What may be asked of the task log, and answered without changing it.

It owns queries, and watches with what this node remembers about the waiting ones (a cache, no part
of the replicated state). It guards that an answer is bounded whatever is asked, and that a watch
tells every change after its revision once, in order, or says that it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from statemachines import placement
from statemachines import task_log_checks as checks
from statemachines import task_log_format as form
from statemachines.command_fields import Fields, expect_fields, fail_malformed, unpack_fields
from statemachines.task_log_format import (
    DONE,
    EVERYTHING,
    FORMAT,
    LIVE,
    NODE_STATES,
    ONE_NODE,
    ONE_TASK,
    STATES,
    WORK,
    NodeChange,
    Stats,
    Task,
    TaskChange,
    TaskLogLimits,
)
from statemachines.task_nodes import NodeTable
from statemachines.task_store import TaskStore
from statemachines.watch_index import WatchIndex


class TaskQueries:
    """Answers over one store and one table of nodes.

    Args:
        store: The tasks.
        nodes: The nodes.
        limits: Bounds.
    """

    def __init__(self, store: TaskStore, nodes: NodeTable, limits: TaskLogLimits) -> None:
        self._store = store
        self._nodes = nodes
        self._limits = limits
        self._watches = WatchIndex()
        self._touched = _Touched(store)
        self._queries: dict[int, Callable[[Fields, int], Fields]] = {
            form.GET: self._get,
            form.LIST: self._list,
            form.NODES: self._list_nodes,
            form.STATS: self._stats,
            form.EXPLAIN: self._explain,
        }

    def answer(self, fields: Fields, now: int) -> Fields:
        """Answer a query; ``now`` is the time of the last command."""
        query = self._queries.get(fields[1])
        if query is None:
            fail_malformed("unknown query")
        return query(fields, now)

    def _get(self, fields: Fields, _now: int) -> Fields:
        expect_fields(fields, 3)
        checks.check_id(fields[2])
        return FORMAT, self._store.revision, self._store.find(fields[2])

    def _list(self, fields: Fields, _now: int) -> Fields:
        expect_fields(fields, 7)
        _, _, state, kind, node, after, limit = fields
        if type(state) is not int or (state != 0 and state not in STATES):
            fail_malformed("unknown state")
        for name, what in ((kind, "the kind"), (node, "the node")):
            if name != "":
                checks.check_name(name, what)
        checks.check_count(after, "the revision")
        checks.check_count(limit, "the limit", 1)
        items: list[Task] = []
        items_max = min(limit, self._limits.answer_items_max)
        room = self._limits.answer_bytes_max
        looks = self._limits.scan_max
        for task in self._store.scan(state, kind, node, after):
            if len(items) == items_max or looks == 0:
                return FORMAT, self._store.revision, items, after
            if (
                (not state or task.state == state)
                and (not kind or task.spec.kind == kind)
                and (not node or task.node == node)
            ):
                room -= _summary_bytes(task)
                if items and room < 0:
                    return FORMAT, self._store.revision, items, after
                items.append(_summary(task))
            looks -= 1
            after = task.created
        return FORMAT, self._store.revision, items, None

    def _list_nodes(self, fields: Fields, _now: int) -> Fields:
        expect_fields(fields, 2)
        return FORMAT, self._store.revision, list(self._nodes.rows())

    def _stats(self, fields: Fields, now: int) -> Fields:
        expect_fields(fields, 2)
        store = self._store
        states = dict.fromkeys(NODE_STATES, 0)
        for record in self._nodes.records():
            states[record.state] += 1
        stats = Stats(
            store.revision,
            store.oldest,
            tuple(store.count(state) for state in STATES),
            len(store.unplaced),
            states[LIVE],
            states[form.LAPSED],
            store.keep_finished,
            store.keep_age,
            now,
        )
        return FORMAT, *stats

    def _explain(self, fields: Fields, now: int) -> Fields:
        expect_fields(fields, 3)
        checks.check_id(fields[2])
        task = self._store.find(fields[2])
        if task is None:
            raise form.unknown_task(fields[2])
        revision = self._store.revision
        if task.state >= DONE:
            return FORMAT, revision, _summary(task), None, (), ()
        job, places = self._nodes.job(task.spec), self._nodes.places
        record = self._nodes.record(task.node)
        if record is not None and record.registration == task.registration:
            # As it would be without what the task itself takes.
            place = replace(places[task.node])
            place.release(job)
            places = {**places, task.node: place}
        found = placement.explain(job, places, now)
        candidates = [
            (
                each.id,
                *map(form.tellable, (*each.terms, each.cost, each.finish)),
                each.late,
                each.preferred,
            )
            for each in found.candidates
        ]
        return FORMAT, revision, _summary(task), found.chosen, candidates, found.refused

    # --- watches ----------------------------------------------------------------------------------

    def look_at_changes(self) -> None:
        """Find out which waiting watches the kept changes concern, before some are forgotten."""
        self._watches.advance(self._touched, self._store.revision)

    def watch(self, query: bytes) -> Fields | None:
        """Answer a watch, if there is something to tell."""
        self.look_at_changes()
        store = self._store
        waiting = self._watches.find(query)
        if waiting is not None and not waiting.interest.touched_at:
            return self._move_on(waiting.after)
        scope, name, after = _decode_watch(query)
        if scope == WORK:
            return self._work(name, after)
        if waiting is not None:
            return self._changes(query, scope, name, waiting.interest.touched_at)
        if after > store.revision:
            return None  # this replica lags behind the one that answered before
        return self._changes(query, scope, name, after + 1)

    def _work(self, name: str, registration: int) -> Fields | None:
        """Answer as soon as a claim would return a task, or would be refused."""
        record = self._nodes.record(name)
        if record is not None and record.registration == registration and record.state == LIVE:
            seat = self._nodes.seat(registration)
            first = seat.queue.first()
            if record.drained or first is None:
                return None
            demand = self._store.at(first[1]).spec.demand
            if seat.committed + demand > record.spec.capacity:
                return None
        elif self._store.revision < registration:
            return None  # this replica lags behind the one that registered the node
        return FORMAT, self._store.revision, ()

    def _changes(self, query: bytes, scope: int, name: str, first: int) -> Fields | None:
        """Answer a watch that has seen everything before revision ``first``."""
        store = self._store
        if first <= store.oldest:
            raise form.compacted(first - 1, store.oldest)
        found: list[TaskChange | NodeChange] = []
        through = first - 1
        end = min(store.revision, through + self._limits.scan_max)
        room = self._limits.answer_bytes_max
        for revision in range(first, end + 1):
            change = store.changes[revision]
            if scope == EVERYTHING or name in _names(change, scope):
                room -= _change_bytes(change)
                if found and (room < 0 or len(found) == self._limits.answer_items_max):
                    break
                found.append(change)
            through = revision
        if found or through < store.revision:
            return FORMAT, through, found
        key = "" if scope == EVERYTHING else _key(scope, name)
        self._watches.wait(query, key, scope != EVERYTHING, first - 1)
        return self._move_on(first - 1)

    def _move_on(self, after: int) -> Fields | None:
        """Answer a quiet watch when half of what is kept has passed since its revision."""
        store = self._store
        passed = store.revision - after
        if after < store.oldest or passed >= max(1, self._limits.keep_changes // 2):
            return FORMAT, store.revision, ()
        return None


class _Touch(NamedTuple):
    key: str


class _Touched:
    """What a change touched, as the index of watches asks for it."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    def __getitem__(self, revision: int) -> list[_Touch]:
        change = self._store.changes[revision]
        return [
            _Touch(_key(scope, name))
            for scope in (ONE_TASK, ONE_NODE)
            for name in _names(change, scope)
        ]


def _names(change: TaskChange | NodeChange, scope: int) -> tuple[str, ...]:
    """Return the task, or the node, that a change is about."""
    if isinstance(change, NodeChange):
        return (change.name,) if scope == ONE_NODE else ()
    if scope == ONE_TASK:
        return (change.id,)
    return (change.node,) if change.node else ()


def _key(scope: int, name: str) -> str:
    return f"{scope}{name}"


def _decode_watch(query: bytes) -> tuple[int, str, int]:
    fields = unpack_fields(query, FORMAT)
    if fields[1] != form.WATCH:
        fail_malformed("not a watch")
    expect_fields(fields, 5)
    _, _, scope, name, after = fields
    if type(scope) is not int or not EVERYTHING <= scope <= WORK:
        fail_malformed("unknown scope")
    if scope == EVERYTHING:
        if name != "":
            fail_malformed("a watch of everything has no name")
    elif scope == ONE_TASK:
        checks.check_id(name)
    else:
        checks.check_name(name, "the name of the node")
    checks.check_count(after, "the revision")
    return scope, name, after


def _change_bytes(change: TaskChange | NodeChange) -> int:
    """Return about how long a change is in an answer, beside what is short in any."""
    if isinstance(change, NodeChange):
        return 0
    return len(change.id) + len(change.reason) + len(change.progress)


def _summary_bytes(task: Task) -> int:
    """Return about how long a summary is in an answer, beside what is short in any."""
    spec = task.spec
    names = sum(map(len, spec.depends_on)) + sum(map(len, task.missing))
    labels = sum(len(name) + len(value) for name, value in spec.labels)
    return len(spec.id) + names + labels + len(task.reason) + len(task.progress)


def _summary(task: Task) -> Task:
    """Return a task with the lengths of its payload and result in place of these."""
    spec: Any = task.spec._replace(payload=len(task.spec.payload))  # type: ignore[arg-type]
    result: Any = None if task.result is None else len(task.result)
    return task._replace(spec=spec, result=result)
