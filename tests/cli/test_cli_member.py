"""``paxos member`` and ``paxos transfer-leader`` against real replicas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from paxos.cli.options import ENVIRONMENT
from paxos.testing.processes import free_base_port
from tests.cli.replicas import Replicas, objects, paxos, replicas, wait_until

pytestmark = pytest.mark.processes

WAIT_S = "60"


@contextmanager
def command(cluster: Replicas, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test; what it prints is read line by line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "paxos.cli", *arguments, "--json"],
        env=os.environ | {ENVIRONMENT: str(cluster.config)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_event(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read lines up to the one of ``event``, and return it."""
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"it ended without {event!r}")


def adopt(cluster: Replicas, node: int, config: str) -> None:
    """Start a node that has a directory of its own, as one of the cluster's processes."""
    with (cluster.config.parent / f"{node}.log").open("wb") as log:
        cluster.running[node] = subprocess.Popen(
            [sys.executable, "-m", "paxos.cli", "serve", "--config", config, "--node", str(node)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            process_group=0,
        )
    cluster.wait_ready(node)


def parts(cluster: Replicas) -> dict[int, str]:
    """Return what each member is."""
    (told,) = objects(cluster("member", "list", "--json"))
    return {row["node"]: row["part"] for row in told["members"]}


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Replicas]:
    with replicas(tmp_path / "c") as cluster:
        cluster.start(1, 2, 3)
        assert cluster("config", "put", "k", "1").exit_code == 0
        yield cluster


def test_member_add_in_one_command_ends_with_a_voter_that_has_the_state(
    three: Replicas, tmp_path: Path
) -> None:
    url = f"tcp://127.0.0.1:{free_base_port(1)}"
    arguments = ["--url", url, str(tmp_path / "new"), "--wait", WAIT_S, "--priority", "1"]
    with command(three, "member", "add", *arguments) as adding:
        joined = read_event(adding, "joined")
        assert joined["node"] == 4
        assert joined["serve"] == f"paxos serve --config {tmp_path}/new/cluster.toml --node 4"
        adopt(three, 4, joined["config"])
        done = read_event(adding, "done")
        assert adding.wait() == 0
    members = done["configuration"]["members"]
    assert [(row["node"], row["part"], row["priority"]) for row in members][3] == (4, "voter", 1)
    assert done["configuration"]["quorums"] == {"phase1": 3, "phase2": 3}
    # A file of before the change finds the new member, and the new one's file finds everybody.
    assert sorted(three.status()) == [1, 2, 3, 4]
    three.wait_equal()
    told = paxos("config", "get", "k", "--config", joined["config"])
    assert told.stdout == "1\n"


def test_member_remove_then_wiping_the_removed_nodes_loses_nothing(tmp_path: Path) -> None:
    with replicas(tmp_path / "c", count=5) as cluster:
        cluster.start(*cluster.nodes)
        leader = cluster.leader()
        other = 1 + leader % 5
        for key in range(20):
            assert cluster("config", "put", f"k{key}", "v").exit_code == 0
        removed = cluster("member", "remove", str(leader), str(other))
        cluster.kill(leader, other)
        for node in (leader, other):
            shutil.rmtree(cluster.data(node))
        assert removed.exit_code == 0, removed.output
        assert "may be wiped" in removed.stdout
        assert set(parts(cluster)) == set(cluster.nodes) - {leader, other}
        assert len(objects(cluster("config", "list", "k", "--json"))) == 20
        assert cluster("config", "put", "after", "v").exit_code == 0


@pytest.mark.parametrize("node", [1, 3], ids=["dialled by nobody", "refused by all"])
def test_removed_replica_ends_by_itself_and_again_when_it_is_started_again(
    three: Replicas, node: int
) -> None:
    text = "removed from the cluster by configuration 3: this directory may be deleted"
    told = {"event": "removed", "node": node, "configuration": 3, "text": text}
    assert three("member", "remove", str(node)).exit_code == 0
    assert three("config", "put", "k", "2").exit_code == 0
    for is_first in (True, False):
        if not is_first:
            three.start(node)
        output = three.running[node].stdout
        assert output is not None
        assert json.loads(output.read()) == told  # all that it says until it ends
        assert three.wait_end(node) == 0
        assert text in three.log(node)


def test_wiped_node_is_refused_and_the_command_it_names_replaces_it(
    three: Replicas, tmp_path: Path
) -> None:
    three.kill(3)
    shutil.rmtree(three.data(3))
    three.spawn(3)
    assert three.wait_end(3) == 2
    assert "paxos member replace 3 --url URL NEW_DIR" in three.log(3)
    new = str(tmp_path / "new")
    arguments = ["3", "--url", three.url(3), new, "--wait", WAIT_S]
    with command(three, "member", "replace", *arguments) as replacing:
        joined = read_event(replacing, "joined")
        adopt(three, joined["node"], joined["config"])
        read_event(replacing, "done")
        assert replacing.wait() == 0
    assert parts(three) == {1: "voter", 2: "voter", 4: "voter"}
    three.kill(1)
    assert three("config", "put", "k", "2").exit_code == 0


def test_added_node_that_never_appears_ends_with_4_and_is_removed_again(
    three: Replicas, tmp_path: Path
) -> None:
    url = f"tcp://127.0.0.1:{free_base_port(1)}"
    told = three("member", "add", "--url", url, str(tmp_path / "new"), "--wait", "1")
    assert told.exit_code == 4
    assert "has not answered" in told.stderr
    assert "Ask again to go on" in told.stderr
    assert parts(three)[4] == "learner"
    assert three("member", "remove", "4").exit_code == 0
    assert sorted(parts(three)) == [1, 2, 3]


def test_leadership_is_handed_over_to_a_voter_and_to_nobody_else(three: Replicas) -> None:
    leader = three.leader()
    other = 1 + leader % 3
    told: list[Result] = []

    def handed_over() -> bool:
        told[:] = [three("transfer-leader", "--to", str(other), "--json")]
        assert told[0].exit_code == 0 or "cannot lead now" in told[0].stderr, told[0].output
        return told[0].exit_code == 0

    wait_until(handed_over, "a voter that has just started takes the lead")  # it is refused before
    assert objects(told[0]) == [{"leader": other}]
    assert three.leader() == other
    refused = three("transfer-leader", "--to", "9")
    assert refused.exit_code == 1
    assert "not a member" in refused.stderr


def test_change_without_a_quorum_is_not_reported_done(three: Replicas) -> None:
    three.leader()
    three.kill(2, 3)
    told = three("member", "update", "1", "--priority", "3", "--timeout", "2")
    assert told.exit_code in (1, 3), told.output
    assert told.stdout == ""
    three.start(2, 3)
    wait_until(
        lambda: three("member", "update", "1", "--priority", "3").exit_code == 0,
        "the change is done once a quorum is back",
    )
