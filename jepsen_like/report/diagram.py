"""The message diagram: a lane for each node and client, time downwards, one event below the other.

The vertical axis is the order of events, not time, so that every message is as readable as the
next. It computes places; what they look like is the template's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from jepsen_like.report import shown
from jepsen_like.report.facts import Arrow, Step

BEFORE_MAX = 110
"""Messages before the violation, counted back from it."""
AFTER_MAX = 10
LANES_MAX = 24
"""A lane more would be a page too wide; the busiest are kept."""
STEPS_MAX = 80

GUTTER = 96
"""Room for the time on the left."""
LANE = 172
SENT_ROW, CAME_ROW, STEP_ROW = 21, 13, 24
CHAR = 6.7
"""Width of a character."""
NAME_CHARS = 12
TEXT_CHARS = 64
STEP_CHARS = 90

Fate = Literal["arrived", "lost", "under way"]


class Flight(NamedTuple):
    """A message as it is drawn. ``text`` is "" where the arrow beside it says the same."""

    sender: str
    to: str
    sent_s: float
    received_s: float | None

    x: float
    y: float
    to_x: float
    to_y: float
    fate: Fate
    text: str
    full: str

    @property
    def rightward(self) -> bool:
        """Whether the text stands right of the sender."""
        return self.to_x >= self.x


class Note(NamedTuple):
    """A step of the story as it is drawn; ``x`` is None if it belongs to no lane."""

    x: float | None
    y: float
    number: int
    text: str
    wrong: bool


class Diagram(NamedTuple):
    """The drawing, and how much did not fit in."""

    lanes: Sequence[tuple[str, float]]
    flights: Sequence[Flight]
    notes: Sequence[Note]
    times: Sequence[tuple[float, str]]
    width: float
    height: float
    left_out: int
    lanes_left_out: int


class _Event(NamedTuple):
    time: float
    rank: float  # among events of the same time
    part: int  # of the same message: sent before it came
    arrow: int | None
    step: int | None


def lay_out(arrows: Sequence[Arrow], story: Sequence[Step]) -> Diagram | None:
    """Return the messages before and round the violation, or None if there are none."""
    drawable = [each for each in arrows if each.sender and each.to and each.sender != each.to]
    if not drawable:
        return None
    chosen = _choose(drawable, story)
    names, lanes_left_out = _lanes(chosen)
    lanes = {name: GUTTER + LANE * (index + 0.5) for index, name in enumerate(names)}
    chosen = [each for each in chosen if each.sender in lanes and each.to in lanes]
    left_out = len(drawable) - len(chosen)
    steps = _steps(story, chosen, left_out)
    events = _events(chosen, story, steps)
    rows, times, height = _rows(events, chosen)
    flights = _flights(chosen, lanes, rows, height)
    notes = [
        Note(
            lanes.get(story[step].who),
            y,
            step + 1,
            shown.visible(story[step].text, STEP_CHARS),
            story[step].wrong,
        )
        for (kind, step, _), y in rows.items()
        if kind == "step"
    ]
    labels = [(shown.visible(name, NAME_CHARS), x) for name, x in lanes.items()]
    ends = [(note.x or GUTTER) + CHAR * len(note.text) for note in notes]
    ends += [flight.x + CHAR * len(flight.text) for flight in flights if flight.rightward]
    width = max([GUTTER + LANE * len(names), *ends]) + 40
    return Diagram(labels, flights, notes, times, width, height, left_out, lanes_left_out)


def _choose(arrows: Sequence[Arrow], story: Sequence[Step]) -> list[Arrow]:
    """Return the messages before the violation, or before the end, and a few after it."""
    ordered = sorted(arrows, key=lambda each: each.sent_s)
    wrong = [step.time_s for step in story if step.wrong]
    cut = max(wrong, default=ordered[-1].sent_s)
    before = [each for each in ordered if each.sent_s <= cut]
    after = [each for each in ordered if each.sent_s > cut]
    return before[-BEFORE_MAX:] + after[:AFTER_MAX]


def _lanes(arrows: Sequence[Arrow]) -> tuple[list[str], int]:
    """Return nodes, then clients, then others, each in the order of their numbers."""
    busy: dict[str, int] = {}
    for arrow in arrows:
        for name in (arrow.sender, arrow.to):
            busy[name] = busy.get(name, 0) + 1
    kept = sorted(busy, key=lambda name: -busy[name])[:LANES_MAX]
    return sorted(kept, key=_lane_order), len(busy) - len(kept)


def _lane_order(name: str) -> tuple[int, int, str]:
    found = re.fullmatch(r"([nc])(\d{1,9})", name)
    return (2, 0, name) if found is None else ("nc".index(found[1]), int(found[2]), name)


def _steps(story: Sequence[Step], arrows: Sequence[Arrow], left_out: int) -> list[int]:
    """Return the steps that happened since the first message drawn, and the violation."""
    first = arrows[0].sent_s
    last = max(each.sent_s if each.received_s is None else each.received_s for each in arrows)
    if left_out == 0:
        first = min((step.time_s for step in story), default=first)
    within = [
        index for index, step in enumerate(story) if step.wrong or first <= step.time_s <= last
    ]
    return within[-STEPS_MAX:]


def _events(arrows: Sequence[Arrow], story: Sequence[Step], steps: Sequence[int]) -> list[_Event]:
    events: list[_Event] = []
    for index, arrow in enumerate(arrows):
        events.append(_Event(arrow.sent_s, index, 0, index, None))
        if arrow.received_s is not None:
            received = max(arrow.sent_s, arrow.received_s)
            events.append(_Event(received, index, 1, index, None))
    for index in steps:
        rank = float("inf") if story[index].wrong else -1.0
        events.append(_Event(story[index].time_s, rank, index, None, index))
    events.sort(key=lambda event: event[:3])
    return events


_Place = tuple[str, int, int]
"""What an event is ("arrow", number, part; or "step", number, 0)."""


def _rows(
    events: Sequence[_Event], arrows: Sequence[Arrow]
) -> tuple[dict[_Place, float], list[tuple[float, str]], float]:
    """Return where each event stands, the times beside them, and the height of it all.

    Messages that one sender sends at once, with one text, leave from one row.
    """
    rows: dict[_Place, float] = {}
    times: list[tuple[float, str]] = []
    y, before, told = 8.0, None, -1.0
    for event in events:
        burst = None
        if event.arrow is None:
            y += STEP_ROW
            rows["step", event.step or 0, 0] = y
        else:
            arrow = arrows[event.arrow]
            burst = (event.time, arrow.sender, arrow.text) if event.part == 0 else None
            if burst is None:
                y += CAME_ROW
            elif burst != before:
                y += SENT_ROW
            rows["arrow", event.arrow, event.part] = y
        before = burst
        if event.time != told and (not times or y - times[-1][0] >= SENT_ROW - 1):
            times.append((y, f"{event.time:.6f}"))
            told = event.time
    return rows, times, y + 34


def _flights(
    arrows: Sequence[Arrow], lanes: dict[str, float], rows: dict[_Place, float], height: float
) -> list[Flight]:
    flights: list[Flight] = []
    said: set[tuple[float, str, str]] = set()
    for index, arrow in enumerate(arrows):
        x, to_x, y = lanes[arrow.sender], lanes[arrow.to], rows["arrow", index, 0]
        fate: Fate = "arrived"
        if arrow.received_s is not None:
            to_y = rows["arrow", index, 1]
        else:
            fate = "under way" if arrow.in_flight else "lost"
            to_x = x + (to_x - x) * (0.8 if arrow.in_flight else 0.45)
            to_y = min(height - 12, y + CAME_ROW * 2)
        full = shown.visible(arrow.text, shown.FULL_CHARS)
        key = (y, arrow.sender, arrow.text)
        # A text that runs to the left ends before the times.
        room = TEXT_CHARS if to_x >= x else int((x - GUTTER) / CHAR)
        text = "" if key in said else shown.shorten(full, min(room, TEXT_CHARS))
        said.add(key)
        flights.append(
            Flight(
                arrow.sender,
                arrow.to,
                arrow.sent_s,
                arrow.received_s,
                x,
                y,
                to_x,
                to_y,
                fate,
                text,
                full,
            )
        )
    return flights
