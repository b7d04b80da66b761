"""``paxos init``: what it writes, and what it refuses."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from paxos import cluster
from tests.cli.replicas import objects, paxos


def test_init_of_three_replicas_writes_what_scripts_rely_on(tmp_path: Path) -> None:
    made = paxos("init", str(tmp_path / "c"), "--replicas", "3")
    assert made.exit_code == 0
    document = tomllib.loads((tmp_path / "c" / "cluster.toml").read_text())
    assert len(document["cluster"]) == 32
    assert [node["id"] for node in document["nodes"]] == [1, 2, 3]
    urls = [f"tcp://127.0.0.1:{port}" for port in (7001, 7002, 7003)]
    assert [node["url"] for node in document["nodes"]] == urls
    for node in document["nodes"]:
        assert not Path(node["data"]).is_absolute()
        assert (tmp_path / "c" / node["data"]).is_dir()
    assert document["machines"] == {
        "config": "statemachines.edge_config:EdgeConfig",
        "tasks": "statemachines.task_log:TaskLog",
    }
    assert document["limits"]["command_bytes_max"] > 0


def test_init_with_transport_and_base_port_uses_them(tmp_path: Path) -> None:
    made = paxos(
        *("init", str(tmp_path), "--replicas", "2", "--transport", "ws"),
        *("--base-port", "9001", "--json"),
    )
    assert made.exit_code == 0
    written = cluster.load(tmp_path / "cluster.toml")
    assert written.urls == {1: "ws://127.0.0.1:9001", 2: "ws://127.0.0.1:9002"}
    (told,) = objects(made)
    assert told["cluster_id"] == written.cluster
    assert told["config"] == str(tmp_path / "cluster.toml")
    assert [node["node"] for node in told["nodes"]] == [1, 2]


def test_init_twice_gives_two_different_clusters(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert paxos("init", str(tmp_path / name), "--replicas", "1").exit_code == 0
    one, other = (cluster.load(tmp_path / name / "cluster.toml") for name in ("a", "b"))
    assert one.cluster != other.cluster
    assert one.node(1).incarnation != other.node(1).incarnation


def test_init_of_a_directory_that_is_not_empty_exits_2_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    made = paxos("init", str(tmp_path), "--replicas", "3")
    assert made.exit_code == 2
    assert "not an empty directory" in made.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_init_with_another_machine_writes_it_beside_the_first(tmp_path: Path) -> None:
    made = paxos("init", str(tmp_path), "--replicas", "1", "--machine", "jobs=my.module:Jobs")
    assert made.exit_code == 0
    machines = cluster.load(tmp_path / "cluster.toml").machines
    assert machines["jobs"] == "my.module:Jobs"
    assert "config" in machines


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--replicas", "0"], "--replicas"),
        (["--replicas", "10"], "--replicas"),
        ([], "--replicas"),
        (["--replicas", "3", "--base-port", "65535"], "port"),
        (["--replicas", "3", "--transport", "udp"], "udp"),
        (["--replicas", "3", "--machine", "jobs"], "'jobs'"),
        (["--replicas", "3", "--machine", "jobs=nonsense"], "module:Class"),
    ],
)
def test_init_with_options_that_make_no_sense_exits_2_and_makes_nothing(
    tmp_path: Path, options: list[str], culprit: str
) -> None:
    made = paxos("init", str(tmp_path / "c"), *options)
    assert made.exit_code == 2
    assert culprit in made.output
    assert not (tmp_path / "c").exists()


def test_init_where_nothing_can_be_written_exits_2_and_names_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = paxos("init", str(tmp_path / "file" / "c"), "--replicas", "1")
    assert made.exit_code == 2
    assert "file" in made.output
