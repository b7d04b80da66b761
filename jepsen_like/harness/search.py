"""Looks for a scenario that breaks a promise, and makes what it finds small.

Hypothesis draws, and files what failed for the next time; nothing of it is shown. A candidate for
a smaller scenario counts only if it breaks the same promise as the first find, or one like it, so
that shrinking ends at the bug it began with.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st

from jepsen_like.harness import promises
from jepsen_like.harness.options import Options
from jepsen_like.harness.run import Run, Tally
from jepsen_like.harness.scenario import Scenario
from jepsen_like.harness.shrinking import Sources, shrink

SHRINK_S = 20.0
"""What has been found is told after this long, however small it is by then."""


class _OutOfTimeError(BaseException):
    """The budget is spent. Not an Exception: Hypothesis lets it through at once."""


class _BrokenError(Exception):
    """Tells Hypothesis that a scenario breaks the promise that is looked for."""


class Stage(NamedTuple):
    """One way to try a scenario.

    Attributes:
        derive: Returns the part of a scenario that it looks at, as a scenario.
        run: Runs what ``derive`` returned.
    """

    derive: Callable[[Scenario], Scenario]
    run: Callable[[Scenario], Run]

    def try_out(self, scenario: Scenario) -> Run:
        """Run what this stage looks at of a scenario."""
        return self.run(self.derive(scenario))


class Found(NamedTuple):
    """The smallest scenario that breaks a promise.

    Attributes:
        run: What happened.
        tried: How many scenarios were run until the first that broke it.
        shrunk: How many more to make it small.
    """

    run: Run
    tried: int
    shrunk: int


@dataclass(slots=True)
class _Search:
    """One search under way."""

    stages: Sequence[Stage]
    simpler: Callable[[Scenario], Iterable[Scenario]]
    seconds: float | None
    tally: Tally = field(default_factory=Tally)
    best: Run | None = None
    stage: Stage | None = None  # the one that shows what was found best
    known: dict[Scenario, bool] = field(default_factory=dict)  # whether it breaks the promise
    tried: int = 0
    shrunk: int = 0
    began: float = field(default_factory=time.monotonic)
    found: float = 0.0

    def consider(self, scenario: Scenario) -> bool:
        """Run a drawn scenario, unless it has been. Returns whether it breaks a promise."""
        if scenario in self.known:
            return self.known[scenario]
        self.tried += 1
        broken = self.known[scenario] = self._try(scenario)
        return broken

    def _try(self, scenario: Scenario) -> bool:
        for stage in self.stages:
            run = stage.try_out(scenario)
            if stage is self.stages[0]:
                self.tally.add(run.tally)  # of what was drawn
            if run.promise:
                self.found = time.monotonic()
                self.best, self.stage = self._simplest(run, stage)
                return True
        return False

    def _simplest(self, found: Run, stage: Stage) -> tuple[Run, Stage]:
        """Return the first way to see the same that is simpler than a drawn cluster."""
        cluster, resumed = self.stages[:2]
        if stage in (cluster, resumed):
            for simpler in self.simpler(found.scenario):
                run = cluster.run(simpler)
                if promises.alike(run.promise, found.promise):
                    return run, cluster
            stage = cluster  # a scenario of its own by now
        return found, stage

    def hurry(self) -> None:
        """Raise ``_OutOfTimeError`` if the budget is spent."""
        if self.seconds is not None and time.monotonic() - self.began > self.seconds:
            raise _OutOfTimeError

    def shrink(self, sources: Sources) -> None:
        """Make what was found small."""
        best, stage = self.best, self.stage
        assert best is not None
        assert stage is not None
        runs: dict[Scenario, Run | None] = {best.scenario: best}

        def breaks(scenario: Scenario) -> bool:
            looked_at = stage.derive(scenario)
            if looked_at not in runs:
                if time.monotonic() - self.found > SHRINK_S:
                    return False
                self.shrunk += 1
                run = stage.run(looked_at)
                runs[looked_at] = run if promises.alike(run.promise, best.promise) else None
            return runs[looked_at] is not None

        smallest = shrink(best.scenario, breaks, sources)
        self.best = runs[stage.derive(smallest)]


def search(
    name: str,
    strategy: st.SearchStrategy[Scenario],
    sources: Sources,
    stages: Sequence[Stage],
    simpler: Callable[[Scenario], Iterable[Scenario]],
    examples: int | None,
    options: Options,
) -> tuple[Found | None, Tally]:
    """Look for a scenario that breaks a promise.

    Args:
        name: Of the test: what Hypothesis files its examples under.
        strategy: Draws scenarios.
        sources: Draw what clients say in them.
        stages: Ways to try one, in order: first as it was drawn, then ways that are simpler.
        simpler: Returns scenarios that are simpler than a drawn one and may show the same.
        examples: How many are tried unless the options say so, or None for the profile's number.
        options: Seed and budget.

    Returns:
        The smallest find, or None, and what all runs up to the first find did.
    """
    under_way = _Search(stages, simpler, options.budget.seconds)

    def explore(scenario: Scenario) -> None:
        under_way.hurry()
        if under_way.consider(scenario):
            raise _BrokenError

    explore.__name__ = explore.__qualname__ = re.sub(r"\W", "_", f"explore {name}")
    test = hypothesis.given(strategy)(explore)
    try:
        _settle(test, options.budget.examples or examples, options)()
    except (_BrokenError, _OutOfTimeError):
        pass  # what there is to know stands in the search
    if under_way.best is not None:
        under_way.shrink(sources)
    found = under_way.best
    if found is None:
        return None, under_way.tally
    return Found(found, under_way.tried, under_way.shrunk), under_way.tally


def _settle(test: Callable[[], None], examples: int | None, options: Options) -> Callable[[], None]:
    """Let Hypothesis run quietly, by the profile that is in force, for what the options say."""
    profile = settings()
    seeded = options.seed is not None
    if seeded:
        test = hypothesis.seed(options.seed)(test)
    return settings(
        parent=profile,
        max_examples=examples or profile.max_examples,
        database=None if seeded or profile.derandomize else profile.database,
        derandomize=profile.derandomize and not seeded,
        deadline=None,
        phases=(Phase.reuse, Phase.generate),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )(test)
