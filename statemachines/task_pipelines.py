"""Work in several steps: calls that wait for a result, and tasks that hand each other references.

It owns what the names of a pipeline's tasks mean, and what a data reference looks like. It must
never carry the data itself: a reference says where it lies and what it must be, and handlers fetch
it. It guards that a call made twice under one name is one task, with one result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypedDict, Unpack

from msgpack import UnpackException, packb, unpackb

from paxos.core.errors import PaxosError
from statemachines import task_log_format as form
from statemachines.task_log_answers import ChangesCompacted, TaskUnknown
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import Task, TaskChange, TaskSpec
from statemachines.task_log_requests import NodeKind, Policy, RequestInvalid, task_spec

REFERENCE_FORMAT: Final = 1

OnProgress = Callable[[str, bytes], None]
"""Told the task and a piece of its progress. It must not block; what it raises ends the call."""


class TaskOptions(TypedDict, total=False):
    """What ``task_spec`` takes beside a task's id, kind, payload and dependencies."""

    priority: int
    not_before: int
    deadline: int
    attempts: int
    backoff: int
    node_kind: NodeKind
    labels: Mapping[str, str]
    demand: int
    size: int
    data_node: str
    data_bytes: int
    policy: Policy


class TaskNotDone(PaxosError):
    """The task ended without a result: it is dead or was cancelled.

    Attributes:
        task: The task as it ended; its ``reason`` says why.
    """

    def __init__(self, task: Task) -> None:
        state = form.STATES[task.state]
        super().__init__(f"task {task.spec.id} is {state}: {task.reason or 'no reason was given'}")
        self.task = task


# --- calls ----------------------------------------------------------------------------------------


def _ignore(_task_id: str, _data: bytes) -> None:
    pass


async def execute(
    log: TaskLogClient,
    kind: str,
    payload: bytes = b"",
    *,
    task_id: str,
    depends_on: Sequence[str] = (),
    on_progress: OnProgress = _ignore,
    **options: Unpack[TaskOptions],
) -> bytes:
    """Have a task done, and wait for its result, however long it takes.

    Made again with the same arguments, after a crash or an unknown outcome, the call finds the task
    it made before and does not do it twice.

    Args:
        log: The task log.
        kind: Which handler runs it.
        payload: What the handler is given.
        task_id: Names the call.
        depends_on: Tasks that must be done before; the handler is given their results.
        on_progress: Is told the progress as it comes in; first what there was before, if the call
            is made again.
        **options: As ``task_spec`` takes them.

    Raises:
        TaskNotDone: It is dead or was cancelled.
        RequestInvalid, CommandFailed: As ``TaskLogClient.submit``.
    """
    spec = task_spec(task_id, kind, payload, depends_on=depends_on, limits=log.limits, **options)
    submitted = await log.submit([spec])
    return await wait_result(log, task_id, on_progress, after=submitted.created[0][1])


async def wait_result(
    log: TaskLogClient,
    task_id: str,
    on_progress: OnProgress = _ignore,
    *,
    after: int | None = None,
) -> bytes:
    """Wait until a task is done, and return its result.

    Args:
        log: The task log.
        task_id: The task.
        on_progress: Is told each piece of progress once and in order, unless so many changes come
            that the task log no longer keeps them when they are asked for.
        after: The revision after which progress is told; None for the present one.

    Raises:
        TaskNotDone: It is dead or was cancelled.
        TaskUnknown: It was never submitted, or was finished and forgotten since.
    """
    while True:
        if after is None:
            task = (await log.get(task_id)).task
            if task is None:
                raise TaskUnknown(task_id)
            if task.state == form.DONE and task.result is not None:
                return task.result
            if task.state >= form.DONE:
                raise TaskNotDone(task)
            after = task.revision
        try:
            await _wait_finished(log, task_id, after, on_progress)
        except ChangesCompacted:
            pass  # too far behind: what is lost is progress, and the task itself is read again
        after = None


async def _wait_finished(
    log: TaskLogClient, task_id: str, after: int, on_progress: OnProgress
) -> None:
    async for change in log.watch("task", task_id, after=after):
        if not isinstance(change, TaskChange):
            continue
        if change.state >= form.DONE:
            return
        if change.state == form.CLAIMED and change.progress:
            on_progress(change.id, change.progress)


