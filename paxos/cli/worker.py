"""``paxos worker``: runs a program per task, as the whole purpose of a process.

Owns what a program is told, the signals, and what the end of a worker means to whoever started it.
What a program may take and what its end means stands in ``task_program``; claims, leases and
results are the business of ``TaskWorker``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import trio

from paxos.cli.connect import exit_statuses, open_client
from paxos.cli.exits import INTERRUPTED, CommandError, Exit
from paxos.cli.options import Target
from paxos.cli.output import print_json
from paxos.cli.quantities import MICRO, QuantityInvalid, parse_amount
from paxos.cli.task_options import AMOUNT, DURATION, SIZE, labels, log_options
from paxos.cli.task_program import ProgramFailed, ProgramLimits, run_program
from paxos.cli.task_progress import progress_pipe
from paxos.cli.teaching import TaughtCommand
from paxos.runtime.errors import plain_errors
from paxos.storage.base import StorageError
from statemachines.task_handlers import Handler, Job, TaskFailed, Work
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DEFAULT_LIMITS, NodeSpec
from statemachines.task_log_requests import node_spec
from statemachines.task_outbox import FileOutbox, Outbox, OutboxDamaged, OutboxFailed
from statemachines.task_worker import ANY_KIND, TaskWorker, WorkerBroken, WorkerReplaced
from statemachines.task_worker_events import WorkerEvent

EXAMPLES = [
    (
        "the task's payload in, its result out",
        "paxos worker --node cloud-1 --exec 'tr a-z A-Z'",
    ),
    (
        "a shell, and what it may take",
        """paxos worker --node cloud-1 --exec 'sh -c "sort | uniq -c"' --time-limit 30s""",
    ),
    (
        "an edge node with a GPU that runs four tasks at a time",
        "paxos worker --node edge-1 --kind edge --label gpu=yes --capacity 4 --exec ./detect",
    ),
]


def _curve(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, int, int]:
    try:
        square, slope, idle = map(parse_amount, text.split(","))
    except QuantityInvalid as error:
        raise click.BadParameter(str(error)) from error
    except ValueError:
        raise click.BadParameter(f"{text!r} is not A,B,C; write it like 0.01,0.1,0.01") from None
    return square, slope, idle


def _program(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} cannot be read: {error}") from error
    if not command:
        raise click.BadParameter("it names no program")
    # Found now: without it every task would fail here, and use up its attempts.
    if shutil.which(command[0]) is None:
        raise click.BadParameter(f"there is no program {command[0]!r} here")
    return command


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.option("--node", required=True, metavar="NODE", help="Its name among those that run tasks.")
@click.option(
    "--exec",
    "command",
    required=True,
    callback=_program,
    metavar="COMMAND",
    help="The program and its arguments, quoted as for a shell; no shell is involved.",
)
@click.option(
    "--time-limit",
    callback=DURATION,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="A program that takes longer is ended; the attempt has failed.",
)
@click.option(
    "--output-limit",
    callback=SIZE,
    default="64KiB",
    show_default=True,
    metavar="SIZE",
    help="A program that writes more is ended; the task is dead.",
)
@click.option(
    "--outbox",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep results here until the cluster has them. Default: in memory.",
)
@click.option(
    "--kind",
    type=click.Choice(["cloud", "edge"]),
    default="cloud",
    show_default=True,
    help="Which kind of node it is.",
)
@click.option(
    "--capacity",
    callback=AMOUNT,
    default="1",
    show_default=True,
    metavar="AMOUNT",
    help="The demand of the tasks that it runs at a time.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=labels,
    metavar="NAME=VALUE",
    help="What tasks may ask for; may be repeated.",
)
@click.option(
    "--speed",
    callback=AMOUNT,
    default="1",
    show_default=True,
    metavar="AMOUNT",
    help="Work per second.",
)
@click.option(
    "--price",
    callback=AMOUNT,
    default="0",
    show_default=True,
    metavar="AMOUNT",
    help="Per second of compute.",
)
@click.option(
    "--energy",
    callback=_curve,
    default="0,0,0",
    show_default=True,
    metavar="A,B,C",
    help="At load l it takes A*l^2 + B*l + C.",
)
@click.option(
    "--delay",
    callback=DURATION,
    default="0",
    show_default=True,
    metavar="DURATION",
    help="One way over its link.",
)
@click.option(
    "--bandwidth",
    callback=SIZE,
    default="125MB",
    show_default=True,
    metavar="SIZE",
    help="Of its link, per second.",
)
@click.option(
    "--lease",
    callback=DURATION,
    default="15s",
    show_default=True,
    metavar="DURATION",
    help="How long after its death its tasks go to others.",
)
@log_options
def worker(
    target: Target,
    *,
    machine: str,
    node: str,
    command: list[str],
    time_limit: int,
    output_limit: int,
    outbox: Path | None,
    **fields: Any,
) -> None:
    """Run tasks that are placed on a node, a program for each, until it is told to stop.

    The program gets the task's payload on standard input, and PAXOS_TASK_ID, PAXOS_TASK_KIND,
    PAXOS_TASK_ATTEMPT, PAXOS_TASK_TOKEN and PAXOS_TASK_NODE in its environment. If it exits with 0,
    its standard output is the result. With 65 the task is dead; with any other status, or when it
    takes too long, the attempt has failed, and its last line on standard error is the reason. The
    results of the tasks that it comes after are files 1, 2 and so on in the directory
    PAXOS_TASK_INPUTS. Lines that it writes to the file PAXOS_TASK_PROGRESS are shown to whoever
    watches the task.

    The token only rises from claim to claim of a task: give it to whatever the program changes
    elsewhere, and let that refuse a lower one. A program whose claim is lost is ended.

    SIGTERM and SIGINT let what runs end, and then the worker with status 0; a second one ends it
    at once with 130. While no replica answers it goes on, and reports results later.
    """
    if time_limit == 0:
        raise click.UsageError("--time-limit is 0: no program could ever end in time")
    limits = ProgramLimits(time_limit / MICRO, output_limit)
    if output_limit > DEFAULT_LIMITS.payload_bytes_max:
        raise click.UsageError(
            f"--output-limit is above {DEFAULT_LIMITS.payload_bytes_max} bytes, the largest result"
        )
    if outbox is not None and target.cluster is None:
        raise click.UsageError("--outbox needs --config, which says whose results it keeps")
    fields["labels"] = dict(fields["labels"])
    with exit_statuses():
        spec = node_spec(node, **fields)
    handler = program_handler(command, limits)
    with _worker_statuses(), ExitStack() as stack:
        kept: Outbox | None = None
        if outbox is not None:
            kept = FileOutbox(outbox, f"{target.cluster}/{node}")
            stack.callback(kept.close)
        trio.run(_work_until_told, target, machine, spec, handler, kept)


def program_handler(command: Sequence[str], limits: ProgramLimits) -> Handler:
    """Return what runs a program per task."""

    async def handle(work: Work) -> bytes:
        job = work.job
        with tempfile.TemporaryDirectory(prefix="paxos-task-") as directory:
            inputs, progress = Path(directory, "inputs"), Path(directory, "progress")
            await trio.to_thread.run_sync(_write_inputs, inputs, job.inputs)
            environment = dict(os.environ) | job_environment(job, inputs, progress)
            async with progress_pipe(progress, work.progress):
                try:
                    return await run_program(command, job.payload, limits, environment)
                except ProgramFailed as error:
                    raise TaskFailed(str(error), retry=error.again) from error

    return handle


def job_environment(job: Job, inputs: Path, progress: Path) -> dict[str, str]:
    """Return what a program is told of its task beside the payload."""
    return {
        "PAXOS_TASK_ID": job.id,
        "PAXOS_TASK_KIND": job.kind,
        "PAXOS_TASK_ATTEMPT": str(job.attempt),
        "PAXOS_TASK_TOKEN": str(job.token),
        "PAXOS_TASK_NODE": job.node,
        "PAXOS_TASK_INPUTS": str(inputs),
        "PAXOS_TASK_PROGRESS": str(progress),
    }


def _write_inputs(directory: Path, inputs: Mapping[str, bytes]) -> None:
    directory.mkdir()
    # By number: an id may be any text, "../x" among them.
    for number, data in enumerate(inputs.values(), 1):
        (directory / str(number)).write_bytes(data)


async def _work_until_told(
    target: Target, machine: str, spec: NodeSpec, handler: Handler, outbox: Outbox | None
) -> None:
    def tell(event: WorkerEvent) -> None:
        _tell(target, spec.name, event)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_client(target) as client, trio.open_nursery() as nursery:
            log = TaskLogClient(client, machine)
            made = TaskWorker(log, spec, {ANY_KIND: handler}, outbox=outbox, observe=tell)
            nursery.start_soon(_stop_when_told, signals, made)
            await made.run()
            nursery.cancel_scope.cancel()


async def _stop_when_told(signals: Any, made: TaskWorker) -> None:
    told = 0
    async for _number in signals:
        told += 1
        made.stop()
        if told == 2:
            # Programs are ended on the way out; their tasks go to others when the leases lapse.
            raise SystemExit(INTERRUPTED)


def _tell(target: Target, node: str, event: WorkerEvent) -> None:
    if target.json:
        fields: dict[str, Any] = {"event": event.what, "node": node}
        if event.what == "registered":
            fields["registration"] = event.token
        if event.task:
            fields |= {"task": event.task, "token": event.token}
        if event.detail:
            fields["detail"] = event.detail
        print_json(fields)
        return
    what = f"{event.task} {event.what}" if event.task else f"node {node}: {event.what}"
    token = f" (token {event.token})" if event.task else ""
    click.echo(f"{what}{token}{f': {event.detail}' if event.detail else ''}")
    sys.stdout.flush()


@contextmanager
def _worker_statuses() -> Iterator[None]:
    """Say what ended the worker, and what to do about it."""
    try:
        with exit_statuses(), plain_errors():
            yield
    except (WorkerReplaced, WorkerBroken) as error:
        raise CommandError(Exit.REFUSED, str(error)) from error
    except OutboxDamaged as error:
        raise CommandError(Exit.DAMAGED, str(error)) from error
    except OutboxFailed as error:
        raise CommandError(
            Exit.REFUSED,
            f"the worker stopped because its outbox failed: {error}",
            "Start it again once the disk is well.",
        ) from error
    except StorageError as error:
        raise CommandError(Exit.USAGE, str(error)) from error
