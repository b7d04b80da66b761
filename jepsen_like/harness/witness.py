"""Whether what clients were told is true, with the decided log as the witness.

An operation takes effect at its slot. So a history is linearizable if every answer is the log's at
its slot, and no operation's slot lies below that of one that had ended before it began: the log
itself is the order that linearizability asks for, found in linear time.
"""

from __future__ import annotations

from jepsen_like.harness import promises
from jepsen_like.harness.hosted import Answer, Reference
from jepsen_like.harness.promises import keep, shown
from paxos.core.ids import Slot


class Witness:
    """Judges answers as clients get them.

    Args:
        reference: The log and what is right by it.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._ended_through: Slot = 0
        self._refused: list[tuple[int, bytes]] = []

    def begins(self) -> Slot:
        """An operation begins. Returns the slot it must not reflect less than."""
        return self._ended_through

    def done(
        self, client: str, number: int, command: bytes, floor: Slot, slot: Slot, answer: Answer
    ) -> None:
        """A client is told that its command ran."""
        place = self._reference.place.get(number)
        text = "{} is told that {} ran in slot {}, but no node has run it"
        known = place is not None
        keep(known, promises.DONE_STAYS_DONE, text, client, shown(command), slot)
        right = self._reference.log[place or 0]
        text = "{} is told that {} gave {} in slot {}, but it gave {} in slot {}"
        facts = (client, shown(command), answer, slot, right.answer, right.at.slot)
        same = (slot, answer) == (right.at.slot, right.answer)
        keep(same, promises.DONE_STAYS_DONE, text, *facts)
        text = "{}'s {} took effect in slot {}, but what was done in slot {} had ended before"
        keep(slot > floor, promises.LINEARIZABLE, text, client, shown(command), slot, floor)
        self._ended_through = max(self._ended_through, slot)

    def refused(self, number: int, command: bytes) -> None:
        """A client is told that its command did not and will not run."""
        self._refused.append((number, command))

    def read(
        self, client: str, query: bytes, floor: Slot, slot: Slot, answer: Answer, *, latest: bool
    ) -> None:
        """A question is answered with the state at ``slot``; ``floor`` is its level's bound."""
        text = "{}'s read of {} reflects slot {}, but it must see slot {}"
        keep(slot >= floor, promises.LINEARIZABLE, text, client, shown(query), slot, floor)
        right = self._reference.query(query, self._reference.applied(slot))
        text = (
            "{} reads {} at slot {} and is told {}; a machine that ran the same log alone says {}"
        )
        facts = (client, shown(query), slot, answer, right)
        keep(answer == right, promises.SAME_RUN_SAME_ANSWERS, text, *facts)
        if latest:
            self._ended_through = max(self._ended_through, slot)

    def told(self, client: str, query: bytes, slot: Slot, answer: Answer) -> None:
        """A watch is answered with the state at ``slot``."""
        right = self._reference.watch(query, self._reference.applied(slot))
        text = "{} watches {} and is told {} at slot {}; a machine that ran the same log says {}"
        facts = (client, shown(query), answer, slot, right or "nothing yet")
        keep(answer == right, promises.WATCHES_TELL, text, *facts)

    def still_watches(self, client: str, query: bytes) -> None:
        """All is done, and a watch was told nothing."""
        right = self._reference.watch(query, len(self._reference.log))
        text = "{} watches {} and is told nothing, though there is {} to tell"
        keep(right is None, promises.WATCHES_TELL, text, client, shown(query), right)

    def finished(self) -> None:
        """No client waits any more: what was refused for good has not run."""
        for number, command in self._refused:
            text = "{} was refused for good, and ran"
            ran = number in self._reference.place
            keep(not ran, promises.DONE_STAYS_DONE, text, shown(command))
