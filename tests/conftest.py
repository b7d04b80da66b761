"""What every test has in common: how many random examples are tried, and what coverage watches.

``HYPOTHESIS_PROFILE`` names a profile; without it, a machine that sets ``CI`` gets ``ci`` (the same
examples every time, so that a red run is red again) and everyone else ``dev``.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A deadline per example measures the machine, not the code: it is off everywhere.
settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    max_examples=5000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "dev")
)

COVERED_AREAS = frozenset({"codec", "core", "paper"})
"""Directories whose tests are to reach every branch of the core and the codec."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin first: what begins last is waited for with idle workers."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let coverage watch only the tests that are to cover.

    A simulation, which runs nothing but the core, takes four times as long when it is watched; and
    a branch of the core that only a simulation reaches has no test that says what it is for.
    """
    try:
        from coverage import Coverage
    except ImportError:  # the extra `test` alone
        return (yield)
    watching = Coverage.current()
    area = item.path.relative_to(Path(__file__).parent).parts[0]
    if watching is None or area in COVERED_AREAS:
        return (yield)
    watching.stop()
    try:
        return (yield)
    finally:
        watching.start()
