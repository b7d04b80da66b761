"""Disks that rot under load: random bytes over random places of one node's data directory.

The node is killed and started again, so that it meets what was done to it. It must run, have all
that is in doubt mended by the others, and vote again, with nobody's help. It may refuse to run only
if an identity or a promise may be lost; then the one command that its last words name is run as it
stands there, and nothing else. Damage counts when a scrub found it before the start: what was
compacted away meanwhile was never met.

One node at a time: the next one is not touched before this one votes again, or is replaced.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import trio

from jepsen_like.live.cluster import ClusterFailed
from jepsen_like.live.member_faults import new_directory, new_url, operator, start_new
from jepsen_like.live.rot import Aim, Hit, find_place, hit
from jepsen_like.live.spells import Spell, Stage, Target
from paxos.core.ids import NodeId
from paxos.operations.directories import take_up
from paxos.runtime.client import NoReplicaReachable
from paxos.runtime.errors import plain_errors
from paxos.storage.base import DataDamaged
from paxos.storage.scrub import scrub
from paxos.testing.processes import ReplicaProcessFailed

POLL_S = 0.05
AGAIN_S = 0.2
FINISH_TIMEOUT_S = 60.0
"""For a node to be mended or replaced, once every other fault has ended."""

_COMMAND = re.compile(r"(paxos member replace \d+ --url) URL NEW_DIR(?:ECTORY)?\b")


def named_command(said: str) -> str | None:
    """Return the command in a node's last words that replaces it; None if they name none."""
    found = _COMMAND.findall(said)
    return f"{found[-1]} URL NEW_DIR" if found else None


@dataclass(frozen=True, slots=True)
class Damage:
    """Some places of one node's directory are overwritten, one for each aim."""

    aims: tuple[Aim, ...] = ("decided",)
    target: Target = "any"
    kind: ClassVar[str] = "damage"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        (node,) = spell.parties
        spell.target += f": {', '.join(dict.fromkeys(self.aims))}"
        spell.needs_health = True
        rotten = _Rotten(stage, spell, node)
        spell.during, spell.end = rotten.recover, rotten.finish
        await stage.strike_under_load(spell)
        await rotten.rot(self.aims)
        return spell


