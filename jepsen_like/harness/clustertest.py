"""``cluster_test``: a state machine in, a test out.

It puts the parts together: draws scenarios, runs each on a simulated cluster and then the machine
alone, and raises what a test framework shows. It is the composition root of the harness; the plugin
only hands it options.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import FrameType

from hypothesis import strategies as st

from jepsen_like.harness import elsewhere as other_processes
from jepsen_like.harness import promises, story
from jepsen_like.harness.alone import (
    asked_of,
    resumed_anywhere,
    resumed_half_way,
    run_alone,
    without_cluster,
)
from jepsen_like.harness.hosted import Factory
from jepsen_like.harness.options import Options
from jepsen_like.harness.run import Run, Tally
from jepsen_like.harness.runner import run_scenario
from jepsen_like.harness.scenario import (
    CLIENTS_MAX,
    NODES_MAX,
    Ask,
    Read,
    Scenario,
    Watch,
    read_scenario,
)
from jepsen_like.harness.search import Found, Stage, search
from jepsen_like.harness.second_opinion import SecondOpinion
from jepsen_like.harness.shrinking import Sources
from jepsen_like.harness.strategies import FAULTS, scenarios
from jepsen_like.harness.verdicts import PromiseBroken, ProvedNothing
from paxos.core.state_machine import Watchable

ATTRIBUTE = "paxos_cluster_test"
"""Of a test function made here: the ``ClusterTest`` behind it, by which the plugin knows it."""


def cluster_test(
    machine: Factory,
    commands: st.SearchStrategy[bytes],
    queries: st.SearchStrategy[bytes] | None = None,
    watches: st.SearchStrategy[bytes] | None = None,
    *,
    faults: Collection[str] = FAULTS,
    nodes_max: int = 5,
    clients_max: int = 3,
    examples: int | None = None,
    elsewhere: bool = True,
) -> Callable[[], None]:
    """Return a test that runs a state machine on simulated clusters under drawn faults.

    Assign it to a name that your test framework collects::

        test_counter = cluster_test(Counter, commands=st.just(b"add"), queries=st.just(b""))

    Args:
        machine: A class without arguments, or a function, that makes a fresh state machine.
        commands: Draws what its ``apply`` gets. Commands need not be unique, and some may be
            refused.
        queries: Draws what its ``query`` gets; without them nothing is read.
        watches: Draws what its ``watch`` gets; without them nothing is watched.
        faults: Which of ``jepsen_like.harness.FAULTS`` may happen; all by default.
        nodes_max: The largest cluster that is drawn, up to 7.
        clients_max: The most clients that are drawn, up to 9.
        examples: How many scenarios are tried; by default as many as Hypothesis's profile says.
        elsewhere: Whether the commands are also run in other processes, with another hash seed,
            clock, time zone and locale. Needs a machine that stands at the top of a module.

    Raises:
        ValueError: A bound is out of range, or a fault is unknown.
        TypeError: Watches are given for a machine that has no ``watch``.
    """
    test = ClusterTest(
        machine,
        commands,
        queries,
        watches,
        faults=faults,
        nodes_max=nodes_max,
        clients_max=clients_max,
        examples=examples,
        elsewhere=elsewhere,
    )

    def function() -> None:
        __tracebackhide__ = True
        test.run()

    function.__doc__ = f"{test.name} keeps every promise under drawn faults."
    setattr(function, ATTRIBUTE, test)
    frame = inspect.currentframe()
    if frame is not None and frame.f_back is not None:
        _place(function, frame.f_back)
    return function


def _place(function: Callable[[], None], caller: FrameType) -> None:
    """Let the function seem to stand where it was asked for: frameworks print that place."""
    code = caller.f_code
    function.__code__ = function.__code__.replace(
        co_filename=code.co_filename, co_firstlineno=caller.f_lineno
    )
    function.__module__ = caller.f_globals.get("__name__", function.__module__)


class ClusterTest:
    """A state machine, what is asked of it, and what may go wrong.

    Takes the arguments of ``cluster_test``.

    Attributes:
        name: Of the state machine.
        options: What the test run asks for; the plugin sets it.
        tally: What the last ``run`` did.
    """

    def __init__(
        self,
        machine: Factory,
        commands: st.SearchStrategy[bytes],
        queries: st.SearchStrategy[bytes] | None = None,
        watches: st.SearchStrategy[bytes] | None = None,
        *,
        faults: Collection[str] = FAULTS,
        nodes_max: int = 5,
        clients_max: int = 3,
        examples: int | None = None,
        elsewhere: bool = True,
    ) -> None:
        unknown = [fault for fault in faults if fault not in FAULTS]
        if unknown:
            raise ValueError(f"no such fault: {unknown[0]!r}; there are: {', '.join(FAULTS)}")
        if not 1 <= nodes_max <= NODES_MAX:
            raise ValueError(f"nodes_max is 1 to {NODES_MAX}, not {nodes_max}")
        if not 1 <= clients_max <= CLIENTS_MAX:
            raise ValueError(f"clients_max is 1 to {CLIENTS_MAX}, not {clients_max}")
        self.name = getattr(machine, "__name__", type(machine).__name__)
        self.options = Options()
        self.tally = Tally()
        self._machine = machine
        self._asks = queries is not None
        self._watches = watches is not None
        self._faults = faults
        self._examples = examples
        self._elsewhere = elsewhere
        self._sources: Sources = {Ask: commands, Read: queries, Watch: watches}
        self._strategy = scenarios(
            commands,
            queries,
            watches,
            faults=tuple(faults),
            nodes_max=nodes_max,
            clients_max=clients_max,
        )

    def run(self) -> None:
        """Try scenarios, or replay one.

        Raises:
            PromiseBroken: A promise was broken; the text is the story.
            ProvedNothing: Nothing was broken, but too little was done to say that it holds.
        """
        __tracebackhide__ = True
        address = self._address()
        if self._watches and not isinstance(self._machine(), Watchable):
            raise TypeError(f"{self.name} has no watch, but watches are given")

        stages = self._stages(address)
        if self.options.replay:
            self._replay(stages, address)
            return
        name = f"{self.options.test or self._machine.__module__} {self.name}"
        found, self.tally = search(
            name,
            self._strategy,
            self._sources,
            stages,
            resumed_anywhere,
            self._examples,
            self.options,
        )
        if found is not None:
            self._blame(found.run, address)
            raise self._broken(found.run, _how_found(found))
        lacking = story.shortfalls(self.tally, asks=self._asks, faults=bool(self._faults))
        if lacking:
            raise ProvedNothing(story.tell_nothing(self.name, lacking, self.tally))

    def _address(self) -> other_processes.Address | None:
        if not self._elsewhere:
            return None
        address = other_processes.address_of(self._machine)
        other_processes.check_everywhere(
            address, ()
        )  # that it can be loaded there, before all else
        return address

    def _stages(self, address: other_processes.Address | None) -> list[Stage]:
        judged = SecondOpinion(self._machine)
        on_cluster = partial(run_scenario, factory=self._machine)
        return [
            Stage(_as_drawn, judged.run),
            Stage(resumed_half_way, on_cluster),
            Stage(without_cluster, partial(run_alone, factory=self._machine, address=address)),
            Stage(_as_drawn, judged.judge),
        ]

    def _blame(self, run: Run, address: other_processes.Address | None) -> None:
        """Find out what it is in the other process that makes the difference."""
        if run.promise == promises.SAME_EVERYWHERE and address is not None:
            blamed = other_processes.blame(address, *asked_of(run.scenario))
            run.text += f"; between the two differs {blamed}"

    def _replay(self, stages: Sequence[Stage], address: other_processes.Address | None) -> None:
        __tracebackhide__ = True
        scenario = read_scenario(self.options.replay)
        runs = []
        for stage in stages:
            runs.append(stage.try_out(scenario))
            if runs[-1].promise:
                self._blame(runs[-1], address)
                raise self._broken(runs[-1], "")
        self.tally = runs[0].tally
        sys.stdout.write(story.tell_kept(self.name, runs[0]) + "\n")

    def _broken(self, run: Run, how_found: str) -> PromiseBroken:
        # pytest names the test under way here, with its phase behind it.
        current = os.environ.get("PYTEST_CURRENT_TEST", "TEST").rpartition(" (")[0]
        test = self.options.test or current or "TEST"
        replay = f"pytest {shlex.quote(test)} --paxos-replay {run.scenario.token()}"
        parts = [story.tell(self.name, run, replay)]
        if self.options.report is not None:
            from jepsen_like.harness import reporting

            title = self.options.test or self.name
            files = reporting.write(self.options.report, title, run, replay, self._machine)
            parts.append(f"Report: {files[0]}\nScenario: {files[1]}")
        if how_found:
            parts.append(how_found)
        return PromiseBroken("\n\n".join(parts), run)


def _as_drawn(scenario: Scenario) -> Scenario:
    return scenario


def _how_found(found: Found) -> str:
    return f"(found in {found.tried} runs, made small in {found.shrunk} more)"
