"""What must hold after every step, checked from outside the product.

Each class guards the invariants of docs/invariants.md that its docstring names, and knows only
what it was shown: records that became durable, messages that left or arrived, commands that ran,
answers that clients got. None of them asks a replica what it thinks of itself where there is
another way to know. ``Invariants`` shows each fact to those whom it concerns.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jepsen_like.workload.registers import EDGE_CONFIG, REGISTERS, SEPARATOR, operation
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configurations
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.messages import Accept, Accepted, PeerMessage, Prepare, Promise
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)
from paxos.core.replica import Replica
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable
from paxos.core.value import Value
from statemachines.edge_config_client import (
    WatchBatch,
    decode_stats,
    decode_watch,
    stats_query,
    watch_query,
)

NAMES = {
    0: "a replica never raises",
    1: "at most one value is chosen for a slot",
    2: "a promise never decreases",
    3: "a ballot has one proposer and one value per slot",
    4: "what is chosen is proposed again",
    5: "the log has no gap",
    6: "equal slots, equal state",
    7: "durable before visible",
    8: "quorums are sets of voters",
    9: "exactly once",
    10: "what was done stays done",
    11: "linearizable",
    12: "watches deliver in order, once",
    13: "a healed cluster works",
    14: "no vote after a failed sync",
}


class Violation(BaseException):
    """An invariant does not hold.

    Not an Exception: a replica turns every Exception of a state machine into a result, and a
    checker that looks on from inside a state machine must get through.

    Attributes:
        number: Which, as docs/invariants.md numbers it.
        text: What was seen.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"I{number} ({NAMES[number]}): {text}")
        self.number = number
        self.text = text


def require(condition: object, number: int, text: str, *facts: object) -> None:
    """Raise a violation of invariant ``number`` unless ``condition`` holds."""
    if not condition:
        raise Violation(number, text.format(*facts))


@dataclass(slots=True)
class NodeFacts:
    """What the checkers know of one node, by watching its records.

    Attributes:
        promised: The highest ballot in any record it asked to have written, in this life.
        durable_promised: The same over what is durable.
        durable_issued: Every ballot durably recorded as issued.
        durable_votes: Every (ballot, slot) durably accepted.
        held: The latest durable acceptance of each slot.
        open: Slots held that no durable record marks decided.
        highest: The highest slot in ``held``.
        decided_through, applied_through: As last seen.
        applied: How many commands its state machines ran in this life.
        full: It was told that its disk has no room.
        failed: A sync of its present process failed.
    """

    voter: Voter
    promised: Ballot = BALLOT_ZERO
    durable_promised: Ballot = BALLOT_ZERO
    durable_issued: set[Ballot] = field(default_factory=set)
    durable_votes: set[tuple[Ballot, Slot]] = field(default_factory=set)
    held: dict[Slot, tuple[Ballot, Value]] = field(default_factory=dict)
    open: dict[Slot, None] = field(default_factory=dict)
    highest: Slot = 0
    decided_through: Slot = 0
    applied_through: Slot = 0
    applied: int = 0
    full: bool = False
    failed: bool = False


