"""The network between the parties of a live run: who they are, and what can be done to a link.

Owns the words that faults speak: parties, directed links, cuts, weather, and what was seen on a
link. Two networks speak them: a proxy that every link goes through, and network namespaces. A third
leaves links alone: there nodes come and go, and all know each other by one address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from paxos.core.ids import NodeId

Party = str
"""A node ("n1") or a place that clients connect from ("c0")."""


def node_party(node: NodeId) -> Party:
    """Return what a node is called on the network."""
    return f"n{node}"


def site_party(site: int) -> Party:
    """Return what a place that clients connect from is called."""
    return f"c{site}"


class Link(NamedTuple):
    """One direction between two parties. A connection is made of two."""

    sender: Party
    to: Party

    def __str__(self) -> str:
        return f"{self.sender}->{self.to}"


Cut = Literal["hold", "reset"]
"""``hold``: what is sent does not arrive, and nobody is told, until the link is mended.
``reset``: connections break at once, and new ones are refused; both directions always."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How a link treats what it carries.

    Attributes:
        delay_s: Everything arrives this much later.
        jitter_s: And up to this much more; order is kept, as TCP keeps it.
        loss: Share of packets that are lost. On a proxied link each one holds up what is behind it
            for as long as TCP takes to send it again.
        bytes_per_s: What the link carries; 0 for no limit.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    bytes_per_s: float = 0.0


FAIR = Weather()


class Seen(NamedTuple):
    """What was counted on links since the run began.

    Attributes:
        withheld: Bytes (with namespaces: packets) that were sent and did not arrive at once,
            because of a cut; and connections that could not be made.
        broken: Connections that were up and were cut.
        disturbed: Bytes (packets) that weather delayed or lost.
    """

    withheld: int = 0
    broken: int = 0
    disturbed: int = 0


class NotHere(Exception):
    """This machine, or this network, cannot do that; the text says what is missing."""


class Network(Protocol):
    """What a nemesis does to links. Cuts add up: a link works when each of them is mended."""

    def cut(self, links: Iterable[Link], how: Cut) -> None:
        """Cut links.

        Raises:
            NotHere: This network cannot.
        """

    def mend(self, links: Iterable[Link], how: Cut) -> None:
        """Take one such cut back."""

    def set_weather(self, links: Iterable[Link], weather: Weather) -> None:
        """Change how links treat what they carry; ``FAIR`` ends it.

        Raises:
            NotHere: This network cannot.
        """

    def heal(self) -> None:
        """Mend everything, and clear the weather."""

    def seen(self, links: Iterable[Link]) -> Seen:
        """Return what was counted on these links so far, summed up."""

    def prefix(self, node: NodeId) -> Sequence[str]:
        """Return what goes in front of the command that starts a node."""

    def address(self, dialler: Party, node: NodeId) -> tuple[str, int]:
        """Return where ``dialler`` reaches ``node``."""

    def listen_address(self, node: NodeId) -> tuple[str, int]:
        """Return where a node itself listens. Nothing is done to connections made there."""


class Direct:
    """A network without faults, in which everybody reaches a node where it listens.

    Args:
        places: Where each node listens.
    """

    def __init__(self, places: Mapping[NodeId, tuple[str, int]]) -> None:
        self._places = dict(places)

    def cut(self, links: Iterable[Link], how: Cut) -> None:
        """See the port."""
        raise NotHere("links cannot be cut where nodes talk to each other directly")

    def mend(self, links: Iterable[Link], how: Cut) -> None:
        """See the port."""

    def set_weather(self, links: Iterable[Link], weather: Weather) -> None:
        """See the port."""
        raise NotHere("links have no weather where nodes talk to each other directly")

    def heal(self) -> None:
        """See the port."""

    def seen(self, links: Iterable[Link]) -> Seen:
        """See the port."""
        return Seen()

    def prefix(self, node: NodeId) -> Sequence[str]:
        """See the port."""
        return ()

    def address(self, dialler: Party, node: NodeId) -> tuple[str, int]:
        """See the port."""
        return self._places[node]

    def listen_address(self, node: NodeId) -> tuple[str, int]:
        """See the port."""
        return self._places[node]
