"""Disks that rot under load: a node is mended by the others, or replaced as it says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from jepsen_like.live.cluster import ClusterFailed, LiveCluster
from jepsen_like.live.damage_faults import Damage, ailment, named_command
from jepsen_like.live.spells import Spell, Stage
from tests.live.clusters import LEADER_TIMEOUT_S, Load, run, under_load

WELL: dict[str, Any] = {"damage": [], "unknown": [], "part": "voter", "leader": 2}


def test_command_that_last_words_name_is_found_as_it_stands_there() -> None:
    said = (
        "node 4 ended with status 5 before it was ready\n    paxos: the log of node 4 is damaged"
        " ... one command: paxos member replace 4 --url URL NEW_DIRECTORY\n    segment-1: bad\n"
        "    ... in its place: paxos member replace 4 --url URL NEW_DIR\n"
    )
    assert named_command(said) == "paxos member replace 4 --url URL NEW_DIR"
    assert named_command("paxos: the disk failed") is None


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (None, "does not answer"),
        (WELL | {"damage": ["segment-1: bad"]}, "segment-1: bad"),
        (WELL | {"unknown": [[3, 4]]}, "[[3, 4]]"),
        (WELL | {"part": "learner"}, "part learner"),
        (WELL | {"leader": 0}, "leader 0"),
    ],
)
def test_node_that_does_not_vote_as_before_has_an_ailment(
    status: dict[str, Any] | None, text: str
) -> None:
    assert text in ailment(status)
    assert ailment(WELL) == ""


async def _struck(fault: Damage, cluster: LiveCluster, load: Load, seed: int = 1) -> Spell:
    stage = Stage(cluster, random.Random(seed), lambda: load.in_flight)
    spell = await fault.begin(stage)
    assert spell is not None
    assert spell.in_flight
    await spell.during()
    await stage.end(spell)
    assert stage.held.total() == 0
    await load.wait_progress(5)
    return spell


@pytest.mark.processes
def test_damage_under_load_is_mended_or_the_node_replaced_by_the_command_it_names(
    tmp_path: Path,
) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            await load.wait_progress(200)
            spell = await _struck(Damage(("decided", "decided")), cluster, load)
            assert spell.effects >= 1
            assert spell.counts["inside decided records"] == spell.counts["mended"] == spell.effects
            assert cluster.nodes == (1, 2, 3)
            spell = await _struck(Damage(("end",)), cluster, load)
            assert (
                spell.counts["replaced"] == spell.counts["lost with a node"] == spell.effects == 1
            )
            (old,) = spell.parties
            assert cluster.nodes == tuple(sorted({1, 2, 3, 4} - {old}))
            assert cluster.ended_alone == {}
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act, network="direct")


@pytest.mark.processes
def test_damaged_node_that_stops_although_no_promise_is_in_doubt_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            stage = Stage(cluster, random.Random(1), lambda: load.in_flight)
            spell = await Damage(("end",)).begin(stage)
            assert spell is not None
            rotten = spell.end.__self__  # type: ignore[attr-defined]
            assert rotten.may_stop
            rotten.may_stop = False
            with pytest.raises(ClusterFailed, match="no identity and no promise was in doubt, but"):
                await spell.during()

    run(tmp_path, act, network="direct")
