"""What an administrator asks of a cluster: changes of membership, handing over, snapshots.

Owns where such a request goes and what becomes of it when a connection breaks. Asking again is
safe for all of them, so a request ends as done or refused wherever an answer can be had, and as
unknown only where none came in time. What the next configuration should be is decided elsewhere.
"""

# ruff: noqa: ASYNC109 - a timeout here ends a request with an outcome; a cancel scope could not

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import trio

from paxos.core.config import FEATURE_MEMBERSHIP
from paxos.core.errors import PaxosError
from paxos.core.ids import Slot
from paxos.core.messages import (
    AdminAnswer,
    Reconfigure,
    Redirect,
    SnapshotChunk,
    SnapshotName,
    SnapshotOffer,
    SnapshotRequest,
    Status,
    TakeSnapshot,
    TransferLeader,
)
from paxos.runtime.conversation import ConversationFailed, ReleaseTooOld, conversing
from paxos.runtime.outcomes import NoReplicaReachable, OutcomeUnknown
from paxos.transport import Transport

TransportFor = Callable[[str], Transport]

ATTEMPT_S = 10.0
"""Without an answer for this long the request is made again, on a new connection: the node may be
suspended, or cut off without knowing. Above what the refusal of a change may take."""

PAUSE_S = 0.1
"""Between two attempts, so that a cluster that elects a leader is not flooded."""


class AdminRefused(PaxosError):
    """The cluster refused, and nothing was changed; ``reason`` says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AdminDone(NamedTuple):
    """What was asked for is done: the slot it is about, and what came of it, for a person."""

    slot: Slot
    text: str


async def ask_leader(
    endpoints: Sequence[str],
    transport_for: TransportFor,
    request: Reconfigure | TransferLeader,
    *,
    cluster: str = "",
    timeout: float,
) -> AdminDone:
    """Have the leader do what ``request`` asks, whoever that is, and wait until it is done.

    Args:
        endpoints: URLs of nodes; others are learned from those that answer.
        transport_for: Finds the transport for a URL.
        request: Safe to be asked again.
        cluster: The cluster's id; empty for any.
        timeout: Seconds until the outcome is called unknown.

    Raises:
        AdminRefused: The leader refused, or runs a release that knows nothing of this.
        NoReplicaReachable: No node could be asked.
        OutcomeUnknown: It was asked, and no answer came in time. Ask again.
    """
    search = _Search(endpoints)
    with trio.move_on_after(timeout):
        while True:
            url = search.next_url()
            try:
                with trio.move_on_after(ATTEMPT_S) as attempt:
                    done = await _ask_once(url, transport_for, request, cluster, search)
                    if done is not None:
                        return done
                if attempt.cancelled_caught:
                    search.failed(url, f"no answer within {ATTEMPT_S:g} s")
            except ReleaseTooOld as error:
                search.failed(url, error.reason)
                search.outdated = error.reason
            except ConversationFailed as error:
                search.failed(url, error.reason)
            if search.outdated and search.tried_all:
                raise AdminRefused(search.outdated)
            if search.hint is None:
                await trio.sleep(PAUSE_S)
    if search.asked:
        raise OutcomeUnknown(f"no answer within {timeout:g} s: {search.troubles()}")
    raise NoReplicaReachable(f"no node answered within {timeout:g} s: {search.troubles()}")


async def _ask_once(
    url: str,
    transport_for: TransportFor,
    request: Reconfigure | TransferLeader,
    cluster: str,
    search: _Search,
) -> AdminDone | None:
    """Ask one node; None if it does not lead."""
    opened = conversing(url, transport_for, cluster=cluster, feature=FEATURE_MEMBERSHIP)
    async with opened as conversation:
        search.learn(conversation.members.values())
        conversation.say(request)
        search.asked = True
        while True:
            answer = await conversation.hear()
            if isinstance(answer, AdminAnswer):
                if answer.status == Status.DONE:
                    return AdminDone(answer.slot, answer.text)
                raise AdminRefused(answer.text)
            if isinstance(answer, Redirect):
                search.redirected(url, conversation.members.get(answer.leader))
                return None


class _Search:
    """Which node to ask next."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._urls = list(dict.fromkeys(endpoints))
        self._position = -1
        self._followed: set[str] = set()  # hints since the last pause: each once, not in circles
        self._troubles: dict[str, str] = {}
        self.hint: str | None = None
        """Where the leader is said to be."""
        self.asked = False
        """Whether the request left at least once."""
        self.outdated = ""
        """What to say of a node whose release knows nothing of the request; empty for none."""

    @property
    def tried_all(self) -> bool:
        """Whether every node that is known was asked, or could not be."""
        return self.hint is None and all(url in self._troubles for url in self._urls)

    def next_url(self) -> str:
        hint, self.hint = self.hint, None
        if hint is not None:
            self._followed.add(hint)
            return hint
        self._followed.clear()
        self._position = (self._position + 1) % len(self._urls)
        return self._urls[self._position]

    def learn(self, urls: Iterable[str]) -> None:
        self._urls += [url for url in urls if url and url not in self._urls]

    def redirected(self, url: str, leader_url: str | None) -> None:
        self._troubles[url] = "does not lead"
        if leader_url and leader_url not in {url, *self._followed}:
            self.hint = leader_url

    def failed(self, url: str, why: str) -> None:
        self._troubles[url] = why

    def troubles(self) -> str:
        return "; ".join(f"{url}: {why}" for url, why in self._troubles.items()) or "none was tried"


