"""What the tests of membership share: a started cluster, and an administrator that asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paxos.core.config import Configuration, Member, Part
from paxos.core.ids import NodeId
from paxos.core.messages import AdminAnswer, Reconfigure, Status
from paxos.core.quorum import Quorums
from paxos.testing.stepped import Stepped
from tests.core.test_replica import machines

Parts = dict[NodeId, Part]


def next_configuration(latest: Configuration, parts: Parts) -> Configuration:
    """The configuration that follows ``latest`` with these members, majorities of the voters."""
    members = tuple(
        (latest.member(node) or Member(node, 100 + node))._replace(part=part)
        for node, part in sorted(parts.items())
    )
    voters = [member.voter for member in members if member.part]
    next_node = max(latest.next_node, max(parts) + 1)
    quorums = Quorums.majority(voters)
    return Configuration(latest.version + 1, quorums, members, latest.feature, next_node)


def started(**options: Any) -> tuple[Stepped, NodeId]:
    """A cluster with a leader."""
    cluster = Stepped(machines=machines, **options)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    return cluster, leader


def voting(nodes: Iterable[NodeId], learners: Iterable[NodeId] = ()) -> Parts:
    """These nodes vote, those learn."""
    return dict.fromkeys(nodes, Part.VOTER) | dict.fromkeys(learners, Part.LEARNER)


def ask(cluster: Stepped, parts: Parts, number: int = 1) -> Configuration:
    """Ask the leader for these members; return the configuration."""
    (leader,) = cluster.leaders()
    wanted = next_configuration(cluster.configuration(leader), parts)
    cluster.ask(leader, Reconfigure(number, wanted))
    return wanted


def change(cluster: Stepped, parts: Parts, seconds: float = 3.0) -> AdminAnswer:
    """Carry out one change; return the answer."""
    before = len(cluster.admin_answers())
    ask(cluster, parts)
    end = cluster.now.monotonic + seconds
    while len(cluster.admin_answers()) == before and cluster.now.monotonic < end:
        cluster.run(0.01)
    (answer,) = cluster.admin_answers()[before:]
    return answer


def done(cluster: Stepped, parts: Parts) -> AdminAnswer:
    """Carry out one change that works."""
    answer = change(cluster, parts)
    assert answer.status == Status.DONE, answer.text
    return answer
