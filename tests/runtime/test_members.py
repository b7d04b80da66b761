"""Members that come and go: joined, promoted, removed, replaced, while clients go on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import trio

import paxos
from paxos.cluster import NodeEntry
from paxos.core.config import Configuration, Member, Part
from paxos.core.ids import Voter
from paxos.core.limits import Limits
from paxos.core.quorum import Quorums
from paxos.runtime.admin import AdminRefused

pytestmark = pytest.mark.usefixtures("autojump_clock")

TINY = Limits(snapshot_entries=10, kept_entries=3)


def following(before: Configuration, *members: Member) -> Configuration:
    """Return the next configuration, with majorities of those that vote."""
    ordered = tuple(sorted(members))
    quorums = Quorums.majority([member.voter for member in ordered if member.part])
    next_node = max(before.next_node, ordered[-1].node + 1)
    version = before.version + 1
    return Configuration(version, quorums, ordered, before.feature, next_node)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds that nobody tells: look again every now and then."""
    while not condition():
        with trio.move_on_after(0.5):
            await trio.sleep_forever()


class Years:
    """A cluster in memory whose members are changed through one client."""

    def __init__(self, cluster: Any, client: paxos.Client) -> None:
        self.cluster = cluster
        self.client = client
        self.file = cluster.file

    async def configuration(self) -> Configuration:
        return (await self.client.governing()).configuration

    async def change(self, *members: Member) -> None:
        await self.client.reconfigure(following(await self.configuration(), *members))

    async def join(self, part: Part = Part.LEARNER) -> Member:
        """Add a node as a learner, run it, and give it its part once it has caught up."""
        before = await self.configuration()
        node = before.next_node
        name = self.file.nodes[0].url.removeprefix("memory://").rpartition("-")[0]
        entry = NodeEntry(node, f"memory://{name}-{node}", f"{name}-{node}", 1000 + node)
        self.cluster.file = replace(self.cluster.file, joined=(*self.cluster.file.joined, entry))
        joined = Member(node, entry.incarnation, Part.LEARNER, entry.url)
        await self.change(*before.members, joined)
        await self.cluster.start(node)
        await self.cluster.caught_up()
        if part is not Part.LEARNER:
            joined = joined._replace(part=part)
            await self.change(*before.members, joined)
        return joined

    async def remove(self, node: int) -> None:
        """Demote a node, then take it out."""
        members = (await self.configuration()).members
        others = [member for member in members if member.node != node]
        leaving = next(member for member in members if member.node == node)
        await self.change(*others, leaving._replace(part=Part.LEARNER))
        await self.change(*others)


class Opened:
    """Opens a cluster and a client around a test."""

    def __init__(self, memory_cluster: Any, **changes: Any) -> None:
        self._stack = AsyncExitStack()
        self._make = memory_cluster(**changes)

    async def __aenter__(self) -> Years:
        cluster = await self._stack.enter_async_context(self._make)
        await cluster.start()
        client = await self._stack.enter_async_context(cluster.client(timeout=30))
        return Years(cluster, client)

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)


async def test_node_that_joins_catches_up_and_votes(memory_cluster: Any, ledger_name: str) -> None:
    async with Opened(memory_cluster) as years:
        for number in range(5):
            await years.client.submit(ledger_name, b"c%d" % number)
        joined = await years.join(Part.VOTER)
        assert (await years.configuration()).voters[-1] == joined.voter
        status = years.cluster.nodes[joined.node].status()
        assert (status["part"], status["removed"]) == ("voter", False)
        # Four voters need three: the new one must be among them now.
        await years.cluster.kill(1)
        assert (await years.client.submit(ledger_name, b"last")).data == b"6"
        assert years.cluster.ledgers[joined.node].commands[:5] == [b"c%d" % n for n in range(5)]


async def test_node_that_joins_long_after_compaction_is_brought_up_by_a_snapshot(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster, limits=TINY) as years:
        for number in range(60):
            await years.client.submit(ledger_name, b"c%d" % number)
        joined = await years.join(Part.VOTER)
        await years.cluster.kill(joined.node)
        await years.cluster.start(joined.node)
        await years.client.submit(ledger_name, b"more")
        await years.cluster.caught_up()
        assert len(years.cluster.ledgers[joined.node].commands) == 61