class Ledger:
    """Invariants 1, 3 and 4: what was proposed and what was chosen, over all nodes and all time."""

    def __init__(self, configurations: Configurations) -> None:
        self.chosen: dict[Slot, Value] = {}
        self.chosen_through: Slot = 0
        self._configurations = configurations
        self._chosen_at: dict[Slot, Ballot] = {}  # the lowest ballot it was chosen at
        self._proposals: dict[Slot, dict[Ballot, Value]] = {}
        self._votes: dict[tuple[Ballot, Slot], set[Voter]] = {}

    def proposed(self, node: NodeId, accept: Accept) -> None:
        """A proposer lets an Accept leave."""
        ballot, slot, value = accept.ballot, accept.slot, accept.value
        proposals = self._proposals.setdefault(slot, {})
        known = proposals.get(ballot)
        if known is value:
            return
        require(ballot.node == node, 3, "n{} proposes at {}", node, ballot)
        if known is not None:
            text = "two values at {} in slot {}: {} and {}"
            require(known == value, 3, text, ballot, slot, known, value)
            return
        proposals[ballot] = value
        if slot in self.chosen and self._chosen_at[slot] < ballot:
            self._compare_chosen(slot, ballot, value)

    def accepted(self, voter: Voter, record: AcceptedRecord) -> None:
        """An acceptance became durable."""
        ballot, slot, value = record.ballot, record.slot, record.value
        proposal = self._proposals.get(slot, {}).get(ballot)
        if proposal is not value:
            text = "{} accepted at {} in slot {} what was not proposed: {}"
            require(proposal == value, 3, text, voter, ballot, slot, value)
        key = (ballot, slot)
        votes = self._votes.get(key)
        if votes is None:
            votes = self._votes[key] = set()
        votes.add(voter)
        quorums = self._configurations.at(slot).quorums
        if len(votes) < quorums.phase2 or not quorums.is_phase2(votes):
            return
        if slot not in self.chosen:
            self._choose(slot, ballot, value)
        elif self.chosen[slot] is not value:
            self._compare_chosen(slot, ballot, value, 1)

    def _choose(self, slot: Slot, ballot: Ballot, value: Value) -> None:
        self.chosen[slot] = value
        self._chosen_at[slot] = ballot
        for higher, proposal in self._proposals[slot].items():
            if higher > ballot:
                self._compare_chosen(slot, higher, proposal)
        while self.chosen_through + 1 in self.chosen:
            self.chosen_through += 1

    def _compare_chosen(self, slot: Slot, ballot: Ballot, value: Value, number: int = 4) -> None:
        text = "slot {} was chosen at {} as {}, and {} at {} says {}"
        verb = "a quorum" if number == 1 else "a proposal"
        chosen = self.chosen[slot]
        require(
            chosen == value, number, text, slot, self._chosen_at[slot], chosen, verb, ballot, value
        )

    def marked(self, node: NodeId, slot: Slot, value: Value) -> None:
        """A node takes ``value`` for decided."""
        chosen = self.chosen.get(slot)
        if chosen is value:
            return
        text = "n{} takes slot {} for decided, but no phase-2 quorum has accepted a value there"
        require(chosen is not None, 8, text, node, slot)
        text = "n{} takes slot {} for decided as {}, but {} was chosen"
        require(chosen == value, 1, text, node, slot, value, chosen)


class Promises:
    """Invariant 2: promises and issued rounds never decrease, restarts included."""

    def staged(self, facts: NodeFacts, record: Record) -> None:
        """A node asks for a record to be written."""
        if isinstance(record, AcceptedRecord):
            ballot = record.ballot
            text = "{} accepts at {} below its promise {}"
            require(ballot >= facts.promised, 2, text, facts.voter, ballot, facts.promised)
            facts.promised = ballot
        elif isinstance(record, PromisedRecord):
            ballot = record.ballot
            text = "{} promises {} below its promise {}"
            require(ballot >= facts.promised, 2, text, facts.voter, ballot, facts.promised)
            facts.promised = ballot
        elif isinstance(record, IssuedRecord):
            ballot = record.ballot
            text = "{} issues {} at or below {}, which it issued or promised"
            floor = max(facts.durable_issued, default=BALLOT_ZERO)
            floor = max(floor, facts.durable_promised)
            require(ballot > floor, 2, text, facts.voter, ballot, floor)

    def started(self, facts: NodeFacts, replica: Replica) -> None:
        """A node has recovered from its log."""
        text = "{} recovered the promise {} but had durably promised {}"
        found = replica.acceptor.promised
        require(
            found >= facts.durable_promised, 2, text, facts.voter, found, facts.durable_promised
        )
        facts.promised = facts.durable_promised

    def handled(self, facts: NodeFacts, replica: Replica) -> None:
        """A node's acceptor holds nothing above or below what it asked to have written."""
        found = replica.acceptor.promised
        text = "{} holds the promise {} but wrote {}"
        require(found == facts.promised, 2, text, facts.voter, found, facts.promised)


class DurableVotes:
    """Invariants 7, 10 and 14: a vote leaves after its bytes are durable, and tells all it must."""

    def leaves(self, facts: NodeFacts, message: PeerMessage) -> None:
        """A message that carries a vote, or issues a ballot, leaves its node."""
        require(not facts.failed, 14, "{} sends {} after a failed sync", facts.voter, message)
        if isinstance(message, Accepted):
            backed = (message.ballot, message.slot) in facts.durable_votes
        elif isinstance(message, Promise):
            backed = message.ballot <= facts.durable_promised
        elif isinstance(message, Prepare):
            backed = message.ballot in facts.durable_issued
        else:
            return
        text = "{} lets {} leave, which nothing durable backs"
        require(backed, 7, text, facts.voter, message)
        if isinstance(message, Promise):
            self._complete(facts, message)

    def _complete(self, facts: NodeFacts, promise: Promise) -> None:
        """A Promise that leaves out a value may hide the only trace of a chosen one."""
        through = facts.highest if promise.through is None else promise.through
        if promise.above >= through:
            return
        reported = {report.slot: report for report in promise.reports}
        for slot in range(promise.above + 1, through + 1):
            ballot, value = facts.held.get(slot, (promise.ballot, None))
            if ballot >= promise.ballot or value is None:
                continue  # accepted since, or nothing there
            report = reported.get(slot)
            text = "{} promises {} and says nothing of slot {}, where it accepted {} at {}"
            require(report is not None, 10, text, facts.voter, promise.ballot, slot, value, ballot)
            if report is not None and report.ballot is not None:
                text = "{} promises {} and reports slot {} as {}, where it accepted {} at {}"
                same = report.ballot == ballot and report.value == value
                require(same, 10, text, facts.voter, promise.ballot, slot, report, value, ballot)


