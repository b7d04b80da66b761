"""The story of a violation: what of a trace led to it, in the protocol's words.

A trace tells everything; a person wants to know who led, who promised and accepted what in the
slot that went wrong, what was lost, who died. The violation's own words say which slots, ballots
and commands matter. It knows the form of trace lines and the names of messages, and judges nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from jepsen_like.report.facts import Arrow, Step
from jepsen_like.report.trace import read

STEPS_MAX = 40
"""Longer stories are not read. What is nearest to the violation stays."""

FRAME_MAX = 15
"""Of these, how many may tell of faults, lives and elections."""

FIRST_LIFE = "starts life 1 with 0 records"
"""Every story begins so; nobody needs to be told."""

_SLOT = re.compile(r"\bslots? (?:through )?(\d+)|\b\d+\.\d+ (\d+)=|\bAccept(?:ed)?\(\d+\.\d+ (\d+)")
_BALLOT = re.compile(r"(?<![\d.'\"])\b(\d+\.\d+)\b(?![\d.'\"])")
_VOTE = re.compile(
    r"(?P<kind>Accept|Accepted)\((?P<ballot>\d+\.\d+) (?P<slot>\d+)"
    r"(?:=(?P<value>.*?))?(?: decided=\d+)?\)$"
)
_PREPARE = re.compile(r"Prepare\((?P<ballot>\d+\.\d+) after=(?P<after>\d+)\)$")
_PROMISE = re.compile(r"Promise\((?P<ballot>\d+\.\d+) \S+ decided=\d+ \[(?P<reports>.*)\]\)$")
_NEXT_REPORT = re.compile(r" (?=\d+:(?:decided|\d+\.\d+)=)")
_DECIDED = re.compile(r"Decided\((?P<first>\d+)\.\.(?P<last>\d+) ")
_ASKED = re.compile(r"\s*(?P<time>[\d.]+) (?P<who>c\d+) (?P<text>[|.] .*)")


def tell(trace: Sequence[str]) -> list[Step]:
    """Return what led to the violation that ends a trace, the violation last."""
    if not trace:
        return []
    everything = read(trace, last=len(trace), heartbeats=False)
    frame = [step for step in everything.story[:-1] if FIRST_LIFE not in step.text]
    end = everything.story[-1:]
    if not end or not end[0].wrong:
        return everything.story[-STEPS_MAX:]
    slots, ballots = _concerned(end[0].text)
    told = _messages(everything.arrows, slots, ballots)
    room = STEPS_MAX - 1 - min(len(frame), FRAME_MAX)
    steps = sorted([*frame[-FRAME_MAX:], *told[-room:]], key=lambda step: step.time_s)
    return [*_without_repeats(steps), *end]


def text_of(step: Step) -> str:
    """Return a step as a line."""
    who = f"{step.who} " if step.who else ""
    return f"{step.time_s:9.4f}  {'>>> ' if step.wrong else ''}{who}{step.text}"


def _concerned(text: str) -> tuple[set[int], set[str]]:
    """Return the slots and ballots that a violation names."""
    slots = {int(number) for found in _SLOT.findall(text) for number in found if number}
    return slots, set(_BALLOT.findall(text))


def _messages(arrows: Iterable[Arrow], slots: set[int], ballots: set[str]) -> list[Step]:
    """Tell of each message that concerns them, once for all whom it was sent to."""
    groups: dict[tuple[str, str], list[Arrow]] = defaultdict(list)
    for arrow in arrows:
        groups[arrow.sender, arrow.text].append(arrow)
    steps = []
    for (sender, text), sent in groups.items():
        said = _say(text, slots, ballots)
        if said:
            steps.append(Step(sent[0].sent_s, sender, f"{said}{_fate(sent)}"))
    return sorted(steps, key=lambda step: step.time_s)


def _say(text: str, slots: set[int], ballots: set[str]) -> str:
    """Return a message in a few words, or nothing if it does not concern them."""
    vote = _VOTE.match(text)
    if vote is not None:
        if int(vote["slot"]) not in slots and (slots or vote["ballot"] not in ballots):
            return ""
        if vote["kind"] == "Accept":
            return f"proposes {vote['value']} for slot {vote['slot']} at ballot {vote['ballot']}"
        return f"has accepted slot {vote['slot']} at ballot {vote['ballot']}, it says"
    prepare = _PREPARE.match(text)
    if prepare is not None:
        return f"asks for promises at ballot {prepare['ballot']}, slots above {prepare['after']}"
    promise = _PROMISE.match(text)
    if promise is not None:
        reported = _reported(promise["reports"], slots)
        return f"promises ballot {promise['ballot']} and reports {reported}"
    decided = _DECIDED.match(text)
    if decided is not None and any(
        int(decided["first"]) <= s <= int(decided["last"]) for s in slots
    ):
        return f"tells what is decided in slots {decided['first']} to {decided['last']}"
    return ""


def _reported(reports: str, slots: set[int]) -> str:
    """Return what of a promise's reports concerns the slots."""
    about = [
        report
        for report in _NEXT_REPORT.split(reports)
        if report and int(report.partition(":")[0]) in slots
    ]
    if about:
        return ", ".join(f"slot {report.replace(':', ' as ', 1)}" for report in about)
    return f"nothing of slot {', '.join(map(str, sorted(slots)))}" if slots else "what it holds"


def _fate(sent: Sequence[Arrow]) -> str:
    """Say whom a message reached, and where it was lost."""
    reached = sorted({arrow.to for arrow in sent if arrow.received_s is not None})
    others = {arrow.to: arrow for arrow in sent if arrow.to not in reached}
    under_way = sorted(to for to, arrow in others.items() if arrow.in_flight)
    lost = sorted(to for to, arrow in others.items() if not arrow.in_flight)
    parts = []
    if reached:
        parts.append(f"reaches {', '.join(reached)}")
    if lost:
        parts.append(f"is lost to {', '.join(lost)}")
    if under_way:
        parts.append(f"is still under way to {', '.join(under_way)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _without_repeats(steps: Iterable[Step]) -> list[Step]:
    """Leave out what is told twice in the same words."""
    seen: dict[tuple[str, str], Step] = {}
    for step in steps:
        seen.setdefault((step.who, step.text), step)
    return list(seen.values())
