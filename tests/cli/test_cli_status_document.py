"""How the answers of several replicas become one status document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from paxos.cli import main, status
from paxos.cli.connect import NodeAnswer
from paxos.cli.status import cluster_document, troubles

URL = "tcp://127.0.0.1:700{}"


def answer(node: int, decided: int, applied: int, role: str = "follower") -> NodeAnswer:
    document: dict[str, Any] = {
        "cluster_id": "c" * 32,
        "node": node,
        "role": role,
        "ballot": "4.1",
        "decided_through": decided,
        "applied_through": applied,
        "digest": "abcd",
        "connections": 2,
        "disk_bytes": 1024,
        "disk_full": False,
        "cpu_s": 1.5,
        "part": "voter",
        "snapshot": {"through": 5, "size": 100, "digest": "abcd"},
        "compacted_through": 4,
        "unknown": [],
        "damage": [],
    }
    return NodeAnswer(URL.format(node), node, document, "")


def silent(node: int | None) -> NodeAnswer:
    return NodeAnswer(URL.format(node or 9), node, None, "connection refused")


def test_status_has_the_fields_that_scripts_rely_on() -> None:
    document = cluster_document("c" * 32, [answer(1, 7, 7, "leader"), answer(2, 7, 5)])
    assert document["cluster_id"] == "c" * 32
    assert document["nodes"][0] == {
        "node": 1,
        "url": "tcp://127.0.0.1:7001",
        "reachable": True,
        "role": "leader",
        "ballot": "4.1",
        "decided_through": 7,
        "applied_through": 7,
        "lag": 0,
        "digest": "abcd",
        "connections": 2,
        "disk_bytes": 1024,
        "disk_full": False,
        "part": "voter",
        "version": None,
        "snapshot": {"through": 5, "size": 100, "digest": "abcd"},
        "compacted_through": 4,
        "fetching": None,
        "unknown": [],
        "damage": [],
    }


def test_status_tells_the_latest_configuration_that_any_replica_knows() -> None:
    one, two = answer(1, 7, 7), answer(2, 7, 7)
    assert one.document is not None
    assert two.document is not None
    one.document["configuration"] = {"version": 3}
    two.document["configuration"] = {"version": 12}
    assert cluster_document(None, [one, two, silent(3)])["configuration"] == {"version": 12}
    assert cluster_document(None, [silent(3)])["configuration"] is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"disk_full": True}, "its disk is full, so it takes no writes"),
        (
            {"damage": ["a", "b"], "unknown": [[3, 5]]},
            "damaged in 2 places, and being mended; slots in doubt: 3 to 5",
        ),
        ({"damage": ["a"]}, "damaged in 1 place, and being mended"),
        ({"snapshot_trouble": "no room"}, "it took no snapshot: no room"),
        (
            {"fetching": {"through": 9, "size": 200, "offset": 50, "from": 2}},
            "it fetches a snapshot from node 2: 25 %",
        ),
        ({"change": "v3 at slot 9"}, "a change of members is under way: v3 at slot 9"),
        (
            {"removed": True},
            "it was removed from the cluster: it ends once nobody needs it any more",
        ),
        (
            {"removed": True, "may_be_deleted": True},
            "it was removed from the cluster: its directory may be deleted",
        ),
    ],
)
def test_trouble_of_a_replica_is_told_in_words(fields: dict[str, Any], text: str) -> None:
    sound = answer(2, 7, 7).document
    assert sound is not None
    assert troubles(sound) == []
    assert troubles(sound | fields) == [text]


def test_replica_of_an_earlier_release_is_shown_without_what_it_does_not_say() -> None:
    old = answer(1, 7, 7)
    assert old.document is not None
    for name in ("part", "snapshot", "compacted_through", "unknown", "damage"):
        del old.document[name]
    assert troubles(old.document) == []
    row = cluster_document(None, [old])["nodes"][0]
    assert (row["part"], row["snapshot"], row["damage"]) == (None, None, None)


def test_lag_is_counted_from_the_highest_slot_any_replica_knows_decided() -> None:
    document = cluster_document(None, [answer(1, 9, 9), answer(2, 4, 3), answer(3, 9, 8)])
    assert [node["lag"] for node in document["nodes"]] == [0, 6, 1]


def test_lag_of_a_witness_is_what_it_has_yet_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = answer(3, 8, 0)
    assert witness.document is not None
    witness.document["part"] = "witness"
    answers = [answer(1, 9, 9, "leader"), witness]
    assert [node["lag"] for node in cluster_document(None, answers)["nodes"]] == [0, 1]
    monkeypatch.setattr(status, "run", lambda *_: answers)
    shown = CliRunner().invoke(main, ["status", "--endpoints", "tcp://127.0.0.1:7001"])
    assert shown.stdout.splitlines()[2].split()[2:8] == ["witness", "4.1", "8", "-", "1", "-"]


def test_replica_that_does_not_answer_is_a_row_with_the_same_fields() -> None:
    document = cluster_document("c" * 32, [answer(1, 1, 1), silent(2)])
    there, gone = document["nodes"]
    assert set(there) == set(gone)
    assert gone["reachable"] is False
    assert gone["node"] == 2
    assert gone["role"] is None


def test_cluster_id_is_the_replicas_word_when_no_file_names_it() -> None:
    assert cluster_document(None, [silent(None), answer(2, 1, 1)])["cluster_id"] == "c" * 32
    assert cluster_document(None, [silent(None)])["cluster_id"] is None


def test_status_of_a_replica_with_a_full_disk_shows_it_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = answer(2, 7, 7)
    assert full.document is not None
    full.document["disk_full"] = True
    monkeypatch.setattr(status, "run", lambda *_: [answer(1, 7, 7, "leader"), full])
    shown = CliRunner().invoke(main, ["status", "--endpoints", "tcp://127.0.0.1:7001"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[2].endswith("1.0 KiB FULL")
    assert not lines[1].endswith("FULL")
    assert "node 2: its disk is full, so it takes no writes" in shown.stderr
    told = CliRunner().invoke(main, ["status", "--endpoints", "tcp://127.0.0.1:7001", "--json"])
    assert [row["disk_full"] for row in json.loads(told.stdout)["nodes"]] == [False, True]
