"""A failed cluster test as a report's facts, and the files that are written for it.

It translates, and runs the scenario once more with a trace for the message diagram; how a report
looks is not its business.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from jepsen_like import report
from jepsen_like.harness.hosted import Factory
from jepsen_like.harness.run import Run
from jepsen_like.harness.runner import run_scenario
from jepsen_like.report import trace
from jepsen_like.report.facts import Facts, Step

ARROWS_LINES = 600
"""Trace lines at the end of a run that the message diagram is drawn from."""


def write(directory: Path, title: str, run: Run, replay: str, factory: Factory) -> tuple[str, str]:
    """Write a report and the scenario beside it.

    Args:
        directory: Made if it is not there.
        title: What was tested; files are named after it.
        run: The shortest run that breaks a promise.
        replay: The line that runs it again.
        factory: Makes the state machine.

    Returns:
        The paths of the report and of the scenario.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", title).strip("-")
    page, scenario = directory / f"{name}.html", directory / f"{name}.json"
    report.write(facts_of(title, run, replay, factory), page)
    text = json.dumps(run.scenario.document(), indent=1)
    scenario.write_text(text + "\n", encoding="utf-8")
    return str(page), str(scenario)


def facts_of(title: str, run: Run, replay: str, factory: Factory) -> Facts:
    """Return what a report tells of a run."""
    lines: list[str] = []
    run_scenario(run.scenario, factory, lines.append)
    story = [
        Step(
            line.time_s,
            line.who,
            f"{line.text}: {'; '.join(line.results)}" if line.results else line.text,
            line.wrong,
        )
        for line in run.lines
    ]
    return Facts(
        title=f"{title} on a simulated cluster",
        verdict="no" if run.promise else "yes",
        sentence=f"{run.promise}: {run.text}" if run.promise else "Every promise was kept.",
        replay=replay,
        story=story,
        arrows=trace.read(lines, last=ARROWS_LINES).arrows,
        history=run.history,
        bands=run.bands,
        slots=run.slots,
        effects=dict(sorted(run.tally.effects.items())),
        counts={
            "nodes": run.scenario.nodes,
            "clients": run.scenario.clients,
            "seed": run.scenario.seed,
        },
    )
