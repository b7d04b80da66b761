"""Nodes whose files name other state machines: kept apart before one of them answers a client."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from paxos import cluster as cluster_file
from paxos import service
from paxos.core.state_machine import CommandFailed
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_requests import task_spec
from tests.operations.states import MACHINES, memory_urls

TASK_LOG = {"tasks": "statemachines.task_log:TaskLog"}


def test_node_with_a_machine_that_the_others_lack_is_kept_out_and_acknowledges_nothing(
    tmp_path: Path,
) -> None:
    file = cluster_file.found(tmp_path / "c", replicas=3, machines=MACHINES)
    nodes = zip(file.nodes, memory_urls(3), strict=True)
    file = replace(file, nodes=tuple(replace(node, url=url) for node, url in nodes))
    wider = replace(file, machines={**MACHINES, **TASK_LOG})

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            # First the odd one out, so that it would lead if it were let in.
            for node, its_file in ((1, wider), (2, file), (3, file)):
                await stack.enter_async_context(service.open_node(its_file, node))
            client = await stack.enter_async_context(service.open_client(file))
            for number in range(3):
                with pytest.raises(CommandFailed, match="no state machine is named 'tasks'"):
                    await TaskLogClient(client).submit([task_spec(f"t{number}", "work")])
            status = await service.node_status(file.urls[1], cluster=file.cluster)
            assert status["applied_through"] == 0
            assert not any(peer["connected"] for peer in status["peers"])

    trio.run(scenario)
