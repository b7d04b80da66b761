"""The session table: what makes a retry harmless. Replicated: equal on every node at equal slots.

It guards invariant 9 (each (session, request number) is applied at most once). Ids come from a
replicated counter, so an id that is not in the table was evicted (or never existed), and its
requests are never applied. It never knows time: least recently used means in log order.

After Ongaro, "Consensus: Bridging Theory and Practice", section 6.3, with a window of results per
session instead of the last one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from paxos.core.errors import ensure
from paxos.core.ids import RequestNumber, SessionId
from paxos.core.messages import Result

_TABLE = struct.Struct(">QQ")  # the last id, how many sessions
_SESSION = struct.Struct(">QQQ")  # id, acked_through, how many results
_RESULT = struct.Struct(">QBQQ")  # request, status, slot, length of the data behind it

CHUNK_BYTES = 64 * 1024
"""A chunk of the table is given away once it has so many bytes. Part of the snapshots' bytes."""


class Session:
    """One client's requests above what it has acknowledged."""

    __slots__ = ("acked_through", "results")

    def __init__(self, acked_through: RequestNumber = 0) -> None:
        self.acked_through = acked_through
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

    def copy(self) -> Session:
        """Return a session that no longer changes with this one."""
        made = Session(self.acked_through)
        made.results = dict(self.results)
        return made


class SessionTable:
    """All sessions, the least recently used first.

    Args:
        sessions_max: How many are kept. Must be equal on every node.
    """

    def __init__(self, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: dict[SessionId, Session] = {}
        self._last_id: SessionId = 0
        self._capture: Capture | None = None  # the one that is still being read

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
            if self._capture is not None:
                self._capture.keep(session_id, session)
        return session

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole table as it is now; equal tables yield equal bytes.

        To be read before the table changes; ``capture`` has no such haste.
        """
        return encode_table(self._last_id, self._sessions, {})

    def capture(self) -> Iterable[bytes]:
        """Return the chunks of the table as of this moment, however late they are read, once.

        Costs a reference per session now, and a copy of each session that is used before its turn
        has come. Only the latest capture may be read.
        """
        if self._capture is not None:
            self._capture.is_latest = False
        self._capture = Capture(self, self._last_id, dict(self._sessions))
        return self._capture

    def release(self, capture: Capture | None = None) -> None:
        """Keep nothing more for ``capture``, or for any: it is read, or never will be."""
        if capture is None or self._capture is capture:
            self._capture = None

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole table by what ``chunks`` or ``capture`` of an equal one yielded.

        Raises:
            InvariantBroken: They are not what a table yields.
        """
        reader = _Reader(chunks)
        self._last_id, count = _TABLE.unpack(reader.take(_TABLE.size))
        self._sessions = {}
        self._capture = None
        for _ in range(count):
            session_id, acked_through, results = _SESSION.unpack(reader.take(_SESSION.size))
            session = self._sessions[session_id] = Session(acked_through)
            for _ in range(results):
                request, status, slot, length = _RESULT.unpack(reader.take(_RESULT.size))
                session.results[request] = Result(request, status, slot, reader.take(length))
        ensure(reader.at_end(), "the session table in the snapshot is longer than it says")
        ensure(len(self._sessions) == count, "the session table in the snapshot repeats a session")

    def forget_all(self, skip: int) -> None:
        """Drop every session, and give none of the next ``skip`` ids to anybody.

        For a cluster that is founded from this table's snapshot: a client of the old one must find
        its session expired there, and never somebody else's.
        """
        self._sessions = {}
        self._last_id += skip


class Capture:
    """A session table as of one moment, while the table goes on.

    Iterate it once. What was used before its turn has come is kept as it was.
    """

    def __init__(
        self, table: SessionTable, last_id: SessionId, sessions: dict[SessionId, Session]
    ) -> None:
        self._table = table
        self._last_id = last_id
        self._sessions = sessions
        self._kept: dict[SessionId, Session] = {}
        self.is_latest = True

    def keep(self, session_id: SessionId, session: Session) -> None:
        """Keep a session as it is now, before it changes: unless it is a newer or a kept one."""
        if self._sessions.get(session_id) is session and session_id not in self._kept:
            self._kept[session_id] = session.copy()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in encode_table(self._last_id, self._sessions, self._kept):
            ensure(self.is_latest, "an earlier capture of the session table is still being read")
            yield chunk
        self._table.release(self)


def encode_table(
    last_id: SessionId, sessions: Mapping[SessionId, Session], kept: Mapping[SessionId, Session]
) -> Iterator[bytes]:
    """Yield a table's chunks. Where there is a ``kept`` session it stands for the present one."""
    chunk = bytearray(_TABLE.pack(last_id, len(sessions)))
    for session_id, present in sessions.items():
        session = kept.get(session_id, present)
        # In order of the request: a restored session must give the bytes of the one that was kept.
        results = sorted(session.results.values())
        chunk += _SESSION.pack(session_id, session.acked_through, len(results))
        for request, status, slot, data in results:
            chunk += _RESULT.pack(request, status, slot, len(data))
            chunk += data
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
    if chunk:
        yield bytes(chunk)


class _Reader:
    """Takes bytes off chunks, wherever those were cut."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._held):
            pieces, missing = [self._held[self._at :]], end - len(self._held)
            while missing > 0:
                piece = next(self._chunks, None)
                ensure(piece is not None, "the session table in the snapshot ends early")
                assert piece is not None
                pieces.append(piece)
                missing -= len(piece)
            self._held, self._at, end = b"".join(pieces), 0, length
        taken = self._held[self._at : end]
        self._at = end
        return taken

    def at_end(self) -> bool:
        return self._at == len(self._held) and next(self._chunks, None) is None
