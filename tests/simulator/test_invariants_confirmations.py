"""A linearizable read is answered only by a node whose lead was confirmed after the read came."""

from __future__ import annotations

from jepsen_like.workload.registers import REGISTERS
from paxos.core.ballot import BALLOT_ZERO
from paxos.core.effects import Reply
from paxos.core.events import ReadsRequested
from paxos.core.messages import HeartbeatAnswer, Level, Read, ReadAnswer, Status
from tests.simulator.stage import HIGH, VOTERS, Stage, violates

CLIENT = 1
EVENT = ReadsRequested([(CLIENT, Read(1, Level.LINEARIZABLE, REGISTERS, b"", 0))])
ANSWER = HeartbeatAnswer(7, BALLOT_ZERO, BALLOT_ZERO, True, 0, 0)


def read_comes(stage: Stage) -> None:
    stage.checks.before(stage.facts[1], EVENT, stage.replica)


def read_is_answered(stage: Stage, status: Status = Status.DONE) -> None:
    reply = Reply(CLIENT, ReadAnswer(1, status.value, 0, b""))
    stage.checks.answers(stage.facts[1], EVENT, reply)


def test_read_confirmed_after_it_came_is_let_pass(stage: Stage) -> None:
    read_comes(stage)
    stage.confirms(ANSWER)
    read_is_answered(stage)


def test_read_confirmed_by_an_answer_that_left_before_violates_eleven(stage: Stage) -> None:
    stage.leaves(2, ANSWER)
    read_comes(stage)
    stage.arrives(1, VOTERS[1], ANSWER)
    with violates(11):
        read_is_answered(stage)


def test_read_confirmed_by_a_number_answered_before_violates_eleven(stage: Stage) -> None:
    stage.leaves(2, ANSWER)
    read_comes(stage)
    stage.confirms(ANSWER)
    with violates(11):
        read_is_answered(stage)


def test_read_confirmed_by_who_promised_higher_violates_eleven(stage: Stage) -> None:
    read_comes(stage)
    stage.confirms(HeartbeatAnswer(7, HIGH, BALLOT_ZERO, True, 0, 0))
    with violates(11):
        read_is_answered(stage)


def test_read_below_what_a_node_had_run_violates_eleven(stage: Stage) -> None:
    stage.facts[3].applied_through = 5
    read_comes(stage)
    stage.confirms(ANSWER)
    with violates(11):
        read_is_answered(stage)


def test_read_refused_without_confirmation_is_let_pass(stage: Stage) -> None:
    read_comes(stage)
    read_is_answered(stage, Status.REFUSED)
