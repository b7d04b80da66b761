"""What a node does when its disk, its peers, its clients or its configuration are bad."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import trio

import paxos
from paxos import codec
from paxos.cluster import NodeEntry
from paxos.core.config import FEATURE
from paxos.core.limits import Limits
from paxos.core.messages import CatchUp, StatusRequest, Submit
from paxos.core.state_machine import Stamp
from paxos.doorbell import Doorbell
from paxos.runtime import handshake
from paxos.runtime.handshake import Hello, Kind
from paxos.runtime.options import NodeOptions
from paxos.runtime.writer import room_min
from paxos.storage.base import Damage, DataDamaged, Loaded, StorageFailed, WrongIdentity
from paxos.storage.memory import MemoryStorage
from paxos.transport import Channel, ChannelClosed
from transports import transport_for

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM_MIN = room_min(Limits())


async def test_disk_full_is_seen_refuses_writes_keeps_reads_and_mends_itself(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        storages = {n: MemoryStorage(cluster.file.identity(n)) for n in cluster.file.urls}
        for node, storage in storages.items():
            await cluster.start(node, storage=storage)
        async with cluster.client(timeout=5) as client:
            await client.submit(ledger_name, b"before")
            await cluster.caught_up()
            for storage in storages.values():
                storage.capacity = storage.disk_bytes + ROOM_MIN - 1
            for node in cluster.nodes.values():
                await node.wait_status(lambda status: status.disk_full)
            with pytest.raises((paxos.RequestRefused, paxos.OutcomeUnknown)):
                await client.submit(ledger_name, b"no room", timeout=3)
            assert all(node.status()["role"] != "leader" for node in cluster.nodes.values())
            answer = await client.read(ledger_name, b"all", level="local")
            assert answer.data.split()[0] == b"before"
            for storage in storages.values():
                storage.capacity = 2**40
            assert (await client.submit(ledger_name, b"after", timeout=20)).slot > 0
            for node in cluster.nodes.values():
                await node.wait_status(lambda status: not status.disk_full)


async def test_disk_full_on_one_node_leaves_the_others_working(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start(1, 2)
        small = MemoryStorage(cluster.file.identity(3), capacity=ROOM_MIN - 1)
        await cluster.start(3, storage=small)
        async with cluster.client() as client:
            await client.submit(ledger_name, b"one")
            await cluster.nodes[3].wait_status(lambda status: status.disk_full)
            assert await cluster.leader() != 3
            small.capacity = 2**40
            await client.submit(ledger_name, b"two")
        await cluster.caught_up()
        assert cluster.ledgers[3].commands == [b"one", b"two"]


@pytest.mark.parametrize("sync", ["inline", "thread"])
async def test_failed_sync_ends_the_node_and_nothing_leaves_after_it(
    memory_cluster: Any, ledger_name: str, sync: Any
) -> None:
    async with memory_cluster(serving=NodeOptions(sync=sync)) as cluster:
        await cluster.start(1, 2)
        storage = MemoryStorage(cluster.file.identity(3))

        async def use_until_it_fails() -> None:
            async with (
                cluster.opened(3, storage=storage) as node,
                cluster.client(timeout=60) as client,
            ):
                await client.submit(ledger_name, b"fine")
                await node.wait_applied(1)
                storage.fails_next_sync = True
                while True:
                    await client.submit(ledger_name, b"more")

        with pytest.raises(StorageFailed, match="must stop"):
            await use_until_it_fails()
        async with cluster.client() as client:
            # The others know nothing of a vote of node 3 after that, and do not need it.
            await client.submit(ledger_name, b"still fine")
        await cluster.caught_up()


async def test_storage_of_another_node_is_refused_by_name(memory_cluster: Any) -> None:
    async with memory_cluster() as cluster:
        foreign = MemoryStorage(cluster.file.identity(2))
        with pytest.raises(WrongIdentity, match=r"belongs to node 2 .* this is node 1"):
            await cluster_open(cluster.file, 1, storage=foreign)


async def test_damaged_log_is_refused_with_what_was_found(memory_cluster: Any) -> None:
    class Damaged(MemoryStorage):
        def load(self) -> Loaded:
            super().load()
            return Loaded((), Damage(((3, 7),), True, ("segment 2, offset 4096: bad checksum",)))

    async with memory_cluster() as cluster:
        storage = Damaged(cluster.file.identity(1))
        with pytest.raises(DataDamaged) as caught:
            await cluster_open(cluster.file, 1, storage=storage)
        for part in ("node 1", "3 to 7", "promise", "offset 4096", "paxos member replace 1 "):
            assert part in str(caught.value)


async def test_url_in_use_is_refused_with_the_url(memory_cluster: Any) -> None:
    async with memory_cluster() as cluster:
        await cluster.start(1)
        url = cluster.file.urls[1]
        other = replace(paxos.memory_cluster(1), nodes=(NodeEntry(1, url, "node-1", 5),))
        with pytest.raises(paxos.TransportError, match=url):
            await cluster_open(other, 1)


async def test_second_process_with_the_same_node_id_does_not_disturb_the_first(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await client.submit(ledger_name, b"before")
            # A copy of node 3's configuration under a URL of its own, with an empty log.
            copied = replace(
                cluster.file,
                nodes=tuple(
                    replace(entry, url=f"{entry.url}-copy") if entry.id == 3 else entry
                    for entry in cluster.file.nodes
                ),
            )
            empty = MemoryStorage(copied.identity(3))
            opened = paxos.open_node(copied, 3, machines={ledger_name: Machine()}, storage=empty)
            async with opened as double:
                with trio.move_on_after(5):
                    await double.wait_leader()
                assert double.status()["peers"] == []
                assert (await client.submit(ledger_name, b"after")).data == b"2"
            assert cluster.nodes[3].status()["peers"] == [1, 2]


async def test_client_of_another_cluster_is_told_so(memory_cluster: Any, ledger_name: str) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        stranger = replace(cluster.file, cluster="f" * 32)
        async with paxos.open_client(stranger, timeout=3) as client:
            with pytest.raises(paxos.NoReplicaReachable, match="belongs to cluster"):
                await client.submit(ledger_name, b"x")


NONSENSE = {
    "empty": b"",
    "unknown tag": b"\xff\x00",
    "message of a replica": codec.encode(CatchUp(0)),
    "submission cut short": codec.encode(Submit(1, 1, 0, "ledger", (b"x",)))[:5],
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=NONSENSE)
async def test_client_that_sends_nonsense_is_cut_off_and_no_other(
    memory_cluster: Any, ledger_name: str, frame: bytes
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client, trio.open_nursery() as nursery:
            await client.submit(ledger_name, b"before")
            with Doorbell() as doorbell:
                url = cluster.file.urls[1]
                channel = await transport_for(url).connect(url, doorbell, nursery)
                channel.send_nowait([handshake.encode(Hello("", Kind.CLIENT)), frame])
                frames = await frames_until_closed(channel, doorbell)
            assert len(frames) == 1  # the Welcome
            assert (await client.submit(ledger_name, b"after")).data == b"2"
            assert cluster.nodes[1].status()["dropped"]["bad frames"] == 1


async def test_peer_that_sends_nonsense_is_cut_off_and_the_node_goes_on(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster, trio.open_nursery() as nursery:
        await cluster.start(1, 2)
        file = cluster.file
        hello = Hello(file.cluster, Kind.REPLICA, 3, file.node(3).incarnation, 9, 1, FEATURE)
        with Doorbell() as doorbell:
            channel = await transport_for(file.urls[1]).connect(file.urls[1], doorbell, nursery)
            # A vote, then what only a client may say: the rest of the pass is not looked at.
            ask = codec.encode(StatusRequest(1))
            channel.send_nowait([handshake.encode(hello), codec.encode(CatchUp(0)), ask, ask])
            await frames_until_closed(channel, doorbell)
        assert cluster.nodes[1].status()["dropped"]["bad frames"] == 1
        async with cluster.client() as client:
            assert (await client.submit(ledger_name, b"fine")).data == b"1"


async def test_malformed_submission_body_is_refused_on_every_node_alike(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        leader = await cluster.leader()
        async with cluster.client() as client, trio.open_nursery() as nursery:
            with Doorbell() as doorbell:
                url = cluster.file.urls[leader]
                channel = await transport_for(url).connect(url, doorbell, nursery)
                whole = codec.encode(Submit(1, 1, 0, ledger_name, (b"x" * 50,)))
                ask = codec.encode(StatusRequest(1))
                channel.send_nowait(
                    [handshake.encode(Hello("", Kind.CLIENT)), whole[:-20], whole + b"\xc1", ask]
                )
                # Both are batched, decided, and applied as nothing, next to a good one.
                done = await client.submit(ledger_name, b"good")
                assert done.data == b"1"
                channel.close()
        await cluster.caught_up()
        assert {tuple(ledger.commands) for ledger in cluster.ledgers.values()} == {(b"good",)}


async def test_state_machine_that_raises_never_stops_a_node(ledger_name: str) -> None:
    async with paxos.open_local({ledger_name: Machine}) as client:
        with pytest.raises(paxos.CommandFailed, match="ZeroDivisionError"):
            await client.submit(ledger_name, b"divide")
        assert (await client.submit(ledger_name, b"fine")).data == b"fine"


async def test_state_machine_out_of_memory_stops_the_node(ledger_name: str) -> None:
    with pytest.raises(MemoryError):
        async with paxos.open_local({ledger_name: Machine}, replicas=1) as client:
            await client.submit(ledger_name, b"exhaust")


async def test_node_left_by_its_user_ends_without_a_trace(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start(1, 2)
        with pytest.raises(ValueError, match="the user's own"):
            async with cluster.opened(3):
                raise ValueError("the user's own")
        # Its log and its URL are free again.
        await cluster.start(3)
        async with cluster.client() as client:
            await client.submit(ledger_name, b"x")
        await cluster.caught_up()


async def test_leader_that_leaves_in_the_middle_of_writing_loses_nothing_acknowledged(
    memory_cluster: Any, ledger_name: str, acknowledged: Any
) -> None:
    async with memory_cluster(serving=NodeOptions(sync="thread")) as cluster:
        await cluster.start()
        async with cluster.client(timeout=60) as client:

            async def write() -> None:
                number = 0
                while True:
                    command = b"c%d" % number
                    await client.submit(ledger_name, command)
                    acknowledged.add(command)
                    number += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                for _ in range(3):
                    await acknowledged.more(20)
                    leader = await cluster.nodes[1].wait_leader()
                    await cluster.kill(leader)
                    await acknowledged.more(20)
                    await cluster.start(leader)
                nursery.cancel_scope.cancel()
            # The cancelled one may or may not be there; the others are, once and in order.
            everything = (await client.read(ledger_name, b"all")).data.split()
        assert everything[: len(acknowledged.commands)] == acknowledged.commands
        assert len(everything) - len(acknowledged.commands) in (0, 1)


class Machine:
    """Answers a command with itself; some commands are bad for it."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if command == b"divide":
            return bytes(1 // 0)
        if command == b"exhaust":
            raise MemoryError
        return command

    def query(self, query: bytes) -> bytes:
        return query

    def snapshot(self) -> Iterable[bytes]:
        return []

    def restore(self, chunks: Iterable[bytes]) -> None:
        pass


async def cluster_open(file: paxos.ClusterFile, node: int, **options: Any) -> None:
    """Open a node that is expected to be refused."""
    async with paxos.open_node(file, node, machines={"m": Machine()}, **options):
        raise AssertionError("it was not refused")


async def frames_until_closed(channel: Channel, doorbell: Doorbell) -> list[bytes]:
    """Take frames until the other side closes the channel."""
    frames: list[bytes] = []
    doorbell.ring(channel)
    while True:
        await doorbell.wait(trio.current_time() + 60)
        try:
            frames += channel.receive_nowait()
        except ChannelClosed:
            return frames
