"""What one run of a scenario came to: its story, its history, and what it proves.

Plain values that the runner fills in and that stories, reports and verdicts are made from. It
knows no cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from jepsen_like.harness.hosted import Logged
from jepsen_like.harness.scenario import Scenario
from jepsen_like.history import Entry
from jepsen_like.report.facts import Band, Slots

APPLY, QUERY, WATCH = "apply", "query", "watch"
"""Operations in a history: commands, linearizable reads, watches. Weaker reads name their level in
front: "local query"."""


@dataclass(slots=True)
class Line:
    """One step of the story.

    Attributes:
        number: From 1; 0 for what is no step of the scenario.
        time_s: When it began, in virtual time.
        who: A node or client, or "nemesis".
        text: What was done.
        results: What came of it, in order; may come much later.
        wrong: Whether a promise was seen broken while this was the last step.
    """

    number: int
    time_s: float
    who: str
    text: str
    results: list[str] = field(default_factory=list)
    wrong: bool = False


@dataclass(slots=True)
class Tally:
    """What runs did, one or many: whether they prove anything.

    Attributes:
        runs: How many.
        commands: Commands that are known to have run.
        refusals: Those of them that the state machine refused.
        reads: Questions answered.
        reads_of_writes: Those of them that came after a command.
        told: Watches that were told something.
        unknown: Commands of which nobody can say whether they ran.
        effects: By fault: how often it changed something.
        in_flight: The same, of those that struck while an operation was under way.
        deliveries: Messages handed over.
    """

    runs: int = 0
    commands: int = 0
    refusals: int = 0
    reads: int = 0
    reads_of_writes: int = 0
    told: int = 0
    unknown: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0

    def add(self, other: Tally) -> None:
        """Add what other runs did."""
        self.runs += other.runs
        self.commands += other.commands
        self.refusals += other.refusals
        self.reads += other.reads
        self.reads_of_writes += other.reads_of_writes
        self.told += other.told
        self.unknown += other.unknown
        self.effects.update(other.effects)
        self.in_flight.update(other.in_flight)
        self.deliveries += other.deliveries

    def counts(self) -> Mapping[str, int]:
        """Return the figures by name, for a report."""
        return {
            "runs": self.runs,
            "commands done": self.commands,
            "commands refused": self.refusals,
            "commands of unknown outcome": self.unknown,
            "reads": self.reads,
            "watches told": self.told,
            "messages": self.deliveries,
        }


@dataclass(slots=True)
class Run:
    """One run of a scenario.

    Attributes:
        scenario: What was run.
        lines: The story.
        tally: What it did.
        promise: Which promise was broken, or "".
        text: What was seen then.
        log: The commands that ran, in order.
        history: What was asked and answered.
        bands: The faults that last, over time.
        slots: Which node holds what, if a promise was broken on a cluster.
    """

    scenario: Scenario
    lines: list[Line] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    promise: str = ""
    text: str = ""
    log: list[Logged] = field(default_factory=list)
    history: list[Entry] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    slots: Slots | None = None