class Quorums:
    """Invariants 3, 5 and 8: who issues a ballot, who had promised, and no slot is left out."""

    def __init__(self, configurations: Configurations) -> None:
        self._configurations = configurations
        self._issuers: dict[Ballot, tuple[NodeId, int]] = {}  # node and life
        self._after: dict[Ballot, Slot] = {}
        self._parts: dict[tuple[Ballot, Voter], dict[Slot, Slot | None]] = {}
        self._promised: dict[Ballot, set[Voter]] = {}
        self._sound: set[Ballot] = set()
        self._proposed_through: dict[Ballot, Slot] = {}

    def prepares(self, node: NodeId, life: int, prepare: Prepare) -> None:
        """A Prepare leaves."""
        ballot = prepare.ballot
        issuer = self._issuers.setdefault(ballot, (node, life))
        text = "ballot {} is issued by n{} in life {}, and by n{} in life {}"
        require(issuer == (node, life), 3, text, ballot, *issuer, node, life)
        require(ballot.node == node, 3, "n{} issues the ballot {}", node, ballot)
        self._after.setdefault(ballot, prepare.after)

    def promise_arrives(self, voter: Voter, promise: Promise) -> None:
        """A Promise arrives at its ballot's proposer."""
        key = (promise.ballot, voter)
        parts = self._parts.setdefault(key, {})
        parts[promise.above] = promise.through
        at: Slot | None = self._after.get(promise.ballot, 0)
        while at is not None:
            if at not in parts:
                return
            at = parts[at]
        self._promised.setdefault(promise.ballot, set()).add(voter)

    def accept_leaves(self, accept: Accept, learner: Learner) -> None:
        """An Accept leaves a proposer that knows what ``learner`` does."""
        ballot, slot, decided_through = accept.ballot, accept.slot, learner.decided_through
        text = "{} leaves though only slots through {} are decided there"
        window = decided_through + self._configurations.alpha
        require(slot <= window, 8, text, accept, decided_through)
        if ballot not in self._sound:
            promised = self._promised.get(ballot, set())
            text = "{} leaves with promises only of {}"
            sound = self._configurations.at(slot).quorums.is_phase1(promised)
            require(sound, 8, text, accept, sorted(map(str, promised)))
            self._sound.add(ballot)
        through = self._proposed_through.get(ballot, 0)
        if slot > through:
            text = "{} leaves, but nothing was proposed at this ballot for slot {} below it"
            for hole in range(max(through, decided_through) + 1, slot):
                require(learner.is_decided(hole), 5, text, accept, hole)
            self._proposed_through[ballot] = slot


class Ran(NamedTuple):
    """One command as a node ran it. A failed one's result holds the reason."""

    machine: str
    at: Stamp
    command: bytes
    result: bytes
    failed: bool

    def __str__(self) -> str:
        outcome = "fails with" if self.failed else "gives"
        place = f"{self.at.slot}.{self.at.position} @{self.at.time}"
        return f"{self.machine} {self.command!r} at {place} {outcome} {self.result!r}"


def describe(error: Exception) -> bytes:
    """Return what every replica must make of a state machine's exception."""
    if isinstance(error, CommandFailed):
        return str(error).encode()
    return type(error).__qualname__.encode()


