"""Nodes that lose a leader together do not campaign in step."""

from __future__ import annotations

import random

from paxos.core.ballot import Ballot
from paxos.core.config import Configuration, Configurations
from paxos.core.elector import Elector
from paxos.core.ids import Instant, Voter
from paxos.core.limits import Timing
from paxos.core.messages import Heartbeat
from paxos.core.quorum import Quorums

VOTERS = [Voter(node, 7) for node in (1, 2, 3)]
CONFIGURATIONS = Configurations(Configuration(1, Quorums.majority(VOTERS)), 8)
TIMING = Timing(heartbeat_interval_s=0.2, election_timeout_s=0.5)
NOW = Instant(100.0, 0)


def follower(chance: int) -> Elector:
    """Return an elector that has just heard the leader."""
    elector = Elector(VOTERS[0], CONFIGURATIONS, TIMING, random.Random(chance), True, NOW)
    elector.handle_heartbeat(VOTERS[1], Heartbeat(1, Ballot(3, 2), True, 0), NOW)
    return elector


def test_followers_whose_leader_falls_silent_become_due_at_different_times() -> None:
    due = {follower(chance)._election_at for chance in range(10)}
    assert len(due) == 10
    timeout = TIMING.election_timeout_s
    assert all(timeout <= each - NOW.monotonic <= 2 * timeout for each in due)
    assert max(due) - min(due) > timeout / 4


def test_followers_whose_leader_disconnects_become_due_at_different_times() -> None:
    due = set()
    for chance in range(10):
        elector = follower(chance)
        elector.handle_disconnected(VOTERS[1], NOW)
        due.add(elector._election_at)
    assert len(due) == 10
