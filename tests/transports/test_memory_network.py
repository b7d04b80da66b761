"""The network within a process: names, and links that tests cut."""

from __future__ import annotations

import outcome
import pytest
import trio

from paxos.doorbell import Doorbell
from paxos.transport import Channel, ChannelClosed, TransportError
from transports.memory import DEFAULT_NETWORK, MemoryNetwork, MemoryTransport


async def _connect(network: MemoryNetwork, dialler: str, bell: Doorbell) -> Channel:
    async with trio.open_nursery() as nursery:
        attempt = await outcome.acapture(
            network.transport(dialler).connect, "memory://hub", bell, nursery
        )
    return attempt.unwrap()


def test_cut_between_two_names_closes_both_ends_and_no_other_channel() -> None:
    async def run() -> None:
        network, accepted = MemoryNetwork(), list[Channel]()
        with Doorbell() as bell:
            async with network.transport("hub").listen("memory://hub", bell, accepted.append):
                one = await _connect(network, "one", bell)
                two = await _connect(network, "two", bell)
                one.send_nowait([b"before the cut"])
                network.cut("hub", "one")
                assert one.closed
                assert accepted[0].receive_nowait() == [b"before the cut"]
                for end in (one, accepted[0]):
                    with pytest.raises(ChannelClosed, match="the link was cut"):
                        end.receive_nowait()
                two.send_nowait([b"unharmed"])
                assert accepted[1].receive_nowait() == [b"unharmed"]

    trio.run(run)


def test_connect_over_a_cut_link_fails_until_it_is_healed() -> None:
    async def run() -> None:
        network = MemoryNetwork()
        with Doorbell() as bell:
            async with network.transport("hub").listen("memory://hub", bell, lambda _: None):
                network.cut("one", "hub")
                with pytest.raises(TransportError, match="the link is cut"):
                    await _connect(network, "one", bell)
                assert not (await _connect(network, "two", bell)).closed
                network.heal("hub", "one")
                assert not (await _connect(network, "one", bell)).closed

    trio.run(run)


def test_names_on_one_network_are_unknown_on_another() -> None:
    async def run() -> None:
        with Doorbell() as bell:
            async with (
                MemoryNetwork().transport("hub").listen("memory://hub", bell, lambda _: None)
            ):
                with pytest.raises(TransportError, match="nobody listens there"):
                    await _connect(MemoryNetwork(), "one", bell)

    trio.run(run)


def test_transport_without_a_network_uses_the_one_of_the_process() -> None:
    async def run() -> None:
        with Doorbell() as bell:
            async with MemoryTransport().listen("memory://hub", bell, lambda _: None):
                assert not (await _connect(DEFAULT_NETWORK, "one", bell)).closed

    trio.run(run)
