"""The async client: one task that carries a pure client's words to one replica at a time.

Owns the connection, the handshake and the table of who waits for what. Retries, sessions and where
to go next are decided by the pure client. It guards one promise to its caller: every request ends,
once, as done, failed, refused or unknown, and a request that may have been applied is never called
failed. There is no task per request, and one send per connection and pass.
"""

# ruff: noqa: ASYNC109 - a timeout here ends a request with an outcome; a cancel scope could not

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never

import trio

from paxos import codec
from paxos.core import client as pure
from paxos.core.client import (
    Answered,
    ClientEffect,
    ClientEvent,
    ClientOptions,
    Connect,
    Connected,
    DeadlinePassed,
    Disconnected,
    Done,
    Ended,
    Failed,
    Outcome,
    Refused,
    Transmit,
    Unknown,
)
from paxos.core.config import Configuration, Governing
from paxos.core.errors import ConfigurationInvalid, PaxosError
from paxos.core.ids import NodeId, Slot
from paxos.core.messages import (
    Level,
    Reconfigure,
    Redirect,
    SnapshotName,
    StatusAnswer,
    StatusRequest,
    TransferLeader,
)
from paxos.doorbell import Doorbell
from paxos.runtime import admin, handshake
from paxos.runtime.admin import AdminDone
from paxos.runtime.configuration_fields import governing_from
from paxos.runtime.conversation import ConversationFailed, conversing
from paxos.runtime.errors import plain_errors
from paxos.runtime.handshake import Hello, Kind
from paxos.runtime.outcomes import (
    NoReplicaReachable,
    OutcomeUnknown,
    RequestFailed,
    RequestRefused,
)
from paxos.runtime.status import NEWS, members_from
from paxos.transport import Channel, ChannelClosed, Transport, TransportError

if TYPE_CHECKING:
    import random

__all__ = [
    "ADMIN_TIMEOUT_S",
    "DEFAULT_OPTIONS",
    "Answer",
    "Client",
    "LevelName",
    "NoReplicaReachable",
    "OutcomeUnknown",
    "RequestFailed",
    "RequestRefused",
    "node_status",
    "running",
]

DEFAULT_OPTIONS = ClientOptions()

_NO_MACHINE = ""  # no state machine can be named so

ADMIN_TIMEOUT_S = 60.0
"""A change of membership waits for elections and for nodes that catch up."""

BEHIND_PAUSE_S = 0.2
"""Before a node that was behind is asked for another snapshot."""

LevelName = Literal["local", "session", "linearizable"]
"""How fresh a read must be; see ``paxos.core.messages.Level``."""

Callback = Callable[[int, Outcome], None]
"""Called in the client's task with a command's position and how it ended. Must not block."""


class Answer(NamedTuple):
    """What a read or watch gave, and the slot it reflects."""

    slot: Slot
    data: bytes


@asynccontextmanager
async def running(
    endpoints: Sequence[str],
    transport_for: Callable[[str], Transport],
    rng: random.Random,
    *,
    cluster: str = "",
    timeout_s: float,
    options: ClientOptions = DEFAULT_OPTIONS,
) -> AsyncIterator[Client]:
    """Run a client inside the context.

    Args:
        endpoints: URLs of replicas; the first is tried first.
        transport_for: Finds the transport for a URL.
        rng: For the session's nonce and jitter.
        cluster: The cluster's id; empty to take any cluster that answers.
        timeout_s: How long a request may take unless it says otherwise.
        options: The client's bounds.
    """
    with plain_errors(), Doorbell() as doorbell:
        core = pure.Client(endpoints, rng, options)
        client = Client(
            core, endpoints, transport_for, doorbell, cluster=cluster, timeout_s=timeout_s
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.run, nursery)
                yield client
                nursery.cancel_scope.cancel()
        finally:
            client.close()