class StateMachines:
    """Invariants 5, 6 and 9: every node runs the same commands in the same places, each once.

    Args:
        ledger: What is chosen.
        models: By name, a state machine of each kind, to be run beside the cluster's.
    """

    def __init__(self, ledger: Ledger, models: Mapping[str, StateMachine]) -> None:
        self.ran: list[Ran] = []
        self.where: dict[bytes, int] = {}  # by command: each is unique
        self.lists: dict[bytes, list[bytes]] = {}  # by key: what was appended
        self.models = models
        self._ledger = ledger
        self._slots: list[Slot] = []  # of each command that ran
        self._versions: dict[bytes, tuple[list[Slot], list[bytes]]] = {}  # by query

    def runs(self, facts: NodeFacts, ran: Ran) -> None:
        """A node's state machine ran a command."""
        index = facts.applied
        facts.applied += 1
        if index == len(self.ran):
            self._first(facts, ran)
        elif self.ran[index] != ran:
            text = "command {} of {} is: {}; but of another node: {}"
            require(False, 6, text, index + 1, facts.voter, ran, self.ran[index])

    def _first(self, facts: NodeFacts, ran: Ran) -> None:
        at, command = ran.at, ran.command
        text = "{} runs slot {}, where no phase-2 quorum has accepted a value"
        require(at.slot in self._ledger.chosen, 8, text, facts.voter, at.slot)
        text = "{} runs slot {} though only slots through {} are chosen"
        chosen_through = self._ledger.chosen_through
        require(at.slot <= chosen_through, 5, text, facts.voter, at.slot, chosen_through)
        if self.ran:
            last = self.ran[-1]
            in_order = at[:2] > last.at[:2] and at.time >= last.at.time
            require(in_order, 5, "{} runs {} behind {}", facts.voter, ran, last)
        text = "{} runs again: {}"
        require(command not in self.where, 9, text, facts.voter, ran)
        self.where[command] = len(self.ran)
        self.ran.append(ran)
        self._slots.append(at.slot)
        self._compare_model(ran)
        if ran.machine == REGISTERS and not ran.failed:
            self._remember(at.slot, command)

    def _compare_model(self, ran: Ran) -> None:
        try:
            result, failed = self.models[ran.machine].apply(ran.command, ran.at), False
        except Exception as error:  # noqa: BLE001 - a careless state machine may raise anything
            result, failed = describe(error), True
        text = "{}, but the model says {!r}"
        require((result, failed) == (ran.result, ran.failed), 6, text, ran, result)

    def _remember(self, slot: Slot, command: bytes) -> None:
        """Note the version of a register, list or counter that a command made."""
        name, key, *arguments = command.split(SEPARATOR)
        if name == b"a":
            self.lists.setdefault(key, []).append(arguments[-1])
        query = operation(b"p" if name == b"c" else name, key)
        slots, values = self._versions.setdefault(query, ([0], [self._empty(query)]))
        slots.append(slot)
        values.append(self.models[REGISTERS].query(query))

    @staticmethod
    def _empty(query: bytes) -> bytes:
        return b"0" if query[:1] == b"i" else b""

    def value_at(self, query: bytes, slot: Slot) -> bytes:
        """Return what ``query`` says of the state at ``slot``."""
        known = self._versions.get(query)
        if known is None:
            return self._empty(query)
        slots, values = known
        return values[bisect_right(slots, slot) - 1]

    def applied(self, facts: NodeFacts, applied_through: Slot) -> None:
        """A node says that it has applied everything through a slot."""
        expected = bisect_right(self._slots, applied_through)
        text = "{} applied through {} but ran {} commands instead of {}"
        same = facts.applied == expected
        require(same, 6, text, facts.voter, applied_through, facts.applied, expected)


class Watermarks:
    """Invariants 1, 5: decided before applied, no gap, and decided means chosen."""

    def __init__(self, ledger: Ledger, machines: StateMachines) -> None:
        self._ledger = ledger
        self._machines = machines

    def handled(self, facts: NodeFacts, replica: Replica) -> None:
        """A replica handled an event."""
        decided = replica.learner.decided_through
        if decided != facts.decided_through:
            text = "{} knew slots decided through {}, now only through {}"
            before = facts.decided_through
            require(decided > before, 5, text, facts.voter, before, decided)
            for slot in range(before + 1, decided + 1):
                held = replica.acceptor.held(slot)
                if held is None:
                    require(False, 5, "{} holds nothing in decided slot {}", facts.voter, slot)
                else:
                    self._ledger.marked(facts.voter.node, slot, held.value)
            facts.decided_through = decided
        applied = replica.executor.applied_through
        if applied != facts.applied_through:
            text = "{} applied through {} but knows slots decided through {} only"
            require(applied <= decided, 5, text, facts.voter, applied, decided)
            text = "{} had applied through {}, now through {}"
            before = facts.applied_through
            require(applied > before, 5, text, facts.voter, before, applied)
            self._machines.applied(facts, applied)
            facts.applied_through = applied


