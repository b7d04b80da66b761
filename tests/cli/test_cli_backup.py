"""``paxos backup``, ``restore``, ``recover``, ``scrub`` and ``upgrade``: what they refuse, and how.

What they do when all is well is on docs/operations.md, which is run as it stands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from paxos.core.config import Configuration, Governing, Member
from paxos.core.quorum import Quorums
from paxos.operations.survey import Survey
from paxos.testing.processes import free_base_port
from tests.cli.replicas import Replicas, flip_a_bit, objects, paxos, replicas

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def backup(tcp_cluster: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backup") / "b.backup"
    assert tcp_cluster("config", "put", "backup-test", "needle-in-the-backup").exit_code == 0
    (told,) = objects(tcp_cluster("backup", str(file), "--json"))
    assert told["cluster_id"] == tcp_cluster.founded["cluster_id"]
    assert told["through"] > 0
    return file


@pytest.fixture
def damaged(backup: Path, tmp_path: Path) -> Path:
    content = backup.read_bytes()
    copy = tmp_path / "damaged.backup"
    copy.write_bytes(content.replace(b"needle-in-the", b"needle-in-thf"))
    assert copy.read_bytes() != content
    return copy


@pytest.mark.parametrize("command", [["backup", "--verify"], ["restore", "--replicas", "1"]])
def test_damaged_backup_ends_with_5_and_is_never_restored(
    command: list[str], damaged: Path, tmp_path: Path
) -> None:
    where = [str(tmp_path / "new")] if command[0] == "restore" else []
    told = paxos(*command, str(damaged), *where)
    assert told.exit_code == 5, told.output
    assert str(damaged) in told.stderr
    assert not (tmp_path / "new").exists()


def test_backup_is_not_written_over_a_file_and_a_missing_one_is_named(
    tcp_cluster: Replicas, backup: Path, tmp_path: Path
) -> None:
    before = backup.read_bytes()
    told = tcp_cluster("backup", str(backup))
    assert told.exit_code == 2
    assert "never written over another" in told.stderr
    assert backup.read_bytes() == before
    missing = paxos("backup", "--verify", str(tmp_path / "none"))
    assert missing.exit_code == 2
    assert "none" in missing.stderr


def test_backup_taken_by_endpoints_is_restored_like_another_cluster(
    tcp_cluster: Replicas, tmp_path: Path
) -> None:
    file, new = tmp_path / "b", tmp_path / "new"
    told = paxos("backup", str(file), "--endpoints", tcp_cluster.url(1))
    assert told.exit_code == 0, told.output
    arguments = ["restore", str(file), str(new), "--replicas", "1"]
    refused = paxos(*arguments)
    assert refused.exit_code == 2
    assert "--like FILE" in refused.stderr
    done = paxos(*arguments, "--like", str(tcp_cluster.config), "--json")
    assert done.exit_code == 0, done.output
    assert objects(done)[0]["cluster_id"] != tcp_cluster.founded["cluster_id"]
    assert paxos("scrub", str(new / "node-1")).exit_code == 0


def test_recovery_is_refused_while_a_quorum_is_left_and_without_the_right_id(
    tmp_path: Path,
) -> None:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(1, 2, 3)
        assert cluster("config", "put", "k", "1").exit_code == 0
        cluster.wait_equal()
        new = str(tmp_path / "new")
        one, two = str(cluster.data(1)), str(cluster.data(2))
        recover = ["recover", new, "--replicas", "1", "--config", str(cluster.config)]
        running = paxos(*recover, "--from", one)
        assert running.exit_code == 1
        assert "still runs" in running.stderr
        cluster.kill(1, 2, 3)
        quorum = paxos(*recover, "--from", one, "--from", two)
        assert quorum.exit_code == 1
        assert "member replace" in quorum.stderr
        wrong = paxos(*recover, "--from", one, "--yes-lose-data", "0" * 32, "--json")
        assert wrong.exit_code == 1
        assert cluster.founded["cluster_id"] in wrong.stderr
        (left,) = objects(wrong)
        assert (left["has_quorum"], left["may_lose"], left["missing"]) == (False, True, [2, 3])
        assert not Path(new).exists()


@pytest.mark.parametrize("storage", ["segments", "sqlite"])
def test_scrub_of_a_damaged_log_exits_5_and_says_where_and_what_to_do(
    storage: str, tmp_path: Path
) -> None:
    with replicas(tmp_path / "c", count=1, storage=storage) as cluster:
        cluster.start(1)
        for key in range(3):
            assert cluster("config", "put", f"k{key}", f"needle-{key}-" + 3000 * "x").exit_code == 0
        (online,) = objects(cluster("scrub", "--node", "1", "--json"))
        assert online["sound"]
        assert online["in_use_by"] == cluster.running[1].pid
        cluster.end(1)
        damaged = flip_a_bit(cluster.data(1), b"needle-1-")
        told = paxos("scrub", str(cluster.data(1)), "--json")
        assert told.exit_code == 5, told.output
        (found,) = objects(told)
        assert found["unknown"] or found["hides_promise"]
        assert any(damaged.name in line for line in found["findings"])
        assert "Start the node" in told.stderr or "paxos member replace 1" in told.stderr


def test_scrub_of_a_directory_whose_snapshots_are_gone_says_that_the_state_is(
    backup: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert paxos("restore", str(backup), str(new), "--replicas", "1").exit_code == 0
    for snapshot in (new / "node-1").glob("*.snap"):
        snapshot.unlink()
    assert "no snapshot of slots 1 to" in paxos("scrub", str(new / "node-1")).stdout


def test_scrub_needs_either_a_directory_or_a_node(tmp_path: Path) -> None:
    assert paxos("scrub").exit_code == 2
    assert paxos("scrub", str(tmp_path), "--node", "1").exit_code == 2
    assert paxos("scrub", "--node", "1").exit_code == 2
    told = paxos("scrub", str(tmp_path))
    assert told.exit_code == 2
    assert str(tmp_path) in told.stderr


def test_upgrade_asks_every_member_and_refuses_while_one_is_silent(tmp_path: Path) -> None:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(1, 2)
        cluster.leader()
        told = cluster("upgrade")
        assert told.exit_code == 1
        assert "node 3 did not answer" in told.stderr
        (shown,) = objects(cluster("upgrade", "--show", "--json"))
        assert [row["feature_known"] for row in shown["members"]] == [2, 2, None]
        assert shown["feature"] == shown["feature_before"] == 2


def test_upgrade_that_a_member_of_an_earlier_release_prevents_names_the_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = tuple(Member(node, node, url=f"tcp://h:{node}") for node in (1, 2))
    before = Configuration(1, Quorums.majority([m.voter for m in members]), members, feature=1)
    told = {
        member.url: {"node": member.node, "incarnation": member.incarnation, "feature_known": known}
        for member, known in zip(members, (2, 1), strict=True)
    }
    survey = Survey(Governing(1, before), told, {})
    monkeypatch.setattr("paxos.cli.upgrade.operate", lambda target, work: (survey, before))
    done = paxos("upgrade", "--endpoints", "tcp://h:1")
    assert "the cluster uses feature version 1; nothing was changed" in done.stdout
    assert "once node 2 runs the later release" in done.stdout


def test_snapshot_that_a_node_refuses_names_the_node_and_the_reason(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        text = cluster.config.read_text()
        cluster.config.write_text(text.replace("feature = 2", "feature = 1"))
        cluster.start(1)
        assert cluster("config", "put", "k", "v").exit_code == 0
        told = cluster("snapshot", "--node", "1", "--json")
        assert told.exit_code == 1, told.output
        (row,) = objects(told)
        assert (row["node"], row["snapshot"]) == (1, None)
        assert "feature version knows no snapshots" in row["reason"]
        assert "node 1 took no snapshot" in told.stderr


def test_restore_says_who_is_who_in_one_way_only(backup: Path, tmp_path: Path) -> None:
    new = str(tmp_path / "new")
    assert paxos("restore", str(backup), new).exit_code == 2
    both = paxos("restore", str(backup), new, "--replicas", "1", "--url", "tcp://127.0.0.1:1")
    assert both.exit_code == 2
    url = f"tcp://127.0.0.1:{free_base_port(1)}"
    (made,) = objects(paxos("restore", str(backup), new, "--url", url, "--json"))
    assert [node["url"] for node in made["nodes"]] == [url]
