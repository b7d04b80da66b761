"""Links: who is believed, what is dropped, and that connections come back by themselves.

On a network in memory and virtual time, so that minutes of silence and backoff take no time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from paxos.core.ids import Voter
from paxos.doorbell import Doorbell
from paxos.runtime import handshake, links
from paxos.runtime.handshake import Hello, Kind, Rejected, Welcome
from paxos.runtime.links import (
    ClientDown,
    ClientUp,
    LinkEvent,
    Links,
    Member,
    Origin,
    PeerDown,
    PeerLink,
    PeerUp,
    Taken,
)
from paxos.runtime.options import NodeOptions
from paxos.storage.base import Identity
from paxos.transport import Channel, ChannelClosed, Transport
from transports.memory import MemoryNetwork, MemoryTransport

CLUSTER = "0123456789abcdef" * 2
MEMBERS = {node: Member(f"memory://n{node}", 100 + node) for node in (1, 2, 3)}
V1, V2, V3 = (Voter(node, 100 + node) for node in (1, 2, 3))
ELECTION_TIMEOUT_S = 0.5
HELLO = Hello(CLUSTER, Kind.REPLICA, node=3, incarnation=103, boot=7, expected=1)
CLIENT = Hello(CLUSTER, Kind.CLIENT)


class Node:
    """What a node does with its links, without a replica: it keeps what they say."""

    def __init__(
        self,
        world: World,
        node: int,
        boot: int = 0,
        options: NodeOptions | None = None,
        url: str = "",
    ) -> None:
        self.bell = Doorbell()
        self.events: list[LinkEvent] = []
        self.frames: list[tuple[Origin, bytes]] = []
        self.url = url or MEMBERS[node].url
        self._world = world
        self._passed = trio.Event()
        self._scope = trio.CancelScope()
        transport = world.network.transport(self.url.removeprefix("memory://"))

        def transport_for(_: str) -> Transport:
            return transport

        self.links = Links(
            identity=Identity(CLUSTER, node, 100 + node),
            boot=boot or node,
            members=world.members,
            doorbell=self.bell,
            transport_for=transport_for,
            rng=random.Random(node),
            options=options or NodeOptions(),
            election_timeout_s=ELECTION_TIMEOUT_S,
        )

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.bell, self._scope:
            async with trio.open_nursery() as nursery:
                assert await nursery.start(self.links.run, self.url) == self.url
                task_status.started()
                while True:
                    taken = self.links.take(await self.bell.wait(math.inf))
                    self.events += self.links.take_events()
                    self.frames += [(each.origin, frame) for each in taken for frame in each.frames]
                    self._passed.set()
                    self._passed = trio.Event()

    def stop(self) -> None:
        self._scope.cancel()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            # Not everything that changes is worth a pass of the node: look again soon.
            with trio.move_on_after(0.01):
                await self._passed.wait()

    async def until_event(self, *events: LinkEvent) -> None:
        await self.until(lambda: set(events) <= set(self.events))

    def link(self, node: int) -> PeerLink:
        return next(each for each in self.links.status().peers if each.node == node)


class Stranger:
    """One raw channel to a node, in the hands of the test."""

    def __init__(self, channel: Channel, bell: Doorbell) -> None:
        self.channel = channel
        self.bell = bell
        bell.ring(channel)

    def say(self, *frames: bytes | Hello) -> None:
        self.channel.send_nowait(
            [handshake.encode(each) if isinstance(each, Hello) else each for each in frames]
        )

    async def hear(self) -> bytes:
        return (await self.take(1))[0]

    async def take(self, count: int) -> list[bytes]:
        frames: list[bytes] = []
        while len(frames) < count:
            if self.channel in await self.bell.wait(math.inf):
                frames += self.channel.receive_nowait()
        return frames

    async def welcome(self) -> Welcome:
        return handshake.decode_answer(await self.hear())

    async def refusal(self) -> str:
        answer = handshake.decode(await self.hear())
        assert isinstance(answer, Rejected)
        await self.end()
        return answer.reason

    async def end(self) -> None:
        """Wait until the other side closes."""
        with suppress(ChannelClosed):
            while True:
                await self.hear()


class World:
    """A network, and what runs on it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.members = dict(MEMBERS)
        self._nursery = nursery
        self._bells: list[Doorbell] = []

    async def node(
        self, node: int, boot: int = 0, options: NodeOptions | None = None, url: str = ""
    ) -> Node:
        started = Node(self, node, boot, options, url)
        await self._nursery.start(started.run)
        return started

    async def stranger(self, to: str = "n1", name: str = "stranger") -> Stranger:
        bell = Doorbell()
        self._bells.append(bell)
        channel = await self.network.transport(name).connect(f"memory://{to}", bell, self._nursery)
        return Stranger(channel, bell)

    def start(self, talk: Callable[[Node, Node], Awaitable[None]], one: Node, other: Node) -> None:
        self._nursery.start_soon(talk, one, other)

    def close(self) -> None:
        for bell in self._bells:
            bell.close()


