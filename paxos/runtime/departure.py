"""Whether this node is a member still, and whether anybody needs it: so that it can end in order.

Owns what becomes of a node that was removed. Its own log may say so. If it was away meanwhile it
hears of it from nobody: members do not dial it, and refuse it. So a node that hears no leader for
long asks every member that it knows of, as any client does. It guards one promise: a node is
``released`` only when a leader has said that a configuration without it is settled. Until then a
quorum may need what is on its disk, and it stays. It never votes, and changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from paxos.core.config import Governing
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import Slot, Voter
from paxos.runtime.configuration_fields import governing_from
from paxos.runtime.observe import logger

if TYPE_CHECKING:
    from paxos.core.ids import NodeId
    from paxos.core.replica import ReplicaStatus

LOOK_TIMEOUTS = 2
"""Election timeouts between two looks."""

LONELY_LOOKS = 5
"""Looks without a leader after which a node doubts that it is a member."""

ASK_PAUSE_MAX_S = 30.0
"""In doubt, members are asked more and more rarely, up to this. A lasting outage costs little."""

URLS_MAX = 200
"""More nodes than that are not asked at a time."""

Status = Mapping[str, Any]
Ask = Callable[[str], Awaitable[Status | None]]
"""Asks the node at a URL about itself; None if it does not answer."""


class Removal(NamedTuple):
    """What is known of this node's removal.

    Attributes:
        version: Of a configuration that governs, and is without this node.
        settled: Whether a leader has said that it is settled: nobody needs this node any more.
    """

    version: int
    settled: bool

    def __str__(self) -> str:
        text = f"removed from the cluster by configuration {self.version}"
        return f"{text}: this directory may be deleted" if self.settled else text


class Departure:
    """Finds out whether this node was removed.

    Args:
        me: This node.
        election_timeout_s: See ``Timing``.
        status: Gives what the replica says of itself.
        urls: Gives where members listen, as far as this node knows.
        ask: Asks one of them.
    """

    def __init__(
        self,
        me: Voter,
        election_timeout_s: float,
        status: Callable[[], ReplicaStatus],
        urls: Callable[[], Iterable[str]],
        ask: Ask,
    ) -> None:
        self._me = me
        self._interval_s = LOOK_TIMEOUTS * election_timeout_s
        self._status = status
        self._urls = urls
        self._ask = ask
        self._log = logger(node=me.node)
        self._lonely = 0  # looks in a row without a leader
        self._released = trio.Event()
        self.removal: Removal | None = None
        """What is known; None for a member, as far as this node knows."""

    async def released(self) -> Removal:
        """Wait until this node was removed and nobody needs it any more."""
        await self._released.wait()
        assert self.removal is not None
        return self.removal

    async def run(self) -> None:
        """Look every now and then, until this node is released."""
        pause_s = self._interval_s
        while not self._released.is_set():
            await trio.sleep(pause_s)
            pause_s = self._interval_s
            self.look()
            if self.removal is not None or self._lonely > LONELY_LOOKS:
                await self._ask_around()
            if self.removal is None and self._lonely > LONELY_LOOKS:
                pause_s = min(self._interval_s * (self._lonely - LONELY_LOOKS), ASK_PAUSE_MAX_S)

    def look(self) -> None:
        """See what this node knows by itself."""
        status = self._status()
        self._lonely = 0 if status.leader else self._lonely + 1
        # Who leads still has the change to settle, and then somebody to hand over to.
        if status.removed and status.role != "leader" and status.governing:
            self._note(Removal(status.governing[0].configuration.version, False))

    async def _ask_around(self) -> None:
        """Ask members, and whom they name as members, until a leader says that this node may go."""
        waiting = list(self._urls())
        asked: set[str] = set()
        while waiting and len(asked) < URLS_MAX and not self._released.is_set():
            url = waiting.pop(0)
            if url in asked or not url:
                continue
            asked.add(url)
            told = await self._ask(url)
            if told is None:
                continue
            try:
                governing = governing_from(told["configuration"])
                removal = removal_in(self._me, governing, told)
            except (LookupError, TypeError, ValueError, ConfigurationInvalid):
                continue  # of a release that says less, or more, than this one understands
            waiting += [member.url for member in governing.configuration.members]
            if removal is not None and self._status().role != "leader":
                self._note(removal)

    def _note(self, removal: Removal) -> None:
        known = self.removal
        if known is not None and (known.settled or not removal.settled):
            return
        self.removal = removal
        self._log.warning(str(removal), configuration=removal.version)
        if removal.settled:
            self._released.set()


def removal_in(me: Voter, governing: Governing, told: Status) -> Removal | None:
    """Return what another node's status says about the removal of this one.

    Args:
        me: This node.
        governing: The latest configuration that the other one knows.
        told: The status of which that is a part.
    """
    configuration = governing.configuration
    node: NodeId = me.node
    decided_through: Slot = int(told.get("decided_through", 0))
    if node >= configuration.next_node or configuration.member(node) is not None:
        return None
    if governing.first > decided_through + 1:
        return None  # an older one governs a slot still, and this node may vote for it
    # Only a leader knows, and what is settled stays so: it does not matter whether it still leads.
    settled = told.get("role") == "leader" and told.get("settled") is True
    return Removal(configuration.version, settled)