class Histories:
    """Invariants 10, 11 and 12: what clients were told, against the log that was really run.

    The log is the witness: an operation takes effect at its slot. So a history is linearizable if
    every answer is the log's at its slot, and no operation's slot lies below that of one that had
    ended before it began.
    """

    def __init__(self, machines: StateMachines) -> None:
        self.ended_through: Slot = 0
        self._machines = machines
        self._refused: list[bytes] = []

    def begins(self) -> Slot:
        """An operation begins. Returns the slot it must not reflect less than."""
        return self.ended_through

    def done(self, unique: bytes, floor: Slot, slot: Slot, data: bytes, failed: bool) -> None:
        """A client is told that its command ran."""
        index = self._machines.where.get(unique)
        require(
            index is not None, 10, "{!r} is said to be done in slot {}, and is not", unique, slot
        )
        ran = self._machines.ran[index or 0]
        same = (ran.at.slot, ran.result, ran.failed) == (slot, data, failed)
        text = "{!r} is said to have given {!r} in slot {}, but gave {!r} in slot {}"
        require(same, 10, text, unique, data, slot, ran.result, ran.at.slot)
        text = "{!r} took effect in slot {}, before {}, which had ended when it began"
        require(slot > floor, 11, text, unique, slot, floor)
        self.ended_through = max(self.ended_through, slot)

    def refused(self, command: bytes) -> None:
        """A client is told that its command did not and will not run."""
        self._refused.append(command)

    def read(self, query: bytes, floor: Slot, slot: Slot, data: bytes, linearizable: bool) -> None:
        """A read is answered with the state at ``slot``; ``floor`` is its level's bound."""
        text = "a read of {!r} reflects slot {}, but {} had ended when it began"
        require(slot >= floor, 11, text, query, slot, floor)
        text = "a read of {!r} at slot {} says {!r}, the log says {!r}"
        expected = self._machines.value_at(query, slot)
        require(data == expected, 11, text, query, slot, data, expected)
        if linearizable:
            self.ended_through = max(self.ended_through, slot)

    def told(self, key: bytes, start: int, elements: Sequence[bytes]) -> None:
        """A watch that asked for a list's elements from ``start`` on is answered."""
        expected = self._machines.lists.get(key, [])[start : start + len(elements)]
        text = "a watch of {!r} from {} tells {!r}, the log says {!r}"
        require(elements and expected == list(elements), 12, text, key, start, elements, expected)

    def told_changes(self, pattern: str, after: int, batch: WatchBatch) -> None:
        """A watch of the edge configuration from a revision on is answered."""
        model = self._machines.models[EDGE_CONFIG]
        answer = model.watch(watch_query(pattern, after)) if isinstance(model, Watchable) else None
        known = () if answer is None else decode_watch(answer).events
        expected = tuple(event for event in known if event.revision <= batch.revision)
        text = "a watch of {!r} after revision {} tells {}, the log says {}"
        require(batch.events == expected, 12, text, pattern, after, batch, expected)

    def revision(self) -> int:
        """Return the edge configuration's revision by now."""
        return decode_stats(self._machines.models[EDGE_CONFIG].query(stats_query())).revision

    def length(self, key: bytes) -> int:
        """Return how many elements a list has by now."""
        return len(self._machines.lists.get(key, ()))

    def finished(self) -> None:
        """No client waits any more."""
        for command in self._refused:
            text = "{!r} was refused for good, and ran"
            require(command not in self._machines.where, 11, text, command)


