"""Every fault changes something, damage leaves a quorum, and what is outside it stays broken."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from jepsen_like.sim.atlas import Atlas
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.garbler import Garbler
from jepsen_like.sim.invariants import Violation
from jepsen_like.sim.nemesis import KINDS
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import BACKGROUND, CHURN, REAL_LOG_LIMITS, SPELLS, Plan, draw_plan
from jepsen_like.sim.schedule import Schedule
from jepsen_like.sim.setup import NodeSetup
from jepsen_like.sim.simulation import Simulation, simulate
from jepsen_like.sim.world import World
from jepsen_like.workload.registers import make_machines
from paxos import codec
from paxos.core.ballot import Ballot
from paxos.core.config import Configuration
from paxos.core.ids import Voter
from paxos.core.messages import Accepted, Prepare
from paxos.core.quorum import Quorums
from paxos.core.replica import Replica

VOTERS = tuple(Voter(node, node * 11) for node in (1, 2, 3))


def small_plan(seed: int, **changes: Any) -> Plan:
    """Three nodes on the log that ships, and nothing in the background."""
    settings: dict[str, Any] = dict.fromkeys(
        ("loss", "duplication", "spikes", "overtaking", "replays", "corruption", "drift"), 0.0
    )
    settings |= {"nodes": 3, "phase1": 2, "phase2": 2, "deliveries": 600, "commands": 60}
    settings |= {"limits": REAL_LOG_LIMITS, "real_log": True, "permanent": False}
    settings |= {"beyond": False, "codec": False, "recorded": False, "calm_s": 0.3}
    settings |= {"churn": (), "feature": 2}
    return replace(draw_plan(seed), **settings | changes)


@pytest.mark.parametrize("kind", SPELLS)
def test_spell_alone_has_effect_and_breaks_nothing(kind: str) -> None:
    for seed in range(6):
        outcome = simulate(seed, plan=small_plan(seed, faults=(kind,), outbox_bytes=500))
        assert outcome.number is None, outcome.text
        if outcome.spells:
            return
    pytest.fail(f"{kind} did nothing in six runs")


def test_kinds_of_spells_are_those_that_plans_draw() -> None:
    assert set(KINDS) == {*SPELLS, *CHURN}
    assert not set(SPELLS) & set(BACKGROUND)


def atlas_of(count: int, beyond: bool = False) -> tuple[Atlas, list[SimNode]]:
    """Return an atlas of so many nodes, of which a majority is a quorum."""
    majority = count // 2 + 1
    plan = small_plan(0, nodes=count, phase1=majority, phase2=majority, real_log=False)
    cluster = Cluster(World(0, plan, None), Replica, lambda: make_machines(False))
    return Atlas(cluster.nodes, cluster.invariants.at_stake, beyond), cluster.nodes


def test_atlas_spends_only_what_leaves_a_quorum() -> None:
    atlas, nodes = atlas_of(5)
    spent = [atlas.spend(nodes[number - 1]) for number in (2, 2, 4, 5)]
    assert spent == [True, False, True, False]
    assert [node.voter.node for node in atlas.sound] == [1, 3, 5]


def test_atlas_beyond_what_the_rest_bears_spends_everything() -> None:
    atlas, nodes = atlas_of(3, beyond=True)
    assert all(atlas.spend(node) for node in nodes)
    assert atlas.sound == []


def test_atlas_counts_a_node_as_sound_again_once_its_damage_is_mended() -> None:
    atlas, nodes = atlas_of(3)
    assert atlas.spend(nodes[0])
    assert not atlas.spend(nodes[1])
    nodes[0].start()
    nodes[0].facts.doubt[7] = None
    assert nodes[0] not in atlas.sound
    nodes[0].facts.doubt.clear()
    assert nodes[0] in atlas.sound
    assert atlas.spend(nodes[1])


def test_atlas_bears_no_configuration_whose_quorums_need_the_lost() -> None:
    atlas, nodes = atlas_of(3)
    voters = frozenset(node.voter for node in nodes)
    everyone = Configuration(2, Quorums(voters, 3, 1))
    assert atlas.bears(everyone)
    assert atlas.spend(nodes[2])
    assert not atlas.bears(everyone)


def test_runs_that_lose_their_quorum_tell_clients_unknown_and_demand_no_progress() -> None:
    unknown = 0
    for seed in range(1, 5):
        plan = small_plan(seed, beyond=True, faults=("wiped disk",), calm_s=0.2)
        outcome = simulate(seed, plan=plan)
        assert outcome.number is None, outcome.text
        assert outcome.marks["no quorum was left"] == 1
        unknown += outcome.marks["outcome was unknown"]
    assert unknown > 0


def test_nodes_outside_the_healed_quorum_stay_broken_to_the_end() -> None:
    fates = set()
    for seed in range(8):
        trace: list[str] = []
        plan = small_plan(seed, permanent=True, faults=("partition", "kill"), real_log=False)
        world = World(seed, plan, trace.append)
        assert Simulation(world, Replica, Schedule(())).carry_out().number is None
        fates |= {line.rsplit("stays ", 1)[1] for line in trace if " stays " in line}
    assert len(fates) > 2


@pytest.fixture
def garbler() -> Garbler:
    founding = Configuration(1, Quorums.majority(VOTERS))
    setup = NodeSetup(founding, 4, Replica, lambda: make_machines(False), codec.unpack_batch)
    return Garbler(World(1, small_plan(1), None), setup, VOTERS[0])


def test_garbled_frames_of_every_kind_raise_nothing_in_what_ships(garbler: Garbler) -> None:
    rng = random.Random(1)
    for number in range(300):
        garbler.peer_frame(rng, VOTERS[1], Prepare(Ballot(number + 1, 2), 0))
        garbler.peer_frame(rng, VOTERS[2], Accepted(Ballot(number + 1, 2), number, 0))


def test_decoder_that_raises_at_a_garbled_frame_is_a_violation(
    garbler: Garbler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(frame: bytes) -> None:
        raise IndexError(frame)

    monkeypatch.setattr(codec, "decode_peer", careless)
    with pytest.raises(Violation, match="the decoder raised IndexError"):
        garbler.peer_frame(random.Random(1), VOTERS[1], Prepare(Ballot(1, 2), 0))


def test_replica_that_raises_at_a_garbled_message_is_a_violation(
    garbler: Garbler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*_: object) -> None:
        raise KeyError("a slot that is not there")

    monkeypatch.setattr(Replica, "handle", careless)
    monkeypatch.setattr(codec, "decode_peer", lambda _: Prepare(Ballot(9, 2), 0))
    with pytest.raises(Violation, match="a replica raised KeyError"):
        garbler.peer_frame(random.Random(1), VOTERS[1], Prepare(Ballot(1, 2), 0))
