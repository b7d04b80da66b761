"""``paxos demo``: sets the stage for the story, and clears it whatever happens.

Owns the temporary directory, the ports, the client and the verdict. The story itself, and what it
proves, is in ``story``.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from pathlib import Path

import click
import trio

from paxos import cluster, service
from paxos.cli.connect import ask_statuses, exit_statuses
from paxos.cli.exits import Exit
from paxos.cli.init import MACHINES
from paxos.cli.narrator import Narrator
from paxos.cli.options import Target, target_of
from paxos.cli.story import STEPS, Stage, Step, StoryFailed, tell
from paxos.cli.teaching import TaughtCommand
from paxos.runtime.errors import plain_errors
from paxos.testing.processes import (
    ReplicaProcessFailed,
    free_base_port,
    replica_processes,
    serve_command,
)
from statemachines.edge_config_client import EdgeConfigClient, Put
from statemachines.edge_config_document import parse_document

REPLICAS = 3
STORY_TIMEOUT_S = 90.0
"""Nothing in the story takes so long; it is here so that the demo always ends."""

REQUEST_TIMEOUT_S = 20.0
"""Longer than any pause, so that a write outlives the leader it was sent to."""

EXAMPLES = [
    ("the story, over TCP", "paxos demo"),
    ("the same over WebSocket", "paxos demo --transport ws"),
]


class Interrupted(Exception):
    """Somebody asked the demo to stop, with a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@click.command(cls=TaughtCommand, examples=EXAMPLES)
@click.option(
    "--transport",
    type=click.Choice(["tcp", "ws"]),
    default="tcp",
    show_default=True,
    help="How the replicas and the client talk.",
)
def demo(transport: str) -> None:
    """Watch three replicas survive the death of their leader.

    Starts three processes on this machine, in a temporary directory, imports the configuration of
    a fleet of edge sites, kills the leader with SIGKILL while clients write, brings it back, and
    proves that all three hold the same state and that no acknowledged write is missing. Takes
    well under a minute, leaves nothing behind, and ends with status 1 if anything does not hold.
    """
    if not perform(transport):
        raise SystemExit(Exit.REFUSED)


def perform(transport: str, steps: Sequence[Step] = STEPS) -> bool:
    """Tell the story on a stage of its own.

    Args:
        transport: The scheme of the replicas' URLs.
        steps: What happens; tests break a promise between two of them.

    Returns:
        Whether everything held.

    Raises:
        CommandError: It could not be told to its end.
        SystemExit: It was interrupted.
    """
    narrator = Narrator()
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="paxos-demo-") as directory,
            exit_statuses(),
            plain_errors(),
        ):
            good = trio.run(_perform, narrator, Path(directory), transport, steps)
    except (ReplicaProcessFailed, StoryFailed) as error:
        narrator.failed(str(error))
        good = False
    except Interrupted as error:
        narrator.end("Interrupted; everything is cleaned up.", good=False)
        raise SystemExit(128 + error.number) from None
    took = time.monotonic() - began
    if good:
        narrator.end(f"All of it holds ({took:.0f} s). Next: paxos init --help", good=True)
    else:
        narrator.end(f"NOT all of it holds ({took:.0f} s).", good=False)
    return good


async def _perform(
    narrator: Narrator, directory: Path, transport: str, steps: Sequence[Step]
) -> bool:
    founded = cluster.found(
        directory / "cluster",
        replicas=REPLICAS,
        machines=MACHINES,
        transport=transport,
        base_port=free_base_port(REPLICAS),
    )
    narrator.fact(f"a cluster of {REPLICAS} in {founded.path.parent}, gone when the story ends")
    target = target_of(founded, REQUEST_TIMEOUT_S)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_when_told, signals)
            try:
                with trio.fail_after(STORY_TIMEOUT_S):
                    good = await _on_stage(narrator, target, founded.path, steps)
            except trio.TooSlowError:
                raise StoryFailed(f"it did not end within {STORY_TIMEOUT_S:.0f} s") from None
            nursery.cancel_scope.cancel()
    return good


async def _on_stage(
    narrator: Narrator, target: Target, config_file: Path, steps: Sequence[Step]
) -> bool:
    assert target.file is not None
    async with (
        replica_processes(serve_command(config_file), config_file.parent) as processes,
        service.open_client(target.file, timeout=target.timeout_s) as client,
    ):
        stage = Stage(
            narrator=narrator,
            processes=processes,
            store=EdgeConfigClient(client),
            statuses=lambda: ask_statuses(target),
            fleet=fleet(),
            nodes=tuple(target.urls),
        )
        return await tell(stage, steps)


async def _stop_when_told(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        raise Interrupted(number)


def fleet() -> list[Put]:
    """Return the configuration that the demo imports; it comes with the package."""
    text = resources.files("paxos.cli").joinpath("fleet.json").read_text(encoding="utf-8")
    return parse_document(text)
