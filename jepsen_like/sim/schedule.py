"""A schedule: which spells of fault strike when, and which operations are begun. Data, no more.

A run is a function of (seed, plan, schedule). Each spell draws its own choices from its own seed,
and each operation from its own number, so that leaving one out changes no other draw: this is what
lets a schedule be shortened. It knows nothing of a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jepsen_like.sim.plan import DRAW_OFTEN, SPELLS, Plan
from jepsen_like.sim.streams import stream

TASKS_FROM = 1001
"""The number of the first task of an administrator: leaving faults out renames none of them."""


@dataclass(frozen=True, slots=True)
class Spell:
    """One fault that begins, and ends by itself or when everything heals.

    Attributes:
        number: Its name in a run, from 1.
        at_s: When it begins.
        kind: One of ``plan.SPELLS`` or ``plan.CHURN``.
        length_s: How long it lasts at most. Some kinds have a length of their own.
        seed: Decides its target and every other choice.
    """

    number: int
    at_s: float
    kind: str
    length_s: float
    seed: int

    def __str__(self) -> str:
        return f"spell {self.number}, {self.kind}, for {self.length_s:.3f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a run does to its cluster, and asks of it.

    Attributes:
        spells: By rising time.
        skip: Operations that are not begun, as (client, number). Their time passes all the same.
        operations_max: No client begins an operation of a higher number; None for no bound.
    """

    spells: tuple[Spell, ...]
    skip: frozenset[tuple[int, int]] = frozenset()
    operations_max: int | None = None

    def begins(self, client: int, number: int) -> bool:
        """Whether a client begins its operation of this number, counted from 1."""
        if self.operations_max is not None and number > self.operations_max:
            return False
        return (client, number) not in self.skip


@dataclass(slots=True)
class Episode:
    """What became of one spell.

    Attributes:
        spell: Which.
        target: Whom it struck, in a few words; empty if it found no target.
        start_s: When it began.
        stop_s: When it ended, or None while it lasts.
        effects: How often it changed something.
    """

    spell: Spell
    start_s: float
    target: str = ""
    stop_s: float | None = None
    effects: int = 0


def draw_schedule(seed: int, plan: Plan) -> Schedule:
    """Return what a seed's plan schedules: spells one after another, overlapping, to the end."""
    rng = stream(seed, "spells")
    often: Sequence[str] = [name for name in (*SPELLS, *DRAW_OFTEN) if name in plan.faults]
    spells: list[Spell] = []
    at = 0.0
    while often:
        at += rng.expovariate(1 / plan.calm_s)
        if at >= plan.faults_s[1]:
            break
        kind = rng.choice(often)
        length = plan.spell_s * (0.2 + rng.random() * 1.6)
        spells.append(Spell(len(spells) + 1, at, kind, length, rng.getrandbits(48)))
    return Schedule(tuple(sorted([*spells, *_draw_tasks(seed, plan)], key=_when)))


def _draw_tasks(seed: int, plan: Plan) -> list[Spell]:
    """Return what administrators are told to do: often several things in a row."""
    rng = stream(seed, "churn")
    tasks: list[Spell] = []
    at = 0.0
    while plan.churn:
        at += rng.expovariate(1 / plan.churn_s)
        if at >= plan.faults_s[1]:
            break
        for _ in range(rng.choice((1, 1, 1, 3))):
            kind = rng.choice(plan.churn)
            number = TASKS_FROM + len(tasks)
            tasks.append(Spell(number, at, kind, 0.0, rng.getrandbits(48)))
    return tasks


def _when(spell: Spell) -> float:
    return spell.at_s
