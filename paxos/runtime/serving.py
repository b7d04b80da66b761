"""Snapshots on their way out: read in a thread, and sent piece by piece to whoever asks.

Owns the pace: a rate for all who fetch together, a bound on what one of them has not taken, and
the size of a piece, which follows what its link carries. So a snapshot on its way never keeps
heartbeats or votes waiting long, over one megabit per second as over a loopback. Knows nothing of
what a snapshot says, nor of who fetches it or why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from paxos.core.events import Event, SnapshotSpoilt
from paxos.core.ids import ClientId, NodeId
from paxos.core.messages import SnapshotChunk, SnapshotName
from paxos.runtime.observe import logger
from paxos.storage.base import DataDamaged

if TYPE_CHECKING:
    from paxos.runtime.options import NodeOptions
    from paxos.storage.base import Storage

CHUNK_FIRST_BYTES = 32 * 1024
"""The first piece for somebody: a third of a second over one megabit per second."""

CHUNK_MIN_BYTES = 4 * 1024
"""No piece is made smaller than this for a slow link: 33 ms over one megabit per second."""

CHUNK_TIME_S = 0.05
"""What a piece should take to be asked for, read, carried and stored: half a heartbeat interval."""

REQUESTS_MAX = 4
"""Requests of one fetcher that wait; more are dropped, and asked for again."""

BURST_S = 0.05
"""So much of the rate may be used at once after a pause."""

OUTBOX_CHECK_S = 0.005
"""How often an outbox that is too full is looked at again."""


class Fetcher(NamedTuple):
    """Who fetches: a peer by its node id, or a client by the number of its connection."""

    is_client: bool
    id: NodeId | ClientId


class _Request(NamedTuple):
    name: SnapshotName
    offset: int


@dataclass(slots=True)
class _Pace:
    """How large the pieces for one fetcher are."""

    size: int = CHUNK_FIRST_BYTES
    sent_at: float = 0.0
    due: _Request | None = None
    """What it will ask for once it has the last piece."""
    ahead: tuple[_Request, bytes] | None = None
    """That piece, read before it is asked for."""
    waiting: deque[_Request] = field(default_factory=deque)


class SnapshotServer:
    """Carries out ``ServeSnapshot``, and the same for clients.

    Args:
        storage: Where the snapshots are.
        options: The rate and the bound on an outbox.
        chunk_bytes_max: The largest piece.
        node: For the log.
        send: Sends a piece; False if the fetcher is gone.
        unsent_bytes: What a fetcher has not taken yet.
        tell: Hears of a snapshot here that is found damaged.
    """

    def __init__(
        self,
        storage: Storage,
        options: NodeOptions,
        chunk_bytes_max: int,
        node: NodeId,
        *,
        send: Callable[[Fetcher, SnapshotChunk], bool],
        unsent_bytes: Callable[[Fetcher], int],
        tell: Callable[[Event], None],
    ) -> None:
        self._storage = storage
        self._rate = options.snapshot_bytes_per_s
        self._unsent_bytes_max = options.snapshot_unsent_bytes_max
        self._chunk_bytes_max = chunk_bytes_max
        self._send = send
        self._unsent_bytes = unsent_bytes
        self._tell = tell
        self._log = logger(node=node)
        self._paces: dict[Fetcher, _Pace] = {}
        self._turns: deque[Fetcher] = deque()  # those with requests that wait, each once
        self._bell = trio.Event()
        self._free_at = 0.0  # when the rate has caught up with what was sent
        self.bytes_sent = 0

    def ask(self, fetcher: Fetcher, name: SnapshotName, offset: int) -> None:
        """Have a piece sent. An empty one says that the snapshot is not here (any more)."""
        pace = self._paces.setdefault(fetcher, _Pace())
        request = _Request(name, offset)
        if request == pace.due:
            took_s = trio.current_time() - pace.sent_at
            if took_s < CHUNK_TIME_S / 2:
                pace.size = min(2 * pace.size, self._chunk_bytes_max)
            elif took_s > 2 * CHUNK_TIME_S:
                pace.size = max(pace.size // 2, min(CHUNK_MIN_BYTES, self._chunk_bytes_max))
            pace.due = None
        if request in pace.waiting or len(pace.waiting) >= REQUESTS_MAX:
            return
        if not pace.waiting:
            self._turns.append(fetcher)
        pace.waiting.append(request)
        self._bell.set()

    def forget(self, fetcher: Fetcher) -> None:
        """Forget a fetcher whose connection is gone."""
        pace = self._paces.pop(fetcher, None)
        if pace is not None and pace.waiting:
            self._turns.remove(fetcher)

    async def run(self) -> None:
        """Serve until cancelled, one piece at a time, each fetcher in its turn."""
        while True:
            if not self._turns:
                self._bell = trio.Event()
                await self._bell.wait()
            await trio.sleep(max(0.0, self._free_at - BURST_S - trio.current_time()))
            fetcher = self._next_turn()
            if fetcher is None:
                await trio.sleep(OUTBOX_CHECK_S)
                continue
            pace = self._paces[fetcher]
            request = pace.waiting.popleft()
            if pace.waiting:
                self._turns.append(fetcher)
            await self._serve(fetcher, pace, request)

    def _next_turn(self) -> Fetcher | None:
        """Take the next fetcher whose outbox has room."""
        for _ in range(len(self._turns)):
            fetcher = self._turns.popleft()
            if self._unsent_bytes(fetcher) < self._unsent_bytes_max:
                return fetcher
            self._turns.append(fetcher)
        return None

    async def _serve(self, fetcher: Fetcher, pace: _Pace, request: _Request) -> None:
        ahead, pace.ahead = pace.ahead, None
        data = await self._read(pace, request) if ahead is None or ahead[0] != request else ahead[1]
        if self._paces.get(fetcher) is not pace:
            return  # its connection went meanwhile
        now = trio.current_time()
        self._free_at = max(self._free_at, now) + len(data) / self._rate
        pace.sent_at, pace.due = now, _Request(request.name, request.offset + len(data))
        if self._send(fetcher, SnapshotChunk(request.name, request.offset, data)):
            self.bytes_sent += len(data)
        if data and not self._turns and pace.due.offset < request.name.size:
            # While this piece is on its way, and nobody else waits for one.
            due = pace.due
            pace.ahead = due, await self._read(pace, due)

    async def _read(self, pace: _Pace, request: _Request) -> bytes:
        """Return a piece; an empty one if the snapshot is not here, or not sound."""
        name, offset = request
        length = max(0, min(pace.size, self._chunk_bytes_max, name.size - offset))
        try:
            return await trio.to_thread.run_sync(self._storage.read_snapshot, name, offset, length)
        except LookupError:
            self._log.info("snapshot asked for is gone", through=name.through)
        except DataDamaged as error:
            self._log.error("snapshot damaged", through=name.through, why=str(error))
            self._tell(SnapshotSpoilt(name))
        return b""
