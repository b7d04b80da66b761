"""Logging: silent inside somebody else's program, one event per line where it is set up."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio

from paxos.runtime import observe


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """Undo what a test sets up for the whole process."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_logger_before_set_up_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    observe.logger(node=1).error("disk full", why="test")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_logger_in_json_prints_one_object_per_event() -> None:
    stream = io.StringIO()
    observe.configure("json", stream=stream)
    log = observe.logger(node=1)
    log.info("leader changed", leader=2)
    log.debug("not shown")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "leader changed", "leader": 2, "level": "info", "node": 1}


def test_logger_on_the_console_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure("console")
    observe.logger(node=1).warning("disk full", why="no room")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "disk full" in captured.err


@pytest.mark.usefixtures("autojump_clock")
async def test_node_tells_what_happens_to_it(memory_cluster: Any) -> None:
    stream = io.StringIO()
    observe.configure("json", stream=stream)
    async with memory_cluster() as cluster:
        await cluster.start()
        leader = await cluster.leader()
        await cluster.kill(leader)
        # Virtual time: long enough for another leader, and for the others to say so.
        with trio.move_on_after(10):
            await trio.sleep_forever()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["sync"] for line in lines if line["event"] == "ready"} == {"memory"}
    events = [line["event"] for line in lines]
    assert {"ready", "leader changed", "peer connected", "peer disconnected"} <= set(events)
