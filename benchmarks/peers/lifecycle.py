"""What is asked of a cluster whose nodes are killed and started again.

Beside ``measurement``, which asks for the load that a cluster carries: here a cluster is asked who
leads, how far each node is, and to lose one. Nodes are numbered from 0. Knows no system by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.peers.children import Children
from benchmarks.peers.completions import Completions
from benchmarks.peers.measurement import System

NODES = 3
VALUE_BYTES = 64
CALL_TIMEOUT_S = 1.0
"""How long a node may take to say how it is: one that recovers may not listen yet."""


class Lifecycle(Protocol):
    """Three nodes that can be killed and started again."""

    @property
    def owned(self) -> Children:
        """Their processes, and whom to wait with."""

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes that run, by node."""

    def leader(self) -> int | None:
        """Return the node that leads, once all that run say so; else None."""

    def applied(self, node: int) -> int | None:
        """Return how far a node has applied the log, or None while it does not serve.

        The number is the system's own: it only grows, and is the same on nodes that are level.
        """

    def kill(self, node: int) -> None:
        """End a node with SIGKILL; its data stays."""

    def start(self, node: int) -> None:
        """Start a killed node on its data. Does not wait for it."""

    def fill(self, writes: int, outstanding: int) -> None:
        """Write so often, ``VALUE_BYTES`` each, in a closed loop with so many outstanding.

        There are eight client connections, for a system that has any.

        Raises:
            ClusterFailed: A write was not done.
        """

    def slots(self, node: int) -> int | None:
        """Return how many slots of the log a node has applied, if one can hold several writes.

        None where each write is an entry of its own.
        """

    def arrivals(self, rate: int) -> AbstractContextManager[Completions]:
        """Have writes arrive inside the context, so many a second, whether or not any completes.

        The clients are the system's own, and know all three nodes.
        """

    def bare_start(self) -> Sequence[str]:
        """Return a command that loads a node's program and does nothing with it."""


class LifecycleSystem(System, Protocol):
    """A system whose nodes can be killed and started again."""

    def fresh(self, parent: Path | None) -> AbstractContextManager[Lifecycle]:
        """Run three fresh nodes inside the context that have a leader and nothing written yet."""


def program_that_loads(modules: Sequence[str]) -> str:
    """Return a Python program that loads modules and ends at once.

    Without taking the interpreter apart: a node that starts does not do that either.
    """
    flushed = "sys.stdout.flush(); sys.stderr.flush()"
    return f"import os, sys, {', '.join(modules)}; {flushed}; os._exit(0)"


def leader_of(cluster: Lifecycle) -> int:
    """Wait until there is a leader, and return it.

    Raises:
        ClusterFailed: There is none in time.
    """
    return cluster.owned.wait_for(cluster.leader, "leader")


def progress_of(cluster: Lifecycle, node: int) -> int:
    """Wait until a node serves, and return how far it has applied the log.

    Raises:
        ClusterFailed: It does not serve in time.
    """
    return cluster.owned.wait_for(lambda: cluster.applied(node), f"answer of node {node}")


def wait_caught_up(cluster: Lifecycle, node: int, goal: int, step_s: float = 0.05) -> None:
    """Wait until a node serves and has applied as much as ``goal``; look every ``step_s``.

    Raises:
        ClusterFailed: It has not in time.
    """

    def reached() -> bool | None:
        applied = cluster.applied(node)
        return True if applied is not None and applied >= goal else None

    cluster.owned.wait_for(reached, f"node {node} that is caught up", step_s)
