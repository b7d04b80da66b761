"""Links whose members come and go: who is dialled, who is taken in, who is refused, and how."""

from __future__ import annotations

from dataclasses import replace

import trio

from paxos.core.config import FEATURE, FEATURE_FIRST
from paxos.core.ids import Voter
from paxos.doorbell import Doorbell
from paxos.runtime import links
from paxos.runtime.handshake import Hello, Kind, Rejected, Welcome, decode_hello, encode
from paxos.runtime.links import Member, PeerDown, PeerUp
from tests.transports.test_links import (
    CLUSTER,
    ELECTION_TIMEOUT_S,
    HELLO,
    MEMBERS,
    V1,
    V2,
    V3,
    Node,
    World,
    elapse,
    in_world,
    keep_talking,
)

V4 = Voter(4, 104)
HELLO_4 = replace(HELLO, node=4, incarnation=104)
FOUR = {**MEMBERS, 4: Member("memory://n4", 104)}
LEAVING_S = links.LEAVING_TIMEOUTS * ELECTION_TIMEOUT_S


def refused(node: Node, peer: int) -> str:
    """Return why the last attempt to reach ``peer`` failed."""
    return node.link(peer).trouble


def test_new_member_is_dialled_by_it_and_taken_in_by_those_that_follow() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        world.members = FOUR
        four = await world.node(4, url="memory://n4")
        await four.until(lambda: "not another member" in refused(four, 1))
        one.links.follow(FOUR, 5)
        await one.until_event(PeerUp(V4))
        await four.until_event(PeerUp(V1))

    in_world(test)


def test_member_that_is_new_with_a_smaller_id_is_dialled_at_once() -> None:
    async def test(world: World) -> None:
        two, three = await world.node(2), await world.node(3)
        three.links.follow({2: MEMBERS[2], 3: MEMBERS[3]}, 4)
        await three.until_event(PeerUp(V2))
        one = await world.node(1)
        await elapse(LEAVING_S + 1)
        before = len(three.events)
        three.links.follow(MEMBERS, 4)
        await three.until(lambda: PeerUp(V1) in three.events[before:])
        await one.until_event(PeerUp(V3))
        assert two.link(3).connected

    in_world(test)


def test_stranger_with_an_id_that_may_be_new_is_taken_in_where_members_change() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        one.links.follow(MEMBERS, 4)
        joiner = await world.stranger()
        joiner.say(HELLO_4)
        assert (await joiner.welcome()).node == 1
        await one.until_event(PeerUp(V4))
        assert one.link(4).connected
        # In another life than the configuration says, once there is one that names it.
        one.links.follow({**MEMBERS, 4: Member("memory://n4", 999)}, 5)
        await one.until_event(PeerDown(V4))

    in_world(test)


def test_strangers_beyond_their_bound_are_refused_and_members_are_not() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        one.links.follow(MEMBERS, 4)
        for number in range(links.STRANGERS_MAX):
            joiner = await world.stranger()
            joiner.say(replace(HELLO, node=10 + number, incarnation=5))
            await joiner.welcome()
        late = await world.stranger()
        late.say(HELLO_4)
        assert "node 4 is not another member" in await late.refusal()
        member = await world.stranger()
        member.say(HELLO)
        await member.welcome()

    in_world(test)


def test_removed_member_stays_for_a_while_and_is_then_refused_in_words() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2)
        await one.until_event(PeerUp(V2))
        world.start(keep_talking, one, two)
        remaining = {node: MEMBERS[node] for node in (1, 3)}
        one.links.follow(remaining, 4)
        await elapse(LEAVING_S - 1)
        assert one.link(2).connected, "it could not hear that it was removed"
        await one.until_event(PeerDown(V2))
        await two.until(lambda: "node 2 was removed from cluster" in refused(two, 1))
        assert [peer.node for peer in one.links.status().peers] == [3]

    in_world(test)


