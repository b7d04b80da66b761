"""The proposer beyond the paper: windows, batches, repeats, late and cut promises."""

from __future__ import annotations

import dataclasses
import math

import pytest

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Configurations
from paxos.core.effects import Effect, Persist, Send
from paxos.core.ids import Instant, Voter
from paxos.core.limits import DEFAULT_TIMING, Limits
from paxos.core.messages import Accept, HeartbeatAnswer, Prepare, Promise, Report
from paxos.core.proposer import Phase, Proposer, outweighs
from paxos.core.quorum import Quorums
from paxos.core.value import NOOP, Value

ME, SECOND, THIRD = VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
LATER = DEFAULT_TIMING.resend_interval_s
V, W = Value(1, b"v"), Value(2, b"w")
OLD = Ballot(0, 2)


def at(seconds: float) -> Instant:
    return Instant(seconds, int(seconds * 1e6))


def new(alpha: int = 8, limits: Limits | None = None) -> Proposer:
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha)
    return Proposer(ME, configurations, BALLOT_ZERO, limits or Limits(), DEFAULT_TIMING)


def promise(
    proposer: Proposer, *reports: Report, above: int = 0, through: int | None = None
) -> Promise:
    return Promise(proposer.ballot, above, through, 0, 0, 1_000_000, reports)


def leading(proposer: Proposer, *reports: Report, decided: int = 0) -> Proposer:
    proposer.campaign(BALLOT_ZERO, decided, {}, at(0.0))
    for voter in (ME, SECOND):
        proposer.handle_promise(voter, promise(proposer, *reports, above=decided), decided, at(0.0))
    assert proposer.start_leading(decided)
    return proposer


def propose(proposer: Proposer, decided: int = 0, stamp: int = 0) -> list[tuple[int, bytes]]:
    accepts = proposer.propose(decided, stamp, at(0.0))
    return [(accept.slot, accept.value.commands) for accept in accepts]


def sent(effects: list[Effect]) -> list[tuple[int, type, bool]]:
    """Who is sent what, and whether behind a write."""
    out = []
    for effect in effects:
        sends = effect.then if isinstance(effect, Persist) else (effect,)
        for send in sends:
            assert isinstance(send, Send)
            out.append((send.to, type(send.message), isinstance(effect, Persist)))
    return out


def test_phases_go_from_idle_through_preparing_to_leading_and_back() -> None:
    proposer = new()
    seen = [proposer.phase]
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    seen.append(proposer.phase)
    assert not proposer.start_leading(0)
    leading(proposer)
    seen.append(proposer.phase)
    assert not proposer.start_leading(0)
    proposer.stop()
    seen.append(proposer.phase)
    assert not proposer.start_leading(0)
    assert seen == [Phase.IDLE, Phase.PREPARING, Phase.LEADING, Phase.IDLE]


def test_idle_proposer_does_nothing() -> None:
    proposer = new()
    proposer.submit(7, b"x")
    assert proposer.propose(0, 0, at(0.0)) == []
    assert not proposer.has_work
    assert not proposer.is_outbid_by(Ballot(9, 9))
    assert proposer.handle_decided(1, V)
    assert proposer.next_deadline() == math.inf
    assert proposer.resend_to(SECOND, {}, 0) == []


def test_promises_of_another_ballot_or_twice_are_ignored() -> None:
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    proposer.handle_promise(SECOND, Promise(Ballot(9, 1), 0, None, 0, 0, 0, ()), 0, at(0.0))
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    assert proposer.promised == {ME}
    assert proposer.issued == proposer.ballot


def test_promise_in_parts_counts_only_when_they_cover_everything() -> None:
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    one = promise(proposer, Report(1, OLD, V), above=0, through=3)
    two = promise(proposer, Report(4, OLD, W), above=3, through=5)
    three = promise(proposer, above=5)
    for part in (three, one):
        proposer.handle_promise(SECOND, part, 0, at(0.0))
    assert proposer.promised == set()
    proposer.handle_promise(SECOND, two, 0, at(0.0))
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    assert proposer.start_leading(0)
    assert propose(proposer) == [(1, b"v"), (2, b""), (3, b""), (4, b"w")]


