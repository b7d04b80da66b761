"""The pytest plugin: options for cluster tests, and failures that are stories.

Every test run loads it where the package is installed, also of projects that use nothing else of
it. So it imports nothing but pytest until there is a cluster test or an option to act on, and does
nothing to other tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jepsen_like.harness.clustertest import ClusterTest
    from jepsen_like.harness.options import Budget

_OPTIONS = ("paxos_seed", "paxos_replay", "paxos_report", "paxos_budget")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of cluster tests."""
    group = parser.getgroup("paxos", "cluster tests (jepsen_like.harness)")
    group.addoption(
        "--paxos-seed",
        type=_seed,
        metavar="N",
        help="draw the same scenarios as every other run with this seed",
    )
    group.addoption(
        "--paxos-replay",
        metavar="TOKEN|FILE",
        help="run just this scenario: the token that a failure printed, or a file",
    )
    group.addoption(
        "--paxos-report",
        type=Path,
        metavar="DIR",
        help="write an HTML report and the scenario of each failing cluster test there",
    )
    group.addoption(
        "--paxos-budget",
        type=_budget,
        metavar="N|SECONDSs",
        help="try so many scenarios per cluster test (200), or as many as fit in a time (30s)",
    )


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0, not {text!r}")
    return int(text)


def _budget(text: str) -> Budget:
    from jepsen_like.harness.options import read_budget

    try:
        return read_budget(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def pytest_configure(config: pytest.Config) -> None:
    """Refuse at the start what would fail every test."""
    replay: str | None = config.getoption("paxos_replay")
    if replay:
        from jepsen_like.harness.scenario import BadScenario, read_scenario

        try:
            read_scenario(replay)
        except BadScenario as error:
            raise pytest.UsageError(f"--paxos-replay: {error}") from error
    if config.getoption("paxos_report") is not None:
        from jepsen_like import report

        trouble = report.available()
        if trouble:
            raise pytest.UsageError(f"--paxos-report: {trouble}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what was asked for: a run is to be repeated by what it printed."""
    given = {name: config.getoption(name) for name in _OPTIONS}
    words = [
        f"{name.removeprefix('paxos_')} {value}"
        for name, value in given.items()
        if value is not None
    ]
    return f"cluster tests: {', '.join(words)}" if words else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hand a cluster test its options."""
    test = _cluster_test(item)
    if test is None:
        return
    from jepsen_like.harness.options import Budget, Options

    config = item.config
    test.options = Options(
        seed=config.getoption("paxos_seed"),
        replay=config.getoption("paxos_replay") or "",
        report=config.getoption("paxos_report"),
        budget=config.getoption("paxos_budget") or Budget(),
        test=item.nodeid,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a cluster test's story and nothing around it, and what it did if all is well."""
    result = yield
    test = _cluster_test(item)
    if test is None or call.when != "call":
        return result
    from jepsen_like.harness import story
    from jepsen_like.harness.verdicts import ClusterTestFailed

    excinfo = call.excinfo
    if excinfo is None:
        result.sections.append(("cluster test", story.sum_up(test.tally)))
    elif isinstance(excinfo.value, ClusterTestFailed):
        shown: Any = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:
            shown.reprcrash.message = str(excinfo.value)
        result.longrepr = shown
    return result


def _cluster_test(item: pytest.Item) -> ClusterTest | None:
    # The name is clustertest.ATTRIBUTE: to import that would load all there is, for every test.
    return getattr(getattr(item, "obj", None), "paxos_cluster_test", None)
