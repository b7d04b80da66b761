"""Damage hides what a voter accepted: nothing chosen is lost, and the voter is mended by itself."""

from __future__ import annotations

import pytest

from paxos.core.events import ReadsRequested
from paxos.core.ids import NodeId
from paxos.core.messages import Level, Read, ReadAnswer
from paxos.core.records import AcceptedRecord, DecidedRecord, WatermarkRecord
from paxos.testing.stepped import Stepped
from tests.core.changes import started
from tests.core.test_replica import put


def chosen_and_hidden() -> tuple[Stepped, NodeId, NodeId, NodeId]:
    """A leader and one other chose slot 2; the leader stops, and damage hides it at the other."""
    cluster, leader = started()
    damaged, third = (node for node in (1, 2, 3) if node != leader)
    session = cluster.open_session(leader, 7)
    cluster.run(0.5)
    cluster.submit(leader, 7, put(session, 1, b"kept"))
    cluster.settle(lambda t: third not in (t.source, t.target))
    assert cluster.replicas[leader].executor.query("r", b"")[1] == b"kept"
    cluster.stop(leader)
    cluster.stop(damaged)
    cluster.messages.clear()
    cluster.log[damaged] = [
        record
        for record in cluster.log[damaged]
        if not isinstance(record, AcceptedRecord | DecidedRecord) or record.slot != 2
        if not isinstance(record, WatermarkRecord) or record.through < 2
    ]
    cluster.unknown[damaged] = ((2, 2),)
    cluster.start(damaged)
    return cluster, leader, damaged, third


@pytest.mark.parametrize("seed_seconds", [2.0, 4.0])
def test_slot_that_damage_hides_at_one_of_two_voters_is_neither_filled_nor_read_past(
    seed_seconds: float,
) -> None:
    cluster, leader, damaged, third = chosen_and_hidden()
    cluster.run(seed_seconds)
    for new in cluster.leaders():
        cluster.handle(new, ReadsRequested([(9, Read(1, Level.LINEARIZABLE, "r", b"", 0))]))
        cluster.submit(new, 8, put(1, 2, b"after"))
    cluster.run(0.5)
    assert {cluster.replicas[node].learner.decided_through for node in (damaged, third)} == {1}
    assert not [a for *_, a in cluster.replies if isinstance(a, ReadAnswer)]
    cluster.start(leader)
    cluster.run(4.0)
    assert {r.learner.decided_through >= 2 for r in cluster.replicas.values()} == {True}
    values = {cluster.replicas[n].acceptor.held(2).value.commands for n in (1, 2, 3)}  # type: ignore[union-attr]
    assert len(values) == 1
    assert b"kept" in values.pop()
    assert cluster.replicas[damaged].acceptor.unknown == ()


def test_slot_that_damage_hides_is_free_once_enough_others_know_nothing_of_it() -> None:
    """The two sound voters never accepted it, so nobody chose it."""
    cluster, leader = started()
    damaged = next(node for node in (1, 2, 3) if node != leader)
    cluster.open_session(leader, 7)
    cluster.run(0.3)
    cluster.stop(damaged)
    cluster.unknown[damaged] = ((2, 5),)
    cluster.start(damaged)
    cluster.run(0.5)
    cluster.stop(leader)
    cluster.start(leader)
    cluster.run(3.0)
    (new,) = cluster.leaders()
    for number in range(2, 7):
        cluster.submit(new, 7, put(1, number, b"x"))
        cluster.run(0.1)
    assert cluster.replicas[damaged].acceptor.unknown == ()
    assert {r.learner.decided_through for r in cluster.replicas.values()} == {6}
