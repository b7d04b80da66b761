"""``paxos task``: the replicated task log, one command per thing one can do with it.

Only the group stands here. The commands translate arguments to requests of ``TaskLogClient`` and
answers to lines; how a request that failed is told is decided in ``connect``.
"""

from __future__ import annotations

import click

from paxos.cli import task_changes, task_explain, task_reads, task_watch
from paxos.cli.teaching import TaughtGroup

EXAMPLES = [
    ("hand in a task, to be run once wherever it is cheapest", "paxos task submit t-1 --kind echo"),
    ("what is there to do, and where?", "paxos task list"),
    ("why did it go there?", "paxos task explain t-1"),
]


@click.group(cls=TaughtGroup, examples=EXAMPLES)
def task() -> None:
    """Submit tasks to the replicated task log, and see what becomes of them.

    A task has an id, a kind, and a payload of any bytes. It is placed on a node, claimed by the
    worker there, and has exactly one result, whatever fails meanwhile. `paxos worker` runs tasks.
    """


for _command in (
    task_changes.submit,
    task_reads.list_,
    task_reads.show,
    task_changes.cancel,
    task_changes.retry,
    task_explain.explain,
    task_watch.watch,
):
    task.add_command(_command)
