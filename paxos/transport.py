"""The port for transports: ordered, whole frames both ways between two endpoints.

What a transport promises: frames arrive whole, in order, at most once, until the channel closes.
What it does not promise: that a frame arrives at all (the channel may close first), or when. It
knows nothing of what is in a frame. Identity, reconnection and bounded outboxes stand above it.

The hot verbs never block: ``send_nowait`` sends what fits now and keeps the rest,
``receive_nowait`` takes all whole frames that have arrived. All channels of a node share one
``Doorbell``, which the node's one task waits on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from paxos.core.errors import PaxosError

if TYPE_CHECKING:
    import trio

    from paxos.doorbell import Doorbell

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest frame a channel sends or takes: a batch at its limit plus one command, with slack."""


class TransportError(PaxosError):
    """A URL that cannot be used, a connection that cannot be made: the text names the URL."""


class ChannelClosed(PaxosError):
    """The channel is closed, by either side or by the network; the text says why."""


class FrameInvalid(ChannelClosed):
    """The other side sent what is not a frame, or one over the limit. The channel is closed."""


class Channel(Protocol):
    """One connection. Belongs to the task that waits on its doorbell.

    The doorbell names a channel when frames come or it closes, and need not name it again for
    frames that were left there: whoever is told of a channel takes from it.
    """

    @property
    def remote(self) -> str:
        """Who is at the other end, for logs: a URL or an address."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that ``send_nowait`` took and that have not left yet. For backpressure."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""

    def send_nowait(self, frames: Iterable[bytes]) -> None:
        """Send frames: what fits leaves at once, in one system call; the rest follows by itself.

        Raises:
            ChannelClosed: The channel is closed. Nothing is known about earlier frames.
            ValueError: A frame over ``FRAME_BYTES_MAX`` (our own mistake; nothing was sent).
        """

    def receive_nowait(self) -> list[bytes]:
        """Take every whole frame that has arrived, in order; empty if there is none yet.

        Raises:
            ChannelClosed: Closed, and every frame that came before was taken.
            FrameInvalid: What came is not a frame; the frames before it were taken.
        """

    def close(self) -> None:
        """Close at once, without blocking. Idempotent. The other side sees ChannelClosed.

        What was sent and has left arrives before that; what has not left may be lost, but only
        whole frames from the end. Nothing rings here: who closes knows.
        """


class Transport(Protocol):
    """A way to make channels for one or more URL schemes."""

    schemes: tuple[str, ...]

    async def connect(self, url: str, doorbell: Doorbell, nursery: trio.Nursery) -> Channel:
        """Open a channel to ``url``. Background work, if any, runs in ``nursery``.

        Raises:
            TransportError: It cannot be reached, or the URL makes no sense.
        """

    def listen(
        self, url: str, doorbell: Doorbell, accept: Callable[[Channel], None]
    ) -> AbstractAsyncContextManager[str]:
        """Listen on ``url`` inside the context; ``accept`` is called for each new channel.

        The context's value is the URL with the port that was really bound (port 0 asks for any).
        ``accept`` may be called from inside ``doorbell.wait`` or from another task, and does not
        ring: whoever wants to see the new channel in what ``wait`` returns rings for it.

        Raises:
            TransportError: The address is in use or makes no sense; the text says which.
        """
