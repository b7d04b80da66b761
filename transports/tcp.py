"""TCP: frames on plain sockets, for replicas and clients in one network.

Owns its sockets, and makes the fewest system calls that carry the frames: one read and at most one
write per channel and pass, no task per connection. Never looks into a frame.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import TYPE_CHECKING

from paxos.transport import FRAME_BYTES_MAX, Channel, ChannelClosed, FrameInvalid
from transports import address
from transports.framing import READ_BYTES, FrameCutter, wrap

if TYPE_CHECKING:
    import trio

    from paxos.doorbell import Doorbell

CONNECT_TIMEOUT_S = 3.0
"""A host that does not answer at all is given up; whoever dials tries again."""

BACKLOG = 1024
"""Connections the kernel keeps for us: all clients of a node may come back at once."""

ACCEPTS_MAX = 64
"""Connections taken in one pass; the rest waits for the next, behind the frames of this one."""

PIECES_MAX = 64
"""Pieces of the unsent remainder in one write; well below the kernel's own limit."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class TcpChannel:
    """One TCP connection.

    Args:
        sock: Connected.
        doorbell: Whom to ring.
        buffer: What is read into; shared by all channels of a transport, empty between calls.
        frame_bytes_max: The largest frame that is sent or taken.
    """

    def __init__(
        self, sock: socket.socket, doorbell: Doorbell, buffer: bytearray, frame_bytes_max: int
    ) -> None:
        sock.setblocking(False)
        address.tune(sock)
        self._sock = sock
        self._doorbell = doorbell
        self._buffer = memoryview(buffer)
        self._frame_bytes_max = frame_bytes_max
        self._cutter = FrameCutter(frame_bytes_max, len(buffer))
        self._remote = address.remote_of(sock)
        self._remainder: deque[memoryview] = deque()
        """What ``send_nowait`` took and the socket has not; its lengths sum up to ``_unsent``."""
        self._unsent = 0
        self._mute = ""
        """Why nothing can be sent any more. What has arrived may still be taken."""
        self._open = True
        """The socket is ours and registered. Ends with ``close``."""
        doorbell.watch_channel(sock, self, self._flush)

    @property
    def remote(self) -> str:
        """The address at the other end."""
        return self._remote

    @property
    def unsent_bytes(self) -> int:
        """Bytes that have not left yet."""
        return self._unsent

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._mute)

    def send_nowait(self, frames: Iterable[bytes]) -> None:
        """See the port."""
        if self._mute:
            raise ChannelClosed(f"{self._remote}: {self._mute}")
        data = wrap(frames, self._frame_bytes_max)
        if self._unsent:
            self._remainder.append(memoryview(data))
            self._unsent += len(data)
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fall_silent(error)
            raise ChannelClosed(f"{self._remote}: {self._mute}") from error
        if sent < len(data):
            self._remainder.append(memoryview(data)[sent:])
            self._unsent = len(data) - sent
            self._doorbell.want_writable(self._sock, True)

    def receive_nowait(self) -> list[bytes]:
        """See the port. One read: what does not fit in it rings again by itself."""
        if not self._open:
            raise ChannelClosed(f"{self._remote}: {self._mute}")
        self._raise_fault()
        try:
            length = self._sock.recv_into(self._buffer)
        except BlockingIOError:
            return []
        except OSError as error:
            self._end(_text(error))
            raise ChannelClosed(f"{self._remote}: {self._mute}") from error
        if not length:
            self._end("closed by the other side")
            raise ChannelClosed(f"{self._remote}: {self._mute}")
        frames = self._cutter.cut(self._buffer[:length])
        if not frames:
            self._raise_fault()
        elif self._cutter.fault:
            # The frames before it first; the fault is raised on the next pass.
            self._doorbell.ring(self)
        return frames

    def close(self) -> None:
        """See the port. What has not left is lost."""
        self._end("closed by this side")

    def _raise_fault(self) -> None:
        fault = self._cutter.fault
        if fault:
            self._end(fault)
            raise FrameInvalid(f"{self._remote}: {fault}")

    def _flush(self) -> None:
        """Send more of the remainder. The doorbell calls it when there is room."""
        try:
            sent = self._sock.sendmsg(list(islice(self._remainder, PIECES_MAX)))
        except BlockingIOError:
            return
        except OSError as error:
            self._fall_silent(error)
            return
        self._unsent -= sent
        while self._remainder and sent >= len(self._remainder[0]):
            sent -= len(self._remainder.popleft())
        if sent:
            self._remainder[0] = self._remainder[0][sent:]
        if not self._unsent:
            self._doorbell.want_writable(self._sock, False)

    def _fall_silent(self, error: OSError) -> None:
        """Nothing can be sent any more, but what has arrived must still be taken."""
        self._mute = _text(error)
        self._remainder.clear()
        self._unsent = 0
        self._doorbell.want_writable(self._sock, False)
        self._doorbell.ring(self)

    def _end(self, why: str) -> None:
        if not self._open:
            return
        self._open = False
        self._mute = why
        self._remainder.clear()
        self._unsent = 0
        self._doorbell.forget(self._sock)
        self._sock.close()


class TcpTransport:
    """Makes TCP channels for ``tcp://host:port``; for one thread.

    Args:
        frame_bytes_max: The largest frame that is sent or taken.
    """

    schemes: tuple[str, ...] = ("tcp",)

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray(READ_BYTES)

    async def connect(self, url: str, doorbell: Doorbell, nursery: trio.Nursery) -> Channel:
        """See the port."""
        where = address.parse(url, *self.schemes)
        stream = await address.dial(url, where, CONNECT_TIMEOUT_S)
        sock = socket.socket(fileno=stream.socket.detach())
        return TcpChannel(sock, doorbell, self._buffer, self._frame_bytes_max)

    def listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AbstractAsyncContextManager[str]:
        """See the port."""
        return self._listen(url, doorbell, accept)

    @contextlib.asynccontextmanager
    async def _listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AsyncGenerator[str, None]:
        listener = await address.bind(url, address.parse(url, *self.schemes), BACKLOG)

        def take(sock: socket.socket) -> None:
            accept(TcpChannel(sock, doorbell, self._buffer, self._frame_bytes_max))

        with listener, _Accepting(listener, take) as accepting:
            doorbell.watch_readable(listener, accepting.take_all)
            try:
                yield address.bound_url("tcp", listener)
            finally:
                doorbell.forget(listener)


class _Accepting:
    """Takes connections from a listening socket, also when file descriptors have run out.

    A spare descriptor is held back for that: giving it up makes room to take a connection and close
    it at once. Left in the queue instead, it would ring for ever.
    """

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._take = take
        self._spare = listener.dup()

    def take_all(self) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    # The connection died in the queue; the next one is none the worse for it.
                    continue
                self._turn_away()
                return
            self._take(sock)

    def _turn_away(self) -> None:
        self._spare.close()
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        with contextlib.suppress(OSError):
            # Another thread may have been quicker; then there is no spare until the next time.
            self._spare = self._listener.dup()

    def __enter__(self) -> _Accepting:
        return self

    def __exit__(self, *_: object) -> None:
        self._spare.close()


def _text(error: OSError) -> str:
    return error.strerror or str(error)
