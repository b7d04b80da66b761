"""Hosted in a cluster, a state machine's snapshots are read between its commands."""

from __future__ import annotations

import pytest

from jepsen_like.harness import promises
from jepsen_like.harness.hosted import Factory, Hosted, Reference, numbered
from jepsen_like.harness.promises import Broken
from paxos.core.state_machine import Stamp
from tests.harness import planted


def apply_all(machine: Factory, commands: int) -> Hosted:
    hosted = Hosted("n1", machine, Reference(machine))
    for number in range(commands):
        hosted.apply(numbered(number, b"add"), Stamp(number + 1, 0, 0))
    return hosted


@pytest.mark.parametrize(
    "machine", [planted.CopiesReferencesToWhatChanges, planted.EncodesTheLiveState]
)
def test_snapshot_that_moves_while_commands_are_applied_is_found(machine: Factory) -> None:
    with pytest.raises(Broken) as found:
        apply_all(machine, 12)
    assert found.value.promise == promises.SNAPSHOT_STANDS_STILL


@pytest.mark.parametrize("machine", [planted.Turns, planted.Counter])
def test_snapshot_that_stands_still_while_commands_are_applied_passes(machine: Factory) -> None:
    hosted = apply_all(machine, 12)
    chunks = hosted.snapshot()
    right = list(hosted.snapshot())
    hosted.apply(numbered(12, b"add"), Stamp(13, 0, 0))
    assert list(chunks) == right


def test_snapshot_given_to_the_replica_that_moves_is_found_when_it_is_read() -> None:
    hosted = apply_all(planted.SnapshotsLate, 0)
    chunks = hosted.snapshot()
    hosted.apply(numbered(0, b"add"), Stamp(1, 0, 0))
    with pytest.raises(Broken, match="when it was asked for"):
        list(chunks)
