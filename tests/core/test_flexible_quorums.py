"""Flexible quorums and witnesses: six nodes that decide with two; three with a witness."""

from __future__ import annotations

from paxos.core.config import Configuration, Member, Part
from paxos.core.ids import NodeId, Voter
from paxos.core.limits import Limits
from paxos.core.messages import Accept, OpenSession, SessionOpened, Status
from paxos.core.quorum import Quorums, QuorumSets
from paxos.core.records import AcceptedRecord, DecidedRecord
from paxos.testing.stepped import Stepped
from tests.core.changes import ask, done, started
from tests.core.test_replica import machines, put

SIX = tuple(Voter(node, 100 + node) for node in range(1, 7))


def open_sessions(cluster: Stepped, leader: NodeId, count: int, first: int = 1) -> None:
    for nonce in range(first, first + count):
        cluster.submit(leader, nonce, OpenSession(nonce))
        cluster.run(0.05)


def opened(cluster: Stepped) -> int:
    return len([a for *_, a in cluster.replies if isinstance(a, SessionOpened)])


def with_witness(limits: Limits | None = None) -> tuple[Stepped, NodeId]:
    """Two full voters and a witness, node 3."""
    members = tuple(
        Member(node, 100 + node, Part.WITNESS if node == 3 else Part.VOTER) for node in (1, 2, 3)
    )
    founding = Configuration(1, Quorums.majority([m.voter for m in members]), members)
    return started(founding=founding, limits=limits)


def test_six_nodes_decide_with_any_two_while_the_leader_stands() -> None:
    cluster, leader = started(founding=Configuration(1, Quorums(frozenset(SIX), 5, 2)))
    friend = next(node for node in range(1, 7) if node != leader)
    for node in range(1, 7):
        if node not in (leader, friend):
            cluster.stop(node)
    open_sessions(cluster, leader, 3)
    assert opened(cluster) == 3
    assert cluster.leaders() == [leader]


def test_six_nodes_elect_with_five_and_not_with_four() -> None:
    cluster, leader = started(founding=Configuration(1, Quorums(frozenset(SIX), 5, 2)))
    rest = [node for node in range(1, 7) if node != leader]
    cluster.stop(leader)
    cluster.stop(rest[0])
    cluster.run(4.0)
    assert cluster.leaders() == []
    cluster.start(rest[0])
    cluster.run(3.0)
    assert len(cluster.leaders()) == 1


def test_six_nodes_in_rows_and_columns_decide_with_a_row() -> None:
    """Quorums by naming them: phase 2 is a row of two, phase 1 is a column of three."""
    rows = [frozenset(SIX[2 * row : 2 * row + 2]) for row in range(3)]
    columns = [frozenset(SIX[column::2]) for column in range(2)]
    system = QuorumSets(frozenset(SIX), frozenset(columns), frozenset(rows))
    cluster, leader = started(founding=Configuration(1, system))
    row = next(each for each in rows if cluster.identity[leader] in each)
    for voter in SIX:
        if voter not in row:
            cluster.stop(voter.node)
    open_sessions(cluster, leader, 2)
    assert opened(cluster) == 2


def test_witness_stands_in_for_a_full_voter_that_is_lost() -> None:
    cluster, leader = with_witness()
    assert leader != 3
    session = cluster.open_session(leader, 7)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.run(0.3)
    cluster.stop(leader)
    cluster.run(3.0)
    (new,) = cluster.leaders()
    assert new not in (leader, 3)
    cluster.submit(new, 7, put(session, 2, b"y"))
    cluster.run(0.3)
    assert cluster.replicas[new].executor.query("r", b"")[1] == b"y"
    assert cluster.replicas[3].executor.applied_through == 0


def test_witness_alone_knows_what_a_lost_leader_decided() -> None:
    """The other full voter never heard of it: the witness's vote carries the value over."""
    cluster, leader = with_witness()
    other = next(node for node in (1, 2) if node != leader)
    session = cluster.open_session(leader, 7)
    cluster.run(0.3)
    cluster.submit(leader, 7, put(session, 1, b"x"))
    cluster.settle(lambda t: other not in (t.source, t.target))
    cluster.stop(leader)
    cluster.messages.clear()
    cluster.run(3.0)
    assert cluster.leaders() == [other]
    assert cluster.replicas[other].executor.query("r", b"")[1] == b"x"


def slots_kept(cluster: Stepped, node: NodeId) -> set[int]:
    kept = (AcceptedRecord, DecidedRecord)
    return {record.slot for record in cluster.log[node] if isinstance(record, kept)}


def test_full_voter_that_died_is_replaced_though_it_was_needed_to_confirm_the_latest_change() -> (
    None
):
    """Only a change without it can be settled; what waits for it meanwhile is settled with that."""
    cluster, leader = with_witness()
    dead = 3 - leader
    parts = {1: Part.VOTER, 2: Part.VOTER, 3: Part.WITNESS}
    done(cluster, parts)
    for node in parts:  # so that nobody knows any more that this is settled
        cluster.start(node)
    cluster.stop(dead)
    cluster.run(3.0)
    cluster.join(4)
    ask(cluster, parts | {4: Part.LEARNER}, number=1)
    cluster.run(2.0)
    assert cluster.configuration(leader).version == 3
    assert len(cluster.admin_answers()) == 1
    ask(cluster, {leader: Part.VOTER, 3: Part.WITNESS, 4: Part.VOTER}, number=2)
    cluster.run(2.0)
    answers = cluster.admin_answers()[1:]
    assert [(a.number, a.status) for a in answers] == [(1, Status.DONE), (2, Status.DONE)]


def test_witness_forgets_only_what_full_voters_have_in_snapshots() -> None:
    """With one of them down the other's snapshot alone is not enough: it may be lost too."""
    limits = Limits(snapshot_entries=5, kept_entries=1)
    cluster, leader = with_witness(limits)
    other = next(node for node in (1, 2) if node != leader)
    cluster.stop(other)
    open_sessions(cluster, leader, 12)
    assert cluster.compacted_through[leader] >= 9
    assert cluster.compacted_through.get(3, 0) == 0
    assert slots_kept(cluster, 3) >= set(range(1, 13))
    cluster.start(other)
    cluster.run(1.0)
    open_sessions(cluster, leader, 12, first=20)
    assert cluster.compacted_through[3] >= 9
    assert min(slots_kept(cluster, 3)) > 9
    cluster.stop(3)
    cluster.start(3)
    cluster.run(0.5)
    through = cluster.replicas[leader].learner.decided_through
    assert cluster.replicas[3].learner.decided_through == through


def test_accept_goes_to_voters_and_witnesses_and_not_to_learners() -> None:
    members = (
        Member(1, 101),
        Member(2, 102),
        Member(3, 103, Part.WITNESS),
        Member(4, 104, Part.LEARNER),
    )
    quorums = Quorums.majority([member.voter for member in members[:3]])
    cluster = Stepped(founding=Configuration(1, quorums, members), machines=machines)
    cluster.run(2.0)
    (leader,) = cluster.leaders()
    cluster.submit(leader, 7, OpenSession(1))
    targets = {t.target for t in cluster.messages if isinstance(t.message, Accept)}
    assert targets | {leader} == {1, 2, 3}
    cluster.run(0.5)
    assert cluster.replicas[4].executor.applied_through == 1
