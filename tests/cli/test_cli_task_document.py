"""The format of ``paxos task submit --batch``."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli.task_document import parse_tasks
from statemachines.task_log_format import EDGE, LATENCY, TaskSpec
from statemachines.task_log_requests import RequestInvalid, task_spec

NOW = 1_795_262_400_000_000
"""2026-11-21T12:00:00Z."""

EVERYTHING = {
    "id": "cam-3/7",
    "kind": "detect",
    "payload": {"b": 0.1, "a": [None]},
    "priority": -5,
    "not_before": "+1m",
    "deadline": "2026-11-21T12:05:00Z",
    "attempts": 7,
    "backoff": "1.5s",
    "after": ["cam-3/6"],
    "on": "edge",
    "labels": {"site": "7", "gpu": "yes"},
    "demand": 0.1,
    "size": "2.5",
    "data_on": "edge-1",
    "data_size": "1.5MB",
    "policy": "latency",
}


def test_tasks_with_every_member_are_read_as_they_are_meant() -> None:
    (found,) = parse_tasks(json.dumps([EVERYTHING]), NOW)
    assert found == TaskSpec(
        id="cam-3/7",
        kind="detect",
        payload=b'{"a":[null],"b":0.1}',
        priority=-5,
        not_before=NOW + 60_000_000,
        deadline=NOW + 300_000_000,
        attempts=7,
        backoff=1_500_000,
        depends_on=("cam-3/6",),
        node_kind=EDGE,
        labels=(("gpu", "yes"), ("site", "7")),
        demand=100_000,
        size=2_500_000,
        data_node="edge-1",
        data_bytes=1_500_000,
        policy=LATENCY,
    )


def test_tasks_with_nothing_but_id_and_kind_have_the_usual_values() -> None:
    (found,) = parse_tasks('{"id": "a", "kind": "k"}', NOW)
    assert found == task_spec("a", "k")


def test_tasks_on_lines_are_read_as_those_in_a_list() -> None:
    tasks = [{"id": f"t-{number}", "kind": "k", "payload": "\u2028"} for number in range(3)]
    lines = "\n\n".join(json.dumps(task, ensure_ascii=False) for task in tasks) + "\n"
    assert parse_tasks(lines.encode(), NOW) == parse_tasks(json.dumps(tasks), NOW)


@pytest.mark.parametrize(
    ("member", "payload"),
    [
        ({"payload": "25 °C"}, "25 °C".encode()),
        ({"payload": ""}, b""),
        ({"payload": 1.50}, b"1.5"),
        ({"payload": None}, b"null"),
        ({"payload_base64": "/wA="}, b"\xff\x00"),
        ({}, b""),
    ],
)
def test_payload_of_each_form_becomes_bytes(member: dict[str, Any], payload: bytes) -> None:
    (found,) = parse_tasks(json.dumps({"id": "a", "kind": "k"} | member), NOW)
    assert found.payload == payload


def test_amount_with_many_digits_is_read_as_written_and_not_as_a_float() -> None:
    # As floats both would be 123456789.123456.
    text = '{"id": "a", "kind": "k", "size": 123456789.123456, "demand": 0.3}'
    (found,) = parse_tasks(text, NOW)
    assert (found.size, found.demand) == (123_456_789_123_456, 300_000)
    with pytest.raises(RequestInvalid, match="finer than a millionth"):
        parse_tasks('{"id": "a", "kind": "k", "size": 123456789.12345600001}', NOW)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no task"),
        ("[]", "there is no task"),
        ("[", "neither a JSON list nor"),
        ("nonsense", "neither a JSON list nor"),
        (b"\xff", "neither a JSON list nor"),
        ("[" * 100_000, "neither a JSON list nor"),
        ("[1]", "task 1 is not an object"),
        ('{"id": "a", "kind": "k"}\n{"id": "b"}', 'task 2: "kind" is missing'),
        ('{"kind": "k"}', 'task 1: "id" is missing'),
        ('{"id": 7, "kind": "k"}', '"id" is not text'),
        ('{"id": "a", "kind": "k", "prio": 1}', 'unknown member "prio": there are id, kind'),
        ('{"id": "a", "kind": "k", "payload": "x", "payload_base64": ""}', "not both"),
        ('{"id": "a", "kind": "k", "payload_base64": "%"}', "not base64"),
        ('{"id": "a", "kind": "k", "payload": "\\ud800"}', "UTF-8"),
        ('{"id": "a", "kind": "k", "payload": NaN}', "not JSON"),
        ('{"id": "a", "kind": "k", "priority": 1.5}', "whole number"),
        ('{"id": "a", "kind": "k", "attempts": true}', "whole number"),
        ('{"id": "a", "kind": "k", "size": -1}', "not an amount"),
        ('{"id": "a", "kind": "k", "size": null}', "neither a number nor text"),
        ('{"id": "a", "kind": "k", "size": true}', "neither a number nor text"),
        ('{"id": "a", "kind": "k", "backoff": 5}', '"backoff" is not text'),
        ('{"id": "a", "kind": "k", "deadline": "soon"}', "not a time"),
        ('{"id": "a", "kind": "k", "after": "b"}', "list of texts"),
        ('{"id": "a", "kind": "k", "on": "moon"}', "one of any, cloud, edge"),
        ('{"id": "a", "kind": "k", "labels": {"gpu": true}}', "members are texts"),
        ('{"id": "a b", "kind": "k"}', "task 1: the task id may hold only"),
        ('{"id": "a", "kind": "k", "attempts": 101}', "not from 1 to 100"),
        ('{"id": "a", "kind": "k", "size": 1e3}', "not an amount"),
        ('{"id": "a", "kind": "k", "policy": "best"}', "one of balanced, cost, latency, energy"),
    ],
)
def test_tasks_that_make_no_sense_are_refused_with_the_place(text: str | bytes, why: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse_tasks(text, NOW)
    assert why in str(refused.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVERYTHING, "payload_base64", "other"]), _JSON))
def test_any_json_object_is_a_task_or_refused(entry: dict[str, Any]) -> None:
    with contextlib.suppress(RequestInvalid):
        (found,) = parse_tasks(json.dumps([entry]), NOW)
        assert found.id == entry["id"]
