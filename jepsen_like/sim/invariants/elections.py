"""Invariant 13, in part: nobody unseats a leader that others hear, and nobody leads without them.

A healed cluster comes to rest only by these two rules, and by luck without them; so both are looked
at whenever a node acts on them. It keeps account of heartbeats and their answers by what passes,
and asks no replica whom it takes to be reached, willing or connected.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.ids import Voter
from paxos.core.limits import Timing
from paxos.core.messages import Heartbeat, HeartbeatAnswer
from paxos.core.quorum import QuorumSystem
from paxos.core.records import IssuedRecord
from paxos.core.replica import Replica

SENT_MAX = 256
"""Heartbeats whose time of leaving is remembered, by node: far more than in an election timeout."""


@dataclass(slots=True)
class Contacts:
    """One node's heartbeats, in one life. Times are on its own monotonic clock.

    Attributes:
        sent: When each heartbeat left.
        answers: The answer to the highest number, by voter.
        reached: When the latest heartbeat left that the voter answered.
        claims: The ballot at which it claims to lead.
        since: When it first did.
        led: It has led.
        summoned: A leader told it to take over, and it has not campaigned since.
    """

    sent: dict[int, float] = field(default_factory=dict)
    answers: dict[Voter, HeartbeatAnswer] = field(default_factory=dict)
    reached: dict[Voter, float] = field(default_factory=dict)
    claims: Ballot = BALLOT_ZERO
    since: float = 0.0
    led: bool = False
    summoned: bool = False


class Elections:
    """Who campaigns, and who goes on leading.

    Args:
        timeline: Who votes.
        timing: What the nodes were given.
    """

    def __init__(self, timeline: Timeline, timing: Timing) -> None:
        self._timeline = timeline
        # A leader judges itself once in a heartbeat interval, and may have done so just before.
        self._patience_s = timing.election_timeout_s + 2 * timing.heartbeat_interval_s
        self._contacts: defaultdict[int, Contacts] = defaultdict(Contacts)

    def started(self, facts: NodeFacts) -> None:
        """A node begins a life in which it has heard nobody."""
        self._contacts[facts.voter.node] = Contacts()

    def heartbeat_leaves(self, facts: NodeFacts, heartbeat: Heartbeat, _: Replica) -> None:
        """A node's heartbeat leaves for one voter more."""
        contacts, now = self._contacts[facts.voter.node], facts.now
        if heartbeat.number in contacts.sent:
            return  # the same one goes to all voters
        contacts.sent[heartbeat.number] = now
        if len(contacts.sent) > SENT_MAX:
            del contacts.sent[next(iter(contacts.sent))]
        if not heartbeat.connected:
            contacts.claims = BALLOT_ZERO
        elif heartbeat.ballot != contacts.claims:
            contacts.claims, contacts.since, contacts.led = heartbeat.ballot, now, True
        elif facts.due:
            self._goes_on(facts, contacts, now)

    def answer_arrives(self, facts: NodeFacts, sender: Voter, answer: HeartbeatAnswer) -> None:
        """A node is handed an answer to one of its heartbeats."""
        contacts = self._contacts[facts.voter.node]
        sent = contacts.sent.get(answer.number)
        if sent is None:
            return  # to one of an earlier life
        contacts.reached[sender] = max(sent, contacts.reached.get(sender, sent))
        known = contacts.answers.get(sender)
        if known is None or known.number <= answer.number:
            contacts.answers[sender] = answer

    def campaigns(self, facts: NodeFacts, record: IssuedRecord) -> None:
        """A node issues a ballot. One that has led may take its lead back without asking."""
        me = facts.voter
        contacts = self._contacts[me.node]
        self._may_campaign(facts, record)
        summoned, contacts.summoned = contacts.summoned, False
        if contacts.led or summoned:
            return
        willing = [me]
        for voter, answer in contacts.answers.items():
            if answer.leader.node in (0, me.node):
                willing.append(voter)
        text = "{} campaigns at {}, and only {} have said that they hear no other leader"
        voters, names = frozenset(willing), [str(voter) for voter in willing]
        for quorums in self._live(facts):
            enough = quorums.is_phase1(voters) and quorums.is_phase2(voters)
            require(enough, 13, text, me, record.ballot, names)

    def _may_campaign(self, facts: NodeFacts, record: IssuedRecord) -> None:
        """Only who votes, and has the state, may lead; or who never did, a proposer alone."""
        live = self._timeline.live(facts.knows_through)
        member = [each for each in live if facts.voter in each.full_voters]
        text = "{} campaigns at {}, and is no full voter of any configuration that it knows"
        require(member or self._is_outsider(facts), 13, text, facts.voter, record.ballot)

    def _is_outsider(self, facts: NodeFacts) -> bool:
        """Whether it was never named by any configuration."""
        every = self._timeline.since(1)
        return not any(each.member(facts.voter.node) for each in every)

    def takes_over(self, facts: NodeFacts) -> None:
        """A leader told a node to campaign."""
        self._contacts[facts.voter.node].summoned = True

    def _goes_on(self, facts: NodeFacts, contacts: Contacts, now: float) -> None:
        """A node has judged itself, and still claims to lead: it must have reached a quorum."""
        me, since = facts.voter, now - self._patience_s
        if contacts.since > since:
            return
        reached = [me, *(voter for voter, sent in contacts.reached.items() if sent >= since)]
        text = "{} goes on leading at {}, and only {} answered within {:.2f} s"
        voters, names = frozenset(reached), [str(voter) for voter in reached]
        for quorums in self._live(facts):
            enough = quorums.is_phase2(voters)
            require(enough, 13, text, me, contacts.claims, names, self._patience_s)

    def _live(self, facts: NodeFacts) -> list[QuorumSystem]:
        return [each.quorums for each in self._timeline.live(facts.knows_through)]
