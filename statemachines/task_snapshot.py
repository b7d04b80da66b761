"""The task log as records of a snapshot, and back.

It owns which records there are and their order; chunks and checksums are those of
``snapshot_records``. It guards that equal states give equal records: nodes go by name, changes by
revision, tasks by the order of submission, and nothing that follows from them is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from statemachines import task_log_format as form
from statemachines.command_fields import Fields
from statemachines.snapshot_records import SnapshotDamaged
from statemachines.task_log_format import (
    NodeChange,
    NodeSpec,
    Task,
    TaskChange,
    TaskSpec,
)
from statemachines.task_nodes import NodeRecord, NodeTable
from statemachines.task_rules import TaskRules
from statemachines.task_store import Capture, TaskStore

_NAME = "task_log"
_FORMAT = 1


def snapshot_records(store: TaskStore, nodes: NodeTable, rules: TaskRules) -> Iterator[Fields]:
    """Return the records of a state as it is at this call; they are made as they are taken."""
    records = nodes.records()
    capture = store.capture()
    head = (
        _NAME,
        _FORMAT,
        store.revision,
        store.oldest,
        store.keep_finished,
        store.keep_age,
        rules.now,
        rules.sweep,
        len(records),
        len(capture.changes),
    )
    return _records(head, records, capture)


def _records(head: Fields, nodes: list[NodeRecord], capture: Capture) -> Iterator[Fields]:
    yield head
    yield from nodes
    yield from capture.changes
    yield from capture.tasks()


def load_state(
    records: Iterator[Fields], store: TaskStore, nodes: NodeTable, rules: TaskRules
) -> None:
    """Fill empty objects with what a snapshot's records say.

    Raises:
        SnapshotDamaged: They are not those of a task log.
    """
    try:
        name, number, *head = next(records, ())
        if (name, number) != (_NAME, _FORMAT):
            raise SnapshotDamaged(f"not a snapshot of {_NAME}, format {_FORMAT}")
        (
            store.revision,
            store.oldest,
            store.keep_finished,
            store.keep_age,
            rules.now,
            rules.sweep,
            nodes_count,
            changes_count,
        ) = head
        for node in _take(records, nodes_count):
            nodes.put(NodeRecord(NodeSpec(*node[0]), *node[1:]))
        for change in _take(records, changes_count):
            of_task = change[2] == form.TASK
            store.changes[change[0]] = TaskChange(*change) if of_task else NodeChange(*change)
        for task in records:
            store.add(Task(TaskSpec(*task[0]), *task[1:]))
    except SnapshotDamaged:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise SnapshotDamaged("the snapshot holds records of another form") from error
    if list(store.changes) != list(range(store.oldest + 1, store.revision + 1)):
        raise SnapshotDamaged("the snapshot lacks changes")


def _take(records: Iterator[Fields], count: int) -> Iterable[Fields]:
    for _ in range(count):
        record = next(records, None)
        if record is None:
            raise SnapshotDamaged("the snapshot holds too few records")
        yield record
