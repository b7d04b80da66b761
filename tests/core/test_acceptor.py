"""The acceptor beyond the paper: watermarks, parts of a promise, contradictions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paxos.core.acceptor import Acceptor
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.effects import Effect, Persist, Send
from paxos.core.messages import Accept, Accepted, Prepare, Promise
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    Held,
    PromisedRecord,
    Record,
    Recovered,
    WatermarkRecord,
    replay,
)
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
