"""Documents of edge configuration: what is imported is what was meant, and comes out again."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines.edge_config_client import KeyValue, Put, RequestInvalid, import_commands
from statemachines.edge_config_document import export_document, flatten, parse_document
from statemachines.edge_config_format import BYTES, JSON, TEXT


def test_flatten_of_tree_and_of_flat_map_is_the_same() -> None:
    tree = {"site-7": {"cam-3": {"fps": 25, "model": "people-v4"}}, "on": True}
    flat = {"site-7/cam-3/fps": 25, "site-7/cam-3": {"model": "people-v4"}, "on": True}
    expected = [
        Put("on", b"true", JSON),
        Put("site-7/cam-3/fps", b"25", JSON),
        Put("site-7/cam-3/model", b'"people-v4"', JSON),
    ]
    assert flatten(tree) == flatten(flat) == expected


def test_flatten_of_literals_keeps_objects_text_and_bytes() -> None:
    document = {
        "object": {"$json": {"b": None, "a": {"$json": 1}}},
        "text": {"$text": "grüß"},
        "yaml": {"$text": "a: 1\n", "$content_type": "application/yaml"},
        "bytes": {"$base64": "AP8="},
        "list": [{"a": {}}],
    }
    assert flatten(document) == [
        Put("bytes", b"\x00\xff", BYTES),
        Put("list", b'[{"a":{}}]', JSON),
        Put("object", b'{"a":{"$json":1},"b":null}', JSON),
        Put("text", "grüß".encode(), TEXT),
        Put("yaml", b"a: 1\n", "application/yaml"),
    ]


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ('{"a": {"b": {}}}', "a/b: an empty object"),
        ('{"a": {"b": 1}, "a/b": 2}', "a/b: the document holds this path twice"),
        ('{"a": {"b": 1, "b": 2}}', "'b' twice in one object"),
        ('{"a": {"": 1}}', "a/: bad key"),
        ('{"a//b": 1}', "a//b: bad key"),
        ('{"a": NaN}', "a: the value is not JSON"),
        ('{"a": {"$text": 1}}', "a: an object with members that begin with"),
        ('{"a": {"$text": "x", "$base64": ""}}', "a: an object with members that begin with"),
        ('{"a": {"$json": 1, "$content_type": "x"}}', "a: an object with members"),
        ('{"a": {"$text": "x", "b": 1}}', "a: an object with members"),
        ('{"a": {"$text": "\\ud800"}}', "a: .text cannot be written in UTF-8"),
        ('{"a": {"$base64": "?"}}', "a: .base64 is not base64"),
        ('{"a": {"$text": "x", "$content_type": 1}}', "a: .content_type is not text"),
    ],
)
def test_parse_document_of_bad_document_names_the_culprit(text: str, culprit: str) -> None:
    with pytest.raises(RequestInvalid, match=culprit):
        parse_document(text)


segments = st.sampled_from(["a", "b", "$json", "$text", "x y", "é"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join)
contents = st.one_of(
    st.tuples(st.binary(max_size=8), st.sampled_from([BYTES, TEXT, JSON, "x/y"])),
    st.tuples(
        st.sampled_from([b"1", b"{}", b'{"a":1}', b'{"a": 1}', b"[]", b"NaN", b'"\\ud800"', b"01"]),
        st.just(JSON),
    ),
)


@given(entries=st.dictionaries(paths, contents, max_size=6))
def test_export_imported_again_gives_the_same_entries(
    entries: dict[str, tuple[bytes, str]],
) -> None:
    items = [KeyValue(key, *entries[key], 1, 1, 1, 0) for key in sorted(entries)]
    document = json.dumps(export_document(items))
    assert parse_document(document) == [Put(key, *entries[key]) for key in sorted(entries)]


def test_fleet_document_of_the_demo_is_a_realistic_import() -> None:
    entries = parse_document(files("paxos.cli").joinpath("fleet.json").read_bytes())
    assert 180 <= len(entries) <= 250
    assert len({entry.key.split("/")[0] for entry in entries if "site-" in entry.key}) == 4
    by_key = {entry.key: entry for entry in entries}
    assert by_key["site-1/gate-north/fps"] == Put("site-1/gate-north/fps", b"25", JSON)
    assert sum(count for count, _ in import_commands(entries)) == len(entries)
