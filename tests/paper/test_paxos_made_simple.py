"""One test per claim of Lamport, "Paxos Made Simple" (2001), by section.

Sections 2.1 to 2.5 are about one decision: the roles are used by themselves, on slot 1. Section 3
is about the log. Values stand for the paper's v, ballots for its n.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.acceptor import Acceptor
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Configurations
from paxos.core.effects import Effect, Persist, Send
from paxos.core.ids import Instant, Voter
from paxos.core.learner import Learner
from paxos.core.limits import DEFAULT_LIMITS, DEFAULT_TIMING
from paxos.core.messages import (
    Accept,
    Accepted,
    Nack,
    OpenSession,
    PeerMessage,
    Prepare,
    Promise,
    Report,
    Results,
    Submit,
)
from paxos.core.proposer import Proposer
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    replay,
)
from paxos.core.replica import Role
from paxos.core.value import NOOP, Value
from paxos.testing.stepped import Stepped

V, W = Value(1, b"v"), Value(2, b"w")
NOW = Instant(1.0, 1_000_000)
VOTERS = tuple(Voter(node, 100 + node) for node in (1, 2, 3))
CONFIGURATIONS = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=16)


def new_acceptor(records: tuple[Record, ...] = ()) -> Acceptor:
    return Acceptor(replay(records), promise_bytes_max=1 << 20)


def new_proposer(node: int = 1, issued: Ballot = BALLOT_ZERO) -> Proposer:
    me = Voter(node, 100 + node)
    return Proposer(me, CONFIGURATIONS, issued, DEFAULT_LIMITS, DEFAULT_TIMING)


def prepare(acceptor: Acceptor, ballot: Ballot, after: int = 0) -> list[Effect]:
    return acceptor.handle_prepare(Prepare(ballot, after), 0, BALLOT_ZERO, clock=0)


def accept(acceptor: Acceptor, ballot: Ballot, value: Value, slot: int = 1) -> list[Effect]:
    effects = acceptor.handle_accept(Accept(ballot, slot, value, 0), 0, BALLOT_ZERO)
    assert effects is not None
    return effects


def answer(effects: list[Effect]) -> PeerMessage:
    """The one message in the effects, whether it waits for a write or not."""
    (effect,) = effects
    sends = effect.then if isinstance(effect, Persist) else (effect,)
    (send,) = sends
    assert isinstance(send, Send)
    return send.message


Holdings = dict[int, tuple[Ballot | None, Value]]


def promise_of(ballot: Ballot, held: Holdings) -> Promise:
    reports = tuple(Report(slot, b, value) for slot, (b, value) in sorted(held.items()))
    return Promise(ballot, 0, None, 0, 0, 0, reports)


def led(proposer: Proposer, promises: dict[Voter, Holdings]) -> Ballot:
    """Run phase 1 of a proposer with these answers; return its ballot."""
    proposer.campaign(BALLOT_ZERO, 0, {}, NOW)
    for voter, held in promises.items():
        proposer.handle_promise(voter, promise_of(proposer.ballot, held), 0, NOW)
    proposer.start_leading(0)
    return proposer.ballot


# --- 2.1 choosing a value -------------------------------------------------------------------------


def test_p1_acceptor_with_no_promise_accepts_the_first_proposal_it_receives() -> None:
    """2.1: "P1. An acceptor must accept the first proposal that it receives."."""
    acceptor = new_acceptor()
    ballot = Ballot(1, 2)
    assert accept(acceptor, ballot, V) == [
        Persist((AcceptedRecord(ballot, 1, V),), (Send(2, Accepted(ballot, 1, 0)),))
    ]


def test_p1_acceptor_may_accept_more_than_one_proposal() -> None:
    """2.1: a single acceptance is not enough, so acceptors must be allowed to accept several."""
    acceptor = new_acceptor()
    accept(acceptor, Ballot(1, 1), V)
    assert isinstance(answer(accept(acceptor, Ballot(2, 2), W)), Accepted)
    held = acceptor.held(1)
    assert held is not None
    assert (held.ballot, held.value) == (Ballot(2, 2), W)


def test_choosing_majority_accepted_is_chosen_and_less_is_not() -> None:
    """2.1: "a value is chosen when a single proposal has been accepted by a majority"."""
    learner = Learner(CONFIGURATIONS)
    ballot = Ballot(1, 1)
    learner.count_at(ballot)
    learner.open(1, V)
    assert learner.handle_accepted(VOTERS[0], Accepted(ballot, 1, 0)) is None
    assert learner.handle_accepted(VOTERS[1], Accepted(ballot, 1, 0)) == V


def test_choosing_any_two_majorities_share_an_acceptor() -> None:
    """2.1: "any two majorities have at least one acceptor in common", for 1 to 7 acceptors."""
    for count in range(1, 8):
        voters = [Voter(node, 1) for node in range(1, count + 1)]
        quorums = Quorums.majority(voters)
        sets = [set(c) for r in range(count + 1) for c in itertools.combinations(voters, r)]
        phase1 = [s for s in sets if quorums.is_phase1(s)]
        phase2 = [s for s in sets if quorums.is_phase2(s)]
        assert phase1
        assert all(a & b for a in phase1 for b in phase2)


def test_choosing_votes_of_different_proposals_are_not_added_up() -> None:
    """2.1: what is chosen is a *proposal*: acceptances of two numbers do not make a majority."""
    learner = Learner(CONFIGURATIONS)
    learner.count_at(Ballot(2, 1))
    learner.open(1, V)
    assert learner.handle_accepted(VOTERS[0], Accepted(Ballot(1, 2), 1, 0)) is None
    assert learner.handle_accepted(VOTERS[1], Accepted(Ballot(2, 1), 1, 0)) is None


def test_choosing_one_acceptor_that_answers_twice_counts_once() -> None:
    """2.1: a majority is a set of acceptors, not a number of messages."""
    learner = Learner(CONFIGURATIONS)
    learner.count_at(Ballot(1, 1))
    learner.open(1, V)
    for _ in range(3):
        assert learner.handle_accepted(VOTERS[0], Accepted(Ballot(1, 1), 1, 0)) is None


def test_choosing_acceptance_by_another_incarnation_of_a_voter_does_not_count() -> None:
    """2.1 with 2.5: an acceptor that lost its memory is another acceptor."""
    learner = Learner(CONFIGURATIONS)
    learner.count_at(Ballot(1, 1))
    learner.open(1, V)
    learner.handle_accepted(VOTERS[0], Accepted(Ballot(1, 1), 1, 0))
    assert learner.handle_accepted(Voter(2, 999), Accepted(Ballot(1, 1), 1, 0)) is None


def test_p2c_proposer_with_no_reported_value_proposes_its_own() -> None:
    """2.1, P2c (a): no acceptor of a majority has accepted anything, so any value will do."""
    proposer = new_proposer()
    ballot = led(proposer, {VOTERS[0]: {}, VOTERS[1]: {}})
    proposer.submit(7, b"mine")
    (proposal,) = proposer.propose(0, 0, NOW)
    assert (proposal.ballot, proposal.slot, proposal.value.commands) == (ballot, 1, b"mine")


def test_p2c_proposer_takes_the_value_of_the_highest_numbered_proposal_reported() -> None:
    """2.1, P2c (b): v is the value of the highest-numbered proposal accepted in the majority."""
    proposer = new_proposer(issued=Ballot(5, 1))
    led(proposer, {VOTERS[1]: {1: (Ballot(2, 2), V)}, VOTERS[2]: {1: (Ballot(3, 3), W)}})
    proposer.submit(7, b"mine")
    assert proposer.propose(0, 0, NOW)[0].value == W


def test_p2c_highest_report_wins_in_whatever_order_it_arrives() -> None:
    """2.1, P2c (b): the maximum does not depend on who answers first."""
    for order in itertools.permutations(VOTERS):
        proposer = new_proposer(issued=Ballot(5, 1))
        reports = {VOTERS[0]: Ballot(1, 1), VOTERS[1]: Ballot(4, 2), VOTERS[2]: Ballot(3, 3)}
        led(proposer, {v: {1: (reports[v], Value(0, str(reports[v]).encode()))} for v in order})
        assert proposer.propose(0, 0, NOW)[0].value.commands == b"4.2"


def test_p2c_value_marked_decided_beats_every_ballot() -> None:
    """2.1, P2: once v is chosen, every higher-numbered proposal that is chosen has value v."""
    proposer = new_proposer(issued=Ballot(9, 1))
    proposer.campaign(BALLOT_ZERO, 0, {}, NOW)
    first = promise_of(proposer.ballot, {1: (Ballot(8, 2), W)})
    assert proposer.handle_promise(VOTERS[1], first, 0, NOW) == []
    second = promise_of(proposer.ballot, {1: (None, V)})
    assert [r.value for r in proposer.handle_promise(VOTERS[2], second, 0, NOW)] == [V]


class OneDecision:
    """Three nodes, each a proposer and an acceptor of slot 1, and everything on its way."""

    def __init__(self) -> None:
        self.logs: dict[Voter, list[Record]] = {voter: [] for voter in VOTERS}
        self.acceptors = {voter: new_acceptor() for voter in VOTERS}
        self.proposers = {voter: new_proposer(voter.node) for voter in VOTERS}
        self.votes: dict[tuple[Ballot, bytes], set[Voter]] = {}
        self.in_transit: list[tuple[Voter, PeerMessage]] = []

    @property
    def chosen(self) -> set[bytes]:
        return {value for (_, value), voters in self.votes.items() if len(voters) >= 2}

    def campaign(self, voter: Voter) -> None:
        above = self.acceptors[voter].promised
        self.run(voter, self.proposers[voter].campaign(above, 0, {}, NOW))

    def restart(self, voter: Voter) -> None:
        state = replay(self.logs[voter])
        self.proposers[voter] = new_proposer(voter.node, state.issued)
        self.acceptors[voter] = Acceptor(state, promise_bytes_max=1 << 20)

    def run(self, voter: Voter, effects: list[Effect]) -> None:
        for effect in effects:
            sends = effect.then if isinstance(effect, Persist) else (effect,)
            if isinstance(effect, Persist):
                self.logs[voter].extend(effect.records)
                for record in effect.records:
                    if isinstance(record, AcceptedRecord):
                        vote = (record.ballot, record.value.commands)
                        self.votes.setdefault(vote, set()).add(voter)
            for send in sends:
                assert isinstance(send, Send)
                self.in_transit.append((voter, send.message))

    def deliver(self, target: Voter, source: Voter, message: PeerMessage) -> None:
        if isinstance(message, Prepare):
            self.run(target, self.acceptors[target].handle_prepare(message, 0, BALLOT_ZERO, 0))
        elif isinstance(message, Accept):
            effects = self.acceptors[target].handle_accept(message, 0, BALLOT_ZERO)
            self.run(target, effects or [])
        elif isinstance(message, Promise):
            owner = next(v for v in VOTERS if v.node == message.ballot.node)
            proposer = self.proposers[owner]
            proposer.handle_promise(source, message, 0, NOW)
            if proposer.start_leading(0):
                proposer.submit(7, bytes([owner.node]))
                self.in_transit += [(owner, accept) for accept in proposer.propose(0, 0, NOW)]


@given(st.data())
def test_p2_whatever_the_schedule_at_most_one_value_is_ever_chosen(data: st.DataObject) -> None:
    """2.1, P2: random schedules with losses, copies and restarts choose one value or none."""
    world = OneDecision()
    for _ in range(data.draw(st.integers(1, 60))):
        action = data.draw(st.sampled_from(["campaign", "deliver", "deliver", "copy", "restart"]))
        voter = data.draw(st.sampled_from(VOTERS))
        if action == "campaign":
            world.campaign(voter)
        elif action == "restart":
            world.restart(voter)
        elif world.in_transit:
            number = data.draw(st.integers(0, len(world.in_transit) - 1))
            take = world.in_transit.__getitem__ if action == "copy" else world.in_transit.pop
            world.deliver(voter, *take(number))
        assert len(world.chosen) <= 1


# --- 2.2 the algorithm ----------------------------------------------------------------------------


def test_phase1_acceptor_promises_and_reports_its_highest_accepted_proposal() -> None:
    """2.2, phase 1 (b): a promise, and the highest-numbered proposal accepted, if any."""
    acceptor = new_acceptor()
    accept(acceptor, Ballot(1, 1), V)
    accept(acceptor, Ballot(2, 2), W)
    promise = answer(prepare(acceptor, Ballot(3, 3)))
    assert isinstance(promise, Promise)
    assert [(r.slot, r.ballot, r.value) for r in promise.reports] == [(1, Ballot(2, 2), W)]


def test_p1a_acceptor_refuses_a_proposal_below_its_promise() -> None:
    """2.2, P1a: it can accept n iff it has not responded to a prepare greater than n."""
    acceptor = new_acceptor()
    prepare(acceptor, Ballot(3, 3))
    nack = answer(accept(acceptor, Ballot(2, 2), V))
    assert nack == Nack(Ballot(2, 2), Ballot(3, 3), BALLOT_ZERO, 0)
    assert acceptor.held(1) is None


def test_p1a_acceptor_accepts_the_proposal_it_promised() -> None:
    """2.2, P1a: a promise for n itself does not forbid n."""
    acceptor = new_acceptor()
    prepare(acceptor, Ballot(3, 3))
    assert isinstance(answer(accept(acceptor, Ballot(3, 3), V)), Accepted)


def test_p1a_acceptance_is_a_promise_too() -> None:
    """2.2, P1a: after accepting n, no proposal below n is accepted."""
    acceptor = new_acceptor()
    accept(acceptor, Ballot(5, 1), V)
    assert acceptor.promised == Ballot(5, 1)
    assert isinstance(answer(accept(acceptor, Ballot(4, 2), W, slot=2)), Nack)


def test_phase1_prepare_below_the_promise_is_refused_and_the_proposer_told() -> None:
    """2.2: an acceptor may ignore an old prepare, and should inform the proposer of it."""
    acceptor = new_acceptor()
    prepare(acceptor, Ballot(3, 3))
    assert isinstance(answer(prepare(acceptor, Ballot(2, 2))), Nack)
    assert acceptor.promised == Ballot(3, 3)


def test_phase1_prepare_repeated_is_answered_again_behind_earlier_writes() -> None:
    """2.2: messages may be duplicated; the second answer says the same and writes nothing."""
    acceptor = new_acceptor()
    first, second = prepare(acceptor, Ballot(3, 3)), prepare(acceptor, Ballot(3, 3))
    assert answer(first) == answer(second)
    assert isinstance(second[0], Persist)
    assert second[0].records == ()


def test_phase2_proposer_without_a_majority_of_promises_proposes_nothing() -> None:
    """2.2, phase 2 (a): only with responses from a majority may a proposal be issued."""
    proposer = new_proposer()
    led(proposer, {VOTERS[0]: {}})
    proposer.submit(7, b"mine")
    assert proposer.propose(0, 0, NOW) == []


def test_phase2_accept_requests_go_to_acceptors_that_never_promised_too() -> None:
    """2.2: "This need not be the same set of acceptors that responded to the initial requests."."""
    cluster = Stepped()
    cluster.run(1.5, lambda t: 3 not in (t.source, t.target))
    (leader,) = cluster.leaders()
    cluster.submit(leader, 1, OpenSession(5))
    targets = {t.target for t in cluster.messages if isinstance(t.message, Accept)}
    assert targets == {1, 2, 3} - {leader}


def test_phase2_proposer_may_abandon_a_proposal_and_issue_another_with_a_new_number() -> None:
    """2.2: it is safe to abandon; each new proposal has a higher number."""
    proposer = new_proposer()
    first = led(proposer, {VOTERS[0]: {}, VOTERS[1]: {}})
    proposer.submit(7, b"abandoned")
    proposer.propose(0, 0, NOW)
    second = led(proposer, {VOTERS[0]: {}, VOTERS[1]: {}})
    assert second > first
    assert proposer.in_flight == {}


def test_memory_an_acceptor_needs_only_its_promise_and_its_last_acceptance() -> None:
    """2.2: both are remembered over a failure, and nothing else is needed."""
    acceptor = new_acceptor((PromisedRecord(Ballot(4, 2)), AcceptedRecord(Ballot(4, 2), 1, V)))
    assert acceptor.promised == Ballot(4, 2)
    promise = answer(prepare(acceptor, Ballot(5, 1)))
    assert isinstance(promise, Promise)
    assert [(r.ballot, r.value) for r in promise.reports] == [(Ballot(4, 2), V)]


# --- 2.3 learning ---------------------------------------------------------------------------------


def test_learning_only_an_accepted_value_by_a_majority_is_learned() -> None:
    """2.3: with the messages to the proposer lost, nobody learns; a repeated Accept finds out."""
    cluster = Stepped()
    cluster.run(1.5)
    (leader,) = cluster.leaders()
    cluster.submit(leader, 1, OpenSession(5))
    cluster.settle(lambda t: not isinstance(t.message, Accepted))
    assert [r.learner.decided_through for r in cluster.replicas.values()] == [0, 0, 0]
    cluster.messages.clear()
    cluster.run(0.5)
    assert [r.learner.decided_through for r in cluster.replicas.values()] == [1, 1, 1]


def test_learning_chosen_but_unlearned_value_is_found_by_a_new_proposal() -> None:
    """2.3: to find out, a learner can have a proposer issue a proposal: it gets the same v."""
    cluster = Stepped()
    cluster.run(1.5)
    (leader,) = cluster.leaders()
    cluster.submit(leader, 1, OpenSession(5))
    cluster.settle(lambda t: not isinstance(t.message, Accepted))
    held = cluster.replicas[leader].acceptor.held(1)
    cluster.stop(leader)
    cluster.run(3.0)
    for replica in cluster.replicas.values():
        after = replica.acceptor.held(1)
        assert held is not None
        assert after is not None
        assert (after.decided, after.value) == (True, held.value)


# --- 2.4 progress ---------------------------------------------------------------------------------


def test_progress_two_proposers_that_keep_outbidding_choose_nothing() -> None:
    """2.4: the paper's schedule: p prepares, q prepares higher, p's accepts are refused, ..."""
    acceptor = new_acceptor()
    ballot = BALLOT_ZERO
    for turn in range(10):
        mine = ballot.next_for(1 + turn % 2)
        prepare(acceptor, mine)
        ballot = mine.next_for(2 - turn % 2)
        prepare(acceptor, ballot)
        assert isinstance(answer(accept(acceptor, mine, V)), Nack)


def test_progress_nodes_that_start_together_end_with_one_leader() -> None:
    """2.4: a single distinguished proposer; randomised timeouts find one from a symmetric start."""
    for seed in range(20):
        cluster = Stepped(voters=(1, 2, 3, 4, 5), seed=seed)
        cluster.run(3.0)
        assert len(cluster.leaders()) == 1


# --- 2.5 implementation ---------------------------------------------------------------------------


def test_stable_storage_no_promise_or_acceptance_leaves_before_its_write() -> None:
    """2.5: "records its intended response in stable storage before actually sending"."""
    acceptor = new_acceptor()
    for effects in (prepare(acceptor, Ballot(1, 1)), accept(acceptor, Ballot(1, 1), V)):
        (effect,) = effects
        assert isinstance(effect, Persist)
        assert effect.records


def test_stable_storage_a_prepare_leaves_only_after_its_number_is_recorded() -> None:
    """2.5: each proposer remembers in stable storage the highest number it has tried to issue."""
    proposer = new_proposer()
    (effect,) = proposer.campaign(BALLOT_ZERO, 0, {}, NOW)
    assert isinstance(effect, Persist)
    assert effect.records == (IssuedRecord(proposer.ballot),)
    assert {send.to for send in effect.then} == {1, 2, 3}


def test_numbers_two_proposers_never_share_one() -> None:
    """2.5: "different proposers choose their numbers from disjoint sets of numbers"."""
    rounds = [BALLOT_ZERO.next_for(node) for node in (1, 2, 3)]
    assert len(set(rounds)) == 3
    assert rounds == sorted(rounds)


def test_numbers_a_restarted_proposer_goes_above_every_number_it_issued() -> None:
    """2.5: "begins phase 1 with a higher proposal number than any it has already used"."""
    before = new_proposer()
    (effect,) = before.campaign(Ballot(7, 3), 0, {}, NOW)
    assert isinstance(effect, Persist)
    after = new_proposer(issued=replay(effect.records).issued)
    after.campaign(BALLOT_ZERO, 0, {}, NOW)
    assert after.ballot > before.ballot


@pytest.mark.parametrize("down", [11, 12, 13])
def test_roles_separate_proposers_and_acceptors_decide_with_one_acceptor_down(down: int) -> None:
    """2.1, 2.5: proposers that are no acceptors, acceptors that only accept, one of them dead."""
    apart = frozenset({Role.PROPOSER, Role.EXECUTOR})
    cluster = Stepped(
        voters=(11, 12, 13), voter_roles=frozenset({Role.ACCEPTOR}), others={1: apart, 2: apart}
    )
    cluster.stop(down)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    assert leader in (1, 2)
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, Submit(session, 1, 0, "none", (b"x",)))
    cluster.run(1.0)
    assert any(isinstance(answer, Results) for _, _, answer in cluster.replies)
    assert {r.learner.decided_through for r in cluster.replicas.values()} == {2}
    assert {cluster.replicas[node].executor.applied_through for node in (1, 2)} == {2}


def test_roles_separate_nodes_with_two_of_three_acceptors_down_decide_nothing() -> None:
    """2.1: and no majority, no decision."""
    apart = frozenset({Role.PROPOSER, Role.EXECUTOR})
    cluster = Stepped(
        voters=(11, 12, 13), voter_roles=frozenset({Role.ACCEPTOR}), others={1: apart}
    )
    cluster.stop(11)
    cluster.stop(12)
    cluster.run(5.0)
    assert cluster.leaders() == []


# --- 3 implementing a state machine ---------------------------------------------------------------


def test_log_phase1_covers_all_slots_with_one_message_per_acceptor() -> None:
    """3: the leader "executes phase 1 for infinitely many instances" with one short message."""
    proposer = new_proposer()
    (effect,) = proposer.campaign(BALLOT_ZERO, 134, {}, NOW)
    assert isinstance(effect, Persist)
    assert [send.message for send in effect.then] == [Prepare(proposer.ballot, 134)] * 3


def test_log_the_papers_example_gaps_become_noops() -> None:
    """3: the leader knows 1-134, 138, 139; phase 1 reports 135 and 140: 136 and 137 get no-ops."""
    proposer = new_proposer()
    proposer.campaign(BALLOT_ZERO, 134, {}, NOW)
    ballot = proposer.ballot
    reports: Holdings = {
        135: (Ballot(0, 2), V),
        140: (Ballot(0, 3), W),
        138: (None, V),
        139: (None, W),
    }
    base = promise_of(ballot, reports)
    mine = Promise(ballot, 134, None, 134, 0, 0, base.reports)
    other = Promise(ballot, 134, None, 134, 0, 0, ())
    proposer.handle_promise(VOTERS[0], mine, 134, NOW)
    proposer.handle_promise(VOTERS[1], other, 134, NOW)
    assert proposer.start_leading(134)
    proposer.submit(7, b"next")
    proposed = {a.slot: a.value for a in proposer.propose(134, 7, NOW)}
    assert list(proposed) == [135, 136, 137, 140, 141]
    assert [proposed[slot] for slot in (135, 136, 137, 140)] == [V, NOOP, NOOP, W]
    assert proposed[141].commands == b"next"


def test_log_commands_wait_until_at_most_alpha_slots_are_undecided() -> None:
    """3: with alpha = 3 a leader proposes i + 1 to i + alpha after 1 to i are chosen."""
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=3)
    proposer = Proposer(Voter(9, 1), configurations, BALLOT_ZERO, DEFAULT_LIMITS, DEFAULT_TIMING)
    led(proposer, {VOTERS[0]: {}, VOTERS[1]: {}})
    slots = []
    for _ in range(6):
        proposer.submit(7, b"x")
        slots += [accept.slot for accept in proposer.propose(0, 0, NOW)]
    assert slots == [1, 2, 3]
    proposer.handle_decided(1, NOOP)
    assert [accept.slot for accept in proposer.propose(1, 0, NOW)] == [4]


def test_log_every_command_is_executed_in_the_same_order_everywhere() -> None:
    """3: "the servers are all in the same state" after the same prefix."""
    cluster = Stepped(machines=dict)
    cluster.run(1.5)
    (leader,) = cluster.leaders()
    session = cluster.open_session(leader, 7)
    for number in range(1, 8):
        cluster.submit(leader, 7, Submit(session, number, 0, "none", (b"x",)))
    cluster.run(0.5)
    assert {r.executor.applied_through for r in cluster.replicas.values()} == {8}
    assert len({r.digest() for r in cluster.replicas.values()}) == 1


def test_log_a_new_leader_keeps_what_the_old_one_decided() -> None:
    """3: leader failure: the new one completes the old one's instances, and goes on after them."""
    cluster = Stepped()
    cluster.run(1.5)
    (old,) = cluster.leaders()
    session = cluster.open_session(old, 7)
    cluster.submit(old, 7, Submit(session, 1, 0, "none", (b"x",)))
    cluster.settle()
    cluster.stop(old)
    cluster.run(3.0)
    (new,) = cluster.leaders()
    cluster.submit(new, 8, Submit(session, 2, 0, "none", (b"y",)))
    cluster.run(0.5)
    assert {r.executor.applied_through for r in cluster.replicas.values()} == {3}
    assert len([m for _, _, m in cluster.replies if isinstance(m, Results)]) == 2


