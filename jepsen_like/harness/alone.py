"""What can be asked of a state machine without a cluster, put as promises and a story.

The checks are those of ``paxos.testing.state_machine_suite``; this turns what they say into a run
like any other, with the commands that led to it as the steps of its story.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from jepsen_like.harness import promises
from jepsen_like.harness.elsewhere import Address, check_everywhere
from jepsen_like.harness.hosted import Factory
from jepsen_like.harness.promises import Broken, shown, shown_result
from jepsen_like.harness.run import Line, Run
from jepsen_like.harness.scenario import Ask, Read, Scenario, Snapshot, Step, Watch
from paxos.testing.state_machine_suite import (
    MALFORMED,
    StateMachineBroken,
    check_arguments_untouched,
    check_failures_change_nothing,
    check_results_equal,
    check_snapshot_round_trip,
    check_snapshot_stands_still,
    run_all,
)

_CHECK = Callable[[], None]
_COMMAND = re.compile(r"\bcommand ([0-9]+)")
"""How the suite names a command, counted from 0; stories count from 1."""


def asked_of(scenario: Scenario) -> tuple[list[bytes], list[bytes]]:
    """Return the commands and the queries of a scenario, each in order."""
    commands = [step.command for step in scenario.steps if isinstance(step, Ask)]
    return commands, [step.query for step in scenario.steps if isinstance(step, Read)]


def without_cluster(scenario: Scenario) -> Scenario:
    """Return what can be tried without a cluster: commands, queries and watches, in order."""
    asks = [step for step in scenario.steps if isinstance(step, Ask | Read | Watch)]
    return Scenario(1, 1, tuple(_plainly(step) for step in asks))


def _plainly(step: Ask | Read | Watch) -> Step:
    if isinstance(step, Ask):
        return Ask(1, step.command)
    return Read(1, step.query) if isinstance(step, Read) else Watch(1, step.query)


def resumed_half_way(scenario: Scenario) -> Scenario:
    """Return the same commands and queries on one node that starts from its snapshot half way."""
    commands, _ = asked_of(scenario)
    return _resumed(scenario, (len(commands) + 1) // 2)


def resumed_anywhere(scenario: Scenario) -> Iterator[Scenario]:
    """Yield the same, with the snapshot before, between and behind the commands."""
    commands, _ = asked_of(scenario)
    for through in range(len(commands) + 1):
        yield _resumed(scenario, through)


def _resumed(scenario: Scenario, through: int) -> Scenario:
    commands, queries = asked_of(scenario)
    steps: list[Step] = [Ask(1, command) for command in commands]
    steps.insert(through, Snapshot(1))
    return Scenario(1, 1, (*steps, *(Read(1, query) for query in queries)))


def run_alone(scenario: Scenario, factory: Factory, address: Address | None) -> Run:
    """Put a state machine through the commands and queries of a scenario, without a cluster.

    Args:
        scenario: Its commands and queries are used, in order.
        factory: Makes the state machine.
        address: Where other processes find it, or None to stay in this one.
    """
    commands, queries = asked_of(scenario)
    run = Run(scenario)
    for promise, check in _checks(factory, commands):
        try:
            check()
        except StateMachineBroken as broken:
            run.promise = promise
            _tell_suite(run, factory, commands, queries, str(broken))
            return run
        except Exception as error:  # noqa: BLE001 - whatever snapshot or restore raised
            run.promise, run.text = promises.SNAPSHOT_WORKS, f"it raised {error!r}"
            _tell(run, commands, [None] * len(commands), ())
            return run
    if address is not None:
        try:
            check_everywhere(address, commands, queries)
        except Broken as broken:
            _tell(run, commands, [None] * len(commands), queries)
            run.promise, run.text = broken.promise, broken.text
    return run


def _checks(factory: Factory, commands: Sequence[bytes]) -> list[tuple[str, _CHECK]]:
    also_nonsense = [*commands, *MALFORMED]
    return [
        (promises.SAME_RUN_SAME_ANSWERS, partial(check_results_equal, factory, commands)),
        (promises.RESTORE_REPLACES, partial(check_snapshot_round_trip, factory, commands)),
        (promises.SNAPSHOT_STANDS_STILL, partial(check_snapshot_stands_still, factory, commands)),
        (promises.ARGUMENTS_UNTOUCHED, partial(check_arguments_untouched, factory, commands)),
        (
            promises.FAILURE_CHANGES_NOTHING,
            partial(check_failures_change_nothing, factory, also_nonsense),
        ),
    ]


def _tell_suite(
    run: Run, factory: Factory, commands: Sequence[bytes], queries: Sequence[bytes], text: str
) -> None:
    """Tell what the suite found in the words of the story."""
    given = list(commands)
    named = _COMMAND.search(text)
    if named is not None and int(named[1]) >= len(given):  # it was nonsense of the suite's own
        given.append(MALFORMED[int(named[1]) - len(given)])
        run.text = _COMMAND.sub(f"command {len(given)}", text)
    else:
        run.text = _COMMAND.sub(lambda match: f"command {int(match[1]) + 1}", text)
    _tell(run, given, run_all(factory(), given), queries)
    if run.promise == promises.RESTORE_REPLACES:
        half = len(commands) // 2
        text = "a second machine, which has run the commands below, is restored from its snapshot"
        run.lines.insert(half, Line(0, 0.0, "machine", text))
        for number, line in enumerate(run.lines, 1):
            line.number = number


def _tell(
    run: Run,
    commands: Sequence[bytes],
    results: Sequence[bytes | None],
    queries: Sequence[bytes],
) -> None:
    """Tell a story without a cluster: the commands in order, then the queries."""
    run.lines.clear()
    for number, (command, result) in enumerate(zip(commands, results, strict=True), 1):
        line = Line(number, 0.0, "machine", f"a machine alone is given {shown(command)}")
        line.results += [] if result is None else [shown_result(result)]
        run.lines.append(line)
    for query in queries:
        number = len(run.lines) + 1
        run.lines.append(Line(number, 0.0, "machine", f"it is asked {shown(query)}"))
