"""Shows each fact of a run to the checkers that it concerns.

Whoever runs a cluster calls these methods, each before or after exactly what its docstring says.
Nothing else knows which checkers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jepsen_like.sim.invariants.bounds import Bounds
from jepsen_like.sim.invariants.confirmations import Confirmations
from jepsen_like.sim.invariants.elections import Elections
from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.histories import Histories
from jepsen_like.sim.invariants.leadership import Leadership
from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.machines import StateMachines
from jepsen_like.sim.invariants.memberships import Memberships
from jepsen_like.sim.invariants.promises import Promises
from jepsen_like.sim.invariants.quorums import PhaseOne
from jepsen_like.sim.invariants.recovery import Recovery
from jepsen_like.sim.invariants.sightings import Sightings
from jepsen_like.sim.invariants.snapshots import Snapshots
from jepsen_like.sim.invariants.timeline import Timeline
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.invariants.votes import DurableVotes, refuse
from jepsen_like.sim.invariants.watermarks import Watermarks
from jepsen_like.sim.marks import Marks
from paxos.core.config import Configuration, Configurations
from paxos.core.effects import Reply
from paxos.core.events import (
    AdminRequested,
    ClientGone,
    DeadlinePassed,
    DiskFull,
    Event,
    PeerDisconnected,
    ReadsRequested,
    Received,
    SnapshotFetched,
    Submitted,
    WatchCancelled,
    WatchRequested,
)
from paxos.core.ids import Voter
from paxos.core.limits import DEFAULT_LIMITS, DEFAULT_TIMING, Limits, Timing
from paxos.core.messages import (
    Accept,
    Accepted,
    AdminAnswer,
    Compacted,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Level,
    Nack,
    Overloaded,
    PeerMessage,
    Prepare,
    Promise,
    ReadAnswer,
    Redirect,
    Results,
    Settled,
    SnapshotOffer,
    SnapshotRequest,
    TakeOver,
)
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    Recovered,
    WatermarkRecord,
)
from paxos.core.replica import Replica
from paxos.core.state_machine import StateMachine

_ASKS_FOR_A_VOTE = (Prepare, Accept)


class Invariants:
    """All checkers of one run.

    Args:
        configurations: Who is founded with, and alpha.
        models: By name, a state machine of each kind, to be run beside the cluster's.
        limits: The bounds that the nodes were given.
        timing: Their durations.

    Attributes:
        facts: What is known of each node.
        marks: How often the run was in each rare state.
        timeline, ledger, machines, histories, leadership, snapshots: Checkers that others ask.
    """

    def __init__(
        self,
        configurations: Configurations,
        models: Mapping[str, StateMachine],
        limits: Limits = DEFAULT_LIMITS,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.facts: dict[int, NodeFacts] = {}
        self.marks = Marks()
        founding = configurations.at(1)
        self.timeline = Timeline(founding, configurations.alpha, self.marks)
        self.ledger = Ledger(self.timeline, self.marks)
        self.machines = StateMachines(self.ledger, models)
        self.histories = Histories(self.machines, self.marks)
        self._founders = frozenset(member.node for member in founding.members)
        self._promises = Promises()
        self._votes = DurableVotes()
        self._phase_one = PhaseOne(self.timeline, self.marks)
        self._watermarks = Watermarks(self.timeline, self.ledger, self.machines, self.marks)
        self._bounds = Bounds(limits, configurations.alpha)
        self._sightings = Sightings(self.marks)
        self._confirmations = Confirmations(self.timeline, self.facts)
        self._elections = Elections(self.timeline, timing)
        self._recovery = Recovery(self.timeline, self.ledger, self.facts)
        self.snapshots = Snapshots(self.timeline, self.facts, self.marks)
        self._memberships = Memberships(self.timeline, self.ledger, self.facts, self.marks)
        self.leadership = Leadership(self.ledger, self._phase_one, self.marks)
        self._route_events()
        self._route_effects()

    def _route_events(self) -> None:
        """Say who looks at what comes to a node, by type."""
        self._arriving: dict[type, Callable[[NodeFacts, Voter, Any, Replica], None]] = {
            Promise: self._promise_arrives,
            Accepted: self._sightings.accepted_arrives,
            Decided: self._sightings.decided_arrives,
            HeartbeatAnswer: self._answer_arrives,
            SnapshotOffer: self.snapshots.offer_arrives,
            SnapshotRequest: self.snapshots.request_arrives,
            TakeOver: self._take_over_arrives,
            Compacted: self._compacted_arrives,
        }
        self._coming: dict[type, Callable[[NodeFacts, Any, Replica], None]] = {
            Submitted: self._submissions_come,
            ReadsRequested: self._reads_come,
            WatchRequested: self._watch_comes,
            WatchCancelled: self._watch_ends,
            ClientGone: self._client_goes,
            DeadlinePassed: self._notes_leading,
            DiskFull: self._notes_leading,
            AdminRequested: self._memberships.asked,
            PeerDisconnected: self.snapshots.link_broke,
            SnapshotFetched: self.snapshots.fetched,
        }
        self._grown: dict[type, Callable[[NodeFacts, Replica], None]] = {
            Submitted: self._bounds.submissions,
            ReadsRequested: self._bounds.waiting,
            WatchRequested: self._bounds.waiting,
            DeadlinePassed: self._deadline_passed,
            DiskFull: self._deadline_passed,
        }

    def _route_effects(self) -> None:
        """Say who looks at what a node wants done, by type."""
        self._leaving: dict[type, Callable[[NodeFacts, Any, Replica], None]] = {
            Accepted: self._accepted_leaves,
            Promise: self._promise_leaves,
            Prepare: self._prepare_leaves,
            Accept: self._accept_leaves,
            Nack: self._nack_leaves,
            Heartbeat: self._elections.heartbeat_leaves,
            HeartbeatAnswer: self._confirmations.answer_leaves,
            Settled: self._memberships.settled_leaves,
        }
        self._answering: dict[type, Callable[[NodeFacts, Event, Reply, Any], None]] = {
            Results: self._sightings.results_leave,
            Overloaded: self._sightings.overload_leaves,
            Redirect: self._sightings.redirect_leaves,
            ReadAnswer: self._read_answered,
            AdminAnswer: self._admin_answered,
        }
        self._staged: dict[type, Callable[[NodeFacts, Any, Replica], None]] = {
            AcceptedRecord: self._acceptance_staged,
            PromisedRecord: self._promises.promises,
            IssuedRecord: self._issue_staged,
            DecidedRecord: self._decision_staged,
        }
        self._durable: dict[type, Callable[[NodeFacts, Any], None]] = {
            AcceptedRecord: self._accepted_durable,
            PromisedRecord: self._promised_durable,
            IssuedRecord: self._issued_durable,
            DecidedRecord: self._decided_durable,
            WatermarkRecord: self._watermarks.durable,
        }

    # --- lives ---

    def add(self, voter: Voter, executes: bool = True) -> NodeFacts:
        """Watch a node from now on, one that runs state machines or does not."""
        facts = self.facts[voter.node] = NodeFacts(voter, executes=executes)
        return facts

    def restarting(self, facts: NodeFacts) -> None:
        """A node's machines are made anew, before it recovers."""
        facts.life += 1
        facts.applied = facts.learned_through = 0

    def started(self, facts: NodeFacts, replica: Replica) -> None:
        """A replica was made from what its disk kept."""
        facts.up = True
        facts.full = facts.failed = False
        facts.unwritten.clear()
        facts.reads.clear()
        facts.watches.clear()
        facts.submission_bytes = 0
        self._confirmations.started(facts)
        self._elections.started(facts)
        self._promises.started(facts, replica)
        self._watermarks.started(facts, replica)

    def died(self, facts: NodeFacts, survived: Sequence[Record]) -> None:
        """A process ended; ``survived`` turned out durable of what was not known to be."""
        self.durable(facts, survived)
        facts.up = False
        if survived:
            self.marks.hit("died between write and reply")
        if not any(each.up for each in self.facts.values()):
            self.marks.hit("everyone was down")

    def found(
        self, facts: NodeFacts, survived: Sequence[Record], torn: bool, kept: Recovered
    ) -> None:
        """A node read its disk; ``survived`` is there though it was not known to be durable."""
        self.durable(facts, survived)
        name = None if kept.snapshot is None else kept.snapshot[0]
        facts.restoring = facts.snapshot_through = 0 if name is None else name.through
        facts.compacted_through = kept.compacted_through
        if name is not None:
            facts.snapshot_through = name.through
            self.marks.hit("restart from a snapshot")
        elif kept.compacted_through:
            self.marks.hit("state was lost and votes were not")
        if kept.unknown:
            facts.damaged(kept)
            self.marks.hit("damaged node started with unknown slots")
        if survived:
            self.marks.hit("died between write and reply")
        if torn:
            self.marks.hit("torn tail was cut")

    def healed(self) -> None:
        """Nothing goes wrong from now on."""
        self.recoverable()
        self.leadership.healed()

    # --- events ---

    def before(self, facts: NodeFacts, event: Event, replica: Replica) -> None:
        """A replica is about to handle an event."""
        if type(event) is Received:
            arrives = self._arriving.get(type(event.message))
            if arrives is not None:
                arrives(facts, event.sender, event.message, replica)
        else:
            comes = self._coming.get(type(event))
            if comes is not None:
                comes(facts, event, replica)

    def handled(self, facts: NodeFacts, event: Event, replica: Replica) -> None:
        """A replica handled an event, and all its effects were taken note of."""
        promised = replica.acceptor.promised
        if promised is not facts.promised:
            self._promises.holds(facts, promised)
        decided = replica.learner.decided_through
        if decided != facts.decided_through:
            self._watermarks.decided(facts, replica, decided)
        applied = replica.executor.applied_through
        if applied != facts.applied_through:
            self._watermarks.applied(facts, applied)
        grown = self._grown.get(type(event))
        if grown is not None:
            grown(facts, replica)
        elif facts.full and type(event) is Received and type(event.message) in _ASKS_FOR_A_VOTE:
            self.marks.hit("full disk refused a vote")

    def _promise_arrives(
        self, facts: NodeFacts, sender: Voter, promise: Promise, replica: Replica
    ) -> None:
        decided = replica.learner.decided_through
        self._phase_one.promise_arrives(sender, facts.life, promise, decided)

    def _take_over_arrives(
        self, facts: NodeFacts, sender: Voter, message: TakeOver, replica: Replica
    ) -> None:
        self._elections.takes_over(facts)
        self._memberships.takes_over(facts, sender, message, replica)

    def _compacted_arrives(
        self, facts: NodeFacts, sender: Voter, message: Compacted, _: Replica
    ) -> None:
        self.marks.hit("accept of a compacted slot")

    def _admin_answered(
        self, facts: NodeFacts, event: Event, reply: Reply, answer: AdminAnswer
    ) -> None:
        self._memberships.answered(facts, reply.client, answer)

    def _answer_arrives(
        self, facts: NodeFacts, sender: Voter, answer: HeartbeatAnswer, replica: Replica
    ) -> None:
        self._sightings.answer_arrives(facts, sender, answer, replica)
        self._confirmations.answer_arrives(facts, sender, answer, replica)
        self._elections.answer_arrives(facts, sender, answer)

    @staticmethod
    def _submissions_come(facts: NodeFacts, event: Submitted, _: Replica) -> None:
        largest = max(len(submission.payload) for submission in event.submissions)
        facts.submission_bytes = max(facts.submission_bytes, largest)

    def _reads_come(self, facts: NodeFacts, event: ReadsRequested, _: Replica) -> None:
        for client, read in event.reads:
            facts.reads.setdefault(client, {})[read.number] = read
            if read.level is Level.LINEARIZABLE:
                self._confirmations.read_comes(facts, client, read)

    @staticmethod
    def _watch_comes(facts: NodeFacts, event: WatchRequested, _: Replica) -> None:
        facts.watches.setdefault(event.client, {})[event.watch.number] = None

    @staticmethod
    def _watch_ends(facts: NodeFacts, event: WatchCancelled, _: Replica) -> None:
        facts.watches.get(event.client, {}).pop(event.number, None)

    @staticmethod
    def _client_goes(facts: NodeFacts, event: ClientGone, _: Replica) -> None:
        facts.reads.pop(event.client, None)
        facts.watches.pop(event.client, None)

    @staticmethod
    def _notes_leading(facts: NodeFacts, event: Event, replica: Replica) -> None:
        facts.led = replica.proposer.leading
        facts.due = isinstance(event, DeadlinePassed)
        if isinstance(event, DiskFull):
            facts.full = event.full

    def _deadline_passed(self, facts: NodeFacts, replica: Replica) -> None:
        self._bounds.everything(facts, replica)
        facts.due = False
        if facts.led and not replica.proposer.leading:
            self.marks.hit("leader gave way by itself")

    # --- effects ---

    def staged(self, facts: NodeFacts, records: Sequence[Record], replica: Replica) -> None:
        """A node asks for records to be written."""
        if facts.full and records:
            require(False, 14, "{} writes to a full disk", facts.voter)
        for record in records:
            facts.unwritten.append(record)
            look = self._staged.get(type(record))
            if look is not None:
                look(facts, record, replica)

    def _acceptance_staged(
        self, facts: NodeFacts, record: AcceptedRecord, replica: Replica
    ) -> None:
        self._promises.accepts(facts, record)
        if record.ballot.node == facts.voter.node:
            # A leader takes its own Accept without sending it.
            accept = Accept(record.ballot, record.slot, record.value, 0)
            self._accept_leaves(facts, accept, replica)

    def _issue_staged(self, facts: NodeFacts, record: IssuedRecord, replica: Replica) -> None:
        self._promises.issues(facts, record, replica)
        self._elections.campaigns(facts, record)

    def _decision_staged(self, facts: NodeFacts, record: DecidedRecord, replica: Replica) -> None:
        self.ledger.marked(facts.voter.node, record.slot, record.value)
        if record.slot > replica.learner.decided_through:
            self.marks.hit("decided above a hole")

    def answers(self, facts: NodeFacts, event: Event, reply: Reply) -> None:
        """A replica that handles ``event`` answers a client."""
        look = self._answering.get(type(reply.message))
        if look is not None:
            look(facts, event, reply, reply.message)

    def _read_answered(
        self, facts: NodeFacts, event: Event, reply: Reply, answer: ReadAnswer
    ) -> None:
        read = facts.reads.get(reply.client, {}).get(answer.number)
        if read is not None and read.level is Level.LINEARIZABLE:
            self._confirmations.read_answered(facts, reply.client, read, answer)
        self._sightings.read_answered(facts, event, reply, answer)

    def leaves(self, facts: NodeFacts, message: PeerMessage, replica: Replica) -> None:
        """A message leaves its node (or goes to the node itself)."""
        check = self._leaving.get(type(message))
        if check is not None:
            check(facts, message, replica)

    def _accepted_leaves(self, facts: NodeFacts, message: Accepted, _: Replica) -> None:
        self._votes.accepted_leaves(facts, message)

    def _promise_leaves(self, facts: NodeFacts, message: Promise, _: Replica) -> None:
        self._votes.promise_leaves(facts, message)

    def _prepare_leaves(self, facts: NodeFacts, prepare: Prepare, _: Replica) -> None:
        self._votes.prepare_leaves(facts, prepare)
        self._phase_one.prepares(facts.voter.node, facts.life, prepare)
        node, latest = facts.voter.node, self.timeline.latest
        if node < latest.next_node and not latest.member(node):
            self.marks.hit("removed node asked for votes")

    def _nack_leaves(self, facts: NodeFacts, nack: Nack, _: Replica) -> None:
        led = self.leadership.ballots
        self._sightings.nack_leaves(nack, nack.ballot in led or nack.promised in led)

    def _accept_leaves(self, facts: NodeFacts, accept: Accept, replica: Replica) -> None:
        if accept is facts.proposed:
            return  # the same object goes to all voters
        facts.proposed = accept
        if facts.failed:
            refuse(facts, accept)
        if accept.ballot not in self.leadership.ballots:
            self.leadership.leads(accept.ballot)
            self._memberships.leads(accept.ballot, self._founders)
        self._phase_one.accept_leaves(accept, replica.learner)
        self._bounds.slots(facts, replica)
        self.ledger.proposed(facts.voter.node, accept)

    # --- disks ---

    def durable(self, facts: NodeFacts, records: Sequence[Record]) -> None:
        """Records became durable, or turned out to be."""
        for record in records:
            self._votes.durable(facts, record)
            self._durable[type(record)](facts, record)

    def _accepted_durable(self, facts: NodeFacts, record: AcceptedRecord) -> None:
        ballot, slot, value = record.ballot, record.slot, record.value
        facts.durable_votes.add((ballot, slot))
        if ballot is not facts.durable_promised:
            facts.durable_promised = max(facts.durable_promised, ballot)
        before = facts.held.get(slot)
        if before is not None and before[1] is not value and before[1] != value:
            self.marks.hit("accepted value overruled")
        facts.held[slot] = (ballot, value)
        if slot not in facts.known:
            facts.open[slot] = None
        facts.mends((slot,), "accepting anew", self.marks)
        facts.highest = max(facts.highest, slot)
        self.ledger.accepted(facts.voter, record)

    @staticmethod
    def _promised_durable(facts: NodeFacts, record: PromisedRecord) -> None:
        facts.durable_promised = max(facts.durable_promised, record.ballot)

    @staticmethod
    def _issued_durable(facts: NodeFacts, record: IssuedRecord) -> None:
        facts.durable_issued.add(record.ballot)
        facts.issued = max(facts.issued, record.ballot)

    def _decided_durable(self, facts: NodeFacts, record: DecidedRecord) -> None:
        facts.open.pop(record.slot, None)
        facts.known[record.slot] = record.value
        facts.mends((record.slot,), "its decided value", self.marks)

    def recoverable(self) -> None:
        """Invariant 10: what was chosen can be had from every phase-1 quorum of disks."""
        self._recovery.recoverable()

    def at_stake(self) -> list[Configuration]:
        """Return every configuration whose voters may still be needed."""
        return self._recovery.at_stake()
