"""Replicated time: the lower median of a majority's clocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paxos.core.ids import Instant, Voter
from paxos.core.stamps import StampClock

VOTERS = tuple(Voter(node, 1) for node in range(1, 6))


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def voters(count: int) -> frozenset[Voter]:
    return frozenset(VOTERS[:count])


def test_stamp_without_a_majority_repeats_the_latest() -> None:
    clock = StampClock()
    clock.read(VOTERS[0], 5_000_000, at(1.0))
    assert clock.stamp(voters(3), 42, at(1.0)) == 42


def test_stamp_is_the_lower_median() -> None:
    clock = StampClock()
    for voter, wall in zip(VOTERS, (9, 5, 7, 6), strict=False):
        clock.read(voter, wall * 1_000_000, at(0.0))
    assert clock.stamp(voters(5), 0, at(0.0)) == 6_000_000


def test_stamp_counts_no_clock_of_a_learner_or_of_a_voter_that_was_removed() -> None:
    clock = StampClock()
    for voter, wall in zip(VOTERS, (9, 5, 7, 6), strict=False):
        clock.read(voter, wall * 1_000_000, at(0.0))
    assert clock.stamp({VOTERS[0], VOTERS[2]}, 0, at(0.0)) == 7_000_000
    assert clock.stamp({VOTERS[0], VOTERS[4]}, 3, at(0.0)) == 3


def test_stamp_is_carried_forward_on_the_monotonic_clock() -> None:
    clock = StampClock()
    for voter in VOTERS[:3]:
        clock.read(voter, 5_000_000, at(1.0))
    assert clock.stamp(voters(3), 0, at(3.5)) == 7_500_000


def test_stamp_after_a_new_ballot_knows_no_clock() -> None:
    clock = StampClock()
    for voter in VOTERS:
        clock.read(voter, 5_000_000, at(1.0))
    clock.clear()
    assert clock.stamp(voters(5), 3, at(1.0)) == 3


def test_stamp_is_never_negative() -> None:
    clock = StampClock()
    clock.read(VOTERS[0], 0, at(9.0))
    assert clock.stamp(voters(1), 0, at(1.0)) == 0


@given(st.lists(st.integers(0, 10**15), min_size=3, max_size=5), st.integers(0, 10**15))
def test_stamp_one_wrong_clock_of_three_stays_within_the_others(
    walls: list[int], wrong: int
) -> None:
    clock = StampClock()
    for voter, wall in zip(VOTERS, [*walls[:2], wrong], strict=False):
        clock.read(voter, wall, at(0.0))
    assert clock.stamp(voters(3), 0, at(0.0)) <= max(walls[:2])
    assert clock.stamp(voters(3), 0, at(0.0)) >= min(walls[:2])
