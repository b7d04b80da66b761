"""The read barrier: which reads one round may serve."""

from __future__ import annotations

from paxos.core.barrier import ReadBarrier
from paxos.core.config import Configuration
from paxos.core.ids import Voter
from paxos.core.messages import Level, Read
from paxos.core.quorum import Quorums

VOTERS = tuple(Voter(node, 1) for node in (1, 2, 3))
LIVE = (Configuration(1, Quorums.majority(VOTERS)),)


def reader(number: int, client: int = 1) -> tuple[int, Read]:
    return client, Read(number, Level.LINEARIZABLE, "m", b"", 0)


def numbers(readers: list[tuple[int, Read]]) -> list[int]:
    return [read.number for _, read in readers]


def test_round_is_confirmed_by_a_quorum_and_serves_all_who_waited() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.add(reader(2))
    assert barrier.wants_round
    barrier.begin(7, required=5)
    assert barrier.confirm(VOTERS[0], 7, LIVE) == (0, [])
    required, readers = barrier.confirm(VOTERS[1], 7, LIVE)
    assert (required, numbers(readers)) == (5, [1, 2])
    assert len(barrier) == 0


def test_read_that_arrives_during_a_round_waits_for_the_next() -> None:
    """It was not there when the round began, so the round says nothing about it."""
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.begin(7, 0)
    barrier.add(reader(2))
    assert not barrier.wants_round
    barrier.confirm(VOTERS[0], 7, LIVE)
    assert numbers(barrier.confirm(VOTERS[1], 7, LIVE)[1]) == [1]
    assert barrier.wants_round


def test_answer_to_an_earlier_heartbeat_confirms_nothing() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.begin(7, 0)
    for voter in VOTERS:
        assert barrier.confirm(voter, 6, LIVE) == (0, [])


def test_answer_to_a_later_heartbeat_confirms() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.begin(7, 0)
    barrier.confirm(VOTERS[0], 8, LIVE)
    assert numbers(barrier.confirm(VOTERS[1], 9, LIVE)[1]) == [1]


def test_one_voter_twice_is_no_quorum() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.begin(7, 0)
    for _ in range(3):
        assert barrier.confirm(VOTERS[0], 7, LIVE) == (0, [])


def test_answer_without_a_round_is_ignored() -> None:
    assert ReadBarrier().confirm(VOTERS[0], 1, LIVE) == (0, [])


def test_gone_client_is_forgotten_and_the_others_stay() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1, client=1))
    barrier.add(reader(2, client=2))
    barrier.begin(7, 0)
    barrier.add(reader(3, client=1))
    barrier.add(reader(4, client=2))
    barrier.forget(1)
    assert numbers(barrier.abandon()) == [2, 4]


def test_abandoned_barrier_starts_afresh() -> None:
    barrier = ReadBarrier()
    barrier.add(reader(1))
    barrier.begin(7, 0)
    barrier.add(reader(2))
    assert numbers(barrier.abandon()) == [1, 2]
    assert not barrier.wants_round
    assert barrier.confirm(VOTERS[0], 9, LIVE) == (0, [])
