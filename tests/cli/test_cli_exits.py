"""How a request that was not done is told: exit statuses 1, 3 and 4, and what is printed."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trio
from click.testing import Result

import transports
from paxos import codec
from paxos.cli.connect import exit_statuses
from paxos.cli.exits import CommandError, Exit
from paxos.core.errors import ConfigurationInvalid
from paxos.core.messages import OpenSession, SessionOpened
from paxos.core.state_machine import CommandFailed
from paxos.doorbell import Doorbell
from paxos.runtime import handshake
from paxos.runtime.client import (
    NoReplicaReachable,
    OutcomeUnknown,
    RequestFailed,
    RequestRefused,
)
from paxos.runtime.handshake import Welcome
from paxos.transport import Channel, ChannelClosed, TransportError
from statemachines.edge_config_client import AnswerInvalid, RequestInvalid
from tests.cli.replicas import objects, paxos


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestFailed("no", 3), Exit.REFUSED),
        (CommandFailed("no"), Exit.REFUSED),
        (RequestRefused("overloaded"), Exit.REFUSED),
        (RequestInvalid("bad key"), Exit.USAGE),
        (ConfigurationInvalid("bad file"), Exit.USAGE),
        (TransportError("bad URL"), Exit.USAGE),
        (AnswerInvalid("another machine"), Exit.USAGE),
        (OutcomeUnknown("lost"), Exit.UNKNOWN),
        (NoReplicaReachable("refused"), Exit.UNREACHABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_of_each_kind_has_its_exit_status_and_keeps_its_text(
    error: Exception, status: Exit
) -> None:
    with pytest.raises(CommandError) as raised, exit_statuses():
        raise error
    assert raised.value.exit_code == status
    assert str(error) in raised.value.message


def test_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_statuses():
        raise ZeroDivisionError


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL on which nothing listens, for as long as the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["config", "put", "k", "v"],
        ["config", "get", "k"],
        ["config", "list"],
        ["config", "watch"],
        ["bench", "--duration", "1"],
    ],
    ids=" ".join,
)
def test_client_command_without_any_replica_exits_4(nobody: str, arguments: list[str]) -> None:
    ended = paxos(*arguments, "--endpoints", nobody, "--timeout", "0.3")
    assert ended.exit_code == 4, ended.output
    assert nobody in ended.stderr
    assert "Traceback" not in ended.output


def test_change_without_any_replica_tells_its_outcome_as_json_too(nobody: str) -> None:
    ended = paxos("config", "put", "k", "v", "--endpoints", nobody, "--timeout", "0.3", "--json")
    assert ended.exit_code == 4
    (told,) = objects(ended)
    assert told["outcome"] == "unreachable"
    assert (told["revision"], told["slot"]) == (None, None)


def against_a_silent_replica(*arguments: str, stdin: bytes = b"") -> Result:
    """Run a command against a replica that takes everything and answers no request."""
    ended: list[Result] = []

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_silently)
            options = ("--endpoints", url, "--timeout", "0.5")
            ended.append(
                await trio.to_thread.run_sync(lambda: paxos(*arguments, *options, stdin=stdin))
            )
            nursery.cancel_scope.cancel()

    trio.run(both)
    return ended[0]


async def serve_silently(task_status: trio.TaskStatus[str]) -> None:
    url = "tcp://127.0.0.1:0"
    with Doorbell() as doorbell:
        transport = transports.transport_for(url)
        accepted: list[Channel] = []
        async with transport.listen(url, doorbell, accepted.append) as listening:
            task_status.started(listening)
            greeted: set[int] = set()
            while True:
                await doorbell.wait(trio.current_time() + 0.02)
                for channel in accepted:
                    with contextlib.suppress(ChannelClosed):
                        answer_sessions_only(channel, greeted)


def answer_sessions_only(channel: Channel, greeted: set[int]) -> None:
    for frame in channel.receive_nowait():
        if id(channel) not in greeted:
            greeted.add(id(channel))
            channel.send_nowait([handshake.encode(Welcome("c" * 32, 1, 1, 1))])
            continue
        message = codec.decode_client(frame)
        if isinstance(message, OpenSession):
            channel.send_nowait([codec.encode(SessionOpened(message.nonce, 1))])


def test_config_put_without_an_answer_ends_unknown_with_status_3() -> None:
    ended = against_a_silent_replica("config", "put", "k", "v", "--json")
    assert ended.exit_code == 3, ended.output
    (told,) = objects(ended)
    assert told["outcome"] == "unknown"
    assert "before you repeat it" in " ".join(ended.stderr.split())


def test_config_get_without_an_answer_is_refused_because_a_read_has_no_effect() -> None:
    ended = against_a_silent_replica("config", "get", "k")
    assert ended.exit_code == 1, ended.output


@pytest.mark.parametrize(
    ("change", "stdin"),
    [
        (["delete", "k"], b""),
        (["import", "-"], b'{"k": 1}'),
        (["compact", "1"], b""),
        (["txn", "-"], b'{"then": [{"delete": "k"}]}'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_change_of_each_kind_without_an_answer_ends_unknown(
    change: list[str], stdin: bytes
) -> None:
    ended = against_a_silent_replica("config", *change, "--json", stdin=stdin)
    assert ended.exit_code == 3, ended.output
    assert objects(ended)[0]["outcome"] == "unknown"
