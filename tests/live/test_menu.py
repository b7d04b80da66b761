"""The faults by name: every draw makes sense for every size of cluster."""

from __future__ import annotations

import random

import pytest

from jepsen_like.live.cluster import NetworkKind
from jepsen_like.live.link_faults import Partition
from jepsen_like.live.menu import (
    DRAWS,
    KINDS,
    LANES,
    PERIODS_S,
    needs_node_program,
    network_for,
    refusal,
)
from jepsen_like.live.nemesis import deal
from jepsen_like.live.process_faults import Kill
from jepsen_like.live.shapes import NODES_MIN, ONE_WAY


@pytest.mark.parametrize("kind", KINDS)
def test_draws_of_a_kind_for_every_cluster_are_of_that_kind(kind: str) -> None:
    for nodes in range(2, 8):
        for seed in range(30):
            for draw in DRAWS[kind]:
                fault = draw(random.Random(seed), nodes)
                assert fault.kind == kind
                if isinstance(fault, Partition):
                    assert nodes >= NODES_MIN.get(fault.shape, 2)
                    assert fault.how == "hold" or fault.shape not in ONE_WAY


def test_draw_of_a_fault_with_the_same_chance_is_the_same() -> None:
    for draws in DRAWS.values():
        for draw in draws:
            assert draw(random.Random(5), 3) == draw(random.Random(5), 3)


def test_every_second_kill_drawn_is_of_the_leader() -> None:
    drawn = [draw(random.Random(1), 3) for draw in DRAWS["kill"]]
    assert drawn == [Kill("leader"), Kill("any")]


def test_lanes_together_hold_every_kind_once() -> None:
    assert sorted(kind for kinds in LANES.values() for kind in kinds) == sorted(KINDS)
    assert set(PERIODS_S) == set(LANES)


@pytest.mark.parametrize(
    ("kinds", "network", "said"),
    [
        (["kill", "pause", "partition"], "proxy", ""),
        (["kill", "loss"], "namespaces", ""),
        (["kill", "lightning"], "proxy", "no fault is called 'lightning'; there are: kill, "),
        (["delay"], "namespaces", "'delay' needs the proxy network"),
        (["churn", "damage", "kill", "failed-sync"], "direct", ""),
        (["churn"], "proxy", "'churn' cannot be had with this network"),
        (["damage"], "namespaces", "'damage' cannot be had with this network"),
        (["churn", "partition"], "direct", "'partition' cannot be had where nodes come and go"),
    ],
)
def test_refusal_of_kinds_says_what_is_wrong(
    kinds: list[str], network: NetworkKind, said: str
) -> None:
    assert refusal(kinds, network).startswith(said)
    assert bool(refusal(kinds, network)) == bool(said)


def test_refusal_of_damage_to_so_few_nodes_that_one_is_no_minority_says_so() -> None:
    assert refusal(["damage"], "direct", 2) == (
        "'damage' needs 3 nodes: it takes what one of them holds away"
    )
    assert refusal(["kill"], "direct", 2) == ""


def test_network_of_a_run_whose_nodes_come_and_go_is_direct_unless_one_was_asked_for() -> None:
    assert network_for(["kill", "churn"], "proxy") == "direct"
    assert network_for(["damage"], "proxy") == "direct"
    assert network_for(["kill", "partition"], "proxy") == "proxy"
    assert network_for(["churn"], "namespaces") == "namespaces"


def test_faults_inside_nodes_alone_need_the_program_with_fault_points() -> None:
    plain = ("kill", "kill-all", "restart-storm", "pause", *LANES["links"], *LANES["years"])
    assert not needs_node_program(plain)
    for kind in set(KINDS) - set(plain):
        assert needs_node_program(["kill", kind])


def test_card_of_a_kind_without_effect_is_dealt_before_the_others() -> None:
    kill, pause = DRAWS["kill"][0], DRAWS["pause"][0]
    deck = [("kill", kill), ("kill", kill), ("pause", pause)]
    assert deal(deck, {"kill": 2, "pause": 0}) == ("pause", pause)
    assert deal(deck, {"kill": 2, "pause": 1}) == ("kill", kill)
    assert deck == [("kill", kill)]
