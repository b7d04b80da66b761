"""Marks: rare states that a run should sometimes be in, and how often it was.

An invariant says what must never be seen; a mark says what must be seen at times, or the faults and
the workload are not what they are thought to be. The list here is closed: a mark that is not in it
cannot be hit. Marks are made by those who watch a run, from what they are shown; the product does
not know that there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """One rare state.

    Attributes:
        name: What happened, as a short clause; stable.
        why: What could break there.
        waits_for: The feature that must be built before it can happen, or "".
    """

    name: str
    why: str
    waits_for: str = ""


MARKS = (
    # Phase 1.
    Mark(
        "took over with a hole",
        "a new leader must put a no-op where nobody it asked holds anything, below what one holds",
    ),
    Mark(
        "two ballots for one slot",
        "a new leader must take the value of the highest ballot among the promises",
    ),
    Mark(
        "two values for one slot",
        "the same, and taking the wrong one shows",
    ),
    Mark(
        "promise marked a decided value",
        "a decided value above the asked slot beats every ballot",
    ),
    Mark(
        "promise came in parts",
        "a part of a promise must not count as a whole one",
    ),
    Mark(
        "chosen value proposed again",
        "a quorum had accepted it and its leader was gone before anybody was told",
    ),
    Mark(
        "another's value proposed again",
        "the value of an earlier leader, which may or may not be chosen",
    ),
    Mark(
        "late promise arrived",
        "a promise for a ballot that its node issued in an earlier life counts no more",
    ),
    Mark(
        "campaigns duelled",
        "two nodes prepared at once, and one refused the other before either led",
    ),
    # Phase 2.
    Mark("no-op was chosen", "it takes no time stamp, and runs nothing"),
    Mark("window was full", "the next slot must wait for the lowest to be decided"),
    Mark(
        "leader replaced with accepts in flight",
        "what it proposed may be chosen by now, or never",
    ),
    Mark(
        "refused leader took its lead back",
        "a leader that was refused for the ballot of a node that cannot lead goes above it",
    ),
    Mark(
        "leader gave way by itself",
        "it reaches no quorum any more, or its disk hangs, and nobody has outbid it",
    ),
    Mark("pre-vote refused", "a node that missed a leader must not depose it"),
    Mark("vote counted twice", "the same vote arrives again and must add nothing"),
    Mark("accepted value overruled", "an acceptor replaces a value by that of a higher ballot"),
    Mark("stamp went back", "a leader's clocks are behind those of the one before"),
    # Learning.
    Mark(
        "watermark passed over a slot",
        "what was accepted at another ballot is not decided by this leader's watermark",
    ),
    Mark("caught up by decided values", "a node that lags asks a peer for what is decided"),
    Mark("decided above a hole", "it needs a record of its own, and must not run yet"),
    # Disks and lives.
    Mark(
        "recovered above a hole",
        "a node comes back with slots that it cannot know decided",
    ),
    Mark(
        "died between write and reply",
        "records turned out durable though nobody was told",
    ),
    Mark("torn tail was cut", "a write that a crash cut short is no write"),
    Mark("everyone was down", "nothing is left but what the disks hold"),
    Mark("full disk refused a vote", "without room there is no vote"),
    Mark("damaged node stayed down", "damage that may hide a promise ends a voter for good"),
    Mark("no quorum was left", "nobody can know, and whoever asks must be told that"),
    Mark("stranger's vote was ignored", "a node that lost its disk is another voter"),
    # Clients.
    Mark("retry answered from the session table", "the command ran once, and is answered twice"),
    Mark("session was evicted", "what it asks again has an unknown outcome"),
    Mark("too many requests open", "a session's bound refuses a command"),
    Mark("submission was overloaded", "a leader's bound refuses a submission"),
    Mark("outcome was unknown", "a client cannot say whether its command ran"),
    Mark("barrier round was lost", "a leader lost its ballot while reads waited"),
    Mark("read waited for its slot", "a read came to a node that lagged behind it"),
    Mark("watch resumed over a reconnect", "no change may be told twice, or not at all"),
    # Snapshots.
    Mark("snapshot outran the log", "a node lacks slots that no peer holds any more"),
    Mark("caught up by a snapshot", "state, sessions and configurations come from elsewhere"),
    Mark("fetched snapshot came too late", "an older one must not roll the state back"),
    Mark("restart from a snapshot", "the log below it is gone, and must not be missed"),
    Mark(
        "fetch was resumed after a broken connection",
        "pieces that came before it must not be mixed with others",
    ),
    Mark("fetch went on at another helper", "the same, with pieces of two helpers"),
    Mark("accept of a compacted slot", "it must not look empty"),
    Mark(
        "promise had forgotten what its asker lacked",
        "it says nothing of slots that are decided, and must not count for them",
    ),
    Mark("leader caught up before it led", "the same, and it got them from elsewhere"),
    # Membership.
    Mark("configuration was changed", "from some slot on other voters count"),
    Mark(
        "configuration changed under load",
        "two quorum systems govern neighbouring slots",
    ),
    Mark("all voters were changed at once", "no voter of the old ones tells the new ones anything"),
    Mark("quorums were changed", "the same voters, and other sets of them suffice"),
    Mark("change was void", "two were made from one configuration, and the later must not count"),
    Mark("change was refused", "whoever asks must be told, and nothing may come of it"),
    Mark(
        "change was proposed again by another leader",
        "whether it stands is not for the leader to say that began it",
    ),
    Mark("removed node asked for votes", "it must disturb nobody"),
    Mark("removed leader finished its own removal", "it leads slots in which it has no vote"),
    Mark("removed leader handed over", "it must not leave before somebody else can lead"),
    Mark("leader handed over", "the successor campaigns though it hears a leader"),
    Mark("joined node became the leader", "it never had most of the log"),
    Mark("machine was wiped right after its removal", "that is what done means"),
    Mark("lost node was replaced", "what it promised is gone, and must not be missed"),
    Mark("witness was a voter", "a vote that runs no state machine"),
    Mark("witness made the quorum", "without its vote the value were not chosen"),
    Mark("witness compacted", "what it forgets, full voters must have"),
    # Damage.
    Mark("damaged node started with unknown slots", "what it does not know it must not deny"),
    Mark("state was lost and votes were not", "it votes, and fetches a snapshot"),
    Mark(
        "promise did not count for an unknown slot",
        "a value may be chosen there that nobody else reports",
    ),
    Mark("unknown slot was mended by accepting anew", "a higher ballot overrules what was lost"),
    Mark("unknown slot was mended by its decided value", "a peer gave it back"),
    Mark("unknown slot was mended by a snapshot", "the same, with all below it"),
    # Not built yet.
    Mark("lease held against a campaign", "no other ballot may complete phase 1", "leases"),
    Mark("lease ended while reads waited", "they need a barrier after all", "leases"),
)
"""Every mark there is, in the order in which they are told."""

AWAITED = tuple(mark.name for mark in MARKS if not mark.waits_for)
"""The names of those that can happen: over many seeds each must."""


class Marks:
    """How often one run was in each rare state."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(AWAITED, 0)

    def hit(self, name: str) -> None:
        """Count one more time. ``name`` is one of ``AWAITED``; another raises KeyError."""
        self.counts[name] += 1


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up the counts of many runs, in the order in which marks are told."""
    totals = dict.fromkeys(AWAITED, 0)
    for each in counts:
        for name, count in each.items():
            totals[name] += count
    return totals


def never_hit(counts: Mapping[str, int]) -> list[str]:
    """Return the marks that a long run should have hit and did not."""
    return [name for name in AWAITED if not counts.get(name)]
