"""Every fault on real processes: it has its effect, counts what it did, and can be taken back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from jepsen_like.live import namespaces
from jepsen_like.live.cluster import LiveCluster
from jepsen_like.live.inner_faults import ClockJump, ClockRate, DiskFull, FailedSync, SlowSync
from jepsen_like.live.link_faults import BadWeather, ClientCut, Partition
from jepsen_like.live.network import Weather
from jepsen_like.live.process_faults import Kill, KillAll, Pause, RestartStorm
from jepsen_like.live.spells import Fault, Spell, Stage
from tests.live.clusters import LEADER_TIMEOUT_S, Load, run, under_load

pytestmark = pytest.mark.processes

WRITES_TIMEOUT_S = 3.0
"""A fault may stop all writes; it lasts for so long then."""


async def _struck(fault: Fault, cluster: LiveCluster, load: Load, writes: int = 20) -> Spell:
    """Let a fault come, last for some writes, and go; the cluster must work afterwards."""
    await cluster.wait_whole(LEADER_TIMEOUT_S)
    stage = Stage(cluster, random.Random(1), lambda: load.in_flight)
    spell = await fault.begin(stage)
    assert spell is not None, fault
    assert spell.struck
    assert spell.in_flight, f"{fault} came while nothing was in flight"
    with trio.move_on_after(WRITES_TIMEOUT_S):
        await load.wait_progress(writes)
    await stage.end(spell)
    assert stage.held.total() == 0
    await cluster.wait_leader(LEADER_TIMEOUT_S)
    await load.wait_progress(1)
    assert cluster.ended_alone == {}
    return spell


def test_faults_of_processes_on_plain_replicas_have_their_effects_and_heal(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            leader = await cluster.leader()
            pid = cluster.processes.pid(leader or 0)
            spell = await _struck(Kill("leader"), cluster, load)
            assert (spell.effects, spell.on_leader, spell.parties) == (1, True, (leader,))
            assert cluster.processes.pid(leader or 0) != pid
            assert (await _struck(KillAll(), cluster, load, 0)).effects == 3
            assert (await _struck(RestartStorm(times=2), cluster, load, 0)).effects == 2
            spell = await _struck(Pause("leader"), cluster, load)
            assert (spell.effects, spell.on_leader) == (1, True)
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act)


def test_faults_of_links_on_plain_replicas_have_their_effects_and_heal(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            faults: list[Fault] = [
                Partition("leader", "hold"),
                Partition("leader", "reset", clients=True),
                Partition("mute"),
                ClientCut("reset"),
                BadWeather("delay", Weather(delay_s=0.02), "leader"),
            ]
            for fault in faults:
                assert (await _struck(fault, cluster, load)).effects == 1, fault
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act)


def test_faults_inside_nodes_with_fault_points_have_their_effects_and_heal(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        # Small values: all of them stay in the history, and a node tells no digest above 4 MiB.
        async with under_load(cluster) as load:
            faults: list[Fault] = [
                DiskFull("leader"),
                SlowSync(0.02, "leader"),
                ClockJump(-3600.0, "leader"),
                ClockRate(2.0),
                FailedSync("leader"),
            ]
            for fault in faults:
                assert (await _struck(fault, cluster, load, 100)).effects == 1, fault
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act, program="node")


def test_faults_that_change_nothing_count_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(cluster: LiveCluster) -> None:
        stage = Stage(cluster, random.Random(1), lambda: 1)
        monkeypatch.setattr(cluster.network, "cut", lambda *_: None)
        monkeypatch.setattr(cluster.network, "mend", lambda *_: None)
        monkeypatch.setattr(cluster.network, "set_weather", lambda *_: None)
        idle: list[Fault] = [
            Partition("leader", "reset"),
            ClientCut(),
            BadWeather("loss", Weather(loss=0.5)),
            # Plain replicas have no fault points, and do not answer.
            DiskFull(),
            SlowSync(),
            ClockJump(),
            ClockRate(),
        ]
        for fault in idle:
            spell = await fault.begin(stage)
            assert spell is not None
            await stage.end(spell)
            assert (spell.struck, spell.effects) == (True, 0), fault
        await cluster.processes.kill(*cluster.nodes)
        targetless: list[Fault] = [Kill(), KillAll(), RestartStorm(), Pause()]
        for fault in targetless:
            assert await fault.begin(stage) is None

    monkeypatch.setattr("jepsen_like.live.inner_faults.DISK_FULL_TIMEOUT_S", 0.2)
    run(tmp_path, act, replicas=2)


@pytest.mark.skipif(bool(namespaces.missing()), reason=f"{namespaces.missing()}")
def test_faults_of_links_in_namespaces_drop_real_packets_and_heal(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            faults: list[Fault] = [
                Partition("leader", "hold"),
                Partition("halves", "reset"),
                BadWeather("loss", Weather(loss=0.2)),
            ]
            for fault in faults:
                assert (await _struck(fault, cluster, load, 5)).effects == 1, fault
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act, network="namespaces")
