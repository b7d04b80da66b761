"""Requests of administrators: where they go, and how each ends when connections break."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

import paxos
from paxos import codec, service
from paxos.core.config import FEATURE, FEATURE_FIRST
from paxos.core.messages import (
    AdminAnswer,
    ClientAnswer,
    Redirect,
    SnapshotChunk,
    SnapshotName,
    SnapshotOffer,
    SnapshotRequest,
    Status,
    StatusAnswer,
)
from paxos.doorbell import Doorbell
from paxos.runtime import admin, handshake
from paxos.runtime.admin import AdminRefused
from paxos.runtime.handshake import Rejected, Welcome
from paxos.runtime.status import NEWS, members_document
from paxos.transport import Channel, ChannelClosed
from transports import transport_for

virtual = pytest.mark.usefixtures("autojump_clock")
"""Not for what waits for a thread: virtual time jumps ahead meanwhile."""

CLUSTER = "ab" * 16
Answer = Callable[[Any], Sequence[ClientAnswer] | None]
"""What a node says to a message; None: it closes the connection."""
URLS = {node: f"memory://admin-{node}" for node in (1, 2, 3)}


class Scripted:
    """Nodes that answer as a test tells them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.asked: list[tuple[int, Any]] = []
        self._nursery = nursery

    async def node(self, node: int, answer: Answer, feature: int = FEATURE) -> str:
        """Run a node; return its URL."""
        await self._nursery.start(self._run, node, answer, feature)
        return URLS[node]

    async def _run(
        self, node: int, answer: Answer, feature: int, *, task_status: trio.TaskStatus[None]
    ) -> None:
        greeted: set[Channel] = set()
        with Doorbell() as bell:
            transport = transport_for(URLS[node])
            async with transport.listen(URLS[node], bell, bell.ring):
                task_status.started()
                while True:
                    for channel in await bell.wait(trio.current_time() + 1_000):
                        with suppress(ChannelClosed):  # it left
                            self._answer(node, answer, feature, channel, greeted)

    def _answer(
        self, node: int, answer: Answer, feature: int, channel: Channel, greeted: set[Channel]
    ) -> None:
        for frame in channel.receive_nowait():
            if channel not in greeted:
                greeted.add(channel)
                said = handshake.decode_hello(frame)
                if said.feature > feature:
                    channel.send_nowait([handshake.encode(Rejected("I speak version 1", 1))])
                    channel.close()
                    return
                welcome = handshake.reply(said, Welcome(CLUSTER, node, 1, 7, URLS, feature))
                channel.send_nowait([handshake.encode(welcome)])
                continue
            message = codec.decode_client(frame)
            self.asked.append((node, message))
            answers = answer(message)
            if answers is None:
                channel.close()
                return
            channel.send_nowait([codec.encode(each) for each in answers])


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    async with trio.open_nursery() as nursery:
        yield Scripted(nursery)
        nursery.cancel_scope.cancel()


def done(_: Any) -> list[ClientAnswer]:
    return [AdminAnswer(1, Status.DONE, 5, "done as asked")]


def redirect(to: int) -> Answer:
    return lambda _: [Redirect(to)]


async def transfer(*urls: str, within_s: float = 60) -> admin.AdminDone:
    return await service.transfer_leader(list(urls), 2, cluster=CLUSTER, timeout=within_s)


@virtual
async def test_request_follows_the_leader_also_to_a_url_that_was_not_given() -> None:
    async with scripted() as nodes:
        await nodes.node(1, redirect(3))
        await nodes.node(3, done)
        start = trio.current_time()
        assert await transfer(URLS[1]) == (5, "done as asked")
        assert [node for node, _ in nodes.asked] == [1, 3]
        assert trio.current_time() - start < admin.PAUSE_S


@virtual
async def test_request_sent_in_circles_pauses_and_goes_on_until_somebody_leads() -> None:
    rounds = 0

    def undecided(_: Any) -> list[ClientAnswer]:
        nonlocal rounds
        rounds += 1
        return done(_) if rounds > 5 else [Redirect(1)]

    async with scripted() as nodes:
        await nodes.node(1, redirect(2))
        await nodes.node(2, undecided)
        start = trio.current_time()
        assert (await transfer(URLS[1])).slot == 5
        assert trio.current_time() - start >= admin.PAUSE_S


@virtual
async def test_request_whose_connection_breaks_is_asked_again_elsewhere() -> None:
    async with scripted() as nodes:
        await nodes.node(1, lambda _: None)
        await nodes.node(2, done)
        assert (await transfer(URLS[1], URLS[2])).slot == 5


@virtual
async def test_request_without_an_answer_is_asked_again_on_a_new_connection() -> None:
    async with scripted() as nodes:
        await nodes.node(1, lambda _: [])
        await nodes.node(2, done)
        start = trio.current_time()
        assert (await transfer(URLS[1], URLS[2])).slot == 5
        assert trio.current_time() - start >= admin.ATTEMPT_S


