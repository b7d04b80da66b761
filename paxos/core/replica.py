"""The replica: one node's roles, composed. ``handle(event, now)`` in, effects out.

It routes messages to roles and carries the few facts that cross between them (a ballot seen, a slot
and value decided, a slot applied). No role knows another; everything that two of them must agree on
passes through here. It never raises on anything a peer or client can send: nonsense is dropped and
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from paxos.core.acceptor import Acceptor
from paxos.core.administration import Administration
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.barrier import ReadBarrier
from paxos.core.clients import Clients
from paxos.core.config import (
    Configuration,
    Configurations,
    Governing,
)
from paxos.core.effects import Effect, Persist, Reply, Send
from paxos.core.elector import Elector, Verdict
from paxos.core.events import (
    AdminRequested,
    ClientGone,
    DeadlinePassed,
    DiskFull,
    Event,
    PeerConnected,
    PeerDisconnected,
    ReadsRequested,
    Received,
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.executor import ANY_SIZE, Executor, Unpack
from paxos.core.ids import ClientId, Instant, NodeId, SessionId, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.limits import DEFAULT_LIMITS, DEFAULT_TIMING, Limits, Timing
from paxos.core.messages import (
    Accept,
    Accepted,
    CatchUp,
    Compacted,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    Nack,
    Overloaded,
    Prepare,
    Promise,
    Read,
    ReadAnswer,
    Reconfigure,
    Redirect,
    Result,
    Results,
    SessionOpened,
    Settle,
    Settled,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotRequest,
    Status,
    TakeOver,
    TakeSnapshot,
    Watch,
)
from paxos.core.proposer import Phase, Proposer
from paxos.core.records import DecidedRecord, Record, Recovered
from paxos.core.snapshots import Snapshots
from paxos.core.state_machine import StateMachine
from paxos.core.value import Value

if TYPE_CHECKING:
    from random import Random


class Role(Enum):
    """What a node takes part in. Every node learns."""

    PROPOSER = "proposer"
    ACCEPTOR = "acceptor"
    EXECUTOR = "executor"


ALL_ROLES = frozenset(Role)

CATCH_UP_PATIENCE = 3
"""After this many further signs of life of the peer asked, another is asked to help."""

CATCH_UP_REPEAT = 2
"""It is repeated to the same peer after so many more, while no other shows that it knows more.

A peer may know that slots are decided and have neither their values nor a snapshot: a witness.
"""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a replica says about itself: a value, never a live object.

    ``role`` is "leader", "campaigner" or "follower". ``leader`` is a hint, 0 for none. ``dropped``
    counts by reason what was ignored. ``configuration`` is the latest decided one and ``governing``
    holds every live one; ``change`` says what a leader waits for before it proposes the next, and
    ``settled`` whether nothing of a change is left to do (only a leader knows that it is).
    ``removed`` is a node that no slot concerns any more. ``lags`` has, of each member reached, how
    many slots it lacks. ``differs`` has the nodes whose results are not this node's, each with the
    first slot known to differ.
    """

    node: NodeId
    role: str
    ballot: Ballot
    leader: NodeId
    promised: Ballot
    decided_through: Slot
    applied_through: Slot
    disk_full: bool
    sessions: int
    pending_bytes: int
    dropped: Mapping[str, int]
    configuration: Configuration | None = None
    governing: tuple[Governing, ...] = ()
    change: str = ""
    settled: bool = True
    removed: bool = False
    lags: Mapping[NodeId, Slot] = field(default_factory=dict)
    compacted_through: Slot = 0
    snapshot_through: Slot = 0
    differs: Mapping[NodeId, Slot] = field(default_factory=dict)


