"""``paxos config`` against real replicas: what each command prints, and how it ends."""

from __future__ import annotations

import base64
import json
from importlib import resources
from itertools import count
from pathlib import Path

import pytest

from tests.cli.replicas import Replicas, objects, paxos

pytestmark = pytest.mark.processes

PREFIXES = count(1)


@pytest.fixture
def prefix() -> str:
    """A subtree that no other test uses."""
    return f"test-{next(PREFIXES)}/"


def revision_of(cluster: Replicas, key: str) -> int:
    revision: int = objects(cluster("config", "get", key, "--json"))[0]["revision"]
    return revision


def put(cluster: Replicas, key: str, value: str) -> int:
    done = cluster("config", "put", key, value, "--json")
    assert done.exit_code == 0, done.output
    revision: int = objects(done)[0]["revision"]
    return revision


def test_config_put_and_get_over_a_real_cluster_round_trip(cluster: Replicas, prefix: str) -> None:
    done = cluster("config", "put", f"{prefix}fps", "25", "--json")
    assert done.exit_code == 0
    (told,) = objects(done)
    assert told.keys() == {"outcome", "revision", "slot"}
    assert told["outcome"] == "done"
    (found,) = objects(cluster("config", "get", f"{prefix}fps", "--json"))
    assert found == {
        "key": f"{prefix}fps",
        "value": "25",
        "content_type": "text/plain",
        "revision": told["revision"],
        "slot": found["slot"],
    }
    assert found["slot"] >= told["slot"] > 0


def test_config_put_and_get_for_people_print_plain_text(tcp_cluster: Replicas, prefix: str) -> None:
    done = tcp_cluster("config", "put", f"{prefix}fps", "25")
    assert done.stdout.startswith(f"put {prefix}fps (revision ")
    assert tcp_cluster("config", "get", f"{prefix}fps").stdout == "25\n"


def test_config_put_by_endpoints_needs_no_file(tcp_cluster: Replicas, prefix: str) -> None:
    urls = ",".join(tcp_cluster.url(node) for node in tcp_cluster.nodes)
    assert paxos("config", "put", f"{prefix}k", "v", "--endpoints", urls).exit_code == 0
    for node in tcp_cluster.nodes:
        found = paxos("config", "get", f"{prefix}k", "--endpoints", tcp_cluster.url(node))
        assert found.stdout == "v\n"


def test_config_put_of_bytes_comes_back_as_base64_and_raw(
    tcp_cluster: Replicas, prefix: str, tmp_path: Path
) -> None:
    value = bytes(range(256))
    (tmp_path / "logo").write_bytes(value)
    done = tcp_cluster("config", "put", f"{prefix}logo", "--file", str(tmp_path / "logo"))
    assert done.exit_code == 0
    (found,) = objects(tcp_cluster("config", "get", f"{prefix}logo", "--json"))
    assert base64.b64decode(found["value_base64"]) == value
    assert "value" not in found
    assert found["content_type"] == "application/octet-stream"
    assert tcp_cluster("config", "get", f"{prefix}logo", "--raw").stdout_bytes == value
    assert "256 bytes" in tcp_cluster("config", "get", f"{prefix}logo").stdout


def test_config_get_of_an_absent_key_exits_1(cluster: Replicas, prefix: str) -> None:
    absent = cluster("config", "get", f"{prefix}nothing")
    assert absent.exit_code == 1
    assert absent.stdout == ""
    assert f"{prefix}nothing" in absent.stderr
    told = cluster("config", "get", f"{prefix}nothing", "--json")
    assert told.exit_code == 1
    (found,) = objects(told)
    assert (found["value"], found["revision"]) == (None, 0)


def test_config_put_under_a_condition_is_done_only_while_it_holds(
    tcp_cluster: Replicas, prefix: str
) -> None:
    key = f"{prefix}owner"

    def conditional(value: str, *condition: str) -> tuple[int, str]:
        done = tcp_cluster("config", "put", key, value, *condition, "--json")
        return done.exit_code, objects(done)[0]["outcome"]

    assert conditional("a", "--if-absent") == (0, "done")
    assert conditional("b", "--if-absent") == (1, "condition_false")
    revision = str(revision_of(tcp_cluster, key))
    assert conditional("c", "--if-revision", revision) == (0, "done")
    assert conditional("d", "--if-revision", revision) == (1, "condition_false")
    assert conditional("e", "--if-value", "c") == (0, "done")
    assert conditional("f", "--if-value", "c") == (1, "condition_false")
    assert conditional("g", "--if-revision", "0") == (1, "condition_false")
    assert tcp_cluster("config", "get", key).stdout == "e\n"


def test_config_delete_is_done_once_and_absent_after_that(
    tcp_cluster: Replicas, prefix: str
) -> None:
    put(tcp_cluster, f"{prefix}k", "v")
    done = tcp_cluster("config", "delete", f"{prefix}k", "--json")
    assert done.exit_code == 0
    assert objects(done)[0].keys() == {"outcome", "revision", "slot"}
    again = tcp_cluster("config", "delete", f"{prefix}k", "--json")
    assert again.exit_code == 1
    assert objects(again)[0]["outcome"] == "absent"


