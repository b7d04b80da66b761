"""Whether a run proved that it tested something: else its verdict is "unknown".

A checker that is shown nothing finds nothing. So a run is asked for evidence, all of it counted
from what was recorded: operations done, reads that saw writes, faults that had an effect while
operations were under way, calm phases in which nearly everything was done, and a last look at every
key. Pure; it knows neither processes nor simulators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jepsen_like.history import NEMESIS, Entry
from jepsen_like.workload.base import ANSWERED, Workload

CALM_SHARE_MIN = 0.9
"""More than this share of the operations in calm phases must be done."""


@dataclass(frozen=True, slots=True)
class Demands:
    """How much is enough.

    Attributes:
        done_min: Fewer operations prove nothing, however short the run.
        done_per_second_min: Nor does a run that mostly stood still.
        observed_min: Operations that saw what others wrote.
    """

    done_min: int = 100
    done_per_second_min: float = 5.0
    observed_min: int = 20


DAMAGES = 20
"""Places that are hit in a run of a minute; fewer in a shorter one."""

DAMAGES_PER_SECOND = 1 / 3
DECIDED_SHARE_MIN = 0.5
"""At least this share of the damage must have been inside decided records."""

CHURN = ("add", "remove", "replace", "replace-wiped", "of the leader")
CHURN_ALL_S = 45.0
"""A run of this length and more shows each of these changes."""

USUAL = Demands()
BESIDE = Demands(done_min=20, done_per_second_min=0.2, observed_min=5)
"""Of what runs beside the main load, at a fraction of its rate."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A history in numbers.

    Attributes:
        operations: Begun.
        ok: Done.
        fail: Certainly not done.
        info: Nobody knows, those without an answer among them.
        answered: Those that the state machine answered: the ok ones, and the refused ones.
        observed: Those that saw what another one wrote.
    """

    operations: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    answered: int = 0
    observed: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has to show.

    Attributes:
        seconds: How long it asked.
        whole: All of its history.
        calm: What began in calm phases; None if there were none.
        keys: How many keys were used.
        keys_settled: How many of them were read at the very end.
        effects: By kind of fault that was asked for: how often it had an effect.
        in_flight: The same, but only those with operations under way at that moment.
        details: By kind, what else was counted of its effects, by name.
    """

    seconds: float
    whole: Counts
    calm: Counts | None
    keys: int
    keys_settled: int
    effects: Mapping[str, int] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def shortfalls(evidence: Evidence, demands: Demands = USUAL) -> list[str]:
    """Return, in a sentence each, what is missing; nothing if the run proved that it tested."""
    missing = []
    wanted = max(demands.done_min, round(evidence.seconds * demands.done_per_second_min))
    if evidence.whole.answered < wanted:
        missing.append(f"only {evidence.whole.answered} operations were done; {wanted} are asked")
    if evidence.whole.observed < demands.observed_min:
        saw = f"only {evidence.whole.observed} operations saw a write"
        missing.append(f"{saw}; {demands.observed_min} are asked")
    missing += _calm_shortfalls(evidence.calm)
    for kind, effects in evidence.effects.items():
        if not effects:
            missing.append(f"the fault {kind} had no effect")
        elif not evidence.in_flight.get(kind, 0):
            missing.append(f"the fault {kind} had no effect while operations were under way")
    if "damage" in evidence.effects:
        missing += _damage_shortfalls(evidence.details.get("damage", {}), evidence.seconds)
    if "churn" in evidence.effects and evidence.seconds >= CHURN_ALL_S:
        told = evidence.details.get("churn", {})
        missing += [f"no change was of this sort: {name}" for name in CHURN if not told.get(name)]
    if not evidence.keys or evidence.keys_settled < evidence.keys:
        missing.append(f"{evidence.keys_settled} of {evidence.keys} keys were read at the end")
    return missing


def _damage_shortfalls(told: Mapping[str, int], seconds: float) -> list[str]:
    missing = []
    damages, decided = told.get("damages", 0), told.get("inside decided records", 0)
    wanted = max(1, round(min(DAMAGES, seconds * DAMAGES_PER_SECOND)))
    if damages < wanted:
        missing.append(f"only {damages} places were damaged; {wanted} are asked")
    if decided < DECIDED_SHARE_MIN * damages:
        missing.append(f"only {decided} of {damages} damages were inside decided records")
    cured = told.get("mended", 0) + told.get("lost with a node", 0)
    if cured < damages:
        missing.append(f"only {cured} of {damages} damages were mended, or lost with a node")
    return missing


def _calm_shortfalls(calm: Counts | None) -> list[str]:
    if calm is None or not calm.operations:
        return ["no operation began in a calm phase"]
    if calm.answered <= CALM_SHARE_MIN * calm.operations:
        done = f"only {calm.answered} of {calm.operations} operations in calm phases were done"
        return [f"{done}; more than {CALM_SHARE_MIN:.0%} is asked"]
    return []


# --- counting ------------------------------------------------------------------------------------


def count(history: Sequence[Entry], workload: Workload) -> Counts:
    """Count a whole history."""
    return _count(pairs(history), workload)


def count_between(
    history: Sequence[Entry], workload: Workload, spans: Iterable[tuple[float, float]]
) -> Counts:
    """Count what began within some spans, in seconds since the run began."""
    limits = [(int(start * 1e9), int(stop * 1e9)) for start, stop in spans]
    chosen = [
        (invoke, end)
        for invoke, end in pairs(history)
        if any(start <= invoke.time < stop for start, stop in limits)
    ]
    return _count(chosen, workload)


def pairs(history: Sequence[Entry]) -> list[tuple[Entry, Entry | None]]:
    """Return each operation's begin and end, in order of their begins; None if it has no end."""
    begun: dict[int | str, int] = {}
    found: list[tuple[Entry, Entry | None]] = []
    for entry in history:
        if entry.process == NEMESIS:
            continue
        if entry.type == "invoke":
            begun[entry.process] = len(found)
            found.append((entry, None))
        else:
            position = begun.pop(entry.process)
            found[position] = (found[position][0], entry)
    return found


def was_answered(entry: Entry | None) -> bool:
    """Whether the state machine answered: with yes, or with no."""
    if entry is None:
        return False
    if entry.type == "fail":
        return entry.error is None or entry.error.startswith(ANSWERED)
    return entry.type == "ok"


def settled_keys(history: Sequence[Entry], workload: Workload, since_s: float) -> set[str | None]:
    """Return the keys whose final operation, begun after ``since_s``, had all there is to have."""
    since, (final, _) = int(since_s * 1e9), workload.final
    return {
        invoke.key
        for invoke, end in pairs(history)
        if invoke.time >= since and invoke.f == final and end is not None and workload.settled(end)
    }


def _count(operations: Sequence[tuple[Entry, Entry | None]], workload: Workload) -> Counts:
    ends = [end for _, end in operations]
    kinds = ["info" if end is None else end.type for end in ends]
    return Counts(
        operations=len(operations),
        ok=kinds.count("ok"),
        fail=kinds.count("fail"),
        info=kinds.count("info"),
        answered=sum(was_answered(end) for end in ends),
        observed=sum(
            end is not None and end.type == "ok" and workload.observed(end.f, end.value)
            for end in ends
        ),
    )
