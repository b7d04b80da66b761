"""The recorded history of a run, judged by the general checker, which knows nothing of the log.

The witness has proved already that the log explains every answer. This is another proof, of what
clients saw alone, by other code: a bug in one of the two shows as a difference between them.
"""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.checkers.linearizability import Budget, Result, check
from jepsen_like.checkers.state_machines import ORIGIN, StateMachineModel, Verb
from jepsen_like.harness import promises
from jepsen_like.harness.hosted import Factory, Logged, call, state_of
from jepsen_like.harness.run import APPLY, QUERY, Run
from jepsen_like.harness.runner import run_scenario
from jepsen_like.harness.scenario import Scenario
from jepsen_like.history import Entry

BUDGET = Budget(seconds=1.0)
"""Histories are short. What takes longer is left to the witness."""


def judge(history: Sequence[Entry], factory: Factory) -> Result:
    """Return whether an order of all operations explains what clients saw.

    Args:
        history: Values are text of one character per byte. Other operations are left out.
        factory: Makes the state machine, whose answers must not depend on stamps.
    """
    verbs = {APPLY: Verb(_encode, _decode), QUERY: Verb(_encode, _decode, is_query=True)}
    model = StateMachineModel(factory, verbs)
    return check([entry for entry in history if entry.f in verbs], model, BUDGET)


def ignores_stamps(log: Sequence[Logged], factory: Factory) -> bool:
    """Whether a log gives the same answers and state when every command has the same stamp.

    A history does not tell stamps: only then does it tell enough.
    """
    machine = factory()
    for logged in log:
        answer, state = call(machine.apply, logged.command, ORIGIN), state_of(machine)
        if (answer, state) != (logged.answer, logged.state):
            return False
    return True


class SecondOpinion:
    """Runs scenarios, and judges their histories as a stage of its own.

    The checker goes back and forth by snapshots: it is asked only when they are known to be whole.

    Args:
        factory: Makes the state machine.
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._last: Run | None = None

    def run(self, scenario: Scenario) -> Run:
        """Run a scenario."""
        self._last = run_scenario(scenario, self._factory)
        return self._last

    def judge(self, scenario: Scenario) -> Run:
        """Judge the history of a scenario, run again only if it was not the last."""
        run = self._last
        if run is None or run.scenario != scenario:
            run = self.run(scenario)
        if not run.promise and ignores_stamps(run.log, self._factory):
            result = judge(run.history, self._factory)
            if result.verdict == "no":
                run.promise, run.text = promises.LINEARIZABLE, result.reason
                run.lines[-1].wrong = True
        return run


def _encode(text: str) -> bytes:
    return text.encode("latin-1")


def _decode(data: bytes) -> str:
    return data.decode("latin-1")
