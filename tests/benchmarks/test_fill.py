"""What fills a cluster before its memory or its restart is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel

from benchmarks import writers
from benchmarks.peers.children import ClusterFailed
from paxos.core.client import Done, Outcome, Refused

Ended = Callable[[int, Outcome], None]


class FakeClient:
    """Ends the oldest write whenever it is told to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting: list[Ended] = []
        self.outstanding_max = 0

    def submit_nowait(self, machine: str, commands: Sequence[bytes], ended: Ended) -> None:
        assert machine == "config"
        self.written += commands
        self.waiting.append(ended)
        self.outstanding_max = max(self.outstanding_max, len(self.waiting))

    async def end_all(self, outcome: Outcome) -> None:
        while True:
            if self.waiting:
                self.waiting.pop(0)(0, outcome)
            await trio.lowlevel.checkpoint()


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    """Stand in for every client that is opened."""
    opened: list[FakeClient] = []

    @asynccontextmanager
    async def open_client(_: Sequence[str], **__: Any) -> AsyncIterator[FakeClient]:
        opened.append(FakeClient())
        async with trio.open_nursery() as nursery:
            refused = len(opened) == 3
            outcome: Outcome = Refused("full") if refused else Done(1, b"")
            nursery.start_soon(opened[-1].end_all, outcome)
            yield opened[-1]
            nursery.cancel_scope.cancel()

    monkeypatch.setattr("paxos.service.open_client", open_client)
    return opened


def test_fill_writes_everything_with_so_many_outstanding_on_each_client(
    clients: list[FakeClient],
) -> None:
    commands = [b"%d" % number for number in range(500)]
    trio.run(writers.fill_in_closed_loop, ["a"], "config", iter(commands), 2, 32)
    assert sorted(clients[0].written + clients[1].written) == sorted(commands)
    assert [client.outstanding_max for client in clients] == [32, 32]
    assert min(len(client.written) for client in clients) > 200


def test_fill_of_which_a_write_is_not_done_fails(clients: list[FakeClient]) -> None:
    commands = iter([b"x"] * 500)
    with pytest.raises(ClusterFailed, match="full"):
        trio.run(writers.fill_in_closed_loop, ["a"], "config", commands, 3, 4)
