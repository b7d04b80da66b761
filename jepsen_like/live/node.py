"""A replica process with fault points: ``python -m jepsen_like.live.node --config F --node N``.

Composes the production parts as ``paxos serve`` does, over a disk and clocks that can be made to
fail. It takes wishes (one JSON object on a line of standard input), answers each with one line on
standard output, and ends when standard input does: its master is gone then.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
import trio

from jepsen_like.live.fault_points import FaultPoints, FaultyDisk
from paxos import cluster as cluster_file
from paxos import service
from paxos.cluster import ClusterFile
from paxos.core.errors import PaxosError
from paxos.runtime import observe
from paxos.runtime.errors import plain_errors
from paxos.storage.disk import RealDisk
from paxos.storage.segments import open_segments

SEGMENT_BYTES = 256 * 1024
"""Small, so that a full disk is felt soon: a segment that is reserved can still be written."""

READ_BYTES = 4096


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True)
@click.option("--node", type=int, required=True, metavar="N", help="Which node of the file.")
@click.option("--segment-bytes", type=int, default=SEGMENT_BYTES, show_default=True)
def main(config_file: Path, node: int, segment_bytes: int) -> None:
    """Run one replica that can be made to fail, until its standard input ends."""
    observe.configure("console", "info")
    points = FaultPoints()
    try:
        cluster = cluster_file.load(config_file)
        with plain_errors():
            trio.run(_serve, cluster, node, segment_bytes, points, clock=points.clock)
    except PaxosError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


async def _serve(cluster: ClusterFile, node: int, segment_bytes: int, points: FaultPoints) -> None:
    storage = await trio.to_thread.run_sync(
        lambda: open_segments(
            cluster.data_directory(node),
            cluster.identity(node),
            segment_bytes=segment_bytes,
            disk=FaultyDisk(RealDisk(), points.disk),
        )
    )
    async with (
        service.open_node(
            cluster, node, storage=storage, wall_clock_us=points.clock.wall_us
        ) as running,
        trio.open_nursery() as nursery,
    ):
        _say(
            {
                "event": "ready",
                "node": running.id,
                "listen": running.url,
                "applied_through": running.applied_through,
            }
        )
        nursery.start_soon(_stop_when_told, nursery.cancel_scope)
        await _take_wishes(points)
        nursery.cancel_scope.cancel()


async def _stop_when_told(serving: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            serving.cancel()


async def _take_wishes(points: FaultPoints) -> None:
    """Answer lines until there are no more."""
    said = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as wishes:
        async for more in wishes:
            *lines, said = (said + more).split(b"\n")
            for line in lines:
                wish: dict[str, Any] = json.loads(line)
                _say({"number": wish.get("number"), **points.change(wish)})


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
