"""The elector's rules one by one. Whole elections stand in test_partial_connectivity.py."""

from __future__ import annotations

import random

import pytest

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Configurations, Member, Part
from paxos.core.effects import Send
from paxos.core.elector import Elector, Verdict
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Instant, Voter
from paxos.core.limits import DEFAULT_TIMING, Timing
from paxos.core.messages import NO_DIGEST, Heartbeat, HeartbeatAnswer
from paxos.core.quorum import Quorums

ME, SECOND, THIRD = VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
CONFIGURATIONS = Configurations(Configuration(1, Quorums.majority(VOTERS)), 16)
TIMEOUT = DEFAULT_TIMING.election_timeout_s
B1, B2 = Ballot(1, 1), Ballot(2, 2)


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def new(seed: int = 0, may_campaign: bool = True) -> Elector:
    return Elector(ME, CONFIGURATIONS, DEFAULT_TIMING, random.Random(seed), may_campaign, at(0.0))


def new_among(configuration: Configuration, accepts: bool = True) -> Elector:
    configurations = Configurations(configuration, 16)
    rng = random.Random(0)
    return Elector(ME, configurations, DEFAULT_TIMING, rng, True, at(0.0), accepts)


def beat(elector: Elector, now: float) -> int:
    elector.heartbeat(BALLOT_ZERO, False, 0, at(now))
    return elector.number


def answer(
    number: int, leader: Ballot = BALLOT_ZERO, decided: int = 0, promised: Ballot = BALLOT_ZERO
) -> HeartbeatAnswer:
    return HeartbeatAnswer(number, promised, leader, True, decided, 0)


def due(elector: Elector, now: float) -> Instant:
    """A moment at which a campaign is due, with fresh answers of both others just before it."""
    number = beat(elector, now - 0.01)
    elector.handle_answer(SECOND, answer(number))
    elector.handle_answer(THIRD, answer(number))
    return at(now)


def test_heartbeat_goes_to_every_other_voter_with_a_new_number() -> None:
    elector = new()
    first = elector.heartbeat(B1, True, 5, at(0.0))
    assert [send.to for send in first] == [2, 3]
    assert first[0].message == Heartbeat(elector.number, B1, True, 5)
    number = elector.number
    assert beat(elector, 0.1) == number + 1


def test_heartbeat_numbers_of_two_lives_do_not_meet() -> None:
    """An answer to a heartbeat of an earlier life must not confirm a read barrier of this one."""
    assert abs(beat(new(1), 0.0) - beat(new(2), 0.0)) > 1000


def test_reached_means_answered_a_heartbeat_sent_within_a_timeout() -> None:
    elector = new()
    number = beat(elector, 1.0)
    elector.handle_answer(SECOND, answer(number))
    assert list(elector.reached(at(1.0 + TIMEOUT * 0.9))) == [SECOND]
    assert elector.reached(at(1.0 + TIMEOUT * 1.1)) == {}


def test_answer_to_a_heartbeat_never_sent_or_long_ago_is_ignored() -> None:
    elector = new()
    old = beat(elector, 0.0)
    beat(elector, 2.0)
    for number in (old, elector.number + 5):
        elector.handle_answer(SECOND, answer(number))
    assert elector.reached(at(2.0)) == {}


def test_late_answer_does_not_replace_a_later_one() -> None:
    elector = new()
    first, second = beat(elector, 0.0), beat(elector, 0.1)
    elector.handle_answer(SECOND, answer(second, decided=9))
    elector.handle_answer(SECOND, answer(first, decided=3))
    assert elector.reached(at(0.2))[SECOND].decided_through == 9


def answered_in_order(elector: Elector, now: float, *voters: Voter) -> None:
    number = beat(elector, now)
    for voter in voters:
        elector.handle_answer(voter, answer(number))


def ask(elector: Elector, now: float) -> list[Send] | None:
    return elector.ask_enough(B1, 7, at(now), snapshot=NO_DIGEST, results=lambda _: NO_DIGEST)


def asked(elector: Elector, now: float) -> list[int] | None:
    sends = ask(elector, now)
    return None if sends is None else [send.to for send in sends]


