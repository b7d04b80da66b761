"""What is shown of tasks and nodes: names, spelling, and what a person reads of a state."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli import task_fields
from paxos.cli.task_fields import (
    NODE_COLUMNS,
    TASK_COLUMNS,
    amount_number,
    change_fields,
    change_text,
    node_fields,
    node_row,
    stats_text,
    summary_fields,
    task_lines,
    task_note,
    task_row,
)
from statemachines.task_log_format import (
    BLOCKED,
    CLAIMED,
    CLOUD,
    DEAD,
    DONE,
    EDGE,
    LAPSED,
    LIVE,
    NODE,
    NUMBER_MAX,
    READY,
    TASK,
    WAITING,
    Node,
    NodeChange,
    NodeSpec,
    Stats,
    Task,
    TaskChange,
)
from statemachines.task_log_requests import task_spec

NOON = 1_795_262_400_000_000
SECOND = 1_000_000

SPEC = task_spec(
    "cam-3/7",
    "detect",
    b"frame",
    depends_on=("cam-3/6",),
    node_kind="edge",
    labels={"gpu": "yes"},
    demand=500_000,
    data_node="edge-1",
    data_bytes=2048,
    policy="latency",
)
BEFORE = Task(
    spec=SPEC,
    created=4,
    revision=4,
    submitted=NOON,
    changed=NOON,
    state=READY,
    node="",
    registration=0,
    attempt=0,
    token=0,
    until=0,
    missing=(),
    reason="",
    result=None,
    progress=b"",
    why=(),
)
CLAIM = BEFORE._replace(
    state=CLAIMED, node="edge-1", registration=2, attempt=1, token=9, until=NOON + 30 * SECOND
)
FINISHED = CLAIM._replace(
    state=DONE, result=b"\xff\x00", changed=NOON + 5 * SECOND, until=0, revision=11
)


def test_task_in_full_has_the_fields_that_scripts_rely_on() -> None:
    fields = task_fields.task_fields(FINISHED)
    assert fields == {
        "id": "cam-3/7",
        "kind": "detect",
        "state": "done",
        "node": "edge-1",
        "attempt": 1,
        "attempts": 3,
        "token": 9,
        "priority": 0,
        "revision": 11,
        "created": 4,
        "submitted": "2026-11-21T12:00:00Z",
        "changed": "2026-11-21T12:00:05Z",
        "until": None,
        "not_before": None,
        "deadline": None,
        "backoff_s": 1,
        "after": ["cam-3/6"],
        "missing": [],
        "on": "edge",
        "labels": {"gpu": "yes"},
        "demand": 0.5,
        "size": 1,
        "data_on": "edge-1",
        "data_size": 2048,
        "policy": "latency",
        "reason": None,
        "progress": None,
        "payload": "frame",
        "result_base64": "/wA=",
    }
    json.dumps(fields, allow_nan=False)


def test_task_in_a_list_has_lengths_in_place_of_bytes() -> None:
    listed = FINISHED._replace(spec=SPEC._replace(payload=5), result=2)  # type: ignore[arg-type]
    fields = summary_fields(listed)
    assert (fields["payload_bytes"], fields["result_bytes"]) == (5, 2)
    assert not {"payload", "result", "result_base64"} & fields.keys()
    assert summary_fields(FINISHED) == fields
    assert summary_fields(BEFORE)["result_bytes"] is None


@pytest.mark.parametrize(
    ("task", "note"),
    [
        (BEFORE, "no node takes it now"),
        (BEFORE._replace(node="edge-1"), ""),
        (BEFORE._replace(state=BLOCKED, missing=("a",)), "after a"),
        (BEFORE._replace(state=BLOCKED, missing=("a", "b", "c")), "after a and 2 more"),
        (BEFORE._replace(state=WAITING, until=NOON + 70 * SECOND), "in 1m"),
        (
            BEFORE._replace(state=WAITING, until=NOON + 12 * SECOND, reason="exit status 1"),
            "in 2s (exit status 1)",
        ),
        (CLAIM, "lease 20s"),
        (CLAIM._replace(progress=b"half"), "lease 20s: half"),
        (CLAIM._replace(until=NOON), "lease 0s"),
        (FINISHED, "2 B in 5s"),
        (BEFORE._replace(state=DEAD, reason="attempts used up"), "attempts used up"),
    ],
)
def test_note_of_a_task_in_each_state_says_what_matters(task: Task, note: str) -> None:
    assert task_note(task, NOON + 10 * SECOND) == note


def test_row_of_a_task_has_a_cell_per_column() -> None:
    row = task_row(CLAIM, NOON + 10 * SECOND)
    assert row == ("cam-3/7", "detect", "claimed", "edge-1", "1/3", "0", "10s", "lease 20s")
    assert len(row) == len(TASK_COLUMNS)
    # A clock that is behind the cluster's shows no negative age.
    assert task_row(BEFORE, NOON - SECOND)[6] == "0s"


def test_lines_of_a_task_leave_out_what_it_has_not() -> None:
    lines = dict(task_lines(FINISHED, NOON))
    assert lines["data"] == "2.0 KiB on edge-1"
    assert lines["on"] == "edge gpu=yes"
    assert ("token", "9") in lines.items()
    assert not {"deadline", "not before", "reason"} & lines.keys()
    assert "token" not in dict(task_lines(BEFORE, NOON))


@given(st.integers(0, 10**15 - 1))
def test_amount_as_a_json_number_keeps_every_digit(micro: int) -> None:
    written = json.dumps(amount_number(micro))
    whole, _, rest = f"{float(written):.6f}".partition(".")
    assert int(whole) * 1_000_000 + int(rest) == micro


def test_amount_that_is_whole_is_told_without_a_point() -> None:
    assert json.dumps([amount_number(2_000_000), amount_number(NUMBER_MAX)]) == "[2, 1000000000]"
    assert json.dumps(amount_number(100_000)) == "0.1"


MEMBER = Node(
    spec=NodeSpec(
        name="edge-1",
        kind=EDGE,
        capacity=2_000_000,
        labels=(("gpu", "yes"),),
        price=100_000,
        speed=1_500_000,
        energy=(10_000, 100_000, 10_000),
        delay=5_000,
        bandwidth=1_000_000,
        lease=10 * SECOND,
    ),
    registration=2,
    state=LIVE,
    drained=False,
    until=NOON + 10 * SECOND,
    load=750_000,
    queued=3,
    claimed=1,
    committed=500_000,
    backlog=4_000_000,
)


def test_node_has_the_fields_that_scripts_rely_on() -> None:
    assert node_fields(MEMBER) == {
        "node": "edge-1",
        "kind": "edge",
        "state": "live",
        "draining": False,
        "registration": 2,
        "until": "2026-11-21T12:00:10Z",
        "capacity": 2,
        "used": 0.5,
        "queued": 3,
        "claimed": 1,
        "load": 0.75,
        "backlog": 4,
        "labels": {"gpu": "yes"},
        "speed": 1.5,
        "price": 0.1,
        "energy": [0.01, 0.1, 0.01],
        "delay_s": 0.005,
        "bandwidth": 1_000_000,
    }


def test_row_of_a_node_says_whether_it_takes_work() -> None:
    row = node_row(MEMBER, NOON + 7 * SECOND)
    assert len(row) == len(NODE_COLUMNS)
    assert row[:4] == ("edge-1", "edge", "live", "0.5")
    assert row[-1] == "3s"
    assert node_row(MEMBER._replace(drained=True), NOON)[2] == "draining"
    lapsed = node_row(MEMBER._replace(state=LAPSED, drained=True), NOON)
    assert (lapsed[2], lapsed[-1]) == ("lapsed", "-")


def test_change_of_a_task_is_told_in_full_and_as_a_line() -> None:
    change = TaskChange(12, NOON, TASK, "a", "k", CLAIMED, "edge-1", 2, 12, "exit status 1", b"")
    assert change_fields(change) == {
        "revision": 12,
        "time": "2026-11-21T12:00:00Z",
        "type": "task",
        "id": "a",
        "kind": "k",
        "state": "claimed",
        "node": "edge-1",
        "attempt": 2,
        "token": 12,
        "reason": "exit status 1",
        "progress": None,
    }
    assert change_text(change) == (
        "12  a  claimed  on edge-1  attempt 2, token 12  (exit status 1)"
    )
    told = change._replace(progress=b"half", reason="")
    assert change_text(told).endswith("  half")


def test_change_of_a_node_is_told_as_one() -> None:
    change = NodeChange(12, NOON, NODE, "cloud-1", CLOUD, LAPSED, True)
    assert change_fields(change) == {
        "revision": 12,
        "time": "2026-11-21T12:00:00Z",
        "type": "node",
        "node": "cloud-1",
        "kind": "cloud",
        "state": "lapsed",
        "draining": True,
    }
    assert change_text(change) == "12  node cloud-1  lapsed, draining"


def test_task_log_in_one_line_leaves_out_what_is_none() -> None:
    stats = Stats(40, 1, (0, 0, 3, 2, 5, 0, 0), 1, 2, 0, 100, 0, NOON)
    assert stats_text(stats) == (
        "3 ready, 2 claimed, 5 done, 1 unplaced; 2 live nodes; revision 40"
    )
    empty = stats._replace(states=(0,) * 7, unplaced=0, live_nodes=1)
    assert stats_text(empty) == "no task; 1 live node; revision 40"