@asynccontextmanager
async def opened() -> AsyncGenerator[World, None]:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        try:
            yield world
        finally:
            nursery.cancel_scope.cancel()
            world.close()


def in_world(test: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        with trio.fail_after(1_000):
            async with opened() as world:
                await test(world)

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def elapse(seconds: float) -> None:
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


async def keep_talking(one: Node, other: Node) -> None:
    """As heartbeats do, nodes 1 and 2 to each other."""
    while one.links.send(2, [b"still here"]) and other.links.send(1, [b"still here"]):
        await elapse(0.1)


# --- peers ----------------------------------------------------------------------------------------


def test_three_nodes_started_apart_are_all_connected_once_per_pair() -> None:
    async def test(world: World) -> None:
        three = await world.node(3)
        one = await world.node(1)
        two = await world.node(2)
        await one.until_event(PeerUp(V2), PeerUp(V3))
        await two.until_event(PeerUp(V1), PeerUp(V3))
        await three.until_event(PeerUp(V1), PeerUp(V2))
        for node in (one, two, three):
            assert len(node.events) == 2
            assert all(peer.connected and peer.trouble == "" for peer in node.links.status().peers)
        assert one.link(3).remote == "memory://n3"

    in_world(test)


def test_frames_to_a_peer_arrive_with_the_voter_they_came_from() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2)
        await one.until_event(PeerUp(V2))
        await two.until_event(PeerUp(V1))
        assert one.links.send(2, [b"a", b"b"])
        assert two.links.send(1, [b"c"])
        await two.until(lambda: len(two.frames) == 2)
        await one.until(lambda: one.frames)
        assert two.frames == [(V1, b"a"), (V1, b"b")]
        assert one.frames == [(V2, b"c")]

    in_world(test)


def test_frames_to_a_peer_that_is_not_connected_are_dropped_and_counted() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        assert not one.links.send(2, [b"a", b"b"])
        assert not one.links.send(2, [b"c"])
        assert one.link(2) == PeerLink(2, False, "", 0, 2, "")

    in_world(test)


def test_outbox_over_its_bound_drops_whole_sends_and_only_those() -> None:
    async def test(world: World) -> None:
        one = await world.node(1, options=NodeOptions(peer_unsent_bytes_max=1_000_000))
        deaf = await world.stranger()
        deaf.say(HELLO)
        await deaf.welcome()
        await one.until_event(PeerUp(V3))
        sent = 0
        while one.links.send(3, [b"%d" % sent, bytes(100_000)]):
            sent += 1
            assert sent < 100
        assert one.link(3).sends_dropped == 1
        assert 1_000_000 < one.link(3).unsent_bytes <= 1_000_000 + 100_010
        frames = await deaf.take(2 * sent)
        assert frames[0::2] == [b"%d" % number for number in range(sent)]
        assert one.links.send(3, [b"room again"])
        assert await deaf.hear() == b"room again"

    in_world(test)


