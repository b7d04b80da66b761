"""The async client: every request ends, once, and an outcome in doubt is never called a failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import paxos
from paxos import Done, Failed, Outcome, Refused
from paxos import cluster as cluster_file
from paxos.core.limits import Limits
from paxos.transport import Channel

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_request_without_a_replica_names_every_url_and_reason(ledger_name: str) -> None:
    urls = ["memory://nobody-1", "memory://nobody-2"]
    async with paxos.open_client(urls, timeout=5) as client:
        start = trio.current_time()
        with pytest.raises(paxos.NoReplicaReachable) as caught:
            await client.submit(ledger_name, b"x")
        assert 4.9 <= trio.current_time() - start <= 5.5
        for url in urls:
            assert f"{url}: " in caught.value.reason
        assert "nobody listens" in caught.value.reason


async def test_read_without_a_quorum_is_refused_and_writes_are_never_called_failed(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client(timeout=5) as client:
            await client.submit(ledger_name, b"x")
            leader = await cluster.leader()
            await cluster.kill(*(node for node in cluster.file.urls if node != leader))
            with pytest.raises((paxos.OutcomeUnknown, paxos.RequestRefused)) as caught:
                await client.submit(ledger_name, b"y")
            # It left for a leader that had not noticed yet, so nobody can say.
            assert isinstance(caught.value, paxos.OutcomeUnknown)
            with pytest.raises(paxos.RequestRefused):
                await client.read(ledger_name, b"count")
            assert (await client.read(ledger_name, b"all", level="local")).data.split()[0] == b"x"


async def test_client_that_reaches_a_follower_first_finds_the_leader(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        leader = await cluster.leader()
        for node, url in cluster.file.urls.items():
            # It knows one URL only: the others it learns from whom it reaches.
            async with paxos.open_client([url]) as client:
                done = await client.submit(ledger_name, b"by %d" % node)
                assert isinstance(done, Done)
                assert (await client.read(ledger_name, b"all")).data.endswith(b"by %d" % node)
        assert await cluster.leader() == leader


async def test_submit_nowait_calls_back_once_for_each_command(
    memory_cluster: Any, ledger_name: str
) -> None:
    outcomes: dict[int, Outcome] = {}
    everything = trio.Event()

    def note(position: int, outcome: Outcome) -> None:
        assert position not in outcomes
        outcomes[position] = outcome
        if len(outcomes) == 3:
            everything.set()

    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            client.submit_nowait(ledger_name, [b"a", b"bad", b"b"], note)
            await everything.wait()
    assert isinstance(outcomes[0], Done)
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[2], Done)
    assert outcomes[2].data == b"2"


async def test_write_that_follows_in_the_callback_costs_no_second_wake_up(
    memory_cluster: Any, ledger_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 50
    waits = done = 0
    everything = trio.Event()

    def follow(_: int, outcome: Outcome) -> None:
        nonlocal done
        assert isinstance(outcome, Done)
        done += 1
        if done < writes:
            client.submit_nowait(ledger_name, [b"x"], follow)
        else:
            everything.set()

    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            await client.submit(ledger_name, b"x")
            wait: Callable[[float], Awaitable[list[Channel]]] = client._doorbell.wait

            async def counted(deadline: float) -> list[Channel]:
                nonlocal waits
                waits += 1
                return await wait(deadline)

            monkeypatch.setattr(client._doorbell, "wait", counted)
            client.submit_nowait(ledger_name, [b"x"], follow)
            await everything.wait()
    assert waits <= writes + 5


async def test_callback_that_raises_ends_the_client_with_its_error(
    memory_cluster: Any, ledger_name: str
) -> None:
    def explode(position: int, outcome: Outcome) -> None:
        raise LookupError("the user's own")

    async def use(cluster: Any) -> None:
        async with cluster.client() as client:
            client.submit_nowait(ledger_name, [b"a"], explode)
            await trio.sleep_forever()

    async with memory_cluster() as cluster:
        await cluster.start()
        with pytest.raises(LookupError, match="the user's own"):
            await use(cluster)


async def test_read_many_answers_each_query_in_order_and_none_if_none_is_asked(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            done = await client.submit(ledger_name, b"x")
            answers = await client.read_many(ledger_name, [b"all", b"count"] * 50)
            assert answers == [Done(done.slot, b"x"), Done(done.slot, b"1")] * 50
            assert await client.read_many(ledger_name, []) == []
            unknown = (await client.read_many("nobody", [b"all"], level="local"))[0]
            assert isinstance(unknown, Failed)
            assert "nobody" in unknown.reason


async def test_read_many_without_a_quorum_refuses_each(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client(timeout=5) as client:
            leader = await cluster.leader()
            await cluster.kill(*(node for node in cluster.file.urls if node != leader))
            answers = await client.read_many(ledger_name, [b"all"] * 3)
            assert [type(answer) for answer in answers] == [Refused] * 3


async def test_read_nowait_calls_back_once_for_each_query(
    memory_cluster: Any, ledger_name: str
) -> None:
    answers: list[tuple[int, Outcome]] = []
    everything = trio.Event()

    def note(position: int, outcome: Outcome) -> None:
        answers.append((position, outcome))
        if len(answers) == 2:
            everything.set()

    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            done = await client.submit(ledger_name, b"x")
            client.read_nowait(ledger_name, [b"all", b"count"], note, level="session")
            await everything.wait()
    assert answers == [(0, Done(done.slot, b"x")), (1, Done(done.slot, b"1"))]


async def test_cancelled_submit_returns_at_once_and_harms_no_other(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster, cluster.client(timeout=60) as client:
        # Nobody runs yet, so that the first one cannot have left.
        with trio.move_on_after(1) as scope:
            await client.submit(ledger_name, b"cancelled")
        assert scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            await client.submit_many(ledger_name, [b"cancelled"] * 10)
        assert scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            await client.read_many(ledger_name, [b"all"] * 10)
        assert scope.cancelled_caught
        await cluster.start()
        assert (await client.submit(ledger_name, b"kept")).data == b"1"


async def test_client_left_ends_what_is_outstanding_as_unknown(ledger_name: str) -> None:
    ended: list[BaseException] = []

    async def submit(client: paxos.Client) -> None:
        try:
            await client.submit(ledger_name, b"x")
        except paxos.PaxosError as error:
            ended.append(error)

    async with trio.open_nursery() as nursery, paxos.open_client(["memory://nobody"]) as client:
        nursery.start_soon(submit, client)
        await trio.testing.wait_all_tasks_blocked()
    assert [type(error) for error in ended] == [paxos.OutcomeUnknown]
    with pytest.raises(paxos.RequestRefused, match="closed"):
        await client.submit(ledger_name, b"y")


async def test_watch_survives_the_death_of_the_replica_that_served_it(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as watcher, cluster.client(timeout=60) as writer:
            await writer.submit(ledger_name, b"one")
            await watcher.read(ledger_name, b"count", level="local")
            answers: list[paxos.Answer] = []

            async def watch() -> None:
                answers.append(await watcher.watch_once(ledger_name, b"1"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await trio.testing.wait_all_tasks_blocked()
                await cluster.kill()
                await cluster.start()
                assert answers == []
                await writer.submit(ledger_name, b"two")
            assert answers[0].data == b"2"


async def test_status_shows_every_endpoint_reachable_or_why_not(memory_cluster: Any) -> None:
    async with memory_cluster() as cluster:
        await cluster.start(1, 2)
        await cluster.leader()
        async with cluster.client(timeout=2) as client:
            answers = await client.status()
        assert list(answers) == list(cluster.file.urls.values())
        up, _, down = answers.values()
        assert up["reachable"]
        assert up["cluster_id"] == cluster.file.cluster
        assert up["node"] == 1
        assert {"role", "ballot", "decided_through", "applied_through", "digest"} <= set(up)
        assert up["connections"] >= 1
        assert not down["reachable"]
        assert "nobody listens" in down["reason"]


async def test_adapter_for_state_machines_gives_slot_and_bytes(
    memory_cluster: Any, ledger_name: str
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        async with cluster.client() as client:
            slot, data = await client.execute(ledger_name, b"x")
            assert data == b"1"
            for level in ("linearizable", "session", "local"):
                read_slot, read = await client.query(ledger_name, b"all", level)
                assert (read_slot >= slot, read) == (True, b"x")


async def test_client_opens_from_a_path_a_text_and_a_list(
    memory_cluster: Any, ledger_name: str, tmp_path: Path
) -> None:
    async with memory_cluster() as cluster:
        await cluster.start()
        path = tmp_path / "cluster.toml"
        text = cluster_file.dump(cluster.file).replace('"memory"', '"segments"', 1)
        path.write_text(text.replace("[machines]", '[machines]\nledger = "a:B"'))
        urls = list(cluster.file.urls.values())
        for target in (path, str(path), ",".join(urls), urls):
            async with paxos.open_client(target) as client:
                assert isinstance(await client.submit(ledger_name, b"x"), Done)
                assert client.endpoints == tuple(urls)


async def test_client_of_a_url_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(paxos.TransportError, match="carrier-pigeon"):
        async with paxos.open_client(["carrier-pigeon://somewhere"]):
            raise AssertionError("it was not refused")


async def test_command_over_the_limit_is_refused_and_harms_no_other(
    memory_cluster: Any, ledger_name: str
) -> None:
    limits = Limits(command_bytes_max=1000)
    async with memory_cluster(limits=limits) as cluster:
        await cluster.start()
        async with cluster.client() as client:
            with pytest.raises(paxos.RequestRefused, match="1000"):
                await client.submit(ledger_name, bytes(1001))
            assert (await client.submit(ledger_name, bytes(1000))).data == b"1"


async def test_more_commands_than_a_session_may_have_open_are_all_applied_in_order(
    memory_cluster: Any, ledger_name: str
) -> None:
    limits = Limits(session_requests_max=10)
    async with memory_cluster(limits=limits) as cluster:
        await cluster.start()
        async with cluster.client(timeout=60) as client:
            outcomes = await client.submit_many(ledger_name, [b"c%d" % n for n in range(100)])
        assert [o.data for o in outcomes if isinstance(o, Done)] == [
            b"%d" % n for n in range(1, 101)
        ]
