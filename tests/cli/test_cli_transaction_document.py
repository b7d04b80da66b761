"""The format of ``paxos config txn``."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli.transaction_document import parse_transaction
from statemachines.edge_config_client import Condition, Delete, Get, Put, RequestInvalid


def test_transaction_with_every_form_is_read_as_it_is_meant() -> None:
    found = parse_transaction(
        json.dumps(
            {
                "if": [
                    {"key": "a", "value": "x"},
                    {"key": "b", "value_base64": "/w==", "comparison": "!="},
                    {"key": "c", "absent": True},
                    {"key": "d", "absent": False},
                    {"key": "e", "revision": 3, "comparison": ">"},
                    {"key": "f", "created": 1},
                    {"key": "g", "version": 2},
                ],
                "then": [
                    {"put": "a", "value": "x"},
                    {"put": "b", "value": "<b>", "content_type": "text/html"},
                    {"put": "c", "value_base64": "/w=="},
                    {"put": "d", "json": {"b": 1, "a": None}},
                ],
                "else": [{"delete": "a"}, {"get": "b"}],
            }
        )
    )
    assert found.conditions == [
        Condition("a", "value", "==", b"x"),
        Condition("b", "value", "!=", b"\xff"),
        Condition("c", "version", "==", 0),
        Condition("d", "version", ">", 0),
        Condition("e", "revision", ">", 3),
        Condition("f", "created", "==", 1),
        Condition("g", "version", "==", 2),
    ]
    assert found.then == [
        Put("a", b"x", "text/plain"),
        Put("b", b"<b>", "text/html"),
        Put("c", b"\xff", "application/octet-stream"),
        Put("d", b'{"a":null,"b":1}', "application/json"),
    ]
    assert found.otherwise == [Delete("a"), Get("b")]


def test_transaction_without_conditions_has_empty_lists() -> None:
    assert parse_transaction('{"then": [{"get": "a"}]}') == ([], [Get("a")], [])


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"when": []}', "'when'"),
        ('{"then": {}}', '"then" is not a list'),
        ('{"then": [3]}', '"then" entry 1 is not an object'),
        ('{"then": [{"get": "a"}, {"put": "a", "delete": "a"}]}', '"then" entry 2: an operation'),
        ('{"then": [{"put": 3, "value": "x"}]}', '"put" is missing or not text'),
        ('{"then": [{"put": "a"}]}', "a value is"),
        ('{"then": [{"put": "a", "value": "x", "json": 1}]}', "a value is"),
        ('{"then": [{"put": "a", "value_base64": "?"}]}', "not base64"),
        ('{"then": [{"put": "a", "value": "\\ud800"}]}', "UTF-8"),
        ('{"else": [{"get": "a", "value": "x"}]}', '"else" entry 1: "get" takes nothing'),
        ('{"if": [{"value": "x"}]}', '"key" is missing'),
        ('{"if": [{"key": "a"}]}', "a condition has"),
        ('{"if": [{"key": "a", "revision": 1, "value": "x"}]}', "a condition has"),
        ('{"if": [{"key": "a", "colour": 1}]}', "unknown field 'colour'"),
        ('{"if": [{"key": "a", "revision": true}]}', "not a whole number"),
        ('{"if": [{"key": "a", "absent": 1}]}', "true or false"),
    ],
)
def test_transaction_with_a_mistake_is_refused_at_its_place(document: str, place: str) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        parse_transaction(document)
    assert place in str(refusal.value)


JSON_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["if", "then", "else", "key", "put", "get", "value", "absent"]), inner
        )
    ),
)


@given(JSON_DOCUMENTS)
def test_transaction_of_any_shape_raises_nothing_but_the_refusal(document: Any) -> None:
    with contextlib.suppress(RequestInvalid):
        parse_transaction(json.dumps(document))
