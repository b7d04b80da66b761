"""Facts in the words of the page: what each table and drawing shows, as plain text.

Every text that comes from a run goes through ``shown`` here, which bounds it; the templates escape
it. Everything is bounded, so that the page is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jepsen_like.report import keys, shown
from jepsen_like.report.diagram import Diagram, Flight
from jepsen_like.report.facts import Band, Slots, Step
from jepsen_like.report.operations import NANOSECONDS, Operation, tally
from jepsen_like.report.window import BAR, ROW, TOP, Bar, Relation, Told, Window, text_width
from jepsen_like.verdict import Verdict

NAME_CHARS = 22
"""A name beside a timeline, or in a story."""
STEPS_MAX = 300
ERRORS_MAX = 20
BANDS_MAX = 300
TALLIES_MAX = 400
FIGURES_MAX = 60
SLOTS_MAX = 300
NODES_MAX = 32

WALL_TEXT = 330
"""Width of what is written beside the line of the impossible operation, about."""
FAR = 400
"""A bar is this long before its label may be out of sight."""
STRIP = 17
"""Height of a fault below a timeline."""

SIGNS = {"ok": "", "fail": "✗ ", "info": "? "}
LIES: Mapping[Relation, str] = {
    "before": "before it",
    "overlaps": "at the same time",
    "open": "earlier, open end",
    "this": "✖ impossible",
    "after": "after it",
}


def seconds(time_s: float) -> str:
    """Return a point in time."""
    return f"{time_s:.6f} s"


def figures(
    counts: Mapping[str, int | float | str], operations: Sequence[Operation]
) -> list[tuple[str, str]]:
    """Return the figures of the run; those of the operations are counted where none are given."""
    counted: dict[str, int | float | str] = {}
    if operations:
        counted.update(tally(operations))
    shown_counts = {**counted, **counts}
    return [
        # A seed is a name, not a quantity.
        (shown.visible(name), shown.number(str(figure) if name == "seed" else figure))
        for name, figure in list(shown_counts.items())[:FIGURES_MAX]
    ]


def steps(story: Sequence[Step]) -> tuple[list[dict[str, Any]], int]:
    """Return the end of the story, and how many steps come before it."""
    left_out = max(0, len(story) - STEPS_MAX)
    told = [
        {
            "number": number,
            "time": seconds(step.time_s),
            "who": shown.visible(step.who, NAME_CHARS),
            "kind": _kind_of(step.who),
            "text": shown.visible(step.text, shown.TEXT_CHARS),
            "wrong": step.wrong,
        }
        for number, step in enumerate(story, 1)
        if number > left_out or step.wrong
    ]
    return told, len(story) - len(told)


def _kind_of(who: str) -> str:
    if who == "nemesis":
        return "nemesis"
    return {"n": "node", "c": "client"}.get(who[:1] if who[1:].isdigit() else "", "other")


# --- messages ------------------------------------------------------------------------------------


def diagram(laid_out: Diagram) -> dict[str, Any]:
    """Return the message diagram, and the table that says the same."""
    centre = laid_out.lanes[0][1] - 40 if laid_out.lanes else 0
    return {
        **laid_out._asdict(),
        "flights": [
            {
                **flight._asdict(),
                "rightward": flight.rightward,
                "talk": _kind_of(flight.sender) != "node" or _kind_of(flight.to) != "node",
                "title": _flight_title(flight),
            }
            for flight in laid_out.flights
        ],
        "notes": [
            {**note._asdict(), "x": centre if note.x is None else note.x} for note in laid_out.notes
        ],
        "table": [
            {
                "sent": seconds(flight.sent_s),
                "sender": shown.visible(flight.sender, NAME_CHARS),
                "to": shown.visible(flight.to, NAME_CHARS),
                "text": flight.full,
                "fate": flight.fate,
                "came": flight.fate if flight.received_s is None else seconds(flight.received_s),
            }
            for flight in laid_out.flights
        ],
    }


def _flight_title(flight: Flight) -> str:
    came = flight.fate if flight.received_s is None else f"came {seconds(flight.received_s)}"
    who = f"{shown.visible(flight.sender, NAME_CHARS)} → {shown.visible(flight.to, NAME_CHARS)}"
    return f"{who}: {flight.full}\nsent {seconds(flight.sent_s)}, {came}"


# --- the impossible ------------------------------------------------------------------------------


def window(found: Window, timed: bool) -> dict[str, Any]:
    """Return everything about one impossible operation; no times where none were recorded."""
    names = [shown.visible(str(process), NAME_CHARS) for process in found.processes]
    faults = [
        (shown.visible(fault, NAME_CHARS), found.height + 22 + STRIP * row)
        for row, fault in enumerate(found.faults)
    ]
    widest = max(text_width(name) for name in [*names, *(name for name, _ in faults), "12345"])
    target = found.operation
    return {
        "key": "" if found.key.name is None else shown.visible(found.key.name),
        "label": shown.label(target),
        "sentence": _sentence(found, timed),
        "origin": found.origin,
        "explained": [shown.label(each) for each in found.explained],
        "explained_count": found.explained_count,
        "left_out": _left_out(found),
        "names_width": widest + 22,
        "bars_height": found.height,
        "height": found.height + 24 + STRIP * len(faults),
        "width": found.width,
        "left": found.left,
        "line": found.line,
        "wall_shift": -6 if found.line > WALL_TEXT else 6,
        "ticks": found.ticks if timed else [],
        "timed": timed,
        "rows": [(name, TOP + ROW * row) for row, name in enumerate(names)],
        "fault_rows": faults,
        "bars": [_bar(bar, found.left, timed) for bar in found.bars],
        "strips": [
            {
                "x": strip.x,
                "y": faults[strip.row][1],
                "width": strip.width,
                "effects": strip.band.effects,
                "title": _band_title(strip.band),
            }
            for strip in found.strips
        ],
        "told": [_told(each) for each in found.told],
    }


def _sentence(found: Window, timed: bool) -> str:
    target = found.operation
    before = sum(each.invoked_at < target.invoked_at for each in found.key.operations)
    who = shown.visible(str(target.process))
    when = seconds(target.start / NANOSECONDS)
    ended = "" if target.stop is None else f", answered at {seconds(target.stop / NANOSECONDS)}"
    asked = f"Asked by process {who}{f' at {when}{ended}' if timed else ''}, it"
    order = "order that respects time and the model"
    if not before:
        return f"{asked} fits nowhere, though nothing came before it: there is no {order}."
    operations = "operation" if before == 1 else "operations"
    return (
        f"{asked} is the first that fits nowhere: the {before:,} {operations} before it can be put"
        f" into an {order}; with this one there is none."
    )


def _left_out(found: Window) -> str:
    words: Mapping[Relation, str] = {
        "before": "that ended before it",
        "overlaps": "at the same time",
        "open": "earlier with an open end",
        "after": "after it",
    }
    parts = [
        f"{found.left_out[relation]:,} {text}"
        for relation, text in words.items()
        if found.left_out.get(relation)
    ]
    return ", ".join(parts)


def _bar(bar: Bar, left: float, timed: bool) -> dict[str, Any]:
    operation = bar.operation
    wrong = bar.relation == "this"
    look = f"{operation.outcome} {bar.relation}" + (" bad" if wrong else "")
    return {
        "x": bar.x,
        "y": TOP + ROW * bar.row,
        "width": bar.width,
        "height": BAR,
        "label": bar.label,
        "label_places": _label_places(bar, left),
        "open": bar.open,
        "wrong": wrong,
        "hatched": operation.outcome == "fail",
        "look": look,
        "title": _bar_title(operation, LIES[bar.relation], timed),
    }


def _label_places(bar: Bar, left: float) -> list[float]:
    """Return where a bar says what it is: one that comes from far says it again where it counts."""
    places = [bar.x + 7]
    if bar.open and left - bar.x > FAR:
        places.append(left + 7)
    return places


def _bar_title(operation: Operation, lies: str, timed: bool) -> str:
    told = _told(Told("before", operation, None))
    result = f": {told['result']}" if told["result"] else ""
    when = f"\nbegan {told['began']}, {told['took']}" if timed else ""
    return (
        f"{told['f']} {told['argument']}\n{lies}\nprocess {told['process']},"
        f" {operation.outcome}{result}{when}"
    )


def _told(each: Told) -> dict[str, Any]:
    operation = each.operation
    latency = operation.latency
    return {
        "wrong": each.relation == "this",
        "lies": LIES[each.relation],
        "order": "" if each.order is None else str(each.order),
        "process": shown.visible(str(operation.process), NAME_CHARS),
        "f": shown.visible(operation.f, shown.CELL_CHARS),
        "argument": shown.argument_text(operation, shown.FULL_CHARS),
        "result": shown.result_text(operation, shown.FULL_CHARS),
        "outcome": operation.outcome,
        "sign": SIGNS[operation.outcome],
        "began": seconds(operation.start / NANOSECONDS),
        "took": "no answer" if latency is None else shown.duration(latency),
    }


# --- faults, marks, slots ------------------------------------------------------------------------


def tallies(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return names with counts, in their order, each with its share of the largest."""
    most = max(counts.values(), default=0)
    return [
        {
            "name": shown.visible(name),
            "count": shown.number(count),
            "zero": count == 0,
            "share": round(100 * count / most, 1) if most else 0,
        }
        for name, count in list(counts.items())[:TALLIES_MAX]
    ]