# --- pipelines ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a pipeline.

    Attributes:
        name: Names it within the pipeline.
        kind: Which handler runs it.
        payload: What the handler is given beside the results of the steps before.
        after: Steps that must be done before, by name; None for the one that stands before it.
        options: As ``task_spec`` takes them.
    """

    name: str
    kind: str
    payload: bytes = b""
    after: Sequence[str] | None = None
    options: TaskOptions = field(default_factory=TaskOptions)


def pipeline(log: TaskLogClient, name: str, steps: Sequence[Step]) -> list[TaskSpec]:
    """Return the tasks of a pipeline: ``name/step`` for each step, each behind those before it.

    Raises:
        RequestInvalid: A step is not allowed, or comes after one that does not stand before it.
    """
    specs: list[TaskSpec] = []
    ids: dict[str, str] = {}
    before: Sequence[str] = ()
    for step in steps:
        after = before if step.after is None else step.after
        for other in after:
            if other not in ids:
                raise RequestInvalid(
                    f"step {step.name} comes after {other}, which is not before it"
                )
        depends_on = [ids[other] for other in after]
        ids[step.name] = f"{name}/{step.name}"
        specs.append(
            task_spec(
                ids[step.name],
                step.kind,
                step.payload,
                depends_on=depends_on,
                limits=log.limits,
                **step.options,
            )
        )
        before = (step.name,)
    return specs


async def execute_pipeline(
    log: TaskLogClient, name: str, steps: Sequence[Step], on_progress: OnProgress = _ignore
) -> bytes:
    """Submit the steps at once, wait for the last one, and return its result.

    Nobody need stay to hand on from step to step: the task log does. As ``execute``, the call may
    be made again.

    Args:
        log: The task log.
        name: Names the pipeline.
        steps: The last one's result is the pipeline's.
        on_progress: Is told the progress of the last step.

    Raises:
        TaskNotDone: The last step is dead or was cancelled; when an earlier one is, so is it.
        RequestInvalid, CommandFailed: As ``TaskLogClient.submit``.
    """
    specs = pipeline(log, name, steps)
    last, created = (await log.submit(specs)).created[-1]
    return await wait_result(log, last, on_progress, after=created)


def edge_to_cloud(
    process: Step, transfer: Step, compute: Step, *, source: str, raw_bytes: int, sent_bytes: int
) -> list[Step]:
    """Return the three steps of work that is cut down where the data is, and finished in the cloud.

    Each hands the next a ``DataReference``. The first runs at the edge, where the data is if that
    can be; the second runs in the cloud and fetches what the first has left; the third uses it.

    Args:
        process: Reads the data at ``source`` and leaves less of it.
        transfer: Brings what is left into the cloud.
        compute: Makes the result of it.
        source: The node that holds the data.
        raw_bytes: How much that is.
        sent_bytes: How much is left to bring into the cloud, as far as one knows before.
    """
    return [
        _placed(process, "edge", source, raw_bytes),
        _placed(transfer, "cloud", source, sent_bytes),
        _placed(compute, "cloud", "", 0),
    ]


def _placed(step: Step, node_kind: NodeKind, data_node: str, data_bytes: int) -> Step:
    where: TaskOptions = {
        "node_kind": node_kind,
        "data_node": data_node,
        "data_bytes": data_bytes,
        **step.options,
    }
    return Step(step.name, step.kind, step.payload, step.after, where)


# --- references -----------------------------------------------------------------------------------


class ReferenceInvalid(ValueError):
    """Bytes that are no reference, or data that is not what a reference says."""


@dataclass(frozen=True, slots=True)
class DataReference:
    """Where data lies, and what it must be: what a step leaves for the next instead of the data.

    Attributes:
        node: The node that holds it.
        name: What it is called there: a path, a key, a URL; handlers agree on what it means.
        size: Its length in bytes.
        digest: Its SHA-256.
    """

    node: str
    name: str
    size: int
    digest: bytes

    @classmethod
    def of(cls, node: str, name: str, data: bytes) -> DataReference:
        """Return the reference to ``data``, which ``node`` holds under ``name``."""
        return cls(node, name, len(data), sha256(data).digest())

    def encode(self) -> bytes:
        """Return it as a task's result."""
        data: bytes = packb((REFERENCE_FORMAT, self.node, self.name, self.size, self.digest))
        return data

    @classmethod
    def decode(cls, data: bytes) -> DataReference:
        """Return what ``encode`` made bytes of.

        Raises:
            ReferenceInvalid: They are of something else, or of another version.
        """
        try:
            fields = unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
        except (UnpackException, ValueError, TypeError, OverflowError, RecursionError):
            fields = None
        match fields:
            case (1, str(node), str(name), int(size), bytes(digest)):
                return cls(node, name, size, digest)
        raise ReferenceInvalid(f"not a data reference of format {REFERENCE_FORMAT}")

    def check(self, data: bytes) -> None:
        """Refuse data that is not what the reference says: fetched in part, or changed since.

        Raises:
            ReferenceInvalid: Its length or digest differs.
        """
        if len(data) != self.size or sha256(data).digest() != self.digest:
            raise ReferenceInvalid(
                f"{self.name} of node {self.node} is not what was left there: {len(data)} bytes"
                f" came, of {self.size}, or others"
            )