@pytest.mark.parametrize(("first", "second"), [(SECOND, THIRD), (THIRD, SECOND)])
def test_question_goes_to_the_voter_that_answered_the_last_heartbeat_first(
    first: Voter, second: Voter
) -> None:
    elector = new()
    answered_in_order(elector, 0.0, second, first)
    answered_in_order(elector, 0.1, first, second)
    before = elector.number
    (send,) = ask(elector, 0.15) or []
    assert (send.to, send.message) == (first.node, Heartbeat(before + 1, B1, True, 7))


def test_question_that_is_answered_tells_nothing_of_those_that_were_not_asked() -> None:
    elector = new()
    answered_in_order(elector, 0.0, SECOND, THIRD)
    to_all = beat(elector, 0.1)
    assert asked(elector, 0.1) == [2]
    elector.handle_answer(THIRD, answer(to_all))
    elector.handle_answer(SECOND, answer(to_all))
    elector.handle_answer(SECOND, answer(elector.number))
    assert asked(elector, 0.15) == [3]


@pytest.mark.parametrize(("near", "far"), [(SECOND, THIRD), (THIRD, SECOND)])
def test_question_goes_to_the_nearer_voter_when_all_are_farther_than_heartbeats_apart(
    near: Voter, far: Voter
) -> None:
    elector = new()
    sent: list[int] = []
    for tick in range(9):  # the far one's answers take 0.25 s; the near one's 0.12 s, once it is up
        sent.append(beat(elector, 0.1 * tick))
        if tick >= 3:
            elector.handle_answer(far, answer(sent[tick - 3]))
        if tick >= 5:
            elector.handle_answer(near, answer(sent[tick - 2]))
    assert asked(elector, 0.85) == [near.node]


def test_question_goes_to_nobody_whose_connection_broke_before_it_while_others_are_enough() -> None:
    elector = new()
    answered_in_order(elector, 0.0, SECOND, THIRD)
    elector.handle_disconnected(SECOND, at(0.04))
    assert asked(elector, 0.05) == [3]
    elector.handle_disconnected(Voter(9, 109), at(0.05))  # of whom nothing was heard
    answered_in_order(elector, 0.1, SECOND, THIRD)
    assert asked(elector, 0.15) == [2]


def test_question_goes_to_no_member_whose_vote_is_not_needed() -> None:
    learners = tuple(Voter(node, 100 + node) for node in (4, 5, 6))
    members = tuple(Member(*voter) for voter in VOTERS) + tuple(
        Member(*voter, part=Part.LEARNER) for voter in learners
    )
    elector = new_among(Configuration(1, Quorums.majority(VOTERS), members))
    answered_in_order(elector, 0.0, *learners, THIRD, SECOND)
    assert asked(elector, 0.05) == [3]


def test_question_goes_to_a_quorum_that_decides_not_one_that_elects() -> None:
    more = tuple(Voter(node, 100 + node) for node in (1, 2, 3, 4, 5, 6))
    elector = new_among(Configuration(1, Quorums(frozenset(more), 5, 2)))
    answered_in_order(elector, 0.0, *more[:0:-1])
    assert asked(elector, 0.05) == [6]


def test_question_of_a_leader_without_a_vote_goes_to_a_quorum_of_the_others() -> None:
    others = tuple(Voter(node, 100 + node) for node in (2, 3, 4))
    elector = new_among(Configuration(1, Quorums.majority(others)), accepts=False)
    answered_in_order(elector, 0.0, *others)
    assert asked(elector, 0.05) == [2, 3]


def test_question_goes_to_another_once_a_heartbeat_was_not_answered() -> None:
    elector = new()
    answered_in_order(elector, 0.0, SECOND, THIRD)
    assert asked(elector, 0.05) == [2]
    answered_in_order(elector, 0.1, THIRD)
    assert asked(elector, 0.15) == [3]


def test_question_is_not_asked_while_too_few_are_reached() -> None:
    elector = new()
    assert asked(elector, 0.0) is None
    number = elector.number
    answered_in_order(elector, 0.0, SECOND)
    assert asked(elector, 2 * TIMEOUT) is None
    assert elector.number == number + 1  # of the heartbeat alone


