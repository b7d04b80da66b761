"""A run as a file: seed, plan and schedule as JSON, to be run again whatever its seed draws today.

Owns the format of that file. A seed alone replays only with the code that draws from it; a shrunk
run has no seed at all that would draw it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jepsen_like.sim.plan import Plan
from jepsen_like.sim.schedule import Schedule, Spell
from paxos.core.errors import PaxosError
from paxos.core.limits import Limits, Timing

FORMAT = 2


class CaseInvalid(PaxosError):
    """A file that holds no run, or one of another version. The text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run: what it draws from, what it looks like, and what is done to it."""

    seed: int
    plan: Plan
    schedule: Schedule


def to_fields(case: Case) -> dict[str, Any]:
    """Return a run as what JSON can say."""
    schedule = asdict(case.schedule)
    schedule["skip"] = sorted(case.schedule.skip)
    return {"format": FORMAT, "seed": case.seed, "plan": asdict(case.plan), "schedule": schedule}


def to_json(case: Case) -> str:
    """Return a run as JSON."""
    return json.dumps(to_fields(case), indent=1) + "\n"


def from_json(text: str) -> Case:
    """Return the run that a JSON text holds.

    Raises:
        CaseInvalid: It holds none, or one of another version.
    """
    try:
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise CaseInvalid(f"format {fields['format']}, this program reads format {FORMAT}")
        return Case(int(fields["seed"]), _plan(fields["plan"]), _schedule(fields["schedule"]))
    except (ValueError, TypeError, KeyError) as error:
        raise CaseInvalid(f"no run of a simulation, or one of another version: {error}") from error


def load(path: Path) -> Case:
    """Return the run that a file holds.

    Raises:
        CaseInvalid: It holds none, or one of another version.
        OSError: It cannot be read.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (CaseInvalid, UnicodeDecodeError) as error:
        raise CaseInvalid(f"{path}: {error}") from error


def save(case: Case, path: Path) -> None:
    """Write a run to a file."""
    path.write_text(to_json(case), encoding="utf-8")


def _plan(fields: dict[str, Any]) -> Plan:
    # JSON knows no tuples.
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    plain["limits"] = Limits(**fields["limits"])
    plain["timing"] = Timing(**fields["timing"])
    return Plan(**plain)


def _schedule(fields: dict[str, Any]) -> Schedule:
    spells = tuple(Spell(**spell) for spell in fields["spells"])
    skip = frozenset((client, number) for client, number in fields["skip"])
    return Schedule(spells, skip, fields["operations_max"])
