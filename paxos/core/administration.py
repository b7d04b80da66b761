"""What a leader does when an administrator asks: changes of membership, and handing over the lead.

It is the replica's hand, not a role: it carries facts between the proposer (who has promised), the
elector (who is reached), the configurations, and its own two parts: the change under way
(``membership``) and the hand-over under way. It guards that a change is proposed only once its
voters can carry it, and that a leader which was removed stays until the change is settled and
another one leads. What it wants sent it returns; the replica sends it, to this node too.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxos.core.ballot import Ballot
from paxos.core.config import FEATURE, FEATURE_MEMBERSHIP, Change, Configuration, Configurations
from paxos.core.effects import Effect, Reply, Send
from paxos.core.elector import Elector
from paxos.core.ids import ClientId, Instant, NodeId, Slot, Voter
from paxos.core.membership import ASKERS_MAX, Answer, Asker, Membership, Standing, obstacles
from paxos.core.messages import (
    AdminAnswer,
    Reconfigure,
    Settle,
    Settled,
    Status,
    TakeOver,
    TransferLeader,
)
from paxos.core.proposer import Proposer

PATIENCE_TIMEOUTS = 10
"""A change that cannot be carried, or a hand-over, is refused after so many election timeouts."""


@dataclass(slots=True)
class Handover:
    """A lead that is being handed over on request: to whom, until when, and who waits for it."""

    to: Voter
    until: float
    askers: list[Asker]


class Administration:
    """One node's answers to its administrators, while it leads.

    Args:
        me: This node.
        accepts: Whether it is an acceptor; if so it leads only as a full voter.
        configurations: Who votes.
        proposer: Proposes changes, and knows who has promised.
        elector: Knows who is reached and could lead.
        election_timeout_s: See ``Timing``.
    """

    def __init__(
        self,
        me: Voter,
        accepts: bool,
        configurations: Configurations,
        proposer: Proposer,
        elector: Elector,
        election_timeout_s: float,
    ) -> None:
        self._me = me
        self._accepts = accepts
        self._configurations = configurations
        self._proposer = proposer
        self._elector = elector
        self._patience_s = PATIENCE_TIMEOUTS * election_timeout_s
        self._membership = Membership(self._patience_s)
        self._timeout_s = election_timeout_s
        self._handover: Handover | None = None
        self._told: tuple[Voter, float] | None = None  # who was told to take over, and when first
        self._features: dict[Voter, int] = {me: FEATURE}  # what each node understands
        self.known = configurations.latest
        """The latest configuration that ``reconfigured`` has seen."""

    # --- what stands ---

    @property
    def settled(self) -> bool:
        """Whether this node knows that nothing is left to do for the latest configuration."""
        return self._membership.is_settled(self._configurations.latest.version)

    @property
    def is_idle(self) -> bool:
        """Whether no change was asked for, and none is to be settled: nearly always."""
        return self._membership.is_idle(self._configurations.latest.version)

    @property
    def invited(self) -> tuple[NodeId, ...]:
        """The members of the configuration that was asked for."""
        wanted = self._membership.wanted
        return () if wanted is None else tuple(member.node for member in wanted.members)

    def change(self, sound: bool, now: Instant) -> str:
        """Say what the change that was asked for waits for; empty if there is none."""
        wanted = self._membership.wanted
        if wanted is None:
            return ""
        reasons = "; ".join(self._obstacles(wanted, sound, now)) or "on its way"
        return f"to configuration {wanted.version}: {reasons}"

    def is_removed(self, decided_through: Slot) -> bool:
        """Whether this node was a member once and no slot concerns it any more."""
        latest = self._configurations.latest
        return (
            self._accepts
            and self._me.node < latest.next_node
            and self._me.node not in self._configurations.member_nodes(decided_through)
        )

    # --- what happens ---

    def connected(self, peer: Voter, feature: int) -> None:
        """A connection to a node is new, and said what it understands."""
        self._features[peer] = feature

    def disconnected(self, peer: Voter) -> None:
        """A connection broke. What a member understands stays known; a stranger is forgotten."""
        if peer not in self._configurations.latest.everyone:
            self._features.pop(peer, None)

    def client_gone(self, client: ClientId) -> None:
        """A client is gone; what it asked for goes on."""
        self._membership.forget(client)
        if self._handover is not None:
            waiting = [asker for asker in self._handover.askers if asker[0] != client]
            self._handover.askers = waiting

    def stop(self) -> list[ClientId]:
        """This node leads no more: return who waits, to be sent elsewhere."""
        waiting = self._membership.stop()
        if self._handover is not None:
            waiting.extend(client for client, _ in self._handover.askers)
            self._handover = None
        self._told = None
        return waiting

    def reconfigured(self, decided_through: Slot, now: Instant) -> list[Effect]:
        """If the latest configuration is new here, hear its voters' promises before it governs."""
        latest, known = self._configurations.latest, self.known
        self.known = latest
        if latest.version == known.version:
            return []
        slot = self._configurations.latest_first - self._configurations.alpha
        effects = replies(self._membership.decided(latest, slot))
        self._proposer.seek(None, decided_through)
        self._elector.handle_connected(now)
        return [*effects, *self._proposer.reach_out(decided_through, now)]

    # --- a change ---

    def on_reconfigure(
        self, client: ClientId, request: Reconfigure, decided_through: Slot, now: Instant
    ) -> list[Effect]:
        """An administrator asks this leader for a change."""
        latest, wanted = self._configurations.latest, request.configuration
        asker = (client, request.number)
        answer = self._membership.ask(asker, wanted, latest, self._features, now)
        if answer is not None:
            return [Reply(client, answer)]
        if self._membership.wanted != wanted:
            return []
        self._proposer.seek(wanted, decided_through)
        self._elector.handle_connected(now)
        return self._proposer.reach_out(decided_through, now)

    def advance(self, decided_through: Slot, sound: bool, now: Instant) -> list[Effect]:
        """Propose the change that was asked for, once its voters can carry it."""
        wanted = self._membership.wanted
        if wanted is None:
            return []
        if self._proposer.is_changing:
            self._proposer.submit_change(None)
            return []  # it is on its way, or another one is, which then comes first
        reasons = self._obstacles(wanted, sound, now)
        self._proposer.submit_change(None if reasons else Change(wanted))
        refused = self._membership.give_up(reasons, decided_through, now)
        if self._membership.wanted is None:
            self._proposer.seek(None, decided_through)
        return replies(refused)

    def _obstacles(self, wanted: Configuration, sound: bool, now: Instant) -> list[str]:
        """Say what keeps this leader from proposing ``wanted`` now."""
        latest = self._configurations.latest
        if not self.settled and self._is_settling(latest, now):
            missing = ", ".join(f"n{v.node}" for v in self._membership.unsettled(latest))
            return [f"configuration {latest.version} is not settled: {missing} must confirm it"]
        standings = {voter: self._standing(voter, sound, now) for voter in wanted.voters}
        return obstacles(wanted, latest, standings, self._configurations.alpha)

    def _is_settling(self, latest: Configuration, now: Instant) -> bool:
        """Whether those that must confirm ``latest`` are there.

        If they are not, the way on may be the very change that replaces them; once that is settled,
        so is all below.
        """
        able = {voter for voter, answer in self._elector.reached(now).items() if answer.sound}
        return latest.quorums.is_phase2(latest.full_voters & (able | {self._me}))

    def _standing(self, voter: Voter, sound: bool, now: Instant) -> Standing:
        promised = voter in self._proposer.promised
        if voter == self._me:
            return Standing(True, sound, False, 0, promised)
        answer = self._elector.reached(now).get(voter)
        if answer is None:
            return Standing(promised=promised)
        outbid = answer.promised > self._proposer.ballot
        return Standing(True, answer.sound, outbid, self._elector.behind(voter), promised)

    # --- settling ---

    def must_settle(self, again: bool, decided_through: Slot) -> bool:
        """Whether to ask now for the log below the latest configuration to be made durable."""
        latest, below = self._configurations.latest, self._configurations.latest_first - 1
        if self.settled or decided_through < below:
            return False
        return again or not self._membership.is_asking(latest)

    def ask_settling(self) -> list[Effect]:
        """Ask all who have not said so yet."""
        latest, below = self._configurations.latest, self._configurations.latest_first - 1
        self._membership.asked_settling(latest)
        return [Send(v.node, Settle(below)) for v in self._membership.unsettled(latest)]

    def on_settled(
        self, sender: Voter, m: Settled, decided_through: Slot, now: Instant
    ) -> list[Effect]:
        """A node has it durable."""
        latest, below = self._configurations.latest, self._configurations.latest_first - 1
        if m.through < below or self.settled:
            return []
        answers = self._membership.handle_settled(sender, latest, below)
        handover = self.hand_over(decided_through, now) if self._is_leaving() else []
        return [*replies(answers), *handover]

    # --- handing over ---

    def on_transfer(
        self, client: ClientId, request: TransferLeader, decided_through: Slot, now: Instant
    ) -> list[Effect]:
        """An administrator asks this leader to hand over."""
        number = request.number
        if request.to == self._me.node:
            text = f"n{self._me.node} leads already"
            return [Reply(client, AdminAnswer(number, Status.DONE, decided_through, text))]
        able = self._elector.successors(self._proposer.ballot, decided_through, now)
        to = next((voter for voter in able if request.to in (0, voter.node)), None)
        text = self._refusal_of_transfer(request.to, to, able)
        if to is None or text:
            return [Reply(client, AdminAnswer(number, Status.REFUSED, decided_through, text))]
        if self._handover is None:
            self._handover = Handover(to, now.monotonic + self._patience_s, [])
        self._handover.askers.append((client, number))
        return self.hand_over(decided_through, now)

    def _refusal_of_transfer(self, wanted: NodeId, to: Voter | None, able: list[Voter]) -> str:
        if self._configurations.latest.feature < FEATURE_MEMBERSHIP:
            return f"a lead is handed over from feature version {FEATURE_MEMBERSHIP} on: upgrade"
        if to is None:
            names = ", ".join(f"n{voter.node}" for voter in able) or "nobody"
            whom = f"n{wanted} cannot lead now" if wanted else "nobody could lead instead"
            return (
                f"{whom}: it takes a full voter that answers, votes, and has caught up"
                f" (at present: {names})"
            )
        if self._handover is not None and self._handover.to != to:
            return f"the lead is being handed over to n{self._handover.to.node} already"
        if self._handover is not None and len(self._handover.askers) >= ASKERS_MAX:
            return "too many wait for the hand-over that is under way"
        return ""

    def hand_over(self, decided_through: Slot, now: Instant) -> list[Effect]:
        """Tell who is to lead instead of this node, if anyone is, to campaign.

        This node goes on until it is outbid, so that nothing pauses if the other one cannot.
        """
        ballot, handover = self._proposer.ballot, self._handover
        to: Voter | None = None
        if handover is not None and now.monotonic >= handover.until:
            self._handover = None
            text = f"n{handover.to.node} did not take over in time: look at its disk and its links"
            return handover_answers(handover, Status.REFUSED, decided_through, text)
        if handover is not None:
            to = handover.to
        elif self._is_leaving():
            to = self._successor(decided_through, now)
        elif self._may_prefer():
            to = self._elector.preferred(ballot, decided_through, now)
        if to is None:
            return []
        if self._told is None or self._told[0] != to:
            self._told = (to, now.monotonic)
        return [Send(to.node, TakeOver(ballot))]

    def _may_prefer(self) -> bool:
        """Whether a lead may move by priority: not in a change, nor where TakeOver is not known."""
        calm = self.settled and self._membership.wanted is None
        return calm and self._configurations.latest.feature >= FEATURE_MEMBERSHIP

    def _successor(self, decided_through: Slot, now: Instant) -> Voter | None:
        """Who is to lead instead of this node: for a timeout the same, so that no two compete."""
        able = self._elector.successors(self._proposer.ballot, decided_through, now)
        if self._told is not None and now.monotonic - self._told[1] < self._timeout_s:
            able = [voter for voter in able if voter == self._told[0]] or able
        else:
            self._told = None
        return able[0] if able else None

    def outbid(self, ballot: Ballot, decided_through: Slot) -> tuple[bool, list[Effect]]:
        """Another node has a higher ballot: is that what this leader wanted? Answer who waits."""
        handover = self._handover
        if handover is None or handover.to.node != ballot.node:
            told = self._told is not None and self._told[0].node == ballot.node
            return told or self._is_leaving(), []
        self._handover = None
        text = f"n{ballot.node} takes over with ballot {ballot}"
        return True, handover_answers(handover, Status.DONE, decided_through, text)

    def _is_leaving(self) -> bool:
        """Whether a settled change leaves this node no part that could lead."""
        full = self._configurations.latest.full_voters
        return self._accepts and self.settled and self._me not in full


def replies(answers: list[Answer]) -> list[Effect]:
    """Return answers as effects."""
    return [Reply(client, answer) for client, answer in answers]


def handover_answers(handover: Handover, status: Status, slot: Slot, text: str) -> list[Effect]:
    """Answer everyone who asked for a hand-over."""
    answers = [
        (client, AdminAnswer(number, status, slot, text)) for client, number in handover.askers
    ]
    return replies(answers)
