"""Changes of membership from wish to "settled": join, wait, promote, demote, remove, replace.

Each flow can be cut short at any place and asked for again: it looks at the latest configuration
and does what is left to do. Owns the order of the steps: a node catches up before its vote counts,
and votes no more before it is removed. When a flow returns, the leader has said that the change is
settled, so that whoever was removed may be wiped. It never knows how anything is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio

from paxos.cluster import ClusterFile
from paxos.core.config import Configuration, Member, Part
from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId
from paxos.operations import plans
from paxos.operations.directories import NewNode, make_directory, take_up, unmake
from paxos.operations.plans import AS_BEFORE, PlanRefused, QuorumChoice
from paxos.operations.survey import Survey, lives_as
from paxos.runtime.admin import AdminDone, AdminRefused
from paxos.runtime.client import NoReplicaReachable, OutcomeUnknown

POLL_S = 0.25
"""Between two looks at a node that is awaited: a person sees it move, a node hardly notices."""
RACES_MAX = 5
"""How often a change is planned anew because another administrator was faster."""

Plan = Callable[[Configuration], Configuration]
"""Makes the wanted configuration from the latest one; an equal one if there is nothing to do."""


class Cluster(Protocol):
    """What the flows ask of a running cluster."""

    async def survey(self) -> Survey:
        """Ask all members about themselves."""

    async def status(self, url: str) -> Mapping[str, Any] | str:
        """Ask one node about itself; a text says why there is no answer."""

    async def reconfigure(self, configuration: Configuration) -> AdminDone:
        """Have a configuration decided and settled; also if it is the latest one already."""


class Watcher(Protocol):
    """Is told how far a flow is."""

    def joined(self, node: NewNode) -> None:
        """The node is a learner now and should be started."""

    def waiting(self, member: Member, reason: str) -> None:
        """The node does not answer yet."""

    def catching_up(self, member: Member, done: int, total: int) -> None:
        """The node has ``done`` of ``total`` (bytes or slots)."""

    def changed(self, configuration: Configuration, text: str) -> None:
        """A change is settled."""


class Unwatched:
    """A watcher for whom nobody looks on."""

    def joined(self, node: NewNode) -> None:
        """Take no notice."""

    def waiting(self, member: Member, reason: str) -> None:
        """Take no notice."""

    def catching_up(self, member: Member, done: int, total: int) -> None:
        """Take no notice."""

    def changed(self, configuration: Configuration, text: str) -> None:
        """Take no notice."""


class NotInTime(PaxosError):
    """A node was waited for in vain. What was done so far stands.

    Attributes:
        appeared: Whether it answered at all.
    """

    def __init__(self, text: str, *, appeared: bool) -> None:
        super().__init__(text)
        self.appeared = appeared


@dataclass(frozen=True, slots=True)
class Joining:
    """What is wanted of one new node: where it listens, and what it is to become."""

    url: str
    directory: Path
    part: Part = Part.VOTER
    priority: int = 0


class Changes:
    """The flows.

    Args:
        cluster: The running cluster.
        watcher: Is told what happens.
        patience_s: How long one node is waited for, to appear and then to catch up.
    """

    def __init__(
        self, cluster: Cluster, watcher: Watcher | None = None, patience_s: float = math.inf
    ) -> None:
        self._cluster = cluster
        self._watcher = Unwatched() if watcher is None else watcher
        self._patience_s = patience_s

    # --- one change ---------------------------------------------------------------------------

    async def apply(self, plan: Plan) -> Configuration:
        """Carry out one change and wait until it is settled.

        Raises:
            PlanRefused: It makes no sense for the latest configuration.
            AdminRefused: The leader refused it.
            NoReplicaReachable, OutcomeUnknown: As for any request.
        """
        for _ in range(RACES_MAX):
            latest = (await self._cluster.survey()).governing.configuration
            wanted = plan(latest)
            if plans.same_members(latest, wanted):
                # Decided before, perhaps by this command when it was cut short: is it settled?
                wanted = latest
            try:
                done = await self._cluster.reconfigure(wanted)
            except AdminRefused:
                now = (await self._cluster.survey()).governing.configuration
                if now.version == latest.version:
                    raise
                continue  # another change came first: plan from that one
            except OutcomeUnknown as error:
                waits_for = (await self._cluster.survey()).waits_for
                told = f"; under way is the change {waits_for}" if waits_for else ""
                raise OutcomeUnknown(f"{error.reason}{told}") from error
            self._watcher.changed(wanted, done.text)
            return wanted
        raise PlanRefused(
            f"the configuration was changed by others {RACES_MAX} times meanwhile",
            "Agree on who changes it, and ask again: what was done stands.",
        )

    # --- joining ------------------------------------------------------------------------------

    async def join(
        self, file: ClusterFile, joining: Joining, instead_of: NodeId | None = None
    ) -> Member:
        """Make a directory and have its node join as a learner; go on with one that was begun.

        Args:
            file: The cluster file of any member.
            joining: The new node.
            instead_of: Whom it will replace; so it may listen where that one did.

        Raises:
            PlanRefused: The directory or the URL belongs to somebody else.
        """
        for _ in range(RACES_MAX):
            latest = (await self._cluster.survey()).governing.configuration
            node = self._directory(file, latest, joining, instead_of)
            member = node.member(joining.priority)
            there = latest.member(member.node)
            if there is None or there.voter != member.voter:
                wanted = plans.with_joined(_vacated(latest, member.url, instead_of), member)
                try:
                    told = (await self._cluster.reconfigure(wanted)).text
                except AdminRefused:
                    now = (await self._cluster.survey()).governing.configuration
                    if member not in now.members:
                        unmake(node)
                        if now.version != latest.version:
                            continue  # another node took the id: begin again with the next one
                    raise
                except OutcomeUnknown:
                    # Decided is enough: nobody leaves for a learner. And those who do not confirm
                    # may be the very ones that are replaced, after which they need not.
                    now = (await self._cluster.survey()).governing.configuration
                    if member not in now.members:
                        raise
                    told = f"configuration {now.version} is decided, and not settled yet"
                self._watcher.changed(wanted, told)
                there = member
            self._watcher.joined(node)
            return there
        raise PlanRefused(f"other nodes joined {RACES_MAX} times meanwhile", "Ask again.")

    async def prepare_witness(
        self, file: ClusterFile, joining: Joining, instead_of: NodeId | None = None
    ) -> Member:
        """Make a witness's directory and wait until its node is up; it is no member yet.

        Raises:
            PlanRefused: As ``join``.
            NotInTime: It did not answer in time.
        """
        latest = (await self._cluster.survey()).governing.configuration
        node = self._directory(file, latest, joining, instead_of)
        self._watcher.joined(node)
        member = node.member(joining.priority)
        await self.wait_caught_up([member])
        return member

    def _directory(
        self,
        file: ClusterFile,
        latest: Configuration,
        joining: Joining,
        instead_of: NodeId | None,
    ) -> NewNode:
        """Return the node of a directory that was made before, or make one."""
        is_witness = joining.part is Part.WITNESS
        node = take_up(file, joining.directory)
        if node is None:
            _refuse_used_url(latest, joining.url, instead_of)
            return make_directory(
                file, latest, joining.directory, joining.url, is_witness=is_witness
            )
        if (node.member().part is Part.WITNESS) != is_witness:
            article = "no" if is_witness else "a"
            raise PlanRefused(
                f"{joining.directory} was made for a node that is {article} witness",
                "Name an empty directory, or ask for the same as before.",
            )
        if node.entry.url.rstrip("/") != joining.url.rstrip("/"):
            raise PlanRefused(
                f"{joining.directory} was made for node {node.entry.id} at {node.entry.url}, "
                f"not at {joining.url}",
                "Give that URL to go on with it; or take it back (`paxos member remove"
                f" {node.entry.id}`, if it has joined) and name an empty directory.",
            )
        there = latest.member(node.entry.id)
        if there is None or there.incarnation != node.entry.incarnation:
            plans.refuse_used_id(latest, node.member())
        return node

    # --- catching up --------------------------------------------------------------------------

    async def wait_caught_up(self, members: Sequence[Member]) -> None:
        """Wait until nodes answer and have what the others had decided a moment before.

        Raises:
            NotInTime: One did not in time.
        """
        late: list[NotInTime] = []
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(self._wait_caught_up, member, late)
        if late:
            raise late[0]

    async def _wait_caught_up(self, member: Member, late: list[NotInTime]) -> None:
        appeared = False
        with trio.move_on_after(self._patience_s):
            while True:
                goal = await self._decided_through()
                told = await self._cluster.status(member.url)
                if goal is None:
                    self._watcher.waiting(member, "no other replica answers")
                elif isinstance(told, str):
                    self._watcher.waiting(member, told)
                elif told["node"] != member.node or not lives_as(told, member):
                    other = "in another life " if told["node"] == member.node else ""
                    self._watcher.waiting(member, f"node {told['node']} {other}answers there")
                else:
                    appeared = True
                    if self._report_progress(member, told, goal):
                        return
                await trio.sleep(POLL_S)
        what = "caught up" if appeared else f"answered at {member.url}"
        text = f"node {member.node} has not {what} within {self._patience_s:g} s"
        late.append(NotInTime(text, appeared=appeared))

    async def _decided_through(self) -> int | None:
        try:
            return (await self._cluster.survey()).decided_through
        except NoReplicaReachable:
            return None  # an election, a restart: what takes hours is not given up for it

    def _report_progress(self, member: Member, told: Mapping[str, Any], goal: int) -> bool:
        fetching = told.get("fetching")
        if fetching is not None:
            self._watcher.catching_up(member, fetching["offset"], fetching["size"])
            return False
        has = told["decided_through"] if member.part is Part.WITNESS else told["applied_through"]
        self._watcher.catching_up(member, min(has, goal), goal)
        return bool(has >= goal)

    # --- the tasks ----------------------------------------------------------------------------

    async def add(
        self, file: ClusterFile, joinings: Sequence[Joining], quorums: QuorumChoice = AS_BEFORE
    ) -> Configuration:
        """Add nodes: each joins as a learner; those to vote catch up and are promoted, all at once.

        Raises:
            PlanRefused, AdminRefused, NotInTime: It went as far as the watcher was told.
        """
        for joining in joinings:
            if joining.part is Part.WITNESS:
                witness = await self.prepare_witness(file, joining)
                await self.apply(partial(_with_witness, witness=witness, quorums=quorums))
        joined = {
            (await self.join(file, each)).node: (each.part, each.priority)
            for each in joinings
            if each.part is not Part.WITNESS
        }
        parts = {node: wanted for node, wanted in joined.items() if wanted[0] is Part.VOTER}
        if not parts:
            return (await self._cluster.survey()).governing.configuration
        return await self.promote(parts, quorums)

    async def promote(
        self,
        parts: Mapping[NodeId, tuple[Part, int | None]],
        quorums: QuorumChoice = AS_BEFORE,
    ) -> Configuration:
        """Have nodes vote that have caught up.

        Args:
            parts: What each becomes, and its priority (None: as it is).
            quorums: What a quorum is then.

        Raises:
            PlanRefused, AdminRefused, NotInTime: The nodes stay what they are.
        """

        def plan(latest: Configuration) -> Configuration:
            changed = []
            for node, (part, priority) in parts.items():
                member = plans.the_member(latest, node)
                if member.part is Part.WITNESS:
                    raise PlanRefused(
                        f"node {node} is a witness, which has no state to vote with",
                        "Add another node as a voter, and remove the witness then.",
                    )
                changed.append(
                    member._replace(
                        part=part, priority=member.priority if priority is None else priority
                    )
                )
            return plans.with_changed(latest, changed, quorums)

        # Refused at once, not after hours of catching up.
        latest = (await self._cluster.survey()).governing.configuration
        plan(latest)
        await self.wait_caught_up(
            [
                plans.the_member(latest, node)._replace(part=part)
                for node, (part, _) in parts.items()
            ]
        )
        return await self.apply(plan)

    async def remove(
        self, nodes: Collection[NodeId], quorums: QuorumChoice = AS_BEFORE
    ) -> Configuration:
        """Remove members: they vote no more, and then are no members. Then they may be wiped.

        Those that were removed before, perhaps by this command when it was cut short, are only
        waited for: a change that is decided need not be settled.

        Raises:
            PlanRefused, AdminRefused: They are still members.
        """
        latest = (await self._cluster.survey()).governing.configuration
        nodes = [node for node in nodes if not plans.was_removed(latest, node)]
        if not nodes:
            return await self.settle()
        plans.without(latest, nodes, quorums)
        if any(plans.the_member(latest, node).part for node in nodes):
            await self.apply(lambda now: plans.demoted(now, nodes, quorums))
        return await self.apply(lambda now: plans.without(now, _still(now, nodes)))

    async def replace(self, file: ClusterFile, joinings: Mapping[NodeId, Joining]) -> Configuration:
        """Replace members, dead ones too: the new catch up, then take the old ones' place at once.

        Args:
            file: The cluster file of any member.
            joinings: The new node by the one it replaces. Part and priority are the old one's.

        Raises:
            PlanRefused, AdminRefused, NotInTime: It went as far as the watcher was told.
        """
        latest = (await self._cluster.survey()).governing.configuration
        olds = {old: plans.the_member(latest, old) for old in joinings}
        news: dict[NodeId, Member] = {}
        for old, joining in joinings.items():
            if olds[old].part is Part.WITNESS:
                as_witness = replace(joining, part=Part.WITNESS)
                news[old] = await self.prepare_witness(file, as_witness, old)
                await self.apply(partial(plans.with_replaced, successors={old: news[old]}))
            else:
                news[old] = await self.join(file, joining, old)
        await self.wait_caught_up(list(news.values()))
        await self.apply(lambda now: plans.with_replaced(now, news))
        return await self.apply(lambda now: plans.without(now, _still(now, joinings)))

    async def settle(self) -> Configuration:
        """Wait until the latest configuration is settled."""
        return await self.apply(lambda now: now)


def _with_witness(
    configuration: Configuration, witness: Member, quorums: QuorumChoice
) -> Configuration:
    if configuration.member(witness.node) == witness:
        return configuration
    return plans.with_joined(configuration, witness, quorums)


def _still(configuration: Configuration, nodes: Collection[NodeId]) -> list[NodeId]:
    return [node for node in nodes if configuration.member(node) is not None]


def _vacated(configuration: Configuration, url: str, old: NodeId | None) -> Configuration:
    """Have the node that is replaced listen nowhere, if its successor is going to listen there."""
    members = tuple(
        each._replace(url="") if each.node == old and each.url == url else each
        for each in configuration.members
    )
    return replace(configuration, members=members)


def _refuse_used_url(configuration: Configuration, url: str, instead_of: NodeId | None) -> None:
    for member in configuration.members:
        if member.url.rstrip("/") == url.rstrip("/") and member.node != instead_of:
            raise PlanRefused(
                f"node {member.node} listens at {url} already",
                "Give the new node a URL of its own; `paxos member replace` puts it in the place"
                " of another.",
            )
