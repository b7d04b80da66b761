"""A node's connections: who is at the other end of each, and one way to reach every peer.

Owns dialling, the handshake, reconnection, bounded outboxes and the limits on clients, once, above
every transport. Carries frames and never reads one after the handshake. It guards invariant 8: what
``take`` calls a voter is the (node, incarnation) that a handshake proved, and at most one live
process per node id is believed. Whose votes count is decided elsewhere; here it is only decided
with whom to talk, which is told by ``follow`` whenever members come or go.

The node's one task drives it: ``take`` for each channel that rang, then ``take_events``. There is
no task per connection. One task per peer that this node dials, and one that watches over silence,
only ever connect, close and ring.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import trio

from paxos.core.config import FEATURE, FEATURE_FIRST
from paxos.core.ids import ClientId, NodeId, Voter
from paxos.runtime import handshake
from paxos.runtime.handshake import Hello, Kind, Rejected, Welcome
from paxos.runtime.observe import logger
from paxos.runtime.options import NodeOptions
from paxos.transport import Channel, ChannelClosed, FrameInvalid, Transport, TransportError

if TYPE_CHECKING:
    import random

    from paxos.doorbell import Doorbell
    from paxos.storage.base import Identity

RETRY_FIRST_S = 0.05
"""Before the first new attempt after a connection broke: most breaks are short."""

RETRY_MAX_S = 0.25
"""The pause between attempts doubles up to this. Only one side of a pair dials, so that a node that
returns waits so long for the others: much of a restart, where there is little log to apply."""

RETRY_REFUSED_MAX_S = 1.0
"""The same where the peer is there and refuses: each attempt costs it a handshake and a line of its
log, and it is rarely of another mind soon."""

HANDSHAKE_TIMEOUT_S = 3.0
"""A connection that has not said who it is by then is closed."""

GREETINGS_MAX = 256
"""Connections that have not said who they are yet; one more is closed. Each may hold one frame."""

SILENCE_TIMEOUTS = 10
"""Election timeouts without a frame from a peer until its connection is made anew.

Replicas send heartbeats all the time. A network that swallows packets never says so.
"""

CHECK_INTERVAL_S = 0.25
"""How often silence and unfinished handshakes are looked for."""

LEAVING_TIMEOUTS = 20
"""Election timeouts for which a node that is no member any more is still talked to: by then it has
heard so itself, and those that removed it have heard of each other that they know."""

STRANGERS_MAX = 16
"""Connections to nodes that no configuration known here names. Each may be a node that joins, or a
member of a configuration that this node has yet to hear of."""

Origin = Voter | ClientId | None
"""Whom frames came from: a replica, a client connection, or nobody that may speak (no frames)."""


class Member(NamedTuple):
    """Where another replica listens, and the incarnation its data directory must have."""

    url: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connection to a replica is up. What was sent before may be lost."""

    peer: Voter
    feature: int = field(default=FEATURE_FIRST, compare=False)
    """The highest feature version that it understands."""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The connection to a replica broke, or was replaced (then PeerUp follows)."""

    peer: Voter


@dataclass(frozen=True, slots=True)
class ClientUp:
    """A client connected; ``client`` was never used before by this node's process."""

    client: ClientId


@dataclass(frozen=True, slots=True)
class ClientDown:
    """A client's connection is gone. No frame of it comes after this."""

    client: ClientId


LinkEvent = PeerUp | PeerDown | ClientUp | ClientDown


class Taken(NamedTuple):
    """Frames that arrived together on a channel, and whom they are from."""

    channel: Channel
    origin: Origin
    frames: list[bytes]


@dataclass(frozen=True, slots=True)
class PeerLink:
    """One peer, as this node's connection to it stands.

    Attributes:
        node: Its id.
        connected: Whether there is a connection that a handshake opened.
        remote: Where that connection leads; empty if there is none.
        unsent_bytes: What it has not taken yet.
        sends_dropped: Calls of ``send`` dropped whole since the node started.
        trouble: Why the last attempt to connect failed; empty once one succeeded.
    """

    node: NodeId
    connected: bool
    remote: str
    unsent_bytes: int
    sends_dropped: int
    trouble: str


