"""Invariants 10, 11 and 12: what clients were told, against the log that was really run.

The log is the witness: an operation takes effect at its slot. So a history is linearizable if every
answer is the log's at its slot, and no operation's slot lies below that of one that had ended
before it began.
"""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.sim.invariants.machines import StateMachines
from jepsen_like.sim.invariants.violation import require
from jepsen_like.sim.marks import Marks
from jepsen_like.workload.registers import EDGE_CONFIG
from paxos.core.ids import Slot
from paxos.core.state_machine import Watchable
from statemachines.edge_config_client import (
    WatchBatch,
    decode_stats,
    decode_watch,
    stats_query,
    watch_query,
)


class Histories:
    """What clients asked and were told.

    Args:
        machines: The log of commands as it was run.
        marks: Takes note of rare states.
    """

    def __init__(self, machines: StateMachines, marks: Marks) -> None:
        self.ended_through: Slot = 0
        self._machines = machines
        self._marks = marks
        self._seen: dict[int, Slot] = {}  # by client: the highest slot it was told of
        self._refused: list[bytes] = []

    def begins(self) -> Slot:
        """An operation begins. Returns the slot it must not reflect less than."""
        return self.ended_through

    def seen(self, client: int) -> Slot:
        """Return the slot that a session read of a client must not reflect less than."""
        return self._seen.get(client, 0)

    def _saw(self, client: int, slot: Slot) -> None:
        if slot > self._seen.get(client, 0):
            self._seen[client] = slot

    def done(
        self, unique: bytes, floor: Slot, slot: Slot, data: bytes, failed: bool, client: int = 0
    ) -> None:
        """A client is told that its command ran."""
        index = self._machines.where.get(unique)
        require(
            index is not None, 10, "{!r} is said to be done in slot {}, and is not", unique, slot
        )
        ran = self._machines.ran[index or 0]
        same = (ran.at.slot, ran.result, ran.failed) == (slot, data, failed)
        text = "{!r} is said to have given {!r} in slot {}, but gave {!r} in slot {}"
        require(same, 10, text, unique, data, slot, ran.result, ran.at.slot)
        text = "{!r} took effect in slot {}, before {}, which had ended when it began"
        require(slot > floor, 11, text, unique, slot, floor)
        self.ended_through = max(self.ended_through, slot)
        self._saw(client, slot)

    def refused(self, command: bytes) -> None:
        """A client is told that its command did not and will not run."""
        self._refused.append(command)

    def unknown(self) -> None:
        """A client is told that nobody can say whether its command ran."""
        self._marks.hit("outcome was unknown")

    def read(
        self,
        query: bytes,
        floor: Slot,
        slot: Slot,
        data: bytes,
        linearizable: bool,
        client: int = 0,
    ) -> None:
        """A read is answered with the state at ``slot``; ``floor`` is its level's bound."""
        text = "a read of {!r} reflects slot {}, but {} was its bound when it began"
        require(slot >= floor, 11, text, query, slot, floor)
        text = "a read of {!r} at slot {} says {!r}, the log says {!r}"
        expected = self._machines.value_at(query, slot)
        require(data == expected, 11, text, query, slot, data, expected)
        if linearizable:
            self.ended_through = max(self.ended_through, slot)
        self._saw(client, slot)

    def resumed(self) -> None:
        """A watch is answered on another connection than it was asked on."""
        self._marks.hit("watch resumed over a reconnect")

    def told(self, key: bytes, start: int, elements: Sequence[bytes]) -> None:
        """A watch that asked for a list's elements from ``start`` on is answered."""
        expected = self._machines.lists.get(key, [])[start : start + len(elements)]
        text = "a watch of {!r} from {} tells {!r}, the log says {!r}"
        require(elements and expected == list(elements), 12, text, key, start, elements, expected)

    def told_changes(self, pattern: str, after: int, batch: WatchBatch) -> None:
        """A watch of the edge configuration from a revision on is answered."""
        model = self._machines.models[EDGE_CONFIG]
        answer = model.watch(watch_query(pattern, after)) if isinstance(model, Watchable) else None
        known = () if answer is None else decode_watch(answer).events
        expected = tuple(event for event in known if event.revision <= batch.revision)
        text = "a watch of {!r} after revision {} tells {}, the log says {}"
        require(batch.events == expected, 12, text, pattern, after, batch, expected)
        if not pattern:
            # Whatever made the model's answer: of everything, no revision is left out or repeated.
            revisions = [event.revision for event in batch.events]
            wanted = list(range(after + 1, batch.revision + 1))
            whole = sorted(revisions) == revisions and sorted(set(revisions)) == wanted
            text = "a watch of everything after revision {} tells of revisions {} through {}"
            require(whole, 12, text, after, revisions, batch.revision)

    def revision(self) -> int:
        """Return the edge configuration's revision by now."""
        return decode_stats(self._machines.models[EDGE_CONFIG].query(stats_query())).revision

    def length(self, key: bytes) -> int:
        """Return how many elements a list has by now."""
        return len(self._machines.lists.get(key, ()))

    def finished(self) -> None:
        """No client waits any more."""
        for command in self._refused:
            text = "{!r} was refused for good, and ran"
            require(command not in self._machines.where, 11, text, command)
