"""The acceptor beyond the paper: watermarks, parts of a promise, contradictions."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.core.acceptor import Acceptor
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Governing
from paxos.core.effects import Effect, Persist, Send
from paxos.core.ids import Voter
from paxos.core.messages import Accept, Accepted, Compacted, Prepare, Promise, SnapshotName
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    Held,
    PromisedRecord,
    Record,
    Recovered,
    WatermarkRecord,
    replay,
    without,
)
from paxos.core.snapshot import Snapshot, SnapshotHead
from paxos.core.value import Value

B1, B2, B3 = Ballot(1, 1), Ballot(2, 2), Ballot(3, 3)


def value(size: int = 1, of: int = 0) -> Value:
    return Value(0, bytes([of]) * size)


def acceptor(*records: Record, bound: int = 1 << 20) -> Acceptor:
    return Acceptor(replay(records), bound)


def accept(
    target: Acceptor, ballot: Ballot, slot: int, of: Value, decided: int = 0
) -> list[Effect] | None:
    return target.handle_accept(Accept(ballot, slot, of, decided), 0, BALLOT_ZERO)


def promises(target: Acceptor, ballot: Ballot, after: int = 0) -> list[Promise]:
    (effect,) = target.handle_prepare(Prepare(ballot, after), 7, BALLOT_ZERO, clock=99)
    assert isinstance(effect, Persist)
    messages = [send.message for send in effect.then]
    assert all(isinstance(message, Promise) for message in messages)
    return messages  # type: ignore[return-value]


def test_accept_repeated_writes_nothing_and_waits_behind_earlier_writes() -> None:
    target = acceptor()
    accept(target, B1, 1, value())
    assert accept(target, B1, 1, value()) == [Persist((), (Send(1, Accepted(B1, 1, 0)),))]


def test_accept_of_another_value_at_the_same_ballot_is_a_contradiction() -> None:
    target = acceptor()
    accept(target, B1, 1, value(of=1))
    assert accept(target, B1, 1, value(of=2)) is None
    assert target.held(1) == Held(B1, value(of=1), False)


def test_accept_of_another_value_than_the_decided_one_is_a_contradiction() -> None:
    target = acceptor(DecidedRecord(1, value(of=1)))
    assert accept(target, B1, 1, value(of=2)) is None


def test_accept_of_the_decided_value_is_recorded_and_stays_decided() -> None:
    target = acceptor(DecidedRecord(1, value()))
    effects = accept(target, B1, 1, value())
    assert effects == [Persist((AcceptedRecord(B1, 1, value()),), (Send(1, Accepted(B1, 1, 0)),))]
    assert target.held(1) == Held(B1, value(), True)


def test_accept_above_the_promise_raises_it() -> None:
    target = acceptor(PromisedRecord(B1))
    accept(target, B2, 1, value())
    assert target.promised == B2


def test_watermark_is_recorded_once_with_the_next_write() -> None:
    target = acceptor()
    accept(target, B1, 1, value())
    second = accept(target, B1, 2, value(), decided=1)
    third = accept(target, B1, 3, value(), decided=1)
    assert second is not None
    assert third is not None
    assert isinstance(second[0], Persist)
    assert isinstance(third[0], Persist)
    assert second[0].records == (WatermarkRecord(B1, 1), AcceptedRecord(B1, 2, value()))
    assert third[0].records == (AcceptedRecord(B1, 3, value()),)


def test_watermark_of_an_earlier_ballot_is_kept_until_it_is_written() -> None:
    """What was accepted at ballot 1 is covered by no watermark of ballot 2."""
    target = acceptor()
    accept(target, B1, 1, value())
    target.note_watermark(B1, 1)
    effects = accept(target, B2, 2, value(), decided=1)
    assert effects is not None
    assert isinstance(effects[0], Persist)
    assert effects[0].records[:2] == (WatermarkRecord(B1, 1), WatermarkRecord(B2, 1))


def test_watermark_is_recorded_anew_for_an_accept_that_came_after_it() -> None:
    target = acceptor()
    accept(target, B1, 2, value(), decided=1)
    accept(target, B1, 1, value())  # overtaken by the other, which told that it is decided
    assert target.under_watermark(B1, 1) == [(1, value())]
    target.mark_decided(1, value(), B1)
    target.note_watermark(B1, 1)
    effects = accept(target, B1, 3, value(), decided=1)
    assert effects is not None
    assert isinstance(effects[0], Persist)
    assert effects[0].records == (WatermarkRecord(B1, 1), AcceptedRecord(B1, 3, value()))


def test_watermark_marks_only_what_was_accepted_at_its_ballot() -> None:
    target = acceptor()
    accept(target, B1, 1, value(of=1))
    accept(target, B2, 2, value(of=2))
    accept(target, B2, 3, value(of=3))
    assert target.under_watermark(B2, 2) == [(2, value(of=2))]
    assert target.under_watermark(B3, 9) == []


def test_decided_mark_tells_whether_a_watermark_will_cover_it() -> None:
    target = acceptor()
    accept(target, B1, 1, value())
    assert target.mark_decided(1, value(), B1)
    accept(target, B1, 2, value())
    assert not target.mark_decided(2, value(), B2)
    assert not target.mark_decided(3, value(), None)
    assert target.highest == 3


def test_promise_reports_decided_values_as_decided() -> None:
    target = acceptor(AcceptedRecord(B1, 1, value()), WatermarkRecord(B1, 1))
    accept(target, B1, 2, value())
    (promise,) = promises(target, B2)
    assert [(r.slot, r.ballot) for r in promise.reports] == [(1, None), (2, B1)]
    assert (promise.decided_through, promise.clock) == (7, 99)


def test_promise_leaves_out_what_was_not_asked_for() -> None:
    target = acceptor(AcceptedRecord(B1, 1, value()), AcceptedRecord(B1, 4, value()))
    (promise,) = promises(target, B2, after=3)
    assert [r.slot for r in promise.reports] == [4]


@given(st.sets(st.integers(1, 30)), st.integers(0, 10), st.integers(1, 400))
def test_promise_parts_cover_every_slot_once_whatever_their_size(
    slots: set[int], after: int, bound: int
) -> None:
    """No value may be lost because a promise is cut."""
    target = acceptor(
        *(AcceptedRecord(B1, slot, value(slot)) for slot in sorted(slots)), bound=bound
    )
    parts = promises(target, B2, after)
    assert [r.slot for part in parts for r in part.reports] == sorted(s for s in slots if s > after)
    assert parts[0].above == after
    assert [part.through for part in parts[:-1]] == [part.above for part in parts[1:]]
    assert parts[-1].through is None
    for part in parts:
        assert all(
            r.slot > part.above and (part.through is None or r.slot <= part.through)
            for r in part.reports
        )


def test_decided_run_stops_at_the_first_hole_and_at_the_bound() -> None:
    target = acceptor(
        DecidedRecord(1, value(10)),
        DecidedRecord(2, value(10)),
        DecidedRecord(4, value(10)),
        AcceptedRecord(B1, 5, value(10)),
        bound=40,
    )
    assert len(target.decided_run(0, 9)) == 1
    assert len(target.decided_run(3, 9)) == 1
    assert target.decided_run(2, 9) == ()


def test_recovered_acceptor_goes_on_marking_what_it_had_accepted() -> None:
    target = Acceptor(
        Recovered(B1, B1, {1: Held(B1, value(), False), 2: Held(B1, value(), True)}), 1 << 20
    )
    assert target.under_watermark(B1, 2) == [(1, value())]


# --- compaction ---


def compacted(through: int, *records: Record) -> Acceptor:
    target = acceptor(*records)
    target.compact(through)
    return target


def test_accept_of_a_forgotten_slot_is_answered_compacted_whatever_its_ballot() -> None:
    target = compacted(2, DecidedRecord(1, value()), DecidedRecord(2, value()), PromisedRecord(B2))
    for ballot in (B1, B3):
        effects = accept(target, ballot, 2, value())
        assert effects == [Send(ballot.node, Compacted(ballot, B2, 2, 0))]
    assert target.promised == B2
    assert target.held(2) is None


def test_compaction_forgets_values_and_watermark_candidates_and_never_goes_back() -> None:
    target = compacted(2, AcceptedRecord(B1, 1, value()), AcceptedRecord(B1, 3, value()))
    target.compact(1)
    assert target.compacted_through == 2
    assert target.under_watermark(B1, 9) == [(3, value())]
    assert (target.held(1), target.highest) == (None, 3)
    target.compact(1_000_000)  # far above: walks over what is held, not over slots
    assert (target.held(3), target.highest) == (None, 3)


def test_promise_of_a_compacted_acceptor_says_so_in_every_part() -> None:
    records = [AcceptedRecord(B1, slot, value(90)) for slot in range(1, 9)]
    target = Acceptor(replay(records), 200)
    target.compact(3)
    parts = promises(target, B2)
    assert len(parts) > 1
    assert {part.compacted_through for part in parts} == {3}
    assert [r.slot for part in parts for r in part.reports] == [4, 5, 6, 7, 8]


def test_kept_slots_are_bounded_by_number_by_bytes_and_by_what_is_there() -> None:
    target = acceptor(*(DecidedRecord(slot, value(68)) for slot in range(1, 11)))
    assert target.kept_from(10, 4, 10_000) == 6
    assert target.kept_from(10, 100, 350) == 7
    assert target.kept_from(10, 100, 10_000) == 0
    target.compact(5)
    assert target.kept_from(10, 100, 10_000) == 5
    assert target.kept_from(20, 100, 150) == 9


def test_change_of_the_configuration_counts_for_its_size_in_messages() -> None:
    change = Value(None, b"", Change(Configuration(2, Quorums.majority([Voter(1, 1)]))))
    records = [DecidedRecord(slot, change) for slot in range(1, 5)]
    target = Acceptor(replay(records), 200_000)
    assert len(target.decided_run(0, 4)) == 2
    assert len(promises(target, B1)) == 2


def test_recovered_acceptor_marks_nothing_that_its_snapshot_covers() -> None:
    """It is decided; which ballot it was accepted at says nothing any more."""
    governing = (Governing(1, Configuration(1, Quorums.majority([Voter(1, 1)]))),)
    snapshot = Snapshot(SnapshotHead(2, 0, 0, b"", governing), tuple)
    records = [AcceptedRecord(B1, slot, value()) for slot in (1, 2, 3)]
    name = SnapshotName(2, 1, bytes(16))
    target = Acceptor(replay(records, (name, snapshot), 1), 1 << 20)
    assert target.under_watermark(B1, 9) == [(3, value())]
    assert target.decided_run(1, 3) == ()
    assert target.held(1) is None
    doubt = replay(records, (name, snapshot), 1, unknown=((1, 5),))
    assert doubt.unknown == ((3, 5),)


@pytest.mark.parametrize(
    ("unknown", "compacted", "left"),
    [
        pytest.param(((2, 2),), 3, (), id="below-the-snapshot"),
        pytest.param(((1, 1),), 1, (), id="compacted-before"),
        pytest.param(((4, 4),), 1, ((4, 4),), id="above-the-snapshot"),
        pytest.param(((3, 4),), 3, ((4, 4),), id="across-its-end"),
    ],
)
def test_slot_that_damage_hides_below_the_snapshot_is_compacted_and_never_empty(
    unknown: tuple[tuple[int, int], ...], compacted: int, left: tuple[tuple[int, int], ...]
) -> None:
    """A promise that left it out would let a leader that lags propose there anew."""
    governing = (Governing(1, Configuration(1, Quorums.majority([Voter(1, 1)]))),)
    snapshot = SnapshotName(3, 1, bytes(16)), Snapshot(SnapshotHead(3, 0, 0, b"", governing), tuple)
    records = [AcceptedRecord(B1, 3, value()), AcceptedRecord(B1, 5, value())]
    state = replay(records, snapshot, 1, unknown)
    assert (state.compacted_through, state.unknown) == (compacted, left)
    (promise,) = promises(Acceptor(state, 1 << 20), B2)
    assert (promise.compacted_through, promise.unknown) == (compacted, left)


# --- damage ---


def doubtful(*unknown: tuple[int, int], records: tuple[Record, ...] = ()) -> Acceptor:
    return Acceptor(replay(records, unknown=unknown), 1 << 20)


def test_promise_names_the_slots_in_doubt_and_reports_what_is_certain() -> None:
    target = doubtful((2, 4), records=(AcceptedRecord(B1, 2, value()),))
    (promise,) = promises(target, B2)
    assert promise.unknown == ((2, 4),)
    assert [r.slot for r in promise.reports] == [2]


def test_doubt_ends_with_a_decision_an_acceptance_or_a_snapshot() -> None:
    target = doubtful((2, 9))
    seen = []
    target.mark_decided(4, value(), None)
    seen.append(target.unknown)
    accept(target, B1, 9, value())
    seen.append(target.unknown)
    for through in (5, 8):
        target.compact(through)
        seen.append(target.unknown)
    assert seen == [((2, 3), (5, 9)), ((2, 3), (5, 8)), ((6, 8),), ()]


def test_value_in_doubt_that_is_accepted_again_is_written_again() -> None:
    """Its record stands before the damage: after a restart it would be in doubt once more."""
    target = doubtful((2, 4), records=(AcceptedRecord(B1, 2, value()),))
    effects = accept(target, B1, 2, value())
    assert effects == [Persist((AcceptedRecord(B1, 2, value()),), (Send(1, Accepted(B1, 2, 0)),))]
    assert target.unknown == ((3, 4),)
    assert accept(target, B1, 2, value()) == [Persist((), (Send(1, Accepted(B1, 2, 0)),))]


def test_recovery_takes_what_is_decided_or_covered_out_of_doubt() -> None:
    state = replay(
        [
            DecidedRecord(2, value()),
            AcceptedRecord(B2, 3, value()),
            DecidedRecord(6, value()),
            AcceptedRecord(B1, 7, value()),
        ],
        compacted_through=3,
        unknown=((2, 8), (10, 10)),
    )
    assert state.unknown == ((4, 5), (7, 8), (10, 10))
    assert (sorted(state.held), state.promised) == ([6, 7], B2)
    assert replay([], compacted_through=9, unknown=((2, 8),)).unknown == ()


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 6)), max_size=5),
    st.integers(0, 25),
    st.integers(0, 8),
)
def test_ranges_without_some_slots_hold_exactly_the_others(
    starts: list[tuple[int, int]], first: int, length: int
) -> None:
    ranges: list[tuple[int, int]] = []
    for start, more in sorted(starts):
        if not ranges or start > ranges[-1][1]:
            ranges.append((start, start + more))
    left = without(tuple(ranges), first, first + length)
    slots = {slot for a, b in ranges for slot in range(a, b + 1)}
    assert {slot for a, b in left for slot in range(a, b + 1)} == slots - set(
        range(first, first + length + 1)
    )
    assert all(a <= b for a, b in left)
    assert list(left) == sorted(left)


# --- any order of anything ---


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["accept", "prepare", "decide", "compact", "restart"]),
        st.integers(1, 4),
        st.integers(1, 12),
    ),
    max_size=40,
)


@given(OPERATIONS, st.integers(0, 2**32))
@example([("accept", 1, 1), ("decide", 1, 1), ("compact", 1, 1), ("restart", 1, 1)], 0)
def test_acceptor_says_the_same_as_one_that_never_forgets_above_what_is_compacted(
    operations: list[tuple[str, int, int]], kept: int
) -> None:
    """Compaction, snapshots and restarts at any point change nothing but what is below.

    The twin keeps everything. What it was decided is a value per slot; what was accepted, one per
    ballot and slot. Records at or below what is compacted may or may not be on disk still; what was
    promised with them is, for a log repeats that before it lets go of anything.
    """
    target, twin = acceptor(), acceptor()
    log: list[Record] = []
    decided: dict[int, Value] = {}
    for operation, round_, slot in operations:
        ballot, through = Ballot(round_, 1), target.compacted_through
        if operation == "accept" and slot > through:
            of = decided.get(slot, value(of=10 * round_ + slot))
            effects = accept(target, ballot, slot, of)
            assert effects == accept(twin, ballot, slot, of)
            log += [r for each in effects or [] if isinstance(each, Persist) for r in each.records]
        elif operation == "prepare":
            (effect,) = target.handle_prepare(Prepare(ballot, 0), 0, BALLOT_ZERO, 0)
            log += effect.records if isinstance(effect, Persist) else ()
            twin.handle_prepare(Prepare(ballot, 0), 0, BALLOT_ZERO, 0)
        elif operation == "decide" and slot > through:
            held = twin.held(slot)
            of = decided.setdefault(slot, value(of=slot) if held is None else held.value)
            target.mark_decided(slot, of, None)
            twin.mark_decided(slot, of, None)
            log.append(DecidedRecord(slot, of))
        elif operation == "compact":
            prefix = next(s for s in range(1, 14) if s not in decided) - 1
            target.compact(min(slot, prefix))
            log.append(PromisedRecord(target.promised))
        elif operation == "restart":
            there = [
                record
                for number, record in enumerate(log)
                if getattr(record, "slot", through + 1) > through or kept >> (number % 32) & 1
            ]
            target = Acceptor(replay(there, None, through), 1 << 20)
        assert_alike(target, twin)


def assert_alike(target: Acceptor, twin: Acceptor) -> None:
    """Both say the same, but for what the first has forgotten."""
    through = target.compacted_through
    assert target.promised == twin.promised
    for slot in range(1, 14):
        assert target.held(slot) == (twin.held(slot) if slot > through else None)
    for after in (0, through, through + 2):
        reports = [Acceptor._reports(each, after)[0][2] for each in (target, twin)]
        assert list(reports[0]) == [r for r in reports[1] if r.slot > through]
    assert target.decided_run(through, 13) == twin.decided_run(through, 13)
    if through:
        assert target.decided_run(through - 1, 13) == ()
