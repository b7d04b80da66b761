"""Channels within one process: for tests, and for whole clusters inside a program.

Owns the table of who listens under which name, and nothing outside of one ``MemoryNetwork``.
Behaves like a network in everything the port says: frames wait when the other side does not take
them, a frame over the limit closes the channel, and tests can cut the link between two names.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import trio

from paxos.transport import (
    FRAME_BYTES_MAX,
    Channel,
    ChannelClosed,
    FrameInvalid,
    TransportError,
)

if TYPE_CHECKING:
    from paxos.doorbell import Doorbell

WINDOW_BYTES = 256 * 1024
"""What one side holds untaken before the other's frames wait as unsent, like a socket's buffers."""


class Listener(NamedTuple):
    """Who listens under a name."""

    doorbell: Doorbell
    accept: Callable[[Channel], None]
    frame_bytes_max: int


class MemoryNetwork:
    """Names, who listens under them, and which of them cannot reach each other.

    Belongs to one thread. Two networks know nothing of each other.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, Listener] = {}
        self._open: dict[MemoryChannel, frozenset[str]] = {}
        """The dialling end of every open pair, with both names."""
        self._cuts: set[frozenset[str]] = set()
        self._unnamed = 0

    def transport(self, name: str, frame_bytes_max: int = FRAME_BYTES_MAX) -> MemoryTransport:
        """Return a transport whose connections come from ``name``, for ``cut``."""
        return MemoryTransport(self, name, frame_bytes_max)

    def cut(self, one: str, other: str) -> None:
        """Close every channel between two names, and refuse new ones until ``heal``."""
        pair = frozenset((one, other))
        self._cuts.add(pair)
        for channel, names in list(self._open.items()):
            if names == pair:
                channel.sever("the link was cut")

    def heal(self, one: str, other: str) -> None:
        """Let two names reach each other again."""
        self._cuts.discard(frozenset((one, other)))

    def connect(
        self, name: str, dialler: str, doorbell: Doorbell, frame_bytes_max: int
    ) -> MemoryChannel:
        """Make a channel from ``dialler`` to whoever listens as ``name``.

        Raises:
            TransportError: Nobody does, or the link is cut.
        """
        pair = frozenset((name, dialler))
        listener = self._listeners.get(name)
        if listener is None or pair in self._cuts:
            why = "nobody listens there" if listener is None else "the link is cut"
            raise TransportError(f"memory://{name}: cannot connect: {why}")
        there = _Direction(listener.doorbell, listener.frame_bytes_max)
        back = _Direction(doorbell, frame_bytes_max)
        near = MemoryChannel(f"memory://{name}", there, back, frame_bytes_max)
        far = MemoryChannel(f"memory://{dialler}", back, there, listener.frame_bytes_max)
        there.taker, back.taker = far, near
        self._open = {end: names for end, names in self._open.items() if not end.closed}
        self._open[near] = pair
        listener.accept(far)
        return near

    def bind(self, name: str, listener: Listener) -> str:
        """Listen as ``name``, or under a new name if it is "0". Returns the name.

        Raises:
            TransportError: Somebody listens under it already.
        """
        if name == "0":
            self._unnamed += 1
            name = f"unnamed-{self._unnamed}"
        if name in self._listeners:
            raise TransportError(
                f"memory://{name} is in use: something in this process listens there already; "
                "stop it, or choose another name or another MemoryNetwork"
            )
        self._listeners[name] = listener
        return name

    def release(self, name: str) -> None:
        """Listen as ``name`` no longer. Channels made before stay open."""
        del self._listeners[name]


DEFAULT_NETWORK = MemoryNetwork()
"""What ``memory://`` URLs mean when nobody made a network: one per process."""


class _Direction:
    """Frames on their way to one end of a pair.

    Args:
        doorbell: The taking end's.
        frame_bytes_max: The largest frame the taking end takes.
    """

    def __init__(self, doorbell: Doorbell, frame_bytes_max: int) -> None:
        self.taker: MemoryChannel | None = None
        """The taking end; set once, when both ends are made."""
        self._doorbell = doorbell
        self._frame_bytes_max = frame_bytes_max
        self._arrived: list[bytes] = []
        self._arrived_bytes = 0
        self._waiting: deque[bytes] = deque()
        """Sent, with no room at the taking end yet."""
        self.waiting_bytes = 0
        self.invalid = False
        """A frame over the taking end's limit was sent: nothing is taken after it."""

    def put(self, frames: list[bytes]) -> None:
        self._waiting.extend(frames)
        self.waiting_bytes += sum(map(len, frames))
        self._move()

    def take(self) -> list[bytes]:
        frames = self._arrived
        self._arrived = []
        self._arrived_bytes = 0
        self._move()
        return frames

    def stop(self) -> None:
        """Lose what has not arrived; what has may still be taken."""
        self._waiting.clear()
        self.waiting_bytes = 0

    def discard(self) -> None:
        """Lose everything: the taking end does not want it any more."""
        self._arrived.clear()
        self.stop()

    def ring(self) -> None:
        self._doorbell.ring(self.taker)

    def _move(self) -> None:
        while self._waiting and self._arrived_bytes < WINDOW_BYTES:
            frame = self._waiting.popleft()
            self.waiting_bytes -= len(frame)
            if len(frame) > self._frame_bytes_max:
                self.invalid = True
                self.stop()
                self.ring()
                return
            if not self._arrived:
                self.ring()
            self._arrived.append(frame)
            self._arrived_bytes += len(frame)


