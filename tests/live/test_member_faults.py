"""Members come and go under load: every sort of change, and machines that are wiped at once."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from jepsen_like.live.cluster import ClusterFailed, LiveCluster
from jepsen_like.live.member_faults import SPREAD, Churn, Step, fitting, start_new
from jepsen_like.live.spells import Spell, Stage
from paxos.operations.directories import NewNode
from paxos.testing.processes import ReplicaProcessFailed
from tests.live.clusters import LEADER_TIMEOUT_S, Load, run, under_load


@pytest.mark.parametrize(
    ("step", "nodes", "fits"),
    [
        ("add", 3, "add"),
        ("add", 3 + SPREAD, "remove"),
        ("remove", 4, "remove"),
        ("remove", 3, "add"),
        ("replace", 3, "replace"),
        ("replace-wiped", 3 + SPREAD, "replace-wiped"),
    ],
)
def test_step_that_does_not_fit_a_cluster_becomes_one_that_does(
    step: Step, nodes: int, fits: Step
) -> None:
    assert fitting(step, nodes, 3) == fits


class Nodes:
    """A cluster whose processes do not get ready."""

    nodes: tuple[int, ...] = ()

    async def start(self, node: int) -> None:
        raise ReplicaProcessFailed(f"node {node} ended with status -9 before it was ready")

    @property
    def processes(self) -> Nodes:
        return self

    def adopt(self, new: NewNode) -> None:
        self.nodes += (new.entry.id,)


def test_joining_node_that_is_killed_with_all_others_is_left_to_whoever_killed_it() -> None:
    new = cast(NewNode, SimpleNamespace(entry=SimpleNamespace(id=4)))

    async def act() -> None:
        stage = Stage(cast(LiveCluster, Nodes()), random.Random(1))
        stage.held[4] = 1  # by a spell that kills them all
        await start_new(stage, new)
        assert stage.cluster.nodes == (4,)
        assert stage.held[4] == 1
        alone = Stage(cast(LiveCluster, Nodes()), random.Random(1))
        with pytest.raises(ReplicaProcessFailed):
            await start_new(alone, new)
        assert alone.held.total() == 0

    trio.run(act)


async def _done(fault: Churn, cluster: LiveCluster, load: Load) -> Spell:
    stage = Stage(cluster, random.Random(1), lambda: load.in_flight)
    spell = await fault.begin(stage)
    assert spell is not None
    assert spell.in_flight
    await spell.during()
    await stage.end(spell)
    assert spell.effects == spell.counts[fault.step] == 1
    assert stage.held.total() == 0
    return spell


@pytest.mark.processes
def test_members_added_removed_and_replaced_under_load_leave_a_cluster_that_works(
    tmp_path: Path,
) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            home = cluster.data_directory(2)
            await _done(Churn("add"), cluster, load)
            assert list(cluster.nodes) == [1, 2, 3, 4]
            leader = await cluster.leader()
            spell = await _done(Churn("remove", "leader"), cluster, load)
            assert (spell.parties, spell.on_leader) == ((leader,), True)
            assert leader not in cluster.nodes
            assert spell.counts["of the leader"] == 1
            await _done(Churn("replace-wiped"), cluster, load)
            await load.wait_progress(5)
            assert home.exists() == (2 in cluster.nodes)
            assert len(cluster.nodes) == 3
            assert cluster.nodes == cluster.processes.running
            assert cluster.ended_alone == {}
        await cluster.wait_equal(LEADER_TIMEOUT_S)
        for status in (await cluster.statuses(LEADER_TIMEOUT_S)).values():
            assert status is not None
            assert status["part"] == "voter"

    run(tmp_path, act, network="direct")


@pytest.mark.processes
def test_change_that_no_quorum_can_decide_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jepsen_like.live.member_faults.FINISH_TIMEOUT_S", 1.0)

    async def act(cluster: LiveCluster) -> None:
        stage = Stage(cluster, random.Random(1))
        spell = await Churn("replace-wiped").begin(stage)
        assert spell is not None
        await cluster.processes.kill(cluster.nodes[0])
        with pytest.raises(ClusterFailed, match=r"replace-wiped n. came to no end: .+"):
            await spell.end()
        assert spell.effects == 0

    run(tmp_path, act, network="direct")
