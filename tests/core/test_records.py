"""Replay: a node's memory from its records, rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    Held,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
    replay,
)
from paxos.core.value import NOOP, Value

V, W = Value(1, b"v"), Value(2, b"w")
B1, B2 = Ballot(1, 1), Ballot(2, 2)


def test_replay_of_nothing_is_an_empty_memory() -> None:
    state = replay([])
    assert (state.promised, state.issued, state.held) == (BALLOT_ZERO, BALLOT_ZERO, {})


def test_replay_promise_and_issued_round_never_decrease() -> None:
    state = replay([PromisedRecord(B2), IssuedRecord(B2), PromisedRecord(B1), IssuedRecord(B1)])
    assert (state.promised, state.issued) == (B2, B2)


def test_replay_acceptance_is_a_promise() -> None:
    assert replay([AcceptedRecord(B2, 1, V)]).promised == B2


def test_replay_later_acceptance_replaces_the_earlier() -> None:
    state = replay([AcceptedRecord(B1, 1, V), AcceptedRecord(B2, 1, W)])
    assert state.held == {1: Held(B2, W, False)}


def test_replay_watermark_is_believed_only_at_its_own_ballot() -> None:
    state = replay([AcceptedRecord(B1, 1, V), AcceptedRecord(B2, 2, W), WatermarkRecord(B2, 2)])
    assert [state.held[slot].decided for slot in (1, 2)] == [False, True]


def test_replay_watermark_is_not_believed_above_its_end() -> None:
    state = replay([AcceptedRecord(B1, 1, V), AcceptedRecord(B1, 2, W), WatermarkRecord(B1, 1)])
    assert [state.held[slot].decided for slot in (1, 2)] == [True, False]


def test_replay_watermark_says_nothing_of_what_is_accepted_after_it() -> None:
    state = replay([WatermarkRecord(B1, 1), AcceptedRecord(B1, 1, V)])
    assert not state.held[1].decided


def test_replay_slot_once_believed_stays_believed() -> None:
    state = replay([AcceptedRecord(B1, 1, V), WatermarkRecord(B1, 1), AcceptedRecord(B2, 1, V)])
    assert state.held[1] == Held(B2, V, True)


def test_replay_decided_record_needs_no_acceptance_and_keeps_the_ballot() -> None:
    state = replay([DecidedRecord(1, V), AcceptedRecord(B1, 2, W), DecidedRecord(2, V)])
    assert state.held == {1: Held(BALLOT_ZERO, V, True), 2: Held(B1, V, True)}


records = st.lists(
    st.one_of(
        st.builds(PromisedRecord, st.sampled_from([B1, B2])),
        st.builds(AcceptedRecord, st.sampled_from([B1, B2]), st.integers(1, 4), st.just(V)),
        st.builds(DecidedRecord, st.integers(1, 4), st.just(V)),
        st.builds(WatermarkRecord, st.sampled_from([B1, B2]), st.integers(1, 4)),
    ),
    max_size=30,
)


@given(records)
def test_replay_of_a_longer_log_forgets_no_promise_and_no_decision(log: list[Record]) -> None:
    """Invariant 2 and "once believed stays believed", over every prefix."""
    before = replay([])
    for end in range(1, len(log) + 1):
        after = replay(log[:end])
        assert after.promised >= before.promised
        for slot, held in before.held.items():
            assert after.held[slot].decided >= held.decided
        assert all(held.ballot <= after.promised for held in after.held.values())
        before = after


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (PromisedRecord(B1), "promised 1.1"),
        (IssuedRecord(B1), "issued 1.1"),
        (AcceptedRecord(B1, 3, NOOP), "accepted 1.1 3=noop"),
        (DecidedRecord(3, NOOP), "decided 3=noop"),
        (WatermarkRecord(B1, 3), "watermark 1.1 3"),
    ],
)
def test_record_text_is_short_and_stable(record: Record, text: str) -> None:
    assert str(record) == text
