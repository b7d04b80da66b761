"""From which snapshot a log goes on, once both have been read. Pure.

Owns the choice, for every back end that keeps both. It must never know how either is stored. It
guards the rule that state and log join without a gap: a snapshot is used only if the log, above it,
lacks nothing that was ever in it; else the state is lost, though no vote is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.records import Record, replay
from paxos.storage.base import Damage, Loaded
from paxos.storage.body import uncompacted


def resume(
    records: Sequence[Record],
    snapshots: Sequence[SnapshotName],
    spoilt: Sequence[str],
    compacted_through: Slot,
    complete_above: Slot,
) -> tuple[SnapshotName | None, Slot]:
    """Choose the snapshot to start from, and say up to where records are to be taken as gone.

    The latest sound one, as a rule. If that was spoilt, an older one will do, or none at all, as
    long as the log still holds every slot from there to where it was compacted, as decided: then
    nothing is lost. Otherwise the state is: no snapshot is returned, and a peer has to give one.

    Args:
        records: All that the log still holds.
        snapshots: The sound ones, the oldest first.
        spoilt: What is wrong with others.
        compacted_through: Up to here the log was compacted.
        complete_above: Of no slot above this one anything was removed yet.
    """
    if snapshots and snapshots[-1].through >= compacted_through:
        return snapshots[-1], compacted_through
    if spoilt:
        held = replay(records).held
        for snapshot in (*reversed(snapshots), None):
            through = 0 if snapshot is None else snapshot.through
            missing = range(through + 1, compacted_through + 1)
            if through >= complete_above and all(
                slot in held and held[slot].decided for slot in missing
            ):
                return snapshot, through
    return None, compacted_through


def loaded(
    records: Sequence[Record],
    snapshot: SnapshotName | None,
    compacted_through: Slot,
    findings: Sequence[str],
    unknown: Callable[[Slot], tuple[tuple[Slot, Slot], ...]],
    hides_promise: bool,
) -> Loaded:
    """Put together what ``load`` returns.

    A slot that the log has lost and the snapshot covers is decided, but its value cannot be told
    any more: it counts as compacted, with all below the snapshot, since it must never look empty.

    Args:
        records: All that the log still holds.
        snapshot: As chosen by ``resume``.
        compacted_through: Likewise.
        findings: What is wrong, if anything is.
        unknown: Returns the slots in doubt above the one that it is given.
        hides_promise: Whether a promise may be lost.
    """
    damage = None
    if findings:
        lost = unknown(compacted_through)
        if snapshot is not None and lost and lost[0][0] <= snapshot.through:
            compacted_through = snapshot.through
            lost = unknown(compacted_through)
        damage = Damage(lost, hides_promise, tuple(findings))
    kept = uncompacted(records, compacted_through) if compacted_through else records
    return Loaded(kept, damage, snapshot, compacted_through)
