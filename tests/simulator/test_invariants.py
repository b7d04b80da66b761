"""A checker that always says yes passes everything: each is shown what it must not let pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jepsen_like.workload.registers import operation
from paxos.core.messages import Accepted, Prepare, Promise, Report
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
)
from paxos.core.value import Value
from tests.simulator.stage import HIGH, LOW, ONE, TWO, VOTERS, Stage, violates


def test_ledger_two_values_chosen_for_a_slot_violates_one(stage: Stage) -> None:
    stage.wins(LOW)
    stage.wins(HIGH)
    stage.proposes(LOW, 1, ONE)
    stage.proposes(HIGH, 1, TWO)
    stage.checks.ledger.accepted(VOTERS[0], AcceptedRecord(LOW, 1, ONE))
    stage.checks.ledger.accepted(VOTERS[0], AcceptedRecord(HIGH, 1, TWO))
    stage.checks.ledger.accepted(VOTERS[1], AcceptedRecord(HIGH, 1, TWO))
    with violates(1):
        stage.checks.ledger.accepted(VOTERS[2], AcceptedRecord(LOW, 1, ONE))


def test_ledger_other_value_marked_decided_violates_one(stage: Stage) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    with violates(1):
        stage.writes(3, DecidedRecord(1, TWO))


def test_ledger_unchosen_value_marked_decided_violates_eight(stage: Stage) -> None:
    with violates(8):
        stage.writes(3, DecidedRecord(1, ONE))


def test_ledger_two_values_at_one_ballot_violates_three(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    with violates(3):
        stage.proposes(LOW, 1, TWO)


def test_ledger_stamp_changed_at_one_ballot_violates_three(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    with violates(3):
        stage.proposes(LOW, 1, Value(2, b"one"))


def test_ledger_higher_proposal_of_another_value_violates_four(stage: Stage) -> None:
    stage.wins(LOW)
    stage.wins(HIGH)
    stage.chooses(LOW, 1, ONE)
    with violates(4):
        stage.proposes(HIGH, 1, TWO)


def test_promises_acceptance_below_the_promise_violates_two(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    stage.writes(3, PromisedRecord(HIGH))
    with violates(2):
        stage.writes(3, AcceptedRecord(LOW, 1, ONE))


def test_promises_ballot_issued_again_violates_two(stage: Stage) -> None:
    stage.writes(1, IssuedRecord(LOW))
    with violates(2):
        stage.writes(1, IssuedRecord(LOW))


def test_promises_forgotten_at_restart_violates_two(stage: Stage) -> None:
    stage.writes(1, PromisedRecord(HIGH))
    with violates(2):
        stage.checks.started(stage.facts[1], stage.replica)


@pytest.mark.parametrize(
    "message",
    [
        Prepare(LOW, 0),
        Promise(LOW, 0, None, 0, 0, 0, ()),
        Accepted(LOW, 1, 0),
    ],
    ids=str,
)
def test_vote_that_nothing_durable_backs_violates_seven(
    stage: Stage, message: Prepare | Promise | Accepted
) -> None:
    with violates(7):
        stage.leaves(1, message)


def test_vote_backed_by_what_is_merely_staged_violates_seven(stage: Stage) -> None:
    records = (PromisedRecord(LOW),)
    stage.checks.staged(stage.facts[1], records, stage.replica)
    with violates(7):
        stage.leaves(1, Promise(LOW, 0, None, 0, 0, 0, ()))
    stage.checks.durable(stage.facts[1], records)
    stage.leaves(1, Promise(LOW, 0, None, 0, 0, 0, ()))


def test_vote_after_a_failed_sync_violates_fourteen(stage: Stage) -> None:
    stage.writes(1, PromisedRecord(LOW))
    stage.facts[1].failed = True
    with violates(14):
        stage.leaves(1, Promise(LOW, 0, None, 0, 0, 0, ()))


def test_promise_that_leaves_out_an_accepted_slot_violates_ten(stage: Stage) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    stage.writes(2, PromisedRecord(HIGH))
    with violates(10):
        stage.leaves(2, Promise(HIGH, 0, None, 0, 0, 0, ()))


def test_accept_without_a_phase_one_quorum_violates_eight(stage: Stage) -> None:
    stage.writes(1, IssuedRecord(LOW))
    stage.leaves(1, Prepare(LOW, 0))
    stage.arrives(1, VOTERS[0], Promise(LOW, 0, None, 0, 0, 0, ()))
    stage.arrives(1, VOTERS[0], Promise(LOW, 0, None, 0, 0, 0, ()))
    with violates(8):
        stage.proposes(LOW, 1, ONE)


def test_accept_with_half_a_promise_violates_eight(stage: Stage) -> None:
    stage.writes(1, IssuedRecord(LOW))
    stage.leaves(1, Prepare(LOW, 0))
    stage.arrives(1, VOTERS[0], Promise(LOW, 0, None, 0, 0, 0, ()))
    stage.arrives(1, VOTERS[1], Promise(LOW, 0, 7, 0, 0, 0, ()))
    with violates(8):
        stage.proposes(LOW, 1, ONE)


def test_first_part_of_a_promise_after_the_whole_of_it_takes_nothing_back(stage: Stage) -> None:
    # An answer to a retry is made anew, and comes in parts if more has been accepted meanwhile.
    stage.writes(1, IssuedRecord(LOW))
    stage.leaves(1, Prepare(LOW, 0))
    for voter in VOTERS[:2]:
        stage.arrives(1, voter, Promise(LOW, 0, None, 0, 0, 0, ()))
        stage.arrives(1, voter, Promise(LOW, 0, 1, 0, 0, 0, (Report(1, LOW, ONE),)))
    stage.proposes(LOW, 1, ONE)


def test_accept_beyond_the_window_violates_eight(stage: Stage) -> None:
    stage.wins(LOW)
    with violates(8):
        stage.proposes(LOW, 5, ONE)


def test_accept_above_a_hole_violates_five(stage: Stage) -> None:
    stage.wins(LOW)
    with violates(5):
        stage.proposes(LOW, 2, ONE)


def test_prepare_of_one_ballot_in_two_lives_violates_three(stage: Stage) -> None:
    stage.writes(1, IssuedRecord(LOW))
    stage.leaves(1, Prepare(LOW, 0))
    stage.facts[1].life += 1
    with violates(3):
        stage.leaves(1, Prepare(LOW, 0))


def test_command_over_a_gap_violates_five(stage: Stage) -> None:
    stage.wins(LOW)
    stage.proposes(LOW, 1, ONE)
    stage.chooses(LOW, 2, TWO)
    with violates(5):
        stage.runs(1, 2, b"p", b"k", b"x")


def test_command_in_an_unchosen_slot_violates_eight(stage: Stage) -> None:
    with violates(8):
        stage.runs(1, 1, b"p", b"k", b"x")


def test_command_that_runs_twice_violates_nine(stage: Stage) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    stage.chooses(LOW, 2, TWO)
    stage.runs(1, 1, b"p", b"k", b"x")
    with violates(9):
        stage.runs(1, 2, b"p", b"k", b"x", result=b"x")


@pytest.mark.parametrize("result", [b"", b"y"])
def test_command_with_another_result_elsewhere_violates_six(stage: Stage, result: bytes) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    stage.runs(1, 1, b"i", b"k", b"x", result=b"1")
    with violates(6):
        stage.runs(2, 1, b"i", b"k", b"x", result=result)


def test_command_with_a_result_unlike_the_model_violates_six(stage: Stage) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    with violates(6):
        stage.runs(1, 1, b"i", b"k", b"x", result=b"2")


def put_in_slot_one(stage: Stage) -> None:
    """Let one command run in slot 1, and a client hear of it."""
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    stage.runs(1, 1, b"a", b"k", b"x", result=b"1")
    stage.checks.histories.done(operation(b"a", b"k", b"x"), 0, 1, b"1", False)


def read(query: bytes, floor: int, slot: int, data: bytes) -> Callable[[Stage], None]:
    """Return what tells the checkers of a linearizable read."""
    return lambda stage: stage.checks.histories.read(query, floor, slot, data, True)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (11, read(b"a\0k", 1, 0, b"")),
        (11, read(b"a\0k", 1, 1, b"")),
        (11, read(b"a\0k", 1, 1, b"x,y")),
        (11, read(b"i\0k", 1, 1, b"1")),
        (10, lambda stage: stage.checks.histories.done(b"a\0k\0y", 0, 1, b"2", False)),
        (10, lambda stage: stage.checks.histories.done(b"a\0k\0x", 0, 2, b"1", False)),
        (10, lambda stage: stage.checks.histories.done(b"a\0k\0x", 0, 1, b"2", False)),
        (11, lambda stage: stage.checks.histories.done(b"a\0k\0x", 1, 1, b"1", False)),
        (12, lambda stage: stage.checks.histories.told(b"k", 0, [b"y"])),
        (12, lambda stage: stage.checks.histories.told(b"k", 1, [b"x"])),
        (12, lambda stage: stage.checks.histories.told(b"k", 0, [])),
    ],
)
def test_history_with_a_wrong_answer_violates(
    stage: Stage, number: int, told: Callable[[Stage], None]
) -> None:
    put_in_slot_one(stage)
    with violates(number):
        told(stage)


def test_history_with_right_answers_is_let_pass(stage: Stage) -> None:
    put_in_slot_one(stage)
    read(b"a\0k", stage.checks.histories.begins(), 1, b"x")(stage)
    read(b"a\0k", 0, 0, b"")(stage)
    stage.checks.histories.told(b"k", 0, [b"x"])
    stage.checks.histories.finished()
    stage.checks.recoverable()


def test_history_of_a_refused_command_that_ran_violates_eleven(stage: Stage) -> None:
    put_in_slot_one(stage)
    stage.checks.histories.refused(operation(b"a", b"k", b"x"))
    with violates(11):
        stage.checks.histories.finished()


def test_disks_that_lost_a_chosen_value_violate_ten(stage: Stage) -> None:
    stage.wins(LOW)
    stage.chooses(LOW, 1, ONE)
    stage.checks.recoverable()
    stage.facts[1].held.clear()
    with violates(10):
        stage.checks.recoverable()
    stage.facts[1].doubt[1] = None  # it knows that it may have lost something: others must tell
    stage.checks.recoverable()
    stage.facts[2].held.clear()
    with violates(10):
        stage.checks.recoverable()
