"""A node as ``paxos serve`` runs it, that notes when the heartbeats of its peers reach its replica.

``python -m benchmarks.tapped_node --config FILE --node N --gaps FILE``: one JSON line per heartbeat
of another node, with its sender, this machine's monotonic clock (the same in all its processes) and
the seconds since the one before. A heartbeat that waited because either node was busy came late:
what the replica was busy with for long has a line too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import trio

from paxos import cluster as cluster_file
from paxos import service
from paxos.core.effects import Effect
from paxos.core.events import Event, Received
from paxos.core.ids import Instant, NodeId
from paxos.core.messages import Heartbeat
from paxos.core.replica import Replica
from paxos.runtime import node as node_shell
from paxos.runtime import observe

LONG_S = 0.05
"""Half a heartbeat interval."""


class Ear:
    """Writes down when heartbeats came."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: dict[NodeId, float] = {}

    def hear(self, sender: NodeId) -> None:
        """Note one."""
        now = time.monotonic()
        before = self._last.get(sender)
        self._last[sender] = now
        if before is not None:
            gap = {"at": now, "from": sender, "gap_s": round(now - before, 4)}
            self._out.write(json.dumps(gap) + "\n")

    def note(self, event: Event, took_s: float) -> None:
        """Note an event that kept the replica busy, if for long."""
        if took_s >= LONG_S:
            what = type(event.message if type(event) is Received else event).__name__
            line = {"at": time.monotonic(), "busy": what, "took_s": round(took_s, 4)}
            self._out.write(json.dumps(line) + "\n")


def tapped(ear: Ear, me: NodeId) -> type[Replica]:
    """Return the replica, but with an ear."""

    class TappedReplica(Replica):
        def handle(self, event: Event, now: Instant) -> list[Effect]:
            if type(event) is Received and type(event.message) is Heartbeat:
                sender = event.sender.node
                if sender != me:
                    ear.hear(sender)
            began = time.perf_counter()
            effects = super().handle(event, now)
            ear.note(event, time.perf_counter() - began)
            return effects

    return TappedReplica


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the node until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--node", type=int, required=True)
    parser.add_argument("--gaps", type=Path, required=True)
    options = parser.parse_args(arguments)
    observe.configure("console", "info")
    with options.gaps.open("a", buffering=1, encoding="utf-8") as out:
        # The one place where a node takes its replica's class from.
        setattr(node_shell, Replica.__name__, tapped(Ear(out), options.node))
        trio.run(
            service.serve,
            cluster_file.load(options.config),
            options.node,
            lambda node: print(json.dumps({"event": "ready", "node": node.id}), flush=True),
        )


if __name__ == "__main__":
    main()