def test_question_puts_off_no_heartbeat() -> None:
    elector = new()
    answered_in_order(elector, 0.0, SECOND, THIRD)
    assert asked(elector, 0.09) == [2]
    assert elector.heartbeat_due(at(DEFAULT_TIMING.heartbeat_interval_s))


def test_question_goes_to_a_quorum_of_every_live_configuration() -> None:
    more = tuple(Voter(node, 100 + node) for node in (1, 2, 3, 4, 5))
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), 16)
    elector = Elector(ME, configurations, DEFAULT_TIMING, random.Random(0), True, at(0.0))
    configurations.decide(1, Change(Configuration(2, Quorums.majority(more))))
    answered_in_order(elector, 0.0, *more[:0:-1])
    assert asked(elector, 0.05) == [5, 4, 3]


def test_connected_leaves_out_who_promised_above_the_ballot() -> None:
    elector = new()
    number = beat(elector, 0.0)
    elector.handle_answer(SECOND, answer(number, promised=B2))
    elector.handle_answer(THIRD, answer(number, promised=B1))
    assert elector.connected(B1, B1, at(0.1)) == {ME, THIRD}
    assert elector.connected(B1, B2, at(0.1)) == {THIRD}
    assert elector.highest_promised == B2


def test_leader_is_heard_until_a_timeout_passes() -> None:
    elector = new()
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(1.0))
    assert elector.leader(at(1.0 + TIMEOUT * 0.9)) == B2
    assert elector.leader(at(1.0 + TIMEOUT)) == BALLOT_ZERO


@pytest.mark.parametrize(
    "lost",
    [Heartbeat(2, B2, False, 0), Heartbeat(2, BALLOT_ZERO, False, 0), Heartbeat(2, B1, True, 0)],
    ids=["unconnected", "stopped leading", "another node's ballot"],
)
def test_leader_that_says_it_cannot_lead_is_lost_at_once(lost: Heartbeat) -> None:
    elector = new()
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(1.0))
    elector.handle_heartbeat(SECOND, lost, at(1.1))
    assert elector.leader(at(1.1)) == BALLOT_ZERO


def test_heartbeat_of_another_node_does_not_lose_the_leader() -> None:
    elector = new()
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(1.0))
    elector.handle_heartbeat(THIRD, Heartbeat(1, BALLOT_ZERO, False, 0), at(1.0))
    elector.handle_heartbeat(THIRD, Heartbeat(2, Ballot(1, 3), False, 0), at(1.0))
    elector.handle_heartbeat(THIRD, Heartbeat(3, Ballot(1, 3), True, 0), at(1.0))
    assert elector.leader(at(1.1)) == B2


def test_broken_connection_to_the_leader_asks_the_others_at_once() -> None:
    elector = new()
    beat(elector, 1.0)
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(1.0))
    elector.handle_disconnected(THIRD, at(1.01))
    assert elector.leader(at(1.01)) == B2
    elector.handle_disconnected(SECOND, at(1.01))
    assert elector.leader(at(1.01)) == BALLOT_ZERO
    assert elector.heartbeat_due(at(1.01))
    assert elector.next_deadline() <= 1.01


def test_new_connection_is_greeted_with_a_heartbeat() -> None:
    elector = new()
    beat(elector, 1.0)
    assert not elector.heartbeat_due(at(1.01))
    elector.handle_connected(at(1.01))
    assert elector.heartbeat_due(at(1.01))


def test_campaign_is_advised_when_due_with_quorums_willing() -> None:
    elector = new()
    assert elector.judge_following(0, due(elector, 5.0)) is Verdict.CAMPAIGN


def test_campaign_is_not_advised_before_its_time() -> None:
    elector = new()
    elector.campaigned(at(5.0))
    assert elector.judge_following(0, due(elector, 5.0 + TIMEOUT * 0.9)) is Verdict.WAIT
    assert not elector.waiting


