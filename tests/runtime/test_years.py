"""A cluster over the years: snapshots, compaction, catch-up by snapshot, damage, and backups."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

import paxos
from paxos import service, snapshot_format
from paxos.core.limits import Limits
from paxos.core.messages import SnapshotName
from paxos.runtime.admin import AdminRefused
from paxos.storage.base import Damage, Loaded
from paxos.storage.memory import MemoryStorage

pytestmark = pytest.mark.usefixtures("autojump_clock")

TINY = Limits(snapshot_entries=10, kept_entries=3, snapshot_chunk_bytes=100)


async def fill(client: paxos.Client, ledger_name: str, count: int, start: int = 0) -> None:
    """Submit ``count`` commands, each in a slot of its own."""
    for number in range(start, start + count):
        await client.submit(ledger_name, b"c%d" % number)


def commands(count: int) -> list[bytes]:
    return [b"c%d" % number for number in range(count)]


async def test_snapshots_are_taken_at_equal_slots_and_the_log_is_compacted(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=TINY) as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await cluster.compacted(client, 50)
            await cluster.caught_up()
        digests: dict[int, set[str]] = {}
        for node in cluster.nodes.values():
            status = node.status()
            assert status["compacted_through"] <= status["snapshot"]["through"]
            assert status["snapshot"]["through"] - status["compacted_through"] <= 10
            assert status["snapshot_trouble"] == ""
            assert status["snapshot"]["through"] % TINY.snapshot_entries == 0
            digests.setdefault(status["snapshot"]["through"], set()).add(
                status["snapshot"]["digest"]
            )
        assert all(len(found) == 1 for found in digests.values())


async def test_all_nodes_restarted_after_compaction_have_all_that_was_acknowledged(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=TINY) as cluster:
        await cluster.start()
        async with cluster.client() as client:
            count = await cluster.compacted(client, 20)
            await cluster.kill()
            await cluster.start()
            everything = (await client.read(ledger_name, b"all", timeout=30)).data.split()
            assert everything == commands(count)
            # The session is in the snapshot: the client goes on in it.
            assert (await client.submit(ledger_name, b"more")).data == b"%d" % (count + 1)
        await cluster.caught_up()


async def test_node_that_was_away_too_long_is_brought_up_by_a_snapshot_in_pieces(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=TINY) as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await fill(client, ledger_name, 5)
            await cluster.caught_up()
            away = await cluster.leader() % 3 + 1
            has = cluster.nodes[away].applied_through
            await cluster.kill(away)
            count = await cluster.compacted(client, has, start=5)
            await cluster.start(away)
            await cluster.caught_up()
            assert cluster.ledgers[away].commands == commands(count)
            served = sum(n.status()["snapshot_served_bytes"] for n in cluster.nodes.values())
            assert served > TINY.snapshot_chunk_bytes
            # It votes again: the cluster works with it and one other.
            other = next(n for n in cluster.nodes if n != away)
            await cluster.kill(other)
            last = await client.submit(ledger_name, b"last", timeout=30)
            assert last.data == b"%d" % (count + 1)


async def test_node_whose_snapshot_rotted_is_mended_from_peers_without_an_operator(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=TINY) as cluster:
        storages = {n: MemoryStorage(cluster.file.identity(n)) for n in cluster.file.urls}
        for node, storage in storages.items():
            await cluster.start(node, storage=storage)
        async with cluster.client() as client:
            count = await cluster.compacted(client, 20)
            await cluster.kill(1)
            for name in storages[1].snapshots:
                storages[1].spoil_snapshot(name)
            await cluster.start(1, storage=storages[1].reopen())
            await cluster.caught_up()
            assert cluster.ledgers[1].commands == commands(count)
            await client.submit(ledger_name, b"more")
            assert cluster.nodes[1].status()["damage"] == []


async def test_node_with_slots_in_doubt_runs_says_so_and_is_mended(
    memory_cluster: Any, ledger_name: str
) -> None:
    class Damaged(MemoryStorage):
        """A log that lost what was in slots 3 to 7, and no promise."""

        def load(self) -> Loaded:
            whole = super().load()
            kept = tuple(r for r in whole.records if not 3 <= getattr(r, "slot", 0) <= 7)
            return Loaded(kept, Damage(((3, 7),), False, ("segment 2, offset 4096: bad",)))

    async with memory_cluster() as cluster:
        storages = {n: MemoryStorage(cluster.file.identity(n)) for n in cluster.file.urls}
        for node, storage in storages.items():
            await cluster.start(node, storage=storage)
        async with cluster.client() as client:
            await fill(client, ledger_name, 9)
            await cluster.caught_up()
            await cluster.kill(1)
            damaged = Damaged(storages[1].identity)
            damaged._medium = storages[1]._medium
            damaged._medium.user = damaged
            await cluster.start(1, storage=damaged)
            await cluster.caught_up()
            assert cluster.ledgers[1].commands == commands(9)
            await client.submit(ledger_name, b"more")
            status = cluster.nodes[1].status()
            assert status["unknown"] == []
            assert status["damage"] == []


# --- on request ------------------------------------------------------------


async def test_snapshot_on_request_is_durable_when_the_call_returns(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await fill(client, ledger_name, 5)
            for node, url in cluster.file.urls.items():
                await cluster.caught_up()
                name = await client.take_snapshot(url)
                assert name.through == cluster.nodes[node].applied_through
                status = cluster.nodes[node].status()
                assert status["snapshot"]["digest"] == name.digest.hex()


async def test_backup_is_whole_verified_and_holds_the_state(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=Limits(snapshot_chunk_bytes=50)) as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await fill(client, ledger_name, 20)
            got: list[bytes] = []
            name = await client.backup(got.append)
            data = b"".join(got)
            assert len(got) > 1
            assert hashlib.blake2b(data, digest_size=16).digest() == name.digest
            stored = snapshot_format.read(len(data), lambda at, size: data[at : at + size])
            chunks = [part.chunk for part in stored.parts() if part.section == ledger_name]
            assert chunks == commands(20)


async def test_backup_of_a_snapshot_that_is_gone_says_so(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start(1)
        url = cluster.file.urls[1]
        gone = SnapshotName(5, 100, b"d" * 16)
        with pytest.raises(LookupError, match="any more"):
            await service.fetch_snapshot(url, gone, lambda _: None)


async def test_snapshot_of_a_node_that_does_not_answer_ends_with_its_url(
    memory_cluster: Any,
) -> None:
    async with memory_cluster() as cluster, cluster.client() as client:
        url = cluster.file.urls[2]
        with pytest.raises(paxos.NoReplicaReachable, match=url):
            await client.take_snapshot(url, timeout=3)


async def test_leader_hands_over_to_whom_it_is_told(memory_cluster: Any, ledger_name: str) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await client.submit(ledger_name, b"x")
            for _ in range(3):
                leader = await cluster.leader()
                to = leader % 3 + 1
                await client.transfer_leader(to)
                await cluster.nodes[to].wait_status(lambda status: status.role == "leader")
                await client.submit(ledger_name, b"y")
            with pytest.raises(AdminRefused, match="9"):
                await client.transfer_leader(9)
