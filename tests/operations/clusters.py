"""A cluster for tests of operators' flows: it answers as a leader would, without any replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paxos.core.config import Configuration, Governing, Member, Part
from paxos.core.quorum import Quorums
from paxos.operations.directories import NewNode
from paxos.operations.survey import Survey
from paxos.runtime.admin import AdminDone, AdminRefused
from paxos.runtime.client import OutcomeUnknown
from paxos.runtime.configuration_fields import configuration_fields


def member(node: int, part: Part = Part.VOTER, priority: int = 0) -> Member:
    return Member(node, 1000 + node, part, f"tcp://127.0.0.1:{7000 + node}", priority)


def configuration(*members: Member, version: int = 1) -> Configuration:
    voters = [each.voter for each in members if each.part]
    return Configuration(version, Quorums.majority(voters), members)


THREE = configuration(member(1), member(2), member(3))


class Told:
    """A watcher that remembers what it was told, as (what, node, ...), and lets a test react."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.react: Callable[[tuple[Any, ...]], None] = lambda event: None

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self.react(event)

    def joined(self, node: NewNode) -> None:
        self._note("joined", node.entry.id)

    def waiting(self, member: Member, reason: str) -> None:
        self._note("waiting", member.node, reason)

    def catching_up(self, member: Member, done: int, total: int) -> None:
        self._note("catching up", member.node, done, total)

    def changed(self, configuration: Configuration, text: str) -> None:
        self._note("changed", configuration.version)


class FakeCluster:
    """Takes any configuration that bears the next version; its nodes run as the test says.

    ``running`` has, by URL, the status of each node that answers.
    """

    def __init__(self, latest: Configuration) -> None:
        self.history = [latest]
        self.settled: list[int] = []
        self.refuse: list[str] = []
        """Reasons with which the next requests are refused."""
        self.race: list[Configuration] = []
        """What somebody else has decided right before the next requests."""
        self.silent = False
        """Whether requests are taken, and never answered."""
        self.decided_through = 100
        self.running: dict[str, dict[str, Any]] = {}
        for each in latest.members:
            self.start(each)

    @property
    def latest(self) -> Configuration:
        return self.history[-1]

    def start(self, each: Member, applied_through: int | None = None) -> dict[str, Any]:
        """Have a node answer from now on."""
        self.running[each.url] = status = {
            "cluster_id": "c" * 32,
            "node": each.node,
            "incarnation": each.incarnation,
            "role": "follower",
            "ballot": "1.1",
            "decided_through": applied_through or self.decided_through,
            "applied_through": applied_through or self.decided_through,
            "version": "1.0",
        }
        return status

    async def survey(self) -> Survey:
        fields = {"configuration": configuration_fields(Governing(1, self.latest))}
        return Survey(
            Governing(1, self.latest),
            {url: document | fields for url, document in self.running.items()},
            {},
        )

    async def status(self, url: str) -> Mapping[str, Any] | str:
        return self.running.get(url, "nobody listens")

    async def reconfigure(self, wanted: Configuration) -> AdminDone:
        if self.silent:
            raise OutcomeUnknown("no answer")
        if self.refuse:
            raise AdminRefused(self.refuse.pop(0))
        if self.race:
            self.history.append(self.race.pop(0))
        if wanted != self.latest:
            if wanted.version != self.latest.version + 1:
                raise AdminRefused(f"configuration {self.latest.version} is the latest")
            self.history.append(wanted)
        self.settled.append(wanted.version)
        return AdminDone(1, "settled")
