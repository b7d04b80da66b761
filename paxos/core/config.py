"""Configurations: who votes, for which slots. A configuration is a value that governs slots.

It owns the timeline: a change decided at slot s governs from s + alpha on (Lamport's alpha-window,
Paxos Made Simple, section 3; "Reconfiguring a State Machine", Lamport, Malkhi, Zhou 2010), so every
question about voters names the slot it is asked for. It guards invariant 8's "all nodes that know
configuration(s) agree on it": which change is void is decided here, by one rule, from the log
alone. It never knows who leads, who is reached, or how a change is carried out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from paxos.core.errors import ConfigurationInvalid, ensure
from paxos.core.ids import NodeId, Slot, Voter
from paxos.core.quorum import QuorumSystem

FEATURE_FIRST = 1
"""What every release understands: a fixed set of voters, a log that is never compacted."""
FEATURE_MEMBERSHIP = 2
"""Snapshots, compaction and changes of membership. All members must understand it."""
FEATURE = FEATURE_MEMBERSHIP
"""The highest feature version that this release understands."""

NODES_MAX = 99
"""The members of one configuration. A bound on what a message can carry, not advice."""


class Part(IntEnum):
    """What a member takes part in."""

    LEARNER = 0
    """Follows the log and keeps the state. Its votes count for nothing."""
    VOTER = 1
    """Votes, and keeps the state."""
    WITNESS = 2
    """Votes and keeps values until others have them, but runs no state machine; never leads."""


class Member(NamedTuple):
    """One node of a configuration.

    Attributes:
        node: Its id; never used again once it has been removed.
        incarnation: Of its data directory.
        part: What it takes part in.
        url: Where it listens; opaque here.
        priority: Of voters that could lead, one of the highest priority is preferred.
    """

    node: NodeId
    incarnation: int
    part: Part = Part.VOTER
    url: str = ""
    priority: int = 0

    @property
    def voter(self) -> Voter:
        """The node in this life, as votes are counted."""
        return Voter(self.node, self.incarnation)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members of a range of slots, and what a quorum is among those that vote.

    Args:
        version: 1 at founding; each change adds one.
        quorums: The voters and what suffices.
        members: Everyone, in order of node id. Left out: the voters, all of them full ones.
        feature: What every member must understand.
        next_node: Every node id that was ever used is below this one; so none is used again.
            Left out: one above the highest member.

    Attributes:
        voters: All who vote, witnesses too, in order of node id.
        full_voters: Those who vote and keep the state: the only ones that may lead.
        everyone: All members, learners too, in order of node id.
        nodes: Their ids, in that order.

    Raises:
        ConfigurationInvalid: Two members share a node id; the members that vote are not those of
            the quorums; the full voters hold no phase-2 quorum; or a number is out of range.
    """

    version: int
    quorums: QuorumSystem
    members: tuple[Member, ...] = ()
    feature: int = FEATURE
    next_node: NodeId = 0
    # What follows from those, once for all: every message asks for some of it.
    voters: tuple[Voter, ...] = field(init=False, repr=False, compare=False)
    full_voters: frozenset[Voter] = field(init=False, repr=False, compare=False)
    everyone: tuple[Voter, ...] = field(init=False, repr=False, compare=False)
    nodes: tuple[NodeId, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.members:
            members = tuple(Member(*voter) for voter in sorted(self.quorums.voters))
            object.__setattr__(self, "members", members)
        full = frozenset(m.voter for m in self.members if m.part is Part.VOTER)
        object.__setattr__(self, "voters", tuple(sorted(self.quorums.voters)))
        object.__setattr__(self, "full_voters", full)
        object.__setattr__(self, "everyone", tuple(member.voter for member in self.members))
        nodes = [member.node for member in self.members]
        object.__setattr__(self, "nodes", tuple(nodes))
        if len(set(nodes)) != len(nodes):
            raise ConfigurationInvalid(f"two members share a node id: {sorted(nodes)}")
        if nodes != sorted(nodes) or nodes[0] < 1:
            raise ConfigurationInvalid(f"members stand in order of their ids, from 1: {nodes}")
        if len(nodes) > NODES_MAX:
            raise ConfigurationInvalid(f"{len(nodes)} members; at most {NODES_MAX} are supported")
        if {member.voter for member in self.members if member.part} != self.quorums.voters:
            raise ConfigurationInvalid("the quorums are not those of the members that vote")
        if not self.quorums.is_phase2(self.full_voters):
            raise ConfigurationInvalid(
                "the full voters (without the witnesses) hold no phase-2 quorum, so that nobody"
                " might have the state of what is decided; add a full voter"
            )
        if not self.next_node:
            object.__setattr__(self, "next_node", nodes[-1] + 1)
        if self.next_node <= nodes[-1]:
            raise ConfigurationInvalid(f"next_node must be above every member's id: {nodes[-1]}")
        if self.version < 1 or self.feature < 1:
            raise ConfigurationInvalid("version and feature are numbered from 1")

    def member(self, node: NodeId) -> Member | None:
        """Return the member with this id, if there is one."""
        return next((member for member in self.members if member.node == node), None)

    def at_addresses(self, urls: Mapping[Voter, str]) -> Configuration:
        """Return the same with its members where ``urls`` says; others listen nowhere known."""
        members = tuple(each._replace(url=urls.get(each.voter, "")) for each in self.members)
        return replace(self, members=members)


class Change(NamedTuple):
    """What a slot says when it changes the configuration.

    ``configuration`` bears the version that it would get: one above that of the configuration it
    was made from. It is void unless that one is still the latest when it is decided.
    """

    configuration: Configuration

    def __str__(self) -> str:
        return f"change[v{self.configuration.version}]"


class Governing(NamedTuple):
    """A configuration, and from which slot on it governs."""

    first: Slot
    configuration: Configuration


class Configurations:
    """Which configuration governs which slot, as far as this node knows.

    Args:
        founding: Governs from slot 1 on.
        alpha: How far above ``decided_through`` a slot may be proposed. Fixed at founding.

    Attributes:
        alpha: As given.
        latest: The latest decided configuration; it may not govern yet.
        latest_first: The slot from which on it governs. Above that it is the only one: most
            questions are about such slots, and are answered by one comparison.
    """

    def __init__(self, founding: Configuration, alpha: int) -> None:
        if alpha < 1:
            raise ConfigurationInvalid(f"alpha must be at least 1, not {alpha}")
        self.alpha = alpha
        self._founding = founding
        self._timeline = [Governing(1, founding)]  # in order of first slot and of version
        self._firsts = [1]
        self._note_latest()

    def _note_latest(self) -> None:
        self.latest_first, self.latest = self._timeline[-1]
        self._only = (self.latest,)

    def at(self, slot: Slot) -> Configuration:
        """Return the configuration that governs ``slot``, the oldest known one at the least."""
        if slot >= self.latest_first:
            return self.latest
        return self._timeline[max(0, bisect_right(self._firsts, slot) - 1)].configuration

    def live(self, decided_through: Slot) -> tuple[Configuration, ...]:
        """Return every configuration that governs a slot in (decided_through, + alpha]."""
        if decided_through + 1 >= self.latest_first:
            return self._only
        return tuple(each.configuration for each in self.governing(decided_through))

    def governing(self, through: Slot) -> tuple[Governing, ...]:
        """Return what governs the slots in (through, + alpha], with its first slots: oldest first.

        A snapshot at ``through`` must hold it; see ``recorded``.
        """
        start = max(0, bisect_right(self._firsts, through + 1) - 1)
        stop = bisect_right(self._firsts, through + self.alpha)
        return tuple(self._timeline[start:stop])

    def recorded(self, through: Slot) -> tuple[Governing, ...]:
        """Return ``governing(through)`` as a snapshot holds it: the same bytes on every node.

        Where the founding nodes listen stands in each node's own file, and files may differ: a
        name here, a translated address there. What a change says was decided, addresses too.
        """
        return tuple(
            Governing(first, configuration.at_addresses({}))
            if configuration.version == self._founding.version
            else Governing(first, configuration)
            for first, configuration in self.governing(through)
        )

    def voter_nodes(self, decided_through: Slot) -> tuple[NodeId, ...]:
        """Return the node ids of every voter of a live configuration, in order."""
        live = self.live(decided_through)
        return tuple(sorted({voter.node for each in live for voter in each.voters}))

    def member_nodes(self, decided_through: Slot) -> tuple[NodeId, ...]:
        """Return the node ids of every member of a live configuration, learners too, in order."""
        live = self.live(decided_through)
        if len(live) == 1:
            return live[0].nodes
        return tuple(sorted({node for each in live for node in each.nodes}))

    def decide(self, slot: Slot, change: Change) -> bool:
        """Note a decided change. Slots must come in order, each once.

        Returns:
            Whether it stands; a change that was not made from the latest configuration is void.
        """
        if change.configuration.version != self.latest.version + 1:
            return False
        first = slot + self.alpha
        ensure(first > self._firsts[-1], f"a change at slot {slot} comes out of order")
        self._timeline.append(Governing(first, change.configuration))
        self._firsts.append(first)
        self._note_latest()
        return True

    def install(self, governing: Sequence[Governing]) -> None:
        """Take over what a snapshot says; it knows at least as much as this node does."""
        ensure(governing, "a snapshot without a configuration")
        ensure(
            all(a.first < b.first for a, b in pairwise(governing)),
            "a snapshot's configurations are out of order",
        )
        # Where the founding nodes listen no snapshot says: this node's file does.
        urls = {member.voter: member.url for member in self._founding.members}
        self._timeline = [
            Governing(first, configuration.at_addresses(urls))
            if configuration.version == self._founding.version
            else Governing(first, configuration)
            for first, configuration in governing
        ]
        self._firsts = [each.first for each in self._timeline]
        self._note_latest()

    def forget(self, through: Slot) -> None:
        """Drop configurations that govern no slot above ``through``."""
        keep = max(0, bisect_right(self._firsts, through + 1) - 1)
        del self._timeline[:keep], self._firsts[:keep]