def test_config_txn_runs_then_or_else_and_says_which(tcp_cluster: Replicas, prefix: str) -> None:
    transaction = json.dumps(
        {
            "if": [{"key": f"{prefix}owner", "absent": True}],
            "then": [{"put": f"{prefix}owner", "value": "me"}, {"get": f"{prefix}owner"}],
            "else": [{"get": f"{prefix}owner"}],
        }
    ).encode()
    done = tcp_cluster("config", "txn", "-", "--json", stdin=transaction)
    assert done.exit_code == 0, done.output
    (told,) = objects(done)
    assert told.keys() == {"outcome", "revision", "slot", "results"}
    assert told["outcome"] == "done"
    assert told["results"][0] is True
    assert told["results"][1]["value"] == "me"
    again = tcp_cluster("config", "txn", "-", "--json", stdin=transaction)
    assert again.exit_code == 1
    (told,) = objects(again)
    assert told["outcome"] == "condition_false"
    assert [result["value"] for result in told["results"]] == ["me"]


def test_config_list_pages_through_a_prefix_in_order(tcp_cluster: Replicas, prefix: str) -> None:
    document = {f"{prefix}{number:05d}": number for number in range(2500)}
    imported = tcp_cluster("config", "import", "-", stdin=json.dumps(document).encode())
    assert imported.exit_code == 0, imported.output
    listed = objects(tcp_cluster("config", "list", prefix, "--json"))
    assert [item["key"] for item in listed] == list(document)
    assert listed[7].keys() == {"key", "value", "content_type", "revision", "slot"}
    keys = tcp_cluster("config", "list", prefix, "-k").stdout.split()
    assert keys == list(document)
    some = tcp_cluster("config", "list", prefix, "-k", "--limit", "1200").stdout.split()
    assert some == list(document)[:1200]
    within = tcp_cluster(
        *("config", "list", "-k", "--start", f"{prefix}00003", "--stop", f"{prefix}00006")
    )
    assert within.stdout.split() == [f"{prefix}0000{number}" for number in (3, 4, 5)]


def test_config_read_at_an_old_revision_shows_what_was_then(
    tcp_cluster: Replicas, prefix: str
) -> None:
    first = put(tcp_cluster, f"{prefix}k", "old")
    put(tcp_cluster, f"{prefix}k", "new")
    at = ("--at-revision", str(first))
    assert tcp_cluster("config", "get", f"{prefix}k", *at).stdout == "old\n"
    assert tcp_cluster("config", "list", prefix, *at).stdout == f"{prefix}k = old\n"
    future = tcp_cluster("config", "get", f"{prefix}k", "--at-revision", str(first + 10**9))
    assert future.exit_code == 1
    assert "has not come yet" in future.stderr


def test_config_history_shows_every_change_oldest_first(tcp_cluster: Replicas, prefix: str) -> None:
    revisions = [put(tcp_cluster, f"{prefix}k", value) for value in "ab"]
    tcp_cluster("config", "delete", f"{prefix}k")
    events = objects(tcp_cluster("config", "history", f"{prefix}k", "--json"))
    assert [(event["type"], event["value"]) for event in events] == [
        ("put", "a"),
        ("put", "b"),
        ("delete", None),
    ]
    assert [event["revision"] for event in events[:2]] == revisions
    later = tcp_cluster("config", "history", f"{prefix}k", "--after", str(revisions[0]), "--json")
    assert objects(later) == events[1:]
    table = tcp_cluster("config", "history", f"{prefix}k").stdout.splitlines()
    assert table[0].split() == ["revision", "change", "value"]
    assert tcp_cluster("config", "history", f"{prefix}none").exit_code == 1


def test_config_watch_from_a_revision_shows_changes_in_order(
    cluster: Replicas, prefix: str
) -> None:
    first = put(cluster, f"{prefix}a", "1")
    put(cluster, f"{prefix}b", "2")
    cluster("config", "delete", f"{prefix}a")
    watched = cluster(
        *("config", "watch", prefix, "--from-revision", str(first), "--events", "3", "--json")
    )
    assert watched.exit_code == 0
    events = objects(watched)
    assert all(event.keys() >= {"revision", "type", "key", "value"} for event in events)
    assert [(event["type"], event["key"], event["value"]) for event in events] == [
        ("put", f"{prefix}a", "1"),
        ("put", f"{prefix}b", "2"),
        ("delete", f"{prefix}a", None),
    ]
    exact = cluster(
        *("config", "watch", f"{prefix}b", "--exact", "--from-revision", str(first)),
        *("--events", "1"),
    )
    assert exact.stdout == f"{first + 1}  put  {prefix}b = 2\n"


def test_config_watch_never_splits_a_revision(tcp_cluster: Replicas, prefix: str) -> None:
    document = {f"{prefix}{letter}": letter for letter in "abc"}
    imported = tcp_cluster("config", "import", "-", "--json", stdin=json.dumps(document).encode())
    revision = str(objects(imported)[0]["revision"])
    watched = tcp_cluster(
        *("config", "watch", prefix, "--from-revision", revision, "--events", "1", "--json")
    )
    assert [event["key"] for event in objects(watched)] == list(document)