@virtual
async def test_request_that_is_refused_raises_the_reason() -> None:
    async with scripted() as nodes:
        await nodes.node(1, lambda _: [AdminAnswer(1, Status.REFUSED, 0, "because")])
        with pytest.raises(AdminRefused, match="because"):
            await transfer(URLS[1])


@virtual
async def test_request_that_left_and_has_no_answer_in_time_is_unknown_not_failed() -> None:
    async with scripted() as nodes:
        await nodes.node(1, lambda _: [])
        with pytest.raises(paxos.OutcomeUnknown, match=URLS[1]):
            await transfer(URLS[1], within_s=25)


@virtual
async def test_request_that_never_left_says_that_no_node_could_be_reached() -> None:
    with pytest.raises(paxos.NoReplicaReachable, match=URLS[1]):
        await transfer(URLS[1], within_s=3)


@virtual
async def test_request_to_another_cluster_is_never_made() -> None:
    async with scripted() as nodes:
        await nodes.node(1, done)
        with pytest.raises(paxos.NoReplicaReachable, match="of cluster"):
            await service.transfer_leader([URLS[1]], 2, cluster="cd" * 16, timeout=3)
        assert nodes.asked == []


@virtual
async def test_request_to_a_release_before_this_one_says_what_to_do() -> None:
    async with scripted() as nodes:
        url = await nodes.node(1, done, FEATURE_FIRST)
        with pytest.raises(AdminRefused, match="start this release on every node"):
            await service.take_snapshot(url)
        for node in (2, 3):
            await nodes.node(node, redirect(1))
        with pytest.raises(AdminRefused, match="start this release on every node"):
            await transfer(*URLS.values())


@virtual
async def test_request_passes_by_a_node_of_a_release_before_this_one() -> None:
    async with scripted() as nodes:
        await nodes.node(1, done, FEATURE_FIRST)
        await nodes.node(2, done)
        assert (await transfer(URLS[1], URLS[2])).slot == 5


@virtual
async def test_request_does_not_take_news_of_the_members_for_its_answer() -> None:
    news = StatusAnswer(NEWS, members_document(URLS))
    async with scripted() as nodes:
        url = await nodes.node(1, lambda _: [news, AdminAnswer(1, Status.DONE, 5, "after news")])
        assert (await transfer(url)).text == "after news"
        await nodes.node(2, lambda _: [news, StatusAnswer(1, b'{"node": 2}')])
        assert await paxos.node_status(URLS[2]) == {"node": 2}


# --- snapshots ------------------------------------------------------------

DATA = bytes(range(256)) * 40
NAME = SnapshotName(5, len(DATA), hashlib.blake2b(DATA, digest_size=16).digest())


def serve(data: bytes = DATA, breaks_every: int = 0) -> Answer:
    """Answer requests for ``data`` in pieces; now and then close the connection instead."""
    count = 0

    def answer(message: Any) -> list[ClientAnswer] | None:
        nonlocal count
        count += 1
        if breaks_every and count % breaks_every == 0:
            return None
        if not isinstance(message, SnapshotRequest):
            return [SnapshotOffer(NAME, 5)]
        piece = data[message.offset : message.offset + 1_000]
        return [SnapshotChunk(NAME, message.offset, piece)]

    return answer


async def test_snapshot_taken_on_request_is_named() -> None:
    async with scripted() as nodes:
        assert await service.take_snapshot(await nodes.node(1, serve())) == NAME


async def test_snapshot_fetched_over_connections_that_break_goes_on_where_it_was() -> None:
    async with scripted() as nodes:
        url = await nodes.node(1, serve(breaks_every=4))
        got: list[bytes] = []
        await service.fetch_snapshot(url, NAME, got.append)
        assert b"".join(got) == DATA
        asked = [message.offset for _, message in nodes.asked]
        assert len(asked) < 2 * len(got)


async def test_snapshot_that_differs_from_its_name_is_void() -> None:
    async with scripted() as nodes:
        url = await nodes.node(1, serve(DATA[:-1] + b"x"))
        with pytest.raises(LookupError, match="damaged"):
            await service.fetch_snapshot(url, NAME, lambda _: None)


async def test_snapshot_of_a_node_that_falls_silent_is_given_up_with_how_far_it_came() -> None:
    serving = serve()

    def falls_silent(message: Any) -> Sequence[ClientAnswer] | None:
        return serving(message) if message.offset < 3_000 else []

    async with scripted() as nodes:
        url = await nodes.node(1, falls_silent)
        with pytest.raises(paxos.NoReplicaReachable, match="after 3000 of"):
            await service.fetch_snapshot(url, NAME, lambda _: None, timeout=0.5)
