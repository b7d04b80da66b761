"""A simulated node's desk for snapshots: it saves, serves and fetches them, a little at a time.

It carries out ``SaveSnapshot``, ``ServeSnapshot`` and ``StoreChunk`` as the runtime does: the parts
of a snapshot are asked for over a while, in which the node goes on; it is named only once it is
durable; what was fetched is compared with its name. It decides nothing about which and when.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jepsen_like.sim.invariants import Violation
from jepsen_like.sim.world import World
from paxos import snapshot_format
from paxos.core.effects import ServeSnapshot, StoreChunk
from paxos.core.events import (
    Event,
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
)
from paxos.core.ids import NodeId
from paxos.core.messages import PeerMessage, SnapshotChunk, SnapshotName
from paxos.core.snapshot import Snapshot
from paxos.storage.base import DataDamaged, StorageFailed, StorageFull

if TYPE_CHECKING:
    from jepsen_like.sim.disk import NodeDisk
    from paxos.storage.base import SnapshotWriter

PIECES = (1, 1, 2, 5, 50)
"""How many pieces are made at once."""

PAUSE_S = 0.02
"""Longest time between two such moments."""

CHECK_S = 0.5
"""Longest time that the check of what was fetched takes: it may be of gigabytes."""


def recall(disk: NodeDisk, name: SnapshotName) -> Snapshot:
    """Return a durable snapshot; its parts are read from the disk when they are asked for."""

    def read_at(offset: int, length: int) -> bytes:
        return disk.read_snapshot(name, offset, length)

    return snapshot_format.read(name.size, read_at)


class SnapshotDesk:
    """The snapshots of one life of a node.

    Args:
        world: Time.
        rng: How long things take, and where a crash finds them.
        disk: Where snapshots lie.
        tell: Hands an event to the replica.
        send: Sends a message to a peer.
        fail: The disk failed: the process ends.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        disk: NodeDisk,
        tell: Callable[[Event], None],
        send: Callable[[NodeId, PeerMessage], None],
        fail: Callable[[], None],
    ) -> None:
        self.paused = False
        self._world = world
        self._rng = rng
        self._disk = disk
        self._tell = tell
        self._send = send
        self._fail = fail
        self._open = True
        # What is being saved.
        self._saving: Snapshot | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._draft: SnapshotWriter | None = None
        self._finishing = False
        # What is being fetched.
        self._fetching: SnapshotName | None = None
        self._fetched: SnapshotWriter | None = None

    def crash(self) -> None:
        """The process ends; what was about to be made durable may just have become so."""
        self._open = False
        if self._finishing and self._draft is not None and self._rng.random() < 0.5:
            self._disk.finish_in_crash(self._draft, self._rng)

    def _after(self, delay: float, act: Callable[[], None]) -> None:
        self._world.after(delay, self._act, act)

    def _act(self, act: Callable[[], None]) -> None:
        if not self._open:
            return
        if self.paused:
            self._after(PAUSE_S, act)
            return
        try:
            act()
        except StorageFailed:
            self._open = False
            self._fail()

    def _sync_s(self) -> float:
        return self._rng.uniform(*self._world.plan.sync_s)

    # --- the node's own ---

    def save(self, snapshot: Snapshot) -> None:
        """Begin to save a snapshot of this moment."""
        if self._saving is not None:
            raise Violation(0, f"snapshot {snapshot.head.through} while one is being saved")
        self._saving = snapshot
        self._after(self._rng.random() * PAUSE_S, self._begin)

    def _begin(self) -> None:
        if self._saving is None:
            return
        try:
            self._draft = self._disk.begin_snapshot(self._saving.head.through)
        except StorageFull:
            self._give_up()
            return
        self._pieces = snapshot_format.encode(self._saving)
        self._go_on()

    def _go_on(self) -> None:
        draft = self._draft
        if draft is None:
            return
        try:
            for _ in range(self._rng.choice(PIECES)):
                piece = next(self._pieces, None)
                if piece is None:
                    self._finishing = True
                    self._after(self._sync_s(), self._finish)
                    return
                draft.write(piece)
        except StorageFull:
            draft.abandon()
            self._give_up()
            return
        self._after(self._rng.random() * PAUSE_S, self._go_on)

    def _finish(self) -> None:
        draft, self._draft, self._finishing = self._draft, None, False
        if draft is None:
            return
        try:
            name = draft.finish()
        except StorageFull:
            draft.abandon()
            self._give_up()
            return
        self._saving = None
        self._world.effects["snapshot saved"] += 1
        self._tell(SnapshotSaved(name))

    def _give_up(self) -> None:
        saving, self._saving, self._draft, self._finishing = self._saving, None, None, False
        if saving is not None:
            self._tell(SnapshotNotSaved(saving.head.through))

    # --- for others ---

    def serve(self, effect: ServeSnapshot) -> None:
        """Send a piece of a snapshot, when there is time for it."""
        self._after(self._rng.random() * PAUSE_S, lambda: self._serve(effect))

    def _serve(self, effect: ServeSnapshot) -> None:
        name, offset = effect.name, effect.offset
        most = self._world.plan.limits.snapshot_chunk_bytes
        length = self._rng.choice((most, most, max(1, most // 2)))
        try:
            data = self._disk.read_snapshot(name, offset, length)
        except LookupError:
            data = b""
        except DataDamaged:
            data = b""
            self._tell(SnapshotSpoilt(name))
        self._send(effect.to, SnapshotChunk(name, offset, data))

    # --- from others ---

    def store(self, chunk: StoreChunk) -> None:
        """Keep a piece of a fetched snapshot."""
        name = chunk.name
        try:
            if chunk.offset == 0:
                self._begin_fetch(name)
            fetched = self._fetched
            if fetched is None or name != self._fetching or chunk.offset != fetched.size:
                return
            fetched.write(chunk.data)
        except StorageFull:
            self._drop_fetch()
            self._tell(SnapshotSpoilt(name))
            return
        if fetched.size >= name.size:
            checked_s = self._rng.choice((0.0, 0.0, CHECK_S)) * self._rng.random()
            self._after(self._sync_s() + checked_s, lambda: self._arrive(name))

    def _begin_fetch(self, name: SnapshotName) -> None:
        self._drop_fetch()
        self._fetched = self._disk.begin_snapshot(name.through)
        self._fetching = name

    def _drop_fetch(self) -> None:
        fetched, self._fetched, self._fetching = self._fetched, None, None
        if fetched is not None:
            fetched.abandon()

    def _arrive(self, name: SnapshotName) -> None:
        fetched = self._fetched
        if fetched is None or name != self._fetching or fetched.size < name.size:
            return
        if fetched.size != name.size or fetched.digest != name.digest:
            self._drop_fetch()
            self._tell(SnapshotSpoilt(name))
            return
        self._fetched = self._fetching = None
        try:
            fetched.finish()
        except StorageFull:
            fetched.abandon()
            self._tell(SnapshotSpoilt(name))
            return
        try:
            snapshot = recall(self._disk, name)
        except LookupError:
            # This node's own have become newer meanwhile.
            self._tell(SnapshotSpoilt(name))
            return
        self._world.effects["snapshot fetched"] += 1
        self._tell(SnapshotFetched(name, snapshot))
