"""What a live run is to do: values, and the loads and durations that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from jepsen_like.live.generator import (
    Draws,
    Finally,
    Generator,
    Limit,
    Mix,
    Rotation,
    Stagger,
)
from jepsen_like.workload.base import Workload

CALM_SHARE = 0.1
"""Of the run's time, before the faults and once more after them."""

CALM_MIN_S = 1.0

IMPATIENT_EVERY = 3
IMPATIENCE = 0.15
"""Every so many threads, one gives up after this share of the time that others have."""

BESIDE_THREADS = 3
BESIDE_RATE_SHARE = 0.1
"""Of the load's rate, for what runs beside it."""

HEAL_TIMEOUT_S = 30.0
"""How long the cluster may take to have a leader again once every fault has ended."""

FINAL_TIMEOUT_S = 60.0
"""How long the final operations may take, all together."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One live run.

    Attributes:
        workload: What is asked.
        machine: ``module:Class`` of the state machine it is asked of.
        kinds: The faults.
        seconds: How long is asked, from the beginning of the first calm phase to the end of the
            last one.
        seed: Every choice of ours. The cluster's own timing is nobody's.
        replicas: Nodes.
        threads: Operations under way at once, at most.
        keys: Keys in use at once.
        key_operations: Operations of a key, if not as many as the workload says; then a new one
            takes its place.
        rate: Operations begun per second, if the cluster keeps up.
        timeout_s: Of each operation; see ``timeout_of``.
        transport: How nodes and clients talk.
        network: Where links are cut: in a proxy, or in network namespaces.
    """

    workload: Workload
    machine: str
    kinds: tuple[str, ...]
    seconds: float
    seed: int
    replicas: int = 3
    threads: int = 16
    keys: int = 6
    key_operations: int | None = None
    rate: float = 400.0
    timeout_s: float = 4.0
    transport: Literal["tcp", "ws"] = "tcp"
    network: Literal["proxy", "namespaces"] = "proxy"

    @property
    def calm_s(self) -> float:
        """How long each of the two calm phases is; without faults the only one is all there is."""
        if not self.kinds:
            return self.seconds
        return min(self.seconds / 3, max(CALM_MIN_S, CALM_SHARE * self.seconds))

    @property
    def faults_s(self) -> float:
        """How long the phase with faults is."""
        return self.seconds - 2 * self.calm_s

    def timeout_of(self, thread: int) -> float:
        """Return how long an operation of a thread may take while there are faults.

        Some give up before a new leader can be elected: what became of it, nobody knows then. To
        outlive every fault would leave no such outcome, and they are what is most often got wrong.
        """
        impatient = thread % IMPATIENT_EVERY == 0
        return self.timeout_s * (IMPATIENCE if impatient else 1.0)

    @property
    def beside(self) -> Plan | None:
        """What runs beside it, if anything does."""
        if self.workload.beside is None:
            return None
        rate = self.rate * BESIDE_RATE_SHARE
        return replace(self, workload=self.workload.beside, threads=BESIDE_THREADS, rate=rate)

    def rng(self, purpose: str) -> Random:
        """Return a stream of choices of its own, so that one purpose does not disturb another."""
        return Random(f"{self.seed} {purpose}")

    def load(self) -> Generator:
        """Return the load, which never ends."""
        if not self.workload.keyed:
            return Stagger(1 / self.rate, Draws(self.workload, None))
        return Stagger(1 / self.rate, Rotation(self.keys, self._key_load))

    def _key_load(self, key: str) -> Generator:
        return Limit(self.key_operations or self.workload.key_operations, Draws(self.workload, key))

    def finals(self, keys: Sequence[str | None]) -> Generator:
        """Return the final operations on some keys."""
        return Mix(tuple(Finally(self.workload, key) for key in keys))
