"""The checkers of snapshots, changes and removals see what is wrong, and let pass what is not."""

from __future__ import annotations

import pytest

from jepsen_like.sim.invariants import NodeFacts
from paxos.core.ballot import Ballot
from paxos.core.config import Change, Configuration, Governing, Member, Part
from paxos.core.effects import Reply
from paxos.core.events import AdminRequested, SnapshotFetched
from paxos.core.ids import Voter
from paxos.core.messages import AdminAnswer, Promise, Reconfigure, Settled, SnapshotName, Status
from paxos.core.quorum import Quorums
from paxos.core.records import DecidedRecord, Held, IssuedRecord, Recovered
from paxos.core.snapshot import Snapshot, SnapshotHead
from paxos.core.value import Value
from tests.simulator.stage import HIGH, LOW, ONE, TWO, VOTERS, Stage, violates

NEW = Voter(4, 44)
FOUNDING = Configuration(1, Quorums.majority(VOTERS))
JOINED = Configuration(
    2,
    Quorums.majority((*VOTERS, NEW)),
    tuple(Member(*voter) for voter in (*VOTERS, NEW)),
)
NAME = SnapshotName(3, 100, b"a" * 16)


def head(through: int, *governing: Governing) -> SnapshotHead:
    """Return the head of a snapshot."""
    return SnapshotHead(through, 1, 1, b"", governing or (Governing(1, FOUNDING),))


def choose_change(stage: Stage, slot: int, configuration: Configuration) -> None:
    """Let a change of the configuration be chosen."""
    for below in range(stage.checks.ledger.chosen_through + 1, slot):
        stage.chooses(LOW, below, Value(below, b"%d" % below))
    stage.chooses(LOW, slot, Value(None, b"", Change(configuration)))


@pytest.fixture
def stage() -> Stage:
    """Return three nodes, of which the first leads; alpha is 4."""
    stage = Stage()
    stage.wins(LOW)
    return stage


# --- snapshots -----------------------------------------------------------------------------------


def test_snapshot_of_a_slot_that_was_not_applied_breaks_i5(stage: Stage) -> None:
    with violates(5):
        stage.checks.snapshots.saves(stage.facts[1], head(1), stage.replica)


def test_snapshot_that_leaves_out_who_governs_breaks_i8(stage: Stage) -> None:
    choose_change(stage, 1, JOINED)
    stage.facts[1].executes = False
    stage.replica.learner.install(2)
    both = (Governing(1, FOUNDING), Governing(5, JOINED))
    stage.checks.snapshots.saves(stage.facts[1], head(2, *both), stage.replica)
    with violates(8):
        stage.checks.snapshots.saves(stage.facts[1], head(2), stage.replica)


def test_snapshots_of_one_slot_with_other_bytes_break_i6(stage: Stage) -> None:
    snapshots, other = stage.checks.snapshots, NAME._replace(digest=b"b" * 16)
    snapshots.durable(stage.facts[1], NAME, True)
    snapshots.durable(stage.facts[2], NAME, True)
    snapshots.durable(stage.facts[3], other, False)  # a witness keeps no state
    with violates(6):
        snapshots.durable(stage.facts[3], other, True)


def test_compaction_above_the_durable_snapshot_breaks_i5(stage: Stage) -> None:
    stage.replica.learner.install(4)
    stage.checks.snapshots.durable(stage.facts[1], NAME, True)
    stage.checks.snapshots.compacts(stage.facts[1], 3, stage.replica)
    with violates(5):
        stage.checks.snapshots.compacts(stage.facts[1], 4, stage.replica)


def test_witness_that_forgets_what_no_quorum_of_full_voters_has_breaks_i5(stage: Stage) -> None:
    stage.replica.learner.install(3)
    stage.facts[3].executes = False
    stage.checks.snapshots.durable(stage.facts[1], NAME, True)
    with violates(5):
        stage.checks.snapshots.compacts(stage.facts[3], 3, stage.replica)
    stage.checks.snapshots.durable(stage.facts[2], NAME, True)
    stage.checks.snapshots.compacts(stage.facts[3], 3, stage.replica)


