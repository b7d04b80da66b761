"""One wake-up for all channels of a node.

Owns the selector in which every socket of a node is registered, and the list of channels that rang
from elsewhere. Never touches a channel's frames, and knows no transport by name. It guards one
promise: a ring is never lost. Whoever rings before, while or after the node's one task goes to
sleep wakes it, and the channel is in what the next ``wait`` returns.

One registration per socket for its whole life, and one wait per pass over all of them, is what
makes this cheaper than a task per connection.
"""

from __future__ import annotations

import math
import selectors
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType

    from paxos.transport import Channel

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE


class _Watched:
    """What to do when a registered socket is ready."""

    __slots__ = ("channel", "flush", "readable")

    def __init__(
        self,
        channel: Channel | None,
        readable: Callable[[], None] | None,
        flush: Callable[[], None] | None,
    ) -> None:
        self.channel = channel
        self.readable = readable
        self.flush = flush


class _Alarm:
    """Rings at a deadline that is put off again and again, without being told so each time.

    A timeout around every wait would cost more than the wait. This one task sleeps until the first
    deadline it was given, looks what the deadline is by then, and sleeps on if that is later.

    Args:
        ring: What to call.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._deadline = math.inf  # when to ring; infinite once it has rung
        self._sleep = trio.CancelScope()
        self._life = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run)

    def set(self, deadline: float) -> None:
        """Ring at ``deadline``, and no more at any that was set before."""
        self._deadline = deadline
        if deadline < self._sleep.deadline:  # noqa: PLR1730 - to assign costs more than to ask
            self._sleep.deadline = deadline

    def end(self) -> None:
        """Never ring again."""
        self._life.cancel()

    async def _run(self) -> None:
        with self._life:
            while True:
                self._sleep = trio.CancelScope(deadline=self._deadline)
                with self._sleep:
                    await trio.sleep_forever()
                if self._deadline <= trio.current_time():
                    self._deadline = math.inf
                    self._ring()


class Doorbell:
    """What a node's one task waits on. One task waits; anyone, from any thread, may ring.

    A context manager: leaving it releases the selector. Channels must be closed before that.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._rung: dict[Channel, None] = {}
        """Channels that rang since the last ``wait``, in that order."""
        self._rung_for_all = False
        """Somebody rang without a channel: the next ``wait`` returns at once."""
        self._sleeping = False
        """The task waits, or is about to, and has not looked at what rang: poke it."""
        self._alarm: _Alarm | None = None
        self._poke, self._poked = socket.socketpair()
        for end in (self._poke, self._poked):
            end.setblocking(False)
        self.watch_readable(self._poked, self._hear_poke)

    # --- ringing ------------------------------------------------------------------------------

    def ring(self, channel: Channel | None = None) -> None:
        """Put ``channel`` into what the next ``wait`` returns, and wake the task that waits.

        Without a channel it only wakes it. Safe from any task and any thread.
        """
        if channel is None:
            self._rung_for_all = True
        else:
            self._rung[channel] = None
        # Order matters for rings from threads: the ring is written before `_sleeping` is read, and
        # `wait` sets `_sleeping` before it reads the rings. One of the two sees the other.
        if self._sleeping:
            self._sleeping = False
            try:
                self._poke.send(b"\0")
            except BlockingIOError:
                pass  # full of pokes that were not heard yet: the task is awake already

    # --- registering, for transports ----------------------------------------------------------

    def watch_channel(
        self, sock: socket.socket, channel: Channel, flush: Callable[[], None]
    ) -> None:
        """Register a channel's socket: readable puts ``channel`` into what ``wait`` returns.

        Args:
            sock: Non-blocking. Stays registered until ``forget``.
            channel: What to return.
            flush: Called, inside ``wait``, when the socket is writable after ``want_writable``.
        """
        self._selector.register(sock, _READ, _Watched(channel, None, flush))

    def watch_readable(self, sock: socket.socket, readable: Callable[[], None]) -> None:
        """Register any other socket: ``readable`` is called, inside ``wait``, when it is so."""
        self._selector.register(sock, _READ, _Watched(None, readable, None))

    def want_writable(self, sock: socket.socket, wanted: bool) -> None:
        """Ask for the channel's ``flush`` to be called when ``sock`` is writable, or no longer."""
        key = self._selector.get_key(sock)
        self._selector.modify(sock, _READ | _WRITE if wanted else _READ, key.data)

    def forget(self, sock: socket.socket) -> None:
        """Unregister ``sock``. Call it before closing the socket."""
        self._selector.unregister(sock)

    # --- waiting ------------------------------------------------------------------------------

    async def wait(self, deadline: float) -> list[Channel]:
        """Wait until a channel has something to take, somebody rang, or the deadline has come.

        Always a checkpoint, so that a busy node does not starve the other tasks of its process.

        Args:
            deadline: On trio's clock, absolute; ``math.inf`` for none.

        Returns:
            The channels with frames to take or that are closed, each once. Empty at the deadline
            and after a ring without a channel. A channel may turn out to have nothing yet.
        """
        ready: dict[Channel, None] = {}
        arrived = self._collect(ready)
        self._sleeping = True
        rung = self._rung or self._rung_for_all
        if arrived or rung or deadline <= trio.current_time():
            # Going to sleep to be woken at once would cost several times a checkpoint.
            self._sleeping = False
            await trio.lowlevel.checkpoint()
        else:
            if self._alarm is None and deadline < math.inf:
                self._alarm = _Alarm(self.ring)
            if self._alarm is not None:
                self._alarm.set(deadline)
            await trio.lowlevel.wait_readable(self._selector.fileno())
            self._sleeping = False
            self._collect(ready)
        self._rung_for_all = False
        # A copy and single pops are safe beside a thread that rings; iterating is not.
        for channel in list(self._rung):
            del self._rung[channel]
            ready[channel] = None
        return list(ready)

    def _collect(self, ready: dict[Channel, None]) -> bool:
        """Ask the selector what is ready, without waiting. Returns whether anything was."""
        keys = self._selector.select(0)
        for key, mask in keys:
            watched: _Watched = key.data
            if mask & _WRITE and watched.flush is not None:
                watched.flush()
            if mask & _READ:
                if watched.channel is not None:
                    ready[watched.channel] = None
                elif watched.readable is not None:
                    watched.readable()
        return bool(keys)

    def _hear_poke(self) -> None:
        try:
            while self._poked.recv(4096):
                pass
        except BlockingIOError:
            pass

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the selector and what is registered in it. Idempotent; closes no channel."""
        self._sleeping = False
        if self._alarm is not None:
            self._alarm.end()
        self._selector.close()
        self._poke.close()
        self._poked.close()

    def __enter__(self) -> Doorbell:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
