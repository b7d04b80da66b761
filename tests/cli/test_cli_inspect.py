"""``paxos inspect``: sound logs, damaged ones, and what is no log at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.replicas import Replicas, flip_a_bit, objects, paxos, replicas

pytestmark = pytest.mark.processes


def stopped_node(directory: Path, storage: str) -> Replicas:
    """Run a node, write five values to it, and stop it."""
    with replicas(directory / "c", count=1, storage=storage) as cluster:
        cluster.start(1)
        cluster.leader()
        for number in range(5):
            assert cluster("config", "put", "k", f"needle-{number}").exit_code == 0
        assert cluster.end(1) == 0
    return cluster


@pytest.mark.parametrize("storage", ["segments", "sqlite"])
def test_inspect_of_a_sound_log_exits_0_and_says_what_is_in_it(
    tmp_path: Path, storage: str
) -> None:
    cluster = stopped_node(tmp_path, storage)
    before = sorted((path.name, path.stat().st_size) for path in cluster.data(1).iterdir())
    told = paxos("inspect", str(cluster.data(1)), "--json")
    assert told.exit_code == 0, told.output
    (found,) = objects(told)
    assert found["sound"] is True
    assert found["storage"] == storage
    assert found["cluster_id"] == cluster.founded["cluster_id"]
    assert found["node"] == 1
    assert found["slots"][1] >= found["decided_through"] >= 5
    assert found["records"]["accepted"] >= 5
    assert found["damage"] is None
    assert found["in_use_by"] is None
    assert found["disk_bytes"] > 0
    after = sorted((path.name, path.stat().st_size) for path in cluster.data(1).iterdir())
    assert after == before
    for_people = paxos("inspect", str(cluster.data(1)))
    assert for_people.exit_code == 0
    assert for_people.stdout.endswith("sound: nothing that was durable is lost\n")


def test_inspect_of_a_directory_in_use_says_by_which_process(tcp_cluster: Replicas) -> None:
    told = paxos("inspect", str(tcp_cluster.data(1)), "--json")
    assert objects(told)[0]["in_use_by"] == tcp_cluster.running[1].pid


def test_inspect_of_a_damaged_log_exits_5_and_says_where(tmp_path: Path) -> None:
    cluster = stopped_node(tmp_path, "segments")
    segment = flip_a_bit(cluster.data(1), b"needle-2")
    told = paxos("inspect", str(cluster.data(1)), "--json")
    assert told.exit_code == 5
    (found,) = objects(told)
    assert found["sound"] is False
    assert found["damage"]["unknown"]
    assert any(segment.name in line for line in found["damage"]["findings"])
    for_people = paxos("inspect", str(cluster.data(1)))
    assert for_people.exit_code == 5
    assert "in doubt" in for_people.stdout
    assert segment.name in for_people.stdout
    assert "mended from its peers" in for_people.stderr


def test_inspect_of_a_log_without_segments_exits_5(tmp_path: Path) -> None:
    assert paxos("init", str(tmp_path / "c"), "--replicas", "1").exit_code == 0
    data = tmp_path / "c" / "node-1"
    for segment in data.glob("segment-*"):
        segment.unlink()
    told = paxos("inspect", str(data), "--json")
    assert told.exit_code == 5
    assert json.loads(told.stdout)["damage"]["hides_promise"] is True


@pytest.mark.parametrize("name", ["no-such-directory", "empty", "file"])
def test_inspect_of_what_is_no_data_directory_exits_2_and_names_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    told = paxos("inspect", str(tmp_path / name))
    assert told.exit_code == 2
    assert name in told.stderr