def test_config_import_of_the_fleet_and_export_round_trip(
    cluster: Replicas, tmp_path: Path
) -> None:
    fleet = resources.files("paxos.cli").joinpath("fleet.json")
    with resources.as_file(fleet) as path:
        imported = cluster("config", "import", str(path), "--json")
    assert imported.exit_code == 0, imported.output
    (told,) = objects(imported)
    assert told["outcome"] == "done"
    assert told["entries"] > 100
    output = tmp_path / "out.json"
    assert cluster("config", "export", "site-1/", "--output", str(output)).exit_code == 0
    exported = json.loads(output.read_text())
    assert exported.keys() == set(cluster("config", "list", "site-1/", "-k").stdout.split())
    revision = revision_of(cluster, next(iter(exported)))
    assert cluster("config", "import", str(output)).exit_code == 0
    (again,) = objects(cluster("config", "export", "site-1/", "--json"))
    assert again == exported
    assert revision_of(cluster, next(iter(exported))) > revision


def test_config_compact_makes_older_reads_and_watches_refused(
    tcp_cluster: Replicas, prefix: str
) -> None:
    first = put(tcp_cluster, f"{prefix}k", "old")
    last = put(tcp_cluster, f"{prefix}k", "new")
    done = tcp_cluster("config", "compact", str(last), "--json")
    assert done.exit_code == 0
    assert objects(done)[0]["oldest_revision"] == last
    gone = tcp_cluster("config", "get", f"{prefix}k", "--at-revision", str(first))
    assert gone.exit_code == 1
    assert "no longer kept" in gone.stderr
    watched = tcp_cluster("config", "watch", prefix, "--from-revision", str(first))
    assert watched.exit_code == 1
    assert "no longer kept" in watched.stderr
    assert tcp_cluster("config", "get", f"{prefix}k").stdout == "new\n"
    assert tcp_cluster("config", "compact", "--keep", "10000").exit_code == 0


@pytest.mark.parametrize("level", ["linearizable", "session", "local"])
def test_config_get_at_each_level_says_the_slot_it_reflects(
    tcp_cluster: Replicas, prefix: str, level: str
) -> None:
    put(tcp_cluster, f"{prefix}k", "v")
    tcp_cluster.wait_equal()
    (found,) = objects(tcp_cluster("config", "get", f"{prefix}k", "--level", level, "--json"))
    assert found["value"] == "v"
    assert found["slot"] > 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "culprit"),
    [
        (["put", "k"], b"", "VALUE or --file"),
        (["put", "k", "v", "--file", "-"], b"v", "VALUE or --file"),
        (["put", "a//b", "v"], b"", "segments"),
        (["put", "k", "{", "--content-type", "application/json"], b"", "not JSON"),
        (["put", "k", "--file", "-"], b"x" * (1024 * 1024 + 1), "limit is 1048576 bytes"),
        (["put", "k" * 1025, "v"], b"", "limit is 1024 bytes"),
        (["put", "k", "v", "--if-absent", "--if-revision", "3"], b"", "at most one"),
        (["put", "k", "--file", "no-such-file"], b"", "no-such-file"),
        (["get", "k", "--raw", "--json"], b"", "not both"),
        (["get", "k", "--level", "lease"], b"", "lease"),
        (["txn", "-"], b"{", "not JSON"),
        (["import", "-"], b"[1]", "not a JSON object"),
        (["import", "-"], b'{"a": {}}', "empty object"),
        (["import", "-"], b"{}", "nothing to import"),
        (["compact"], b"", "REVISION or --keep"),
        (["compact", "3", "--keep", "3"], b"", "REVISION or --keep"),
        (["export", "--output", "/"], b"", "'/'"),
    ],
)
def test_config_with_bad_input_exits_2_and_names_it(
    tcp_cluster: Replicas, arguments: list[str], stdin: bytes, culprit: str
) -> None:
    before = tcp_cluster.status()[1]["decided_through"]
    refused = tcp_cluster("config", *arguments, stdin=stdin)
    assert refused.exit_code == 2, refused.output
    assert culprit in refused.stderr
    assert "Traceback" not in refused.output
    assert tcp_cluster.status()[1]["decided_through"] == before


def test_config_compact_of_a_revision_to_come_exits_1(tcp_cluster: Replicas) -> None:
    refused = tcp_cluster("config", "compact", str(2**40), "--json")
    assert refused.exit_code == 1
    (told,) = objects(refused)
    assert told["outcome"] == "refused"
    assert (told["revision"], told["slot"]) == (None, None)
    assert "has not come yet" in told["reason"]


def test_config_of_a_machine_that_is_not_there_exits_1_and_names_it(tcp_cluster: Replicas) -> None:
    refused = tcp_cluster("config", "put", "k", "v", "--machine", "nope")
    assert refused.exit_code == 1
    assert "nope" in refused.stderr
