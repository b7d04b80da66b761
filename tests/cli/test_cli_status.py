"""``paxos status`` against real replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.replicas import Replicas, objects, paxos, replicas

pytestmark = pytest.mark.processes


def test_status_of_a_cluster_at_rest_shows_one_leader_and_equal_digests(
    cluster: Replicas,
) -> None:
    assert cluster("config", "put", "status-test", "x").exit_code == 0
    cluster.wait_equal()
    told = cluster("status", "--json")
    assert told.exit_code == 0
    (document,) = objects(told)
    assert document["cluster_id"] == cluster.founded["cluster_id"]
    assert [row["node"] for row in document["nodes"]] == list(cluster.nodes)
    assert sum(row["role"] == "leader" for row in document["nodes"]) == 1
    for row in document["nodes"]:
        assert row["reachable"] is True
        assert row["applied_through"] == row["decided_through"] > 0
        assert row["lag"] == 0
        assert row["disk_bytes"] > 0
        assert row["disk_full"] is False
        assert row["connections"] >= 1


def test_status_for_people_has_a_line_for_each_replica(tcp_cluster: Replicas) -> None:
    lines = tcp_cluster("status").stdout.splitlines()
    assert lines[0].split()[:3] == ["node", "url", "role"]
    assert [line.split()[1] for line in lines[1:]] == [
        tcp_cluster.url(node) for node in tcp_cluster.nodes
    ]


def test_status_with_a_replica_down_shows_it_unreachable_and_exits_0(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=3) as cluster:
        cluster.start(1, 2)
        cluster.leader()
        told = cluster("status", "--json")
        assert told.exit_code == 0
        rows = objects(told)[0]["nodes"]
        assert [row["reachable"] for row in rows] == [True, True, False]
        assert rows[2]["node"] == 3
        assert rows[2]["role"] is None
        for_people = cluster("status")
        assert "unreachable" in for_people.stdout
        assert cluster.url(3) in for_people.stderr


def test_status_without_a_quorum_says_that_nobody_leads(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=3) as cluster:
        cluster.start(1)
        told = cluster("status")
        assert told.exit_code == 0
        assert "no replica leads" in told.stderr


def test_status_of_another_cluster_is_refused_and_names_both(
    tcp_cluster: Replicas, tmp_path: Path
) -> None:
    text = tcp_cluster.config.read_text()
    other = tmp_path / "other.toml"
    other.write_text(text.replace(tcp_cluster.founded["cluster_id"], "0" * 32))
    told = paxos("status", "--config", str(other))
    assert told.exit_code == 4
    assert "0" * 32 in told.stderr
    assert tcp_cluster.founded["cluster_id"] in told.stderr