class Replica:
    """One node: its roles, and what passes between them.

    Args:
        me: This node and its incarnation.
        configurations: Who votes, and alpha.
        recovered: What replaying this node's records gave; taken over.
        machines: State machines by name; must be equal on every node. Empty for a node that does
            not execute.
        rng: Spreads election timeouts. The only source of chance.
        unpack: Decodes a batch into submissions.
        now: The node's clocks at start.
        limits: Bounds.
        timing: Durations.
        roles: What this node takes part in.
    """

    def __init__(
        self,
        me: Voter,
        configurations: Configurations,
        recovered: Recovered,
        machines: Mapping[str, StateMachine],
        rng: Random,
        unpack: Unpack,
        now: Instant,
        *,
        limits: Limits = DEFAULT_LIMITS,
        timing: Timing = DEFAULT_TIMING,
        roles: frozenset[Role] = ALL_ROLES,
    ) -> None:
        self._me = me
        self._configurations = configurations
        self._limits = limits
        self._accepts = Role.ACCEPTOR in roles
        self._executes = Role.EXECUTOR in roles
        self.acceptor = Acceptor(recovered, limits.promise_bytes_max)
        self.learner = Learner(configurations)
        self.proposer = Proposer(me, configurations, recovered.issued, limits, timing)
        proposes = Role.PROPOSER in roles
        self.elector = Elector(me, configurations, timing, rng, proposes, now, self._accepts)
        self.executor = Executor(machines, unpack, limits.sessions_max, limits.session_requests_max)
        self.snapshots = Snapshots(
            me if self._executes else None,
            configurations,
            self.acceptor,
            self.learner,
            self.executor,
            limits=limits,
            timing=timing,
            recovered=recovered,
        )
        self.barrier = ReadBarrier()
        timeout_s = timing.election_timeout_s
        self.administration = Administration(
            me, self._accepts, configurations, self.proposer, self.elector, timeout_s
        )
        self._clients = Clients(limits)
        self._results: dict[tuple[ClientId, SessionId], list[Result]] = {}  # of this event
        self._opened: list[tuple[ClientId, SessionOpened]] = []
        self._disk_full = False
        self._asked: Voter | None = None  # whom this node has asked to help it catch up
        self._patience = 0  # how many signs of life until it asks again
        self._dropped: dict[str, int] = {}
        self._on_event = self._event_handlers()
        self._on_message = self._message_handlers()
        self.learner.install(self.snapshots.recovered_through)
        for slot, held in sorted(recovered.held.items()):
            if held.decided and not self.learner.is_decided(slot):
                self._run(self.learner.decide(slot, held.value))

    def _event_handlers(self) -> dict[type, Callable[[Any, Instant, list[Effect]], None]]:
        return {
            Submitted: self._on_submitted,
            ReadsRequested: self._on_reads,
            WatchRequested: self._on_watch,
            WatchCancelled: self._on_watch_cancelled,
            ClientGone: self._on_client_gone,
            PeerConnected: self._on_peer_connected,
            PeerDisconnected: self._on_peer_disconnected,
            DeadlinePassed: self._on_deadline,
            DiskFull: self._on_disk_full,
            AdminRequested: self._on_admin,
            SnapshotSaved: self.snapshots.on_saved,
            SnapshotNotSaved: self.snapshots.on_not_saved,
            SnapshotFetched: self._on_snapshot_fetched,
            SnapshotSpoilt: self.snapshots.on_spoilt,
        }

    def _message_handlers(
        self,
    ) -> dict[type, Callable[[Voter, Any, Instant, list[Effect]], None]]:
        return {
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Accept: self._on_accept,
            Accepted: self._on_accepted,
            Nack: self._on_nack,
            Compacted: self._on_compacted,
            Heartbeat: self._on_heartbeat,
            HeartbeatAnswer: self._on_heartbeat_answer,
            CatchUp: self._on_catch_up,
            Decided: self._on_decided,
            SnapshotOffer: self.snapshots.on_offer,
            SnapshotRequest: self.snapshots.on_request,
            SnapshotChunk: self._on_snapshot_chunk,
            Settle: self._on_settle,
            Settled: self._on_settled,
            TakeOver: self._on_take_over,
        }

    # --- the three verbs ---

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take one event; return what is to be done about it, in order.

        Args:
            event: What happened.
            now: The node's clocks, read after the event's frames were.

        Raises:
            InvariantBroken: This node broke its own rules and must stop.
        """
        out: list[Effect] = []
        before = self.learner.decided_through
        if type(event) is Received:
            self._receive(event.sender, event.message, now, out)
        else:
            self._on_event[type(event)](event, now, out)
        if self._configurations.latest is not self.administration.known:
            through = self.learner.decided_through
            self._emit(self.administration.reconfigured(through, now), now, out)
        phase = self.proposer.phase
        if phase is Phase.PREPARING:
            self._try_to_lead(now, out)
            phase = self.proposer.phase
        if phase is Phase.LEADING:
            if self.administration.is_idle:
                self._propose(now, out)
            else:
                self._propose_changing(now, out)
            if self.barrier.wants_round:
                self._begin_round(now, out)
        elif self.elector.waiting:
            self._consider_campaign(now, out)
        if self.learner.decided_through > before:
            self._after_deciding(now, out)
        self.snapshots.flush(out)
        return out

    def next_deadline(self) -> float:
        """When to send DeadlinePassed, in monotonic seconds, if nothing else happens before."""
        # A fetch that stands still is seen with the next heartbeat: it is patient for longer.
        return min(self.elector.next_deadline(), self.proposer.next_deadline())

    def leader(self, now: Instant) -> NodeId:
        """Return whom this replica would name as the leader: a hint, 0 for none."""
        return self._leader(now).node

    def status(self, now: Instant) -> ReplicaStatus:
        """Return what this replica says about itself."""
        roles = {Phase.LEADING: "leader", Phase.PREPARING: "campaigner", Phase.IDLE: "follower"}
        leading = self.proposer.leading
        return ReplicaStatus(
            node=self._me.node,
            role=roles[self.proposer.phase],
            ballot=self.proposer.ballot if leading else self.elector.leader(now),
            leader=self.leader(now),
            promised=self.acceptor.promised,
            decided_through=self.learner.decided_through,
            applied_through=self.executor.applied_through,
            disk_full=self._disk_full,
            sessions=self.executor.sessions,
            pending_bytes=self.proposer.pending_bytes,
            dropped=dict(self._dropped),
            **self._membership_status(now),
        )

    def _membership_status(self, now: Instant) -> dict[str, Any]:
        """Return the fields of the status that are about members."""
        through = self.learner.decided_through
        reached = self.elector.reached(now).items()
        return {
            "configuration": self._configurations.latest,
            "governing": self._configurations.governing(through),
            "change": self.administration.change(not self._disk_full, now),
            "settled": self.administration.settled,
            "removed": self.administration.is_removed(through),
            "lags": {v.node: max(0, through - a.decided_through) for v, a in reached},
            "compacted_through": self.acceptor.compacted_through,
            "snapshot_through": self.snapshots.digest.slot,
            "differs": {voter.node: slot for voter, slot in self.snapshots.differing.items()},
        }

    def digest(self, bytes_max: int = ANY_SIZE) -> bytes:
        """Return a digest of the replicated state at ``applied_through``. Reads all of it.

        Args:
            bytes_max: Of a larger state the digest is empty.
        """
        return self.executor.digest(bytes_max)

    # --- messages from replicas ---

    def _receive(self, sender: Voter, message: Any, now: Instant, out: list[Effect]) -> None:
        handler = self._on_message.get(type(message))
        if handler is None:
            self._drop("not a message between replicas")
        else:
            handler(sender, message, now, out)

    def _on_prepare(self, sender: Voter, m: Prepare, now: Instant, out: list[Effect]) -> None:
        if sender == self._me:
            self.proposer.handle_own_prepare(m)
        if not self._votes_for(sender, m.ballot):
            return
        through = self.learner.decided_through
        effects = self.acceptor.handle_prepare(m, through, self._leader(now), now.wall)
        self._emit(effects, now, out)
        self._check_outbid(self.acceptor.promised, BALLOT_ZERO, now, out)

    def _on_promise(self, sender: Voter, m: Promise, now: Instant, out: list[Effect]) -> None:
        decided = self.proposer.handle_promise(sender, m, self.learner.decided_through, now)
        self._learn([(report.slot, report.value) for report in decided], now, out)
        self._heard_decided(sender, m.decided_through, now, out)

    def _on_accept(self, sender: Voter, m: Accept, now: Instant, out: list[Effect]) -> None:
        if not self._votes_for(sender, m.ballot):
            return
        if m.slot > m.decided_through + self._configurations.alpha:
            self._drop("beyond the window")
            return
        effects = self.acceptor.handle_accept(m, self.learner.decided_through, self._leader(now))
        if effects is None:
            self._drop("contradicts what is known")
            return
        self._emit(effects, now, out)
        self._check_outbid(self.acceptor.promised, BALLOT_ZERO, now, out)
        self._watermark(m.ballot, m.decided_through, now, out)
        if m.decided_through > self.learner.decided_through and self._asked is None:
            self._ask(sender, out)

    def _on_accepted(self, sender: Voter, m: Accepted, now: Instant, out: list[Effect]) -> None:
        if sender == self._me:
            self.proposer.written(m.ballot, m.slot)
        value = self.learner.handle_accepted(sender, m)
        if value is not None:
            self._learn([(m.slot, value)], now, out, m.ballot)

    def _on_nack(self, sender: Voter, m: Nack, now: Instant, out: list[Effect]) -> None:
        self.elector.saw_promise(m.promised)
        if m.ballot == self.proposer.ballot:
            self._check_outbid(m.promised, m.leader, now, out)
        self._heard_decided(sender, m.decided_through, now, out)

    def _on_compacted(self, sender: Voter, m: Compacted, now: Instant, out: list[Effect]) -> None:
        self.elector.saw_promise(m.promised)
        if m.ballot == self.proposer.ballot:
            self.proposer.note_compacted(m.through)
            self._check_outbid(m.promised, BALLOT_ZERO, now, out)
        self._heard_decided(sender, max(m.through, m.decided_through), now, out)

    def _on_heartbeat(self, sender: Voter, m: Heartbeat, now: Instant, out: list[Effect]) -> None:
        self.elector.handle_heartbeat(sender, m, now)
        if m.connected:
            self._check_outbid(m.ballot, m.ballot, now, out)
        self._watermark(m.ballot, m.decided_through, now, out)
        through = self.learner.decided_through
        answer = HeartbeatAnswer(
            m.number,
            self.acceptor.promised,
            self._leader(now),
            not self._disk_full,
            through,
            now.wall,
            self.snapshots.digest,
            self.snapshots.results(sender),
        )
        out.append(Send(sender.node, answer))
        self._compare(sender, m, now, out)
        self._heard_decided(sender, m.decided_through, now, out)

    def _on_heartbeat_answer(
        self, sender: Voter, m: HeartbeatAnswer, now: Instant, out: list[Effect]
    ) -> None:
        self.elector.handle_answer(sender, m)
        self.proposer.read_clock(sender, m, now)
        self._check_outbid(m.promised, m.leader, now, out)
        # A node that was restarted may be handed answers to its earlier life, of any number.
        if self.proposer.leading and self.elector.has_sent(m.number):
            self._confirm(sender, m.number, now, out)
        self._compare(sender, m, now, out)
        self._heard_decided(sender, m.decided_through, now, out)

    def _compare(
        self, sender: Voter, m: Heartbeat | HeartbeatAnswer, now: Instant, out: list[Effect]
    ) -> None:
        if self.snapshots.heard(sender, m, now, out):
            self._drop("another state at an equal slot")

    def _on_catch_up(self, sender: Voter, m: CatchUp, now: Instant, out: list[Effect]) -> None:
        through = self.learner.decided_through
        values = self.acceptor.decided_run(m.after, through)
        if values:
            out.append(Send(sender.node, Decided(m.after + 1, values, through)))
        else:
            self.snapshots.offer(sender, m.after, out)

    def _on_decided(self, sender: Voter, m: Decided, now: Instant, out: list[Effect]) -> None:
        if self._disk_full:
            self._drop("disk full")
            return
        self._learn(list(enumerate(m.values, m.first)), now, out)
        self._asked, self._patience = None, 0
        self._heard_decided(sender, m.decided_through, now, out)

    # --- snapshots ---

    def _on_snapshot_chunk(
        self, sender: Voter, m: SnapshotChunk, now: Instant, out: list[Effect]
    ) -> None:
        if self.snapshots.on_chunk(sender, m, sorted(self.elector.reached(now)), now, out):
            winning = self.proposer.is_catching_up(self.learner.decided_through)
            self.elector.fetched(winning, now)

    def _on_snapshot_fetched(self, event: SnapshotFetched, now: Instant, out: list[Effect]) -> None:
        """A snapshot is here whole: go on behind it, unless this node knows as much by itself."""
        through = event.snapshot.head.through
        if not self.snapshots.on_fetched(event, now, out):
            return
        if not self.proposer.handle_installed(through):
            ballot = self.proposer.ballot
            self._stop_proposing(now, out)
            self.elector.preempted(ballot, BALLOT_ZERO, now)
        self._run(self.learner.install(through))

    # --- deciding ---

    def _watermark(self, ballot: Ballot, through: Slot, now: Instant, out: list[Effect]) -> None:
        if self._disk_full:
            return  # what lies above a hole would need a record of its own
        marked = self.acceptor.under_watermark(ballot, through)
        if marked:
            self._learn(marked, now, out, ballot, through)

    def _learn(
        self,
        decided: list[tuple[Slot, Value]],
        now: Instant,
        out: list[Effect],
        accepted_at: Ballot | None = None,
        watermark: Slot | None = None,
    ) -> None:
        """Take decided values, from wherever they came.

        ``accepted_at`` is the ballot whose watermark will cover them in this node's log: one that
        says no more than its leader did, ``watermark`` (None: this node is the leader). What no
        watermark covers (learned otherwise, or above a hole) gets a record of its own; should
        that be lost to damage, a watermark that went beyond would vouch for what was accepted.
        """
        records: list[Record] = []
        for slot, value in decided:
            if self.learner.is_decided(slot):
                continue
            covered = self.acceptor.mark_decided(slot, value, accepted_at)
            if not self.proposer.handle_decided(slot, value):
                self._stop_proposing(now, out)
                self.elector.preempted(self.proposer.ballot, BALLOT_ZERO, now)
            self._run(self.learner.decide(slot, value))
            if not covered or slot > self.learner.decided_through:
                records.append(DecidedRecord(slot, value))
        if accepted_at is not None:
            through = self.learner.decided_through
            covered_through = through if watermark is None else min(watermark, through)
            self.acceptor.note_watermark(accepted_at, covered_through)
        # One write each, for the shell to group: together they may be larger than its room.
        out.extend(Persist((record,), ()) for record in records)

    def _run(self, decided: list[tuple[Slot, Value]]) -> None:
        """Take what is decided without a gap: changes of the configuration, then commands."""
        for slot, value in decided:
            if value.change is not None:
                self._configurations.decide(slot, value.change)
            if not self._executes:
                continue
            applied = self.executor.apply(slot, value)
            self.snapshots.applied(slot)
            for session, results in applied.results.items():
                client = self._clients.sessions.owner(session)
                if client is not None:
                    self._results.setdefault((client, session), []).extend(results)
            for nonce, session in applied.opened:
                client = self._clients.openings.owner(nonce)
                if client is not None:
                    self._opened.append((client, SessionOpened(nonce, session)))

    def _after_deciding(self, now: Instant, out: list[Effect]) -> None:
        """The log grew: answer whoever waited for that."""
        if self.proposer.is_catching_up(self.learner.decided_through):
            self.elector.fetched(True, now)
        if self.proposer.leading:
            self.elector.progressed(now)
            self.proposer.owe_notice(self.learner.decided_through, now)
        out.extend(Reply(client, opened) for client, opened in self._opened)
        self._opened = []
        for (client, session), results in self._results.items():
            out.append(Reply(client, Results(session, tuple(results))))
        self._results = {}
        self.snapshots.caught_up()
        self._answer_ready(out)
        for client, watch in self._clients.watches():
            self._try_watch(client, watch, out)

    def _heard_decided(self, sender: Voter, through: Slot, now: Instant, out: list[Effect]) -> None:
        """A peer knows of decisions through ``through``; ask it for those this node lacks.

        Not another follower, though, while the leader's own watermark is bound to come: this node
        holds the next slot as accepted from the leader it hears.
        """
        if through <= self.learner.decided_through or sender == self._me:
            if sender == self._asked:
                self._patience = 0  # it has given what it had: any other may be asked
            return
        leader = self.elector.leader(now)
        held = self.acceptor.held(self.learner.decided_through + 1)
        if held is not None and held.ballot == leader and leader.node != sender.node:
            return
        least = 0
        if sender == self._asked:
            self._patience -= 1
            least = -CATCH_UP_REPEAT
        elif self._asked not in self.elector.reached(now):
            self._patience = 0
        if self._patience <= least:
            self._ask(sender, out)

    def _ask(self, peer: Voter, out: list[Effect]) -> None:
        self._asked = peer
        self._patience = CATCH_UP_PATIENCE
        out.append(Send(peer.node, CatchUp(self.learner.decided_through)))

    # --- proposing and leading ---

    def _propose(self, now: Instant, out: list[Effect]) -> None:
        accepts = self.proposer.propose(self.learner.decided_through, self.executor.time, now)
        for accept in accepts:
            self.learner.open(accept.slot, accept.value)
            voters = self._configurations.at(accept.slot).voters
            out.extend(Send(voter.node, accept) for voter in voters if voter != self._me)
        # This node's own vote is one more Accepted: it accepts once the others' have left.
        for accept in accepts:
            self._emit([Send(self._me.node, accept)], now, out)

    def _propose_changing(self, now: Instant, out: list[Effect]) -> None:
        """Propose while a change of membership is asked for, or is not settled yet."""
        through = self.learner.decided_through
        out.extend(self.administration.advance(through, not self._disk_full, now))
        self._propose(now, out)
        self._ask_settling(False, now, out)

    def _check_outbid(
        self, ballot: Ballot, leader: Ballot, now: Instant, out: list[Effect]
    ) -> None:
        """Stop sending at the present ballot if ``ballot`` is above it."""
        if not self.proposer.is_outbid_by(ballot):
            return
        led, lost = self.proposer.leading, self.proposer.ballot
        handed_over, answers = self.administration.outbid(ballot, self.learner.decided_through)
        out.extend(answers)
        self._stop_proposing(now, out)
        if led and handed_over:
            self.elector.gave_way(now)
        elif led:
            self.elector.preempted(lost, leader, now)

    def _stop_proposing(self, now: Instant, out: list[Effect]) -> None:
        """Send nothing more at the present ballot, and send the clients elsewhere."""
        self.proposer.stop()
        self.learner.count_at(BALLOT_ZERO)
        waiting = [*self._clients.routed(), *self.administration.stop()]
        for client, _ in self.barrier.abandon():
            self._clients.release_read(client)
            waiting.append(client)
        self._redirect(waiting, now, out)

    def _consider_campaign(self, now: Instant, out: list[Effect]) -> None:
        if self.proposer.leading:
            return
        through = self.learner.decided_through
        verdict = self.elector.judge_following(through, now)
        if verdict is not Verdict.CAMPAIGN or self._disk_full or self.proposer.issuing:
            over = self.elector.waiting or not self.elector.is_eligible(through)
            if over and self.proposer.phase is Phase.PREPARING:
                # Its time is up. Kept, it could depose a leader elected meanwhile, once links heal.
                self._stop_proposing(now, out)
            return
        self._campaign(now, out)

    def _campaign(self, now: Instant, out: list[Effect]) -> None:
        self.elector.saw_promise(self.acceptor.promised)
        self.elector.campaigned(now)
        self.learner.count_at(BALLOT_ZERO)
        above, through = self.elector.highest_promised, self.learner.decided_through
        effects = self.proposer.campaign(above, through, self.learner.ahead, now)
        self._emit(effects, now, out)

    def _try_to_lead(self, now: Instant, out: list[Effect]) -> None:
        if self.proposer.start_leading(self.learner.decided_through):
            self.learner.count_at(self.proposer.ballot)
            self.elector.led(now)
            self._send_heartbeats(now, out)

    def _send_heartbeats(self, now: Instant, out: list[Effect]) -> None:
        through = self.learner.decided_through
        leading = self.proposer.leading
        ballot = self.proposer.ballot if leading else BALLOT_ZERO
        heartbeats = self.elector.heartbeat(
            ballot,
            leading,
            through,
            now,
            snapshot=self.snapshots.digest,
            results=self.snapshots.results(None),
            invited=self.administration.invited,
        )
        out.extend(heartbeats)
        self.proposer.told(through)

    def _begin_round(self, now: Instant, out: list[Effect]) -> None:
        if not self.proposer.may_read(self.learner.decided_through):
            return  # an earlier ballot may have chosen what is not decided here yet
        through = self.learner.decided_through
        asked = self.elector.ask_enough(
            self.proposer.ballot,
            through,
            now,
            snapshot=self.snapshots.digest,
            results=self.snapshots.results,
        )
        if asked is None:
            self._send_heartbeats(now, out)
        else:
            out.extend(asked)
        self.barrier.begin(self.elector.number, through)
        self._confirm(self._me, self.elector.number, now, out)

    def _confirm(self, voter: Voter, number: int, now: Instant, out: list[Effect]) -> None:
        live = self._configurations.live(self.learner.decided_through)
        required, readers = self.barrier.confirm(voter, number, live)
        if not readers:
            return
        self.elector.confirmed(now)
        for client, read in readers:
            self._clients.await_slot(required, client, read)
        self._answer_ready(out)
        if self.barrier.wants_round:
            self._begin_round(now, out)

    # --- membership ---

    def _ask_settling(self, again: bool, now: Instant, out: list[Effect]) -> None:
        """Ask for the log below the latest configuration to be made durable, once it is decided."""
        if self.administration.must_settle(again, self.learner.decided_through):
            if not again:
                self._send_heartbeats(now, out)  # so that they know it decided
            self._emit(self.administration.ask_settling(), now, out)

    def _on_settle(self, sender: Voter, m: Settle, now: Instant, out: list[Effect]) -> None:
        known = self.learner.decided_through >= m.through
        if not known or self._disk_full or not self.snapshots.keeps_what_left_the_log:
            return  # it will be asked again
        records = self.acceptor.flush_watermark()
        out.append(Persist(records, (Send(sender.node, Settled(m.through)),)))

    def _on_settled(self, sender: Voter, m: Settled, now: Instant, out: list[Effect]) -> None:
        if self.proposer.leading:
            through = self.learner.decided_through
            out.extend(self.administration.on_settled(sender, m, through, now))

    def _on_take_over(self, sender: Voter, m: TakeOver, now: Instant, out: list[Effect]) -> None:
        stale = m.ballot < max(self.acceptor.promised, self.elector.leader(now))
        busy = self.proposer.phase is not Phase.IDLE or self.proposer.issuing or self._disk_full
        eligible = self.elector.is_eligible(self.learner.decided_through)
        if m.ballot.node != sender.node or stale or busy or not eligible:
            self._drop("not to take over now")
        else:
            self._campaign(now, out)

    def _on_admin(self, event: AdminRequested, now: Instant, out: list[Effect]) -> None:
        client, request, through = event.client, event.request, self.learner.decided_through
        if isinstance(request, TakeSnapshot):
            self.snapshots.on_take(client, request, out)
        elif not self.proposer.leading:
            self._redirect([client], now, out)
        elif isinstance(request, Reconfigure):
            effects = self.administration.on_reconfigure(client, request, through, now)
            self._emit(effects, now, out)
        else:
            out.extend(self.administration.on_transfer(client, request, through, now))

    # --- clients ---

    def _on_submitted(self, event: Submitted, now: Instant, out: list[Effect]) -> None:
        if not self.proposer.leading:
            self._redirect([submission.client for submission in event.submissions], now, out)
            return
        for submission in event.submissions:
            client, session, first = submission.client, submission.session, submission.first
            if len(submission.payload) > self._limits.submission_bytes_max:
                bound = self._limits.submission_bytes_max
                text = f"a submission may have {bound} bytes, not {len(submission.payload)}"
                out.append(Reply(client, Overloaded(session, first, 0, text)))
            elif self.proposer.submit(client, submission.payload):
                routes = self._clients.sessions if first else self._clients.openings
                routes.add(client, session)
            else:
                text = "the leader holds too much that waits for a slot"
                out.append(Reply(client, Overloaded(session, first, 100, text)))

    def _on_reads(self, event: ReadsRequested, now: Instant, out: list[Effect]) -> None:
        redirected: list[ClientId] = []
        for client, read in event.reads:
            linearizable = read.level is Level.LINEARIZABLE
            if linearizable and not self.proposer.leading:
                redirected.append(client)
            elif not self._executes:
                self._send_elsewhere(client, read.number, now, out)
            elif not linearizable and self._is_fresh_enough(read):
                self._answer(client, read, out)
            elif not self._clients.admit_read(client):
                self._refuse(client, read.number, b"too many reads of this client wait", out)
            elif linearizable:
                self.barrier.add((client, read))
            else:
                self._clients.await_slot(read.at_least, client, read)
        self._redirect(redirected, now, out)

    def _is_fresh_enough(self, read: Read) -> bool:
        return read.level is Level.LOCAL or read.at_least <= self.executor.applied_through

    def _on_watch(self, event: WatchRequested, now: Instant, out: list[Effect]) -> None:
        client, watch = event.client, event.watch
        if not self._executes:
            self._send_elsewhere(client, watch.number, now, out)
        elif self._clients.add_watch(client, watch):
            self._try_watch(client, watch, out)
        else:
            self._refuse(client, watch.number, b"too many watches of this client wait", out)

    def _on_watch_cancelled(self, event: WatchCancelled, now: Instant, out: list[Effect]) -> None:
        self._clients.drop_watch(event.client, event.number)

    def _on_client_gone(self, event: ClientGone, now: Instant, out: list[Effect]) -> None:
        self._clients.gone(event.client)
        self.barrier.forget(event.client)
        self.proposer.forget(event.client)
        self.administration.client_gone(event.client)
        self.snapshots.client_gone(event.client)

    def _redirect(self, clients: list[ClientId], now: Instant, out: list[Effect]) -> None:
        """Send clients, each once, to the leader that this node would name."""
        hint = Redirect(self._leader(now).node)
        out.extend(Reply(client, hint) for client in dict.fromkeys(clients))

    def _answer_ready(self, out: list[Effect]) -> None:
        """Answer the reads whose slot is applied."""
        for client, read in self._clients.reads_at(self.executor.applied_through):
            self._answer(client, read, out)

    def _answer(self, client: ClientId, read: Read, out: list[Effect]) -> None:
        status, data = self.executor.query(read.machine, read.query)
        slot = self.executor.applied_through
        out.append(Reply(client, ReadAnswer(read.number, status, slot, data)))

    def _try_watch(self, client: ClientId, watch: Watch, out: list[Effect]) -> None:
        slot = self.executor.applied_through
        if slot < watch.at_least:
            return
        answer = self.executor.watch(watch.machine, watch.query)
        if answer is not None:
            self._clients.drop_watch(client, watch.number)
            out.append(Reply(client, ReadAnswer(watch.number, answer[0], slot, answer[1])))

    def _send_elsewhere(
        self, client: ClientId, number: int, now: Instant, out: list[Effect]
    ) -> None:
        """This node has no state to show. The leader has, unless it is this very node."""
        if self.proposer.leading:
            self._refuse(client, number, b"this node runs no state machine", out)
        else:
            self._redirect([client], now, out)

    def _refuse(self, client: ClientId, number: int, why: bytes, out: list[Effect]) -> None:
        slot = self.executor.applied_through
        out.append(Reply(client, ReadAnswer(number, Status.REFUSED, slot, why)))

    # --- connections, time, disk ---

    def _on_peer_connected(self, event: PeerConnected, now: Instant, out: list[Effect]) -> None:
        self.elector.handle_connected(now)
        self.administration.connected(event.peer, event.feature)
        through = self.learner.decided_through
        out.extend(self.proposer.resend_to(event.peer, self.learner.votes, through))

    def _on_peer_disconnected(
        self, event: PeerDisconnected, now: Instant, out: list[Effect]
    ) -> None:
        self.elector.handle_disconnected(event.peer, now)
        self.administration.disconnected(event.peer)
        if self.barrier.in_round:
            self._send_heartbeats(now, out)  # it may have been asked: anybody's answer will do
        reached = sorted(voter for voter in self.elector.reached(now) if voter != event.peer)
        self.snapshots.on_disconnected(event.peer, reached, now, out)
        if self._asked == event.peer:
            self._asked, self._patience = None, 0

    def _on_deadline(self, event: DeadlinePassed, now: Instant, out: list[Effect]) -> None:
        through = self.learner.decided_through
        if self.proposer.leading:
            self._consider_giving_way(now, out)
        if self.elector.heartbeat_due(now):
            self._send_heartbeats(now, out)
            if self.proposer.leading:
                self._ask_settling(True, now, out)
                through = self.learner.decided_through
                out.extend(self.administration.hand_over(through, now))
        elif self.proposer.notice_due(now):
            self._send_heartbeats(now, out)
        out.extend(self.proposer.resend(self.learner.votes, through, now))
        self.snapshots.on_deadline(sorted(self.elector.reached(now)), now, out)
        self._consider_campaign(now, out)

    def _consider_giving_way(self, now: Instant, out: list[Effect]) -> None:
        verdict = self.elector.judge_leading(
            self.proposer.ballot,
            self.acceptor.promised,
            self.learner.decided_through,
            self.proposer.has_work,
            len(self.barrier) > 0,
            now,
        )
        if verdict is Verdict.GIVE_WAY:
            self._stop_proposing(now, out)
            self.elector.gave_way(now)

    def _on_disk_full(self, event: DiskFull, now: Instant, out: list[Effect]) -> None:
        self._disk_full = event.full
        if event.full and self.proposer.phase is not Phase.IDLE:
            self._stop_proposing(now, out)
            self.elector.gave_way(now)

    # --- what several of them need ---

    def _leader(self, now: Instant) -> Ballot:
        """The ballot of the leader this node would name: itself, or one it hears."""
        return self.proposer.ballot if self.proposer.leading else self.elector.leader(now)

    def _votes_for(self, sender: Voter, ballot: Ballot) -> bool:
        """Whether this node may vote now on a request at ``ballot`` that ``sender`` made."""
        if not self._accepts:
            self._drop("not an acceptor")
        elif ballot.node != sender.node:
            self._drop("a ballot of another node")
        elif self._disk_full:
            self._drop("disk full")
        else:
            return True
        return False

    def _emit(self, effects: list[Effect], now: Instant, out: list[Effect]) -> None:
        """Pass effects on; what this node sends itself without a write it takes at once."""
        for effect in effects:
            if isinstance(effect, Send) and effect.to == self._me.node:
                self._receive(self._me, effect.message, now, out)
            else:
                out.append(effect)

    def _drop(self, reason: str) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