class MemoryChannel:
    """One end of a pair.

    Args:
        remote: Where the other end is, as a URL.
        outgoing: Where frames are sent.
        incoming: Where frames come from.
        frame_bytes_max: The largest frame this end sends.
    """

    def __init__(
        self, remote: str, outgoing: _Direction, incoming: _Direction, frame_bytes_max: int
    ) -> None:
        self._remote = remote
        self._outgoing = outgoing
        self._incoming = incoming
        self._frame_bytes_max = frame_bytes_max
        self._why = ""
        """Why it is closed; empty while it is not."""

    @property
    def remote(self) -> str:
        """Where the other end is."""
        return self._remote

    @property
    def unsent_bytes(self) -> int:
        """Bytes the other end had no room for yet."""
        return self._outgoing.waiting_bytes

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._why)

    def send_nowait(self, frames: Iterable[bytes]) -> None:
        """See the port."""
        if self._why:
            raise ChannelClosed(f"{self._remote}: {self._why}")
        frames = list(frames)
        for frame in frames:
            if len(frame) > self._frame_bytes_max:
                raise ValueError(
                    f"a frame of {len(frame)} bytes; the limit is {self._frame_bytes_max}"
                )
        self._outgoing.put(frames)

    def receive_nowait(self) -> list[bytes]:
        """See the port."""
        frames = self._incoming.take()
        if self._incoming.invalid or self._why:
            if not frames:
                raise self._closed_error()
            self._incoming.ring()
        return frames

    def close(self) -> None:
        """See the port. What the other end had no room for is lost."""
        if not self._why:
            self._why = "closed by this side"
            self._outgoing.stop()
            if self._outgoing.taker is not None:
                self._outgoing.taker.end("closed by the other side")
        self._incoming.discard()

    def sever(self, why: str) -> None:
        """Close both ends as a network does: neither asked for it. What arrived can be taken."""
        for direction in (self._outgoing, self._incoming):
            if direction.taker is not None:
                direction.taker.end(why)

    def end(self, why: str) -> None:
        """Mark this end closed."""
        if not self._why:
            self._why = why
            self._outgoing.stop()
            self._incoming.ring()

    def _closed_error(self) -> ChannelClosed:
        if not self._incoming.invalid:
            return ChannelClosed(f"{self._remote}: {self._why}")
        self.sever("the other side was sent a frame over its limit")
        return FrameInvalid(f"{self._remote}: a frame over the limit")


class MemoryTransport:
    """Makes channels within a ``MemoryNetwork`` for ``memory://name``.

    Args:
        network: Where its names are known; the process's own by default.
        name: Where its connections come from, for ``MemoryNetwork.cut``.
        frame_bytes_max: The largest frame that is sent or taken.
    """

    schemes: tuple[str, ...] = ("memory",)

    def __init__(
        self,
        network: MemoryNetwork | None = None,
        name: str = "client",
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        self._network = DEFAULT_NETWORK if network is None else network
        self._name = name
        self._frame_bytes_max = frame_bytes_max

    async def connect(self, url: str, doorbell: Doorbell, nursery: trio.Nursery) -> Channel:
        """See the port."""
        name = _name(url)
        await trio.lowlevel.checkpoint()
        return self._network.connect(name, self._name, doorbell, self._frame_bytes_max)

    def listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AbstractAsyncContextManager[str]:
        """See the port. The name ``0`` asks for any name, as port 0 asks for any port."""
        return self._listen(url, doorbell, accept)

    @contextlib.asynccontextmanager
    async def _listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AsyncGenerator[str, None]:
        wanted = _name(url)
        await trio.lowlevel.checkpoint()
        name = self._network.bind(wanted, Listener(doorbell, accept, self._frame_bytes_max))
        try:
            yield f"memory://{name}"
        finally:
            self._network.release(name)


def _name(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "memory" or not parts.netloc or parts.path not in ("", "/"):
        raise TransportError(f"{url!r} is not a url like memory://name")
    return parts.netloc
