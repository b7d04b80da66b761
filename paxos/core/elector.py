"""The elector: who is reached, who leads, and when this node should campaign or give way.

It owns this node's numbered heartbeats and what their answers say. It decides nothing about safety:
a wrong verdict costs time, never data. It guards invariant 13 (one leader within a bound once some
node reaches quorums) and the leader's stability (a node that comes back from a partition does not
depose a leader that works).

Words: *reached* = answered my own heartbeat within an election timeout; *connected* = reached,
sound, and its promise not above the ballot in question. An answer that names no connected leader is
a pre-vote.

Only a full voter of a live configuration campaigns (or a proposer that is no acceptor at all):
never a learner, a witness, or a node that was removed. Nodes have priorities; a lower one defers
and hands over to a higher one, within bounds.

After OmniPaxos (Ng et al., EuroSys 2023), section 5: elect a quorum-connected node, whatever the
others see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configurations
from paxos.core.effects import Send
from paxos.core.ids import Instant, NodeId, Slot, Voter
from paxos.core.limits import Timing
from paxos.core.messages import NO_DIGEST, Heartbeat, HeartbeatAnswer, StateDigest

if TYPE_CHECKING:
    from random import Random

STUCK_TIMEOUTS = 3
"""A leader with work that makes no progress for this many election timeouts gives way."""

PREFERENCE_TIMEOUTS = 4
"""A leader hands over to a voter of higher priority that was connected for so many timeouts."""


class Verdict(Enum):
    """What the elector advises."""

    WAIT = "wait"
    CAMPAIGN = "campaign"
    GIVE_WAY = "give way"


@dataclass(slots=True)
class Heard:
    """The latest answer of one voter to this node's heartbeats.

    Attributes:
        sent_at: When the heartbeat left.
        answer: The answer.
        turn: Of the last heartbeat to everybody that the voter answered, over the connection it
            has: its number, negative, and how many had answered it before. The less, the prompter.
    """

    sent_at: float
    answer: HeartbeatAnswer
    turn: tuple[int, int]


_NO_TURN = (0, 0)
"""Of a voter that has answered no heartbeat to everybody, or is cut off: after all others."""


class Elector:
    """One node's view of who could lead.

    Args:
        me: This node.
        configurations: Who the voters are.
        timing: Durations.
        rng: Spreads timeouts, so that nodes do not campaign in step.
        may_campaign: Whether this node can lead at all.
        accepts: Whether it is an acceptor; if so it leads only as a full voter.
        now: The node's clocks.
    """

    def __init__(
        self,
        me: Voter,
        configurations: Configurations,
        timing: Timing,
        rng: Random,
        may_campaign: bool,
        now: Instant,
        accepts: bool = True,
    ) -> None:
        self._me = me
        self._configurations = configurations
        self._timing = timing
        self._rng = rng
        self._may_campaign = may_campaign
        self._accepts = accepts
        # Of the last heartbeat sent. Begins at random: an answer to a heartbeat of this node's
        # earlier life must not pass for one to a heartbeat of this life.
        self._number = self._number_before = rng.getrandbits(48)
        self._sent_at: dict[int, float] = {}  # when each recent heartbeat left
        self._next_heartbeat_at = now.monotonic
        self._heard: dict[Voter, Heard] = {}
        self._answers: dict[int, int] = {}  # how many, to each recent heartbeat to everybody
        self._highest_promised = BALLOT_ZERO
        self._leader = BALLOT_ZERO  # of the connected leader heard last
        self._leader_at = -math.inf
        # When this node may campaign next; a leader pushes it ahead.
        self._election_at = now.monotonic + self._random_timeout(0.0)
        self._waiting = False  # it was due, and something was missing: look again at each answer
        self._preempted = BALLOT_ZERO  # the ballot this node led with when it was refused
        self._named = BALLOT_ZERO  # the connected leader that refusal named
        self._reclaimed_at = -math.inf  # when it last ran phase 1 without pre-votes because of that
        self._decided_at = now.monotonic  # when a leader last decided, or had nothing to decide
        self._confirmed_at = now.monotonic  # the same for read barriers
        self._catching_up: tuple[Slot, float] | None = None  # last progress of it, and when
        # What this node knew decided, once per heartbeat interval: how far others are behind.
        self._decided: list[tuple[float, Slot]] = []
        self._deferring_at = math.inf  # since when it defers to a higher priority
        self._preferred: tuple[Voter, float] | None = None  # who should lead, connected since

    # --- what this node says of itself and others ---

    def leader(self, now: Instant) -> Ballot:
        """The ballot of the connected leader that this node hears, or BALLOT_ZERO."""
        if now.monotonic - self._leader_at < self._timing.election_timeout_s:
            return self._leader
        return BALLOT_ZERO

    def reached(self, now: Instant) -> dict[Voter, HeartbeatAnswer]:
        """The voters (never this node) that answered a heartbeat sent within a timeout."""
        since = now.monotonic - self._timing.election_timeout_s
        return {v: heard.answer for v, heard in self._heard.items() if heard.sent_at > since}

    def connected(self, ballot: Ballot, promised: Ballot, now: Instant) -> set[Voter]:
        """Who could accept at ``ballot``: reached, sound, and promised nothing above it."""
        reached = self.reached(now).items()
        voters = {v for v, answer in reached if answer.sound and answer.promised <= ballot}
        if promised <= ballot:
            voters.add(self._me)
        return voters

    @property
    def highest_promised(self) -> Ballot:
        """The highest promise this node has heard of: a campaign must go above it."""
        return self._highest_promised

    def saw_promise(self, ballot: Ballot) -> None:
        """Note a promise, this node's own or another's."""
        self._highest_promised = max(self._highest_promised, ballot)

    @property
    def waiting(self) -> bool:
        """Whether a campaign is due and lacks something: judge again whenever anything is heard."""
        return self._waiting

    # --- heartbeats ---

    def heartbeat(
        self,
        ballot: Ballot,
        connected: bool,
        decided_through: Slot,
        now: Instant,
        *,
        snapshot: StateDigest = NO_DIGEST,
        results: StateDigest = NO_DIGEST,
        invited: Collection[NodeId] = (),
    ) -> list[Send]:
        """Send the next numbered heartbeat to every other member of a live configuration.

        Args:
            ballot: The one that this node leads with, or BALLOT_ZERO.
            connected: Whether it can lead.
            decided_through: This node's.
            now: The node's clocks.
            snapshot: This node's latest durable one.
            results: What all of its results through some slot came to.
            invited: Nodes that are to become members.
        """
        self._number += 1
        self._sent_at[self._number] = now.monotonic
        self._answers[self._number] = 0
        self._next_heartbeat_at = now.monotonic + self._timing.heartbeat_interval_s
        oldest = now.monotonic - self._timing.election_timeout_s
        while self._sent_at[first := next(iter(self._sent_at))] < oldest:
            del self._sent_at[first]
            self._answers.pop(first, None)
        self._heard = {v: heard for v, heard in self._heard.items() if heard.sent_at >= oldest}
        self._note_decided(decided_through, now)
        message = Heartbeat(self._number, ballot, connected, decided_through, snapshot, results)
        nodes = self._configurations.member_nodes(decided_through)
        everyone = sorted({*nodes, *invited}) if invited else nodes
        return [Send(node, message) for node in everyone if node != self._me.node]

    def ask_enough(
        self,
        ballot: Ballot,
        decided_through: Slot,
        now: Instant,
        *,
        snapshot: StateDigest,
        results: Callable[[Voter], StateDigest],
    ) -> list[Send] | None:
        """Send a leader's next numbered heartbeat only to as many voters as can confirm a read.

        With this node they are a phase-2 quorum: those that answered a later heartbeat to all than
        others, or the same one sooner. This is a question between two of those and puts none off:
        should one of those asked be silent, the next heartbeat asks everybody, and others will be
        first.

        Args:
            ballot: The one that this node leads with.
            decided_through: This node's.
            now: The node's clocks.
            snapshot: This node's latest durable one.
            results: What a voter is told all of this node's results through some slot came to.

        Returns:
            None, and nothing is sent, if too few voters are reached.
        """
        asked: list[Voter] = []
        live = self._configurations.live(decided_through)
        short = [c for c in live if not c.quorums.is_phase2({self._me})]
        for voter in sorted(self.reached(now), key=lambda v: self._heard[v].turn):
            if any(voter in c.voters for c in short):
                asked.append(voter)
                short = [c for c in short if not c.quorums.is_phase2({self._me, *asked})]
        if short:
            return None
        self._number += 1
        self._sent_at[self._number] = now.monotonic
        beat = partial(Heartbeat, self._number, ballot, True, decided_through, snapshot)
        return [Send(voter.node, beat(results(voter))) for voter in asked]

    def _note_decided(self, decided_through: Slot, now: Instant) -> None:
        samples, interval = self._decided, self._timing.heartbeat_interval_s
        if not samples or now.monotonic >= samples[-1][0] + interval:
            samples.append((now.monotonic, decided_through))
        oldest = now.monotonic - self._timing.election_timeout_s - 2 * interval
        while samples[0][0] < oldest:
            del samples[0]

    @property
    def number(self) -> int:
        """The number of the last heartbeat sent."""
        return self._number

    def has_sent(self, number: int) -> bool:
        """Whether this node sent heartbeat ``number``, in this life."""
        return self._number_before < number <= self._number

    def heartbeat_due(self, now: Instant) -> bool:
        """Whether it is time for a heartbeat."""
        return now.monotonic >= self._next_heartbeat_at

    def handle_heartbeat(self, sender: Voter, heartbeat: Heartbeat, now: Instant) -> None:
        """Note what a node claims about itself."""
        if heartbeat.ballot == BALLOT_ZERO or heartbeat.ballot.node != sender.node:
            if self._leader.node == sender.node:
                self._lose_leader(now)
        elif not heartbeat.connected:
            if self._leader == heartbeat.ballot:
                self._lose_leader(now)
        elif heartbeat.ballot >= self.leader(now):
            self._follow(heartbeat.ballot, now)

    def handle_answer(self, sender: Voter, answer: HeartbeatAnswer) -> None:
        """Note an answer to one of this node's own recent heartbeats."""
        self.saw_promise(answer.promised)
        sent_at = self._sent_at.get(answer.number)
        known = self._heard.get(sender)
        if sent_at is None or (known is not None and known.answer.number > answer.number):
            return
        turn = _NO_TURN if known is None else known.turn
        sooner = self._answers.get(answer.number)
        if sooner is not None:
            turn = (-answer.number, sooner)
            self._answers[answer.number] = sooner + 1
        self._heard[sender] = Heard(sent_at, answer, turn)

    def handle_connected(self, now: Instant) -> None:
        """A connection is new: hear at once how its peer is."""
        self._next_heartbeat_at = now.monotonic

    def handle_disconnected(self, peer: Voter, now: Instant) -> None:
        """A connection broke. If it was the leader's, ask the others whether they hear it."""
        known = self._heard.get(peer)
        if known is not None:
            known.turn = _NO_TURN
        if peer.node == self._leader.node:
            self._lose_leader(now)
            self._next_heartbeat_at = now.monotonic

    # --- turning points ---

    def led(self, now: Instant) -> None:
        """This node now leads."""
        self._decided_at = self._confirmed_at = now.monotonic
        self._preempted = BALLOT_ZERO
        self._leader = BALLOT_ZERO
        self._waiting = False
        self._deferring_at = math.inf
        self._preferred = None

    def progressed(self, now: Instant) -> None:
        """This node, leading, decided a slot."""
        self._decided_at = now.monotonic

    def confirmed(self, now: Instant) -> None:
        """This node, leading, completed a read barrier."""
        self._confirmed_at = now.monotonic

    def preempted(self, ballot: Ballot, leader: Ballot, now: Instant) -> None:
        """This node led with ``ballot`` and was refused for a higher one.

        ``leader`` is the connected leader that the refusal named, if any. This node waits
        a random part of a timeout for a connected leader above it, and if it hears of none takes
        the lead back: the higher ballot may belong to a node that can never lead.
        """
        self._preempted = ballot
        self._named = leader
        self._election_at = now.monotonic + self._random_timeout(0.0)
        self._waiting = False

    def gave_way(self, now: Instant) -> None:
        """This node stopped leading by itself, or handed over: let others try first."""
        self._election_at = now.monotonic + self._random_timeout(1.0 + 2.0 * self._rng.random())
        self._waiting = False

    def campaigned(self, now: Instant) -> None:
        """This node issued a ballot; the next one comes after a random timeout."""
        if self._preempted != BALLOT_ZERO:
            self._reclaimed_at = now.monotonic
            self._preempted = BALLOT_ZERO
        self._election_at = now.monotonic + self._random_timeout(1.0)
        self._waiting = False
        self._deferring_at = math.inf

    def fetched(self, winning: bool, now: Instant) -> None:
        """A piece of what this node lacks has come: catching up makes progress.

        Args:
            winning: Whether this node has won a ballot that only waits for that. Then it is kept.
            now: The node's clocks.
        """
        if self._catching_up is not None:
            self._catching_up = (self._catching_up[0], now.monotonic)
        if winning:
            self._election_at = now.monotonic + self._random_timeout(1.0)
            self._waiting = False

    # --- who else could lead ---

    def is_eligible(self, decided_through: Slot) -> bool:
        """Whether this node may campaign at all."""
        full = not self._accepts or self.may_lead(self._me, decided_through)
        return self._may_campaign and full

    def may_lead(self, voter: Voter, decided_through: Slot) -> bool:
        """Whether a node is a full voter of a live configuration."""
        live = self._configurations.live(decided_through)
        return any(voter in configuration.full_voters for configuration in live)

    def priority(self, voter: Voter) -> int:
        """The priority of a node in the latest configuration."""
        member = self._configurations.latest.member(voter.node)
        return 0 if member is None else member.priority

    def behind(self, voter: Voter) -> Slot:
        """How many slots a node lacked of what this one knew an interval before it asked.

        Not of what is decided now: a node that only follows hears of that with the next heartbeat.
        """
        heard = self._heard[voter]
        before = heard.sent_at - self._timing.heartbeat_interval_s
        known = [slot for at, slot in self._decided if at <= before]
        reference = known[-1] if known else self._decided[0][1]
        return max(0, reference - heard.answer.decided_through)

    def successors(self, ballot: Ballot, decided_through: Slot, now: Instant) -> list[Voter]:
        """Who could take over from this node, which leads with ``ballot``: the best one first.

        Those are the full voters of the latest configuration that are connected and not behind.
        """
        alpha = self._configurations.alpha
        full = self._configurations.latest.full_voters
        able = [
            (-self.priority(voter), -answer.decided_through, voter)
            for voter, answer in self.reached(now).items()
            if voter in full and self.may_lead(voter, decided_through)
            if answer.sound and answer.promised <= ballot and self.behind(voter) <= alpha
        ]
        return [voter for _, _, voter in sorted(able)]

    def preferred(self, ballot: Ballot, decided_through: Slot, now: Instant) -> Voter | None:
        """Who should lead instead of this node, for its higher priority; asked when leading.

        It must have been able to for several timeouts, so that a node that comes and goes does not
        move the lead with it; the same time passes before it is named again.
        """
        best = next(iter(self.successors(ballot, decided_through, now)), None)
        if best is None or self.priority(best) <= self.priority(self._me):
            self._preferred = None
        elif self._preferred is None or self._preferred[0] != best:
            self._preferred = (best, now.monotonic)
        elif now.monotonic - self._preferred[1] > PREFERENCE_TIMEOUTS * (
            self._timing.election_timeout_s
        ):
            self._preferred = None
            return best
        return None

    # --- verdicts ---

    def next_deadline(self) -> float:
        """When ``heartbeat_due`` or a verdict may change by itself, in monotonic seconds."""
        if self._waiting or not self._may_campaign:
            return self._next_heartbeat_at
        return min(self._next_heartbeat_at, self._election_at)

    def judge_leading(
        self,
        ballot: Ballot,
        promised: Ballot,
        decided_through: Slot,
        has_work: bool,
        has_reads: bool,
        now: Instant,
    ) -> Verdict:
        """Whether a leader should go on. Asked with every heartbeat.

        Slots and reads are judged apart: barriers that complete say nothing of a disk that hangs.
        """
        self._election_at = now.monotonic + self._random_timeout(1.0)
        if not has_work:
            self._decided_at = now.monotonic
        if not has_reads:
            self._confirmed_at = now.monotonic
        connected = self.connected(ballot, promised, now)
        live = self._configurations.live(decided_through)
        if not all(c.quorums.is_phase2(connected) for c in live):
            return Verdict.GIVE_WAY
        progress_at = min(self._decided_at, self._confirmed_at)
        if now.monotonic - progress_at > STUCK_TIMEOUTS * self._timing.election_timeout_s:
            return Verdict.GIVE_WAY
        return Verdict.WAIT

    def judge_following(self, decided_through: Slot, now: Instant) -> Verdict:
        """Whether a node that does not lead should campaign. Asked when due and at each answer."""
        if not self._may_campaign or now.monotonic < self._election_at:
            return Verdict.WAIT
        if self.leader(now) != BALLOT_ZERO:
            self._preempted = BALLOT_ZERO
            self._election_at = self._leader_at + self._random_timeout(1.0)
            return Verdict.WAIT
        if not self.is_eligible(decided_through):
            self._waiting = False
            self._election_at = now.monotonic + self._random_timeout(1.0)
            return Verdict.WAIT
        self._waiting = True
        if not self._may_try(decided_through, now) or self._behind(decided_through, now):
            return Verdict.WAIT
        return Verdict.WAIT if self._defers(decided_through, now) else Verdict.CAMPAIGN

    def _may_try(self, decided_through: Slot, now: Instant) -> bool:
        """Whether quorums are reached and, unless this node takes back a lead, pre-vote for it."""
        reached = {v: answer for v, answer in self.reached(now).items() if answer.sound}
        timeout = self._timing.election_timeout_s
        if self._preempted != BALLOT_ZERO and now.monotonic - self._reclaimed_at > timeout:
            named = max((a.leader for a in reached.values()), default=BALLOT_ZERO)
            if max(named, self._named) <= self._preempted:
                return self._has_quorums({self._me, *reached}, decided_through)
        willing = {v for v, a in reached.items() if a.leader.node in (0, self._me.node)}
        return self._has_quorums(willing | {self._me}, decided_through)

    def _behind(self, decided_through: Slot, now: Instant) -> bool:
        """Whether a reached voter knows more, and catching up still makes progress."""
        if all(a.decided_through <= decided_through for a in self.reached(now).values()):
            self._catching_up = None
            return False
        if self._catching_up is None or decided_through > self._catching_up[0]:
            self._catching_up = (decided_through, now.monotonic)
            return True
        return now.monotonic - self._catching_up[1] < self._timing.election_timeout_s

    def _defers(self, decided_through: Slot, now: Instant) -> bool:
        """Whether a voter of higher priority, reached and not behind, should try first.

        For one election timeout: then that one is not going to.
        """
        mine = self.priority(self._me)
        better = any(
            self.priority(voter) > mine and self.may_lead(voter, decided_through)
            for voter, answer in self.reached(now).items()
            if answer.sound and answer.decided_through >= decided_through
        )
        if not better:
            self._deferring_at = math.inf
            return False
        self._deferring_at = min(self._deferring_at, now.monotonic)
        return now.monotonic - self._deferring_at < self._timing.election_timeout_s

    def _has_quorums(self, voters: Set[Voter], decided_through: Slot) -> bool:
        return all(
            c.quorums.is_phase1(voters) and c.quorums.is_phase2(voters)
            for c in self._configurations.live(decided_through)
        )

    def _follow(self, leader: Ballot, now: Instant) -> None:
        self._leader = leader
        self._leader_at = now.monotonic
        self._preempted = BALLOT_ZERO
        self._election_at = now.monotonic + self._random_timeout(1.0)
        self._waiting = False
        self._deferring_at = math.inf

    def _lose_leader(self, now: Instant) -> None:
        """The leader is gone or says it cannot lead: no need to wait out a whole timeout."""
        self._leader = BALLOT_ZERO
        self._leader_at = -math.inf
        spread = self._rng.random() * 2 * self._timing.heartbeat_interval_s
        self._election_at = min(self._election_at, now.monotonic + spread)
        self._waiting = False

    def _random_timeout(self, least: float) -> float:
        """``least`` election timeouts, and up to one more at random."""
        return self._timing.election_timeout_s * (least + self._rng.random())
