"""WebSocket: frames as binary messages, for networks that let nothing but HTTP through.

Owns its connections, and one pair of tasks per connection, because trio-websocket offers nothing
that does not block. Costs several times what TCP does: for edges and clients,
not between replicas of one data centre. A message carries one or more whole frames, wrapped as on
a stream. Whatever a stranger's bytes make the library raise ends that connection and no other.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import trio
import trio_websocket

from paxos.transport import (
    FRAME_BYTES_MAX,
    Channel,
    ChannelClosed,
    FrameInvalid,
    TransportError,
)
from transports import address
from transports.framing import HEADER_BYTES_MAX, FrameCutter, wrap

if TYPE_CHECKING:
    from paxos.doorbell import Doorbell

CONNECT_TIMEOUT_S = 3.0
"""For the connection, and again for the upgrade to WebSocket."""

CLOSE_TIMEOUT_S = 1.0
"""What was sent before ``close`` has this long to leave, and as long again for a farewell."""

BACKLOG = 1024
"""Connections the kernel keeps for us: all clients of a node may come back at once."""

MESSAGE_BYTES = 256 * 1024
"""Frames that wait share a message up to this size; a larger frame has one to itself."""

WINDOW_BYTES = 256 * 1024
"""What a channel holds untaken before it stops reading, so that TCP holds the other side back."""

READ_BYTES = 64 * 1024
"""What is read from the socket at once."""

_TOO_BIG = 1009

_Upgrade = Callable[
    [trio.Nursery, trio.SocketStream], Awaitable[trio_websocket.WebSocketConnection]
]


class WebSocketChannel:
    """One WebSocket connection.

    Args:
        remote: The address at the other end.
        doorbell: Whom to ring.
        frame_bytes_max: The largest frame that is sent or taken.
    """

    def __init__(self, remote: str, doorbell: Doorbell, frame_bytes_max: int) -> None:
        self._remote = remote
        self._doorbell = doorbell
        self._frame_bytes_max = frame_bytes_max
        self._cutter = FrameCutter(frame_bytes_max, message_bytes_max(frame_bytes_max))
        self._arrived: list[bytes] = []
        self._arrived_bytes = 0
        self._waiting: deque[bytes] = deque()
        """Frames that ``send_nowait`` took and no message carries yet."""
        self._unsent = 0
        self._why = ""
        """Why it is closed; empty while it is not."""
        self._invalid = False
        """It closed because what came is not a frame."""
        self._changed = trio.Event()
        """Wakes the sending task: there is something to send, or it is closed."""
        self._taken = trio.Event()
        """Wakes the receiving task: there is room again."""
        self._scope = trio.CancelScope()
        """Around both tasks. ``close`` gives it a deadline."""

    @property
    def remote(self) -> str:
        """The address at the other end."""
        return self._remote

    @property
    def unsent_bytes(self) -> int:
        """Bytes of frames that have not left yet."""
        return self._unsent

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._why)

    def send_nowait(self, frames: Iterable[bytes]) -> None:
        """See the port. A task of the channel's own sends, soon."""
        if self._why:
            raise ChannelClosed(f"{self._remote}: {self._why}")
        frames = list(frames)
        for frame in frames:
            if len(frame) > self._frame_bytes_max:
                raise ValueError(
                    f"a frame of {len(frame)} bytes; the limit is {self._frame_bytes_max}"
                )
        self._waiting.extend(frames)
        self._unsent += sum(map(len, frames))
        self._changed.set()

    def receive_nowait(self) -> list[bytes]:
        """See the port."""
        frames = self._arrived
        if not self._why:
            self._arrived = []
            self._arrived_bytes = 0
            self._taken.set()
            return frames
        if not frames:
            kind = FrameInvalid if self._invalid else ChannelClosed
            raise kind(f"{self._remote}: {self._why}")
        self._arrived = []
        self._doorbell.ring(self)
        return frames

    def close(self) -> None:
        """See the port. What was sent before has ``CLOSE_TIMEOUT_S`` to leave."""
        self._arrived = []
        if not self._why:
            self._why = "closed by this side"
            self._scope.deadline = trio.current_time() + CLOSE_TIMEOUT_S
            self._changed.set()

    async def run(self, connection: trio_websocket.WebSocketConnection) -> None:
        """Carry frames until either side closes. The transport runs it, once."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive, connection, nursery.cancel_scope)
                    await self._send(connection)
                    nursery.cancel_scope.cancel()
        finally:
            self._end("this side stops")
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await connection.aclose()

    async def _send(self, connection: trio_websocket.WebSocketConnection) -> None:
        """Send what waits, until closed and nothing waits."""
        while True:
            if not self._waiting:
                if self._why:
                    return
                self._changed = trio.Event()
                await self._changed.wait()
                continue
            frames = self._next_message()
            try:
                await connection.send_message(wrap(frames, self._frame_bytes_max))
            except trio_websocket.ConnectionClosed as error:
                self._end(_text(error))
                return
            self._unsent -= sum(map(len, frames))

    def _next_message(self) -> list[bytes]:
        frames = [self._waiting.popleft()]
        size = len(frames[0]) + HEADER_BYTES_MAX
        while self._waiting:
            size += len(self._waiting[0]) + HEADER_BYTES_MAX
            if size > MESSAGE_BYTES:
                break
            frames.append(self._waiting.popleft())
        return frames

    async def _receive(
        self, connection: trio_websocket.WebSocketConnection, both: trio.CancelScope
    ) -> None:
        """Take messages as fast as the frames in them are taken; end both tasks at the last."""
        while not self._invalid:
            try:
                message = await connection.get_message()
            except trio_websocket.ConnectionClosed as error:
                # The library says 1009 on both sides. It closes its own end of the queue only
                # where the message came in.
                ours = isinstance(error.__context__, trio.ClosedResourceError)
                reason = error.reason
                self._invalid = ours and reason is not None and reason.code == _TOO_BIG
                self._end(_text(error))
                both.cancel()
                return
            self._cut(message)
            while self._arrived_bytes >= WINDOW_BYTES:
                self._taken = trio.Event()
                await self._taken.wait()
        both.cancel()

    def _cut(self, message: str | bytes) -> None:
        fault = "text where frames must be"
        if isinstance(message, bytes):
            frames = self._cutter.cut(message)
            fault = self._cutter.fault
            if frames and not self._why:
                self._arrived.extend(frames)
                self._arrived_bytes += sum(map(len, frames))
                self._doorbell.ring(self)
        if fault:
            self._invalid = True
            self._end(fault)

    def _end(self, why: str) -> None:
        self._waiting.clear()
        self._unsent = 0
        if not self._why:
            self._why = why
            self._doorbell.ring(self)


class WebSocketTransport:
    """Makes WebSocket channels for ``ws://host:port``.

    Args:
        frame_bytes_max: The largest frame that is sent or taken.
    """

    schemes: tuple[str, ...] = ("ws",)

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._accept_upgrade = partial(_accept, message_bytes_max(frame_bytes_max))

    async def connect(self, url: str, doorbell: Doorbell, nursery: trio.Nursery) -> Channel:
        """See the port. The channel's tasks run in ``nursery``."""
        where = address.parse(url, *self.schemes)
        stream = await address.dial(url, where, CONNECT_TIMEOUT_S)
        channel = self._channel(stream, doorbell)
        upgrade = partial(_dial, str(where), message_bytes_max(self._frame_bytes_max))
        fault: str = await nursery.start(_carry, channel, stream, upgrade)
        if fault:
            raise TransportError(f"{url}: cannot connect: {fault}")
        return channel

    def listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AbstractAsyncContextManager[str]:
        """See the port. Leaving the context also closes the channels that were accepted."""
        return self._listen(url, doorbell, accept)

    @contextlib.asynccontextmanager
    async def _listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AsyncGenerator[str, None]:
        sock = await address.bind(url, address.parse(url, *self.schemes), BACKLOG)
        bound = address.bound_url("ws", sock)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))

        async def serve(stream: trio.SocketStream) -> None:
            async with trio.open_nursery() as nursery:
                channel = self._channel(stream, doorbell)
                if not await nursery.start(_carry, channel, stream, self._accept_upgrade):
                    accept(channel)

        async with listener, trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve, [listener])
            yield bound
            nursery.cancel_scope.cancel()

    def _channel(self, stream: trio.SocketStream, doorbell: Doorbell) -> WebSocketChannel:
        address.tune(stream.socket)
        remote = address.remote_of(stream.socket)
        return WebSocketChannel(remote, doorbell, self._frame_bytes_max)


