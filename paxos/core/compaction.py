"""Compaction: when a snapshot is due, which ones are durable, and what peers still need.

It guards invariant 5's "compacted_through <= snapshot_through": what may be forgotten is bounded
here by what is durable, by what is kept for peers a little behind, and by the snapshots that peers
are fetching. It decides from the log alone *where* snapshots stand, so that all replicas have them
at the same slots. It never knows what a snapshot holds, who leads, or what the log looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paxos.core.config import Configuration
from paxos.core.ids import Instant, Slot, Voter
from paxos.core.limits import Limits
from paxos.core.messages import SnapshotName

PIN_PATIENCE_S = 60.0
"""A peer that has not asked for its next chunk for so long no longer holds compaction up."""

SNAPSHOTS_KEPT = 2
"""Durable snapshots that a storage keeps: the latest, and one that a peer may still be fetching."""


class Compaction:
    """What one node has saved, and when it saves next.

    A snapshot is due at each slot where the log's size since its beginning passes a multiple of
    ``snapshot_log_bytes``, or its slots one of ``snapshot_entries``. Both are doubled until the log
    between two snapshots is as large as the last snapshot: writing it again costs no more than
    the log itself did. All of that is replicated.

    Args:
        limits: Bounds.
        latest: The latest durable snapshot at start, if there is one that holds state.
        log_bytes: Size of the log through it.
    """

    def __init__(self, limits: Limits, latest: SnapshotName | None, log_bytes: int) -> None:
        self._limits = limits
        self._names: list[SnapshotName] = [] if latest is None else [latest]
        self._covered: Slot = 0 if latest is None else latest.through
        self._saving: Slot = 0
        self._due_slot: Slot = 0
        self._due_bytes = 0
        self._pins: dict[Voter, tuple[Slot, float]] = {}  # who fetches what, and asked last when
        self._aim(self._covered, log_bytes)

    @property
    def latest(self) -> SnapshotName | None:
        """The latest durable snapshot that holds state."""
        return self._names[-1] if self._names else None

    @property
    def covered(self) -> Slot:
        """Everything through this slot is in something durable other than this node's log."""
        return self._covered

    @property
    def saving(self) -> Slot:
        """The slot of the snapshot that is being written, 0 for none."""
        return self._saving

    def has(self, name: SnapshotName) -> bool:
        """Whether this snapshot is durable here and can be served."""
        return name in self._names

    # --- when ---

    def is_due(self, slot: Slot, log_bytes: int) -> bool:
        """Whether a snapshot is to be taken now that ``slot`` is applied. Asked once for each slot.

        One that is due is passed over while another is under way, and while a peer fetches one that
        would be given up for it.
        """
        if slot < self._due_slot and log_bytes < self._due_bytes:
            return False
        self._aim(slot, log_bytes)
        latest = self._names[-1].through if self._names else 0
        return not self._saving and all(pinned >= latest for pinned, _ in self._pins.values())

    def began(self, through: Slot) -> None:
        """A snapshot at ``through`` is being written."""
        self._saving = through

    def ended(self) -> None:
        """It is written, or there was no room for it."""
        self._saving = 0

    def saved(self, name: SnapshotName, slot: Slot, log_bytes: int) -> None:
        """``name`` is durable, fetched or written; ``slot`` is applied and the log so large.

        That alone ends nothing: one fetched may be of the very slot of the one that is written.
        """
        self.cover(name.through)
        latest = self.latest
        if latest is None or name.through > latest.through:
            self._names = [*self._names, name][-SNAPSHOTS_KEPT:]
            self._aim(slot, log_bytes)

    def cover(self, through: Slot) -> None:
        """Full voters hold everything through this slot, and this node the configurations above."""
        self._covered = max(self._covered, through)

    def spoilt(self, name: SnapshotName) -> bool:
        """Note that a durable snapshot cannot be read any more; return whether it was one."""
        if name not in self._names:
            return False
        self._names.remove(name)
        return True

    def _aim(self, slot: Slot, log_bytes: int) -> None:
        size = self._names[-1].size if self._names else 0
        every_bytes, every_slots = self._limits.snapshot_log_bytes, self._limits.snapshot_entries
        while every_bytes < size:
            every_bytes, every_slots = 2 * every_bytes, 2 * every_slots
        self._due_bytes = (log_bytes // every_bytes + 1) * every_bytes
        self._due_slot = (slot // every_slots + 1) * every_slots

    # --- what peers are fetching ---

    def pin(self, peer: Voter, through: Slot, now: Instant) -> None:
        """``peer`` fetches the snapshot at ``through``, and then needs every slot above it."""
        self._pins[peer] = (through, now.monotonic)

    def unpin(self, peer: Voter) -> None:
        """``peer`` has it all, or is gone."""
        self._pins.pop(peer, None)

    def pinned(self, now: Instant) -> Slot | None:
        """Return the slot above which some peer still needs the log, if there is one."""
        since = now.monotonic - PIN_PATIENCE_S
        for peer in [peer for peer, (_, asked_at) in self._pins.items() if asked_at < since]:
            del self._pins[peer]
        return min((through for through, _ in self._pins.values()), default=None)


def covered_by_voters(saved: Mapping[Voter, Slot], live: Iterable[Configuration]) -> Slot:
    """Return through which slot full voters hold the state, whatever is lost of all others.

    That is: in every live configuration those whose durable snapshots reach so far form a phase-2
    quorum. A node that keeps no state may forget so much, and no more.

    Args:
        saved: Through which slot each voter's latest durable snapshot reaches.
        live: The live configurations.
    """
    bounds: list[Slot] = []
    for configuration in live:
        slots = {v: saved[v] for v in sorted(configuration.full_voters) if v in saved}
        covered = 0
        for slot in sorted(set(slots.values()), reverse=True):
            if configuration.quorums.is_phase2({v for v, s in slots.items() if s >= slot}):
                covered = slot
                break
        bounds.append(covered)
    return min(bounds)