@dataclass(frozen=True, slots=True)
class LinksStatus:
    """All connections of a node at one moment."""

    peers: tuple[PeerLink, ...]
    clients: int
    frames_bad: int


class _Link:
    """One open channel and what is known of its other end."""

    __slots__ = (
        "again",
        "boot",
        "channel",
        "expected",
        "feature",
        "gone",
        "heard",
        "opened",
        "origin",
        "said",
    )

    def __init__(self, channel: Channel, expected: Voter | None, now: float) -> None:
        self.channel = channel
        self.expected = expected
        """The peer this node dialled; None if the other side dialled."""
        self.origin: Origin = None
        """None until the handshake is over."""
        self.said: Hello | None = None
        """What this node said first, if it dialled."""
        self.again: Hello | None = None
        """What to say instead on a new connection, to a peer of an older release."""
        self.boot = 0
        self.feature = FEATURE_FIRST
        """What the other end understands, if it is a replica."""
        self.opened = now
        self.heard = now
        """When a frame last came."""
        self.gone = trio.Event()


class Links:
    """Every connection of one node.

    Args:
        identity: Who this node is.
        boot: A random number drawn when the process started: two processes that claim one node
            id are told apart by it.
        members: Every replica of the cluster by node id, this one included; see ``follow``.
        doorbell: What the node's task waits on.
        transport_for: Finds the transport for a URL.
        rng: For jitter between attempts to connect.
        options: Bounds on clients and outboxes.
        election_timeout_s: A second process that claims a node id is refused if the first was
            heard within this.
        machines: What this node says of its state machines; a member that says otherwise is
            refused. Empty if it says nothing.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        boot: int,
        members: Mapping[NodeId, Member],
        doorbell: Doorbell,
        transport_for: Callable[[str], Transport],
        rng: random.Random,
        options: NodeOptions,
        election_timeout_s: float,
        machines: str = "",
    ) -> None:
        self._welcome = Welcome(
            identity.cluster,
            identity.node,
            identity.incarnation,
            boot,
            feature=FEATURE,
            machines=machines,
        )
        self._feature = FEATURE_FIRST
        """What every member must understand."""
        self._members: dict[NodeId, Member] = {}
        """All who are talked to, those that are leaving too."""
        self._voters: dict[NodeId, Voter] = {}
        """The same, in the life that is believed."""
        self._leaving: dict[NodeId, float] = {}
        """Of them, who is no member any more, and until when it is talked to."""
        self._next_node: NodeId | None = None
        """Ids from this on may be of members not known yet; None where members never change."""
        self._nursery: trio.Nursery | None = None
        self._dialling: dict[NodeId, trio.CancelScope] = {}
        self._doorbell = doorbell
        self._transport_for = functools.cache(transport_for)
        self._rng = rng
        self._options = options
        self._rival_window_s = election_timeout_s
        self._log = logger(node=identity.node)
        self._silence_s = SILENCE_TIMEOUTS * election_timeout_s

        self._links: dict[Channel, _Link] = {}
        """Every open channel."""
        self._peers: dict[NodeId, _Link] = {}
        """The one link to each connected peer; a subset of ``_links``."""
        self._clients: dict[ClientId, _Link] = {}
        """The link of each client; a subset of ``_links``."""
        self._clients_seen = 0
        self._events: list[LinkEvent] = []
        self._dropped: dict[NodeId, int] = {}
        self._trouble: dict[NodeId, str] = {}
        self._frames_bad = 0
        self.follow(members, None)

    # --- life ---------------------------------------------------------------------------------

    async def run(
        self, listen_url: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen, dial and keep dialling until cancelled; then close everything.

        Start it with ``nursery.start``, which returns the URL that was really bound.

        Raises:
            TransportError: ``listen_url`` cannot be listened on; the text says why.
        """
        transport = self._transport_for(listen_url)
        try:
            async with (
                transport.listen(listen_url, self._doorbell, self._accept) as bound,
                trio.open_nursery() as nursery,
            ):
                self._nursery = nursery
                self._dial_members()
                nursery.start_soon(self._watch_silence)
                task_status.started(bound)
        finally:
            for link in list(self._links.values()):
                self._drop(link, "this node stops")

    def _dial_members(self) -> None:
        """Keep dialling every member that this node has to dial, and no other."""
        if self._nursery is None:
            return  # not running yet
        for node in [node for node in self._dialling if node not in self._members]:
            self._dialling.pop(node).cancel()
        for node, voter in self._voters.items():
            # One connection per pair: the larger node id dials.
            if node < self._welcome.node and node not in self._dialling:
                scope = self._dialling[node] = trio.CancelScope()
                self._nursery.start_soon(self._keep_dialling, voter, scope, self._nursery)

    async def _keep_dialling(
        self, peer: Voter, scope: trio.CancelScope, nursery: trio.Nursery
    ) -> None:
        pause_s = RETRY_FIRST_S
        with scope:
            while True:
                link = await self._dial(peer, self._hello(peer.node), nursery)
                if link is not None:
                    await link.gone.wait()
                if link is not None and link.again is not None:
                    # At once: it is there, and only of a release before this one.
                    link = await self._dial(peer, link.again, nursery)
                    if link is not None:
                        await link.gone.wait()
                if link is not None and link.origin is not None:
                    pause_s = RETRY_FIRST_S
                await trio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
                refused = link is not None and link.origin is None
                pause_s = min(2 * pause_s, RETRY_REFUSED_MAX_S if refused else RETRY_MAX_S)

    async def _dial(self, peer: Voter, hello: Hello, nursery: trio.Nursery) -> _Link | None:
        member = self._members.get(peer.node)
        if member is None:
            return None  # left a moment ago
        url = member.url
        try:
            channel = await self._transport_for(url).connect(url, self._doorbell, nursery)
        except TransportError as error:
            self._note_trouble(peer.node, str(error))
            return None
        link = self._open(channel, peer)
        link.said = hello
        try:
            channel.send_nowait([handshake.encode(hello)])
        except ChannelClosed as error:
            self._drop(link, str(error))
        return link

    async def _watch_silence(self) -> None:
        now = trio.current_time()
        while True:
            before = now
            await trio.sleep(CHECK_INTERVAL_S)
            now = trio.current_time()
            if now - before > 2 * CHECK_INTERVAL_S:
                # This process itself was held up, by a slow sync or a suspended machine: what came
                # meanwhile has not been taken yet, and nobody can be called silent.
                continue
            for link in list(self._links.values()):
                if link.origin is None:
                    if now - link.opened > HANDSHAKE_TIMEOUT_S:
                        self._fail(link, f"no handshake within {HANDSHAKE_TIMEOUT_S:g} s")
                elif isinstance(link.origin, Voter) and now - link.heard > self._silence_s:
                    self._drop(link, f"silent for {now - link.heard:.1f} s")
            if self._leaving:
                self._end_leaving(now)

    # --- members come and go ------------------------------------------------------------------

    def follow(
        self,
        members: Mapping[NodeId, Member],
        next_node: NodeId | None,
        feature: int = FEATURE_FIRST,
    ) -> None:
        """Talk to these members from now on.

        Who was one before and is not in ``members`` is refused, in words; but a connection to it
        stays for a while, so that it hears what became of it.

        Args:
            members: Every member of a configuration that matters, by node id.
            next_node: Ids from this on may be of members that are not known here yet: they are
                talked to. None where members never change.
            feature: What every member must understand; one that understands less is refused.
        """
        until = (
            trio.current_time() + LEAVING_TIMEOUTS * self._rival_window_s if self._members else 0
        )
        for node, before in list(self._members.items()):
            now = members.get(node)
            if now is None:
                self._leaving.setdefault(node, until)
            elif now.incarnation != before.incarnation:
                self._forget(node, f"node {node} has another incarnation now")
        for node, member in members.items():
            self._leaving.pop(node, None)
            self._members[node] = member
            self._voters[node] = Voter(node, member.incarnation)
            self._dropped.setdefault(node, 0)
            link = self._peers.get(node)
            if link is not None and link.origin != self._voters[node]:
                self._drop(link, f"node {node} has another incarnation")
        self._next_node = next_node
        self._feature = feature
        urls = {node: member.url for node, member in sorted(members.items())}
        self._welcome = replace(self._welcome, members=urls)
        self._dial_members()

    def _end_leaving(self, now: float) -> None:
        for node in [node for node, until in self._leaving.items() if now >= until]:
            del self._leaving[node]
            self._forget(node, f"node {node} is no member any more")
        self._dial_members()

    def _forget(self, node: NodeId, why: str) -> None:
        del self._members[node], self._voters[node]
        self._trouble.pop(node, None)
        for link in list(self._links.values()):
            if link is self._peers.get(node) or (link.expected and link.expected.node == node):
                self._drop(link, why)
        scope = self._dialling.pop(node, None)
        if scope is not None:
            scope.cancel()

    # --- what the node's task calls -----------------------------------------------------------

    def take(self, channels: Iterable[Channel]) -> list[Taken]:
        """Take what has arrived. Never raises: what is wrong with a channel closes it.

        Returns:
            For each channel whom it is from, and the frames in order. Handshakes are dealt with
            here, and what comes behind one in the same pass is returned.
        """
        now = trio.current_time()
        return [Taken(channel, *self._take(channel, now)) for channel in channels]

    def _take(self, channel: Channel, now: float) -> tuple[Origin, list[bytes]]:
        link = self._links.get(channel)
        if link is None:
            return None, []
        try:
            frames = channel.receive_nowait()
        except FrameInvalid as error:
            self._frames_bad += 1
            self._fail(link, str(error))
            return None, []
        except ChannelClosed as error:
            self._fail(link, str(error))
            return None, []
        if frames:
            link.heard = now
            if link.origin is None:
                frames = self._greet(link, frames)
        return link.origin, frames

    def reject(self, channel: Channel, reason: str) -> None:
        """Close a channel whose frames make no sense to the codec; counted and reported.

        Other connections are untouched. A peer that is dialled is dialled again.
        """
        link = self._links.get(channel)
        if link is not None:
            self._frames_bad += 1
            self._log.warning(
                "bad frame", remote=channel.remote, origin=str(link.origin), why=reason
            )
            self._drop(link, reason)

    def take_events(self) -> list[LinkEvent]:
        """Return what happened to connections since the last call, in order.

        Call it after all ``take`` calls of a pass, also when ``wait`` returned no channel, and
        handle the events before the frames of that pass.
        """
        events = self._events
        self._events = []
        return events

    def send(self, to: NodeId, frames: Sequence[bytes]) -> bool:
        """Send frames to a peer: all of them, or none if its outbox is over its bound.

        What is dropped is counted. The protocol repairs it, on a deadline and on PeerUp.

        Returns:
            Whether they were taken. Nothing is known about whether they will arrive.
        """
        link = self._peers.get(to)
        if link is None or link.channel.unsent_bytes > self._options.peer_unsent_bytes_max:
            self._dropped[to] = self._dropped.get(to, 0) + 1
            return False
        return self._transmit(link, frames)

    def reply(self, client: ClientId, frames: Sequence[bytes]) -> bool:
        """Send frames to a client; one that does not read its answers is disconnected instead.

        Returns:
            Whether they were taken; False for a client that is gone.
        """
        link = self._clients.get(client)
        if link is None:
            return False
        unsent_bytes = link.channel.unsent_bytes
        if unsent_bytes > self._options.client_unsent_bytes_max:
            self._log.warning(
                "client cut off", remote=link.channel.remote, unsent_bytes=unsent_bytes
            )
            self._drop(link, "it does not read its answers")
            return False
        return self._transmit(link, frames)

    def peer_unsent_bytes(self, node: NodeId) -> int:
        """Return what a peer has not taken yet."""
        link = self._peers.get(node)
        return 0 if link is None else link.channel.unsent_bytes

    def client_unsent_bytes(self, client: ClientId) -> int:
        """Return what a client has not taken yet."""
        link = self._clients.get(client)
        return 0 if link is None else link.channel.unsent_bytes

    def status(self) -> LinksStatus:
        """Return how every connection stands."""
        known = sorted({*self._members, *self._peers} - {self._welcome.node})
        return LinksStatus(
            tuple(self._peer_status(node) for node in known),
            len(self._clients),
            self._frames_bad,
        )

    def _peer_status(self, node: NodeId) -> PeerLink:
        link = self._peers.get(node)
        return PeerLink(
            node,
            connected=link is not None,
            remote=link.channel.remote if link else "",
            unsent_bytes=link.channel.unsent_bytes if link else 0,
            sends_dropped=self._dropped.get(node, 0),
            trouble=self._trouble.get(node, ""),
        )

    # --- channels come and go -----------------------------------------------------------------

    def _accept(self, channel: Channel) -> None:
        greetings = len(self._links) - len(self._peers) - len(self._clients)
        if greetings >= GREETINGS_MAX:
            self._log.warning("too many handshakes at once", remote=channel.remote)
            channel.close()
            return
        self._open(channel, None)

    def _open(self, channel: Channel, expected: Voter | None) -> _Link:
        link = _Link(channel, expected, trio.current_time())
        self._links[channel] = link
        # What came before the channel was known here rang for nobody.
        self._doorbell.ring(channel)
        return link

    def _transmit(self, link: _Link, frames: Sequence[bytes]) -> bool:
        try:
            link.channel.send_nowait(frames)
        except ChannelClosed as error:
            self._drop(link, str(error))
            return False
        return True

    def _fail(self, link: _Link, why: str) -> None:
        """Drop a link for a reason that the dialling side should see in its status."""
        if link.expected is not None and link.origin is None:
            self._note_trouble(link.expected.node, f"{link.channel.remote}: {why}")
        self._drop(link, why)

    def _drop(self, link: _Link, why: str) -> None:
        if self._links.pop(link.channel, None) is None:
            return
        link.channel.close()
        origin = link.origin
        if isinstance(origin, Voter):
            del self._peers[origin.node]
            self._events.append(PeerDown(origin))
            self._log.info(
                "peer disconnected", peer=origin.node, remote=link.channel.remote, why=why
            )
        elif origin is not None:
            del self._clients[origin]
            self._events.append(ClientDown(origin))
            self._log.debug(
                "client disconnected", client=origin, remote=link.channel.remote, why=why
            )
        link.gone.set()
        # This may run outside the node's pass: its task must wake to take the event.
        self._doorbell.ring()

    def _note_trouble(self, node: NodeId, why: str) -> None:
        # Once per reason: a peer that stays away must not fill the log with every attempt.
        if self._trouble.get(node) != why:
            self._trouble[node] = why
            self._log.warning("cannot connect to peer", peer=node, why=why)

    # --- the handshake ------------------------------------------------------------------------

    def _hello(self, expected: NodeId) -> Hello:
        me = self._welcome
        return Hello(
            me.cluster,
            Kind.REPLICA,
            me.node,
            me.incarnation,
            me.boot,
            expected,
            me.feature,
            me.machines,
        )

    def _greet(self, link: _Link, frames: list[bytes]) -> list[bytes]:
        """Deal with the first frame; return those behind it, none if the link was dropped."""
        if link.expected is None:
            admitted = self._answer(link, frames[0])
        else:
            admitted = self._conclude(link, link.expected, frames[0])
        return frames[1:] if admitted else []

    def _answer(self, link: _Link, frame: bytes) -> bool:
        """The side that was dialled: judge the Hello, answer it."""
        try:
            hello = handshake.decode_hello(frame)
        except handshake.HandshakeInvalid as error:
            self._frames_bad += 1
            return self._refuse(link, str(error))
        believed = self._believed(hello)
        reason = handshake.refusal(hello, self._welcome, believed, self._feature)
        if reason is None:
            reason = self._overcrowding(link, hello)
        elif self._was_removed(hello):
            reason = (
                f"node {hello.node} was removed from cluster {hello.cluster}: stop it, and wipe its"
                " data directory; its id is never used again"
            )
        if reason is not None:
            return self._refuse(link, reason)
        try:
            link.channel.send_nowait([handshake.encode(handshake.reply(hello, self._welcome))])
        except ChannelClosed as error:
            self._drop(link, str(error))
            return False
        if hello.kind is Kind.CLIENT:
            self._admit_client(link)
        else:
            link.feature = hello.feature
            self._admit_peer(link, Voter(hello.node, hello.incarnation), hello.boot)
        return True

    def _was_removed(self, hello: Hello) -> bool:
        mine = hello.kind is Kind.REPLICA and hello.cluster == self._welcome.cluster
        if not mine or self._next_node is None or hello.expected != self._welcome.node:
            return False
        return 0 < hello.node < self._next_node and hello.node not in self._voters

    def _believed(self, hello: Hello) -> Mapping[NodeId, Voter]:
        """Return whose Hello may be taken: members, and one whom this node may not know yet."""
        node, next_node = hello.node, self._next_node
        if hello.kind is Kind.CLIENT or next_node is None or node in self._voters:
            return self._voters
        strangers = sum(1 for each in self._peers if each not in self._voters)
        if node < next_node or (strangers >= STRANGERS_MAX and node not in self._peers):
            return self._voters
        return {**self._voters, node: Voter(node, hello.incarnation)}

    def _conclude(self, link: _Link, expected: Voter, frame: bytes) -> bool:
        """The side that dialled: judge the answer."""
        assert link.said is not None
        try:
            welcome = handshake.decode_answer(frame)
        except handshake.HandshakeRefused as error:
            link.again = handshake.fallback(link.said, error, self._feature)
            if link.again is None:
                self._fail(link, str(error))
            else:
                self._drop(link, "it is of an older release")
            return False
        except handshake.HandshakeInvalid as error:
            self._fail(link, str(error))
            return False
        reason = handshake.misdirection(welcome, link.said, expected, self._feature)
        if reason is not None:
            self._fail(link, reason)
            return False
        link.feature = welcome.feature
        self._admit_peer(link, expected, welcome.boot)
        return True

    def _refuse(self, link: _Link, reason: str) -> bool:
        self._log.warning("connection refused", remote=link.channel.remote, why=reason)
        try:
            link.channel.send_nowait([handshake.encode(Rejected(reason))])
        except ChannelClosed:
            # It left before it could be told why it is not wanted: nothing is lost.
            self._log.debug("refused connection was gone", remote=link.channel.remote)
        self._drop(link, reason)
        return False

    def _overcrowding(self, link: _Link, hello: Hello) -> str | None:
        """Return why there is no place for the sender of ``hello``, or None if there is."""
        if hello.kind is Kind.CLIENT:
            if len(self._clients) < self._options.clients_max:
                return None
            return (
                f"node {self._welcome.node} has {len(self._clients)} client connections, its limit:"
                " try another node, or raise clients_max"
            )
        present = self._peers.get(hello.node)
        silent_s = trio.current_time() - present.heard if present else math.inf
        if present is None or present.boot == hello.boot or silent_s > self._rival_window_s:
            return None
        return (
            f"two processes claim node {hello.node}: one at {present.channel.remote}, connected to "
            f"node {self._welcome.node} now, and one at {link.channel.remote}: stop one of them"
        )

    def _admit_client(self, link: _Link) -> None:
        self._clients_seen += 1
        link.origin = self._clients_seen
        self._clients[self._clients_seen] = link
        self._events.append(ClientUp(self._clients_seen))
        self._log.debug("client connected", client=self._clients_seen, remote=link.channel.remote)

    def _admit_peer(self, link: _Link, peer: Voter, boot: int) -> None:
        present = self._peers.get(peer.node)
        if present is not None:
            self._drop(present, "replaced by a newer connection")
        link.origin = peer
        link.boot = boot
        self._peers[peer.node] = link
        self._trouble.pop(peer.node, None)
        self._events.append(PeerUp(peer, link.feature))
        self._log.info("peer connected", peer=peer.node, remote=link.channel.remote)