class Client:
    """Submits commands, reads and watches. Made by ``running``; used by any number of tasks."""

    def __init__(
        self,
        core: pure.Client,
        endpoints: Sequence[str],
        transport_for: Callable[[str], Transport],
        doorbell: Doorbell,
        *,
        cluster: str,
        timeout_s: float,
    ) -> None:
        self.endpoints = tuple(endpoints)
        """The URLs this client was given."""
        self._core = core
        self._transport_for = transport_for
        self._doorbell = doorbell
        self._cluster = cluster
        self._timeout_s = timeout_s
        # By token: whom to tell, and the position of the token among those submitted with it.
        self._waiting: dict[int, tuple[Callback, int]] = {}
        self._flush_wanted = False
        self._waits = False  # the client's task: whoever wants something must ring
        self._closed = False
        self._connection: _Connection | None = None
        self._learned: tuple[str, ...] = ()  # where the members were, as told last
        self._troubles: dict[str, str] = {}  # by endpoint: why the last attempt failed
        self._nursery: trio.Nursery | None = None

    @property
    def seen_through(self) -> Slot:
        """The highest slot that any answer so far reflected."""
        return self._core.seen_through

    # --- commands ------------------------------------------------------------

    async def submit(self, machine: str, command: bytes, *, timeout: float | None = None) -> Done:
        """Have one command applied, exactly once.

        Args:
            machine: Name of the state machine.
            command: What its ``apply`` gets.
            timeout: Seconds until the client gives up; the client's own if None.

        Returns:
            The slot it was applied at and what ``apply`` returned.

        Raises:
            CommandFailed: It was applied and the state machine refused it (a RequestFailed).
            RequestRefused: It was not applied and never will be.
            OutcomeUnknown: It may or may not have been, or be yet, applied.
        """
        tokens = self._core.submit(machine, (command,), self._deadline(timeout))
        outcome = await self._outcome(tokens[0])
        if isinstance(outcome, Done):
            return outcome
        raise self._error(outcome)

    async def submit_many(
        self, machine: str, commands: Sequence[bytes], *, timeout: float | None = None
    ) -> list[Outcome]:
        """Have several commands applied, in order, each exactly once; much cheaper than one by one.

        They may end up in different slots, with other clients' commands in between.

        Returns:
            For each command how it ended: Done, Failed, Refused or Unknown. Never raises those.
        """
        return await self._all_ended(
            len(commands), lambda note: self._submit(machine, commands, note, timeout)
        )

    def submit_nowait(
        self,
        machine: str,
        commands: Sequence[bytes],
        callback: Callback,
        *,
        timeout: float | None = None,
    ) -> None:
        """Submit commands and return at once: the cheapest way, for programs that count calls.

        Args:
            machine: Name of the state machine.
            commands: What its ``apply`` gets, in order.
            callback: Called once for each command with its position and its outcome, in the
                client's task. It must not block; what it raises ends the client.
            timeout: Seconds until the client gives up; the client's own if None.
        """
        self._submit(machine, commands, callback, timeout)

    # --- reads ---------------------------------------------------------------

    async def read(
        self,
        machine: str,
        query: bytes,
        *,
        level: LevelName = "linearizable",
        timeout: float | None = None,
    ) -> Answer:
        """Ask a state machine.

        Args:
            machine: Name of the state machine.
            query: What its ``query`` gets.
            level: "linearizable": everything done before the read began, confirmed by a quorum;
                "session": at least what this client has seen; "local": what the replica has.
            timeout: Seconds until the client gives up; the client's own if None.

        Returns:
            The slot it reflects and what ``query`` returned.

        Raises:
            CommandFailed: The state machine refused the query (a RequestFailed).
            RequestRefused: No answer in time.
        """
        token = self._core.read(_LEVELS[level], machine, query, self._deadline(timeout))
        return self._answer(await self._outcome(token))

    async def read_many(
        self,
        machine: str,
        queries: Sequence[bytes],
        *,
        level: LevelName = "linearizable",
        timeout: float | None = None,
    ) -> list[Outcome]:
        """Ask a state machine several things at once; much cheaper than one by one.

        Each answer is as fresh as ``read`` says. They may reflect different slots.

        Returns:
            For each query how it ended: Done with the answer, Failed, or Refused. Never raises
            those.
        """
        return await self._all_ended(
            len(queries), lambda note: self._ask(machine, queries, note, level, timeout)
        )

    def read_nowait(
        self,
        machine: str,
        queries: Sequence[bytes],
        callback: Callback,
        *,
        level: LevelName = "linearizable",
        timeout: float | None = None,
    ) -> None:
        """Ask and return at once: the cheapest way, for programs that count calls.

        Args:
            machine: Name of the state machine.
            queries: What its ``query`` gets.
            callback: Called once for each query, as by ``submit_nowait``.
            level: See ``read``.
            timeout: Seconds until the client gives up; the client's own if None.
        """
        self._ask(machine, queries, callback, level, timeout)

    async def barrier(self, *, timeout: float | None = None) -> Slot:
        """Return a slot that everything acknowledged before this call, to anybody, is at or below.

        Args:
            timeout: Seconds until the client gives up; the client's own if None.

        Raises:
            RequestRefused: No leader with a quorum answered in time.
        """
        try:
            return (await self.read(_NO_MACHINE, b"", timeout=timeout)).slot
        except RequestFailed as answered:
            return answered.slot  # what no machine refuses is as linearizable as any answer

    async def watch_once(
        self, machine: str, query: bytes, *, timeout: float | None = None
    ) -> Answer:
        """Wait until a state machine has something to tell about ``query``, however long it takes.

        Reconnects as often as it must. Ask again from where the answer ended.

        Args:
            machine: Name of the state machine.
            query: What its ``watch`` gets.
            timeout: Seconds until the client gives up; None for never.

        Raises:
            CommandFailed: The state machine refused the query (a RequestFailed).
            RequestRefused: No answer in time, or the replica has too many watches.
        """
        deadline = math.inf if timeout is None else self._deadline(timeout)
        token = self._core.watch(machine, query, deadline)
        return self._answer(await self._outcome(token))

    async def status(self, *, timeout: float | None = None) -> dict[str, dict[str, Any]]:
        """Ask every endpoint about itself.

        Returns:
            By URL: the node's status with ``"reachable": True``, or ``"reachable": False`` and
            the ``"reason"``.
        """
        return await self._status_of(self.endpoints, timeout)

    async def _status_of(
        self, urls: Sequence[str], timeout: float | None
    ) -> dict[str, dict[str, Any]]:
        answers: dict[str, dict[str, Any]] = {}
        timeout_s = self._timeout_s if timeout is None else timeout

        async def ask(url: str) -> None:
            try:
                status = await node_status(
                    url, self._transport_for, cluster=self._cluster, timeout_s=timeout_s
                )
                answers[url] = {"reachable": True, **status}
            except NoReplicaReachable as error:
                answers[url] = {"reachable": False, "reason": error.reason}

        async with trio.open_nursery() as nursery:
            for url in urls:
                nursery.start_soon(ask, url)
        return {url: answers[url] for url in urls}

    # --- for administrators --------------------------------------------------

    async def members_status(self, *, timeout: float | None = None) -> dict[str, dict[str, Any]]:
        """As ``status``, of every endpoint, and of every member that anyone is known to know."""
        answers = await self._status_of(self._known(), timeout)
        latest = _latest(answers)
        if latest is not None:
            urls = [member.url for member in latest.configuration.members]
            others = list(dict.fromkeys(url for url in urls if url and url not in answers))
            answers |= await self._status_of(others, timeout)
        return answers

    async def governing(self, *, timeout: float | None = None) -> Governing:
        """Return the latest decided configuration that any node knows, and its first slot.

        Raises:
            NoReplicaReachable: No node answered.
        """
        answers = await self.members_status(timeout=timeout)
        latest = _latest(answers)
        if latest is None:
            reasons = "; ".join(f"{url}: {each.get('reason')}" for url, each in answers.items())
            raise NoReplicaReachable(f"no node told its configuration ({reasons})")
        return latest

    async def reconfigure(
        self, configuration: Configuration, *, timeout: float = ADMIN_TIMEOUT_S
    ) -> AdminDone:
        """Make ``configuration`` the next one, and wait until it is settled.

        Once this returns, whoever is not in it may be stopped and wiped. Asking again for the same
        configuration is safe, and waits likewise.

        Args:
            configuration: Its version is one above that of the latest one.
            timeout: Seconds until the outcome is called unknown.

        Raises:
            AdminRefused: It was refused; the text says why and what to do.
            NoReplicaReachable: No node could be asked.
            OutcomeUnknown: It may or may not be decided. Ask again.
        """
        return await self._ask_leader(Reconfigure(1, configuration), timeout)

    async def transfer_leader(
        self, to: NodeId = 0, *, timeout: float = ADMIN_TIMEOUT_S
    ) -> AdminDone:
        """Have the leader hand over to node ``to``, or to whom it finds best.

        Raises:
            AdminRefused, NoReplicaReachable, OutcomeUnknown: As ``reconfigure``.
        """
        return await self._ask_leader(TransferLeader(1, to), timeout)

    async def _ask_leader(self, request: Reconfigure | TransferLeader, timeout: float) -> AdminDone:
        return await admin.ask_leader(
            self._known(), self._transport_for, request, cluster=self._cluster, timeout=timeout
        )

    def _known(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(url for url in (*self.endpoints, *self._learned) if url))

    async def take_snapshot(
        self, url: str | None = None, *, timeout: float = ADMIN_TIMEOUT_S
    ) -> SnapshotName:
        """Have a node take a snapshot now, and compact its log by it.

        Args:
            url: Which node; the first endpoint if None.
            timeout: Seconds until it is given up.

        Returns:
            The snapshot's name, once it is durable.

        Raises:
            AdminRefused: The node cannot; the text says why.
            NoReplicaReachable: It did not answer in time.
        """
        return await admin.take_snapshot(
            url or self.endpoints[0], self._transport_for, cluster=self._cluster, timeout=timeout
        )

    async def backup(
        self,
        sink: Callable[[bytes], object],
        url: str | None = None,
        *,
        timeout: float = ADMIN_TIMEOUT_S,
    ) -> SnapshotName:
        """Take a snapshot and give all its bytes to ``sink``, in order; they are checked.

        It holds all that any reachable member knew decided when this was called.

        Args:
            sink: Called in a thread, it may block. Until this returns, what it got is incomplete.
            url: Which node; the first endpoint if None.
            timeout: Seconds for taking it, and without any further piece of it.

        Raises:
            AdminRefused: The node cannot; the text says why.
            LookupError: The snapshot was gone before all of it was read. Begin anew.
            NoReplicaReachable: Nothing came for too long.
        """
        url = url or self.endpoints[0]
        answers = await self.members_status()
        at_least = max((each.get("decided_through", 0) for each in answers.values()), default=0)
        name = await self.take_snapshot(url, timeout=timeout)
        with trio.move_on_after(timeout):
            while name.through < at_least:
                # It was behind: what is missing there is on its way.
                await trio.sleep(BEHIND_PAUSE_S)
                name = await self.take_snapshot(url, timeout=timeout)
        if name.through < at_least:
            raise NoReplicaReachable(f"{url} is at slot {name.through}, others are at {at_least}")
        await admin.fetch_snapshot(
            url, name, sink, self._transport_for, cluster=self._cluster, timeout=timeout
        )
        return name

    # --- the adapter that state machines' own clients are written against ----

    async def execute(self, machine: str, command: bytes) -> tuple[Slot, bytes]:
        """As ``submit``, for a state machine's own client: the slot and the result."""
        done = await self.submit(machine, command)
        return done.slot, done.data

    async def query(
        self, machine: str, query: bytes, level: LevelName = "linearizable"
    ) -> tuple[Slot, bytes]:
        """As ``read``, for a state machine's own client: the slot and the answer."""
        return await self.read(machine, query, level=level)

    # --- who waits for what --------------------------------------------------

    def _deadline(self, timeout: float | None) -> float:
        if self._closed:
            raise RequestRefused("the client is closed")
        return trio.current_time() + (self._timeout_s if timeout is None else timeout)

    def _submit(
        self, machine: str, commands: Sequence[bytes], callback: Callback, timeout: float | None
    ) -> range:
        tokens = self._core.submit(machine, commands, self._deadline(timeout))
        for position, token in enumerate(tokens):
            self._waiting[token] = (callback, position)
        self._want_flush()
        return tokens

    def _ask(
        self,
        machine: str,
        queries: Sequence[bytes],
        callback: Callback,
        level: LevelName,
        timeout: float | None,
    ) -> Sequence[int]:
        deadline, read = self._deadline(timeout), self._core.read
        tokens = [read(_LEVELS[level], machine, query, deadline) for query in queries]
        for position, token in enumerate(tokens):
            self._waiting[token] = (callback, position)
        self._want_flush()
        return tokens

    async def _all_ended(
        self, count: int, start: Callable[[Callback], Sequence[int]]
    ) -> list[Outcome]:
        """Start requests, and wait until each has ended; give them up if this is cancelled."""
        if not count:
            return []
        ended: list[Outcome | None] = [None] * count
        missing = count
        all_ended = trio.Event()

        def note(position: int, outcome: Outcome) -> None:
            nonlocal missing
            ended[position] = outcome
            missing -= 1
            if not missing:
                all_ended.set()

        tokens = start(note)
        try:
            await all_ended.wait()
        finally:
            if missing:
                self._give_up(tokens)
        return [outcome for outcome in ended if outcome is not None]

    def _want_flush(self) -> None:
        # Once per pass: everything submitted until the client's task runs leaves together.
        if not self._flush_wanted:
            self._flush_wanted = True
            if self._waits:
                self._doorbell.ring()

    async def _outcome(self, token: int) -> Outcome:
        task = trio.lowlevel.current_task()
        ended: list[Outcome] = []

        def resume(_: int, outcome: Outcome) -> None:
            ended.append(outcome)
            trio.lowlevel.reschedule(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._give_up((token,))
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting[token] = (resume, 0)
        self._want_flush()
        await trio.lowlevel.wait_task_rescheduled(abort)
        return ended[0]

    def _give_up(self, tokens: Sequence[int]) -> None:
        """Forget requests whose caller was cancelled. A command may be applied all the same."""
        for token in tokens:
            if self._waiting.pop(token, None) is not None:
                self._core.cancel(token)
        self._want_flush()

    def _answer(self, outcome: Outcome) -> Answer:
        if isinstance(outcome, Done):
            return Answer(outcome.slot, outcome.data)
        if isinstance(outcome, Unknown):
            # A read has no effect, so that there is nothing unknown about it.
            raise RequestRefused(outcome.reason)
        raise self._error(outcome)

    def _error(self, outcome: Failed | Refused | Unknown) -> PaxosError:
        if isinstance(outcome, Failed):
            return RequestFailed(outcome.reason, outcome.slot)
        if isinstance(outcome, Unknown):
            return OutcomeUnknown(outcome.reason)
        if self._connection is not None and self._connection.greeted:
            return RequestRefused(outcome.reason)
        troubles = "; ".join(f"{url}: {why}" for url, why in self._troubles.items())
        return NoReplicaReachable(f"{outcome.reason} ({troubles})" if troubles else outcome.reason)

    # --- the one task --------------------------------------------------------

    async def run(self, nursery: trio.Nursery) -> None:
        """Serve requests until cancelled."""
        self._nursery = nursery
        core = self._core
        while True:
            if self._flush_wanted:
                self._doorbell.ring()  # of what was told that it ended, after the last flush
            due = core.next_deadline()
            self._waits = True
            rung = await self._doorbell.wait(due)
            self._waits = False
            connection = self._connection
            if connection is not None and connection.channel in rung:
                self._take(connection)
                await self._let_them_ask()
            now = trio.current_time()
            if now >= due and now >= core.next_deadline():
                self._handle(DeadlinePassed())
            if self._flush_wanted:
                self._flush_wanted = False
                self._carry_out(core.flush(now))
            self._transmit()

    async def _let_them_ask(self) -> None:
        """Let tasks that were answered run, which often ask again at once.

        What they ask leaves with this pass then; to fall asleep first and be woken costs several
        times as much. Twice, since trio may run this task before those that it has made ready.
        """
        for _ in range(2):
            if not self._flush_wanted:
                await trio.lowlevel.checkpoint()

    def _handle(self, event: ClientEvent) -> None:
        self._carry_out(self._core.handle(event, trio.current_time()))

    def _carry_out(self, effects: Sequence[ClientEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Ended):
                waiting = self._waiting.pop(effect.token, None)
                if waiting is not None:
                    waiting[0](waiting[1], effect.outcome)
            elif isinstance(effect, Transmit):
                if self._connection is not None:
                    self._connection.outgoing.append(codec.encode(effect.message))
            elif isinstance(effect, Connect):
                self._connect(effect.endpoint)
            else:
                assert_never(effect)

    def close(self) -> None:
        """End what is still waited for, as unknown, and close the connection."""
        self._closed = True
        self._leave()
        waiting, self._waiting = self._waiting, {}
        for callback, position in waiting.values():
            callback(position, Unknown("the client was closed before the answer came"))

    # --- the connection ------------------------------------------------------

    def _connect(self, endpoint: str) -> None:
        before = self._connection
        if before is not None and not before.greeted:
            self._troubles[before.endpoint] = "did not answer in time"
        self._leave()
        assert self._nursery is not None
        self._connection = connection = _Connection(endpoint)
        self._nursery.start_soon(self._dial, connection, self._nursery)

    async def _dial(self, connection: _Connection, nursery: trio.Nursery) -> None:
        url = connection.endpoint
        with connection.dialling:
            try:
                transport = self._transport_for(url)
                channel = await transport.connect(url, self._doorbell, nursery)
                if connection is not self._connection:
                    # Left for another while this one was just getting through.
                    channel.close()
                    return
                connection.channel = channel
                channel.send_nowait([handshake.encode(Hello(self._cluster, Kind.CLIENT))])
            except (TransportError, ChannelClosed) as error:
                self._lose(connection, str(error))
                return
            # What came before the channel was known here rang for nobody.
            self._doorbell.ring(channel)

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.dialling.cancel()
            if connection.channel is not None:
                connection.channel.close()

    def _lose(self, connection: _Connection, why: str) -> None:
        if connection is not self._connection:
            return
        self._troubles[connection.endpoint] = why
        self._leave()
        self._handle(Disconnected(connection.endpoint))
        self._doorbell.ring()

    def _take(self, connection: _Connection) -> None:
        assert connection.channel is not None
        try:
            frames = connection.channel.receive_nowait()
            if frames and not connection.greeted:
                self._greet(connection, frames.pop(0))
            for frame in frames:
                self._answered(connection, frame)
        except (
            ChannelClosed,
            codec.ProtocolError,
            handshake.HandshakeInvalid,
            handshake.HandshakeRefused,
        ) as error:
            self._lose(connection, str(error))

    def _greet(self, connection: _Connection, frame: bytes) -> None:
        welcome = handshake.decode_answer(frame)
        if self._cluster and welcome.cluster != self._cluster:
            raise handshake.HandshakeInvalid(
                f"reached a node of cluster {welcome.cluster}, not of {self._cluster}"
            )
        # From here on only this cluster: another one at the same addresses knows nothing of what
        # this client's session and requests are.
        self._cluster = welcome.cluster
        connection.greeted = True
        self._learn(connection, welcome.members)
        self._troubles.pop(connection.endpoint, None)
        self._handle(Connected(connection.endpoint))

    def _learn(self, connection: _Connection, members: Mapping[NodeId, str]) -> None:
        """Note where the replicas are, as the one at the other end says."""
        connection.members = members
        self._learned = tuple(members.values())
        self._core.learn(self._learned)

    def _answered(self, connection: _Connection, frame: bytes) -> None:
        if connection is not self._connection:
            return  # left for another replica by what an earlier frame of this pass said
        message = codec.decode_answer(frame)
        if isinstance(message, StatusAnswer) and message.number == NEWS:
            members = members_from(message.document)
            if members is not None:
                self._learn(connection, members)
            return
        leader_url = None
        if isinstance(message, Redirect):
            leader_url = connection.members.get(message.leader)
        self._handle(Answered(message, leader_url))

    def _transmit(self) -> None:
        connection = self._connection
        if connection is None or not connection.outgoing or connection.channel is None:
            return
        outgoing, connection.outgoing = connection.outgoing, []
        try:
            connection.channel.send_nowait(outgoing)
        except ChannelClosed as error:
            self._lose(connection, str(error))


class _Connection:
    """The connection to one replica, from the first attempt to its loss."""

    __slots__ = ("channel", "dialling", "endpoint", "greeted", "members", "outgoing")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.dialling = trio.CancelScope()
        self.channel: Channel | None = None
        self.greeted = False
        self.members: Mapping[NodeId, str] = {}
        """URL by node id, as the replica said."""
        self.outgoing: list[bytes] = []


_LEVELS: Mapping[str, Level] = {level.name.lower(): level for level in Level}


async def node_status(
    url: str, transport_for: Callable[[str], Transport], *, cluster: str = "", timeout_s: float
) -> dict[str, Any]:
    """Ask one node about itself, on a connection of its own.

    Raises:
        NoReplicaReachable: There was no answer in time; ``reason`` says why.
    """
    try:
        with trio.move_on_after(timeout_s):
            async with conversing(url, transport_for, cluster=cluster) as conversation:
                conversation.say(StatusRequest(1))
                answer = await conversation.hear()
                if not isinstance(answer, StatusAnswer):
                    raise ConversationFailed(f"asked for a status, got {answer}")
                document: dict[str, Any] = json.loads(answer.document)
                return document
    except ConversationFailed as error:
        raise NoReplicaReachable(error.reason) from error
    raise NoReplicaReachable(f"{url}: no answer within {timeout_s:g} s")


def _latest(answers: Mapping[str, Mapping[str, Any]]) -> Governing | None:
    """Return the configuration of the highest version among nodes' statuses."""
    latest: Governing | None = None
    for status in answers.values():
        fields = status.get("configuration")
        if fields is None:
            continue
        try:
            governing = governing_from(fields)
        except ConfigurationInvalid:
            continue  # of a release that knows more; another node may be of ours
        if latest is None or governing.configuration.version > latest.configuration.version:
            latest = governing
    return latest
