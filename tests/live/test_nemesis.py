"""The nemesis: it counts what its spells did, comes back from all of them, and keeps the pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from jepsen_like.live.cluster import LiveCluster
from jepsen_like.live.nemesis import Nemesis
from jepsen_like.live.network import Link
from jepsen_like.live.spells import Spell, Stage
from jepsen_like.report.facts import Band
from tests.live.clusters import LEADER_TIMEOUT_S, run, under_load


@dataclass(frozen=True)
class Prank:
    """A fault of which one says what it does."""

    effects: int
    on_leader: bool = False
    finds_target: bool = True
    kind: str = "kill"

    async def begin(self, stage: Stage) -> Spell | None:
        if not self.finds_target:
            return None
        spell = Spell(self.kind, "n1", (1,), self.on_leader)
        stage.strike(spell)

        async def end() -> None:
            spell.effects = self.effects
            await trio.lowlevel.checkpoint()

        spell.end = end
        return spell


def _on_virtual_time(act: Callable[[], Awaitable[None]]) -> None:
    trio.run(act, clock=MockClock(autojump_threshold=0))


def _nobody() -> LiveCluster:
    return cast(LiveCluster, SimpleNamespace(network_kind="proxy", nodes=(1, 2, 3)))


def test_spell_that_is_over_is_counted_and_noted_and_has_a_band() -> None:
    async def act() -> None:
        notes: list[tuple[str, Any]] = []
        nemesis = Nemesis(
            _nobody(),
            ["kill", "pause"],
            1,
            in_flight=lambda: 3,
            note=lambda f, value: notes.append((f, value)),
        )
        await nemesis.strike(Prank(2, on_leader=True), 1.5)
        assert nemesis.effects == {"kill": 2, "pause": 0}
        assert nemesis.in_flight_effects == {"kill": 2, "pause": 0}
        assert nemesis.leader_effects == {"kill": 1, "pause": 0}
        assert nemesis.bands == [Band("kill", "n1", 0.0, 1.5, 2)]
        assert notes == [
            ("kill", {"target": "n1", "in_flight": 3}),
            ("heal-kill", {"target": "n1", "effects": 2}),
        ]

    _on_virtual_time(act)


def test_spell_that_did_nothing_counts_as_nothing_and_shows() -> None:
    async def act() -> None:
        nemesis = Nemesis(_nobody(), ["kill"], 1, in_flight=lambda: 3)
        await nemesis.strike(Prank(0, on_leader=True), 1.0)
        assert await nemesis.strike(Prank(1, finds_target=False), 1.0) is None
        assert nemesis.effects == nemesis.in_flight_effects == nemesis.leader_effects == {"kill": 0}
        assert [band.effects for band in nemesis.bands] == [0]

    _on_virtual_time(act)


def test_spell_that_came_while_nothing_was_in_flight_is_told_apart() -> None:
    async def act() -> None:
        nemesis = Nemesis(_nobody(), ["kill"], 1, in_flight=lambda: 0)
        await nemesis.strike(Prank(1), 1.0)
        assert nemesis.effects == {"kill": 1}
        assert nemesis.in_flight_effects == {"kill": 0}
        assert nemesis.leader_effects == {"kill": 0}

    _on_virtual_time(act)


def test_spell_goes_on_after_it_struck_and_tells_what_it_did() -> None:
    async def act() -> None:
        notes: list[tuple[str, Any]] = []
        nemesis = Nemesis(_nobody(), ["kill"], 1, note=lambda f, value: notes.append((f, value)))

        class Long(Prank):
            async def begin(self, stage: Stage) -> Spell | None:
                spell = await super().begin(stage)
                assert spell is not None

                async def during() -> None:
                    with trio.move_on_after(2.0):
                        await trio.sleep_forever()
                    spell.counts["seen"] += 1

                spell.during = during
                return spell

        await nemesis.strike(Long(3), 1.0)
        assert nemesis.bands == [Band("kill", "n1", 0.0, 3.0, 3)]
        assert nemesis.details == {"kill": {"seen": 1}}
        assert notes[-1] == ("heal-kill", {"target": "n1", "effects": 3, "seen": 1})

    _on_virtual_time(act)


class Rest:
    """Processes and a network to which nothing is done."""

    running: tuple[int, ...] = ()

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def heal(self) -> None:
        self._told.append("links")

    async def start_all(self, nodes: Iterable[int]) -> None:
        self._told.append(f"start {sorted(nodes)}")


def test_heal_all_ends_what_needs_health_after_everything_else() -> None:
    async def act() -> None:
        told: list[str] = []
        cluster = _nobody()
        rest = Rest(told)

        async def wait_leader(_: float) -> int:
            return 2

        vars(cluster).update(processes=rest, network=rest, wait_leader=wait_leader)
        nemesis = Nemesis(cluster, ["kill"], 1)

        class Lasting(Prank):
            async def begin(self, stage: Stage) -> Spell | None:
                spell = await super().begin(stage)
                assert spell is not None
                spell.needs_health = self.on_leader
                spell.held = (1,) if self.on_leader else ()
                stage.held.update(spell.held)

                async def end() -> None:
                    told.append(f"end of {self.effects}")

                spell.end, spell.during = end, trio.sleep_forever
                return spell

        with trio.move_on_after(1.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nemesis.strike, Lasting(1, on_leader=True), 0.0)
                nursery.start_soon(nemesis.strike, Lasting(2), 0.0)
        assert await nemesis.heal_all() == 2
        assert told == ["end of 2", "links", "start [2, 3]", "end of 1"]

    _on_virtual_time(act)


def test_nemesis_asked_for_a_fault_that_is_not_there_is_refused() -> None:
    async def act() -> None:
        with pytest.raises(ValueError, match="no fault is called 'lightning'"):
            Nemesis(_nobody(), ["lightning"], 1)

    _on_virtual_time(act)


@pytest.mark.processes
def test_torment_of_plain_replicas_under_load_has_effects_and_heals(tmp_path: Path) -> None:
    kinds = ["kill", "pause", "partition"]

    async def act(cluster: LiveCluster) -> None:
        async with under_load(cluster) as load:
            nemesis = Nemesis(cluster, kinds, 1, in_flight=lambda: load.in_flight)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nemesis.torment)
                while not (all(nemesis.effects.values()) and nemesis.leader_effects["kill"]):
                    await load.wait_progress()
                nursery.cancel_scope.cancel()
            await nemesis.heal_all(LEADER_TIMEOUT_S)
            assert cluster.processes.running == cluster.nodes
            assert cluster.ended_alone == {}
            assert all(nemesis.in_flight_effects[kind] for kind in kinds)
            assert sum(band.effects for band in nemesis.bands) == nemesis.effects.total()
            await load.wait_progress(10)
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act)


@pytest.mark.processes
def test_heal_all_after_everything_at_once_brings_back_a_cluster_that_leads(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        nemesis = Nemesis(cluster, ["kill"], 1)
        await cluster.processes.kill(1)
        await cluster.processes.pause(2)
        cluster.network.cut([Link("n2", "n1")], "hold")
        assert await nemesis.heal_all(LEADER_TIMEOUT_S) in cluster.nodes
        assert cluster.processes.running == cluster.nodes
        await cluster.wait_equal(LEADER_TIMEOUT_S)

    run(tmp_path, act, replicas=2)


@pytest.mark.processes
def test_node_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def act(cluster: LiveCluster) -> None:
        nemesis = Nemesis(cluster, ["kill"], 1)
        assert cluster.ended_alone == {}
        async with under_load(cluster):
            await cluster.processes.ask(1, {"sync_fails": True})
            with trio.fail_after(LEADER_TIMEOUT_S):
                while not cluster.ended_alone:
                    await cluster.statuses()
        text = cluster.ended_alone[1]
        assert text.startswith("node 1 ended by itself with status 1")
        assert "StorageFailed" in text
        await nemesis.heal_all(LEADER_TIMEOUT_S)
        assert list(cluster.ended_alone) == [1]
        assert cluster.processes.running == cluster.nodes

    run(tmp_path, act, program="node", replicas=1)