def test_removed_member_that_comes_back_as_a_member_is_not_sent_away() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2)
        await one.until_event(PeerUp(V2))
        world.start(keep_talking, one, two)
        one.links.follow({node: MEMBERS[node] for node in (1, 3)}, 4)
        await elapse(1)
        one.links.follow(MEMBERS, 4)
        await elapse(2 * LEAVING_S)
        assert one.events == [PeerUp(V2)]

    in_world(test)


def test_removed_member_is_dialled_no_more() -> None:
    async def test(world: World) -> None:
        three = await world.node(3)
        three.links.follow({2: MEMBERS[2], 3: MEMBERS[3]}, 4)
        await elapse(LEAVING_S + 1)
        one = await world.node(1)
        await elapse(10)
        assert one.events == []
        assert three.events == []

    in_world(test)


def test_welcome_names_the_present_members_and_where_they_listen() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        moved = {1: MEMBERS[1], 2: Member("memory://moved", 102), 4: FOUR[4]}
        one.links.follow(moved, 5)
        client = await world.stranger()
        client.say(Hello(CLUSTER, Kind.CLIENT))
        welcome = await client.welcome()
        assert welcome.members == {1: "memory://n1", 2: "memory://moved", 4: "memory://n4"}

    in_world(test)


def test_peer_that_understands_less_than_the_cluster_asks_is_refused_in_words() -> None:
    async def test(world: World) -> None:
        one = await world.node(1)
        one.links.follow(MEMBERS, 4, FEATURE)
        old = await world.stranger()
        old.say(replace(HELLO, feature=FEATURE_FIRST))
        assert f"feature {FEATURE}" in await old.refusal()

    in_world(test)


def test_peers_tell_each_other_what_they_understand() -> None:
    async def test(world: World) -> None:
        one, two = await world.node(1), await world.node(2)
        await one.until_event(PeerUp(V2))
        await two.until_event(PeerUp(V1))
        assert [each.feature for each in (*one.events, *two.events)] == [FEATURE, FEATURE]  # type: ignore[union-attr]
        old = await world.stranger()
        old.say(replace(HELLO, feature=FEATURE_FIRST))
        await old.welcome()
        await one.until_event(PeerUp(V3))
        assert one.events[-1].feature == FEATURE_FIRST  # type: ignore[union-attr]

    in_world(test)


def test_dialled_peer_of_an_older_release_is_dialled_again_at_once_in_its_own_words() -> None:
    async def test(world: World) -> None:
        told: list[Hello] = []
        before: list[float] = []
        async with trio.open_nursery() as nursery:
            await listen_as_before(world, nursery, told, before)
            three = await world.node(3)
            await three.until_event(PeerUp(V1))
            assert [each.feature for each in told] == [FEATURE, FEATURE_FIRST]
            assert before[1] - before[0] < links.RETRY_FIRST_S / 10
            assert three.events[0].feature == FEATURE_FIRST  # type: ignore[union-attr]
            assert three.link(1).trouble == ""
            nursery.cancel_scope.cancel()

    in_world(test)


async def listen_as_before(
    world: World, nursery: trio.Nursery, told: list[Hello], at: list[float]
) -> None:
    """Answer at node 1's URL as a release before features does."""
    bell = Doorbell()
    world._bells.append(bell)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        transport = world.network.transport("n1")
        async with transport.listen("memory://n1", bell, bell.ring):
            task_status.started()
            while True:
                for channel in await bell.wait(trio.current_time() + 1_000):
                    for frame in channel.receive_nowait():
                        hello = decode_hello(frame)
                        told.append(hello)
                        at.append(trio.current_time())
                        if hello.feature == FEATURE_FIRST:
                            channel.send_nowait([encode(Welcome(CLUSTER, 1, 101, 7))])
                        else:
                            channel.send_nowait([encode(Rejected("I speak version 1", 1))])
                            channel.close()

    await nursery.start(run)