def message_bytes_max(frame_bytes_max: int) -> int:
    """Return the size of the largest message that carries frames up to a size."""
    return max(frame_bytes_max + HEADER_BYTES_MAX, MESSAGE_BYTES)


async def _carry(
    channel: WebSocketChannel,
    stream: trio.SocketStream,
    upgrade: _Upgrade,
    *,
    task_status: trio.TaskStatus[str],
) -> None:
    """Upgrade a connection, run its channel, close it. Started with why it cannot, or ""."""
    faults: list[str] = []
    upgrading = trio.CancelScope()
    try:
        async with trio.open_nursery() as nursery:
            library: trio.Nursery = await nursery.start(_contain, faults, upgrading)
            # When all is cancelled at once, the farewell still needs somebody who reads.
            library.cancel_scope.shield = True
            try:
                connection = await _upgraded(library, stream, upgrade, faults, upgrading)
                task_status.started("; ".join(faults))
                if connection is not None:
                    await channel.run(connection)
            finally:
                library.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def _contain(
    faults: list[str], upgrading: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """A nursery for the library's own reading task.

    What a stranger's bytes make it raise must end this connection only, whatever it is. An upgrade
    would wait for it in vain; a channel sees its queue close.
    """
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()
    except Exception as error:  # noqa: BLE001  see above; kept as the reason why it closed
        causes = error.exceptions if isinstance(error, ExceptionGroup) else [error]
        faults.extend(_text(cause) for cause in causes)
        upgrading.cancel()


async def _upgraded(
    library: trio.Nursery,
    stream: trio.SocketStream,
    upgrade: _Upgrade,
    faults: list[str],
    scope: trio.CancelScope,
) -> trio_websocket.WebSocketConnection | None:
    """Return the connection, or None with the reason added to ``faults``."""
    scope.deadline = trio.current_time() + CONNECT_TIMEOUT_S
    try:
        with scope:
            return await upgrade(library, stream)
    except (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed) as error:
        faults.append(_text(error))
    if not faults:
        faults.append(f"no WebSocket handshake within {CONNECT_TIMEOUT_S:g} s")
    return None


async def _dial(
    host: str, bytes_max: int, library: trio.Nursery, stream: trio.SocketStream
) -> trio_websocket.WebSocketConnection:
    return await trio_websocket.wrap_client_stream(
        library,
        stream,
        host,
        "/",
        message_queue_size=1,
        max_message_size=bytes_max,
        receive_buffer_size=READ_BYTES,
    )


async def _accept(
    bytes_max: int, library: trio.Nursery, stream: trio.SocketStream
) -> trio_websocket.WebSocketConnection:
    request = await trio_websocket.wrap_server_stream(
        library,
        stream,
        message_queue_size=1,
        max_message_size=bytes_max,
        receive_buffer_size=READ_BYTES,
    )
    return await request.accept()


def _text(error: Exception) -> str:
    if isinstance(error, trio_websocket.ConnectionRejected):
        return f"refused with HTTP status {error.status_code}: no paxos node listens there"
    if isinstance(error, trio_websocket.ConnectionClosed):
        reason = error.reason
        return f"closed with {reason.code} {reason.reason or reason.name}" if reason else "closed"
    return f"{type(error).__name__}: {error}"