def test_parts_of_two_voters_are_not_put_together() -> None:
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    proposer.handle_promise(SECOND, promise(proposer, above=0, through=3), 0, at(0.0))
    proposer.handle_promise(THIRD, promise(proposer, above=3), 0, at(0.0))
    assert proposer.promised == set()


def test_late_promise_counts_for_slots_not_yet_proposed_and_only_those() -> None:
    """The value is that of the highest ballot over all promises received, at that moment."""
    proposer = leading(new(alpha=2), Report(1, OLD, V), Report(3, OLD, V))
    assert propose(proposer) == [(1, b"v"), (2, b"")]
    higher = Ballot(0, 3)
    reports = (Report(1, higher, W), Report(3, higher, W), Report(4, None, W))
    late = proposer.handle_promise(THIRD, promise(proposer, *reports), 0, at(0.0))
    assert [report.slot for report in late] == [4]
    proposer.handle_decided(1, V)
    proposer.handle_decided(2, NOOP)
    assert propose(proposer, decided=2) == [(3, b"w")]


@pytest.mark.parametrize(
    ("ballot", "known", "wins"),
    [
        (Ballot(2, 1), Ballot(1, 1), True),
        (Ballot(1, 1), Ballot(2, 1), False),
        (None, Ballot(9, 9), True),
        (Ballot(9, 9), None, False),
        (None, None, False),
    ],
)
def test_report_outweighs_another_only_by_ballot_or_decision(
    ballot: Ballot | None, known: Ballot | None, wins: bool
) -> None:
    assert outweighs(ballot, known) is wins


def test_batch_forms_from_all_that_arrived_while_the_last_write_was_under_way() -> None:
    proposer = leading(new())
    proposer.submit(7, b"a")
    assert propose(proposer) == [(1, b"a")]
    for more in (b"b", b"c"):
        proposer.submit(7, more)
        assert propose(proposer) == []
    proposer.written(proposer.ballot, 1)
    assert propose(proposer) == [(2, b"bc")]
    assert proposer.pending_bytes == 0


def test_batch_own_write_of_an_earlier_slot_does_not_free_the_next() -> None:
    proposer = leading(new(), Report(1, OLD, V))
    proposer.submit(7, b"a")
    assert propose(proposer) == [(1, b"v"), (2, b"a")]
    proposer.written(proposer.ballot, 1)
    proposer.written(OLD, 2)
    proposer.submit(7, b"b")
    assert propose(proposer) == []


def test_batch_closes_at_its_bound_and_one_large_submission_goes_alone() -> None:
    proposer = leading(new(limits=Limits(batch_bytes_max=4)))
    for submission in (b"aa", b"bb", b"c", b"dddddd"):
        proposer.submit(7, submission)
    out = propose(proposer)
    for slot in range(1, 4):
        proposer.written(proposer.ballot, slot)
        out += propose(proposer)
    assert out == [(1, b"aabb"), (2, b"c"), (3, b"dddddd")]


def test_submissions_over_the_bound_are_not_taken() -> None:
    proposer = leading(new(limits=Limits(pending_bytes_max=3)))
    assert proposer.submit(7, b"ab")
    assert not proposer.submit(7, b"cd")
    assert proposer.submit(7, b"e")
    assert proposer.pending_bytes == 3


def test_submission_larger_than_the_bound_is_taken_when_nothing_waits() -> None:
    """Found by the simulator, seed 1147: it was told to ask later, for ever."""
    proposer = leading(new(limits=Limits(pending_bytes_max=3)))
    assert proposer.submit(7, b"abcd")
    assert not proposer.submit(7, b"e")
    assert propose(proposer) == [(1, b"abcd")]