FOUR = Configuration(2, Quorums.majority([Voter(node, 100 + node) for node in (4, 5, 6, 7)]))


def test_reconfiguration_servers_of_slot_i_plus_alpha_follow_from_the_state_after_slot_i() -> None:
    """3: "The set of servers that execute instance i + alpha" is in "the state after" command i."""
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=3)
    learner = Learner(configurations)
    learner.count_at(Ballot(1, 1))
    configurations.decide(4, Change(FOUR))
    for slot, servers in ((6, VOTERS[:2]), (7, FOUR.voters[:3])):
        learner.open(slot, V)
        votes = [
            learner.handle_accepted(voter, Accepted(Ballot(1, 1), slot, 4))
            for voter in (*FOUR.voters[:2], *servers)
        ]
        assert votes[-1] == V
        assert votes[:-1] == [None] * (len(votes) - 1)


def test_reconfiguration_a_leader_proposes_only_slots_whose_servers_it_knows() -> None:
    """3: a leader can get alpha commands ahead, no further: what governs beyond is not decided."""
    configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha=2)
    proposer = Proposer(Voter(9, 1), configurations, BALLOT_ZERO, DEFAULT_LIMITS, DEFAULT_TIMING)
    led(proposer, {VOTERS[0]: {}, VOTERS[1]: {}})
    proposer.submit_change(Change(FOUR))
    for _ in range(3):
        proposer.submit(7, b"x")
    proposed = proposer.propose(0, 0, NOW)
    assert [accept.slot for accept in proposed] == [1, 2]
    configurations.decide(1, Change(FOUR))
    proposer.handle_decided(1, proposed[0].value)
    assert proposer.propose(1, 0, NOW) == []  # slot 3 is that of others, and none has promised
