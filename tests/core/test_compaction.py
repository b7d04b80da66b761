"""Compaction: where snapshots stand, which are had, and what holds forgetting up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.compaction import PIN_PATIENCE_S, Compaction, covered_by_voters
from paxos.core.config import Configuration, Member, Part
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Instant, Voter
from paxos.core.limits import Limits
from paxos.core.messages import SnapshotName
from paxos.core.quorum import Quorums

LIMITS = Limits(snapshot_log_bytes=1000, snapshot_entries=10)
VOTERS = [Voter(n, 100 + n) for n in (1, 2, 3)]


def name(through: int, size: int = 10) -> SnapshotName:
    return SnapshotName(through, size, through.to_bytes(16, "big"))


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def due(compaction: Compaction, last: int, slot_bytes: int = 1, first: int = 1) -> list[int]:
    slots = range(first, last + 1)
    return [slot for slot in slots if compaction.is_due(slot, slot * slot_bytes)]


@pytest.mark.parametrize("name_of_limit", ["snapshot_log_bytes", "snapshot_entries"])
def test_snapshots_without_a_distance_are_refused(name_of_limit: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=name_of_limit):
        replace(LIMITS, **{name_of_limit: 0})


def test_snapshot_is_due_at_every_multiple_of_entries_or_bytes() -> None:
    assert due(Compaction(LIMITS, None, 0), 35) == [10, 20, 30]
    assert due(Compaction(LIMITS, None, 0), 20, slot_bytes=300) == [4, 7, 10, 14, 17, 20]


def test_snapshot_is_passed_over_while_one_is_under_way() -> None:
    compaction = Compaction(LIMITS, None, 0)
    compaction.began(1)
    assert due(compaction, 19) == []
    compaction.ended()
    assert due(compaction, 25, first=20) == [20]
    compaction.began(20)
    compaction.ended()
    compaction.saved(name(20), 25, 25)
    assert due(compaction, 31, first=26) == [30]


def test_snapshot_that_is_fetched_does_not_end_the_one_under_way() -> None:
    compaction = Compaction(LIMITS, None, 0)
    compaction.began(10)
    compaction.saved(name(20), 20, 20)
    assert compaction.saving == 10
    compaction.saved(name(10), 20, 20)  # of the same slot: the writing goes on all the same
    assert (compaction.saving, compaction.latest) == (10, name(20))
    compaction.ended()
    assert compaction.saving == 0


@given(st.integers(0, 9000), st.integers(1, 200))
def test_large_snapshots_stand_as_far_apart_as_they_are_large_at_the_same_slots_everywhere(
    size: int, start: int
) -> None:
    """Whoever joins late has its snapshots where the others have theirs, if they are as large."""
    early = Compaction(LIMITS, name(1, size), 100)
    late = Compaction(LIMITS, name(start, size), 100 * start)
    slots = due(early, 1000, slot_bytes=100, first=2)
    assert [slot for slot in slots if slot > start] == due(
        late, 1000, slot_bytes=100, first=start + 1
    )
    gaps = [b - a for a, b in pairwise(slots)]
    assert all(gap * 100 >= size for gap in gaps)


def test_snapshots_kept_are_the_latest_two() -> None:
    compaction = Compaction(LIMITS, name(10), 10)
    compaction.saved(name(20), 20, 20)
    compaction.saved(name(30), 30, 30)
    assert [compaction.has(name(slot)) for slot in (10, 20, 30)] == [False, True, True]
    assert (compaction.latest, compaction.covered) == (name(30), 30)
    assert compaction.spoilt(name(30))
    assert not compaction.spoilt(name(30))
    assert compaction.latest == name(20)


def test_peer_that_fetches_an_earlier_snapshot_holds_the_next_but_one_up() -> None:
    compaction = Compaction(LIMITS, name(10), 10)
    compaction.pin(VOTERS[0], 10, at(0.0))
    compaction.pin(VOTERS[1], 10, at(5.0))
    assert compaction.pinned(at(1.0)) == 10
    assert due(compaction, 20, first=11) == [20]
    compaction.saved(name(20), 20, 20)
    assert due(compaction, 30, first=21) == []
    compaction.unpin(VOTERS[1])
    assert compaction.pinned(at(PIN_PATIENCE_S + 0.1)) is None
    assert due(compaction, 40, first=31) == [40]


def test_node_without_state_covers_what_others_hold_and_has_nothing_itself() -> None:
    compaction = Compaction(LIMITS, None, 0)
    compaction.began(10)
    compaction.ended()
    compaction.cover(10)
    compaction.cover(5)
    assert (compaction.latest, compaction.covered, compaction.saving) == (None, 10, 0)


def configuration(phase2: int, witnesses: tuple[int, ...] = ()) -> Configuration:
    members = tuple(
        Member(v.node, v.incarnation, Part.WITNESS if v.node in witnesses else Part.VOTER)
        for v in VOTERS
    )
    return Configuration(1, Quorums(frozenset(VOTERS), 4 - phase2, phase2), members)


def test_voters_cover_what_a_quorum_of_full_ones_has_saved_in_every_configuration() -> None:
    a, b, c = VOTERS
    saved = {a: 30, b: 20, c: 10}
    assert covered_by_voters(saved, [configuration(2)]) == 20
    assert covered_by_voters(saved, [configuration(2), configuration(3)]) == 10
    assert covered_by_voters({a: 30, c: 10}, [configuration(2, witnesses=(3,))]) == 0
    assert covered_by_voters({a: 30, b: 5, c: 10}, [configuration(2, witnesses=(3,))]) == 5


@given(st.dictionaries(st.sampled_from(VOTERS), st.integers(0, 50)), st.integers(1, 3))
def test_whatever_is_lost_beyond_a_quorum_the_state_is_still_had(
    saved: dict[Voter, int], phase2: int
) -> None:
    covered = covered_by_voters(saved, [configuration(phase2)])
    holders = [voter for voter in VOTERS if saved.get(voter, 0) >= covered]
    assert covered == 0 or len(holders) >= phase2
    more = [voter for voter in VOTERS if saved.get(voter, 0) > covered]
    assert len(more) < phase2
