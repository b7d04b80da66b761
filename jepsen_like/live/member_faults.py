"""Changes of membership under load: nodes are added, removed and replaced, dead ones too.

Whoever is removed loses its machine, process and directory, in the moment in which the change is
reported done. A change counts when the cluster has said that it is settled. The cluster is asked
again until it is, as by an operator who does not give up; one that is not settled although
everything else is well is told, and ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import trio

from jepsen_like.live.cluster import ClusterFailed, LiveCluster
from jepsen_like.live.spells import Spell, Stage, Target, named
from paxos.core.config import Configuration, Member
from paxos.core.ids import NodeId
from paxos.operations import live as operated
from paxos.operations.changes import Changes, Joining, NotInTime
from paxos.operations.directories import NewNode
from paxos.operations.plans import PlanRefused
from paxos.runtime.admin import AdminRefused
from paxos.runtime.client import NoReplicaReachable, OutcomeUnknown
from paxos.runtime.errors import plain_errors
from paxos.testing.processes import ReplicaProcessFailed, free_base_port

Step = Literal["add", "remove", "replace", "replace-wiped"]

SPREAD = 2
"""A cluster grows by so many nodes at most, and never shrinks below what it was founded with."""

REQUEST_TIMEOUT_S = 10.0
"""Of one change: a leader that dies meanwhile is not waited for much longer than that."""

PATIENCE_S = 20.0
"""For a new node to appear and to catch up; then the whole is asked for again."""

AGAIN_S = 0.1
FINISH_TIMEOUT_S = 60.0
"""For a change that was begun, once every other fault has ended."""

NOT_NOW = (AdminRefused, NoReplicaReachable, NotInTime, OutcomeUnknown, PlanRefused)


@dataclass(frozen=True, slots=True)
class Churn:
    """One change of membership: of any node, or of the one that leads."""

    step: Step = "replace"
    target: Target = "any"
    kind: ClassVar[str] = "churn"

    async def begin(self, stage: Stage) -> Spell | None:
        """See the port."""
        cluster = stage.cluster
        step = fitting(self.step, len(cluster.nodes), len(cluster.file.nodes))
        if step == "add":
            spell: Spell | None = Spell(self.kind, "", ())
        else:
            spell = await stage.hold(self.kind, self.target)
        if spell is None:
            return None
        old = next(iter(spell.parties), None)
        url = new_url(cluster)
        await stage.strike_under_load(spell)
        if step == "replace-wiped" and old is not None:
            # A machine that is lost comes back at the same address as often as not.
            url = stage.rng.choice((url, cluster.urls[old]))
            await cluster.wipe(old)
        change = _Change(stage, spell, step, old, Joining(url, new_directory(cluster, url)))
        spell.target = f"{step} {named(spell.parties)}".rstrip()
        spell.needs_health = True
        spell.during, spell.end = change.carry_out, change.finish
        return spell


def fitting(step: Step, nodes: int, founded: int) -> Step:
    """Return the step that comes nearest to one in a cluster of so many nodes."""
    if step == "add" and nodes >= founded + SPREAD:
        return "remove"
    if step == "remove" and nodes <= founded:
        return "add"
    return step


def new_url(cluster: LiveCluster) -> str:
    """Return where a new node can listen: where no other does, not even one that is down now."""
    scheme = cluster.file.nodes[0].url.partition(":")[0]
    while (url := f"{scheme}://127.0.0.1:{free_base_port(1)}") in cluster.urls.values():
        pass
    return url


def new_directory(cluster: LiveCluster, url: str) -> Path:
    """Return the directory for a node that will listen there."""
    return cluster.file.path.parent / f"joined-{url.rpartition(':')[2]}"


def operator(cluster: LiveCluster) -> operated.LiveCluster:
    """Return the cluster as an operator sees it that knows of all nodes."""
    urls: Sequence[str] = tuple(cluster.urls.values())
    return operated.LiveCluster(urls, cluster.file.cluster, REQUEST_TIMEOUT_S)


async def start_new(stage: Stage, new: NewNode) -> None:
    """Start the process of a node that has just joined, unless that was done."""
    cluster, node = stage.cluster, new.entry.id
    if node in cluster.nodes:
        return
    cluster.adopt(new)
    stage.held[node] += 1  # to kill it before it is ready would look as if it had failed
    try:
        with trio.CancelScope(shield=True):
            await cluster.processes.start(node)
    except ReplicaProcessFailed:
        if not stage.is_killed(node):
            raise
    finally:
        stage.held[node] -= 1


@dataclass(slots=True)
class _Change:
    """One change, however often it has to be asked for."""

    stage: Stage
    spell: Spell
    step: Step
    old: NodeId | None
    joining: Joining
    trouble: str = field(default="no answer came", init=False)

    async def carry_out(self) -> None:
        """Ask for it until it is done."""
        while not self.spell.effects:
            try:
                with plain_errors():
                    await self._try()
            except NOT_NOW as error:
                self.trouble = str(error)
                await trio.sleep(AGAIN_S)

    async def finish(self) -> None:
        """Do what is left of it.

        Raises:
            ClusterFailed: It cannot be done.
        """
        with trio.move_on_after(FINISH_TIMEOUT_S):
            await self.carry_out()
        if not self.spell.effects:
            raise ClusterFailed(f"{self.spell.target} came to no end: {self.trouble}")

    async def _try(self) -> None:
        cluster = self.stage.cluster
        running = operator(cluster)
        latest = (await running.survey()).governing.configuration
        async with trio.open_nursery() as nursery:
            changes = Changes(running, _Starter(self.stage, nursery), PATIENCE_S)
            if self.old is None:
                await changes.add(cluster.file, [self.joining])
            elif latest.member(self.old) is None:
                await changes.settle()  # it was decided when it was asked for before
            elif self.step == "remove":
                await changes.remove([self.old])
            else:
                await changes.replace(cluster.file, {self.old: self.joining})
            with trio.CancelScope(shield=True):
                await self._note_done()

    async def _note_done(self) -> None:
        cluster, spell = self.stage.cluster, self.spell
        if self.old in cluster.nodes:
            assert self.old is not None
            await cluster.wipe(self.old)
        spell.effects = 1
        spell.counts[self.step] += 1
        if spell.on_leader:
            spell.counts["of the leader"] += 1


@dataclass(slots=True)
class _Starter:
    """Starts the nodes that join, as the operator does who is told to."""

    stage: Stage
    nursery: trio.Nursery

    def joined(self, node: NewNode) -> None:
        """See ``Watcher``."""
        self.nursery.start_soon(partial(start_new, self.stage, node))

    def waiting(self, member: Member, reason: str) -> None:
        """See ``Watcher``."""

    def catching_up(self, member: Member, done: int, total: int) -> None:
        """See ``Watcher``."""

    def changed(self, configuration: Configuration, text: str) -> None:
        """See ``Watcher``."""
