"""One connection to one node, question by question: for what is asked rarely and of that very node.

Owns the dial, the handshake and the end of the connection. Retries nothing, keeps no session, and
knows nothing of who leads: what a program asks all the time goes through the client.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from paxos import codec
from paxos.core.config import FEATURE_FIRST
from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId
from paxos.core.messages import ClientAnswer, ClientMessage, StatusAnswer
from paxos.doorbell import Doorbell
from paxos.runtime import handshake
from paxos.runtime.errors import plain_errors
from paxos.runtime.handshake import Hello, Kind, Welcome
from paxos.runtime.status import NEWS
from paxos.transport import Channel, ChannelClosed, Transport, TransportError


class ConversationFailed(PaxosError):
    """The node could not be reached, refused, or the connection broke; ``reason`` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReleaseTooOld(ConversationFailed):
    """The node runs a release that knows nothing of what it was to be asked."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url} runs a release before this one: start this release on every node, then ask"
            " again"
        )


@asynccontextmanager
async def conversing(
    url: str,
    transport_for: Callable[[str], Transport],
    *,
    cluster: str = "",
    feature: int = FEATURE_FIRST,
) -> AsyncIterator[Conversation]:
    """Talk to the node at ``url`` inside the context.

    Args:
        url: Where it listens.
        transport_for: Finds the transport for a URL.
        cluster: The cluster's id it must belong to; empty for any.
        feature: What the node must know of to understand what it is asked.

    Raises:
        ReleaseTooOld: It knows nothing of that.
        ConversationFailed: It could not be reached, or refused.
    """
    with plain_errors(), Doorbell() as doorbell:
        async with trio.open_nursery() as nursery:
            try:
                channel = await transport_for(url).connect(url, doorbell, nursery)
            except TransportError as error:
                raise ConversationFailed(str(error)) from error
            conversation = Conversation(url, channel, doorbell)
            try:
                await conversation.greet(cluster, feature)
                yield conversation
            finally:
                channel.close()
                nursery.cancel_scope.cancel()


class Conversation:
    """An open connection. Made by ``conversing``; for one task at a time."""

    def __init__(self, url: str, channel: Channel, doorbell: Doorbell) -> None:
        self._url = url
        self._channel = channel
        self._doorbell = doorbell
        self._frames: list[bytes] = []
        self.members: Mapping[NodeId, str] = {}
        """URL by node id, as the node said."""

    async def greet(self, cluster: str, feature: int) -> None:
        """Say who is asking, and hear who answers."""
        hello = Hello(cluster, Kind.CLIENT, feature=feature)
        self._send(handshake.encode(hello))
        self._doorbell.ring(self._channel)
        try:
            welcome: Welcome = handshake.decode_answer(await self._frame())
        except handshake.HandshakeRefused as error:
            if handshake.fallback(hello, error, FEATURE_FIRST) is not None:
                raise ReleaseTooOld(self._url) from error
            raise ConversationFailed(str(error)) from error
        except handshake.HandshakeInvalid as error:
            raise ConversationFailed(str(error)) from error
        if cluster and welcome.cluster != cluster:
            raise ConversationFailed(
                f"reached a node of cluster {welcome.cluster}, not of {cluster}"
            )
        self.members = welcome.members

    def say(self, message: ClientMessage) -> None:
        """Send a message.

        Raises:
            ConversationFailed: The connection is gone.
        """
        self._send(codec.encode(message))

    async def hear(self) -> ClientAnswer:
        """Wait for the next message that answers something: news that nobody asked for is not.

        Raises:
            ConversationFailed: The connection is gone, or what came makes no sense.
        """
        while True:
            frame = await self._frame()
            try:
                answer = codec.decode_answer(frame)
            except codec.ProtocolError as error:
                raise ConversationFailed(str(error)) from error
            if not isinstance(answer, StatusAnswer) or answer.number != NEWS:
                return answer

    def _send(self, frame: bytes) -> None:
        try:
            self._channel.send_nowait([frame])
        except ChannelClosed as error:
            raise ConversationFailed(str(error)) from error

    async def _frame(self) -> bytes:
        try:
            while not self._frames:
                await self._doorbell.wait(math.inf)
                self._frames = self._channel.receive_nowait()
        except ChannelClosed as error:
            raise ConversationFailed(str(error)) from error
        return self._frames.pop(0)