def test_link_that_is_cut_and_healed_connects_again_soon() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2)
        await one.until_event(PeerUp(V2))
        world.network.cut("n1", "n2")
        await one.until(lambda: one.events == [PeerUp(V2), PeerDown(V2)])
        await two.until(lambda: "the link is cut" in two.link(1).trouble)
        world.network.heal("n1", "n2")
        start = trio.current_time()
        await one.until(lambda: len(one.events) == 3)
        assert trio.current_time() - start < links.RETRY_MAX_S
        assert one.events[2] == PeerUp(V2)
        await two.until(lambda: two.link(1).trouble == "")

    in_world(test)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When anybody tried to connect to anybody."""
    times: list[float] = []
    connect = MemoryNetwork.connect

    def counted(self: MemoryNetwork, *arguments: object) -> object:
        times.append(trio.current_time())
        return connect(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryNetwork, "connect", counted)
    return times


def test_attempts_while_a_peer_stays_away_back_off_to_a_bound(attempts: list[float]) -> None:
    async def test(world: World) -> None:
        await world.node(2)
        await elapse(30)
        pauses = [after - before for before, after in itertools.pairwise(attempts)]
        assert pauses[0] <= links.RETRY_FIRST_S
        assert max(pauses) <= links.RETRY_MAX_S
        assert all(pause >= links.RETRY_MAX_S / 2 for pause in pauses[6:])
        assert len({round(pause, 6) for pause in pauses}) == len(pauses), "no jitter"

    in_world(test)


def test_peer_that_restarts_is_connected_again_under_its_new_process() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2, boot=1)
        await one.until_event(PeerUp(V2))
        two.stop()
        await one.until_event(PeerDown(V2))
        await world.node(2, boot=2)
        await one.until(lambda: one.events == [PeerUp(V2), PeerDown(V2), PeerUp(V2)])

    in_world(test)


def test_peer_that_falls_silent_is_given_up() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        silent = await world.stranger()
        silent.say(HELLO)
        await one.until_event(PeerUp(V3))
        start = trio.current_time()
        await one.until_event(PeerDown(V3))
        waited = trio.current_time() - start
        assert waited == pytest.approx(
            links.SILENCE_TIMEOUTS * ELECTION_TIMEOUT_S, abs=2 * links.CHECK_INTERVAL_S
        )
        await silent.end()

    in_world(test)


def test_peers_are_not_called_silent_after_the_node_itself_was_held_up() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        peer = await world.stranger()
        peer.say(HELLO)
        await one.until_event(PeerUp(V3))
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        for _ in range(10):
            clock.jump(60)
            peer.say(b"said while the node was held up")
            await elapse(1)
        assert one.events == [PeerUp(V3)]
        assert len(one.frames) == 10

    in_world(test)


def test_link_that_worked_is_dialled_again_at_once_however_long_it_took_before() -> None:
    async def test(world: World) -> None:
        two = await world.node(2)
        await elapse(30)
        one = await world.node(1)
        await one.until_event(PeerUp(V2))
        await two.until_event(PeerUp(V1))
        start = trio.current_time()
        world.network.cut("n1", "n2")
        world.network.heal("n1", "n2")
        await one.until(lambda: one.events == [PeerUp(V2), PeerDown(V2), PeerUp(V2)])
        assert trio.current_time() - start < 2 * links.RETRY_FIRST_S

    in_world(test)


def test_node_that_stops_closes_every_channel() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        greeting, client = await world.stranger(), await world.stranger()
        client.say(CLIENT)
        await client.welcome()
        one.stop()
        await greeting.end()
        await client.end()

    in_world(test)


# --- two processes with one id --------------------------------------------------------------------


def test_second_process_with_a_live_nodes_id_is_refused_and_both_are_named() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        first = await world.stranger(name="first")
        first.say(HELLO)
        await first.welcome()
        second = await world.stranger(name="second")
        second.say(replace(HELLO, boot=8))
        reason = await second.refusal()
        for part in ("two processes claim node 3", "memory://first", "memory://second", "stop one"):
            assert part in reason
        first.say(b"still believed")
        await one.until(lambda: one.frames == [(V3, b"still believed")])
        assert one.events == [PeerUp(V3)]

    in_world(test)


def test_two_nodes_with_one_id_leave_the_first_working_and_the_second_told() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        first = await world.node(2, boot=1)
        await one.until_event(PeerUp(V2))
        await first.until_event(PeerUp(V1))
        world.start(keep_talking, one, first)
        twin = await world.node(2, boot=2, url="memory://twin")
        await twin.until(lambda: "two processes claim node 2" in twin.link(1).trouble)
        await elapse(20)
        assert one.events == [PeerUp(V2)]
        first.stop()
        await twin.until_event(PeerUp(V1))

    in_world(test)


def test_second_process_is_believed_once_the_first_was_silent() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        first = await world.stranger()
        first.say(HELLO)
        await first.welcome()
        second = await world.stranger()
        await elapse(ELECTION_TIMEOUT_S + 0.1)
        second.say(replace(HELLO, boot=8))
        await second.welcome()
        await first.end()
        await one.until(lambda: one.events == [PeerUp(V3), PeerDown(V3), PeerUp(V3)])

    in_world(test)


def test_newer_connection_of_the_same_process_replaces_the_older() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        older, newer = await world.stranger(), await world.stranger()
        older.say(HELLO)
        await older.welcome()
        newer.say(HELLO, b"through the newer")
        await newer.welcome()
        await older.end()
        await one.until(lambda: one.frames == [(V3, b"through the newer")])
        assert one.events == [PeerUp(V3), PeerDown(V3), PeerUp(V3)]

    in_world(test)


# --- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "says"),
    [
        (replace(HELLO, cluster="ff" * 16), "belongs to cluster"),
        (replace(HELLO, expected=2), "this is node 1, not node 2"),
        (replace(HELLO, node=9), "node 9 is not another member"),
        (replace(HELLO, incarnation=9), "node 3 has incarnation"),
        (b"junk", "too short for a handshake"),
        (b"mpaxos\x00\x03\x01\x90", "protocol version 2, the other side 3"),
    ],
)
def test_stranger_is_told_why_and_closed_and_others_are_not(
    hello: Hello | bytes, says: str
) -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        peer, stranger = await world.stranger(), await world.stranger()
        peer.say(HELLO)
        await peer.welcome()
        stranger.say(hello, b"and more")
        assert says in await stranger.refusal()
        peer.say(b"unharmed")
        await one.until(lambda: one.frames == [(V3, b"unharmed")])
        assert one.links.status().frames_bad == isinstance(hello, bytes)

    in_world(test)


def test_connection_without_a_handshake_is_closed_in_time() -> None:
    async def test(world: World) -> None:
        await world.node(1)
        mute = await world.stranger()
        start = trio.current_time()
        await mute.end()
        assert trio.current_time() - start == pytest.approx(
            links.HANDSHAKE_TIMEOUT_S, abs=2 * links.CHECK_INTERVAL_S
        )

    in_world(test)


def test_connections_without_a_handshake_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "GREETINGS_MAX", 3)

    async def test(world: World) -> None:
        await world.node(1)
        mute = [await world.stranger() for _ in range(4)]
        assert [each.channel.closed for each in mute] == [False, False, False, True]
        mute[0].say(CLIENT)
        await mute[0].welcome()
        assert not (await world.stranger()).channel.closed

    in_world(test)


def test_frame_over_the_limit_closes_its_channel_and_is_counted() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        bad, good = await world.stranger(), await world.stranger()
        for each in (bad, good):
            each.say(CLIENT)
            await each.welcome()
        bad.channel._frame_bytes_max = math.inf  # type: ignore[attr-defined]
        bad.say(bytes(9 * 1024 * 1024))
        await one.until_event(ClientDown(1))
        good.say(b"unharmed")
        await one.until(lambda: one.frames == [(2, b"unharmed")])
        assert one.links.status().frames_bad == 1

    in_world(test)


def test_channel_rejected_by_the_codec_is_closed_and_counted() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        client = await world.stranger()
        client.say(CLIENT)
        await client.welcome()
        (channel,) = one.links._links
        one.links.reject(channel, "no message")
        one.links.reject(channel, "no message")
        await client.end()
        await one.until_event(ClientDown(1))
        assert one.links.status().frames_bad == 1
        assert one.links.take([channel]) == [Taken(channel, None, [])]

    in_world(test)


# --- where a url leads ----------------------------------------------------------------------------


def test_url_that_leads_to_another_node_is_told_on_the_dialling_side() -> None:
    async def test(world: World) -> None:
        world.members[2] = Member("memory://n1", 102)
        one = await world.node(1)
        three = await world.node(3)
        await three.until(lambda: "this is node 1, not node 2" in three.link(2).trouble)
        assert not three.link(2).connected
        await one.until_event(PeerUp(V3))

    in_world(test)


def test_attempts_at_a_peer_that_refuses_back_off_further_than_at_one_that_is_away(
    attempts: list[float],
) -> None:
    async def test(world: World) -> None:
        bell = Doorbell()

        def refuse(channel: Channel) -> None:
            channel.send_nowait([handshake.encode(Rejected("not you"))])

        async with world.network.transport("n1").listen("memory://n1", bell, refuse):
            two = await world.node(2)
            await elapse(30)
            two.stop()
        bell.close()
        pauses = [after - before for before, after in itertools.pairwise(attempts)]
        assert all(pause >= links.RETRY_REFUSED_MAX_S / 2 for pause in pauses[6:])
        assert len(pauses) > 20

    in_world(test)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (handshake.encode(Welcome(CLUSTER, 1, 999, 5)), "node 1 has incarnation 65"),
        (handshake.encode(Welcome("ff" * 16, 1, 101, 5)), "reached a node of cluster ffff"),
        (handshake.encode(Welcome(CLUSTER, 2, 102, 5)), "reached node 2, not node 1"),
        (handshake.encode(HELLO), "must be Welcome or Rejected"),
        (b"HTTP/1.1 400 Bad Request", "is the other side a paxos node?"),
    ],
)
def test_answer_of_another_than_the_dialled_is_not_believed(answer: bytes, says: str) -> None:
    async def test(world: World) -> None:
        bell = Doorbell()

        def accept(channel: Channel) -> None:
            channel.send_nowait([answer, b"a message"])

        transport = world.network.transport("n1")
        async with transport.listen("memory://n1", bell, accept):
            two = await world.node(2)
            await two.until(lambda: says in two.link(1).trouble)
            assert two.events == []
            assert two.frames == []
            two.stop()
        bell.close()

    in_world(test)


def test_frames_that_came_before_the_dialler_knew_the_channel_are_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = MemoryTransport.connect

    async def slow(
        self: MemoryTransport, url: str, doorbell: Doorbell, nursery: trio.Nursery
    ) -> Channel:
        channel = await connect(self, url, doorbell, nursery)
        # As with a WebSocket, whose tasks run before the caller does: its ring goes to nobody.
        await elapse(1)
        return channel

    async def test(world: World) -> None:
        bell = Doorbell()

        def accept(channel: Channel) -> None:
            channel.send_nowait([handshake.encode(Welcome(CLUSTER, 1, 101, 5)), b"early"])

        monkeypatch.setattr(MemoryTransport, "connect", slow)
        async with world.network.transport("n1").listen("memory://n1", bell, accept):
            two = await world.node(2)
            await two.until(lambda: two.frames == [(V1, b"early")])
            assert two.events == [PeerUp(V1)]
            two.stop()
        bell.close()

    in_world(test)


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", [CLUSTER, ""])
def test_client_is_welcomed_with_every_members_url(cluster: str) -> None:
    async def test(world: World) -> None:
        one = await world.node(1, boot=55)
        client = await world.stranger()
        client.say(replace(CLIENT, cluster=cluster), b"in one breath")
        urls = {node: member.url for node, member in MEMBERS.items()}
        assert await client.welcome() == Welcome(CLUSTER, 1, 101, 55, urls)
        await one.until(lambda: one.frames == [(1, b"in one breath")])
        assert one.events == [ClientUp(1)]
        assert one.links.status().clients == 1
        assert one.links.reply(1, [b"answer"])
        assert await client.hear() == b"answer"

    in_world(test)


def test_client_that_leaves_is_gone_and_its_number_is_not_used_again() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        for number in (1, 2):
            client = await world.stranger()
            client.say(CLIENT)
            await client.welcome()
            client.channel.close()
            await one.until_event(ClientUp(number), ClientDown(number))
            assert not one.links.reply(number, [b"too late"])
        assert one.links.status().clients == 0

    in_world(test)


def test_client_that_does_not_read_is_cut_off_at_its_bound() -> None:
    async def test(world: World) -> None:
        one = await world.node(1, options=NodeOptions(client_unsent_bytes_max=1_000_000))
        client = await world.stranger()
        client.say(CLIENT)
        await client.welcome()
        sent = 0
        while one.links.reply(1, [bytes(100_000)]):
            sent += 1
            assert sent < 100
        await one.until_event(ClientDown(1))
        await client.end()

    in_world(test)


def test_client_over_the_limit_is_told_and_a_place_that_frees_is_given() -> None:
    async def test(world: World) -> None:
        one = await world.node(1, options=NodeOptions(clients_max=1))
        first, second = await world.stranger(), await world.stranger()
        first.say(CLIENT)
        await first.welcome()
        second.say(CLIENT)
        reason = await second.refusal()
        assert "node 1 has 1 client connections, its limit" in reason
        assert "clients_max" in reason
        first.channel.close()
        await one.until_event(ClientDown(1))
        third = await world.stranger()
        third.say(CLIENT)
        await third.welcome()

    in_world(test)


def test_channel_that_closes_while_it_is_sent_to_is_reported_once() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        peer, client = await world.stranger(name="peer"), await world.stranger(name="client")
        peer.say(HELLO)
        client.say(CLIENT)
        await peer.welcome()
        await client.welcome()
        await one.until_event(PeerUp(V3), ClientUp(1))
        # In this very pass, before the node has heard of the cut.
        world.network.cut("n1", "peer")
        world.network.cut("n1", "client")
        assert not one.links.send(3, [b"x"])
        assert not one.links.reply(1, [b"x"])
        await one.until_event(PeerDown(V3), ClientDown(1))
        assert len(one.events) == 4

    in_world(test)
