"""Chains of random changes under random schedules: safe at every step, and whole once it is calm.

``Churned`` checks after every event that a slot gets one value only, chosen by a phase-2 quorum of
the configuration that governs that slot; that nothing is proposed above the window or without a
phase-1 quorum of promises; and that all nodes agree on what governs. Whom a change removed is wiped
the moment it is done.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.churned import STEPS, Churned


@settings(deadline=None, max_examples=min(settings().max_examples, 1000))
@given(
    seed=st.integers(0, 2**32),
    alpha=st.sampled_from([1, 2, 3, 16]),
    steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=20),
)
def test_chain_of_changes_under_any_schedule_is_safe_and_ends_whole(
    seed: int, alpha: int, steps: list[str]
) -> None:
    cluster = Churned(seed, alpha)
    cluster.run(1.5)
    for step in steps:
        cluster.step(step)
    for _ in range(6):
        cluster.heal(4.0)
        if cluster.is_whole():
            return
    pytest.fail("the cluster did not become whole again")


def test_random_changes_do_change_the_members() -> None:
    """A test that cannot fail is none: the schedules above carry out changes, and wipe nodes."""
    versions, wiped = 0, 0
    for seed in range(6):
        cluster = Churned(seed, alpha=3)
        cluster.run(1.5)
        for _ in range(8):
            cluster.some_change()
            cluster.mess(1.0, 0.0, 0.1, frozenset())
        versions += cluster.truth.latest.version - 1
        wiped += len(cluster.identity) - len(cluster.log)
    assert versions > 12
    assert wiped > 5
