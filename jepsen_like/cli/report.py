"""``python -m jepsen_like report``: a recorded history, judged again, as a page.

It reads files, has them judged, and fills in the facts. How the page is made stands in
``jepsen_like.report``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from jepsen_like import report
from jepsen_like.checkers.linearizability import MODELS, Result, check
from jepsen_like.cli.exits import Exit
from jepsen_like.formats import FORMATS, read_file
from jepsen_like.history import Entry
from jepsen_like.report.facts import Facts
from jepsen_like.report.operations import bands, phases
from jepsen_like.verdict import Verdict

WORDS: dict[Verdict, str] = {
    "yes": "Linearizable",
    "no": "Not linearizable",
    "unknown": "Unknown",
}
HISTORY, RESULT, PAGE = "history.jsonl", "result.json", "report.html"


@click.command("report")
@click.option(
    "--model",
    type=click.Choice(sorted(MODELS)),
    help="What the operations are of, as for `check`. A run's directory says so itself.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(sorted(FORMATS)),
    help="How the history is written. By default its name says so.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="The page. By default report.html in the run's directory, or HISTORY.html.",
)
@click.argument(
    "source", type=click.Path(exists=True, readable=True, path_type=Path), metavar="HISTORY|DIR"
)
def report_command(
    source: Path, model: str | None, format_name: str | None, out: Path | None
) -> int:
    """Judge a history, or what a run recorded in a directory, and write a page about it.

    The page is one file that needs nothing else. It shows the first operation that no order
    explains, latency and throughput over time with the faults, and every operation by key.

    Exit status: that of `check`: 0 yes; 1 no; 2 unknown; 3 bad input.
    """
    trouble = report.available()
    if trouble is not None:
        raise click.ClickException(trouble)
    recorded: dict[str, Any] = {}
    path = source
    if source.is_dir():
        path = source / HISTORY
        recorded = _read_result(source / RESULT)
        model = model or recorded.get("model")
    if model is None or model not in MODELS:
        raise click.UsageError(f"say with --model what the operations of {path} are of")
    page = out or (source / PAGE if source.is_dir() else source.with_name(f"{source.name}.html"))
    entries = read_file(path, format_name).entries
    facts = facts_of(path, entries, check(entries, model), recorded)
    report.write(facts, page)
    click.echo(f"{facts.verdict}: {facts.sentence}")
    click.echo(f"wrote {page}")
    return {"yes": Exit.YES, "no": Exit.NO, "unknown": Exit.UNKNOWN}[facts.verdict]


def _read_result(path: Path) -> dict[str, Any]:
    """Return what a run wrote about itself."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise click.ClickException(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.ClickException(f"{path} is not the result of a run")
    return document


def facts_of(path: Path, entries: list[Entry], result: Result, recorded: dict[str, Any]) -> Facts:
    """Return what a page tells of a history.

    Args:
        path: Where it was read.
        entries: The history.
        result: What the checker found.
        recorded: What a run's ``result.json`` says, or nothing. Its "no" or "unknown" stands where
            the history alone is fine: a run sees more than one history.
    """
    facts = Facts(
        title=f"{path}, as {result.model}",
        verdict=result.verdict,
        sentence=f"{WORDS[result.verdict]}: {result.reason}",
        replay=f"python -m jepsen_like check --model {result.model} {path}",
        history=entries,
        impossible={} if result.entry is None else {result.key: result.entry},
        bands=bands(entries),
        phases=phases(entries),
        counts={"keys": result.keys, "seconds to check": round(result.seconds, 3)},
    )
    if not recorded:
        return facts
    seed, faults = recorded.get("seed"), recorded.get("faults")
    if seed is not None:
        facts = replace(facts, counts={"seed": str(seed), **facts.counts})
    if isinstance(faults, dict):
        facts = replace(facts, effects={str(kind): int(count) for kind, count in faults.items()})
    if result.verdict == "yes" and recorded.get("verdict") in ("no", "unknown"):
        facts = replace(
            facts, verdict=recorded["verdict"], sentence=str(recorded.get("reason", ""))
        )
    return replace(facts, warnings=[str(each) for each in recorded.get("not_proved") or ()])
