"""Three nodes as the checkers see them, and no simulation: for the tests of the checkers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jepsen_like.sim.invariants import Invariants, Violation
from jepsen_like.workload.registers import REGISTERS, make_machines, operation
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.events import Received
from paxos.core.ids import Instant, Voter
from paxos.core.limits import DEFAULT_LIMITS, Limits
from paxos.core.messages import (
    Accept,
    Heartbeat,
    HeartbeatAnswer,
    PeerMessage,
    Prepare,
    Promise,
    Report,
)
from paxos.core.quorum import Quorums
from paxos.core.records import (
    AcceptedRecord,
    IssuedRecord,
    Record,
    Recovered,
)
from paxos.core.replica import Replica
from paxos.core.state_machine import Stamp
from paxos.core.value import Value

VOTERS = tuple(Voter(node, node * 11) for node in (1, 2, 3))
ONE, TWO = Value(1, b"one"), Value(1, b"two")
LOW, HIGH = Ballot(1, 1), Ballot(2, 2)


class Stage:
    """Three nodes as the checkers see them, and no simulation."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, alpha: int = 4) -> None:
        configurations = Configurations(Configuration(1, Quorums.majority(VOTERS)), alpha)
        machines = make_machines(edge_config=False)
        self.configurations = configurations
        self.checks = Invariants(configurations, machines, limits)
        self.facts = {voter.node: self.checks.add(voter) for voter in VOTERS}
        self.replica = Replica(
            VOTERS[0],
            configurations,
            Recovered(),
            {},
            random.Random(1),
            lambda _: (),
            Instant(0.0, 0),
        )

    def leaves(self, node: int, message: PeerMessage) -> None:
        self.checks.leaves(self.facts[node], message, self.replica)

    def arrives(self, node: int, sender: Voter, message: PeerMessage) -> None:
        self.checks.before(self.facts[node], Received(sender, message), self.replica)

    def confirms(self, answer: HeartbeatAnswer) -> None:
        """Let node 2 answer a heartbeat of node 1, which hears it."""
        self.leaves(2, answer)
        self.arrives(1, VOTERS[1], answer)

    def all_are_willing(self, node: int) -> None:
        """Let every other voter tell a node that it hears no leader, so that it may campaign."""
        self.leaves(node, Heartbeat(1, BALLOT_ZERO, False, 0))
        for voter in VOTERS:
            if voter.node != node:
                answer = HeartbeatAnswer(1, BALLOT_ZERO, BALLOT_ZERO, True, 0, 0)
                self.arrives(node, voter, answer)

    def writes(self, node: int, *records: Record) -> None:
        if any(isinstance(record, IssuedRecord) for record in records):
            self.all_are_willing(node)
        self.checks.staged(self.facts[node], records, self.replica)
        self.checks.durable(self.facts[node], records)

    def wins(self, ballot: Ballot, *reports: Report) -> None:
        """Let a ballot go through phase 1 properly."""
        node = ballot.node
        self.writes(node, IssuedRecord(ballot))
        self.leaves(node, Prepare(ballot, 0))
        for voter in VOTERS[:2]:
            self.arrives(ballot.node, voter, Promise(ballot, 0, None, 0, 0, 0, reports))

    def proposes(self, ballot: Ballot, slot: int, value: Value) -> None:
        self.leaves(ballot.node, Accept(ballot, slot, value, 0))

    def chooses(self, ballot: Ballot, slot: int, value: Value) -> None:
        self.proposes(ballot, slot, value)
        for node in (1, 2):
            self.writes(node, AcceptedRecord(ballot, slot, value))

    def runs(self, node: int, slot: int, *words: bytes, result: bytes = b"") -> None:
        command = operation(*words)
        at = Stamp(slot, 0, 1)
        self.checks.machines.runs(self.facts[node], REGISTERS, at, command, result, False)


@contextmanager
def violates(number: int) -> Iterator[None]:
    """Expect a violation of invariant ``number``."""
    with pytest.raises(Violation) as caught:
        yield
    assert caught.value.number == number, caught.value.text
