"""Invariant 8 over changes: which configuration governs which slot, by what was chosen alone.

The one timeline outside the product. It is written from the ledger, in slot order, and never asks a
node; what nodes believe is held against it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from jepsen_like.sim.invariants.quorums import require_meeting
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from paxos.core.config import Configuration, Configurations, Governing, Part
from paxos.core.ids import Slot, Voter
from paxos.core.value import Value


class Timeline:
    """Every configuration that ever governed or will.

    Args:
        founding: Who votes from slot 1 on.
        alpha: How many slots after its own a change governs.
        marks: Takes note of rare states.

    Attributes:
        alpha: As given.
        latest: The latest one chosen; it may not govern yet.
        latest_first: Its first slot.
    """

    def __init__(self, founding: Configuration, alpha: int, marks: Marks) -> None:
        require_meeting(founding)
        self.alpha = alpha
        self.latest = founding
        self.latest_first: Slot = 1
        self._marks = marks
        self._all = [Governing(1, founding)]
        self._firsts = [1]

    def at(self, slot: Slot) -> Configuration:
        """Return the configuration that governs a slot."""
        if slot >= self.latest_first:
            return self.latest
        return self._all[bisect_right(self._firsts, slot) - 1].configuration

    def governing(self, through: Slot) -> tuple[Governing, ...]:
        """Return what governs the slots in (through, + alpha], with its first slots."""
        if through + 1 >= self.latest_first:
            return (self._all[-1],)
        start = bisect_right(self._firsts, through + 1) - 1
        return tuple(self._all[start : bisect_right(self._firsts, through + self.alpha)])

    def live(self, decided_through: Slot) -> tuple[Configuration, ...]:
        """Return every configuration that governs a slot in (decided_through, + alpha]."""
        if decided_through + 1 >= self.latest_first:
            return (self.latest,)
        return tuple(each.configuration for each in self.governing(decided_through))

    def since(self, slot: Slot) -> list[Configuration]:
        """Return every configuration that governs ``slot`` or one above it."""
        start = bisect_right(self._firsts, slot) - 1
        return [each.configuration for each in self._all[start:]]

    @property
    def every(self) -> list[Governing]:
        """Every configuration that was chosen, with its first slot."""
        return self._all

    def first_of(self, configuration: Configuration) -> Slot | None:
        """Return from which slot on a configuration governs, or None if it was never chosen."""
        firsts = (each.first for each in self._all if each.configuration == configuration)
        return next(firsts, None)

    def chosen(self, slot: Slot, value: Value) -> None:
        """A value was chosen. Slots come in order."""
        if value.change is None:
            return
        configuration, before = value.change.configuration, self.latest
        if configuration.version != before.version + 1:
            self._marks.hit("change was void")
            return
        require_meeting(configuration)
        known = {member.node: member.incarnation for member in before.members}
        for member in configuration.members:
            same = known.get(member.node, member.incarnation) == member.incarnation
            fresh = member.node in known or member.node >= before.next_node
            text = "version {} names n{} with an id or an incarnation that another node had"
            require(same and fresh, 8, text, configuration.version, member.node)
        text = "version {} forgets that ids through n{} were given out"
        least = before.next_node
        require(configuration.next_node >= least, 8, text, configuration.version, least - 1)
        self._mark(configuration, before)
        self.latest, self.latest_first = configuration, slot + self.alpha
        self._all.append(Governing(self.latest_first, configuration))
        self._firsts.append(self.latest_first)

    def _mark(self, configuration: Configuration, before: Configuration) -> None:
        hit = self._marks.hit
        hit("configuration was changed")
        voters, earlier = configuration.quorums.voters, before.quorums.voters
        if voters and not voters & earlier:
            hit("all voters were changed at once")
        if voters == earlier and configuration.quorums != before.quorums:
            hit("quorums were changed")
        if any(member.part is Part.WITNESS for member in configuration.members):
            hit("witness was a voter")

    def agrees(self, voter: Voter, decided_through: Slot, believed: Configurations) -> None:
        """A node that knows this much decided believes this of who governs."""
        mine = self.governing(decided_through)
        theirs = believed.governing(decided_through)
        text = "{} knows slots decided through {} and takes {} to govern after it, which is {}"
        require(
            mine == theirs,
            8,
            text,
            voter,
            decided_through,
            _names(theirs),
            _names(mine),
        )


def _names(governing: Iterable[Governing]) -> str:
    return ", ".join(f"v{each.configuration.version} from {each.first} on" for each in governing)
