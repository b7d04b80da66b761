"""``paxos serve``: the ready line, the signals, and what it refuses to run on."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.cli.replicas import (
    STOP_TIMEOUT_S,
    Replicas,
    flip_a_bit,
    paxos,
    replicas,
    wait_until,
)

pytestmark = pytest.mark.processes

BLOCK = 4096


def founded(directory: Path) -> Replicas:
    return Replicas(directory / "cluster", "tcp", 3, "segments")


def serve(cluster: Replicas, node: int) -> tuple[int, str]:
    """Start a node that must not get ready; return its exit status and what it said."""
    cluster.spawn(node)
    return cluster.wait_end(node), cluster.log(node)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_serve_once_it_answers_prints_one_ready_line(tmp_path: Path, transport: str) -> None:
    with replicas(tmp_path / "c", transport) as cluster:
        process = cluster.spawn(2)
        ready = cluster.wait_ready(2)
        assert ready == {
            "event": "ready",
            "node": 2,
            "listen": cluster.url(2),
            "applied_through": 0,
        }
        assert cluster.status()[2]["reachable"] is True
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert cluster.wait_end(2) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_told_to_stop_under_load_exits_0_within_5_seconds(
    tmp_path: Path, number: signal.Signals
) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        cluster.start(1)
        with cluster.under_load():
            began = time.monotonic()
            assert cluster.end(1, number) == 0
            assert time.monotonic() - began < STOP_TIMEOUT_S
        assert "Traceback" not in cluster.log(1)


def test_serve_with_json_logs_writes_objects_to_standard_error(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        cluster.spawn(1, "--log-format", "json")
        cluster.wait_ready(1)
        assert cluster.end(1) == 0
        events = [json.loads(line)["event"] for line in cluster.log(1).splitlines()]
        assert "ready" in events


def test_serve_started_again_continues_from_its_log(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        cluster.start(1)
        cluster.leader()
        assert cluster("config", "put", "k", "v").exit_code == 0
        assert cluster.end(1) == 0
        (ready,) = cluster.start(1)
        assert ready["applied_through"] > 0
        assert cluster("config", "get", "k").stdout == "v\n"


def test_serve_on_a_port_in_use_exits_2_and_names_the_address(tmp_path: Path) -> None:
    cluster = founded(tmp_path)
    port = int(cluster.url(1).rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        status, said = serve(cluster, 1)
    assert status == 2
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert "Traceback" not in said


def test_serve_on_another_nodes_directory_exits_2_and_names_both(tmp_path: Path) -> None:
    cluster = founded(tmp_path)
    shutil.rmtree(cluster.data(1))
    cluster.data(2).rename(cluster.data(1))
    status, said = serve(cluster, 1)
    assert status == 2
    assert "node 2 instead of 1" in said
    assert str(cluster.data(1)) in said


def test_serve_on_another_clusters_directory_exits_2_and_names_both(tmp_path: Path) -> None:
    cluster, other = founded(tmp_path / "a"), founded(tmp_path / "b")
    shutil.rmtree(cluster.data(1))
    shutil.copytree(other.data(1), cluster.data(1))
    status, said = serve(cluster, 1)
    assert status == 2
    assert cluster.founded["cluster_id"] in said
    assert other.founded["cluster_id"] in said


def test_serve_without_its_directory_exits_2_and_names_it(tmp_path: Path) -> None:
    cluster = founded(tmp_path)
    shutil.rmtree(cluster.data(1))
    status, said = serve(cluster, 1)
    assert status == 2
    assert str(cluster.data(1)) in said
    assert "Traceback" not in said


def test_serve_of_a_node_that_runs_already_exits_2_and_leaves_it_alone(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        cluster.start(1)
        first = cluster.running.pop(1)
        try:
            status, said = serve(cluster, 1)
            assert status == 2
            assert str(first.pid) in said
            assert cluster.status()[1]["reachable"] is True
        finally:
            cluster.running[1] = first


def test_serve_of_a_node_the_file_has_not_exits_2_and_names_those_it_has(tmp_path: Path) -> None:
    cluster = founded(tmp_path)
    status, said = serve(cluster, 7)
    assert status == 2
    assert "no node 7" in said
    assert "1 to 3" in said


@pytest.mark.parametrize(
    ("machine", "culprit"),
    [
        ("no_such_module:Machine", "no_such_module"),
        ("statemachines.edge_config:NoSuchClass", "NoSuchClass"),
        ("collections:OrderedDict", "apply"),
    ],
)
def test_serve_of_a_machine_that_cannot_be_loaded_exits_2_and_names_it(
    tmp_path: Path, machine: str, culprit: str
) -> None:
    directory = tmp_path / "c"
    assert paxos("init", str(directory), "--replicas", "1").exit_code == 0
    text = (directory / "cluster.toml").read_text()
    assert "statemachines.edge_config:EdgeConfig" in text
    (directory / "cluster.toml").write_text(
        text.replace("statemachines.edge_config:EdgeConfig", machine)
    )
    refused = paxos("serve", "--config", str(directory / "cluster.toml"), "--node", "1")
    assert refused.exit_code == 2
    assert culprit in refused.output


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit makes writes fail on Linux only")
def test_serve_whose_disk_fails_ends_with_a_message_and_loses_nothing(tmp_path: Path) -> None:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(*cluster.nodes)
        leader = cluster.leader()
        assert cluster("config", "put", "before", "kept").exit_code == 0
        # Every write beyond the first 4 KiB of any file now fails, reserved space or not.
        process = cluster.running[leader]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        during = cluster("config", "put", "during", "done by the others")
        assert cluster.wait_end(leader) == 1
        assert "disk failed" in cluster.log(leader)
        assert during.exit_code in (0, 3)
        assert cluster("config", "get", "before").stdout == "kept\n"
        cluster.start(leader)
        cluster.wait_equal()


def test_serve_on_a_log_damaged_in_the_middle_is_mended_from_its_peers(tmp_path: Path) -> None:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(1, 2, 3)
        cluster.leader()
        for number in range(5):
            assert cluster("config", "put", "k", f"needle-{number}").exit_code == 0
        cluster.wait_equal()
        cluster.kill(1)
        segment = flip_a_bit(cluster.data(1), b"needle-2")
        cluster.start(1)
        cluster.wait_equal()
        assert segment.name in cluster.log(1)
        wait_until(lambda: not cluster.status()[1]["unknown"], "no slot is in doubt any more")


def test_serve_on_a_damaged_log_exits_5_and_says_where(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=1) as cluster:
        cluster.start(1)
        assert cluster("config", "put", "k", "v").exit_code == 0
        assert cluster.end(1) == 0
        spoilt = spoil_every_block(cluster.data(1))
        status, said = serve(cluster, 1)
        assert status == 5
        assert any(path.name in said for path in spoilt)
        assert "paxos inspect" in said
        assert "paxos member replace 1 --url URL" in said


def spoil_every_block(data: Path) -> list[Path]:
    """Flip a bit in each block of the log that holds anything, promises too; return the files."""
    spoilt = []
    for path in data.glob("*"):
        content = bytearray(path.read_bytes())
        if path.name in ("identity", "lock") or not any(content):
            continue
        for start in range(0, len(content), BLOCK):
            if any(content[start : start + BLOCK]):
                content[start] ^= 1
        path.write_bytes(content)
        spoilt.append(path)
    return spoilt