@pytest.mark.parametrize("leads", [True, False])
async def test_removed_node_may_be_wiped_at_once_and_is_told_why_it_is_refused(
    memory_cluster: Any, ledger_name: str, leads: bool
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"before")
        await years.join(Part.VOTER)
        node = 3  # which dials the others when it comes back, and so hears what they say
        await years.client.transfer_leader(node if leads else 1)
        await years.remove(node)
        await years.cluster.kill(node)
        await years.client.submit(ledger_name, b"after")
        assert node not in {m.node for m in (await years.configuration()).members}
        await years.cluster.start(node)
        removed = years.cluster.nodes.pop(node)
        await until(lambda: "was removed" in str(removed.status()["troubles"]))
        await years.cluster.caught_up()


async def test_all_founding_nodes_replaced_one_by_one_keep_every_acknowledged_command(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster, limits=TINY) as years:
        told = []
        for node in (1, 2, 3):
            for number in range(15):
                command = b"n%dc%d" % (node, number)
                await years.client.submit(ledger_name, command)
                told.append(command)
            await years.join(Part.VOTER)
            await years.remove(node)
            await years.cluster.kill(node)
        everything = (await years.client.read(ledger_name, b"all")).data.split()
        assert everything == told
        assert [m.node for m in (await years.configuration()).members] == [4, 5, 6]
        # A client that knows only where they are now, and one that must ask its way.
        await years.cluster.kill()
        await years.cluster.start(4, 5, 6)
        await years.client.submit(ledger_name, b"anew")
        await years.cluster.caught_up()


async def test_member_that_was_away_while_all_others_were_replaced_finds_its_way_back(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster, limits=TINY) as years:
        await years.client.submit(ledger_name, b"x")
        await years.join(Part.VOTER)
        await years.join(Part.VOTER)
        await years.cluster.caught_up()
        await years.cluster.kill(1)
        await years.remove(2)
        await years.cluster.kill(2)
        await years.join(Part.VOTER)
        await years.remove(3)
        await years.cluster.kill(3)
        # Node 1 has never heard of node 6.
        await years.cluster.start(1)
        await years.client.submit(ledger_name, b"y")
        await years.cluster.caught_up()
        assert years.cluster.nodes[1].status()["configuration"]["next_node"] == 7


async def test_change_that_makes_no_sense_is_refused_with_the_reason(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with Opened(memory_cluster) as years:
        await years.client.submit(ledger_name, b"x")
        latest = await years.configuration()
        stale = replace(following(latest, *latest.members), version=latest.version + 5)
        with pytest.raises(AdminRefused, match="the latest is 1"):
            await years.client.reconfigure(stale)
        unreachable = Member(4, 99, Part.VOTER, "memory://nowhere")
        with pytest.raises(AdminRefused, match="4"):
            await years.client.reconfigure(following(latest, *latest.members, unreachable))
        # And the cluster goes on.
        assert (await years.client.submit(ledger_name, b"y")).data == b"2"


async def test_configuration_is_the_latest_that_any_node_knows(memory_cluster: Any) -> None:
    async with Opened(memory_cluster) as years:
        governing = await years.client.governing()
        assert governing.first == 1
        assert governing.configuration.version == 1
        assert governing.configuration.voters[0] == Voter(1, years.file.node(1).incarnation)
        await years.join()
        assert (await years.client.governing()).configuration.version == 2
        statuses = await years.client.members_status()
        assert len(statuses) == 4
        assert all(status["reachable"] for status in statuses.values())


async def test_configuration_without_a_node_that_answers_is_refused_with_reasons(
    memory_cluster: Any,
) -> None:
    async with memory_cluster() as cluster, cluster.client(timeout=2) as client:
        with pytest.raises(paxos.NoReplicaReachable, match="nobody listens"):
            await client.governing()
        with pytest.raises(paxos.NoReplicaReachable, match="nobody listens"):
            await client.transfer_leader(timeout=2)
