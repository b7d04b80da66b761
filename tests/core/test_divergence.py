"""Divergence: who is wrong is found by counting, and since when by halving."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from paxos.core.config import Configuration
from paxos.core.divergence import HALVINGS_MAX, SNAPSHOTS_COMPARED, Divergence, majority_against
from paxos.core.ids import Voter
from paxos.core.messages import NO_DIGEST, SnapshotName, StateDigest
from paxos.core.quorum import Quorums

VOTERS = [Voter(n, 100 + n) for n in range(1, 7)]
A, B, C, D, E, F = VOTERS
THREE = [Configuration(1, Quorums.majority([A, B, C]))]


def name(slot: int, digest: bytes = b"good") -> SnapshotName:
    return SnapshotName(slot, 1, digest)


def nothing(_: int) -> None:
    return None


def told(target: Divergence, voter: Voter, slot: int, digest: bytes) -> bool:
    return target.heard(voter, StateDigest(slot, digest), NO_DIGEST, nothing)


def test_state_that_a_quorum_contradicts_stops_the_node_and_one_voter_does_not() -> None:
    target = Divergence(A, name(10))
    assert not told(target, B, 10, b"good")
    assert told(target, B, 10, b"bad!")
    assert target.contradiction(THREE) == ""
    assert told(target, C, 10, b"bad!")
    assert "at slot 10 is not that of nodes 2, 3" in target.contradiction(THREE)


def test_fewer_than_a_quorum_contradict_nobody_even_if_nobody_else_is_heard() -> None:
    five = [Configuration(1, Quorums.majority([A, B, C, D, E]))]
    target = Divergence(A, name(10))
    told(target, B, 10, b"bad!")
    told(target, C, 10, b"bad!")
    assert target.contradiction(five) == ""


def test_states_at_other_slots_say_nothing() -> None:
    target = Divergence(A, name(10))
    for voter in (B, C):
        assert not told(target, voter, 9, b"bad!")
    assert target.contradiction(THREE) == ""


def test_state_that_others_have_first_is_compared_once_it_is_saved_here() -> None:
    target = Divergence(A, None)
    for voter in (B, C):
        assert not told(target, voter, 10, b"bad!")
    target.saved(name(10))
    assert told(target, B, 0, b"")
    assert target.contradiction(THREE)


def test_others_that_disagree_with_each_other_contradict_nobody() -> None:
    target = Divergence(A, name(10))
    told(target, B, 10, b"bad!")
    told(target, C, 10, b"evil")
    assert target.contradiction(THREE) == ""


def test_small_quorum_of_wrong_nodes_does_not_stop_the_many_that_are_right() -> None:
    six = [Configuration(1, Quorums(frozenset(VOTERS), 5, 2))]
    right, wrong = Divergence(A, name(10)), Divergence(F, name(10, b"bad!"))
    for voter in (B, C, D):
        told(right, voter, 10, b"good")
        told(wrong, voter, 10, b"good")
    told(right, E, 10, b"bad!")
    told(right, F, 10, b"bad!")
    told(wrong, E, 10, b"bad!")
    told(wrong, A, 10, b"good")
    assert right.contradiction(six) == ""
    assert "nodes 1, 2, 3, 4" in wrong.contradiction(six)


def test_majority_against_must_be_one_in_every_live_configuration() -> None:
    differing = {B: b"bad", C: b"bad"}
    other = Configuration(2, Quorums.majority([A, B, D]))
    assert majority_against(differing, {A}, THREE) == (B, C)
    assert majority_against(differing, {A}, [*THREE, other]) == ()
    assert majority_against(differing, {A, D}, THREE) == (B, C)  # D has no vote there


def test_node_without_a_vote_stops_when_it_alone_differs() -> None:
    target = Divergence(D, name(10, b"bad!"))
    told(target, A, 10, b"good")
    told(target, B, 10, b"good")
    assert target.contradiction(THREE)


def test_node_that_left_is_no_longer_compared() -> None:
    target = Divergence(A, name(10))
    told(target, B, 10, b"bad!")
    target.heard(B, NO_DIGEST, StateDigest(5, b"x"), lambda _: b"y")
    assert target.differing == {B: 5}
    target.forget(B)
    assert target.differing == {}
    assert not told(target, B, 0, b"")


def test_snapshots_remembered_are_bounded() -> None:
    target = Divergence(A, None)
    for slot in range(1, 100):
        target.saved(name(slot))
        told(target, B, slot, b"good")
    assert len(target._mine) == SNAPSHOTS_COMPARED
    assert len(target._theirs[B]) == SNAPSHOTS_COMPARED


def results(wrong_from: int, known_from: int, last: int, wrong: bool):  # type: ignore[no-untyped-def]
    def at(slot: int) -> bytes | None:
        if not known_from <= slot <= last:
            return None
        return b"%d" % slot if slot < wrong_from or not wrong else b"!%d" % slot

    return at


@given(st.integers(1, 5000), st.integers(0, 3000), st.integers(0, 2000))
def test_first_slot_that_differs_is_found_by_halving(first: int, more: int, lost: int) -> None:
    """Three nodes exchange heartbeats; one went wrong at ``first``."""
    last = first + more
    known_from = max(1, first - lost)  # what is remembered begins at or below it
    nodes = {voter: Divergence(voter, None) for voter in (A, B, C)}
    at = {v: results(first, known_from, last, v == C) for v in nodes}
    for _ in range(HALVINGS_MAX):
        for sender, receiver in permutations(nodes, 2):
            told = nodes[sender].to_tell(receiver, last, at[sender])
            nodes[receiver].heard(sender, NO_DIGEST, told, at[receiver])
        if nodes[C].contradiction(THREE):
            break
    assert nodes[A].contradiction(THREE) == nodes[B].contradiction(THREE) == ""
    if known_from < first or first == 1:
        assert nodes[C].contradiction(THREE).endswith(f"; slot {first} is the first to differ")
    else:
        assert nodes[A].differing == {C: first}


def test_node_whose_snapshot_differs_too_stops_although_the_slot_cannot_be_found() -> None:
    target = Divergence(A, name(10))
    for _ in range(HALVINGS_MAX + 1):
        for voter in (B, C):
            differs = StateDigest(8, b"theirs")
            target.heard(voter, StateDigest(10, b"bad!"), differs, lambda slot: b"mine")
        if why := target.contradiction(THREE):
            break
    assert "one of the slots 1 to 8" in why
    assert target._compared > HALVINGS_MAX


def test_results_that_differ_above_the_first_known_to_say_nothing_new() -> None:
    target = Divergence(A, None)
    for slot in (8, 9):
        target.heard(B, NO_DIGEST, StateDigest(slot, b"theirs"), lambda _: b"mine")
    target.heard(B, NO_DIGEST, StateDigest(9, b"mine"), lambda _: b"mine")
    assert target.differing == {B: 8}
    assert target._agreed == {}


def test_results_are_told_of_all_that_was_applied_in_peace_and_of_nothing_before() -> None:
    target = Divergence(A, None)
    assert target.to_tell(None, 0, nothing) == NO_DIGEST
    assert target.to_tell(B, 7, lambda slot: b"%d" % slot) == StateDigest(7, b"7")
