"""Tasks, and every order in which they are looked for.

It owns the tasks, the revision, the changes that are kept for watches, and the indexes: by state,
kind and node, by due time, by who waits for whom, and what may be forgotten. It never knows a rule:
which change follows on which is the business of ``task_rules``. It guards three things: all indexes
follow from the tasks alone, so that a restored store behaves as the original; a task is replaced
and never changed in place; and a ``Capture`` shows the store as it was, whatever happens meanwhile.

An index is exact: what is no longer so is taken out at once. So there is nothing to skip or to
sweep, which would make the work of a command depend on what happened long before, and differ
between an original and its copy.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence

from statemachines import task_log_format as form
from statemachines.key_index import KeyIndex
from statemachines.task_log_format import NodeChange, Task, TaskChange
from statemachines.task_nodes import NodeTable, queue_key


class TaskStore:
    """All tasks that are known.

    Args:
        nodes: Told which tasks are on which seat.
        keep_changes: How many changes are kept.
        keep_finished: How many finished tasks are kept.

    Attributes:
        revision: The present one.
        oldest: Changes after this one are kept.
        changes: The kept changes by revision, from ``oldest + 1`` to ``revision`` without a gap.
        timers: When time alone changes which task, by (time, created).
        unplaced: READY tasks that are on no node, by ``queue_key``.
        settled: Finished tasks on which others still wait, by (revision, created).
        forgettable: Finished tasks that no unfinished one depends on, by (revision, created).
        keep_finished: See above; assigned by commands.
        keep_age: For how long a finished task is kept, microseconds; 0: no limit. As above.

    These are read with every command and so are plain attributes.
    """

    def __init__(self, nodes: NodeTable, keep_changes: int, keep_finished: int) -> None:
        self._nodes = nodes
        self._keep_changes = keep_changes
        self.keep_finished = keep_finished
        self.keep_age = 0
        self.revision = 0
        self.oldest = 0
        self.changes: dict[int, TaskChange | NodeChange] = {}
        self._tasks: dict[int, Task] = {}  # by created
        self._created: dict[str, int] = {}  # by id
        self._order: KeyIndex[int] = KeyIndex()  # created, of all tasks
        self._states: dict[int, KeyIndex[int]] = {state: KeyIndex() for state in form.STATES}
        self._kinds: dict[str, KeyIndex[int]] = {}
        self._places: dict[str, KeyIndex[int]] = {}  # by node
        # By id: the created of BLOCKED tasks that still miss it; how many unfinished depend on it.
        self._waiting: dict[str, KeyIndex[int]] = {}
        self._needed: dict[str, int] = {}
        self.timers: KeyIndex[tuple[int, int]] = KeyIndex()
        self.unplaced: KeyIndex[tuple[int, int]] = KeyIndex()
        self.settled: KeyIndex[tuple[int, int]] = KeyIndex()
        self.forgettable: KeyIndex[tuple[int, int]] = KeyIndex()
        self._captures: list[weakref.ref[Capture]] = []  # those that somebody may still read

    def __len__(self) -> int:
        return len(self._tasks)

    # --- reading ---------------------------------------------------------------------------------

    def find(self, task_id: str) -> Task | None:
        """Return the task of an id."""
        created = self._created.get(task_id)
        return None if created is None else self._tasks[created]

    def at(self, created: int) -> Task:
        """Return the task that a revision created, which must be there."""
        return self._tasks[created]

    def count(self, state: int) -> int:
        """How many tasks are in a state."""
        return len(self._states[state])

    @property
    def finished_count(self) -> int:
        """How many tasks are DONE, DEAD or CANCELLED."""
        return self.count(form.DONE) + self.count(form.DEAD) + self.count(form.CANCELLED)

    def waiting_for(self, task_id: str) -> int | None:
        """Return the ``created`` of the first BLOCKED task that still misses a task."""
        waiting = self._waiting.get(task_id)
        return None if waiting is None else waiting.first()

    def scan(self, state: int, kind: str, node: str, after: int) -> Iterator[Task]:
        """Yield the tasks created later than ``after`` by the narrowest of the indexes asked for.

        What is yielded need not match the other two. 0 and the empty text ask for any.
        """
        indexes = [self._order]
        if state:
            indexes.append(self._states[state])
        nothing: KeyIndex[int] = KeyIndex()
        if kind:
            indexes.append(self._kinds.get(kind, nothing))
        if node:
            indexes.append(self._places.get(node, nothing))
        for created in min(indexes, key=len).scan(after + 1):
            yield self._tasks[created]

    # --- writing ---------------------------------------------------------------------------------

    def next_revision(self) -> int:
        """Begin a change. ``tell`` must follow."""
        self.revision += 1
        return self.revision

    def tell(self, change: TaskChange | NodeChange) -> None:
        """Keep a change for watches; it must be that of the present revision."""
        self.changes[self.revision] = change

    @property
    def overfull(self) -> bool:
        """Whether more changes are kept than should be."""
        return self.revision - self.oldest > self._keep_changes

    def forget_changes(self) -> None:
        """Forget the oldest changes until only as many are kept as should be."""
        oldest = self.revision - self._keep_changes
        for revision in range(self.oldest + 1, oldest + 1):
            del self.changes[revision]
        self.oldest = max(self.oldest, oldest)

    def add(self, task: Task) -> None:
        """Add a new task."""
        created = task.created
        self._tasks[created] = task
        self._created[task.spec.id] = created
        self._order.add(created)
        _index(self._kinds, task.spec.kind).add(created)
        self._states[task.state].add(created)
        if task.node:
            _index(self._places, task.node).add(created)
        if task.state < form.DONE:
            self._need(task)
        self._wait(created, task.missing)
        self._enter(task)

    def replace(self, old: Task, new: Task) -> None:
        """Put ``new`` in the place of ``old``, the same task as it is."""
        created = old.created
        if self._captures:
            self._hand_over(old)
        self._leave(old)
        self._tasks[created] = new
        if old.state != new.state:
            self._states[old.state].remove(created)
            self._states[new.state].add(created)
        if old.node != new.node:
            if old.node:
                _drop(self._places, old.node, created)
            if new.node:
                _index(self._places, new.node).add(created)
        if old.state < form.DONE <= new.state:
            self._release_needs(old)
        elif new.state < form.DONE <= old.state:
            self._need(new)
        if old.missing != new.missing:
            kept = frozenset(new.missing)
            self._wait_no_more(created, [name for name in old.missing if name not in kept])
            had = frozenset(old.missing)
            self._wait(created, [name for name in new.missing if name not in had])
        self._enter(new)

    def forget(self, task: Task) -> None:
        """Remove a task that is ``forgettable``."""
        created = task.created
        if self._captures:
            self._hand_over(task)
        self._leave(task)
        del self._tasks[created], self._created[task.spec.id]
        self._order.remove(created)
        self._states[task.state].remove(created)
        _drop(self._kinds, task.spec.kind, created)
        if task.node:
            _drop(self._places, task.node, created)

    # --- the indexes that follow from one task's state --------------------------------------------

    def _enter(self, task: Task) -> None:
        created, state = task.created, task.state
        due = self._due(task)
        if due:
            self.timers.add((due, created))
        if task.registration:
            self._nodes.sit(task)
        elif state == form.READY:
            self.unplaced.add(queue_key(task))
        if state >= form.DONE:
            if task.spec.id in self._waiting:
                self.settled.add((task.revision, created))
            if task.spec.id not in self._needed:
                self.forgettable.add((task.revision, created))

    def _leave(self, task: Task) -> None:
        created, state = task.created, task.state
        due = self._due(task)
        if due:
            self.timers.remove((due, created))
        if task.registration:
            self._nodes.rise(task)
        elif state == form.READY:
            self.unplaced.remove(queue_key(task))
        if state >= form.DONE:
            if task.spec.id in self._waiting:
                self.settled.remove((task.revision, created))
            if task.spec.id not in self._needed:
                self.forgettable.remove((task.revision, created))

    @staticmethod
    def _due(task: Task) -> int:
        """Return when time alone will change a task; 0: never."""
        deadline = task.spec.deadline if task.state < form.DONE else 0
        if not task.until or not deadline:
            return task.until or deadline
        return min(task.until, deadline)

    def _wait(self, created: int, names: Iterable[str]) -> None:
        """Note what a BLOCKED task misses."""
        for name in names:
            waiting = self._waiting.get(name)
            if waiting is None:
                waiting = self._waiting[name] = KeyIndex()
                self._note_settled(name, True)
            waiting.add(created)

    def _wait_no_more(self, created: int, names: Iterable[str]) -> None:
        for name in names:
            waiting = self._waiting[name]
            waiting.remove(created)
            if not waiting:
                del self._waiting[name]
                self._note_settled(name, False)

    def _note_settled(self, name: str, waited_for: bool) -> None:
        """Bring ``settled`` up to date when the first begins, or the last ceases, to wait."""
        task = self.find(name)
        if task is None or task.state < form.DONE:
            return
        if waited_for:
            self.settled.add((task.revision, task.created))
        else:
            self.settled.remove((task.revision, task.created))

    def _need(self, task: Task) -> None:
        for name in task.spec.depends_on:
            count = self._needed.get(name, 0)
            self._needed[name] = count + 1
            if count == 0:
                needed = self.find(name)
                if needed is not None and needed.state >= form.DONE:
                    self.forgettable.remove((needed.revision, needed.created))

    def _release_needs(self, task: Task) -> None:
        for name in task.spec.depends_on:
            count = self._needed[name] - 1
            if count:
                self._needed[name] = count
                continue
            del self._needed[name]
            needed = self.find(name)
            if needed is not None and needed.state >= form.DONE:
                self.forgettable.add((needed.revision, needed.created))

    # --- as a whole ------------------------------------------------------------------------------

    def capture(self) -> Capture:
        """Return all tasks and changes as of this moment. What it costs ends when it is dropped."""
        capture = Capture(self, self._order.capture(), self.revision)
        self._captures.append(weakref.ref(capture, self._captures.remove))
        return capture

    def _hand_over(self, task: Task) -> None:
        for reference in tuple(self._captures):
            capture = reference()
            if capture is not None:
                capture.keep(task)


class Capture:
    """A store as of one moment, while it goes on. Read ``tasks`` once.

    Args:
        store: Asked for what is as it was.
        blocks: ``created`` of all tasks, in order.
        revision: The store's, then.

    Attributes:
        changes: The kept changes, then.
    """

    def __init__(self, store: TaskStore, blocks: Sequence[Sequence[int]], revision: int) -> None:
        self._store = store
        self._blocks = blocks
        self._revision = revision
        self._through = 0  # tasks are read through this ``created``
        self._replaced: dict[int, Task] = {}  # as they were, while they are still to be read
        self.changes = tuple(store.changes.values())

    def keep(self, task: Task) -> None:
        """Keep a task that is about to be replaced or forgotten."""
        if self._through < task.created <= self._revision:
            self._replaced.setdefault(task.created, task)

    def tasks(self) -> Iterator[Task]:
        """Yield every task as it was, in the order of submission."""
        replaced = self._replaced
        for block in self._blocks:
            for created in block:
                task = replaced.pop(created, None)
                self._through = created
                yield self._store.at(created) if task is None else task
        self._blocks = ()


def _index(indexes: dict[str, KeyIndex[int]], name: str) -> KeyIndex[int]:
    index = indexes.get(name)
    if index is None:
        index = indexes[name] = KeyIndex()
    return index


def _drop(indexes: dict[str, KeyIndex[int]], name: str, created: int) -> None:
    index = indexes[name]
    index.remove(created)
    if not index:
        del indexes[name]
