"""A stepped cluster that is watched: what the invariants of a changing membership say, every step.

It keeps its own ledger, outside the product: the first value that was known decided for a slot, the
configurations that follow from those values, and who accepted what durably.
"""

from __future__ import annotations

import random

from paxos.core.ballot import Ballot
from paxos.core.config import Configuration, Configurations, Member, Part
from paxos.core.effects import Persist, Send
from paxos.core.errors import ConfigurationInvalid
from paxos.core.events import Event, PeerConnected
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.limits import Limits
from paxos.core.messages import Accept, OpenSession, Reconfigure, Status
from paxos.core.quorum import Quorums
from paxos.core.records import AcceptedRecord
from paxos.core.replica import ALL_ROLES
from paxos.core.value import Value
from paxos.testing.stepped import WITNESS_ROLES, Stepped, Transit
from tests.core.test_replica import machines


class Churned(Stepped):
    """A cluster whose members change, under a schedule drawn from a seed."""

    def __init__(
        self, seed: int, alpha: int, founding: Configuration | None = None, entries: int = 7
    ) -> None:
        self.ledger: dict[Slot, Value] = {}
        self.decided = 0
        self.accepted: dict[tuple[Ballot, Slot], tuple[Value, set[Voter]]] = {}
        self.proposed: dict[tuple[Ballot, Slot], Value] = {}
        self.seen: dict[NodeId, Slot] = {}
        self.random = random.Random(seed)
        self.answered = 0
        self.down: set[NodeId] = set()
        limits = Limits(snapshot_entries=entries, kept_entries=2, snapshot_chunk_bytes=200)
        super().__init__(
            machines=machines, founding=founding, alpha=alpha, limits=limits, seed=seed
        )
        self.truth = Configurations(self.founding, alpha)
        self.next_node = self.founding.next_node

    # --- what is checked ---

    def handle(self, node: NodeId, event: Event) -> None:
        super().handle(node, event)
        if node in self.replicas:
            self._check_decided(node)

    def _check_decided(self, node: NodeId) -> None:
        replica = self.replicas[node]
        through = replica.learner.decided_through
        for slot in range(self.seen.get(node, 0) + 1, through + 1):
            held = replica.acceptor.held(slot)
            if held is not None and held.decided:
                self._note_decided(slot, held.value)
            else:  # only a snapshot tells it
                assert slot <= self.snapshots[node][0].through
        self.seen[node] = through

    def _note_decided(self, slot: Slot, value: Value) -> None:
        known = self.ledger.setdefault(slot, value)
        assert known == value, f"slot {slot}: {known} and {value}"
        while self.decided + 1 in self.ledger:
            self.decided += 1
            change = self.ledger[self.decided].change
            quorums = self.truth.at(self.decided).quorums
            assert any(
                quorums.is_phase2(voters)
                for (_, at), (accepted, voters) in self.accepted.items()
                if at == self.decided and accepted == self.ledger[self.decided]
            ), f"slot {self.decided} was not chosen by {quorums}"
            if change is not None:
                self.truth.decide(self.decided, change)

    def _persist(self, node: NodeId, persist: Persist) -> None:
        for record in persist.records:
            if isinstance(record, AcceptedRecord):
                key = (record.ballot, record.slot)
                value, voters = self.accepted.setdefault(key, (record.value, set()))
                assert value == record.value, key
                voters.add(self.identity[node])
        super()._persist(node, persist)

    def _send(self, node: NodeId, send: Send) -> None:
        if isinstance(send.message, Accept):
            self._check_accept(node, send.message)
        super()._send(node, send)

    def _check_accept(self, node: NodeId, accept: Accept) -> None:
        replica, slot = self.replicas[node], accept.slot
        assert self.proposed.setdefault((accept.ballot, slot), accept.value) == accept.value
        assert slot <= accept.decided_through + self.alpha
        if slot <= self.decided + self.alpha:
            quorums = self.truth.at(slot).quorums
            assert quorums.is_phase1(replica.proposer.promised), (slot, quorums)

    def check_configurations(self) -> None:
        """All nodes that know what governs a slot agree on it."""
        for node, replica in self.replicas.items():
            for governing in replica.status(self.now).governing:
                first, configuration = governing
                if first <= self.decided + self.alpha:
                    expected = self.truth.at(max(first, 1))
                    assert configuration == expected, (node, governing)

    # --- what happens ---

    def mess(self, seconds: float, lost: float, late: float, cut: frozenset[NodeId]) -> None:
        """Let time pass while messages are lost, late, doubled and cut off from ``cut``."""
        end = self.now.monotonic + seconds
        while self.now.monotonic < end:
            self.advance(0.02)
            for _ in range(4):
                waiting, self.messages = self.messages, []
                self.random.shuffle(waiting)
                for transit in waiting:
                    self._deal(transit, lost, late, cut)
            self.check_configurations()
            self.wipe_removed()

    def _deal(self, transit: Transit, lost: float, late: float, cut: frozenset[NodeId]) -> None:
        chance = self.random.random()
        if transit.target not in self.replicas:
            return
        if (transit.source in cut) != (transit.target in cut) or chance < lost:
            return
        if chance < lost + late:
            self.messages.append(transit)
            return
        if chance > 0.97:
            self.messages.append(transit)
        self.messages.append(transit)
        self.deliver(lambda each: each is transit)

    def some_change(self) -> None:
        """Ask whoever leads for a random change."""
        for leader in self.leaders():
            wanted = self.some_configuration(self.configuration(leader))
            if wanted is not None:
                self.ask(leader, Reconfigure(self.random.randrange(1000), wanted), client=50)

    def some_configuration(self, latest: Configuration) -> Configuration | None:
        """Draw a configuration that could follow: members come, go and change their part."""
        members = list(latest.members)
        if self.random.random() < 0.6 and self.next_node < 12:
            witness = self.random.random() < 0.3
            part = Part.WITNESS if witness else self.random.choice([Part.LEARNER, Part.VOTER])
            node, self.next_node = self.next_node, self.next_node + 1
            self.join(node, WITNESS_ROLES if witness else ALL_ROLES)
            members.append(Member(node, 100 + node, part))
        for index, member in enumerate(members):
            if member.part is not Part.WITNESS and self.random.random() < 0.3:
                part = self.random.choice([Part.LEARNER, Part.VOTER, Part.VOTER])
                members[index] = member._replace(part=part, priority=self.random.randrange(2))
        if len(members) > 2 and self.random.random() < 0.5:
            members.pop(self.random.randrange(len(members)))
        voters = [member.voter for member in members if member.part]
        phase2 = self.random.randint(1, len(voters)) if voters else 0
        try:
            quorums = (
                Quorums.majority(voters)
                if self.random.random() < 0.6
                else Quorums(frozenset(voters), len(voters) - phase2 + 1, phase2)
            )
            next_node = max(latest.next_node, self.next_node)
            return Configuration(
                latest.version + 1, quorums, tuple(members), latest.feature, next_node
            )
        except ConfigurationInvalid:
            return None

    def wipe_removed(self) -> None:
        """Wipe whom a change that is done has removed: "done" says that one may."""
        for answer in self.admin_answers()[self.answered :]:
            self.answered += 1
            if answer.status == Status.DONE:
                settled = self.truth.at(answer.slot + 1)
                for node in sorted(self.log):
                    if node < settled.next_node and settled.member(node) is None:
                        self.wipe(node)
                        self.down.discard(node)
                        self.held_writes.discard(node)

    def crash(self, node: NodeId) -> None:
        """Stop a node; its writes so far are durable."""
        if node in self.replicas:
            self.stop(node)
            self.seen.pop(node, None)
            self.down.add(node)

    def sync_all(self) -> None:
        """Let every slow disk finish."""
        for node in sorted(self.held_writes):
            self.sync(node)

    def revive(self) -> None:
        """Start again whatever is down."""
        for node in sorted(self.down):
            self.start(node)
            self._check_decided(node)
        self.down.clear()

    def heal(self, seconds: float) -> None:
        """Bring everything back, connect all with all, and let time pass without faults."""
        self.messages.clear()
        self.revive()
        self.sync_all()
        for node in sorted(self.replicas):
            for peer in sorted(self.replicas):
                if peer != node:
                    self.handle(node, PeerConnected(self.identity[peer]))
        self.run(seconds)
        self.check_configurations()

    def is_whole(self) -> bool:
        """Whether there is one leader, which decides, and all members it knows of are equal."""
        leaders = self.leaders()
        if len(leaders) != 1:
            return False
        (leader,) = leaders
        before = self.replicas[leader].learner.decided_through
        self.submit(leader, 9, OpenSession(self.random.getrandbits(32)))
        self.run(1.0)
        members = self.configuration(leader).members
        through = {self.replicas[m.node].learner.decided_through for m in members}
        digests = {self.replicas[m.node].digest() for m in members if m.part is not Part.WITNESS}
        return through == {max(through)} and max(through) > before and len(digests) == 1

    def step(self, what: str) -> None:
        """Do one of ``STEPS``, and let some time pass in disorder."""
        nodes = sorted(self.replicas)
        if what == "change":
            self.some_change()
        elif what == "submit":
            for leader in self.leaders():
                self.submit(leader, 8, OpenSession(self.random.getrandbits(32)))
        elif what == "crash" and len(self.down) < 2 and nodes:
            self.crash(self.random.choice(nodes))
        elif what == "revive":
            self.revive()
        elif what == "slow disk" and nodes:
            self.hold_writes(self.random.choice(nodes))
        elif what == "sync":
            self.sync_all()
        cut = frozenset(n for n in nodes if what == "cut" and self.random.random() < 0.4)
        lost, late = self.random.choice([0, 0, 0.1, 0.3]), self.random.choice([0, 0.2, 0.5])
        self.mess(self.random.choice([0.1, 0.3, 0.8]), lost, late, cut)


STEPS = ("change", "change", "change", "submit", "crash", "revive", "slow disk", "sync", "cut")
