"""Makes a scenario that breaks a promise small: fewer steps, nodes, clients, faults, then commands.

Steps are taken out in ever smaller groups, then whatever else can be simpler is made so, until
nothing can (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
What clients say is the user's to draw: Hypothesis shrinks it, in the few steps that are left.
Working on the scenario rather than on the draws behind it costs a tenth of the runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st

from jepsen_like.harness.scenario import (
    LEADER,
    Ask,
    Cut,
    Mend,
    PowerCut,
    Read,
    Scenario,
    Step,
    Wait,
    Watch,
)

Breaks = Callable[[Scenario], bool]
"""Whether a scenario still breaks the promise."""
Sources = Mapping[type[Step], st.SearchStrategy[bytes] | None]
"""What draws the text of each kind of step."""

PAIRS_STEPS_MAX = 12
"""Up to so many steps, any two are tried together too: at most 66 runs."""
TEXT_EXAMPLES = 100
"""How many other texts are tried for the steps that are left."""


def shrink(scenario: Scenario, breaks: Breaks, sources: Sources) -> Scenario:
    """Return the smallest scenario found that still breaks.

    Args:
        scenario: One that does.
        breaks: Runs another.
        sources: Draw other texts for its steps.
    """
    smaller = _shorten(scenario, breaks)
    worded = _reword(smaller, breaks, sources)
    return smaller if worded == smaller else _shorten(worded, breaks)


def _shorten(scenario: Scenario, breaks: Breaks) -> Scenario:
    """Take out and simplify until nothing can be, one thing at a time."""
    scenario = _drop_steps(scenario, breaks)
    again = True
    while again:
        again = False
        for simpler in _simpler(scenario):
            if breaks(simpler):
                scenario, again = _drop_steps(simpler, breaks), True
                break
    return scenario


def _drop_steps(scenario: Scenario, breaks: Breaks) -> Scenario:
    length = max(1, len(scenario.steps) // 2)
    while True:
        scenario, dropped = _drop_groups(scenario, length, breaks)
        if length == 1 and not dropped:
            shorter = _drop_pair(scenario, breaks)
            if shorter is None:
                return scenario
            scenario = shorter
        length = max(1, length // 2)


def _drop_pair(scenario: Scenario, breaks: Breaks) -> Scenario | None:
    """Take out any two steps that can go only together; None if there are none."""
    steps = scenario.steps
    if len(steps) > PAIRS_STEPS_MAX:
        return None
    for one, other in itertools.combinations(range(len(steps)), 2):
        kept = steps[:one] + steps[one + 1 : other] + steps[other + 1 :]
        shorter = replace(scenario, steps=kept)
        if breaks(shorter):
            return shorter
    return None


def _drop_groups(scenario: Scenario, length: int, breaks: Breaks) -> tuple[Scenario, bool]:
    """Take out groups of steps, the last first: what comes after the break never matters."""
    start, dropped = len(scenario.steps) - length, False
    while start > -length:
        steps = scenario.steps
        kept = steps[: max(start, 0)] + steps[max(start + length, 0) :]
        shorter = replace(scenario, steps=kept)
        if len(kept) < len(steps) and breaks(shorter):
            scenario, dropped = shorter, True
        start -= length
    return scenario, dropped


# --- simpler in one thing -------------------------------------------------------------------------


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios that are simpler in one thing, the most worthwhile first."""
    steps = scenario.steps
    plain = tuple(_plain(step) for step in steps)
    yield from _if_other(scenario, Scenario(1, 1, plain))
    for nodes in range(1, scenario.nodes):
        folded = tuple(_fold(step, nodes, scenario.clients) for step in steps)
        yield replace(scenario, nodes=nodes, steps=folded)
    for clients in range(1, scenario.clients):
        folded = tuple(_fold(step, scenario.nodes, clients) for step in steps)
        yield replace(scenario, clients=clients, steps=folded)
    for index in range(len(scenario.weather)):
        weather = scenario.weather
        yield replace(scenario, weather=weather[:index] + weather[index + 1 :])
    if scenario.seed:
        yield replace(scenario, seed=0)
    for index, step in enumerate(steps):
        for simpler in _simpler_step(step):
            yield replace(scenario, steps=(*steps[:index], simpler, *steps[index + 1 :]))


def _if_other(one: Scenario, other: Scenario) -> Iterator[Scenario]:
    if other != one:
        yield other


def _plain(step: Step) -> Step:
    """Return a step with everything about it as simple as can be."""
    simplest = _fold(step, 1, 1)
    while (simpler := next(_simpler_step(simplest), None)) is not None:
        simplest = simpler
    return simplest


def _fold(step: Step, nodes: int, clients: int) -> Step:
    """Return a step that refers only to the first nodes and clients."""
    if isinstance(step, Ask | Read | Watch):
        return replace(step, client=1 + (step.client - 1) % clients)
    if isinstance(step, PowerCut | Mend | Wait) or step.node == LEADER:
        return step
    return replace(step, node=1 + (step.node - 1) % nodes)


def _simpler_step(step: Step) -> Iterator[Step]:
    if isinstance(step, Ask | Read) and step.patience != "waits":
        yield replace(step, patience="waits")
    if isinstance(step, Read) and step.level != "linearizable":
        yield replace(step, level="linearizable")
    if isinstance(step, Cut):
        if step.shape != "isolate":
            yield replace(step, shape="isolate")
        if step.mode != "drop":
            yield replace(step, mode="drop")
    if isinstance(step, Wait) and step.milliseconds > 1:
        yield replace(step, milliseconds=step.milliseconds // 2)
    if isinstance(step, Ask | Read | Watch):
        if step.client > 1:
            yield replace(step, client=1)
    elif not isinstance(step, PowerCut | Mend | Wait) and step.node != 1:
        yield replace(step, node=1)


# --- what clients say -----------------------------------------------------------------------------


def _reword(scenario: Scenario, breaks: Breaks, sources: Sources) -> Scenario:
    """Let Hypothesis look for simpler texts in the same steps."""
    texts = [_text(step) for step in scenario.steps]
    drawn = st.tuples(
        *(
            st.none() if text is None else _other(sources.get(type(step)), text)
            for step, text in zip(scenario.steps, texts, strict=True)
        )
    )
    best = scenario

    def explore(texts: tuple[bytes | None, ...]) -> None:
        nonlocal best
        steps = zip(scenario.steps, texts, strict=True)
        worded = replace(scenario, steps=tuple(_say(step, text) for step, text in steps))
        if breaks(worded):
            best = worded
            raise _StillBreaksError

    quietly = settings(
        max_examples=TEXT_EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        quietly(hypothesis.given(drawn)(explore))()
    except _StillBreaksError:
        pass  # raised once more at the end, for the smallest
    return best


class _StillBreaksError(Exception):
    """Tells Hypothesis that other texts break the promise too."""


def _other(source: st.SearchStrategy[bytes] | None, text: bytes) -> st.SearchStrategy[bytes]:
    # What was drawn first is what is left if nothing simpler will do.
    return st.just(text) if source is None else source | st.just(text)


def _text(step: Step) -> bytes | None:
    if isinstance(step, Ask):
        return step.command
    return step.query if isinstance(step, Read | Watch) else None


def _say(step: Step, text: bytes | None) -> Step:
    if text is None:
        return step
    if isinstance(step, Ask):
        return replace(step, command=text)
    return replace(step, query=text) if isinstance(step, Read | Watch) else step
