"""A witness: it votes, keeps what others may still need, and runs no state machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

import paxos
from paxos.cluster import NodeEntry
from paxos.core.config import Configuration, Member, Part
from paxos.core.limits import Limits
from paxos.core.quorum import Quorums

pytestmark = pytest.mark.usefixtures("autojump_clock")

WITNESS = 3


@asynccontextmanager
async def witnessed(made: Any) -> AsyncIterator[Any]:
    """Run a cluster of two full voters and a witness."""
    async with made as cluster:
        nodes = [
            replace(entry, part="witness" if entry.id == WITNESS else "voter")
            for entry in cluster.file.nodes
        ]
        cluster.file = replace(cluster.file, nodes=tuple(nodes))
        await cluster.start()
        yield cluster


async def test_witness_votes_never_leads_and_runs_no_state_machine(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with witnessed(memory_cluster()) as cluster, cluster.client(timeout=30) as client:
        for number in range(5):
            await client.submit(ledger_name, b"c%d" % number)
        status = cluster.nodes[WITNESS].status()
        assert (status["part"], status["started_as"]) == ("witness", "witness")
        assert cluster.nodes[WITNESS].part is Part.WITNESS
        # With one full voter gone, the witness makes the quorum, and never leads.
        await cluster.kill(await cluster.nodes[WITNESS].wait_leader())
        assert (await client.submit(ledger_name, b"last")).data == b"6"
        assert await cluster.nodes[WITNESS].wait_leader() != WITNESS
        assert cluster.ledgers[WITNESS].commands == []


async def test_witness_asked_for_state_sends_the_client_to_the_leader(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with witnessed(memory_cluster()) as cluster:
        witness = [cluster.file.urls[WITNESS]]
        async with paxos.open_client(witness, timeout=30) as client:
            await client.submit(ledger_name, b"one")
        async with paxos.open_client(witness, timeout=30) as client:
            assert (await client.read(ledger_name, b"all", level="local")).data == b"one"
        async with paxos.open_client(witness, timeout=30) as client:
            assert (await client.watch_once(ledger_name, b"0")).data == b"1"


async def test_witness_compacts_what_full_voters_have_and_is_restarted_as_a_witness(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with (
        witnessed(memory_cluster(limits=Limits(snapshot_entries=10, kept_entries=3))) as cluster,
        cluster.client(timeout=30) as client,
    ):
        count = await cluster.compacted(client, 20, node=WITNESS)
        await cluster.kill(WITNESS)
        await cluster.start(WITNESS)
        assert cluster.nodes[WITNESS].part is Part.WITNESS
        full = 3 - await cluster.nodes[WITNESS].wait_leader()  # the other of 1 and 2
        await cluster.kill(full)
        assert (await client.submit(ledger_name, b"last")).data == b"%d" % (count + 1)
        await cluster.start(full)
        assert (await client.submit(ledger_name, b"very last")).data == b"%d" % (count + 2)


async def test_witness_refuses_to_be_the_source_of_a_backup(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with witnessed(memory_cluster()) as cluster, cluster.client(timeout=30) as client:
        await client.submit(ledger_name, b"x")
        got: list[bytes] = []
        with pytest.raises(paxos.PaxosError, match="state"):
            await client.backup(got.append, cluster.file.urls[WITNESS], timeout=5)
        assert got == []


async def test_witness_that_joins_does_so_in_one_change_and_is_never_a_learner(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster(limits=Limits(snapshot_entries=10, kept_entries=3)) as cluster:
        await cluster.start()
        async with cluster.client(timeout=30) as client:
            for number in range(45):
                await client.submit(ledger_name, b"c%d" % number)
            url = cluster.file.urls[1] + "-witness"
            entry = NodeEntry(4, url, "node-4", 1004, part="witness")
            cluster.file = replace(cluster.file, joined=(entry,))
            await cluster.start(4)
            before = (await client.governing()).configuration
            members = (*before.members, Member(4, 1004, Part.WITNESS, url))
            quorums = Quorums.majority([member.voter for member in members])
            await client.reconfigure(Configuration(2, quorums, members))
            witness = cluster.nodes[4]
            await witness.wait_status(lambda status: status.decided_through >= 46 + 63)
            assert witness.status()["part"] == "witness"
            # Four need three: without one full voter the witness is among them.
            await cluster.kill(await cluster.leader() % 3 + 1)
            assert (await client.submit(ledger_name, b"last")).data == b"46"
            assert cluster.ledgers[4].commands == []