def test_campaign_without_a_quorum_waits_and_does_not_spin() -> None:
    elector = new()
    beat(elector, 5.0)
    assert elector.judge_following(0, at(5.01)) is Verdict.WAIT
    assert elector.waiting
    assert elector.next_deadline() > 5.01


def test_campaign_against_a_leader_that_others_hear_is_not_advised() -> None:
    """The pre-vote: a node that returns must not depose a leader that works."""
    elector = new()
    number = beat(elector, 5.0)
    elector.handle_answer(SECOND, answer(number, leader=B2))
    elector.handle_answer(THIRD, answer(number, leader=B2))
    assert elector.judge_following(0, at(5.01)) is Verdict.WAIT


def test_campaign_is_not_refused_because_others_still_hear_this_node_itself() -> None:
    elector = new()
    number = beat(elector, 5.0)
    elector.handle_answer(SECOND, answer(number, leader=B1))
    assert elector.judge_following(0, at(5.01)) is Verdict.CAMPAIGN


def test_node_that_may_not_campaign_never_does() -> None:
    elector = new(may_campaign=False)
    assert elector.judge_following(0, due(elector, 5.0)) is Verdict.WAIT
    assert elector.next_deadline() == pytest.approx(4.99 + DEFAULT_TIMING.heartbeat_interval_s)


def test_node_behind_catches_up_first_and_gives_up_without_progress() -> None:
    elector = new()
    number = beat(elector, 5.0)
    elector.handle_answer(SECOND, answer(number, decided=9))
    elector.judge_following(0, at(5.0))
    assert elector.judge_following(4, at(5.1)) is Verdict.WAIT  # progress
    assert elector.judge_following(4, at(5.2)) is Verdict.WAIT  # not yet hopeless
    number = beat(elector, 5.1 + TIMEOUT)
    elector.handle_answer(SECOND, answer(number, decided=9))
    assert elector.judge_following(4, at(5.1 + TIMEOUT)) is Verdict.CAMPAIGN


def test_node_just_found_behind_catches_up_however_long_it_was_level_before() -> None:
    elector = new()
    number = beat(elector, 5.0)
    elector.handle_answer(SECOND, answer(number, decided=5))
    elector.judge_following(5, at(5.0))
    elector.campaigned(at(5.0))
    number = beat(elector, 60.0)
    elector.handle_answer(SECOND, answer(number, decided=6))
    assert elector.judge_following(5, at(60.0)) is Verdict.WAIT


def test_voter_with_a_full_disk_does_not_count() -> None:
    elector = new()
    number = beat(elector, 5.0)
    unsound = HeartbeatAnswer(number, BALLOT_ZERO, BALLOT_ZERO, False, 0, 0)
    elector.handle_answer(SECOND, unsound)
    assert elector.connected(B1, B1, at(5.0)) == {ME}
    assert elector.judge_following(0, at(5.0)) is Verdict.WAIT


def test_leader_that_completes_barriers_but_decides_nothing_gives_way() -> None:
    elector = new()
    elector.led(at(0.0))
    now = TIMEOUT * 4
    elector.handle_answer(SECOND, answer(beat(elector, now)))
    elector.confirmed(at(now))
    assert elector.judge_leading(B1, B1, 0, True, True, at(now)) is Verdict.GIVE_WAY


def test_leader_that_decides_but_completes_no_barrier_gives_way() -> None:
    elector = new()
    elector.led(at(0.0))
    now = TIMEOUT * 4
    elector.handle_answer(SECOND, answer(beat(elector, now)))
    elector.progressed(at(now))
    assert elector.judge_leading(B1, B1, 0, True, True, at(now)) is Verdict.GIVE_WAY


def test_node_that_has_caught_up_campaigns() -> None:
    elector = new()
    number = beat(elector, 5.0)
    elector.handle_answer(SECOND, answer(number, decided=9))
    elector.judge_following(3, at(5.0))
    assert elector.judge_following(9, at(5.01)) is Verdict.CAMPAIGN


