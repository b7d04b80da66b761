"""Whom a node talks to: the members of every configuration that matters, and where to look first.

Owns how the cluster file's entries and the replicated configurations come together: an entry of the
file counts until a configuration says otherwise. Decides nothing about votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from paxos.core.config import FEATURE_MEMBERSHIP, Configurations, Part
from paxos.core.ids import NodeId, Slot, Voter
from paxos.runtime.links import Member

if TYPE_CHECKING:
    from paxos.core.records import Recovered


class Roll(NamedTuple):
    """Whom to talk to from now on.

    Attributes:
        version: Of the latest configuration.
        members: By node id, in order.
        next_node: Ids from this on may be of members not known here; None where there are none.
        feature: What every one of them must understand.
    """

    version: int
    members: Mapping[NodeId, Member]
    next_node: NodeId | None
    feature: int


class Membership:
    """Follows the configurations that a replica learns.

    Args:
        me: This node.
        configurations: Those of the replica, which adds to them.
        entries: The nodes of the cluster file.
    """

    def __init__(
        self, me: Voter, configurations: Configurations, entries: Mapping[NodeId, Member]
    ) -> None:
        self._me = me
        self._configurations = configurations
        self._entries = dict(entries)
        self._seen: tuple[int, bool] | None = None  # the latest version, and whether it governs
        self._urls: list[str] = []

    def changed(self, decided_through: Slot) -> Roll | None:
        """Return whom to talk to if that may have changed since the last call. Cheap if not."""
        configurations = self._configurations
        latest = configurations.latest
        seen = (latest.version, configurations.latest_first <= decided_through + 1)
        if seen == self._seen:
            return None
        self._seen = seen
        next_node = latest.next_node
        members = {node: each for node, each in self._entries.items() if node >= next_node}
        live = configurations.live(decided_through)
        for configuration in (*live, latest):
            for member in configuration.members:
                url = member.url or self._entry_url(member.voter)
                members[member.node] = Member(url, member.incarnation)
        self._urls = [each.url for node, each in sorted(members.items()) if node != self._me.node]
        return Roll(
            latest.version,
            dict(sorted(members.items())),
            None if latest.feature < FEATURE_MEMBERSHIP else next_node,
            max(configuration.feature for configuration in live),
        )

    def urls(self) -> list[str]:
        """Return where the others of the last roll listen."""
        return list(self._urls)

    def _entry_url(self, voter: Voter) -> str:
        entry = self._entries.get(voter.node)
        return entry.url if entry is not None and entry.incarnation == voter.incarnation else ""


def part_at_start(
    me: Voter, configurations: Configurations, recovered: Recovered, otherwise: Part
) -> Part:
    """Return what a node takes part in when it starts, as the latest that it remembers says.

    Args:
        me: The node.
        configurations: The founding configuration.
        recovered: What its disk still holds.
        otherwise: For a node that no configuration it remembers names: one that joins.
    """
    known = [configurations.latest]
    if recovered.snapshot is not None:
        known += [each.configuration for each in recovered.snapshot[1].head.governing]
    for configuration in reversed(known):
        member = configuration.member(me.node)
        if member is not None and member.voter == me:
            return member.part
    return otherwise
