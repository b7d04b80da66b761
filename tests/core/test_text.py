"""How messages, events and effects read: traces and bug reports speak it."""

from __future__ import annotations

import pytest

from paxos.core import events as e
from paxos.core import messages as m
from paxos.core.ballot import BALLOT_ZERO, Ballot
from paxos.core.config import Change, Configuration, Governing
from paxos.core.effects import (
    Compact,
    Persist,
    Reply,
    SaveSnapshot,
    Send,
    ServeSnapshot,
    StoreChunk,
)
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums
from paxos.core.records import PromisedRecord
from paxos.core.snapshot import Snapshot, SnapshotHead
from paxos.core.value import NOOP, Value

B = Ballot(3, 1)
READ = m.Read(4, m.Level.LINEARIZABLE, "kv", b"q", 0)
WATCH = m.Watch(5, "kv", b"q", 0)
PEER = Voter(2, 7)
SECOND = Configuration(2, Quorums.majority([PEER]))
NAME = m.SnapshotName(50, 9, b"\xab" * 16)
SNAPSHOT = Snapshot(SnapshotHead(50, 0, 0, b"", (Governing(1, SECOND),)), tuple)


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (Value(7, b"abc"), "batch[3B 352441c2 @7]"),
        (m.Report(2, None, NOOP), "2:decided=noop"),
        (m.Report(2, B, NOOP), "2:3.1=noop"),
        (m.Prepare(B, 9), "Prepare(3.1 after=9)"),
        (
            m.Promise(B, 0, None, 4, 0, 0, (m.Report(2, B, NOOP),)),
            "Promise(3.1 0<.. decided=4 [2:3.1=noop])",
        ),
        (m.Promise(B, 0, 5, 4, 0, 0, ()), "Promise(3.1 0<..5 decided=4 [])"),
        (m.Accept(B, 2, NOOP, 1), "Accept(3.1 2=noop decided=1)"),
        (m.Accepted(B, 2, 1), "Accepted(3.1 2 decided=1)"),
        (m.Nack(B, Ballot(4, 2), BALLOT_ZERO, 0), "Nack(3.1 promised=4.2 leader=0.0)"),
        (m.Heartbeat(8, B, True, 2), "Heartbeat(#8 leads=3.1 decided=2)"),
        (m.Heartbeat(8, B, False, 2), "Heartbeat(#8 leads=3.1 unconnected decided=2)"),
        (m.Heartbeat(8, BALLOT_ZERO, False, 2), "Heartbeat(#8 decided=2)"),
        (
            m.HeartbeatAnswer(8, B, B, True, 2, 0),
            "HeartbeatAnswer(#8 promised=3.1 hears=3.1 decided=2)",
        ),
        (
            m.HeartbeatAnswer(8, B, BALLOT_ZERO, False, 2, 0),
            "HeartbeatAnswer(#8 promised=3.1 unsound decided=2)",
        ),
        (Value(None, b"", Change(SECOND)), "change[v2]"),
        (
            m.Promise(B, 0, None, 9, 4, 0, (), ((5, 6), (8, 8))),
            "Promise(3.1 0<.. decided=9 compacted=4 unknown=5..6 unknown=8..8 [])",
        ),
        (m.Compacted(B, Ballot(4, 2), 7, 9), "Compacted(3.1 through=7 promised=4.2)"),
        (m.SnapshotOffer(NAME, 60), "SnapshotOffer(50/9B/abababab)"),
        (m.SnapshotRequest(NAME, 4), "SnapshotRequest(50/9B/abababab @4)"),
        (m.SnapshotChunk(NAME, 4, b"xy"), "SnapshotChunk(50/9B/abababab @4+2)"),
        (m.Settle(7), "Settle(7)"),
        (m.Settled(7), "Settled(7)"),
        (m.TakeOver(B), "TakeOver(3.1)"),
        (m.Reconfigure(1, SECOND), "Reconfigure(#1 v2)"),
        (m.TransferLeader(1, 2), "TransferLeader(#1 n2)"),
        (m.TakeSnapshot(1), "TakeSnapshot(#1)"),
        (m.AdminAnswer(1, m.Status.REFUSED, 0, "no"), "AdminAnswer(#1 refused no)"),
        (e.AdminRequested(1, m.TakeSnapshot(2)), "c1 -> TakeSnapshot(#2)"),
        (e.SnapshotSaved(NAME), "saved 50/9B/abababab"),
        (e.SnapshotNotSaved(50), "no room for snapshot 50"),
        (e.SnapshotFetched(NAME, SNAPSHOT), "fetched 50/9B/abababab"),
        (e.SnapshotSpoilt(NAME), "spoilt 50/9B/abababab"),
        (SaveSnapshot(SNAPSHOT), "save snapshot 50"),
        (Compact(40), "compact through 40"),
        (ServeSnapshot(2, NAME, 4), "-> n2 chunk of 50/9B/abababab @4"),
        (StoreChunk(NAME, 4, b"xy"), "store 50/9B/abababab @4+2"),
        (m.CatchUp(3), "CatchUp(after=3)"),
        (m.Decided(4, (NOOP, NOOP), 9), "Decided(4..5 decided=9)"),
        (m.OpenSession(255), "OpenSession(ff)"),
        (m.Submit(1, 2, 0, "kv", (b"a", b"b")), "Submit(s1 2+2 kv)"),
        (m.Malformed(1, 2), "Malformed(s1 2)"),
        (READ, "Read(#4 linearizable kv)"),
        (WATCH, "Watch(#5 kv)"),
        (m.CancelWatch(5), "CancelWatch(#5)"),
        (m.StatusRequest(6), "StatusRequest(#6)"),
        (m.SessionOpened(255, 1), "SessionOpened(ff s1)"),
        (m.Results(1, (m.Result(2, 0, 3, b""),)), "Results(s1 2:done)"),
        (m.Redirect(2), "Redirect(2)"),
        (m.Overloaded(1, 2, 100, "full"), "Overloaded(s1 2 full)"),
        (m.ReadAnswer(4, m.Status.DONE, 9, b""), "ReadAnswer(#4 done slot=9)"),
        (m.StatusAnswer(6, b"{}"), "StatusAnswer(#6)"),
        (e.Received(PEER, m.CatchUp(3)), "n2 -> CatchUp(after=3)"),
        (e.Submitted([]), "Submitted(0)"),
        (e.ReadsRequested([(1, READ)]), "c1 -> Read(#4 linearizable kv)"),
        (e.WatchRequested(1, WATCH), "c1 -> Watch(#5 kv)"),
        (e.WatchCancelled(1, 5), "c1 cancels #5"),
        (e.ClientGone(1), "c1 gone"),
        (e.PeerConnected(PEER), "n2 connected"),
        (e.PeerDisconnected(PEER), "n2 disconnected"),
        (e.DeadlinePassed(), "deadline"),
        (e.DiskFull(True), "disk full"),
        (e.DiskFull(False), "disk has room"),
        (Send(2, m.CatchUp(3)), "-> n2 CatchUp(after=3)"),
        (Reply(1, m.Redirect(2)), "-> c1 Redirect(2)"),
        (
            Persist((PromisedRecord(B),), (Send(2, m.Accepted(B, 2, 1)),)),
            "persist [promised 3.1] then [-> n2 Accepted(3.1 2 decided=1)]",
        ),
    ],
)
def test_text_of_what_travels_is_short_and_stable(thing: object, text: str) -> None:
    assert str(thing) == text


def test_value_knows_a_noop_from_an_empty_batch() -> None:
    """An empty batch has a time stamp, and so advances replicated time; a no-op has none."""
    assert NOOP.is_noop
    assert not Value(0, b"").is_noop
    assert (NOOP.size, Value(0, b"abc").size) == (0, 3)