@dataclass(slots=True)
class _Rotten:
    """A node whose disk rots, until it is well or replaced."""

    stage: Stage
    spell: Spell
    node: NodeId
    hits: list[Hit] = field(default_factory=list)
    may_stop: bool = field(default=False, init=False)
    command: str | None = field(default=None, init=False)
    successor: tuple[str, Path] | None = field(default=None, init=False)
    well: bool = field(default=False, init=False)
    trouble: str = field(default="", init=False)

    # --- damage -----------------------------------------------------------------------------------

    async def rot(self, aims: Sequence[Aim]) -> None:
        """Overwrite places, end the process, and see what of it there is to be met."""
        cluster = self.stage.cluster
        status = (await cluster.statuses()).get(self.node)
        through = status["decided_through"] if status else 0
        if "end" in aims:
            # While the node runs, the last batch is not the last for long.
            await cluster.processes.kill(self.node)
        await trio.to_thread.run_sync(self._hit, aims, through)
        if "end" not in aims:
            await cluster.processes.kill(self.node)
        await trio.to_thread.run_sync(self._look)

    def _hit(self, aims: Sequence[Aim], decided_through: int) -> None:
        directory, rng = self.stage.cluster.data_directory(self.node), self.stage.rng
        for aim in aims:
            try:
                place = find_place(directory, aim, decided_through, rng)
                if place is not None:
                    self.hits.append(hit(place, rng))
            except FileNotFoundError:
                continue  # the node has just removed it

    def _look(self) -> None:
        """Count what stands of the damage, and say whether the node may refuse to run."""
        spell = self.spell
        standing = [each for each in self.hits if each.stands()]
        met = standing
        try:
            damage = scrub(self.stage.cluster.data_directory(self.node)).damage
        except DataDamaged:
            self.may_stop = True
        else:
            self.may_stop = damage is not None and damage.hides_promise
            found = " ".join(() if damage is None else damage.findings)
            met = [each for each in standing if each.place.file.name in found]
        spell.effects = spell.counts["damages"] = len(met)
        spell.counts["inside decided records"] = sum(each.place.decided for each in met)
        if len(met) < len(self.hits):
            spell.counts["never met"] = len(self.hits) - len(met)

    # --- mending ----------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Have the node come back by itself, or be replaced as it says.

        Raises:
            ClusterFailed: It stopped without need, or without saying what to do.
        """
        while not self.well:
            if self.command is not None:
                await self._replace(self.command)
            elif self.node in self.stage.cluster.processes.running:
                await self._wait_mended()
            elif self.stage.is_killed(self.node):
                await trio.sleep(AGAIN_S)
            else:
                await self._start()

    async def finish(self) -> None:
        """Do what is left of it.

        Raises:
            ClusterFailed: As ``recover``; or it came to no end.
        """
        with trio.move_on_after(FINISH_TIMEOUT_S):
            await self.recover()
        if not self.well:
            raise ClusterFailed(f"{self.spell.target}: not well again: {self.trouble}")

    async def _start(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self.stage.cluster.processes.start(self.node)
        except ReplicaProcessFailed as failure:
            if self.stage.is_killed(self.node):
                return
            self.command = named_command(str(failure))
            if self.command is None:
                raise ClusterFailed(f"the damaged {failure}") from failure
            if not self.may_stop:
                raise ClusterFailed(
                    f"no identity and no promise was in doubt, but {failure}"
                ) from failure

    async def _wait_mended(self) -> None:
        while True:
            told = await self.stage.cluster.statuses()
            status = told.get(self.node)
            goal = max((each["decided_through"] for each in told.values() if each), default=0)
            self.trouble = ailment(status)
            if status is not None and not self.trouble:
                break
            await trio.sleep(POLL_S)
        # What was decided by then is what a node that votes again has soon.
        while (status := (await self.stage.cluster.statuses()).get(self.node)) is None or status[
            "applied_through"
        ] < goal:
            self.trouble = f"it has not come to slot {goal}: {ailment(status)}"
            await trio.sleep(POLL_S)
        self.spell.counts["mended"] += self.spell.effects
        self.well = True

    # --- replacing --------------------------------------------------------------------------------

    async def _replace(self, command: str) -> None:
        """Run the command that the node named, and start the new node when it says so."""
        cluster = self.stage.cluster
        if self.successor is None:
            url = new_url(cluster)
            self.successor = (url, new_directory(cluster, url))
        url, directory = self.successor
        words = shlex.split(command.replace(" URL ", f" {url} "))
        words = [sys.executable, "-m", "paxos.cli", *words[1:-1], str(directory)]
        newest = max(node for node in cluster.nodes if node != self.node)
        with plain_errors():
            done = await self._run(words, cluster.file_of(newest), directory)
        if done or await self._is_gone():
            with trio.CancelScope(shield=True):
                await cluster.wipe(self.node)
            self.spell.counts["replaced"] += 1
            self.spell.counts["lost with a node"] += self.spell.effects
            self.well = True
        else:
            await trio.sleep(AGAIN_S)

    async def _run(self, words: list[str], config: Path, directory: Path) -> bool:
        """Run a command as an operator does who has one member's file; return whether it worked."""
        env = {**os.environ, "PAXOS_CONFIG": str(config)}
        said = bytearray()
        run = partial(
            trio.run_process,
            words,
            stdin=b"",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=env,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            assert process.stdout is not None
            async for more in process.stdout:
                said += more
                if b"paxos serve " in said:
                    new = take_up(self.stage.cluster.file, directory)
                    if new is not None:
                        await start_new(self.stage, new)
        self.trouble = said.decode(errors="replace").strip()
        return process.returncode == 0

    async def _is_gone(self) -> bool:
        """Whether it was replaced by a command that did not live to say so."""
        try:
            latest = await operator(self.stage.cluster).survey()
        except NoReplicaReachable:
            return False
        return latest.governing.configuration.member(self.node) is None


def ailment(status: dict[str, Any] | None) -> str:
    """Return what keeps a node from voting as before; empty if nothing does."""
    if status is None:
        return "it does not answer"
    if status["damage"] or status["unknown"]:
        return f"in doubt {status['unknown']}, {'; '.join(status['damage'])}"
    if status["part"] != "voter" or not status["leader"]:
        return f"part {status['part']}, leader {status['leader']}"
    return ""
