"""A network on this machine that needs no rights: every link goes through a proxy that can fail.

Owns one listening socket for each pair of parties that talk (a door), the connections through it,
and the two directed links of the pair. It never looks into the bytes, never loses or reorders any
inside a connection (TCP would not either), and counts what a fault really did to them.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from jepsen_like.live.network import FAIR, Cut, Link, Party, Seen, Weather, node_party
from paxos.core.ids import NodeId

HOST = "127.0.0.1"
READ_BYTES = 64 * 1024

HELD_BYTES_MAX = 1024 * 1024
"""What a link takes from a sender and has not passed on; then the sender feels it, as from TCP."""

RESEND_FIRST_S = 0.2
"""TCP sends a lost packet again after at least this, and doubles it each time."""

RESEND_MAX_S = 1.6
"""No wait for one packet is longer than this."""

PACKET_BYTES = 1400

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, and say so to the other side


class _Way:
    """One directed link: its cuts, its weather, and what was counted."""

    def __init__(self, rng: random.Random) -> None:
        self.cuts: Counter[Cut] = Counter()
        self.weather = FAIR
        self.withheld = 0
        self.broken = 0
        self.disturbed = 0
        self._rng = rng
        self._free_at = 0.0  # when a narrow link has carried what it took
        self._changed = trio.Event()

    @property
    def held(self) -> bool:
        """Whether nothing passes."""
        return bool(self.cuts["hold"] or self.cuts["reset"])

    def change(self) -> None:
        """Tell whoever waits that cuts or weather are others now."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_open(self) -> None:
        """Wait until the link is not cut."""
        while self.held:
            await self._changed.wait()

    def due(self, size: int, now: float) -> float:
        """Return when ``size`` bytes that were sent now are to arrive."""
        weather = self.weather
        if weather is FAIR:
            return now
        at = now
        if weather.bytes_per_s:
            at = self._free_at = max(self._free_at, now) + size / weather.bytes_per_s
        at += weather.delay_s + weather.jitter_s * self._rng.random()
        at += self._resending_s(size)
        if at > now:
            self.disturbed += size
        return at

    def _resending_s(self, size: int) -> float:
        """Return for how long losses hold up ``size`` bytes."""
        loss, wait_s, total_s = self.weather.loss, RESEND_FIRST_S, 0.0
        lost = 1 - (1 - loss) ** (1 + size // PACKET_BYTES)  # any packet of them
        while wait_s <= RESEND_MAX_S and self._rng.random() < lost:
            total_s += wait_s
            wait_s *= 2
            lost = loss
        return total_s


class _Flow:
    """What one connection carries in one direction: taken from the sender, not yet passed on."""

    def __init__(self, way: _Way, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        self._way = way
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._last_due = 0.0
        self._rung = trio.Event()

    async def run(self) -> None:
        """Carry until the sender has ended, and tell the receiver then.

        Raises:
            trio.BrokenResourceError: One of the two broke.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take)
            await self._give()

    async def _take(self) -> None:
        while True:
            while self._bytes > HELD_BYTES_MAX:
                await self._wait()
            try:
                data = await self._source.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                # The sender died. What it sent before is still on its way.
                data = b""
            if self._way.held:
                self._way.withheld += len(data)
            due = self._way.due(len(data), trio.current_time())
            self._last_due = max(due, self._last_due)
            self._queue.append((self._last_due, data))
            self._bytes += len(data)
            self._ring()
            if not data:
                return

    async def _give(self) -> None:
        while True:
            while not self._queue:
                await self._wait()
            due, data = self._queue[0]
            if due > trio.current_time():
                await trio.sleep_until(due)
            await self._way.wait_open()
            self._queue.popleft()
            if not data:
                await self._sink.send_eof()
                return
            await self._sink.send_all(data)
            self._bytes -= len(data)
            self._ring()

    def _ring(self) -> None:
        self._rung.set()
        self._rung = trio.Event()

    async def _wait(self) -> None:
        await self._rung.wait()


class _Door:
    """Where one party dials another: its listener, its connections, and both directions."""

    def __init__(
        self, there: _Way, back: _Way, listener: trio.SocketListener, target: tuple[str, int]
    ) -> None:
        self._there = there
        self._back = back
        self._listener = listener
        self._target = target
        self._open: dict[trio.CancelScope, bool] = {}  # connections; whether both ends are up
        self.port: int = listener.socket.getsockname()[1]

    async def run(self, nursery: trio.Nursery) -> None:
        """Take connections until cancelled."""
        await trio.serve_listeners(self._carry, [self._listener], handler_nursery=nursery)

    def break_all(self) -> int:
        """Reset every connection; return how many were up."""
        broken = sum(self._open.values())
        for scope in self._open:
            scope.cancel()
            self._open[scope] = False
        return broken

    async def _carry(self, near: trio.SocketStream) -> None:
        streams = [near]
        with trio.CancelScope() as scope:
            self._open[scope] = False
            try:
                if self._refusing:
                    self._there.withheld += 1
                    return
                if self._there.held or self._back.held:
                    # Its first packet is lost until both directions work.
                    self._there.withheld += 1
                    await self._there.wait_open()
                    await self._back.wait_open()
                far = await trio.open_tcp_stream(*self._target)
                streams.append(far)
                self._open[scope] = True
                await _join(_Flow(self._there, near, far), _Flow(self._back, far, near))
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                # One end is gone: the other is told below, by a reset, as its kernel would be.
                pass
            finally:
                del self._open[scope]
                for stream in streams:
                    _reset(stream)

    @property
    def _refusing(self) -> bool:
        return bool(self._there.cuts["reset"] or self._back.cuts["reset"])


async def _join(*flows: _Flow) -> None:
    try:
        async with trio.open_nursery() as nursery:
            for flow in flows:
                nursery.start_soon(flow.run)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        # Both directions end with the first that breaks.
        pass


def _reset(stream: trio.SocketStream) -> None:
    try:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # it is closed already
    stream.socket.close()


class FaultProxy:
    """A network in which the larger node dials the smaller, and clients dial every node.

    Made by ``open_proxy``.
    """

    def __init__(self, nodes: Mapping[NodeId, tuple[str, int]], rng: random.Random) -> None:
        self._nodes = dict(nodes)
        self._rng = rng
        self._ways: dict[Link, _Way] = {}
        self._doors: dict[tuple[Party, NodeId], _Door] = {}

    async def _open(self, dialler: Party, node: NodeId) -> _Door:
        there, back = Link(dialler, node_party(node)), Link(node_party(node), dialler)
        for link in (there, back):
            self._ways[link] = _Way(random.Random(self._rng.getrandbits(64)))
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        door = _Door(self._ways[there], self._ways[back], listeners[0], self._nodes[node])
        self._doors[dialler, node] = door
        return door

    # --- faults -----------------------------------------------------------------------------------

    def cut(self, links: Iterable[Link], how: Cut) -> None:
        """See the port."""
        for link in links:
            way = self._ways[link]
            way.cuts[how] += 1
            way.change()
            if how == "reset":
                way.broken += self._door(link).break_all()

    def mend(self, links: Iterable[Link], how: Cut) -> None:
        """See the port."""
        for link in links:
            way = self._ways[link]
            way.cuts[how] = max(0, way.cuts[how] - 1)
            way.change()

    def set_weather(self, links: Iterable[Link], weather: Weather) -> None:
        """See the port."""
        for link in links:
            self._ways[link].weather = weather

    def heal(self) -> None:
        """See the port."""
        for way in self._ways.values():
            way.cuts.clear()
            way.weather = FAIR
            way.change()

    def seen(self, links: Iterable[Link]) -> Seen:
        """See the port."""
        ways = [self._ways[link] for link in links]
        return Seen(
            sum(way.withheld for way in ways),
            sum(way.broken for way in ways),
            sum(way.disturbed for way in ways),
        )

    # --- addresses --------------------------------------------------------------------------------

    def prefix(self, node: NodeId) -> Sequence[str]:
        """See the port."""
        return ()

    def address(self, dialler: Party, node: NodeId) -> tuple[str, int]:
        """See the port."""
        door = self._doors.get((dialler, node))
        return (HOST, door.port) if door is not None else self._nodes[node]

    def listen_address(self, node: NodeId) -> tuple[str, int]:
        """See the port."""
        return self._nodes[node]

    def _door(self, link: Link) -> _Door:
        for (dialler, node), door in self._doors.items():
            if {dialler, node_party(node)} == set(link):
                return door
        raise KeyError(link)


@asynccontextmanager
async def open_proxy(
    nodes: Mapping[NodeId, tuple[str, int]], sites: Sequence[Party], rng: random.Random
) -> AsyncIterator[FaultProxy]:
    """Run a proxy for every link inside the context.

    Args:
        nodes: Where each node listens.
        sites: The places that clients connect from.
        rng: For weather.
    """
    proxy = FaultProxy(nodes, rng)
    async with trio.open_nursery() as nursery:
        for node in nodes:
            diallers = [node_party(other) for other in nodes if other > node]
            for dialler in (*diallers, *sites):
                door = await proxy._open(dialler, node)  # noqa: SLF001 - its own maker
                nursery.start_soon(door.run, nursery)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
