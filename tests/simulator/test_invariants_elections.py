"""Nobody campaigns against a leader that others hear, and nobody leads on without a quorum."""

from __future__ import annotations

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.events import DeadlinePassed
from paxos.core.limits import DEFAULT_TIMING
from paxos.core.messages import Heartbeat, HeartbeatAnswer
from paxos.core.records import IssuedRecord
from tests.simulator.stage import HIGH, LOW, VOTERS, Stage, violates

LONG_S = 10 * DEFAULT_TIMING.election_timeout_s


def asks(stage: Stage, number: int, ballot: Ballot = BALLOT_ZERO, at: float = 0.0) -> None:
    """Let node 1 handle a deadline, and its heartbeat leave."""
    stage.facts[1].now = at
    stage.checks.before(stage.facts[1], DeadlinePassed(), stage.replica)
    stage.leaves(1, Heartbeat(number, ballot, ballot != BALLOT_ZERO, 0))
    stage.checks.handled(stage.facts[1], DeadlinePassed(), stage.replica)


def is_answered(stage: Stage, number: int, hears: Ballot = BALLOT_ZERO, voter: int = 2) -> None:
    answer = HeartbeatAnswer(number, BALLOT_ZERO, hears, True, 0, 0)
    stage.arrives(1, VOTERS[voter - 1], answer)


def campaigns(stage: Stage) -> None:
    stage.checks.staged(stage.facts[1], [IssuedRecord(LOW)], stage.replica)


def test_campaign_that_a_quorum_is_willing_to_see_is_let_pass(stage: Stage) -> None:
    asks(stage, 1)
    is_answered(stage, 1)
    is_answered(stage, 1, hears=HIGH, voter=3)
    campaigns(stage)


def test_campaign_against_a_leader_that_the_others_hear_violates_thirteen(stage: Stage) -> None:
    asks(stage, 1)
    is_answered(stage, 1, hears=HIGH)
    is_answered(stage, 1, hears=HIGH, voter=3)
    with violates(13):
        campaigns(stage)


def test_campaign_of_a_node_that_nobody_answered_violates_thirteen(stage: Stage) -> None:
    asks(stage, 1)
    with violates(13):
        campaigns(stage)


def test_campaign_upon_an_answer_to_an_earlier_life_violates_thirteen(stage: Stage) -> None:
    asks(stage, 1)
    stage.checks.started(stage.facts[1], stage.replica)
    is_answered(stage, 1)
    with violates(13):
        campaigns(stage)


def test_campaign_of_a_node_that_led_takes_back_its_lead(stage: Stage) -> None:
    asks(stage, 1, LOW)
    is_answered(stage, 1, hears=HIGH)
    stage.checks.staged(stage.facts[1], [IssuedRecord(Ballot(3, 1))], stage.replica)


def test_leader_that_a_quorum_answers_is_let_go_on(stage: Stage) -> None:
    for number in range(1, 100):
        asks(stage, number, LOW, at=number * DEFAULT_TIMING.heartbeat_interval_s)
        is_answered(stage, number)


def test_leader_that_nobody_answers_any_more_violates_thirteen(stage: Stage) -> None:
    asks(stage, 1, LOW)
    is_answered(stage, 1)
    with violates(13):
        asks(stage, 2, LOW, at=LONG_S)


def test_leader_that_nobody_answers_and_that_gives_way_is_let_pass(stage: Stage) -> None:
    asks(stage, 1, LOW)
    asks(stage, 2, at=LONG_S)
    asks(stage, 3, at=2 * LONG_S)