def test_preempted_leader_takes_the_lead_back_unless_it_hears_of_a_leader_above() -> None:
    for named, expected in ((B1, Verdict.CAMPAIGN), (Ballot(3, 3), Verdict.WAIT)):
        elector = new()
        elector.preempted(B1, BALLOT_ZERO, at(5.0))
        number = beat(elector, 5.4)
        elector.handle_answer(SECOND, answer(number, leader=named))
        elector.handle_answer(THIRD, answer(number, leader=named))
        assert elector.judge_following(0, at(5.0 + TIMEOUT)) is expected


def test_preempted_leader_believes_the_leader_that_the_refusal_named() -> None:
    elector = new()
    elector.preempted(B1, Ballot(3, 3), at(5.0))
    number = beat(elector, 5.4)
    elector.handle_answer(SECOND, answer(number, leader=Ballot(3, 3)))
    assert elector.judge_following(0, at(5.0 + TIMEOUT)) is Verdict.WAIT


def test_preempted_leader_that_hears_a_leader_follows_it() -> None:
    elector = new()
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(5.0))
    elector.preempted(B1, BALLOT_ZERO, at(5.0))
    elector.handle_heartbeat(SECOND, Heartbeat(2, B2, True, 0), at(5.2))
    now = due(elector, 5.0 + TIMEOUT)
    assert elector.judge_following(0, now) is Verdict.WAIT
    assert elector.next_deadline() > now.monotonic


def test_preempted_after_hearing_the_leader_waits_for_that_leader_to_fail() -> None:
    elector = new()
    elector.handle_heartbeat(SECOND, Heartbeat(1, B2, True, 0), at(5.0))
    elector.preempted(B1, B2, at(5.0))
    now = due(elector, 5.0 + TIMEOUT * 0.99)
    assert elector.judge_following(0, now) is Verdict.WAIT
    assert elector.next_deadline() > now.monotonic


def test_lead_is_taken_back_at_most_once_per_timeout() -> None:
    elector = new()
    elector.preempted(B1, BALLOT_ZERO, at(5.0))
    elector.campaigned(at(5.4))
    elector.preempted(Ballot(3, 1), BALLOT_ZERO, at(5.4))
    for now, expected in ((5.4 + TIMEOUT, Verdict.WAIT), (5.5 + TIMEOUT, Verdict.CAMPAIGN)):
        number = beat(elector, now - 0.01)
        elector.handle_answer(SECOND, answer(number, leader=B2))
        assert elector.judge_following(0, at(now)) is expected


def test_leader_without_a_connected_quorum_gives_way() -> None:
    """Others can only take over once it does."""
    elector = new()
    elector.led(at(0.0))
    number = beat(elector, 0.0)
    elector.handle_answer(SECOND, answer(number))
    assert elector.judge_leading(B1, B1, 0, False, False, at(0.1)) is Verdict.WAIT
    assert elector.judge_leading(B1, B1, 0, False, False, at(TIMEOUT)) is Verdict.GIVE_WAY


def test_leader_with_work_and_no_progress_gives_way_and_an_idle_one_does_not() -> None:
    for has_work, expected in ((True, Verdict.GIVE_WAY), (False, Verdict.WAIT)):
        elector = new()
        elector.led(at(0.0))
        now = TIMEOUT * 4
        elector.handle_answer(SECOND, answer(beat(elector, now)))
        assert elector.judge_leading(B1, B1, 0, has_work, False, at(now)) is expected
        elector.progressed(at(now))
        assert elector.judge_leading(B1, B1, 0, True, False, at(now)) is Verdict.WAIT


def test_leader_that_gave_way_lets_others_try_first() -> None:
    elector = new()
    elector.gave_way(at(5.0))
    assert elector.judge_following(0, due(elector, 5.0 + TIMEOUT)) is Verdict.WAIT
    assert elector.judge_following(0, due(elector, 5.0 + 4 * TIMEOUT)) is Verdict.CAMPAIGN


@pytest.mark.parametrize(
    ("timing", "complaint"),
    [
        ({"heartbeat_interval_s": 0.0}, "above 0"),
        ({"notice_interval_s": 9999.0}, "below an hour"),
        ({"heartbeat_interval_s": 0.4}, "at least twice"),
    ],
)
def test_timing_that_cannot_work_is_refused(timing: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=complaint):
        Timing(**timing)
