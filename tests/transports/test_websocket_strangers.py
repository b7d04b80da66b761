"""WebSocket where the other end is no paxos node: it is closed, and nobody else notices."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
import trio
import trio_websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.doorbell import Doorbell
from paxos.transport import Channel, ChannelClosed, FrameInvalid, TransportError
from transports import websocket
from transports.framing import wrap
from transports.websocket import WebSocketTransport

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Listening:
    """A transport that listens, and the channels it accepted."""

    def __init__(self, bell: Doorbell, accepted: list[Channel], url: str) -> None:
        self.bell = bell
        self.accepted = accepted
        self.url = url
        self.port = urlsplit(url).port or 0

    async def channel(self) -> Channel:
        while not self.accepted:
            await self.bell.wait(math.inf)
        return self.accepted.pop()

    async def all(self, channel: Channel) -> tuple[list[bytes], ChannelClosed]:
        frames: list[bytes] = []
        self.bell.ring(channel)
        while True:
            if channel in await self.bell.wait(math.inf):
                try:
                    frames += channel.receive_nowait()
                except ChannelClosed as error:
                    return frames, error

    async def still_serves(self) -> None:
        """A sound connection can be made and used."""
        self.accepted.clear()
        async with trio.open_nursery() as nursery:
            near = await WebSocketTransport().connect(self.url, self.bell, nursery)
            near.send_nowait([b"sound"])
            near.close()
            frames, error = await self.all(await self.channel())
            assert frames == [b"sound"]
            assert not isinstance(error, FrameInvalid)


@contextlib.asynccontextmanager
async def listening() -> AsyncGenerator[Listening, None]:
    accepted: list[Channel] = []
    with Doorbell() as bell:

        def accept(channel: Channel) -> None:
            accepted.append(channel)
            bell.ring(channel)

        async with WebSocketTransport(10_000).listen("ws://127.0.0.1:0", bell, accept) as url:
            yield Listening(bell, accepted, url)


def in_trio(test: Callable[[Listening], Awaitable[None]]) -> None:
    async def run() -> None:
        with trio.fail_after(20):
            async with listening() as there:
                await test(there)

    trio.run(run)


async def _send_and_leave(port: int, data: bytes) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.send_eof()
            with trio.move_on_after(0.05):
                async for _ in stream:
                    pass


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 1_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"POST / HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"A" * 100_000,
        UPGRADE[:-2],
        UPGRADE.replace(b"13", b"99"),
        UPGRADE,
        UPGRADE + b"\xff" * 100,
        UPGRADE + b"\x82\x05abcde",  # not masked
        UPGRADE + b"\x88\x81\x00\x00\x00\x00\x01",  # a close with half a code
        UPGRADE + b"\x81\x82\x00\x00\x00\x00\xff\xff",  # text that is not UTF-8
    ],
)
def test_stranger_that_speaks_no_websocket_is_closed_and_others_are_served(data: bytes) -> None:
    async def test(there: Listening) -> None:
        await _send_and_leave(there.port, data)
        await there.still_serves()

    in_trio(test)


@settings(max_examples=25)
@given(st.booleans(), st.binary(max_size=300))
def test_stranger_with_arbitrary_bytes_never_stops_the_listener(
    upgraded: bool, data: bytes
) -> None:
    async def test(there: Listening) -> None:
        await _send_and_leave(there.port, (UPGRADE if upgraded else b"") + data)
        await there.still_serves()

    in_trio(test)


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("text", []),
        (b"\x01", []),
        (wrap([b"sound"]) + b"\xc0", [b"sound"]),
        (wrap([b"sound", b"x" * 10_001]), [b"sound"]),
        (b"x" * 1_000_000, []),
    ],
)
def test_message_that_holds_no_frames_closes_its_channel_as_invalid(
    message: str | bytes, frames: list[bytes]
) -> None:
    async def test(there: Listening) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", there.port)
        async with stream, trio.open_nursery() as nursery:
            stranger = await trio_websocket.wrap_client_stream(nursery, stream, "a", "/")
            channel = await there.channel()
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await stranger.send_message(message)
            taken, error = await there.all(channel)
            assert taken == frames
            assert isinstance(error, FrameInvalid)
            nursery.cancel_scope.cancel()
        await there.still_serves()

    in_trio(test)


def test_stranger_that_never_upgrades_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "CONNECT_TIMEOUT_S", 0.05)

    async def test(there: Listening) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", there.port) as stranger:
            assert await stranger.receive_some(1) == b""
        assert there.accepted == []

    in_trio(test)


def test_dialling_what_speaks_http_only_says_so_without_waiting() -> None:
    start = time.monotonic()
    text = refusal(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert "HTTP status 404" in text
    assert time.monotonic() - start < websocket.CONNECT_TIMEOUT_S / 2


@pytest.mark.parametrize("answer", [b"\x00\x01\x02\r\n\r\n", b""])
def test_dialling_what_speaks_no_http_is_given_up_in_time(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CONNECT_TIMEOUT_S", 0.2)
    assert "cannot connect" in refusal(answer)


def refusal(answer: bytes) -> str:
    """Dial something that gives this answer to everything; return the error's text."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(10_000)
        if answer:
            await stream.send_all(answer)
        await stream.aclose()

    async def run() -> str:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with Doorbell() as bell, trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, serve, listeners)
                with pytest.raises(TransportError) as caught:
                    await WebSocketTransport().connect(url, bell, nursery)
                nursery.cancel_scope.cancel()
        assert url in str(caught.value)
        return str(caught.value)

    return trio.run(run)


def test_leaving_with_open_channels_takes_no_time_and_tells_the_other_side() -> None:
    async def run() -> None:
        with trio.fail_after(10), Doorbell() as bell:
            async with trio.open_nursery() as nursery:
                async with listening() as there:
                    near = await WebSocketTransport().connect(there.url, bell, nursery)
                    await there.channel()
                    start = trio.current_time()
                assert trio.current_time() - start < websocket.CLOSE_TIMEOUT_S / 2
                while not near.closed:
                    await bell.wait(math.inf)

    trio.run(run)


def test_close_with_a_peer_that_reads_nothing_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.05)

    async def test(there: Listening) -> None:
        with socket.create_connection(("127.0.0.1", there.port)) as deaf:
            deaf.sendall(UPGRADE)
            channel = await there.channel()
            while channel.unsent_bytes < 1_000_000:
                channel.send_nowait([bytes(10_000)] * 1_000)
                await there.bell.wait(trio.current_time() + 0.01)
            channel.close()
            while channel.unsent_bytes:
                await there.bell.wait(trio.current_time() + 0.01)

    in_trio(test)
