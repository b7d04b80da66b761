"""What a replica owes its clients: where results go, and which reads and watches wait here.

All of it is this node's alone: nothing here is replicated, and losing it costs a client a retry. It
never knows time, who leads, or what a query means. Every table is bounded per connection, so that
no client can take another's room.
"""

from __future__ import annotations

import heapq

from paxos.core.ids import ClientId, Slot
from paxos.core.limits import Limits
from paxos.core.messages import Read, Watch


class Routes:
    """Which client waits for what: sessions' results, or sessions that are being opened.

    Args:
        bound: How many things one client can wait for; the oldest is forgotten first.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._owner: dict[int, ClientId] = {}
        self._waits: dict[ClientId, dict[int, None]] = {}  # each client's, oldest first

    def add(self, client: ClientId, key: int) -> None:
        """Send what comes of ``key`` to ``client`` from now on."""
        before = self._owner.get(key)
        if before == client:
            return
        if before is not None:
            del self._waits[before][key]
        waits = self._waits.setdefault(client, {})
        if len(waits) >= self._bound:
            oldest = next(iter(waits))
            del waits[oldest], self._owner[oldest]
        waits[key] = None
        self._owner[key] = client

    def owner(self, key: int) -> ClientId | None:
        """Return the client that waits for ``key``."""
        return self._owner.get(key)

    def clients(self) -> list[ClientId]:
        """Return every client that has asked for something."""
        return list(self._waits)

    def gone(self, client: ClientId) -> None:
        """Forget a client."""
        for key in self._waits.pop(client, {}):
            del self._owner[key]


class Clients:
    """The connected clients of one node, by the number the shell gave their connections."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.sessions = Routes(limits.routes_max)  # by session id
        self.openings = Routes(limits.routes_max)  # by nonce
        self._reads: dict[ClientId, int] = {}  # how many wait, here or for a barrier
        self._waiting: list[tuple[Slot, int, ClientId, Read]] = []  # a heap, by the slot needed
        self._arrivals = 0
        self._watches: dict[ClientId, dict[int, Watch]] = {}

    def routed(self) -> list[ClientId]:
        """Return every client that has submitted something here."""
        return list(dict.fromkeys(self.openings.clients() + self.sessions.clients()))

    # --- reads ---

    def admit_read(self, client: ClientId) -> bool:
        """Count one more waiting read, unless the client has too many."""
        count = self._reads.get(client, 0)
        if count >= self._limits.reads_max:
            return False
        self._reads[client] = count + 1
        return True

    def release_read(self, client: ClientId) -> None:
        """An admitted read was answered, or sent elsewhere."""
        count = self._reads.pop(client, 0)
        if count > 1:
            self._reads[client] = count - 1

    def await_slot(self, slot: Slot, client: ClientId, read: Read) -> None:
        """Let an admitted read wait until ``slot`` is applied."""
        if client in self._reads:
            self._arrivals += 1
            heapq.heappush(self._waiting, (slot, self._arrivals, client, read))

    def reads_at(self, applied_through: Slot) -> list[tuple[ClientId, Read]]:
        """Take the reads that may be answered now, and release them."""
        ready: list[tuple[ClientId, Read]] = []
        while self._waiting and self._waiting[0][0] <= applied_through:
            _, _, client, read = heapq.heappop(self._waiting)
            self.release_read(client)
            ready.append((client, read))
        return ready

    # --- watches ---

    def add_watch(self, client: ClientId, watch: Watch) -> bool:
        """Let a watch wait, unless the client has too many."""
        watches = self._watches.setdefault(client, {})
        if len(watches) >= self._limits.watches_max and watch.number not in watches:
            return False
        watches[watch.number] = watch
        return True

    def drop_watch(self, client: ClientId, number: int) -> None:
        """The watch was answered, or nobody waits for it any more."""
        watches = self._watches.get(client, {})
        watches.pop(number, None)
        if not watches:
            self._watches.pop(client, None)

    def watches(self) -> list[tuple[ClientId, Watch]]:
        """Return every waiting watch."""
        return [(c, watch) for c, watches in self._watches.items() for watch in watches.values()]

    def gone(self, client: ClientId) -> None:
        """Forget a client."""
        self.sessions.gone(client)
        self.openings.gone(client)
        if self._reads.pop(client, None) is not None:
            self._waiting = [entry for entry in self._waiting if entry[2] != client]
            heapq.heapify(self._waiting)
        self._watches.pop(client, None)
