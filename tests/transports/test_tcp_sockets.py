"""TCP where the other end is a plain socket: strangers, resets, and what a pass costs."""

from __future__ import annotations

import contextlib
import errno
import math
import resource
import selectors
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio

from paxos.doorbell import Doorbell
from paxos.transport import Channel, ChannelClosed, FrameInvalid, TransportError
from transports import tcp
from transports.framing import wrap
from transports.tcp import TcpTransport


class Listening:
    """A transport that listens, and the channels it accepted."""

    def __init__(self, bell: Doorbell, accepted: list[Channel], port: int) -> None:
        self.bell = bell
        self.accepted = accepted
        self.port = port

    def stranger(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    async def channel(self) -> Channel:
        while not self.accepted:
            await self.bell.wait(math.inf)
        return self.accepted.pop()

    async def take(self, channel: Channel) -> list[bytes]:
        while channel not in await self.bell.wait(math.inf):
            pass
        return channel.receive_nowait()

    async def all(self, channel: Channel) -> tuple[list[bytes], ChannelClosed]:
        frames: list[bytes] = []
        while True:
            try:
                frames += await self.take(channel)
            except ChannelClosed as error:
                return frames, error


@contextlib.asynccontextmanager
async def listening() -> AsyncGenerator[Listening, None]:
    accepted: list[Channel] = []
    with Doorbell() as bell:
        async with TcpTransport().listen("tcp://127.0.0.1:0", bell, accepted.append) as url:
            yield Listening(bell, accepted, int(url.rpartition(":")[2]))


def in_trio(test: Callable[[Listening], Awaitable[None]]) -> None:
    async def run() -> None:
        with trio.fail_after(10):
            async with listening() as there:
                await test(there)

    trio.run(run)


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x00" * 100, b"\xdd\xff\xff\xff\xff"],
)
def test_stranger_that_sends_junk_is_closed_and_others_are_not(junk: bytes) -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as bad, there.stranger() as good:
            one = await there.channel()
            other = await there.channel()
            if one.remote.endswith(f":{good.getsockname()[1]}"):
                one, other = other, one
            bad.sendall(wrap([b"sound"]) + junk)
            frames, error = await there.all(one)
            assert frames == [b"sound"]
            assert isinstance(error, FrameInvalid)
            assert bad.recv(1) == b""
            good.sendall(wrap([b"still here"]))
            assert await there.take(other) == [b"still here"]
            other.close()

    in_trio(test)


def test_stranger_that_leaves_amid_a_frame_closes_without_a_part_of_it() -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as leaver:
            leaver.sendall(wrap([b"whole", b"cut short"])[:-3])
        frames, error = await there.all(await there.channel())
        assert frames == [b"whole"]
        assert not isinstance(error, FrameInvalid)

    in_trio(test)


def test_frames_before_a_reset_are_taken_then_the_reason_is_told() -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as resetter:
            channel = await there.channel()
            resetter.sendall(wrap([b"last words"]))
            assert await there.take(channel) == [b"last words"]
            # Lingering for no time makes close a reset.
            resetter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        frames, error = await there.all(channel)
        assert frames == []
        assert "reset" in str(error)

    in_trio(test)


def test_frames_that_arrived_are_taken_although_sending_failed() -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as half:
            channel = await there.channel()
            half.sendall(wrap([b"last words"]))
            monkey = ConnectionResetError(errno.ECONNRESET, "reset")
            channel._sock = _Failing(channel._sock, monkey)  # type: ignore[attr-defined]
            with pytest.raises(ChannelClosed):
                channel.send_nowait([b"x"])
            assert channel.closed
            assert await there.take(channel) == [b"last words"]
            channel.close()

    in_trio(test)


class _Failing:
    """A socket on which sending fails."""

    def __init__(self, sock: socket.socket, error: OSError) -> None:
        self._sock = sock
        self._error = error

    def send(self, data: bytes) -> int:
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Counting:
    """A socket that counts the calls that cost."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._sock, name)


def test_pass_over_a_ready_channel_costs_one_read_and_one_write() -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as peer:
            channel = await there.channel()
            peer.sendall(wrap([b"x" * 100] * 50))
            while channel not in await there.bell.wait(math.inf):
                pass
            counting = _Counting(channel._sock)  # type: ignore[attr-defined]
            channel._sock = counting  # type: ignore[attr-defined]
            assert len(channel.receive_nowait()) == 50
            channel.send_nowait([b"y" * 100] * 50)
            assert counting.calls == ["recv_into", "send"]
            channel.close()

    in_trio(test)


def test_remainder_of_many_sends_leaves_in_order() -> None:
    async def test(there: Listening) -> None:
        with there.stranger() as slow:
            channel = await there.channel()
            frames = [bytes([number]) * 100_000 for number in range(200)]
            for frame in frames:
                channel.send_nowait([frame])
            assert channel.unsent_bytes > 0
            stream = wrap(frames)
            slow.setblocking(False)
            received = bytearray()
            while len(received) < len(stream):
                with contextlib.suppress(BlockingIOError):
                    received += slow.recv(1 << 20)
                await there.bell.wait(trio.current_time() + 0.001)
            assert bytes(received) == stream
            assert channel.unsent_bytes == 0
            # A socket with room that is still watched for room would wake the node for ever.
            key = there.bell._selector.get_key(channel._sock)  # type: ignore[attr-defined]
            assert key.events == selectors.EVENT_READ
            channel.close()

    in_trio(test)


def test_connection_without_descriptors_left_is_turned_away_and_later_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(there: Listening) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with there.stranger() as unlucky, there.stranger() as lucky:
            held: list[socket.socket] = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
                with contextlib.suppress(OSError):
                    while True:
                        held.append(socket.socket())
                await there.bell.wait(trio.current_time() + 1)
            finally:
                for sock in held:
                    sock.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert unlucky.recv(1) == b""
            lucky.sendall(wrap([b"in"]))
            channel = await there.channel()
            assert await there.take(channel) == [b"in"]
            channel.close()

    in_trio(test)


def test_connecting_to_a_host_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    async def never(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    async def run() -> None:
        with Doorbell() as bell:
            async with trio.open_nursery() as nursery:
                with pytest.raises(TransportError, match=r"^tcp://192\.0\.2\.1:7001: no answer"):
                    await TcpTransport().connect("tcp://192.0.2.1:7001", bell, nursery)

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    trio.run(run, clock=autojump_clock)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("tcp://host.invalid:7001", "cannot find 'host.invalid'"),
        ("tcp://192.0.2.1:0", "this machine does not have that address"),
    ],
)
def test_listening_where_it_cannot_be_says_what_to_do(url: str, says: str) -> None:
    async def run() -> None:
        with Doorbell() as bell, pytest.raises(TransportError) as caught:
            async with TcpTransport().listen(url, bell, Channel.close):
                raise AssertionError("it listens")
        assert url in str(caught.value)
        assert says in str(caught.value)

    trio.run(run)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has no TCP_KEEPIDLE")
def test_connection_to_a_machine_that_may_vanish_is_probed() -> None:
    async def test(there: Listening) -> None:
        with there.stranger():
            channel = await there.channel()
            sock = channel._sock  # type: ignore[attr-defined]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            channel.close()

    in_trio(test)


def test_accepts_of_one_pass_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ACCEPTS_MAX", 3)

    async def test(there: Listening) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(7):
                stack.enter_context(there.stranger())
            counts = []
            while len(there.accepted) < 7:
                await there.bell.wait(math.inf)
                counts.append(len(there.accepted))
            assert counts == [3, 6, 7]
            for channel in there.accepted:
                channel.close()

    in_trio(test)
