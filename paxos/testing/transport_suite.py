"""What every transport must do, as tests that its author inherits and runs with pytest.

    class TestMine(TransportSuite):
        url = "mine://localhost:0"

        def make(self, frame_bytes_max: int) -> Transport:
            return MyTransport(frame_bytes_max)

Owns the meaning of the port's promises (``paxos.transport``): order, wholeness, limits, closing,
backpressure, and one wake-up that is never lost. Knows no transport by name, and takes frames only
when the doorbell says so, as a node does. Every test runs trio itself: no plugin is needed.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple, TypeVar

import trio

from paxos.doorbell import Doorbell
from paxos.transport import (
    FRAME_BYTES_MAX,
    Channel,
    ChannelClosed,
    FrameInvalid,
    Transport,
    TransportError,
)

TEST_TIMEOUT_S = 30.0
"""A wake-up that was lost shows as this: nothing in the suite takes a tenth of it."""

_Suite = TypeVar("_Suite", bound="TransportSuite")


def _in_trio(test: Callable[[_Suite], Awaitable[None]]) -> Callable[[_Suite], None]:
    @functools.wraps(test)
    def run(suite: _Suite) -> None:
        async def bounded() -> None:
            with trio.fail_after(TEST_TIMEOUT_S):
                await test(suite)

        trio.run(bounded, clock=suite.clock())

    return run


def expect(holds: object, text: str) -> None:
    """Fail the test unless ``holds``; a bare assert would vanish under ``python -O``."""
    if not holds:
        raise AssertionError(text)


class End:
    """One end of a channel, and the doorbell of the node it belongs to."""

    def __init__(self, channel: Channel, doorbell: Doorbell) -> None:
        self.channel = channel
        self.doorbell = doorbell
        # Whoever waited for the channel itself may have heard its first ring.
        doorbell.ring(channel)

    async def some(self) -> list[bytes]:
        """Wait for one ring; return the frames it announced, perhaps none."""
        if self.channel in await self.doorbell.wait(math.inf):
            return self.channel.receive_nowait()
        return []

    async def take(self, count: int) -> list[bytes]:
        """Wait until at least ``count`` frames have come; return them."""
        frames: list[bytes] = []
        while len(frames) < count:
            frames += await self.some()
        return frames

    async def rest(self) -> tuple[list[bytes], ChannelClosed]:
        """Take frames until the channel is closed; return them, and how it said so."""
        frames: list[bytes] = []
        while True:
            try:
                frames += await self.some()
            except ChannelClosed as error:
                return frames, error

    async def flush(self) -> None:
        """Answer the doorbell until everything that was sent has left."""
        while self.channel.unsent_bytes:
            await self.doorbell.wait(trio.current_time() + 0.01)


class Wires(NamedTuple):
    """A channel, both ends of it, and what it was made with."""

    near: End
    """The end that dialled."""
    far: End
    """The end that was dialled."""
    url: str
    """Where the far end still listens."""
    dial: Callable[[], Awaitable[tuple[End, End]]]
    """Makes one more channel of the same kind, on the same two doorbells."""


def numbered(count: int, size: int = 8) -> list[bytes]:
    """Return that many different frames of that size."""
    return [number.to_bytes(8, "big").ljust(size, b"\xc4")[:size] for number in range(count)]


class TransportSuite:
    """Inherit, name the subclass ``Test...``, set ``url`` and write ``make``."""

    url: str
    """Where to listen; must ask for any free port or name."""

    def make(self, frame_bytes_max: int) -> Transport:
        """Return a transport that sends and takes frames up to that size."""
        raise NotImplementedError

    def clock(self) -> trio.abc.Clock | None:
        """Return the clock the tests run on; the real one by default."""
        return None

    @contextlib.asynccontextmanager
    async def wired(
        self, near_bytes_max: int = FRAME_BYTES_MAX, far_bytes_max: int = FRAME_BYTES_MAX
    ) -> AsyncGenerator[Wires, None]:
        """One channel between two doorbells."""
        near_transport, far_transport = self.make(near_bytes_max), self.make(far_bytes_max)
        accepted: list[Channel] = []
        ends: list[End] = []
        with Doorbell() as near_bell, Doorbell() as far_bell:

            def accept(channel: Channel) -> None:
                accepted.append(channel)
                far_bell.ring(channel)

            async with (
                trio.open_nursery() as nursery,
                far_transport.listen(self.url, far_bell, accept) as url,
            ):

                async def dial() -> tuple[End, End]:
                    # Answering the doorbell is what accepts: both must go on at once.
                    async with trio.open_nursery() as dialling:
                        dialling.start_soon(_answer_until, far_bell, accepted)
                        channel = await near_transport.connect(url, near_bell, nursery)
                    pair = End(channel, near_bell), End(accepted.pop(), far_bell)
                    ends.extend(pair)
                    return pair

                near, far = await dial()
                yield Wires(near, far, url, dial)
                for end in ends:
                    end.channel.close()
                nursery.cancel_scope.cancel()

    # --- frames -------------------------------------------------------------------------------

    @_in_trio
    async def test_frames_in_one_call_arrive_in_order(self) -> None:
        async with self.wired() as wires:
            wires.near.channel.send_nowait(numbered(100))
            expect(await wires.far.take(100) == numbered(100), "other frames, or another order")

    @_in_trio
    async def test_frames_to_the_dialler_arrive_in_order(self) -> None:
        async with self.wired() as wires:
            wires.far.channel.send_nowait(numbered(100))
            expect(await wires.near.take(100) == numbered(100), "other frames, or another order")

    @_in_trio
    async def test_many_small_frames_over_many_calls_arrive_once_each(self) -> None:
        frames = [bytes([number % 256]) * (number % 41) for number in range(20_000)]
        async with self.wired() as wires, trio.open_nursery() as nursery:
            nursery.start_soon(
                _send_all, wires.near, [frames[i : i + 97] for i in range(0, 20_000, 97)]
            )
            expect(await wires.far.take(20_000) == frames, "frames differ from those sent")

    @_in_trio
    async def test_frames_of_every_header_size_arrive_whole(self) -> None:
        sizes = (0, 1, 31, 32, 255, 256, 65_535, 65_536, 300_000)
        async with self.wired() as wires, trio.open_nursery() as nursery:
            frames = [b"\x93" * size for size in sizes]
            nursery.start_soon(_send_all, wires.near, [frames])
            expect(await wires.far.take(len(sizes)) == frames, "frames differ from those sent")

    @_in_trio
    async def test_nothing_to_take_without_frames_is_an_empty_list(self) -> None:
        async with self.wired() as wires:
            expect(wires.near.channel.receive_nowait() == [], "frames out of nowhere")
            wires.near.channel.send_nowait([])
            wires.near.channel.send_nowait([b"after nothing"])
            expect(await wires.far.take(1) == [b"after nothing"], "no frames became a frame")

    @_in_trio
    async def test_frames_both_ways_at_once_all_arrive(self) -> None:
        frames = numbered(64, 64 * 1024)
        async with self.wired() as wires, trio.open_nursery() as nursery:
            for end in (wires.near, wires.far):
                # Both sides send more than any buffer holds before either takes anything.
                end.channel.send_nowait(frames)
            for end in (wires.near, wires.far):
                nursery.start_soon(_expect_frames, end, frames)

    @_in_trio
    async def test_remote_of_each_end_is_a_text_for_logs(self) -> None:
        async with self.wired() as wires:
            for end in (wires.near, wires.far):
                expect(end.channel.remote, "nobody can tell who is at the other end")

    # --- limits -------------------------------------------------------------------------------

    @_in_trio
    async def test_frame_at_the_limit_arrives_whole(self) -> None:
        frame = bytes(range(256)) * (FRAME_BYTES_MAX // 256)
        async with self.wired() as wires, trio.open_nursery() as nursery:
            nursery.start_soon(_send_all, wires.near, [[frame]])
            expect(await wires.far.take(1) == [frame], "the largest frame differs")

    @_in_trio
    async def test_frame_over_the_limit_when_sent_raises_and_sends_nothing(self) -> None:
        async with self.wired(1_000, 1_000) as wires:
            for end, other in ((wires.near, wires.far), (wires.far, wires.near)):
                try:
                    end.channel.send_nowait([b"before", b"x" * 1_001])
                except ValueError:
                    pass
                else:
                    raise AssertionError("a frame over the limit was taken")
                expect(end.channel.unsent_bytes == 0, "a refused frame waits to be sent")
                end.channel.send_nowait([b"x" * 1_000])
                expect(await other.take(1) == [b"x" * 1_000], "frames of a refused call arrived")

    @_in_trio
    async def test_frame_over_the_limit_when_received_closes_the_channel(self) -> None:
        for size in (1_001, 1_000_000):
            async with self.wired(2_000_000, 1_000) as wires:
                await self._expect_refusal(wires.near, wires.far, size)
            async with self.wired(1_000, 2_000_000) as wires:
                await self._expect_refusal(wires.far, wires.near, size)

    @staticmethod
    async def _expect_refusal(sender: End, taker: End, size: int) -> None:
        with contextlib.suppress(ChannelClosed):
            sender.channel.send_nowait([b"before"])
            sender.channel.send_nowait([b"x" * size, b"after"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_blameless_end, sender)
            frames, error = await taker.rest()
        expect(
            frames == [b"before"], f"of the frames around one over the limit came {frames!r:.80}"
        )
        expect(isinstance(error, FrameInvalid), f"it closed with {error!r}, not FrameInvalid")
        expect(taker.channel.closed, "the channel is still open")

    # --- closing ------------------------------------------------------------------------------

    @_in_trio
    async def test_close_by_this_side_ends_both_verbs(self) -> None:
        async with self.wired() as wires:
            channel = wires.near.channel
            wires.far.channel.send_nowait([b"unread"])
            expect(not channel.closed, "closed before close")
            channel.close()
            channel.close()
            expect(channel.closed and channel.unsent_bytes == 0, "close did not close")
            for verb in (channel.receive_nowait, functools.partial(channel.send_nowait, [b"late"])):
                try:
                    verb()
                except ChannelClosed:
                    continue
                raise AssertionError(f"{verb} on a closed channel did not say so")

    @_in_trio
    async def test_close_by_other_side_rings_and_says_so(self) -> None:
        async with self.wired() as wires:
            expect(await _drained(wires.near) == [], "frames out of nowhere")
            wires.far.channel.close()
            frames, error = await wires.near.rest()
            expect(frames == [], "frames out of nowhere")
            expect(not isinstance(error, FrameInvalid), "a close was taken for a bad frame")
            expect(str(error), "nothing says why it closed")

    @_in_trio
    async def test_close_after_frames_that_left_lets_them_arrive(self) -> None:
        async with self.wired() as wires:
            wires.near.channel.send_nowait(numbered(50))
            await wires.near.flush()
            wires.near.channel.close()
            frames, _ = await wires.far.rest()
            expect(frames == numbered(50), f"{len(frames)} of 50 frames arrived")

    @_in_trio
    async def test_close_amid_large_frames_never_delivers_a_part(self) -> None:
        frames = numbered(100, 200_000)
        async with self.wired() as wires:
            wires.near.channel.send_nowait(frames)
            wires.near.channel.close()
            arrived, error = await wires.far.rest()
            expect(
                arrived == frames[: len(arrived)], "what arrived is not a prefix of whole frames"
            )
            expect(not isinstance(error, FrameInvalid), "a close was taken for a bad frame")

    @_in_trio
    async def test_send_after_close_by_other_side_raises_in_the_end(self) -> None:
        async with self.wired() as wires:
            wires.far.channel.close()
            try:
                while True:
                    wires.near.channel.send_nowait([b"anyone?"])
                    await wires.near.doorbell.wait(trio.current_time() + 0.01)
            except ChannelClosed:
                expect(wires.near.channel.closed, "it raised and is not closed")
            wires.near.doorbell.ring(wires.near.channel)
            frames, _ = await wires.near.rest()
            expect(frames == [], "frames out of nowhere")

    # --- backpressure -------------------------------------------------------------------------

    @_in_trio
    async def test_other_side_that_takes_nothing_makes_unsent_bytes_grow_then_drain(self) -> None:
        frame, sent = bytes(1024 * 1024), 0
        async with self.wired() as wires, trio.open_nursery() as nursery:
            channel = wires.near.channel
            while channel.unsent_bytes <= 32 * len(frame):
                expect(
                    sent < 1_000, "nothing holds the sender back: the other side must be growing"
                )
                channel.send_nowait([frame])
                sent += 1
                await wires.near.doorbell.wait(trio.current_time() + 0.001)
            unsent_bytes = math.inf
            while channel.unsent_bytes < unsent_bytes:
                # Whoever has room somewhere gets the chance to use it.
                unsent_bytes = channel.unsent_bytes
                with trio.move_on_after(0.1):
                    await wires.near.flush()
            expect(
                channel.unsent_bytes, "the other side holds all that it was sent and did not take"
            )
            nursery.start_soon(wires.near.flush)
            arrived = await wires.far.take(sent)
            expect(arrived == [frame] * sent, "frames differ from those sent")
        expect(channel.unsent_bytes == 0, "everything arrived, and yet something is unsent")

    # --- connecting ---------------------------------------------------------------------------

    @_in_trio
    async def test_dialling_again_after_a_close_makes_a_fresh_channel(self) -> None:
        async with self.wired() as wires:
            wires.near.channel.send_nowait([b"never taken"])
            wires.near.channel.close()
            near, far = await wires.dial()
            near.channel.send_nowait([b"hello again"])
            far.channel.send_nowait([b"and again"])
            expect(await far.take(1) == [b"hello again"], "the old channel shows in the new one")
            expect(await near.take(1) == [b"and again"], "the old channel shows in the new one")

    @_in_trio
    async def test_listening_twice_on_any_address_gives_two(self) -> None:
        async with self.wired() as one, self.wired() as other:
            expect(one.url != other.url, f"both listen on {one.url}")

    @_in_trio
    async def test_listening_where_somebody_listens_says_so(self) -> None:
        async with self.wired() as wires:
            with Doorbell() as bell:
                text = await _refusal(self._listen(wires.url, bell))
            expect("in use" in text, f"this does not say that it is in use: {text}")
            expect(wires.url in text, f"this does not name {wires.url}: {text}")

    @_in_trio
    async def test_listening_after_the_listener_left_works_again(self) -> None:
        transport = self.make(FRAME_BYTES_MAX)
        with Doorbell() as bell:
            async with transport.listen(self.url, bell, Channel.close) as url:
                pass
            async with trio.open_nursery() as nursery:
                text = await _refusal(transport.connect(url, bell, nursery))
            expect(url in text, f"this does not name {url}: {text}")
            async with transport.listen(url, bell, Channel.close) as again:
                expect(again == url, f"{again} instead of {url}")

    @_in_trio
    async def test_url_without_sense_is_refused_by_name(self) -> None:
        transport = self.make(FRAME_BYTES_MAX)
        scheme = transport.schemes[0]
        with Doorbell() as bell:
            for url in ("nonsense", f"{scheme}://", f"{scheme}:///path", f"{scheme}://a b/c?d"):
                async with trio.open_nursery() as nursery:
                    text = await _refusal(transport.connect(url, bell, nursery))
                expect(url in text, f"this does not name {url}: {text}")
                text = await _refusal(self._listen(url, bell))
                expect(url in text, f"this does not name {url}: {text}")

    async def _listen(self, url: str, doorbell: Doorbell) -> None:
        async with self.make(FRAME_BYTES_MAX).listen(url, doorbell, Channel.close):
            pass

    # --- one doorbell -------------------------------------------------------------------------

    @_in_trio
    async def test_many_channels_on_one_doorbell_lose_no_ring(self) -> None:
        channels, rounds = 20, 25
        async with self.wired() as wires, trio.open_nursery() as nursery:
            pairs = [(wires.near, wires.far), *[await wires.dial() for _ in range(channels - 1)]]
            nursery.start_soon(_echo, wires.far.doorbell, {far.channel for _, far in pairs})
            heard = dict.fromkeys((near.channel for near, _ in pairs), 0)
            for channel in heard:
                channel.send_nowait([b"0"])
            # Each channel sends its next frame only when the last came back: one ring that is lost
            # stops it for good.
            while any(count < rounds for count in heard.values()):
                ready = await wires.near.doorbell.wait(math.inf)
                expect(len(set(ready)) == len(ready), "a channel is in the list twice")
                for channel in ready:
                    for frame in channel.receive_nowait():
                        expect(int(frame) == heard[channel], "an echo of something else")
                        heard[channel] += 1
                        channel.send_nowait([b"%d" % heard[channel]])
            nursery.cancel_scope.cancel()

    @_in_trio
    async def test_idle_channel_until_the_deadline_rings_for_nothing(self) -> None:
        async with self.wired() as wires:
            expect(await _drained(wires.near) == [], "frames out of nowhere")
            deadline = trio.current_time() + 0.05
            while trio.current_time() < deadline:
                for channel in await wires.near.doorbell.wait(deadline):
                    expect(channel.receive_nowait() == [], "frames out of nowhere")


async def _answer_until(doorbell: Doorbell, accepted: list[Channel]) -> None:
    while not accepted:
        await doorbell.wait(math.inf)


async def _send_all(end: End, calls: list[list[bytes]]) -> None:
    for frames in calls:
        end.channel.send_nowait(frames)
        await end.flush()


async def _expect_frames(end: End, frames: list[bytes]) -> None:
    expect(await end.take(len(frames)) == frames, "frames differ from those sent")
    await end.flush()


async def _expect_blameless_end(sender: End) -> None:
    """The side that sent a bad frame sees a close; it took nothing bad itself."""
    _, error = await sender.rest()
    expect(not isinstance(error, FrameInvalid), "the sender of a bad frame blames the other side")


async def _drained(end: End) -> list[bytes]:
    """Hear the ring that announced the channel; return what it brought."""
    return await end.some()


async def _echo(doorbell: Doorbell, channels: set[Channel]) -> None:
    for channel in channels:
        doorbell.ring(channel)
    while True:
        for channel in await doorbell.wait(math.inf):
            frames = channel.receive_nowait()
            if frames:
                channel.send_nowait(frames)


async def _refusal(attempt: Awaitable[object]) -> str:
    try:
        await attempt
    except TransportError as error:
        return str(error)
    raise AssertionError("it worked, and must not")
