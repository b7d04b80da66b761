"""Three nodes in one process, over every transport: what a user sees of a cluster."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import paxos
from paxos import CommandFailed, Done, Failed


async def test_command_submitted_is_applied_on_every_node(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            done = await client.submit(ledger_name, b"one")
            assert (done.slot >= 1, done.data) == (True, b"1")
            later = await client.submit(ledger_name, b"two")
            assert later.data == b"2"
            assert later.slot > done.slot
        await cluster.caught_up()
        assert [ledger.commands for ledger in cluster.ledgers.values()] == [[b"one", b"two"]] * 3


async def test_reads_of_every_level_see_what_this_client_wrote(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            done = await client.submit(ledger_name, b"x")
            for level in ("linearizable", "session"):
                answer = await client.read(ledger_name, b"all", level=level)
                assert answer.data == b"x"
                assert answer.slot >= done.slot
            local = await client.read(ledger_name, b"count", level="local")
            assert local.slot >= done.slot
            assert local.data == b"1"


async def test_watch_is_answered_once_there_is_something_to_tell(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as watcher, cluster.client() as writer:
            answers: list[bytes] = []

            async def watch() -> None:
                answers.append((await watcher.watch_once(ledger_name, b"1")).data)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await writer.submit(ledger_name, b"first")
                await writer.read(ledger_name, b"count")
                assert answers == []
                await writer.submit(ledger_name, b"second")
            assert answers == [b"2"]


async def test_many_commands_are_applied_in_order_and_each_has_its_outcome(
    any_cluster: Any, ledger_name: str
) -> None:
    commands = [b"c%d" % n for n in range(300)]
    commands[100] = b"bad news"
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            outcomes = await client.submit_many(ledger_name, commands)
            assert isinstance(outcomes[100], Failed)
            assert outcomes[100].reason == "bad news is bad"
            del outcomes[100]
            assert [o.data for o in outcomes if isinstance(o, Done)] == [
                b"%d" % n for n in range(1, 300)
            ]
            answer = await client.read(ledger_name, b"all")
            assert answer.data.split() == [c for c in commands if not c.startswith(b"bad")]


async def test_command_that_fails_raises_what_the_state_machine_said(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            with pytest.raises(CommandFailed, match="bad egg is bad") as caught:
                await client.submit(ledger_name, b"bad egg")
            assert isinstance(caught.value, paxos.RequestFailed)
            assert caught.value.slot >= 1
            with pytest.raises(CommandFailed, match="no state machine is named 'nobody'"):
                await client.read("nobody", b"")


async def test_barrier_is_at_or_above_everything_acknowledged_to_anybody(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as writer, cluster.client() as other:
            for number in range(3):
                done = await writer.submit(ledger_name, b"%d" % number)
                assert await other.barrier() >= done.slot


async def test_barrier_without_a_quorum_is_refused(any_cluster: Any) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        leader = await cluster.leader()
        await cluster.kill(*(node for node in (1, 2, 3) if node != leader))
        async with cluster.client() as client:
            with pytest.raises(paxos.RequestRefused):
                await client.barrier(timeout=1.0)


async def test_leader_killed_under_load_loses_nothing_acknowledged(
    any_cluster: Any, ledger_name: str, acknowledged: Any
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            leader = await cluster.leader()
            stop = trio.Event()

            async def write(writer: int) -> None:
                number = 0
                while not stop.is_set():
                    command = b"w%d-%d" % (writer, number)
                    await client.submit(ledger_name, command)
                    acknowledged.add(command)
                    number += 1

            async with trio.open_nursery() as nursery:
                for writer in range(4):
                    nursery.start_soon(write, writer)
                await acknowledged.more(100)
                await cluster.kill(leader)
                await acknowledged.more(100)
                await cluster.start(leader)
                stop.set()
            await client.read(ledger_name, b"count")
        await cluster.caught_up()
        for ledger in cluster.ledgers.values():
            # Each acknowledged command once, and no other that the client did not submit.
            assert sorted(ledger.commands) == sorted(acknowledged.commands)


async def test_all_nodes_killed_at_once_and_restarted_have_everything_acknowledged(
    any_cluster: Any, ledger_name: str
) -> None:
    async with any_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await client.submit_many(ledger_name, [b"c%d" % n for n in range(50)])
            await cluster.kill()
            await cluster.start()
            answer = await client.read(ledger_name, b"count")
            assert answer.data == b"50"
            # The session survived, too: the next command is applied once, after the others.
            assert (await client.submit(ledger_name, b"more")).data == b"51"
        await cluster.caught_up()
