"""The checkers of bounds, of restarts, of leaders that last and of time that moves on can fail."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from jepsen_like.sim.invariants.leadership import HEALED_LEADERS_MAX
from jepsen_like.sim.invariants.quorums import require_meeting
from jepsen_like.sim.plan import draw_plan
from jepsen_like.sim.world import STEPS_AT_ONE_INSTANT_MAX, World
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.events import (
    ClientGone,
    DeadlinePassed,
    ReadsRequested,
    Submission,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.ids import Instant
from paxos.core.limits import Limits
from paxos.core.messages import Accepted, Level, Promise, Read, Watch
from paxos.core.proposer import InFlight
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    Held,
    IssuedRecord,
    PromisedRecord,
    Recovered,
)
from paxos.core.replica import Replica
from tests.simulator.stage import HIGH, LOW, ONE, TWO, VOTERS, Stage, violates

LIMITS = Limits(pending_bytes_max=10, sessions_max=1, reads_max=1, watches_max=1)


@pytest.fixture
def stage() -> Stage:
    """Return three nodes with tight bounds."""
    return Stage(LIMITS)


def recovered(stage: Stage, state: Recovered) -> Replica:
    """Return what node 1 makes of the state it recovered."""
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=4)
    now = Instant(0.0, 0)
    return Replica(VOTERS[0], configurations, state, {}, random.Random(1), lambda _: (), now)


# --- restarts and disks ---


def test_restart_that_forgets_an_issued_ballot_violates_two(stage: Stage) -> None:
    stage.writes(1, IssuedRecord(LOW))
    with violates(2):
        stage.checks.started(stage.facts[1], recovered(stage, Recovered()))


@pytest.mark.parametrize(
    "held", [{}, {1: Held(LOW, TWO, False)}, {1: Held(BALLOT_ZERO, ONE, False)}]
)
def test_restart_that_forgets_an_accepted_value_violates_ten(
    stage: Stage, held: dict[int, Held]
) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    stage.writes(1, AcceptedRecord(LOW, 1, ONE))
    with violates(10):
        stage.checks.started(stage.facts[1], recovered(stage, Recovered(LOW, LOW, held)))


def test_restart_that_keeps_everything_is_let_pass(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    stage.writes(1, AcceptedRecord(LOW, 1, ONE))
    held = {1: Held(LOW, ONE, False)}
    stage.checks.started(stage.facts[1], recovered(stage, Recovered(LOW, LOW, held)))


def test_record_durable_before_an_earlier_one_violates_seven(stage: Stage) -> None:
    first, second = PromisedRecord(LOW), PromisedRecord(HIGH)
    stage.checks.staged(stage.facts[1], (first, second), stage.replica)
    with violates(7):
        stage.checks.durable(stage.facts[1], (second,))


def test_record_durable_that_nobody_asked_for_violates_seven(stage: Stage) -> None:
    with violates(7):
        stage.checks.durable(stage.facts[1], (PromisedRecord(LOW),))


def test_vote_of_a_condemned_node_violates_fourteen(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    stage.writes(2, PromisedRecord(LOW), AcceptedRecord(LOW, 1, ONE))
    stage.leaves(2, Accepted(LOW, 1, 0))
    stage.facts[2].condemned = True
    with violates(14):
        stage.leaves(2, Accepted(LOW, 1, 0))
    with violates(14):
        stage.leaves(2, Promise(LOW, 0, None, 0, 0, 0, ()))


# --- quorums ---


class Disjoint(Quorums):
    """Sizes that nobody checked."""

    def __post_init__(self) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("phase1", "phase2"), [(1, 2), (2, 1), (1, 1)])
def test_configuration_whose_quorums_need_not_meet_violates_eight(phase1: int, phase2: int) -> None:
    with violates(8):
        require_meeting(Configuration(1, Disjoint(frozenset(VOTERS), phase1, phase2)))


@pytest.mark.parametrize(("phase1", "phase2"), [(1, 3), (3, 1), (2, 2), (3, 3)])
def test_configuration_whose_quorums_meet_is_let_pass(phase1: int, phase2: int) -> None:
    require_meeting(Configuration(1, Quorums(frozenset(VOTERS), phase1, phase2)))


# --- bounds ---


def hold_submissions(stage: Stage) -> None:
    submitted = Submitted([Submission(1, 1, 1, b"123456")])
    stage.checks.before(stage.facts[1], submitted, stage.replica)
    stage.replica.proposer._pending_bytes = 11
    stage.checks.handled(stage.facts[1], submitted, stage.replica)


def hold_sessions(stage: Stage) -> None:
    for _ in range(2):
        stage.replica.executor._sessions._sessions_max += 1
        stage.replica.executor._sessions.open()
    stage.checks.handled(stage.facts[1], DeadlinePassed(), stage.replica)


def hold_slots(stage: Stage) -> None:
    stage.replica.proposer._in_flight.update({slot: InFlight(ONE, 0.0) for slot in range(1, 6)})
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)


def hold_votes(stage: Stage) -> None:
    for slot in range(1, 6):
        stage.replica.learner.open(slot, ONE)
    stage.checks.handled(stage.facts[1], DeadlinePassed(), stage.replica)


def hold_reads(stage: Stage) -> None:
    reads = ReadsRequested([(1, Read(n, Level.LINEARIZABLE, "m", b"", 0)) for n in (1, 2)])
    stage.checks.before(stage.facts[1], reads, stage.replica)
    stage.checks.handled(stage.facts[1], reads, stage.replica)


def hold_watches(stage: Stage) -> None:
    for number in (1, 2):
        watch = WatchRequested(1, Watch(number, "m", b"", 0))
        stage.checks.before(stage.facts[1], watch, stage.replica)
        stage.checks.handled(stage.facts[1], watch, stage.replica)


@pytest.mark.parametrize(
    "hold", [hold_submissions, hold_sessions, hold_slots, hold_votes, hold_reads, hold_watches]
)
def test_node_that_holds_more_than_its_bound_violates_sixteen(
    stage: Stage, hold: Callable[[Stage], None]
) -> None:
    with violates(16):
        hold(stage)


def test_node_that_forgets_what_nobody_waits_for_is_let_pass(stage: Stage) -> None:
    for number in (1, 2, 3):
        watch = WatchRequested(1, Watch(number, "m", b"", 0))
        gone = WatchCancelled(1, number) if number < 3 else ClientGone(1)
        for event in (watch, gone):
            stage.checks.before(stage.facts[1], event, stage.replica)
            stage.checks.handled(stage.facts[1], event, stage.replica)


# --- leaders, clients, time ---


def test_leaders_that_come_and_go_without_a_fault_violate_thirteen(stage: Stage) -> None:
    for round_ in range(1, HEALED_LEADERS_MAX + 1):
        stage.checks.leadership.leads(Ballot(round_, 1))
    stage.checks.leadership.healed()
    for round_ in range(1, HEALED_LEADERS_MAX + 1):
        stage.checks.leadership.leads(Ballot(100 + round_, 1))
    with violates(13):
        stage.checks.leadership.leads(Ballot(200, 1))


def test_session_read_that_goes_back_behind_what_its_client_saw_violates_eleven(
    stage: Stage,
) -> None:
    histories = stage.checks.histories
    assert histories.seen(4) == 0
    histories.read(b"p\0k", 0, 3, b"", False, 4)
    assert (histories.seen(4), histories.seen(5)) == (3, 0)
    with violates(11):
        histories.read(b"p\0k", histories.seen(4), 2, b"", False, 4)


def test_world_in_which_time_does_not_move_on_violates_thirteen() -> None:
    world = World(1, draw_plan(1), None)

    def spin() -> None:
        world.after(0.0, spin)

    spin()
    with violates(13):
        world.advance(1.0)
    assert world.now == 0.0
    assert STEPS_AT_ONE_INSTANT_MAX < 10**6


def test_world_that_advances_stops_at_the_first_event_that_is_not_before() -> None:
    world = World(1, draw_plan(1), None)
    seen: list[float] = []
    for when in (0.3, 0.1, 0.2, 0.4):
        world.at(when, lambda: seen.append(world.now))
    world.step()
    assert seen == [0.1]
    world.advance(0.25)
    assert seen == [0.1, 0.2, 0.3]