def bands(all_bands: Sequence[Band]) -> list[dict[str, Any]]:
    """Return the first faults, in the order in which they began."""
    ordered = sorted(all_bands, key=lambda band: (band.start_s, band.kind, band.target))
    return [
        {
            "start": seconds(band.start_s),
            "stop": seconds(band.stop_s),
            "kind": shown.visible(band.kind),
            "target": shown.visible(band.target),
            "effects": shown.number(band.effects),
            "zero": band.effects == 0,
        }
        for band in ordered[:BANDS_MAX]
    ]


def _band_title(band: Band) -> str:
    return (
        f"{shown.visible(band.kind)} {shown.visible(band.target)}\n{seconds(band.start_s)} to"
        f" {seconds(band.stop_s)}, {band.effects} effects"
    )


def slots(table: Slots) -> dict[str, Any]:
    """Return the last slots, and before them those whose nodes decided differently."""
    differing = [index for index, (_, cells) in enumerate(table.rows) if _differ(cells)]
    kept = {*differing[:SLOTS_MAX], *range(max(0, len(table.rows) - SLOTS_MAX), len(table.rows))}
    rows = [
        {
            "slot": slot,
            "differs": _differ(cells),
            "cells": [
                {"text": shown.visible(cell, shown.FULL_CHARS) or "·", "kind": _cell_kind(cell)}
                for cell in cells[:NODES_MAX]
            ],
        }
        for index, (slot, cells) in enumerate(table.rows)
        if index in kept
    ]
    return {
        "nodes": [shown.visible(node, NAME_CHARS) for node in table.nodes[:NODES_MAX]],
        "rows": rows,
        "differing": len(differing),
        "left_out": len(table.rows) - len(rows),
    }