class Invariants:
    """Shows each fact to the checkers that it concerns."""

    def __init__(self, configurations: Configurations, models: Mapping[str, StateMachine]) -> None:
        self.facts: dict[NodeId, NodeFacts] = {}
        self.ledger = Ledger(configurations)
        self.machines = StateMachines(self.ledger, models)
        self.histories = Histories(self.machines)
        self.leaders: dict[Ballot, None] = {}  # ballots whose phase 1 ended in an Accept
        self._configurations = configurations
        self._promises = Promises()
        self._votes = DurableVotes()
        self._quorums = Quorums(configurations)
        self._watermarks = Watermarks(self.ledger, self.machines)
        self._leaving: dict[type, Callable[[Any, Any, Any], None]] = {
            Accepted: self._vote_leaves,
            Promise: self._vote_leaves,
            Prepare: self._prepare_leaves,
            Accept: self._accept_leaves,
        }

    def add(self, voter: Voter) -> NodeFacts:
        """Watch a node from now on."""
        facts = self.facts[voter.node] = NodeFacts(voter)
        return facts

    def started(self, facts: NodeFacts, replica: Replica) -> None:
        """A replica was made from what its disk kept."""
        facts.decided_through = facts.applied_through = 0
        facts.full = facts.failed = False
        self._promises.started(facts, replica)
        self._watermarks.handled(facts, replica)

    def restarting(self, facts: NodeFacts) -> None:
        """A node's machines are made anew, before it recovers."""
        facts.applied = 0

    def staged(
        self, facts: NodeFacts, life: int, records: Sequence[Record], replica: Replica
    ) -> None:
        """A node asks for records to be written."""
        require(not facts.full or not records, 14, "{} writes to a full disk", facts.voter)
        for record in records:
            self._promises.staged(facts, record)
            if isinstance(record, AcceptedRecord) and record.ballot.node == facts.voter.node:
                # A leader takes its own Accept without sending it.
                accept = Accept(record.ballot, record.slot, record.value, 0)
                self._accept_leaves(facts, accept, (life, replica))
            if isinstance(record, DecidedRecord):
                self.ledger.marked(facts.voter.node, record.slot, record.value)

    def durable(self, facts: NodeFacts, records: Sequence[Record]) -> None:
        """Records became durable, or turned out to be."""
        for record in records:
            if isinstance(record, AcceptedRecord):
                ballot, slot = record.ballot, record.slot
                facts.durable_votes.add((ballot, slot))
                facts.durable_promised = max(facts.durable_promised, ballot)
                facts.held[slot] = (ballot, record.value)
                facts.open[slot] = None
                facts.highest = max(facts.highest, slot)
                self.ledger.accepted(facts.voter, record)
            elif isinstance(record, PromisedRecord):
                facts.durable_promised = max(facts.durable_promised, record.ballot)
            elif isinstance(record, IssuedRecord):
                facts.durable_issued.add(record.ballot)
            elif isinstance(record, DecidedRecord):
                facts.open.pop(record.slot, None)
            else:
                self._watermark(facts, record)

    def _watermark(self, facts: NodeFacts, record: WatermarkRecord) -> None:
        """Recovery will believe a watermark for every slot accepted at its ballot."""
        for slot in list(facts.open):
            ballot, value = facts.held[slot]
            if slot <= record.through and ballot == record.ballot:
                self.ledger.marked(facts.voter.node, slot, value)
                del facts.open[slot]

    def leaves(self, facts: NodeFacts, life: int, message: PeerMessage, replica: Replica) -> None:
        """A message leaves its node (or goes to the node itself)."""
        check = self._leaving.get(type(message))
        if check is not None:
            check(facts, message, (life, replica))

    def _vote_leaves(self, facts: NodeFacts, message: PeerMessage, _: object) -> None:
        self._votes.leaves(facts, message)

    def _prepare_leaves(
        self, facts: NodeFacts, prepare: Prepare, context: tuple[int, Replica]
    ) -> None:
        self._votes.leaves(facts, prepare)
        self._quorums.prepares(facts.voter.node, context[0], prepare)

    def _accept_leaves(
        self, facts: NodeFacts, accept: Accept, context: tuple[int, Replica]
    ) -> None:
        require(not facts.failed, 14, "{} sends {} after a failed sync", facts.voter, accept)
        self.leaders[accept.ballot] = None
        self._quorums.accept_leaves(accept, context[1].learner)
        self.ledger.proposed(facts.voter.node, accept)

    def promise_arrives(self, sender: Voter, promise: Promise) -> None:
        """A Promise is handed to a replica."""
        self._quorums.promise_arrives(sender, promise)

    def handled(self, facts: NodeFacts, replica: Replica) -> None:
        """A replica handled an event, and its effects were taken note of."""
        self._promises.handled(facts, replica)
        self._watermarks.handled(facts, replica)

    def recoverable(self) -> None:
        """Invariant 10: every phase-1 quorum of disks would give back every chosen value."""
        for slot, value in self.ledger.chosen.items():
            quorums = self._configurations.at(slot).quorums
            blind = 0
            for voter in quorums.voters:
                _, held = self.facts[voter.node].held.get(slot, (BALLOT_ZERO, None))
                blind += held is not value and held != value
            text = "slot {} was chosen, but {} voters hold another value or none there"
            require(blind < quorums.phase1, 10, text, slot, blind)
