"""The shapes of partitions, as the links they cut."""

from __future__ import annotations

import random

import pytest

from jepsen_like.live.network import Link, Party
from jepsen_like.live.shapes import ONE_WAY, SHAPES, between, shapes_for

NODES = ("n1", "n2", "n3", "n4", "n5")
SIZES = (2, 3, 4, 5, 7)


def _links(shape: str, nodes: tuple[Party, ...] = NODES, seed: int = 1) -> set[Link]:
    links = SHAPES[shape](nodes, "n2", random.Random(seed))
    assert len(links) == len(set(links))
    return set(links)


def _reached(nodes: tuple[Party, ...], cut: set[Link], start: Party) -> set[Party]:
    """Return who is joined with ``start`` by links that work both ways."""
    found, ahead = {start}, [start]
    while ahead:
        one = ahead.pop()
        for other in nodes:
            if other not in found and Link(one, other) not in cut and Link(other, one) not in cut:
                found.add(other)
                ahead.append(other)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_shape_that_fits_a_cluster_cuts_something_and_not_everything(size: int) -> None:
    nodes = tuple(f"n{node}" for node in range(1, size + 1))
    for shape in shapes_for(size):
        for seed in range(20):
            links = _links(shape, nodes, seed)
            assert links, shape
            assert size == 2 or len(links) < size * (size - 1), shape
            if shape not in ONE_WAY:
                assert all(Link(link.to, link.sender) in links for link in links), shape


def test_halves_of_five_nodes_are_groups_of_two_and_three() -> None:
    cut = _links("halves")
    assert sorted({len(_reached(NODES, cut, node)) for node in NODES}) == [2, 3]


def test_minority_of_five_nodes_is_apart_from_a_majority() -> None:
    for seed in range(20):
        sizes = sorted({len(_reached(NODES, _links("minority", seed=seed), n)) for n in NODES})
        assert sizes in ([1, 4], [2, 3])


def test_leader_shape_with_a_leader_leaves_it_alone() -> None:
    cut = _links("leader")
    assert _reached(NODES, cut, "n2") == {"n2"}
    assert len(_reached(NODES, cut, "n1")) == 4


def test_bridge_of_five_nodes_joins_two_groups_by_one_node() -> None:
    cut = _links("bridge")
    assert cut
    assert len(_reached(NODES, cut, "n1")) == 5
    bridges = [n for n in NODES if not any(n in link for link in cut)]
    assert len(bridges) == 1


def test_ring_of_five_nodes_leaves_each_two_neighbours() -> None:
    cut = _links("ring")
    for node in NODES:
        assert sum(Link(node, other) not in cut for other in NODES if other != node) == 2


def test_star_of_five_nodes_leaves_all_links_of_one_that_does_not_lead() -> None:
    cut = _links("star")
    centres = [n for n in NODES if not any(n in link for link in cut)]
    assert len(centres) == 1
    assert centres != ["n2"]
    assert len(cut) == 4 * 3


@pytest.mark.parametrize(("shape", "end"), [("deaf", "to"), ("mute", "sender")])
def test_one_way_shape_cuts_one_direction_of_one_node(shape: str, end: str) -> None:
    cut = _links(shape)
    assert len({getattr(link, end) for link in cut}) == 1
    assert len(cut) == 4
    assert not any(Link(link.to, link.sender) in cut for link in cut)


def test_between_two_groups_are_all_links_both_ways() -> None:
    assert set(between(["a"], ["b", "c"])) == {
        Link("a", "b"),
        Link("b", "a"),
        Link("a", "c"),
        Link("c", "a"),
    }
