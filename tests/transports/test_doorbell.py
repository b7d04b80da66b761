"""The doorbell: no ring is lost, whoever rings and whenever."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from paxos.doorbell import Doorbell
from paxos.transport import Channel


class Silent:
    """A channel that is only rung for."""

    remote = "nowhere"
    unsent_bytes = 0
    closed = False

    def send_nowait(self, frames: Iterable[bytes]) -> None:
        raise NotImplementedError

    def receive_nowait(self) -> list[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def in_trio(
    test: Callable[[Doorbell], Awaitable[None]], clock: trio.abc.Clock | None = None
) -> None:
    async def run() -> None:
        with trio.fail_after(10), Doorbell() as bell:
            await test(bell)

    trio.run(run, clock=clock)


def test_ring_before_the_wait_is_returned_once_in_order() -> None:
    one, two = Silent(), Silent()

    async def test(bell: Doorbell) -> None:
        for channel in (one, two, one):
            bell.ring(channel)
        assert await bell.wait(math.inf) == [one, two]
        assert await bell.wait(trio.current_time()) == []

    in_trio(test)


def test_ring_during_the_wait_wakes_the_waiting_task() -> None:
    one = Silent()

    async def test(bell: Doorbell) -> None:
        async def ring() -> None:
            await wait_all_tasks_blocked()
            bell.ring(one)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ring)
            assert await bell.wait(math.inf) == [one]

    in_trio(test)


def test_ring_without_a_channel_wakes_with_an_empty_list() -> None:
    async def test(bell: Doorbell) -> None:
        async def ring() -> None:
            await wait_all_tasks_blocked()
            bell.ring()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ring)
            assert await bell.wait(math.inf) == []
        bell.ring()
        assert await bell.wait(math.inf) == []

    in_trio(test)


def test_rings_from_threads_are_all_heard() -> None:
    channels = [Silent() for _ in range(200)]

    async def test(bell: Doorbell) -> None:
        def ring(mine: list[Silent]) -> None:
            for channel in mine:
                bell.ring(channel)

        threads = [threading.Thread(target=ring, args=(channels[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        heard: set[Channel] = set()
        while len(heard) < len(channels):
            heard.update(await bell.wait(math.inf))
        for thread in threads:
            thread.join()
        assert heard == set(channels)

    in_trio(test)


def test_ring_from_a_thread_for_each_wait_is_never_lost() -> None:
    one = Silent()
    rounds = 500

    async def test(bell: Doorbell) -> None:
        heard = threading.Semaphore(0)

        def ring() -> None:
            for _ in range(rounds):
                bell.ring(one)
                heard.acquire()

        thread = threading.Thread(target=ring)
        thread.start()
        for _ in range(rounds):
            while one not in await bell.wait(math.inf):
                pass
            heard.release()
        thread.join()

    in_trio(test)


def test_ring_while_a_wait_is_cancelled_is_in_the_next() -> None:
    one = Silent()

    async def test(bell: Doorbell) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            bell.ring(one)
            await bell.wait(math.inf)
        assert scope.cancelled_caught
        assert await bell.wait(math.inf) == [one]

    in_trio(test)


def test_wait_on_virtual_time_jumps_to_its_deadline() -> None:
    async def test(bell: Doorbell) -> None:
        start = trio.current_time()
        assert await bell.wait(start + 5) == []
        assert trio.current_time() - start == pytest.approx(5)

    in_trio(test, MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("second", "ends"),
    [(6.0, 6.0), (3.0, 3.0), (math.inf, 8.0)],
    ids=["put off", "nearer", "without any"],
)
def test_wait_goes_by_its_own_deadline_whatever_the_one_before_was(
    second: float, ends: float
) -> None:
    one = Silent()

    async def test(bell: Doorbell) -> None:
        start = trio.current_time()

        async def ring() -> None:
            with Doorbell() as clock:
                for at in (1, 8):
                    assert await clock.wait(start + at) == []
                    bell.ring(one)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ring)
            assert await bell.wait(start + 5) == [one]
            rung = await bell.wait(start + second)
            assert trio.current_time() - start == pytest.approx(ends)
            assert rung == ([one] if ends == 8 else [])
            nursery.cancel_scope.cancel()

    in_trio(test, MockClock(autojump_threshold=0))


def test_doorbell_when_closed_leaves_no_task_behind() -> None:
    async def test(_: Doorbell) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with Doorbell() as bell:
            assert await bell.wait(trio.current_time() + 0.01) == []
            assert trio.lowlevel.current_statistics().tasks_living == before + 1
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before

    in_trio(test)


def test_wait_after_its_deadline_returns_at_once_and_still_sees_what_rang() -> None:
    one = Silent()

    async def test(bell: Doorbell) -> None:
        assert await bell.wait(-math.inf) == []
        bell.ring(one)
        assert await bell.wait(-math.inf) == [one]

    in_trio(test)


def test_wait_that_returns_at_once_lets_other_tasks_run() -> None:
    one = Silent()

    async def test(bell: Doorbell) -> None:
        others = 0

        async def other() -> None:
            nonlocal others
            while others < 10:
                others += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(20):
                bell.ring(one)
                await bell.wait(math.inf)
            assert others == 10

    in_trio(test)


def test_socket_with_data_rings_until_it_is_read() -> None:
    one = Silent()
    near, far = socket.socketpair()

    async def test(bell: Doorbell) -> None:
        near.setblocking(False)
        bell.watch_channel(near, one, lambda: None)
        far.send(b"x")
        assert await bell.wait(math.inf) == [one]
        assert await bell.wait(math.inf) == [one]
        near.recv(10)
        assert await bell.wait(trio.current_time() + 0.01) == []
        bell.forget(near)
        far.send(b"x")
        assert await bell.wait(trio.current_time() + 0.01) == []

    with near, far:
        in_trio(test)


def test_socket_with_data_during_the_wait_is_in_what_that_wait_returns() -> None:
    one = Silent()
    near, far = socket.socketpair()

    async def test(bell: Doorbell) -> None:
        async def send() -> None:
            await wait_all_tasks_blocked()
            far.send(b"x")

        near.setblocking(False)
        bell.watch_channel(near, one, lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await bell.wait(math.inf) == [one]
        bell.forget(near)

    with near, far:
        in_trio(test)


def test_socket_with_room_is_flushed_only_while_that_is_wanted() -> None:
    one = Silent()
    near, far = socket.socketpair()
    flushed: list[int] = []

    async def test(bell: Doorbell) -> None:
        def flush() -> None:
            flushed.append(1)
            bell.want_writable(near, False)

        near.setblocking(False)
        bell.watch_channel(near, one, flush)
        assert await bell.wait(trio.current_time() + 0.01) == []
        assert not flushed
        bell.want_writable(near, True)
        deadline = trio.current_time() + 5
        while not flushed:
            assert await bell.wait(deadline) == []
        assert await bell.wait(trio.current_time() + 0.01) == []
        assert flushed == [1]
        bell.forget(near)

    with near, far:
        in_trio(test)


def test_doorbell_when_closed_leaves_no_descriptor_open() -> None:
    def open_descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    before = open_descriptors()
    bell = Doorbell()
    bell.ring(cast("Channel", Silent()))
    bell.close()
    bell.close()
    assert open_descriptors() == before
    bell.ring()  # a thread that finishes late must not fail