def test_submissions_of_a_client_that_is_gone_get_no_slot_and_the_others_keep_their_order() -> None:
    """Seed 2290 of the simulator, of November 2026: what nobody waited for took all the slots."""
    proposer = leading(new())
    proposer.submit(7, b"a")
    assert propose(proposer) == [(1, b"a")]
    for client, submission in ((7, b"b"), (8, b"c"), (9, b"d"), (7, b"e"), (8, b"f")):
        proposer.submit(client, submission)
    proposer.forget(8)
    assert proposer.pending_bytes == 3
    proposer.written(proposer.ballot, 1)
    assert propose(proposer) == [(2, b"bde")]
    assert (proposer.pending_bytes, list(proposer.in_flight)) == (0, [1, 2])


def test_submissions_of_clients_that_are_all_gone_leave_nothing_to_do() -> None:
    proposer = leading(new(limits=Limits(pending_bytes_max=3)))
    for client in (7, 8):
        proposer.submit(client, b"a")
    for client in (7, 8, 9):
        proposer.forget(client)
    assert (proposer.pending_bytes, proposer.has_work) == (0, False)
    assert propose(proposer) == []
    assert proposer.submit(9, b"bcd")
    assert propose(proposer) == [(1, b"bcd")]


def test_submission_after_its_client_was_forgotten_is_taken_once() -> None:
    proposer = leading(new())
    proposer.submit(7, b"a")
    proposer.submit(8, b"b")
    proposer.forget(7)
    proposer.submit(7, b"c")
    assert sorted(propose(proposer)[0][1]) == sorted(b"bc")
    assert (proposer.pending_bytes, proposer.has_work) == (0, True)
    proposer.written(proposer.ballot, 1)
    assert propose(proposer) == []


def test_stamp_is_the_voters_clock_and_is_fixed_with_the_value() -> None:
    proposer = leading(new())
    proposer.read_clock(THIRD, HeartbeatAnswer(1, Ballot(9, 9), OLD, True, 0, 9), at(0.0))
    proposer.read_clock(
        THIRD, HeartbeatAnswer(1, proposer.ballot, OLD, True, 0, 3_000_000), at(0.0)
    )
    proposer.submit(7, b"a")
    (accept,) = proposer.propose(0, 7, at(0.5))
    assert accept.value.stamp == 1_500_000


def test_proposer_without_a_vote_hears_of_its_own_ballot_too() -> None:
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), 8)
    proposer = Proposer(Voter(9, 1), configurations, BALLOT_ZERO, Limits(), DEFAULT_TIMING)
    effects = proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    assert sent(effects) == [(node, Prepare, True) for node in (1, 2, 3, 9)]


def test_slot_known_decided_above_a_hole_before_the_campaign_is_not_proposed() -> None:
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {3: V}, at(0.0))
    for voter in (SECOND, THIRD):
        reports = (Report(3, OLD, V), Report(4, OLD, W))
        proposer.handle_promise(voter, promise(proposer, *reports), 0, at(0.0))
    assert proposer.start_leading(0)
    assert propose(proposer) == [(1, b""), (2, b""), (4, b"w")]


def test_window_moves_with_what_is_decided_elsewhere() -> None:
    proposer = leading(new(alpha=2))
    for slot in range(1, 6):
        proposer.handle_decided(slot, V)
    proposer.submit(7, b"a")
    assert propose(proposer, decided=5) == [(6, b"a")]


def test_decided_slot_above_a_hole_makes_the_hole_a_noop() -> None:
    proposer = leading(new())
    assert proposer.handle_decided(3, V)
    assert proposer.has_work
    assert propose(proposer) == [(1, b""), (2, b"")]


def test_decided_value_that_differs_from_the_proposed_one_is_told() -> None:
    proposer = leading(new(), Report(1, OLD, V), Report(2, OLD, V))
    propose(proposer)
    assert proposer.handle_decided(1, V)
    assert not proposer.handle_decided(2, W)


def test_slot_without_a_quorum_of_promises_is_not_proposed_and_they_are_asked_for() -> None:
    """Invariant 8: whatever else goes wrong, no Accept leaves without promises."""
    proposer = leading(new())
    proposer._promised.clear()
    proposer.submit(7, b"x")
    assert propose(proposer) == []
    assert proposer.has_work
    proposer.handle_own_prepare(Prepare(proposer.ballot, 0))
    again = proposer.resend({}, 0, at(LATER))
    assert sent(again) == [(node, Prepare, True) for node in (1, 2, 3)]