def _differ(cells: Sequence[str]) -> bool:
    return len({cell for cell in cells if cell.startswith("decided")}) > 1


def _cell_kind(cell: str) -> str:
    if not cell:
        return "empty"
    word = cell.split(" ", 1)[0]
    return word if word in ("decided", "accepted") else "other"


# --- operations ----------------------------------------------------------------------------------


def kind(each: keys.Kind, timed: bool) -> dict[str, Any]:
    """Return a row of the operations by name."""
    counted = [shown.number(each.counts[name]) for name in ("operations", "ok", "fail", "info")]
    latencies = [shown.duration(latency) for latency in each.quantiles if timed] or ["—"] * len(
        keys.SHARES
    )
    return {"name": shown.visible(each.f), "figures": [*counted, *latencies]}


def error(text: str, outcome: str, count: int) -> dict[str, Any]:
    """Return a row of the errors. Saying nothing means something for either outcome."""
    silent = "answered “no”" if outcome == "fail" else "no answer was recorded"
    return {
        "error": shown.visible(text),
        "silent": silent,
        "outcome": outcome,
        "sign": SIGNS[outcome],
        "count": shown.number(count),
    }


def key(each: keys.Key, verdict: Verdict, timed: bool) -> dict[str, Any]:
    """Return a row of the index of keys."""
    counted = [shown.number(each.counts[name]) for name in ("operations", "ok", "fail", "info")]
    slowest = "—" if each.slowest is None or not timed else shown.duration(each.slowest)
    name = "(one object)" if each.name is None else shown.visible(each.name, shown.CELL_CHARS)
    return {
        "name": name,
        "wrong": each.impossible is not None,
        "explained": "✓ yes" if verdict == "yes" else "—",
        "figures": [*counted, slowest],
    }
