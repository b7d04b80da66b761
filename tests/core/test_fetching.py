"""Fetching: a snapshot comes whole, in order and once, whatever its helpers and links do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paxos.core.effects import Effect, Send, StoreChunk
from paxos.core.fetching import SPOILT_PAUSE_S, Fetcher
from paxos.core.ids import Instant, Voter
from paxos.core.messages import SnapshotChunk, SnapshotName, SnapshotRequest

PATIENCE_S = 5.0
A, B, C = Voter(1, 1), Voter(2, 2), Voter(3, 3)
NAME = SnapshotName(50, 10, bytes(16))
OTHER = SnapshotName(60, 10, bytes(16))


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def request(to: Voter, offset: int, name: SnapshotName = NAME) -> Send:
    return Send(to.node, SnapshotRequest(name, offset))


def chunk(offset: int, data: bytes, name: SnapshotName = NAME) -> SnapshotChunk:
    return SnapshotChunk(name, offset, data)


def begun() -> Fetcher:
    fetcher = Fetcher(PATIENCE_S)
    assert fetcher.handle_offer(A, NAME, 0, at(0.0)) == [request(A, 0)]
    return fetcher


def test_fetch_goes_chunk_by_chunk_and_tells_its_helper_at_the_end() -> None:
    fetcher = begun()
    effects = fetcher.handle_chunk(A, chunk(0, b"0123"), [], at(0.1))
    assert effects == [StoreChunk(NAME, 0, b"0123"), request(A, 4)]
    effects = fetcher.handle_chunk(A, chunk(4, b"456789"), [], at(0.2))
    assert effects == [StoreChunk(NAME, 4, b"456789"), request(A, 10)]
    assert fetcher.is_whole
    assert fetcher.next_deadline() == math.inf
    fetcher.drop()
    assert (fetcher.name, fetcher.progress) == (None, 10)


def test_offer_of_what_is_known_or_of_another_while_one_comes_changes_nothing() -> None:
    fetcher = Fetcher(PATIENCE_S)
    assert fetcher.handle_offer(A, NAME, 50, at(0.0)) == []
    fetcher = begun()
    assert fetcher.handle_offer(B, OTHER, 0, at(0.1)) == []
    assert fetcher.handle_offer(B, NAME, 0, at(0.1)) == []
    assert fetcher.name == NAME


def test_chunks_that_are_repeated_late_foreign_or_too_long_are_passed_over() -> None:
    fetcher = begun()
    fetcher.handle_chunk(A, chunk(0, b"0123"), [], at(0.1))
    for wrong in (
        chunk(0, b"0123"),
        chunk(5, b"5"),
        chunk(4, b"456789x"),
        chunk(4, b"4", OTHER),
        chunk(3, b""),
    ):
        assert fetcher.handle_chunk(A, wrong, [], at(0.2)) == []
    assert fetcher.offset == 4
    assert Fetcher(PATIENCE_S).handle_chunk(A, chunk(0, b"0"), [], at(0.0)) == []


def test_helper_that_lacks_it_is_left_for_another_at_the_same_offset() -> None:
    fetcher = begun()
    fetcher.handle_chunk(A, chunk(0, b"0123"), [], at(0.1))
    assert fetcher.handle_chunk(B, chunk(4, b""), [B, C], at(0.2)) == []  # it was not asked
    assert fetcher.handle_chunk(A, chunk(4, b""), [A, B], at(0.2)) == [request(B, 4)]
    assert fetcher.helper == B


def test_broken_connection_of_the_helper_moves_the_fetch_and_of_another_does_not() -> None:
    fetcher = begun()
    assert fetcher.handle_disconnected(B, [A], at(0.1)) == []
    assert fetcher.handle_disconnected(A, [A, B], at(0.1)) == [request(B, 0)]
    assert fetcher.handle_disconnected(B, [], at(0.2)) == []
    assert fetcher.helper is None
    assert fetcher.next_deadline() == math.inf


def test_fetch_without_helper_takes_whoever_shows_up_and_another_offer_if_all_lack_it() -> None:
    fetcher = begun()
    assert fetcher.handle_alive(B, at(0.1)) == []  # somebody helps
    fetcher.handle_chunk(A, chunk(0, b""), [], at(0.2))
    assert fetcher.handle_alive(A, at(0.3)) == []  # it said that it lacks it
    assert fetcher.handle_alive(B, at(0.3)) == [request(B, 0)]
    fetcher.handle_chunk(B, chunk(0, b""), [A, B], at(0.4))
    assert fetcher.handle_offer(B, OTHER, 0, at(0.5)) == [request(B, 0, OTHER)]
    assert fetcher.name == OTHER


def test_helper_that_offers_it_again_has_it_again() -> None:
    fetcher = begun()
    fetcher.handle_chunk(A, chunk(0, b""), [], at(0.2))
    assert fetcher.handle_offer(A, NAME, 0, at(0.3)) == [request(A, 0)]


def test_chunk_that_does_not_come_is_asked_of_another_or_of_whoever_shows_up_next() -> None:
    fetcher = begun()
    assert fetcher.repeat([A, B], at(PATIENCE_S - 0.1)) == []
    assert fetcher.next_deadline() == PATIENCE_S
    assert fetcher.repeat([A, B], at(PATIENCE_S)) == [request(B, 0)]
    assert fetcher.repeat([B], at(2 * PATIENCE_S)) == []
    assert fetcher.handle_alive(B, at(2 * PATIENCE_S)) == [request(B, 0)]


def test_fetch_that_stalls_gives_way_to_a_newer_offer_and_one_that_goes_on_does_not() -> None:
    fetcher = begun()
    fetcher.repeat([A, B], at(PATIENCE_S))
    fetcher.handle_chunk(B, chunk(0, b"0"), [], at(PATIENCE_S))
    assert fetcher.handle_offer(A, OTHER, 0, at(PATIENCE_S)) == []
    fetcher.repeat([A, B], at(2 * PATIENCE_S))
    assert fetcher.handle_offer(B, OTHER, 0, at(2 * PATIENCE_S)) == [request(B, 0, OTHER)]
    assert (fetcher.name, fetcher.offset) == (OTHER, 0)


def trickle(fetcher: Fetcher, since: float, offset: int) -> None:
    """Let the one helper, A, keep silent for as long as the patience, and give one piece then."""
    now = since + PATIENCE_S
    fetcher.repeat([A], at(now))
    fetcher.handle_alive(A, at(now))
    assert fetcher.handle_chunk(A, chunk(offset, b"0"), [A], at(now)) != []


def test_fetch_of_a_piece_per_patience_gives_way_to_another_peers_offer() -> None:
    fetcher = begun()
    trickle(fetcher, 0.0, 0)
    assert fetcher.handle_offer(B, OTHER, 0, at(PATIENCE_S)) == []  # an outage costs no progress
    trickle(fetcher, PATIENCE_S, 1)
    assert fetcher.handle_offer(A, OTHER, 0, at(2 * PATIENCE_S)) == []  # it would be no faster
    assert fetcher.handle_offer(B, OTHER, 0, at(2 * PATIENCE_S)) == [request(B, 0, OTHER)]


def test_fetch_over_a_link_that_fails_again_and_again_gives_way_to_another_peers_offer() -> None:
    fetcher = begun()
    for number in range(3):
        broken = (PATIENCE_S - 0.1) * (number + 1)
        assert fetcher.handle_offer(B, OTHER, 0, at(broken)) == []
        assert fetcher.handle_disconnected(A, [], at(broken)) == []
        assert fetcher.handle_alive(A, at(broken)) == [request(A, number)]
        assert fetcher.handle_chunk(A, chunk(number, b"0"), [A], at(broken)) != []
    older = SnapshotName(NAME.through - 1, 10, bytes(16))
    assert fetcher.handle_offer(B, older, 0, at(3 * PATIENCE_S)) == []
    assert fetcher.handle_offer(B, OTHER, 0, at(3 * PATIENCE_S)) == [request(B, 0, OTHER)]


def test_fetch_whose_link_breaks_while_pieces_come_keeps_what_it_has() -> None:
    fetcher = begun()
    for number in range(5):
        fetcher.handle_chunk(A, chunk(number, b"0"), [A], at(number))
        assert fetcher.handle_disconnected(A, [], at(number + 0.1)) == []
        assert fetcher.handle_alive(A, at(number + 0.2)) == [request(A, number + 1)]
    assert fetcher.handle_offer(B, OTHER, 0, at(5.0)) == []


def test_fetch_that_goes_on_at_another_helper_after_a_break_is_not_given_up_meanwhile() -> None:
    fetcher = begun()
    fetcher.handle_chunk(A, chunk(0, b"012345678"), [A, C], at(0.1))
    assert fetcher.handle_disconnected(A, [C], at(3.0)) == [request(C, 9)]
    assert fetcher.handle_offer(B, OTHER, 0, at(3.01)) == []
    assert fetcher.handle_chunk(C, chunk(9, b"9"), [C], at(3.1)) != []
    assert fetcher.is_whole


def test_fetch_whose_pieces_come_a_third_of_the_time_is_kept() -> None:
    fetcher, now = begun(), 0.0
    for number in range(9):
        now += 2.0  # on its way
        assert fetcher.handle_chunk(A, chunk(number, b"0"), [A], at(now)) != []
        now += 4.0  # in vain
        assert fetcher.handle_disconnected(A, [], at(now)) == []
        assert fetcher.handle_alive(A, at(now)) == [request(A, number + 1)]
        assert fetcher.handle_offer(B, OTHER, 0, at(now)) == []


def test_fetch_whose_pieces_come_for_as_long_as_the_patience_has_forgotten_its_waits() -> None:
    fetcher = begun()
    trickle(fetcher, 0.0, 0)
    for number in range(1, 5):
        now = PATIENCE_S * (1 + number / 4)
        fetcher.handle_chunk(A, chunk(number, b"0"), [A], at(now))
    trickle(fetcher, 2 * PATIENCE_S, 5)
    assert fetcher.handle_offer(B, OTHER, 0, at(3 * PATIENCE_S)) == []
    assert fetcher.name == NAME


def test_fetch_that_was_given_a_piece_per_patience_by_all_is_kept_for_longer_each_time() -> None:
    fetcher, now, waits = begun(), 0.0, []
    names = [NAME, OTHER, SnapshotName(70, 99, bytes(16)), SnapshotName(80, 99, bytes(16))]
    for name, later in pairwise(names):
        helper, other = (A, B) if name in {NAME, names[2]} else (B, A)
        count = 0
        while fetcher.name == name:
            now += PATIENCE_S
            fetcher.repeat([helper], at(now))
            fetcher.handle_alive(helper, at(now))
            fetcher.handle_chunk(helper, chunk(count, b"0", name), [helper], at(now))
            count += 1
            fetcher.handle_offer(other, later, 0, at(now))
        waits.append(count)
    assert waits == [2, 4, 8]


def test_dead_helper_of_what_nobody_else_has_is_let_go() -> None:
    fetcher = begun()
    fetcher.repeat([B], at(PATIENCE_S))
    fetcher.handle_chunk(B, chunk(0, b""), [B], at(PATIENCE_S))
    assert fetcher.helper is None
    assert fetcher.handle_offer(B, OTHER, 0, at(PATIENCE_S + 1)) == [request(B, 0, OTHER)]


def test_spoilt_snapshot_is_not_fetched_again_at_once() -> None:
    fetcher = begun()
    fetcher.handle_spoilt(OTHER, at(0.1))
    assert fetcher.name == NAME
    fetcher.handle_spoilt(NAME, at(0.1))
    assert fetcher.handle_offer(B, NAME, 0, at(0.2)) == []
    assert fetcher.handle_offer(B, NAME, 0, at(0.1 + SPOILT_PAUSE_S)) == [request(B, 0)]


def test_whole_snapshot_waits_for_its_check_whatever_happens_to_the_helper() -> None:
    fetcher = begun()
    fetcher.handle_chunk(A, chunk(0, b"0123456789"), [], at(0.1))
    assert fetcher.handle_disconnected(A, [B], at(0.2)) == []
    assert fetcher.handle_chunk(A, chunk(0, b"0123456789"), [], at(0.2)) == []
    assert fetcher.handle_offer(B, OTHER, 0, at(0.2)) == []
    assert fetcher.name == NAME


# --- any order of anything ---


@dataclass
class Helpers:
    """Three helpers of one snapshot over links that lose, repeat and reorder."""

    data: bytes
    has: set[int]
    stored: bytearray = field(default_factory=bytearray)
    on_way: list[tuple[int, SnapshotRequest]] = field(default_factory=list)
    chunks: list[tuple[int, SnapshotChunk]] = field(default_factory=list)

    def run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StoreChunk):
                assert effect.offset == len(self.stored), "a piece where it does not belong"
                self.stored += effect.data
            else:
                assert isinstance(effect, Send)
                assert isinstance(effect.message, SnapshotRequest)
                self.on_way.append((effect.to, effect.message))

    def serve(self, index: int, length: int) -> None:
        node, wanted = self.on_way.pop(index % len(self.on_way))
        end = wanted.offset + length
        data = self.data[wanted.offset : end] if node in self.has else b""
        if wanted.offset < wanted.name.size:
            self.chunks.append((node, SnapshotChunk(wanted.name, wanted.offset, data)))


VOTERS = [A, B, C]


def act(
    world: Helpers, fetcher: Fetcher, action: str, index: int, length: int, now: Instant
) -> list[Effect]:
    """Let one thing happen; return what the fetcher does about it."""
    voter = VOTERS[index % 3]
    if action == "serve" and world.on_way:
        world.serve(index, length)
    if action in {"deliver", "repeat"} and world.chunks:
        node, piece = world.chunks[index % len(world.chunks)]
        if action == "deliver":
            world.chunks.remove((node, piece))
        return fetcher.handle_chunk(VOTERS[node - 1], piece, VOTERS, now)
    if action == "lose":
        world.on_way.clear()
    if action == "lack":
        world.has.discard(voter.node)
    if action == "break":
        return fetcher.handle_disconnected(voter, VOTERS, now)
    if action == "wait":
        return fetcher.repeat(VOTERS, now)
    return fetcher.handle_alive(voter, now) if action == "alive" else []


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["serve", "deliver", "repeat", "lose", "break", "lack", "wait", "alive"]),
        st.integers(0, 5),
        st.integers(1, 7),
    ),
    max_size=60,
)


@given(st.binary(min_size=1, max_size=40), ACTIONS)
def test_fetch_stores_every_byte_once_in_order_and_ends_once_the_links_are_well(
    data: bytes, actions: list[tuple[str, int, int]]
) -> None:
    name = SnapshotName(9, len(data), bytes(16))
    world, fetcher, now = Helpers(data, {1, 2, 3}), Fetcher(PATIENCE_S), 0.0
    world.run(fetcher.handle_offer(A, name, 0, at(now)))
    for action, index, length in actions:
        now += PATIENCE_S if action == "wait" else 0
        world.run(act(world, fetcher, action, index, length, at(now)))
    world.has = {1, 2, 3}
    for _ in range(4 * len(data) + 40):
        now += PATIENCE_S
        world.run(fetcher.repeat(VOTERS, at(now)))
        world.run(fetcher.handle_alive(C, at(now)))
        world.run(fetcher.handle_offer(C, name, 0, at(now)))
        while world.on_way:
            world.serve(0, 5)
        while world.chunks:
            node, piece = world.chunks.pop(0)
            world.run(fetcher.handle_chunk(VOTERS[node - 1], piece, VOTERS, at(now)))
    assert bytes(world.stored) == data
    assert fetcher.is_whole
    assert fetcher.progress == len(data)