def test_reports_at_or_below_what_is_decided_meanwhile_are_not_proposed() -> None:
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    for voter in (ME, SECOND):
        proposer.handle_promise(voter, promise(proposer, Report(1, OLD, V)), 0, at(0.0))
    proposer.handle_decided(1, V)
    assert proposer.start_leading(1)
    assert propose(proposer, decided=1) == []
    assert proposer.may_read(1)


def test_prepare_is_sent_again_to_who_has_not_promised_and_only_behind_writes() -> None:
    """A ballot must be durable as issued before any Prepare of it leaves, a repeat too."""
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    assert proposer.issuing
    assert proposer.resend({}, 0, at(LATER)) == []
    assert proposer.resend_to(THIRD, {}, 0) == []
    assert proposer.next_deadline() == math.inf
    proposer.handle_own_prepare(Prepare(Ballot(0, 1), 0))
    assert proposer.issuing
    proposer.handle_own_prepare(Prepare(proposer.ballot, 0))
    assert proposer.resend({}, 0, at(LATER / 2)) == []
    assert proposer.next_deadline() == pytest.approx(LATER)
    again = proposer.resend({}, 0, at(LATER))
    assert sent(again) == [(2, Prepare, True), (3, Prepare, True)]
    assert sent(proposer.resend_to(THIRD, {}, 0)) == [(3, Prepare, True)]
    assert proposer.resend_to(ME, {}, 0) == []
    assert proposer.resend_to(Voter(3, 999), {}, 0) == []


def test_accept_is_sent_again_to_who_has_not_answered() -> None:
    """One lost Accept must not be lost for good."""
    proposer = leading(new(), Report(1, OLD, V))
    propose(proposer)
    votes = {1: {ME, SECOND}}
    assert proposer.resend(votes, 0, at(LATER / 2)) == []
    assert proposer.next_deadline() == pytest.approx(LATER)
    assert sent(proposer.resend(votes, 0, at(LATER))) == [(3, Accept, False)]
    assert proposer.resend(votes, 0, at(LATER)) == []
    assert sent(proposer.resend_to(THIRD, votes, 0)) == [(3, Accept, False)]
    assert proposer.resend_to(SECOND, votes, 0) == []


def test_notice_is_owed_until_something_carries_the_watermark() -> None:
    proposer = leading(new())
    proposer.owe_notice(0, at(1.0))
    assert proposer.next_deadline() == math.inf
    proposer.owe_notice(3, at(1.0))
    first = proposer.next_deadline()
    proposer.owe_notice(4, at(1.01))
    assert proposer.next_deadline() == first
    assert proposer.notice_due(at(first))
    proposer.told(4)
    assert not proposer.notice_due(at(first))
    proposer.owe_notice(5, at(2.0))
    proposer.submit(7, b"a")
    propose(proposer, decided=5)
    assert not proposer.notice_due(at(9.0))


def test_stopped_proposer_keeps_nothing_of_its_ballot() -> None:
    proposer = leading(new(), Report(1, OLD, V))
    proposer.submit(7, b"x")
    propose(proposer)
    ballot = proposer.ballot
    proposer.stop()
    assert (proposer.in_flight, proposer.pending_bytes, proposer.has_work) == ({}, 0, False)
    leading(proposer)
    assert proposer.ballot > ballot
    assert propose(proposer) == []


# --- damage, compaction and changes --------------------------------------------------------------


