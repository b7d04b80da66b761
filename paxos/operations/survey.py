"""Asks all members about themselves, also those no file names; finds the latest configuration.

Owns who is asked: the URLs one starts with, then the members that the answers name, until nobody
is left. What a node says of itself is taken as it is; only the latest configuration is taken from
all of them together. A node that does not answer is part of the picture, not an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from paxos.core.config import Governing, Member
from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId
from paxos.runtime.client import NoReplicaReachable
from paxos.runtime.configuration_fields import governing_from

Ask = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Returns a node's status document by its URL, or raises NoReplicaReachable."""


class ReleaseTooOld(PaxosError):
    """No replica that answers knows of configurations: all run a release from before them."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the nodes said.

    Attributes:
        governing: The latest configuration that any of them knows.
        documents: Status documents by URL, of those that answered.
        reasons: By URL, why there was no answer.
    """

    governing: Governing
    documents: Mapping[str, Mapping[str, Any]]
    reasons: Mapping[str, str]

    def of(self, member: Member) -> Mapping[str, Any] | None:
        """Return what this member said, in this life; None if it did not answer."""
        for document in self.documents.values():
            if document["node"] == member.node and lives_as(document, member):
                return document
        return None

    @property
    def decided_through(self) -> int:
        """The highest slot that any of them knows decided without a gap."""
        return max((document["decided_through"] for document in self.documents.values()), default=0)

    @property
    def leader(self) -> NodeId | None:
        """Who says that it leads; the one with the highest ballot if it is several."""
        leading = [
            (_ballot_key(document["ballot"]), document["node"])
            for document in self.documents.values()
            if document["role"] == "leader"
        ]
        return max(leading)[1] if leading else None

    @property
    def waits_for(self) -> str:
        """What the leader says of a change under way, and what it waits for; empty if none is."""
        told = (d.get("change") for d in self.documents.values() if d["node"] == self.leader)
        return next((str(text) for text in told if text), "")


def lives_as(document: Mapping[str, Any], member: Member) -> bool:
    """Whether a status is that of ``member`` in this life (releases before this one do not say)."""
    return bool(document.get("incarnation", member.incarnation) == member.incarnation)


def _ballot_key(text: str) -> tuple[int, int]:
    number, _, node = text.partition(".")
    return int(number), int(node or 0)


async def ask_all(
    ask: Ask, urls: Iterable[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Ask nodes, all at once; return what each said, and why others did not."""
    documents: dict[str, Mapping[str, Any]] = {}
    reasons: dict[str, str] = {}

    async def ask_one(url: str) -> None:
        try:
            documents[url] = await ask(url)
        except NoReplicaReachable as error:
            reasons[url] = error.reason

    async with trio.open_nursery() as nursery:
        for url in urls:
            nursery.start_soon(ask_one, url)
    return documents, reasons


async def survey(ask: Ask, endpoints: Iterable[str]) -> Survey:
    """Ask everyone.

    Args:
        ask: Asks one node.
        endpoints: Where to begin.

    Raises:
        NoReplicaReachable: Nobody answered.
        ReleaseTooOld: Nobody who answered told a configuration.
    """
    documents: dict[str, Mapping[str, Any]] = {}
    reasons: dict[str, str] = {}
    urls = list(dict.fromkeys(endpoints))
    while urls:
        answered, silent = await ask_all(ask, urls)
        documents |= answered
        reasons |= silent
        latest = _latest(documents.values())
        known = () if latest is None else latest.configuration.members
        named = [member.url for member in known if member.url]
        urls = [url for url in dict.fromkeys(named) if url not in documents and url not in reasons]
    if not documents:
        told = "; ".join(f"{url}: {why}" for url, why in reasons.items())
        raise NoReplicaReachable(told or "there are no URLs to ask")
    latest = _latest(documents.values())
    if latest is None:
        releases = sorted({str(document.get("version")) for document in documents.values()})
        raise ReleaseTooOld(
            f"the replicas run a release that knows no change of members ({', '.join(releases)});"
            " install this one on all of them first, one after the other"
        )
    return Survey(latest, documents, reasons)


def _latest(documents: Iterable[Mapping[str, Any]]) -> Governing | None:
    told = [governing_from(each["configuration"]) for each in documents if "configuration" in each]
    return max(told, key=lambda governing: governing.configuration.version, default=None)