def test_witness_may_forget_what_it_might_when_it_took_its_head(stage: Stage) -> None:
    """A configuration that came since asks for more; what it asks for comes before it is done."""
    stage.replica.learner.install(3)
    stage.facts[3].executes = False
    for facts in (stage.facts[1], stage.facts[2]):
        stage.checks.snapshots.durable(facts, NAME, True)
    stage.checks.snapshots.saves(stage.facts[3], head(3), stage.replica)
    stage.facts[2].snapshot_through = 0
    stage.checks.snapshots.compacts(stage.facts[3], 3, stage.replica)
    assert stage.checks.marks.counts["witness compacted"] == 1


def test_fetched_snapshot_that_comes_too_late_is_marked(stage: Stage) -> None:
    event = SnapshotFetched(NAME, Snapshot(head(3), tuple))
    stage.checks.before(stage.facts[1], event, stage.replica)
    assert stage.checks.marks.counts["caught up by a snapshot"] == 1
    assert stage.facts[1].restoring == 3


def test_promise_that_is_silent_on_a_compacted_slot_says_so_or_breaks_i10(stage: Stage) -> None:
    stage.chooses(LOW, 1, ONE)
    stage.writes(1, IssuedRecord(Ballot(3, 1)))
    facts = stage.facts[2]
    facts.durable_promised = HIGH
    stage.leaves(2, Promise(HIGH, 0, None, 1, 1, 0, ()))
    with violates(10):
        stage.leaves(2, Promise(HIGH, 0, None, 1, 0, 0, ()))


def test_promise_that_is_silent_on_an_unknown_slot_says_so_or_breaks_i10(stage: Stage) -> None:
    stage.chooses(LOW, 1, ONE)
    stage.facts[2].durable_promised = HIGH
    stage.leaves(2, Promise(HIGH, 0, None, 0, 0, 0, (), ((1, 3),)))
    with violates(10):
        stage.leaves(2, Promise(HIGH, 0, None, 0, 0, 0, (), ((2, 3),)))


def test_promise_does_not_count_for_a_slot_that_it_calls_unknown(stage: Stage) -> None:
    stage.writes(2, IssuedRecord(HIGH))
    for voter, unknown in ((VOTERS[0], ()), (VOTERS[1], ((2, 2),))):
        stage.arrives(2, voter, Promise(HIGH, 0, None, 0, 0, 0, (), unknown))
    stage.proposes(HIGH, 1, ONE)
    with violates(8):
        stage.proposes(HIGH, 2, TWO)
    assert stage.checks.marks.counts["promise did not count for an unknown slot"] == 1


def test_promise_does_not_count_while_its_forgotten_slots_are_missing(stage: Stage) -> None:
    stage.writes(2, IssuedRecord(HIGH))
    for voter in VOTERS[:2]:
        stage.arrives(2, voter, Promise(HIGH, 0, None, 5, 5, 0, ()))
    with violates(8):
        stage.proposes(HIGH, 1, ONE)
    stage.replica.learner.install(5)
    stage.proposes(HIGH, 6, ONE)


def test_damage_is_forgotten_by_the_facts_and_mended_by_a_decision(stage: Stage) -> None:
    stage.chooses(LOW, 1, ONE)
    stage.chooses(LOW, 2, TWO)
    facts = stage.facts[1]
    kept = Recovered(LOW, held={2: Held(LOW, TWO, False)}, unknown=((1, 2),))
    stage.checks.found(facts, (), False, kept)
    assert (list(facts.held), list(facts.doubt)) == ([2], [1, 2])
    stage.writes(1, DecidedRecord(1, ONE))
    assert list(facts.doubt) == [2]
    assert stage.checks.marks.counts["unknown slot was mended by its decided value"] == 1


# --- changes -------------------------------------------------------------------------------------


def test_change_governs_alpha_slots_later_and_votes_count_by_it(stage: Stage) -> None:
    choose_change(stage, 1, JOINED)
    timeline = stage.checks.timeline
    assert (timeline.at(4), timeline.at(5)) == (FOUNDING, JOINED)
    for slot in (2, 3, 4):
        stage.chooses(LOW, slot, Value(slot, b"x"))
    stage.replica.learner.install(4)
    stage.arrives(1, VOTERS[2], Promise(LOW, 0, None, 0, 0, 0, ()))
    stage.chooses(LOW, 5, ONE)
    assert 5 not in stage.checks.ledger.chosen  # two of four are no quorum


