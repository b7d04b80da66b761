"""Divergence: whether this node's state is that of the others at equal slots, and since when not.

It guards invariant 6 (equal state at equal slots) while the cluster runs: heartbeats carry what a
node's latest durable snapshot was, and what all results through some slot came to. When two nodes'
results differ, each next pair of heartbeats halves the slots between the last that agreed and the
first that did not, until the very slot is known. It never knows what a state is, and it decides
nothing but whether this node is the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

from paxos.core.config import Configuration
from paxos.core.ids import Slot, Voter
from paxos.core.messages import NO_DIGEST, SnapshotName, StateDigest

SNAPSHOTS_COMPARED = 4
"""Of so many snapshots, of this node and of each other, the digest is remembered."""

HALVINGS_MAX = 256
"""After so many comparisons a node that is contradicted stops, even if it does not know since when.

That many halve all slots whose results a node remembers, with every second one of each of six other
nodes, and some heartbeats lost.
"""

ResultsAt = Callable[[Slot], bytes | None]
"""What all results through a slot came to, if that is still known."""


class Divergence:
    """What the others' states were, beside this node's own.

    Args:
        me: This node; None for one that keeps no state, and so compares none.
        latest: Its latest durable snapshot at start, if it has one.
    """

    def __init__(self, me: Voter | None, latest: SnapshotName | None) -> None:
        self._alike = set[Voter]() if me is None else {me}
        self._mine: dict[Slot, bytes] = {}
        self._theirs: dict[Voter, dict[Slot, bytes]] = {}
        self._unlike: set[Voter] = set()  # whose snapshot at some slot is not this node's
        # Of each node whose results were compared: the last slot known to agree, the first known
        # not to, with what they came to there, and what was compared since that came up.
        self._agreed: dict[Voter, Slot] = {}
        self._differing: dict[Voter, StateDigest] = {}
        self._compared = 0
        self._turns: dict[Voter | None, bool] = {}  # whose turn it was last, for each and for all
        self._told = NO_DIGEST  # the last that was told in peace
        if latest is not None:
            self.saved(latest)

    @property
    def differing(self) -> dict[Voter, Slot]:
        """Whose results differ from this node's, each with the first slot known to."""
        return {voter: found.slot for voter, found in self._differing.items()}

    def saved(self, name: SnapshotName) -> None:
        """This node's snapshot is durable."""
        _remember(self._mine, name.through, name.digest)
        for voter, theirs in self._theirs.items():
            self._judge(voter, theirs)

    def heard(
        self, voter: Voter, snapshot: StateDigest, results: StateDigest, at: ResultsAt
    ) -> bool:
        """Note what a heartbeat said of its sender's state.

        Returns:
            Whether it is known to differ from this node's.
        """
        if snapshot.slot:
            theirs = self._theirs.setdefault(voter, {})
            if theirs.get(snapshot.slot) != snapshot.digest:
                _remember(theirs, snapshot.slot, snapshot.digest)
                self._judge(voter, theirs)
        mine = at(results.slot) if results.slot else None
        if mine is not None:
            known, agreed = self._differing.get(voter), self._agreed.get(voter, 0)
            if mine != results.digest:
                if known is None or results.slot < known.slot:
                    self._differing[voter] = results
            elif results.slot > agreed and (known is None or results.slot < known.slot):
                self._agreed[voter] = results.slot
        if self._differing:
            self._compared += 1
        return voter in self._differing or voter in self._unlike

    def _judge(self, voter: Voter, theirs: Mapping[Slot, bytes]) -> None:
        """Compare snapshots, when one of them is new."""
        if any(digest != self._mine.get(slot, digest) for slot, digest in theirs.items()):
            self._unlike.add(voter)
        else:
            self._unlike.discard(voter)

    def forget(self, voter: Voter) -> None:
        """A node is gone: whatever it said, it says again when it is back."""
        self._theirs.pop(voter, None)
        self._unlike.discard(voter)
        self._agreed.pop(voter, None)
        self._differing.pop(voter, None)
        self._turns.pop(voter, None)

    def to_tell(self, voter: Voter | None, applied_through: Slot, at: ResultsAt) -> StateDigest:
        """Return what a heartbeat, or an answer to ``voter``, says of this node's results.

        In peace, of all so far; else by turns of the slot in the middle of those in doubt (the last
        that agreed, in the end) and of the first known to differ, so that the other knows too.
        """
        if not self._differing:
            if applied_through != self._told.slot:
                digest = at(applied_through)
                self._told = NO_DIGEST if digest is None else StateDigest(applied_through, digest)
            return self._told
        turn = self._turns[voter] = not self._turns.get(voter, False)
        about = voter if voter in self._differing else next(iter(self._differing))
        agreed, differing = self._agreed.get(about, 0), self._differing[about].slot
        slot = (agreed + differing) // 2 if turn else differing
        while slot < differing and at(slot) is None:
            slot = (slot + differing + 1) // 2  # too old to be remembered
        digest = at(slot)
        return NO_DIGEST if digest is None else StateDigest(slot, digest)

    def contradiction(self, live: Iterable[Configuration]) -> str:
        """Return why this node must stop, empty if it need not.

        It must if others that agree with each other, and form a phase-2 quorum of every live
        configuration, say that its state is another one, and they are more than those that have
        its state: with small quorums the wrong ones might form one too.
        """
        configurations = list(live)
        for slot in sorted({found.slot for found in self._differing.values()}):
            against = majority_against(self._results_at(slot), self._alike_at(slot), configurations)
            if against and self._doubt(against) == (slot, slot):
                return self._text(against, slot)
        for slot, mine in sorted(self._mine.items()):
            theirs = {v: known[slot] for v, known in self._theirs.items() if slot in known}
            alike = self._alike | {voter for voter, digest in theirs.items() if digest == mine}
            others = {voter: digest for voter, digest in theirs.items() if digest != mine}
            against = majority_against(others, alike, configurations)
            if against and (self._compared > HALVINGS_MAX or not self._is_halving(against)):
                return self._text(against, slot)
        return ""

    def _results_at(self, slot: Slot) -> dict[Voter, bytes]:
        return {v: found.digest for v, found in self._differing.items() if found.slot == slot}

    def _alike_at(self, slot: Slot) -> set[Voter]:
        return self._alike | {voter for voter, agreed in self._agreed.items() if agreed >= slot}

    def _doubt(self, voters: Iterable[Voter]) -> tuple[Slot, Slot] | None:
        """Return among which slots the results first differed from those of voters that agree."""
        against = list(voters)
        found = [self._differing[voter].slot for voter in against if voter in self._differing]
        agreed = max(self._agreed.get(voter, 0) for voter in against)
        return (agreed + 1, min(found)) if found else None

    def _is_halving(self, against: Iterable[Voter]) -> bool:
        doubt = self._doubt(against)
        return doubt is not None and doubt[0] < doubt[1]

    def _text(self, against: Iterable[Voter], slot: Slot) -> str:
        nodes = ", ".join(str(voter.node) for voter in against)
        text = f"the state of this node at slot {slot} is not that of nodes {nodes}, which agree"
        doubt = self._doubt(against)
        if doubt is None:
            return f"{text}, though all results that are still known are the same"
        if doubt[0] < doubt[1]:
            return f"{text}; one of the slots {doubt[0]} to {doubt[1]} is the first to differ"
        return f"{text}; slot {doubt[0]} is the first to differ"


def majority_against(
    differing: Mapping[Voter, bytes], alike: Set[Voter], live: Iterable[Configuration]
) -> tuple[Voter, ...]:
    """Return the voters that outweigh those with this node's state, empty if none do.

    Args:
        differing: What the state of each other voter that differs is.
        alike: Who has this node's state, itself included.
        live: In every one of these they must form a phase-2 quorum.
    """
    configurations = list(live)
    for digest in sorted(set(differing.values())):
        group = {voter for voter, theirs in differing.items() if theirs == digest}
        if all(
            each.quorums.is_phase2(group)
            and len(each.quorums.voters & group) > len(each.quorums.voters & alike)
            for each in configurations
        ):
            return tuple(sorted(group))
    return ()


def _remember(known: dict[Slot, bytes], slot: Slot, digest: bytes) -> None:
    known[slot] = digest
    while len(known) > SNAPSHOTS_COMPARED:
        del known[min(known)]
