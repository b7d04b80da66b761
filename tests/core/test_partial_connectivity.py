"""Elections when links are missing: quorum-loss, constrained, chained and one-way cases.

After OmniPaxos (EuroSys 2023), section 2. Each case starts from a working
leader, cuts links, and asks for a decision within a few election timeouts (0.5 s each).
"""

from __future__ import annotations

import pytest

from paxos.core.ballot import Ballot
from paxos.core.events import Received
from paxos.core.ids import NodeId
from paxos.core.messages import OpenSession, Prepare, SessionOpened
from paxos.testing.stepped import Stepped, Transit

FIVE = (1, 2, 3, 4, 5)
SEEDS = range(6)
Links = set[tuple[NodeId, NodeId]]


def both_ways(*pairs: tuple[NodeId, NodeId]) -> Links:
    return {link for a, b in pairs for link in ((a, b), (b, a))}


def with_leader(seed: int, voters: tuple[NodeId, ...] = FIVE) -> tuple[Stepped, NodeId]:
    cluster = Stepped(voters=voters, seed=seed)
    cluster.run(3.0)
    (leader,) = cluster.leaders()
    return cluster, leader


def decides(cluster: Stepped, links: Links, seconds: float) -> bool:
    """Whether some leader decides a new command within ``seconds`` over these links only."""
    end = cluster.now.monotonic + seconds
    client = 0
    while cluster.now.monotonic < end:
        cluster.run(0.05, lambda t: (t.source, t.target) in links)
        for leader in cluster.leaders():
            client += 1
            cluster.submit(leader, client, OpenSession(client))
        if any(isinstance(answer, SessionOpened) for _, _, answer in cluster.replies):
            return True
    return False


@pytest.mark.parametrize("seed", SEEDS)
def test_quorum_loss_leader_sees_only_the_hub_and_the_hub_takes_over(seed: int) -> None:
    """Everyone is connected to one node only; the old leader must let the hub lead."""
    cluster, leader = with_leader(seed)
    hub = next(node for node in FIVE if node != leader)
    links = both_ways(*((hub, node) for node in FIVE if node != hub))
    assert decides(cluster, links, 6.0)
    cluster.run(1.0, lambda t: (t.source, t.target) in links)
    assert cluster.leaders() == [hub]


@pytest.mark.parametrize("seed", SEEDS)
def test_constrained_election_only_a_node_with_an_old_log_reaches_a_quorum(seed: int) -> None:
    """The leader is cut off entirely; of the rest only one node, which lags, has a quorum."""
    cluster, leader = with_leader(seed)
    hub, *others = (node for node in FIVE if node != leader)

    def behind(transit: Transit) -> bool:
        return hub not in (transit.source, transit.target)

    for client in range(10, 20):
        cluster.submit(leader, client, OpenSession(client))
        cluster.settle(behind)
        cluster.messages.clear()
    cluster.run(0.3, behind)
    cluster.replies.clear()
    links = both_ways(*((hub, node) for node in others))
    assert decides(cluster, links, 6.0)
    decided = {cluster.replicas[node].learner.decided_through for node in (hub, *others)}
    assert min(decided) >= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_chained_nodes_at_the_ends_do_not_depose_each_other_forever(seed: int) -> None:
    """Three nodes in a chain: whichever leads, the far end hears of it from the middle."""
    cluster, leader = with_leader(seed, (1, 2, 3))
    first, second = (node for node in (1, 2, 3) if node != leader)
    links = both_ways((leader, first), (first, second))
    assert decides(cluster, links, 6.0)
    cluster.run(2.0, lambda t: (t.source, t.target) in links)
    before = {n: r.acceptor.promised for n, r in cluster.replicas.items()}
    cluster.run(5.0, lambda t: (t.source, t.target) in links)
    assert {n: r.acceptor.promised for n, r in cluster.replicas.items()} == before


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("deaf", [True, False])
def test_one_way_links_of_the_leader_are_survived(seed: int, deaf: bool) -> None:
    """The leader still sends but hears nobody (deaf), or hears but cannot send."""
    cluster, leader = with_leader(seed)
    every = {(a, b) for a in FIVE for b in FIVE if a != b}
    lost = {(a, b) for a, b in every if (b if deaf else a) == leader}
    assert decides(cluster, every - lost, 6.0)
    cluster.run(1.0, lambda t: (t.source, t.target) in every - lost)
    assert leader not in cluster.leaders()


@pytest.mark.parametrize("seed", SEEDS)
def test_returning_node_does_not_depose_a_leader_that_works(seed: int) -> None:
    """A node is cut off for long, comes back, and the same ballot still leads."""
    cluster, leader = with_leader(seed)
    away = next(node for node in FIVE if node != leader)
    ballot = cluster.replicas[leader].proposer.ballot
    cluster.run(5.0, lambda t: away not in (t.source, t.target))
    cluster.run(3.0)
    assert cluster.leaders() == [leader]
    assert cluster.replicas[leader].proposer.ballot == ballot


@pytest.mark.parametrize("seed", SEEDS)
def test_minority_keeps_no_leader_and_majority_gets_one(seed: int) -> None:
    """The leader stays with one other: it gives way, and the three others elect."""
    cluster, leader = with_leader(seed)
    friend = next(node for node in FIVE if node != leader)
    minority = {leader, friend}

    def same_side(transit: Transit) -> bool:
        return (transit.source in minority) == (transit.target in minority)

    cluster.run(4.0, same_side)
    (new,) = cluster.leaders()
    assert new not in minority


def test_leader_refused_for_a_ballot_nobody_leads_takes_the_lead_back() -> None:
    """A voter promised a campaigner that can never win: the leader goes above it, once."""
    cluster, leader = with_leader(1)
    ghost = next(node for node in FIVE if node != leader)
    for target in FIVE:
        if target not in (leader, ghost):
            prepare = Received(cluster.identity[ghost], Prepare(Ballot(90, ghost), 0))
            cluster.handle(target, prepare)
    cluster.messages.clear()
    cluster.run(3.0)
    (now,) = cluster.leaders()
    assert cluster.replicas[now].proposer.ballot > Ballot(90, ghost)
    cluster.submit(now, 1, OpenSession(1))
    cluster.run(0.5)
    assert cluster.replies