def test_promise_of_a_voter_that_cannot_tell_does_not_count_for_that_slot_alone() -> None:
    """Slot 2 may hold a chosen value there, which damage hides; slots 1 and 3 are certain."""
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    hidden = dataclasses.replace(promise(proposer, Report(1, OLD, V)), unknown=((2, 2), (5, 9)))
    proposer.handle_promise(ME, promise(proposer, Report(3, OLD, W)), 0, at(0.0))
    proposer.handle_promise(SECOND, hidden, 0, at(0.0))
    assert proposer.start_leading(0)
    proposer.handle_own_prepare(Prepare(proposer.ballot, 0))
    assert not proposer.may_read(0)
    assert propose(proposer) == [(1, b"v")]
    assert proposer.has_work
    assert sent(proposer.resend({1: {ME}}, 0, at(LATER / 2))) == []
    proposer.handle_decided(1, V)
    assert sent(proposer.resend({}, 1, at(LATER))) == [(3, Prepare, True)]
    proposer.handle_promise(THIRD, promise(proposer), 1, at(LATER))
    assert propose(proposer, decided=1) == [(2, b""), (3, b"w")]


def test_read_waits_while_damage_hides_what_a_slot_of_the_window_holds() -> None:
    """What was chosen there, and acknowledged, would be missing from the answer."""
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    hidden = dataclasses.replace(promise(proposer), unknown=((2, 2),))
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    proposer.handle_promise(SECOND, hidden, 0, at(0.0))
    assert proposer.start_leading(0)
    assert not proposer.may_read(0)
    assert proposer.may_read(2)  # mended: it is decided
    proposer.handle_promise(THIRD, promise(proposer), 0, at(0.0))
    assert proposer.may_read(0)


def test_read_waits_for_what_a_voter_that_promised_late_has_forgotten() -> None:
    """It was decided, and may have been acknowledged, though no promise reports it any more."""
    proposer = leading(new(), decided=3)
    assert proposer.may_read(3)
    late = dataclasses.replace(promise(proposer, above=3), compacted_through=9)
    proposer.handle_promise(THIRD, late, 3, at(0.0))
    assert not proposer.may_read(8)
    assert proposer.may_read(9)


def test_leading_waits_for_slots_that_acceptors_have_forgotten() -> None:
    """They are decided: a value for one of them would overwrite what was chosen."""
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    forgotten = dataclasses.replace(promise(proposer, Report(7, None, V)), compacted_through=6)
    proposer.handle_promise(ME, promise(proposer), 0, at(0.0))
    assert not proposer.is_catching_up(0)
    proposer.handle_promise(SECOND, forgotten, 0, at(0.0))
    assert proposer.promised == {ME, SECOND}
    assert proposer.is_catching_up(5)
    assert not proposer.start_leading(5)
    assert not proposer.is_catching_up(6)
    assert proposer.start_leading(6)


def test_late_promise_of_who_has_forgotten_stops_proposals_until_it_is_caught_up() -> None:
    proposer = leading(new(), Report(1, OLD, V), Report(2, OLD, V))
    proposer.note_compacted(1)
    assert propose(proposer) == []
    assert proposer.has_work
    proposer.handle_decided(1, V)
    assert propose(proposer, decided=1) == [(2, b"v")]


def test_promise_of_a_late_voter_need_only_cover_what_is_not_decided() -> None:
    """A leader of many slots asks a new voter about those above its watermark alone."""
    proposer = leading(new())
    proposer.handle_decided(1, V)
    ask = proposer.resend_to(THIRD, {}, 1)
    assert ask == []  # nothing is lacking
    late = Promise(proposer.ballot, 1, None, 1, 0, 0, ())
    assert proposer.handle_promise(THIRD, late, 1, at(0.0)) == []
    assert THIRD in proposer.promised


def with_change(alpha: int = 4) -> tuple[Proposer, Configurations, Configuration]:
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha)
    proposer = Proposer(ME, configurations, BALLOT_ZERO, Limits(), DEFAULT_TIMING)
    fourth = Voter(4, 104)
    wanted = Configuration(2, Quorums.majority([*VOTERS, fourth]))
    return leading(proposer), configurations, wanted


def test_change_stands_alone_in_its_slot_before_what_waits() -> None:
    proposer, _, wanted = with_change()
    proposer.submit(7, b"a")
    proposer.submit_change(Change(wanted))
    accepts = proposer.propose(0, 0, at(0.0))
    assert [accept.value for accept in accepts] == [
        Value(None, b"", Change(wanted)),
        Value(1_000_000, b"a"),
    ]
    assert proposer.is_changing
    proposer.handle_decided(1, accepts[0].value)
    assert not proposer.is_changing