async def take_snapshot(
    url: str, transport_for: TransportFor, *, cluster: str = "", timeout: float
) -> SnapshotName:
    """Have the node at ``url`` take a snapshot now, and compact its log by it.

    Returns:
        Its name, once it is durable.

    Raises:
        AdminRefused: The node cannot, and says why.
        NoReplicaReachable: It did not answer in time.
    """
    try:
        with trio.move_on_after(timeout):
            opened = conversing(url, transport_for, cluster=cluster, feature=FEATURE_MEMBERSHIP)
            async with opened as conversation:
                conversation.say(TakeSnapshot(1))
                while True:
                    answer = await conversation.hear()
                    if isinstance(answer, SnapshotOffer):
                        return answer.name
                    if isinstance(answer, AdminAnswer):
                        raise AdminRefused(answer.text)
    except ReleaseTooOld as error:
        raise AdminRefused(error.reason) from error
    except ConversationFailed as error:
        raise NoReplicaReachable(f"{url}: {error.reason}") from error
    raise NoReplicaReachable(f"{url}: no snapshot within {timeout:g} s")


async def fetch_snapshot(
    url: str,
    name: SnapshotName,
    write: Callable[[bytes], object],
    transport_for: TransportFor,
    *,
    cluster: str = "",
    timeout: float,
) -> None:
    """Read a durable snapshot of the node at ``url``, and check all of it.

    Goes on where it was after a broken connection.

    Args:
        url: Where the node listens.
        name: Which snapshot.
        write: Gets its bytes in order, in a thread: it may block.
        transport_for: Finds the transport for a URL.
        cluster: The cluster's id; empty for any.
        timeout: Seconds without any further piece until it is given up.

    Raises:
        LookupError: The node does not have that snapshot (any more). What was written is void.
        NoReplicaReachable: Nothing came for too long. What was written is void.
    """
    download = _Download(name, write)
    why = f"no further piece within {timeout:g} s"
    with trio.move_on_after(timeout) as silence:
        while not download.whole:
            try:
                async with conversing(url, transport_for, cluster=cluster) as conversation:
                    while not download.whole:
                        conversation.say(SnapshotRequest(name, download.size))
                        await download.take(await conversation.hear())
                        silence.deadline = trio.current_time() + timeout
            except ConversationFailed as error:
                why = error.reason
                await trio.sleep(PAUSE_S)
    if not download.whole:
        raise NoReplicaReachable(f"{url}: {why} (after {download.size} of {name.size} bytes)")
    download.check()


class _Download:
    """A snapshot on its way to somebody's file."""

    def __init__(self, name: SnapshotName, write: Callable[[bytes], object]) -> None:
        self.name = name
        self.size = 0
        self._write = write
        self._digest = hashlib.blake2b(digest_size=len(name.digest))

    @property
    def whole(self) -> bool:
        return self.size >= self.name.size

    async def take(self, answer: object) -> None:
        if not isinstance(answer, SnapshotChunk) or answer.offset != self.size:
            return  # of what an earlier connection asked for
        if not answer.data:
            raise LookupError(f"the node does not have snapshot {self.name} (any more)")
        await trio.to_thread.run_sync(self._keep, answer.data)

    def _keep(self, data: bytes) -> None:
        self._write(data)
        self._digest.update(data)
        self.size += len(data)

    def check(self) -> None:
        if self.size != self.name.size or self._digest.digest() != self.name.digest:
            raise LookupError(f"what came is not snapshot {self.name}: it is damaged there")
