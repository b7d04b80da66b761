"""What a simulated node is made with: its replica, and state machines that are looked at.

It makes nothing itself and decides nothing: whoever runs a cluster says what it is made of.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from jepsen_like.sim.invariants import Invariants, NodeFacts, describe
from paxos.core.config import Configuration, Configurations
from paxos.core.executor import Unpack
from paxos.core.ids import Instant, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.records import Recovered
from paxos.core.replica import Replica, Role
from paxos.core.state_machine import Stamp, StateMachine, Watchable


class ReplicaFactory(Protocol):
    """Makes what is simulated: the production Replica, or a variant of it."""

    def __call__(
        self,
        me: Voter,
        configurations: Configurations,
        recovered: Recovered,
        machines: Mapping[str, StateMachine],
        rng: random.Random,
        unpack: Unpack,
        now: Instant,
        *,
        limits: Limits,
        timing: Timing,
        roles: frozenset[Role] = ...,
    ) -> Replica:
        """Return a replica that has recovered."""


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What every node of a cluster is made with.

    Attributes:
        founding: Who votes from slot 1 on.
        alpha: The slots in flight.
        factory: Makes a node's replica, at each start.
        machines: Makes the state machines that a node hosts, at each start.
        unpack: Decodes a batch.
    """

    founding: Configuration
    alpha: int
    factory: ReplicaFactory
    machines: Callable[[], Mapping[str, StateMachine]]
    unpack: Unpack

    def configurations(self) -> Configurations:
        """Return what a node that knows only the founding believes of who votes: its own."""
        return Configurations(self.founding, self.alpha)


class Observed:
    """A state machine that tells the checkers what it runs."""

    def __init__(
        self, name: str, machine: StateMachine, facts: NodeFacts, invariants: Invariants
    ) -> None:
        self._name = name
        self._machine = machine
        self._watched = machine if isinstance(machine, Watchable) else None
        self._facts = facts
        self._runs_of = invariants.machines
        self._runs = invariants.machines.runs

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run and report."""
        try:
            result = self._machine.apply(command, at)
        except Exception as error:
            self._runs(self._facts, self._name, at, command, describe(error), True)
            raise
        self._runs(self._facts, self._name, at, command, result, False)
        return result

    def query(self, query: bytes) -> bytes:
        """Pass on."""
        return self._machine.query(query)

    def watch(self, query: bytes) -> bytes | None:
        """Pass on."""
        return None if self._watched is None else self._watched.watch(query)

    def snapshot(self) -> Iterable[bytes]:
        """Pass on."""
        return self._machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Pass on, and report: what the snapshot reflects need not run here."""
        self._machine.restore(chunks)
        self._runs_of.restored(self._facts)
