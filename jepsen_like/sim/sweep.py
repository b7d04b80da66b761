"""Many seeds, on several processes, and what they prove together.

A sweep that finds nothing says little if it did little: ``Summary.shortfalls`` says where the
averages lie below what makes a sweep worth believing.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from jepsen_like.sim.marks import never_hit, total
from jepsen_like.sim.plan import EFFECTS, PROFILES, draw_plan_of
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.simulation import Outcome, simulate
from paxos.core.errors import ConfigurationInvalid

PRODUCTION = "paxos.core.replica:Replica"
"""What is simulated unless something else is named."""

CHUNK = 5
"""Seeds handed to a process at once: few, so that progress shows and none waits long at the end."""

DELIVERIES_MIN = 3000
COMMANDS_MIN = 200
LEADER_CHANGES_MIN = 1
FAULTS_MIN = 3

LONG_SEEDS = 2_000
"""From so many seeds on, every fault must have had effect and every mark been reached."""


@dataclass(slots=True)
class Summary:
    """What a sweep did, over all its seeds.

    Attributes:
        profile: What they were drawn for.
        seeds: How many ran.
        deliveries: Messages handed to a node or client.
        commands: Client commands that are known to have run.
        elections: Ballots that began to lead.
        leader_changes: Elections beyond the first of their seed.
        faults: Kinds of fault with effect, counted per seed.
        effects: By fault: how often it changed something.
        marks: By rare state: how often it was reached.
        simulated_s: Virtual time.
        violations: The outcomes that broke an invariant, by rising seed.
    """

    profile: str = PROFILES[0]
    seeds: int = 0
    deliveries: int = 0
    commands: int = 0
    elections: int = 0
    leader_changes: int = 0
    faults: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    marks: dict[str, int] = field(default_factory=lambda: total(()))
    simulated_s: float = 0.0
    violations: list[Outcome] = field(default_factory=list)

    @property
    def crashes(self) -> int:
        """How often a node ended: struck, or because its sync failed."""
        return self.effects["kill"] + self.effects["failed sync"]

    def add(self, outcome: Outcome) -> None:
        """Add one seed's run."""
        self.seeds += 1
        self.deliveries += outcome.deliveries
        self.commands += outcome.commands
        self.elections += outcome.elections
        self.leader_changes += max(0, outcome.elections - 1)
        self.faults += sum(1 for count in outcome.effects.values() if count)
        self.effects.update(outcome.effects)
        self.marks = total((self.marks, outcome.marks))
        self.simulated_s += outcome.seconds
        if outcome.number is not None:
            self.violations.append(outcome)

    def shortfalls(self) -> list[str]:
        """Return one line for each thing that is too little for the sweep to prove much."""
        wanted = (
            ("deliveries", self.deliveries, DELIVERIES_MIN),
            ("completed commands", self.commands, COMMANDS_MIN),
            ("leader changes", self.leader_changes, LEADER_CHANGES_MIN),
            ("kinds of fault with effect", self.faults, FAULTS_MIN),
        )
        short = [
            f"{count / max(1, self.seeds):.1f} {name} per seed, of at least {least}"
            for name, count, least in wanted
            if count < least * self.seeds
        ]
        if self.seeds >= LONG_SEEDS and self.profile == PROFILES[0]:
            short += [f"no fault had the effect: {name}" for name in self.idle_faults()]
            short += [f"never reached: {name}" for name in never_hit(self.marks)]
        return short

    def idle_faults(self) -> list[str]:
        """Return the faults that changed nothing in any run."""
        return [name for name, count in self.effects_by_fault().items() if not count]

    def effects_by_fault(self) -> dict[str, int]:
        """Return the effects in a fixed order, faults without any included."""
        return {name: self.effects[name] for name in EFFECTS}


def load_factory(name: str) -> ReplicaFactory:
    """Return what ``module:Class`` names.

    Raises:
        ConfigurationInvalid: It cannot be imported, or is not there.
    """
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationInvalid(f"cannot load {name!r} as module:Class: {error}") from error
    return cast(ReplicaFactory, factory)


def run_seeds(seeds: range, factory_name: str, profile: str) -> list[Outcome]:
    """Run some seeds in this process."""
    factory = load_factory(factory_name)
    outcomes = []
    for seed in seeds:
        try:
            outcomes.append(simulate(seed, factory, plan=draw_plan_of(profile, seed)))
        except Exception as error:
            error.add_note(f"seed {seed} of the profile {profile!r} made the simulator itself fail")
            raise
    return outcomes


def sweep(
    seeds: range,
    jobs: int,
    factory_name: str,
    tell: Callable[[Outcome], None],
    profile: str = PROFILES[0],
) -> Summary:
    """Run seeds and sum up.

    Args:
        seeds: Which.
        jobs: On how many processes.
        factory_name: Makes the replicas, as ``module:Class``.
        tell: Called for each outcome, by rising seed.
        profile: What they are drawn for: one of ``PROFILES``.

    Returns:
        The sum, equal for every number of jobs.
    """
    load_factory(factory_name)
    summary = Summary(profile)
    for outcome in _outcomes(seeds, jobs, factory_name, profile):
        summary.add(outcome)
        tell(outcome)
    return summary


def _outcomes(seeds: range, jobs: int, factory_name: str, profile: str) -> Iterator[Outcome]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from run_seeds(chunk, factory_name, profile)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(chunks))) as pool:
        try:
            same = [factory_name] * len(chunks), [profile] * len(chunks)
            for outcomes in pool.map(run_seeds, chunks, *same):
                yield from outcomes
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