def test_change_goes_ahead_of_a_batch_that_waits_for_the_disk() -> None:
    proposer, _, wanted = with_change()
    proposer.submit(7, b"a")
    propose(proposer)
    proposer.submit(7, b"b")
    proposer.submit_change(Change(wanted))
    (accept,) = proposer.propose(0, 0, at(0.0))
    assert accept.value.change == Change(wanted)


def test_change_taken_back_is_not_proposed() -> None:
    proposer, _, wanted = with_change()
    proposer.submit_change(Change(wanted))
    proposer.submit_change(None)
    assert propose(proposer) == []


def test_reported_change_is_a_change_on_its_way() -> None:
    _, _, wanted = with_change()
    proposer = new()
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    report = Report(1, OLD, Value(None, b"", Change(wanted)))
    proposer.handle_promise(ME, promise(proposer, report), 0, at(0.0))
    assert proposer.is_changing


def test_noops_and_batches_fill_the_slots_before_a_decided_change_governs() -> None:
    proposer, configurations, wanted = with_change(alpha=4)
    proposer.submit_change(Change(wanted))
    (accept,) = proposer.propose(0, 0, at(0.0))
    configurations.decide(1, Change(wanted))
    proposer.handle_decided(1, accept.value)
    proposer.submit(7, b"a")
    assert propose(proposer, decided=1) == [(2, b"a"), (3, b""), (4, b"")]
    proposer.submit(7, b"b")
    assert propose(proposer, decided=1) == []  # slot 5 is governed by four, of which two promised


def test_new_voters_are_asked_for_promises_and_slots_of_theirs_wait_for_them() -> None:
    proposer, configurations, wanted = with_change(alpha=2)
    proposer.handle_own_prepare(Prepare(proposer.ballot, 0))
    assert not proposer.seek(wanted, 0)
    assert sent(proposer.reach_out(0, at(0.0))) == [(3, Prepare, True), (4, Prepare, True)]
    assert proposer.next_deadline() == pytest.approx(LATER)
    assert proposer.may_read(0)  # reads do not wait for who does not vote yet
    assert sent(proposer.resend_to(Voter(4, 104), {}, 0)) == [(4, Prepare, True)]
    proposer.handle_promise(Voter(4, 104), promise(proposer), 0, at(0.0))
    assert proposer.seek(wanted, 0)
    assert proposer.next_deadline() == math.inf
    configurations.decide(1, Change(wanted))
    proposer.handle_decided(1, NOOP)
    proposer.handle_decided(2, NOOP)
    proposer.submit(7, b"a")
    assert propose(proposer, decided=2) == [(3, b"a")]
    assert not proposer.seek(None, 2)


def test_reach_out_is_for_a_ballot_that_is_open_and_durable() -> None:
    proposer = new()
    assert proposer.reach_out(0, at(0.0)) == []
    proposer.campaign(BALLOT_ZERO, 0, {}, at(0.0))
    assert proposer.reach_out(0, at(0.0)) == []
    proposer.handle_own_prepare(Prepare(proposer.ballot, 0))
    assert [to for to, _, _ in sent(proposer.reach_out(0, at(0.0)))] == [1, 2, 3]
    for voter in VOTERS:
        proposer.handle_promise(voter, promise(proposer), 0, at(0.0))
    assert proposer.reach_out(0, at(0.0)) == []


def test_snapshot_that_passes_what_is_in_flight_ends_the_ballot() -> None:
    proposer = leading(new(), Report(1, OLD, V), Report(2, OLD, V))
    assert proposer.handle_installed(9)
    propose(proposer)
    assert not proposer.handle_installed(1)
    assert list(proposer.in_flight) == [2]


def test_reports_of_slots_that_were_decided_elsewhere_are_dropped() -> None:
    proposer = leading(new(alpha=1))
    for slot in (2, 3):
        proposer.handle_decided(slot, V)
    assert propose(proposer, decided=3) == []
    assert proposer._reports == {}
