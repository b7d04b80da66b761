"""What came of mutants, as lines for a terminal, as JSON, and as a table for a manual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jepsen_like.mutation.hunt import Control, Result
from jepsen_like.mutation.mutant import Mutant

HEAD = (
    f"{'id':<4} {'found by':<30}{'profile':<12}{'budget':>7}{'seeds':>7}{'time':>8}{'steps':>7}"
    f"{'wall':>8}  title"
)


def line(result: Result) -> str:
    """Return one result as a line under ``HEAD``."""
    mutant = result.mutant
    if result.state in ("waits", "equivalent", "held"):
        return f"{mutant.id:<4} {_reason(mutant)}"
    if result.state != "found":
        return f"{mutant.id:<4} {result.state.upper()}: {result.trouble}  ({mutant.title})"
    seconds = result.median_seconds
    return (
        f"{mutant.id:<4} {', '.join(result.found_by):<30}{result.profile:<12}{mutant.seeds:>7}"
        f"{_number(result.median_seeds):>7}"
        f"{'' if seconds is None else f'{seconds:.1f} s':>8}"
        f"{_number(_steps(result)):>7}{result.wall_s:>6.1f} s  {mutant.title}"
    )


def fields(result: Result) -> dict[str, Any]:
    """Return one result as what JSON can say."""
    mutant, shrunk = result.mutant, result.shrunk or {}
    found: dict[str, Any] = {"event": "mutant", "id": mutant.id, "title": mutant.title}
    found |= {"state": result.state, "reason": _reason(mutant), "trouble": result.trouble}
    if result.bases:
        found |= {
            "found_by": result.found_by,
            "profile": result.profile,
            "budget": mutant.seeds,
            "median_seeds": result.median_seeds,
            "median_seconds": result.median_seconds,
            "steps": _steps(result),
            "wall_s": round(result.wall_s, 2),
            "findings": [
                {"seed": each.seed, "check": each.check, "text": each.text}
                for each in result.bases
                if each.seed is not None
            ],
            "story": shrunk.get("story", []),
            "case": shrunk.get("case"),
        }
    return found


def control_line(control: Control) -> str:
    """Return what came of the unchanged code."""
    ran = ", ".join(f"{count} seeds of {name}" for name, count in sorted(control.seeds.items()))
    if not control.findings:
        return f"the unchanged code over the same seeds ({ran or 'none'}): nothing found"
    first = control.findings[0]
    return (
        f"the unchanged code over the same seeds ({ran}): seed {first.seed} of {first.profile}"
        f" finds {first.check}: {first.text}. So no finding above means anything"
    )


def markdown(results: Sequence[Result]) -> str:
    """Return the table of the manual."""
    rows = [
        "| id | the bug | found by | profile | budget | seeds | steps |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for result in results:
        mutant = result.mutant
        if result.state in ("waits", "equivalent", "held"):
            rows.append(f"| {mutant.id} | {mutant.title} | {_reason(mutant)} | | | | |")
            continue
        rows.append(
            f"| {mutant.id} | {mutant.title} | {', '.join(result.found_by) or result.state}"
            f" | {result.profile} | {mutant.seeds} | {_number(result.median_seeds)}"
            f" | {_number(_steps(result))} |"
        )
    return "\n".join(rows) + "\n"


def _reason(mutant: Mutant) -> str:
    if mutant.waits_for:
        return f"waits for {mutant.waits_for}"
    if mutant.equivalent:
        return f"equivalent: {mutant.equivalent}"
    return f"held by `{mutant.held_by}`" if mutant.held_by else ""


def _steps(result: Result) -> int | None:
    return None if result.shrunk is None else int(result.shrunk["steps"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
