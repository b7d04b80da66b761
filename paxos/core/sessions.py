"""The session table: what makes a retry harmless. Replicated: equal on every node at equal slots.

It guards invariant 9 (each (session, request number) is applied at most once). Ids come from a
replicated counter, so an id that is not in the table was evicted (or never existed), and its
requests are never applied. It never knows time: least recently used means in log order.

After Ongaro, "Consensus: Bridging Theory and Practice", section 6.3, with a window of results per
session instead of the last one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from paxos.core.ids import RequestNumber, SessionId
from paxos.core.messages import Result


class Session:
    """One client's requests above what it has acknowledged."""

    __slots__ = ("acked_through", "results")

    def __init__(self) -> None:
        self.acked_through: RequestNumber = 0
        self.results: dict[RequestNumber, Result] = {}

    def acknowledge(self, through: RequestNumber) -> None:
        """Forget the results at or below ``through``: the client will not ask for them again."""
        before = self.acked_through
        if through <= before:
            return
        self.acked_through = through
        if through - before <= len(self.results):
            for request in range(before + 1, through + 1):
                self.results.pop(request, None)
        else:
            self.results = {r: v for r, v in self.results.items() if r > through}


class SessionTable:
    """All sessions, the least recently used first.

    Args:
        sessions_max: How many are kept. Must be equal on every node.
    """

    def __init__(self, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: dict[SessionId, Session] = {}
        self._last_id: SessionId = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self) -> SessionId:
        """Make a session, and evict the least recently used one if the table is full."""
        if len(self._sessions) >= self._sessions_max:
            del self._sessions[next(iter(self._sessions))]
        self._last_id += 1
        self._sessions[self._last_id] = Session()
        return self._last_id

    def use(self, session_id: SessionId) -> Session | None:
        """Return the session and make it the most recently used; None if it is not there."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._sessions[session_id] = session
        return session

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole table as bytes; equal tables yield equal bytes."""
        yield struct.pack(">QQ", self._last_id, len(self._sessions))
        for session_id, session in self._sessions.items():
            head = struct.pack(">QQQ", session_id, session.acked_through, len(session.results))
            results = b"".join(
                struct.pack(">QBQQ", request, status, slot, len(data)) + data
                for request, status, slot, data in sorted(session.results.values())
            )
            yield head + results
