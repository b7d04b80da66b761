"""Room on disk: reserved ahead of the log, and what compaction made needless removed, in a thread.

Owns when the storage is asked to reserve, and the verdict that the disk is full. Knows nothing of
what is written, and of the replica only that it must be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from paxos.runtime.observe import logger
from paxos.storage.base import StorageFull

if TYPE_CHECKING:
    from paxos.core.ids import NodeId
    from paxos.runtime.writer import Writer
    from paxos.storage.base import Storage

RESERVE_EVERY_BYTES = 1024 * 1024
"""Space ahead is looked at again after this much was written: cheap beside writing it."""


class RoomKeeper:
    """Keeps space ahead of the log.

    Args:
        storage: The log.
        writer: What is written, and compacted.
        room_min: With less room than this, in bytes, the disk counts as full.
        retry_s: A full disk is looked at again this often.
        node: For the log.
        changed: Called when ``full`` may have changed, or what waits for room may be written.
    """

    def __init__(
        self,
        storage: Storage,
        writer: Writer,
        room_min: int,
        retry_s: float,
        node: NodeId,
        changed: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._writer = writer
        self._room_min = room_min
        self._retry_s = retry_s
        self._log = logger(node=node)
        self._changed = changed
        self._reserved_at = 0  # Writer.written_bytes when space was last reserved
        self._compactions = 0  # Writer.compactions likewise
        self._wanted = trio.Event()
        self.full = False
        """Whether there is too little room for another vote."""

    def look(self) -> None:
        """Have space reserved if it is time; called after every pass of the node."""
        writer = self._writer
        if (
            writer.written_bytes - self._reserved_at >= RESERVE_EVERY_BYTES
            or writer.compactions != self._compactions
            or self._storage.room_bytes < self._room_min
        ):
            self._reserved_at = writer.written_bytes
            self._compactions = writer.compactions
            self._wanted.set()

    async def run(self) -> None:
        """Reserve space ahead of the log, on a thread: once at the start, then when asked.

        Raises:
            StorageFailed: Fatal.
        """
        while True:
            self._wanted = trio.Event()
            why = None
            try:
                await trio.to_thread.run_sync(self._storage.reserve)
            except StorageFull as error:
                why = str(error)
            room_bytes = self._storage.room_bytes
            full = room_bytes < self._room_min
            if full and why is None and self._writer.outstanding:
                # Seen in the middle of a write on the other thread, which may be changing over to
                # the space that was reserved: to be looked at again after it.
                full = self.full
            self._note(full, why or f"room for {room_bytes} bytes")
            if why is None and not self.full:
                await self._wanted.wait()
            else:
                await trio.sleep(self._retry_s)

    def _note(self, full: bool, why: str) -> None:
        if full and not self.full:
            self._log.error("disk full", why=why)
        elif self.full and not full:
            self._log.info("disk has room again")
        self.full = full
        self._changed()