def test_change_from_a_version_that_is_not_the_latest_is_void(stage: Stage) -> None:
    choose_change(stage, 1, JOINED)
    choose_change(stage, 2, Configuration(2, Quorums(frozenset(VOTERS), 2, 2)))
    assert stage.checks.timeline.latest == JOINED
    assert stage.checks.marks.counts["change was void"] == 1


def test_change_that_gives_an_old_id_to_another_breaks_i8(stage: Stage) -> None:
    voters = (*VOTERS[:2], Voter(3, 99))
    with violates(8):
        choose_change(stage, 1, Configuration(2, Quorums.majority(voters), next_node=4))


def test_node_that_believes_in_another_configuration_breaks_i8(stage: Stage) -> None:
    choose_change(stage, 1, JOINED)
    facts: NodeFacts = stage.facts[1]
    facts.configurations = stage.configurations
    with violates(8):
        stage.checks.timeline.agrees(facts.voter, 1, stage.configurations)
    stage.configurations.decide(1, Change(JOINED))
    stage.checks.timeline.agrees(facts.voter, 1, stage.configurations)


def ask(stage: Stage, configuration: Configuration) -> None:
    request = Reconfigure(7, configuration)
    stage.checks.before(stage.facts[1], AdminRequested(9, request), stage.replica)


def answer(stage: Stage, status: Status) -> None:
    reply = Reply(9, AdminAnswer(7, status, 1, ""))
    event = AdminRequested(9, Reconfigure(7, JOINED))
    stage.checks.answers(stage.facts[1], event, reply)


def test_done_before_the_change_is_chosen_breaks_i10(stage: Stage) -> None:
    ask(stage, JOINED)
    with violates(10):
        answer(stage, Status.DONE)


def test_done_before_the_new_voters_know_the_old_slots_decided_breaks_i10(stage: Stage) -> None:
    ask(stage, JOINED)
    choose_change(stage, 1, JOINED)
    for slot in (2, 3, 4):
        stage.chooses(LOW, slot, Value(slot, b"x"))
    with violates(10):
        answer(stage, Status.DONE)
    ask(stage, JOINED)
    for node in (1, 2, 3):
        stage.facts[node].snapshot_through = 4
    answer(stage, Status.DONE)


def test_settled_that_leaves_before_the_slots_are_durable_breaks_i7(stage: Stage) -> None:
    stage.facts[2].snapshot_through = 4
    stage.leaves(2, Settled(4))
    with violates(7):
        stage.leaves(2, Settled(5))


def test_disk_that_was_lost_since_it_was_answered_for_counts_for_done(stage: Stage) -> None:
    choose_change(stage, 1, JOINED)
    for slot in (2, 3, 4):
        stage.chooses(LOW, slot, Value(slot, b"x"))
    for node in (1, 2, 3):
        stage.facts[node].snapshot_through = 4
    stage.leaves(3, Settled(4))
    stage.facts[3].wiped()
    ask(stage, JOINED)
    answer(stage, Status.DONE)
    stage.facts[2].wiped()
    ask(stage, JOINED)
    with violates(10):
        answer(stage, Status.DONE)


def test_refusal_is_marked_and_asks_for_nothing(stage: Stage) -> None:
    ask(stage, JOINED)
    answer(stage, Status.REFUSED)
    assert stage.checks.marks.counts["change was refused"] == 1


def test_removed_voters_that_are_wiped_are_not_missed_once_others_know(stage: Stage) -> None:
    stage.chooses(LOW, 1, ONE)
    moved = Configuration(
        2, Quorums.majority(VOTERS[2:]), (Member(*VOTERS[0], Part.LEARNER), Member(*VOTERS[2]))
    )
    choose_change(stage, 2, moved)
    stage.checks.recoverable()
    stage.facts[1].wiped()
    stage.facts[2].wiped()
    with violates(10):
        stage.checks.recoverable()
    stage.facts[3].snapshot_through = 2
    stage.checks.recoverable()
    assert stage.checks.at_stake() != []


def test_node_that_is_no_full_voter_and_campaigns_breaks_i13(stage: Stage) -> None:
    gone = Configuration(
        2, Quorums.majority(VOTERS[:2]), tuple(Member(*voter) for voter in VOTERS[:2]), next_node=4
    )
    choose_change(stage, 1, gone)
    stage.facts[3].decided_through = 4
    with violates(13):
        stage.writes(3, IssuedRecord(Ballot(3, 3)))
