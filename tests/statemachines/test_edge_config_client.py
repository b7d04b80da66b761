"""The client: what it refuses before sending, and what it makes of a cluster's answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing
from msgpack import packb

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import edge_config_client as client
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import (
    AnswerInvalid,
    Condition,
    Delete,
    EdgeConfigClient,
    Get,
    Put,
    RequestInvalid,
    RevisionCompacted,
    RevisionInFuture,
)
from statemachines.edge_config_format import BYTES, JSON, EdgeConfigLimits
from statemachines.machine_client import Level


class OneNode:
    """A MachineClient over one machine; every command is a slot."""

    def __init__(self, limits: EdgeConfigLimits | None = None) -> None:
        self.machine = EdgeConfig() if limits is None else EdgeConfig(limits)
        self.slot = 0
        self.levels: list[Level] = []
        self.changed = trio.Event()

    async def execute(self, machine: str, command: bytes) -> tuple[int, bytes]:
        assert machine == "config"
        await trio.lowlevel.checkpoint()
        self.slot += 1
        answer = self.machine.apply(command, Stamp(self.slot, 0, self.slot))
        self.changed.set()
        self.changed = trio.Event()
        return self.slot, answer

    async def query(
        self, machine: str, query: bytes, level: Level = "linearizable"
    ) -> tuple[int, bytes]:
        assert machine == "config"
        await trio.lowlevel.checkpoint()
        self.levels.append(level)
        return self.slot, self.machine.query(query)

    async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
        assert machine == "config"
        while True:
            changed = self.changed
            answer = self.machine.watch(query)
            if answer is not None:
                await trio.lowlevel.checkpoint()
                return self.slot, answer
            await changed.wait()


def test_client_requests_return_typed_answers_with_their_slot() -> None:
    async def scenario() -> None:
        config = EdgeConfigClient(OneNode())
        assert await config.put("a", b"1") == client.PutResult(1, slot=1)
        assert await config.put_json("b", {"z": 1, "a": [True]}) == client.PutResult(2, slot=2)
        found = await config.get("b")
        assert (found.revision, found.slot) == (2, 2)
        assert found.item is not None
        assert (found.item.value, found.item.content_type) == (b'{"a":[true],"z":1}', JSON)
        assert found.item.json() == {"z": 1, "a": [True]}
        assert (await config.get("c")).item is None
        swapped = await config.compare_and_set("a", b"1", b"2")
        assert swapped == client.CompareAndSetResult(True, 3, None, slot=3)
        result = await config.transaction([Condition("a", "value", "==", b"2")], [Delete("b")])
        assert result == client.TransactionResult(True, 4, (True,), slot=4)
        assert await config.delete("b") == client.DeleteResult(4, False, slot=5)
        page = await config.page("a", revision=1)
        assert [item.value for item in page.items] == [b"1"]
        assert [item.size for item in (await config.summary_page()).items] == [1]
        assert [e.revision for e in (await config.history("a")).events] == [1, 3]
        assert await config.compact(4) == client.RetentionResult(4, slot=6)
        assert await config.retain(5) == client.RetentionResult(4, slot=7)
        assert await config.stats() == client.Stats(4, 4, 1, 1, 5, slot=7)

    trio.run(scenario)


def test_client_failures_of_revisions_are_typed() -> None:
    async def scenario() -> None:
        config = EdgeConfigClient(OneNode())
        for number in range(3):
            await config.put("a", b"%d" % number)
        await config.compact(2)
        with pytest.raises(RevisionCompacted) as compacted:
            await config.get("a", revision=1)
        assert (compacted.value.revision, compacted.value.oldest) == (1, 2)
        with pytest.raises(RevisionInFuture) as future:
            await config.compact(9)
        assert (future.value.revision, future.value.present) == (9, 3)
        with pytest.raises(RevisionCompacted) as watched:
            await anext(config.watch(after=0))
        assert watched.value.oldest == 2

    trio.run(scenario)


def test_client_items_read_every_page_at_one_revision() -> None:
    async def scenario() -> None:
        node = OneNode(EdgeConfigLimits(answer_items_max=3))
        config = EdgeConfigClient(node)
        for number in range(8):
            await config.put(f"k{number}", b"old")
        seen = []
        node.levels.clear()
        async for item in config.items("k"):
            seen.append((item.key, item.value))
            await config.put(item.key, b"new")
            await config.delete("k7")
        assert seen == [(f"k{number}", b"old") for number in range(8)]
        assert node.levels == ["linearizable", "session", "session"]

    trio.run(scenario)


def test_client_watch_follows_in_order_and_resumes_without_gap_or_repeat() -> None:
    async def scenario() -> None:
        config = EdgeConfigClient(OneNode(EdgeConfigLimits(answer_items_max=2)))
        await config.put("before", b"")
        seen: list[tuple[int, str]] = []
        after: list[int | None] = [None]

        async def follow(until: int) -> None:
            async for batch in config.watch_batches("a/", after=after[0]):
                seen.extend((event.revision, event.key) for event in batch.events)
                after[0] = batch.revision
                if len(seen) >= until:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, 3)
            await trio.testing.wait_all_tasks_blocked()
            await config.put("a/1", b"")
            await config.put("b/1", b"")
            await config.transaction([], [Put("a/2", b""), Put("b/2", b""), Put("a/3", b"")])
        await config.put("a/4", b"")
        await follow(4)
        assert seen == [(2, "a/1"), (4, "a/2"), (4, "a/3"), (5, "a/4")]

    trio.run(scenario)


def test_client_watch_yields_single_events_of_one_key() -> None:
    async def scenario() -> None:
        config = EdgeConfigClient(OneNode())
        await config.put("a", b"1")
        await config.put("ab", b"2")
        await config.delete("a")
        kinds = []
        async for event in config.watch("a", after=0, exact=True):
            kinds.append((event.type, event.value))
            if len(kinds) == 2:
                break
        assert kinds == [("put", b"1"), ("delete", None)]

    trio.run(scenario)


def test_client_watch_answered_without_progress_ends_with_an_error() -> None:
    class Stuck(OneNode):
        async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
            await trio.lowlevel.checkpoint()
            return 1, packb((1, 5, ()))

    async def scenario() -> None:
        with pytest.raises(AnswerInvalid, match="from 5 was answered up to 5"):
            await anext(EdgeConfigClient(Stuck()).watch_batches("a", after=5))

    trio.run(scenario)


def test_client_import_writes_all_entries_in_bounded_transactions() -> None:
    async def scenario() -> None:
        node = OneNode()
        config = EdgeConfigClient(node)
        entries = [Put(f"k{number:03}", b"%d" % number) for number in range(300)]
        result = await config.import_entries(entries)
        assert result == client.ImportResult(300, 3, revision=3, slot=3)
        assert [item.key async for item in config.items()] == [entry.key for entry in entries]
        with pytest.raises(RequestInvalid, match="holds a key twice: k1"):
            await config.import_entries([Put("k1", b""), Put("k2", b""), Put("k1", b"")])
        with pytest.raises(RequestInvalid, match="nothing to import"):
            await config.import_entries([])
        assert node.slot == 3

    trio.run(scenario)


def test_import_commands_with_large_values_stay_below_half_a_batch() -> None:
    entries = [Put(f"k{number}", b"x" * 200_000) for number in range(5)]
    entries.insert(2, Put("huge", b"x" * 900_000))
    assert [count for count, _ in client.import_commands(entries)] == [2, 1, 2, 1]


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"{'a': 1}", b"[1,]", b"NaN", b"[-Infinity]", b"\xff", b"1 2", b"[" * 100_000],
)
def test_put_of_json_that_is_none_is_refused_by_the_builder(value: bytes) -> None:
    with pytest.raises(RequestInvalid, match="not JSON"):
        client.put_command("k", value, JSON)
    with pytest.raises(RequestInvalid, match="not JSON"):
        client.compare_and_set_command("k", None, value, JSON)
    with pytest.raises(RequestInvalid, match="not JSON"):
        client.transaction_command([], [], [Put("k", value, JSON)])
    client.put_command("k", value, BYTES)


@pytest.mark.parametrize("document", [float("nan"), {1, 2}, object(), {"a": "\ud800"}])
def test_json_value_of_what_is_no_json_is_refused(document: object) -> None:
    with pytest.raises(RequestInvalid, match="not JSON"):
        client.json_value(document)


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: client.put_command("k", "text"), "not bytes"),  # type: ignore[arg-type]
    (lambda: client.put_command("k", b"x" * (1024 * 1024 + 1)), "value too long"),
    (lambda: client.put_command("k", b"", "text/\n"), "bad content type"),
    (lambda: client.delete_command("/k"), "bad key"),
    (lambda: client.compare_and_set_command("k", -1, b""), "operand"),
    (lambda: client.transaction_command([], [Put("k", b""), Delete("k")]), "changes a key twice"),
    (lambda: client.transaction_command([], [Get("k")] * 129), "too many operations"),
    (lambda: client.transaction_command([Condition("k", "size", "==", 1)], []), "unknown field"),
    (lambda: client.transaction_command([Condition("k", "value", "~", b"")], []), "comparison"),
    (lambda: client.transaction_command([Condition("k", "value", "<", None)], []), "neither less"),
    (lambda: client.transaction_command([Condition("k", "version", "<", b"")], []), "operand"),
    (lambda: client.compact_command(-1), "revision"),
    (lambda: client.retain_command(0), "from 1"),
    (lambda: client.get_query("k", -1), "revision"),
    (lambda: client.range_query("\n"), "control character"),
    (lambda: client.range_query(limit=0), "limit"),
    (lambda: client.history_query("k", -1), "revision"),
    (lambda: client.history_query("k", limit=0), "limit"),
    (lambda: client.watch_query("k/", 0, exact=True), "bad key"),
    (lambda: client.watch_query("k", 2**63), "revision"),
]


@pytest.mark.parametrize(("build", "text"), REFUSED)
def test_builder_given_what_no_state_could_take_refuses(
    build: Callable[[], object], text: str
) -> None:
    with pytest.raises(RequestInvalid, match=text):
        build()


def test_failure_of_another_kind_is_handed_on_as_it_is() -> None:
    failure = CommandFailed("the transaction reads too much")
    assert client.decode_failure(failure) is failure


def test_key_value_of_no_json_raises_value_error() -> None:
    item = client.KeyValue("k", b"{", BYTES, 1, 1, 1, 0)
    with pytest.raises(json.JSONDecodeError):
        item.json()
