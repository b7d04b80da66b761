"""Test your own state machine: on simulated clusters, under drawn faults, in a few lines.

    from hypothesis import strategies as st
    from jepsen_like.harness import cluster_test

    test_counter = cluster_test(Counter, commands=st.just(b"add"), queries=st.just(b""))

This module loads what one asks it for, and nothing before: the pytest plugin stands below it, and
is loaded by every test run where the package is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepsen_like.harness.clustertest import ClusterTest, cluster_test
    from jepsen_like.harness.scenario import Scenario
    from jepsen_like.harness.strategies import FAULTS, scenarios
    from jepsen_like.harness.verdicts import PromiseBroken, ProvedNothing

__all__ = [
    "FAULTS",
    "ClusterTest",
    "PromiseBroken",
    "ProvedNothing",
    "Scenario",
    "cluster_test",
    "scenarios",
]

_HOMES = {
    "ClusterTest": "clustertest",
    "FAULTS": "strategies",
    "PromiseBroken": "verdicts",
    "ProvedNothing": "verdicts",
    "Scenario": "scenario",
    "cluster_test": "clustertest",
    "scenarios": "strategies",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
