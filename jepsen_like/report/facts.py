"""What a report tells: the one form in which a simulation, a live run and a user's test hand it in.

Plain values, so that a report can be made from any source and tested without a run. Every field may
be empty: a part that has nothing to tell is left out of the page. Texts stand here as they came;
the page escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jepsen_like.history import Entry
from jepsen_like.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the shrunk story.

    Attributes:
        time_s: Since the run began.
        who: A node or client ("n1", "c2"), or "nemesis".
        text: What it did, in the protocol's words.
        wrong: Whether this is where the promise is broken.
    """

    time_s: float
    who: str
    text: str
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message, for the diagram.

    Attributes:
        sent_s: Since the run began.
        received_s: None if it never arrived.
        sender: A node or client.
        to: A node or client.
        text: The message, in a few words.
        in_flight: Whether a message that did not arrive was still under way at the end; if not, it
            was lost.
    """

    sent_s: float
    received_s: float | None
    sender: str
    to: str
    text: str
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A fault while it lasted. ``effects`` counts what it changed; 0 is shown as such."""

    kind: str
    target: str
    start_s: float
    stop_s: float
    effects: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, such as "calm", "faults", "heal", "final reads"."""

    name: str
    start_s: float
    stop_s: float


@dataclass(frozen=True, slots=True)
class Slots:
    """Which node held what in which slot, at the end or at the violation.

    Attributes:
        nodes: The columns.
        rows: Slot, and one cell for each node: "" for nothing, else a short text such as
            "decided 3 commands", "accepted (4, n2) noop". Two cells of a row that begin with
            "decided" and differ are pointed out.
    """

    nodes: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report may tell.

    Attributes:
        title: What was run, in a few words.
        verdict: The answer.
        sentence: The answer and its reason, in one sentence.
        replay: The line that runs it again, or "".
        warnings: What the run did not prove, and why an answer is "unknown": a sentence each.
        story: The shrunk story.
        arrows: Messages around the story.
        history: Every operation; entries of the nemesis included.
        impossible: By key (None where there is one object): the position in ``history`` of the
            first entry that no order explains.
        explained: By key of ``impossible``: the longest order that the checker found, as positions
            in ``history`` of the invocations, in the order in which they take effect.
        bands: Faults over time.
        phases: Parts of the run, one after the other.
        slots: The table of slots by node, or None.
        effects: By fault: how often it changed something.
        marks: By rare state: how often it was reached.
        counts: Further figures by name, such as operations, ok, fail, info, seed.
    """

    title: str
    verdict: Verdict
    sentence: str
    replay: str = ""
    warnings: Sequence[str] = ()
    story: Sequence[Step] = ()
    arrows: Sequence[Arrow] = ()
    history: Sequence[Entry] = ()
    impossible: Mapping[str | None, int] = field(default_factory=dict)
    explained: Mapping[str | None, Sequence[int]] = field(default_factory=dict)
    bands: Sequence[Band] = ()
    phases: Sequence[Phase] = ()
    slots: Slots | None = None
    effects: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int | float | str] = field(default_factory=dict)
