"""A run as a person reads it: which promise broke, what happened step by step, how to see it again.

Pure text, made from a run. It knows no test framework.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from jepsen_like.harness.run import Line, Run, Tally

WIDTH = 100


def tell(title: str, run: Run, replay: str) -> str:
    """Return what a failed test prints.

    Args:
        title: What was tested.
        run: The shortest run that breaks a promise.
        replay: The line that runs it again, or "".
    """
    parts = [
        f"{title} breaks a promise: {run.promise}",
        _wrap(run.text, "  ", "  "),
        "",
        _wrap(f"The story, {_setting(run)}:", "", ""),
        steps(run),
    ]
    if replay:
        parts += ["", "Replay it:", f"  {replay}"]
    return "\n".join(parts)


def tell_kept(title: str, run: Run) -> str:
    """Return what a replay shows that broke nothing."""
    setting = _setting(run)
    return f"{title} keeps every promise in this story, {setting}:\n{steps(run)}"


def steps(run: Run) -> str:
    """Return a run's numbered steps, and what each answered."""
    lines = [_step(line) for line in run.lines if line.number]
    lines += [_step(line) for line in run.lines if not line.number and line.wrong]
    return "\n".join(lines)


def step_count(run: Run) -> int:
    """Return how many steps the printed story has."""
    return sum(bool(line.number or line.wrong) for line in run.lines)


def _step(line: Line) -> str:
    number = f"{line.number:4}. " if line.number else "   -  "
    text = f"{line.text}: {'; '.join(line.results)}" if line.results else line.text
    wrong = "   <-- broken here" if line.wrong else ""
    return _wrap(text, number, " " * 6) + wrong


def _setting(run: Run) -> str:
    start = run.lines[0] if run.lines else None
    if start is None or start.who != "cluster":
        return "without a cluster"
    scenario = run.scenario
    parts = [_count(scenario.nodes, "node"), _count(scenario.clients, "client")]
    parts += [f"{each} of messages" for each in scenario.weather]
    return ", ".join([*parts, *start.results])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _wrap(text: str, first: str, others: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- what many runs prove -------------------------------------------------------------------------


def shortfalls(tally: Tally, *, asks: bool, faults: bool) -> list[str]:
    """Return why runs prove nothing, a sentence each; none if they prove something.

    Args:
        tally: What they did.
        asks: Whether questions were to be asked.
        faults: Whether faults were to strike.
    """
    why = []
    if tally.commands == 0:
        why.append("no command was done")
    elif tally.refusals == tally.commands:
        why.append(f"the state machine refused every one of {tally.commands} commands")
    if asks and tally.reads_of_writes == 0:
        why.append("no question was answered after a command")
    if faults and not tally.effects:
        why.append("no fault had an effect")
    elif faults and not tally.in_flight:
        why.append("no fault struck while a request was under way")
    return why


def tell_nothing(title: str, lacking: Sequence[str], tally: Tally) -> str:
    """Return what a test prints that fails because it proves nothing."""
    reasons = "\n".join(f"  {reason}" for reason in lacking)
    did = _wrap(f"({sum_up(tally)})", "  ", "  ")
    return f"unknown: the test of {title} proves nothing\n{reasons}\n{did}"


def sum_up(tally: Tally) -> str:
    """Return what runs did, in a line."""
    effects = " ".join(f"{name.replace(' ', '-')}={n}" for name, n in sorted(tally.effects.items()))
    return (
        f"{_count(tally.runs, 'run')}, {tally.commands} commands, {tally.reads} reads,"
        f" {tally.deliveries} messages; faults with effect: {effects or 'none'}"
    )
