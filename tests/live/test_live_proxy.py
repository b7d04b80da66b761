"""The fault proxy: what a cut or bad weather really does to bytes and connections."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from jepsen_like.live.network import FAIR, Link, Weather
from jepsen_like.live.proxy import RESEND_FIRST_S, FaultProxy, open_proxy
from paxos.runtime.errors import plain_errors

THERE, BACK = Link("c0", "n1"), Link("n1", "c0")
BOTH = [THERE, BACK]
GUARD_S = 10.0
"""No test takes so long; one that hangs fails."""

QUIET_S = 0.05
"""Nothing must come within this: a loopback is a thousand times quicker."""


class Wire:
    """A client of a node that sends everything back."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.address = proxy.address("c0", 1)
        self.dialled: list[trio.SocketStream] = []

    async def dial(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream(*self.address)
        self.dialled.append(stream)
        return stream


@asynccontextmanager
async def _wire() -> AsyncIterator[Wire]:
    async def echo(stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # a cut

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        node = listeners[0].socket.getsockname()
        async with open_proxy({1: node}, ["c0"], random.Random(1)) as proxy:
            wire = Wire(proxy)
            try:
                yield wire
            finally:
                for stream in wire.dialled:
                    await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


def _run(act: Callable[[Wire], Awaitable[None]]) -> None:
    async def guarded() -> None:
        with trio.fail_after(GUARD_S):
            async with _wire() as wire:
                await act(wire)

    with plain_errors():
        trio.run(guarded)


async def _echoed(stream: trio.SocketStream, data: bytes) -> None:
    await stream.send_all(data)
    await _receive(stream, data)


async def _receive(stream: trio.SocketStream, data: bytes) -> None:
    got = b""
    while len(got) < len(data):
        more = await stream.receive_some()
        assert more, f"it ended after {got!r}"
        got += more
    assert got == data


async def _is_silent(stream: trio.SocketStream) -> bool:
    with trio.move_on_after(QUIET_S) as waiting:
        await stream.receive_some()
    return waiting.cancelled_caught


def test_link_that_is_not_cut_carries_everything_and_counts_nothing() -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        data = random.Random(2).randbytes(3_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            await _receive(stream, data)
        assert wire.proxy.seen(BOTH) == (0, 0, 0)

    _run(act)


@pytest.mark.parametrize("cut", [THERE, BACK], ids=str)
def test_link_held_one_way_withholds_what_was_sent_until_it_is_mended(cut: Link) -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        await _echoed(stream, b"before")
        wire.proxy.cut([cut], "hold")
        await stream.send_all(b"during")
        assert await _is_silent(stream)
        assert wire.proxy.seen([cut]) == (6, 0, 0)
        other = BACK if cut == THERE else THERE
        assert wire.proxy.seen([other]) == (0, 0, 0)
        wire.proxy.mend([cut], "hold")
        await _receive(stream, b"during")
        await _echoed(stream, b"after")

    _run(act)


def test_connection_made_while_its_link_is_held_gets_through_when_it_is_mended() -> None:
    async def act(wire: Wire) -> None:
        wire.proxy.cut([BACK], "hold")
        stream = await wire.dial()
        await stream.send_all(b"hello")
        assert await _is_silent(stream)
        assert wire.proxy.seen([THERE]).withheld == 1
        wire.proxy.mend([BACK], "hold")
        await _receive(stream, b"hello")

    _run(act)


def test_link_that_is_reset_breaks_its_connections_and_refuses_new_ones() -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        await _echoed(stream, b"before")
        wire.proxy.cut(BOTH, "reset")
        assert wire.proxy.seen(BOTH).broken == 1
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        refused = await wire.dial()
        with pytest.raises(trio.BrokenResourceError):
            await refused.receive_some()
        assert wire.proxy.seen(BOTH).withheld == 1
        wire.proxy.mend(BOTH, "reset")
        await _echoed(await wire.dial(), b"after")

    _run(act)


def test_link_under_two_cuts_works_when_both_are_mended() -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        wire.proxy.cut(BOTH, "hold")
        wire.proxy.cut([THERE], "hold")
        wire.proxy.mend(BOTH, "hold")
        await stream.send_all(b"x")
        assert await _is_silent(stream)
        wire.proxy.mend([THERE], "hold")
        await _receive(stream, b"x")

    _run(act)


def test_links_after_heal_carry_again_whatever_was_done_to_them() -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        wire.proxy.cut(BOTH, "hold")
        wire.proxy.cut(BOTH, "hold")
        wire.proxy.set_weather(BOTH, Weather(delay_s=3600))
        wire.proxy.heal()
        await _echoed(stream, b"after")

    _run(act)


@pytest.mark.parametrize(
    ("weather", "least_s"),
    [
        (Weather(delay_s=0.05), 0.05),
        (Weather(bytes_per_s=20_000), 0.05),
    ],
    ids=["delay", "bandwidth"],
)
def test_link_in_bad_weather_is_late_keeps_the_order_and_counts(
    weather: Weather, least_s: float
) -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        await _echoed(stream, b"before")
        wire.proxy.set_weather([THERE], weather)
        began = trio.current_time()
        await stream.send_all(b"x" * 1000)
        await _receive(stream, b"x" * 1000)
        assert trio.current_time() - began >= least_s
        assert wire.proxy.seen([THERE]).disturbed == 1000
        wire.proxy.set_weather([THERE], FAIR)
        await _echoed(stream, b"after")
        assert wire.proxy.seen([THERE]).disturbed == 1000

    _run(act)


def test_link_that_loses_packets_is_late_with_some_and_counts_those() -> None:
    async def act(wire: Wire) -> None:
        stream = await wire.dial()
        wire.proxy.set_weather([THERE], Weather(loss=0.3))
        began = trio.current_time()
        echoes = 0
        while not wire.proxy.seen([THERE]).disturbed:
            await _echoed(stream, b"x")
            echoes += 1
        assert trio.current_time() - began >= RESEND_FIRST_S
        assert wire.proxy.seen([THERE]).disturbed == 1
        assert echoes < 100

    _run(act)


def test_proxy_that_was_left_listens_no_more() -> None:
    address: list[tuple[str, int]] = []

    async def act(wire: Wire) -> None:
        await wire.dial()
        address.append(wire.address)
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        _run(act)
    with socket.socket() as probe:
        assert probe.connect_ex(address[0]) != 0
