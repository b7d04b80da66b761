"""A node's tasks for snapshots, put together: one saves, one fetches, one serves.

Owns which of them an effect or message is for, and holds back pieces that came while the disk is
behind. Decides nothing of its own about snapshots; the replica does, and the three keep the pace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from paxos import codec
from paxos.core.effects import SaveSnapshot, StoreChunk
from paxos.core.ids import ClientId, NodeId, Voter
from paxos.core.messages import SnapshotChunk, SnapshotName
from paxos.runtime.serving import Fetcher, SnapshotServer
from paxos.runtime.snapshots import Progress, SnapshotFetcher, SnapshotSaver, Tell

if TYPE_CHECKING:
    from paxos.core.limits import Limits
    from paxos.runtime.links import Links
    from paxos.runtime.options import NodeOptions
    from paxos.storage.base import Storage

HELD_BACK_MAX = 16
"""Pieces of a snapshot that came although the disk is behind; more are dropped, and come again."""


class SnapshotTasks:
    """What a node does about snapshots beside its passes.

    Args:
        storage: Where they are.
        options: The shell's bounds.
        limits: The core's.
        node: For the log.
        links: What pieces are sent on.
        tell: Hands an event to the replica.
        ring: Wakes the node's task.
    """

    def __init__(
        self,
        storage: Storage,
        options: NodeOptions,
        limits: Limits,
        node: NodeId,
        links: Links,
        tell: Tell,
        ring: Callable[[], None],
    ) -> None:
        self._links = links
        self._held_back: deque[tuple[Voter, SnapshotChunk]] = deque()
        self._saver = SnapshotSaver(storage, options, node, tell)
        self._fetcher = SnapshotFetcher(storage, options, node, tell, ring)
        self._server = SnapshotServer(
            storage,
            options,
            limits.snapshot_chunk_bytes,
            node,
            send=self._send,
            unsent_bytes=self._unsent_bytes,
            tell=tell,
        )

    @property
    def tasks(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What runs beside the node's task, until cancelled."""
        return (self._saver.run, self._fetcher.run, self._server.run)

    # --- what the replica wants -------------------------------------------------------------------

    def save(self, effect: SaveSnapshot) -> None:
        """Carry it out."""
        self._saver.save(effect.snapshot)

    def store(self, effect: StoreChunk) -> None:
        """Carry it out."""
        self._fetcher.store(effect)

    def serve_peer(self, to: NodeId, name: SnapshotName, offset: int) -> None:
        """Send a piece to a peer."""
        self._server.ask(Fetcher(False, to), name, offset)

    # --- what others want -------------------------------------------------------------------------

    def serve_client(self, to: ClientId, name: SnapshotName, offset: int) -> None:
        """Send a piece to a client, which says by the offset at the end that it has it all."""
        if offset < name.size:
            self._server.ask(Fetcher(True, to), name, offset)

    def forget_peer(self, peer: NodeId) -> None:
        """Its connection is gone."""
        self._server.forget(Fetcher(False, peer))

    def forget_client(self, client: ClientId) -> None:
        """Its connection is gone."""
        self._server.forget(Fetcher(True, client))

    def hold_back(self, peer: Voter, chunk: SnapshotChunk) -> bool:
        """Whether a piece that came is not for the replica yet, because the disk is behind."""
        if not self._fetcher.congested:
            return False
        # One is asked for at a time. A peer that sends more has its pieces dropped.
        if len(self._held_back) < HELD_BACK_MAX:
            self._held_back.append((peer, chunk))
        return True

    def take_held_back(self) -> Iterator[tuple[Voter, SnapshotChunk]]:
        """Yield pieces that were held back, for as long as the disk keeps up."""
        while self._held_back and not self._fetcher.congested:
            yield self._held_back.popleft()

    # --- telling ----------------------------------------------------------------------------------

    @property
    def saving(self) -> Progress | None:
        """How far a snapshot of this node has come."""
        return self._saver.progress

    @property
    def fetching(self) -> Progress | None:
        """How far a snapshot from a peer has come."""
        return self._fetcher.progress

    @property
    def trouble(self) -> str:
        """Why the last snapshot was not saved or taken; empty if it was."""
        return self._saver.trouble or self._fetcher.trouble

    @property
    def served_bytes(self) -> int:
        """Sent, to peers and clients."""
        return self._server.bytes_sent

    # --- sending ----------------------------------------------------------------------------------

    def _send(self, fetcher: Fetcher, chunk: SnapshotChunk) -> bool:
        frames = [codec.encode(chunk)]
        if fetcher.is_client:
            return self._links.reply(fetcher.id, frames)
        return self._links.send(fetcher.id, frames)

    def _unsent_bytes(self, fetcher: Fetcher) -> int:
        if fetcher.is_client:
            return self._links.client_unsent_bytes(fetcher.id)
        return self._links.peer_unsent_bytes(fetcher.id)
