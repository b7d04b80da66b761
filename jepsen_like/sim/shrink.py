"""Shrinking: from a seed that violates an invariant to the least of it that still does.

A run is a function of (seed, plan, schedule), and leaving a spell or an operation out changes no
other draw. So a smaller run is a smaller value, and this file only searches: spells are left out
(delta debugging), background faults go off one by one, then nodes, clients, keys and operations.
A candidate counts if it violates the same invariant. It never knows what went wrong, or why.

After Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jepsen_like.report.facts import Step
from jepsen_like.sim.invariants import Violation
from jepsen_like.sim.plan import PROFILES, Plan, draw_plan_of
from jepsen_like.sim.replay import Case
from jepsen_like.sim.schedule import Schedule, draw_schedule
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.simulation import Outcome, Simulation
from jepsen_like.sim.story import tell
from jepsen_like.sim.world import Sink, World
from paxos.core.limits import Limits
from paxos.core.replica import Replica

RUNS_DEFAULT = 150
"""Simulations that a search may take: enough for the last fault, a matter of seconds."""

OVERTIME = 1.3
"""A candidate that has violated nothing after so many times what the best one took is given up."""

BOUNDS = (0, 1, 2, 4, 8, 16)
"""How many operations of each client are tried. Whether fewer will do is no matter of more or less:
each bound is another run."""

RATES = {
    "loss": "loss",
    "duplication": "duplication",
    "delay": "spikes",
    "reordering": "overtaking",
    "late replay": "replays",
    "corruption": "corruption",
    "clock rate": "drift",
}
"""Background faults, and the plan's rate of each."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left.

    Attributes:
        case: The seed with its plan and schedule, to be run again or saved.
        outcome: What that comes to: the same invariant is violated.
        steps: Its length: spells, background faults and operations begun until the violation.
        runs: How many simulations it took to get here.
        trace: The whole trace.
        story: The trace in the protocol's words, the violation last.
    """

    case: Case
    outcome: Outcome
    steps: int
    runs: int
    trace: Sequence[str]
    story: Sequence[Step]


class NothingToShrink(ValueError):
    """The run violates nothing."""


def shrink(case: Case, factory: ReplicaFactory = Replica, runs: int = RUNS_DEFAULT) -> Shrunk:
    """Return the least of a run that still violates the invariant that it violates.

    Equal arguments give an equal result.

    Args:
        case: The run.
        factory: Makes its replicas.
        runs: How many simulations the search may take.

    Raises:
        NothingToShrink: It violates nothing.
    """
    search = _Search(case, factory, runs)
    search.run()
    trace: list[str] = []
    outcome = run_case(search.best, factory, trace.append)
    steps = length(search.best, outcome)
    return Shrunk(search.best, outcome, steps, search.taken, trace, tell(trace))


def whole_case(seed: int, profile: str = PROFILES[0]) -> Case:
    """Return the run that a seed draws."""
    plan = draw_plan_of(profile, seed)
    return Case(seed, plan, draw_schedule(seed, plan))


def length(case: Case, outcome: Outcome) -> int:
    """Return how many spells, background faults and operations a run needs."""
    return len(case.schedule.spells) + len(background(case.plan)) + outcome.operations


def background(plan: Plan) -> list[str]:
    """Return the background faults that a plan has."""
    return [fault for fault, rate in RATES.items() if getattr(plan, rate)]


class _TooLate(BaseException):
    """The run has lasted long enough. No Exception: a replica would swallow that."""


def run_case(
    case: Case, factory: ReplicaFactory, sink: Sink | None = None, until_s: float = math.inf
) -> Outcome:
    """Run a case to its end, to the first violation, or to ``until_s``."""

    def stop() -> None:
        raise _TooLate

    try:
        simulation = Simulation(World(case.seed, case.plan, sink), factory, case.schedule)
    except Violation as violation:  # its quorums need not meet: nothing has to happen for that
        return Outcome(case.seed, violation.number, violation.text)
    if until_s < math.inf:
        simulation.world.at(until_s, stop)
    try:
        simulation.run()
    except _TooLate:
        pass
    except Violation as violation:
        simulation.world.say(f"VIOLATION {violation}")
        return simulation.outcome(violation.number, violation.text)
    return simulation.outcome(None, "")


class _Search:
    """The best case so far, and how many runs are left."""

    def __init__(self, case: Case, factory: ReplicaFactory, runs: int) -> None:
        self.best = case
        self.taken = 1
        self._factory = factory
        self._runs = runs
        self._outcome = run_case(case, factory)
        if self._outcome.number is None:
            raise NothingToShrink(f"seed {case.seed} violates nothing")
        self._trim()

    def run(self) -> None:
        """Make the case smaller until nothing helps any more, or the runs are used up."""
        before = -1
        while self.taken < self._runs and before != self._size():
            before = self._size()
            self._begin_few()
            self._drop_spells()
            self._calm_background()
            self._simplify_cluster()
            self._drop_operations()

    def _size(self) -> int:
        return length(self.best, self._outcome)

    def _accept(self, plan: Plan | None = None, schedule: Schedule | None = None) -> bool:
        """Try a change of the best case; keep it if the same invariant is still violated."""
        best = self.best
        candidate = Case(best.seed, plan or best.plan, schedule or best.schedule)
        if candidate == best or self.taken >= self._runs:
            return False
        self.taken += 1
        until_s = OVERTIME * self._outcome.seconds + candidate.plan.timing.election_timeout_s
        outcome = run_case(candidate, self._factory, until_s=until_s)
        if outcome.number != self._outcome.number:
            return False
        self.best, self._outcome = candidate, outcome
        self._trim()
        return True

    def _trim(self) -> None:
        """Leave out what would have come after the violation: that changes nothing."""
        schedule = self.best.schedule
        spells = tuple(each for each in schedule.spells if each.at_s <= self._outcome.seconds)
        self.best = replace(self.best, schedule=replace(schedule, spells=spells))

    # --- what is made smaller ---

    def _drop_spells(self) -> None:
        def keep(spells: Sequence[object]) -> bool:
            kept = tuple(each for each in self.best.schedule.spells if each in spells)
            return self._accept(schedule=replace(self.best.schedule, spells=kept))

        _minimize(lambda: self.best.schedule.spells, keep)

    def _calm_background(self) -> None:
        faults = background(self.best.plan)
        if len(faults) > 1 and self._accept(_without(self.best.plan, faults)):
            return
        for fault in faults:
            self._accept(_without(self.best.plan, [fault]))

    def _simplify_cluster(self) -> None:
        for change in _simpler(self.best.plan):
            self._accept(change(self.best.plan))

    def _begin_few(self) -> None:
        """Bound the operations of each client, the tightest bound first: fewer are quicker too."""
        most = self.best.schedule.operations_max or self._outcome.operations
        for bound in (*BOUNDS, most - 1):
            if bound < most and self._accept(
                schedule=replace(self.best.schedule, operations_max=bound)
            ):
                return

    def _drop_operations(self) -> None:
        most = self.best.schedule.operations_max
        if most is None:
            return
        clients = range(1, self.best.plan.clients + 1)
        begun = [(client, number) for client in clients for number in range(1, most + 1)]

        def left() -> list[tuple[int, int]]:
            return [each for each in begun if each not in self.best.schedule.skip]

        def keep(operations: Sequence[object]) -> bool:
            skip = frozenset(each for each in begun if each not in operations)
            return self._accept(schedule=replace(self.best.schedule, skip=skip))

        _minimize(left, keep)


def _minimize(left: Callable[[], Sequence[_T]], keep: Callable[[Sequence[_T]], bool]) -> None:
    """Leave out as many things as ``keep`` agrees to: all, then parts of them, then each one."""
    if not left() or keep(()):
        return
    size = len(left())
    while size > 1:
        size = (size + 1) // 2
        start = 0
        while start < len(left()):
            things = left()
            if not keep([*things[:start], *things[start + size :]]):
                start += size


def _without(plan: Plan, faults: Sequence[str]) -> Plan:
    left = tuple(fault for fault in plan.faults if fault not in faults)
    calm: dict[str, Any] = {RATES[fault]: 0.0 for fault in faults}
    return replace(plan, faults=left, **calm)


def _simpler(plan: Plan) -> Iterator[Callable[[Plan], Plan]]:
    """Yield changes that make a plan easier to think about, the most telling first."""
    yield lambda p: replace(
        p, edge_config=False, watchers=0, codec=False, impatient=0.0, permanent=False
    )
    for nodes in (1, 2, 3):
        if nodes < plan.nodes:
            majority = nodes // 2 + 1
            yield lambda p, n=nodes, q=majority: (  # type: ignore[misc]
                replace(p, nodes=n, phase1=q, phase2=q) if n < p.nodes else p
            )
    for clients in range(1, plan.clients):
        yield lambda p, c=clients: replace(  # type: ignore[misc]
            p, clients=min(c, p.clients), watchers=min(c, p.watchers)
        )
    yield lambda p: replace(p, keys=1)
    yield lambda p: replace(p, burst=1)
    yield lambda p: replace(p, outstanding=1)
    yield lambda p: replace(p, limits=Limits())
    yield lambda p: replace(p, watchers=0)
    yield lambda p: replace(p, edge_config=False)
    yield lambda p: replace(p, codec=False)
    yield lambda p: replace(p, real_log=False)
    yield lambda p: replace(p, churn=())
    yield lambda p: replace(p, permanent=False, beyond=False)
