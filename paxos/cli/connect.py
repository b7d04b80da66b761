"""From a ``Target`` to running replicas, and from how a request ended to an exit status.

The one place that turns the library's errors into ``CommandError``: every command runs inside
``run``, raises what the library raises, and says nothing about exit statuses itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeVar

import trio

from paxos import service
from paxos.cli.exits import INTERRUPTED, CommandError, Exit
from paxos.cli.options import Target
from paxos.core.errors import ConfigurationInvalid
from paxos.core.state_machine import CommandFailed
from paxos.runtime.client import (
    Client,
    NoReplicaReachable,
    OutcomeUnknown,
    RequestRefused,
)
from paxos.transport import TransportError
from statemachines import edge_config_client, task_log_answers, task_log_requests

STATUS_TIMEOUT_S = 2.0
"""A replica that is well answers sooner; one that hangs must not hold up what the rest say."""

_REQUESTS_INVALID = (edge_config_client.RequestInvalid, task_log_requests.RequestInvalid)
_ANSWERS_INVALID = (edge_config_client.AnswerInvalid, task_log_answers.AnswerInvalid)

T = TypeVar("T")


def run(command: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a command's async part to its end.

    Raises:
        CommandError: It failed in a way that has an exit status.
        SystemExit: It was interrupted.
    """
    try:
        with exit_statuses():
            return trio.run(command, *args, strict_exception_groups=True)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def exit_statuses() -> Iterator[None]:
    """Turn how a request ended into a message and an exit status.

    Raises:
        CommandError: For everything that can end a request but success.
    """
    try:
        yield
    except NoReplicaReachable as error:
        raise CommandError(
            Exit.UNREACHABLE,
            f"no replica could be reached: {error.reason}",
            "Are they running? `paxos status` shows each; `paxos serve` starts one. If all nodes"
            " that were named have been replaced since, name a present one, or its cluster.toml.",
        ) from error
    except RequestRefused as error:
        raise CommandError(
            Exit.REFUSED,
            f"refused, nothing was changed: {error.reason}",
            "It may be asked again; `paxos status` shows whether a replica leads.",
        ) from error
    except OutcomeUnknown as error:
        raise CommandError(
            Exit.UNKNOWN,
            f"the outcome is unknown: {error.reason}",
            "It may have been done, or be done yet. Read what it would have changed before you"
            " repeat it.",
        ) from error
    except CommandFailed as error:
        raise CommandError(Exit.REFUSED, f"refused: {error}") from error
    except (*_REQUESTS_INVALID, ConfigurationInvalid, TransportError) as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    except _ANSWERS_INVALID as error:
        raise CommandError(
            Exit.USAGE, str(error), "Is --machine the name of a state machine of that kind?"
        ) from error


@asynccontextmanager
async def open_client(target: Target, timeout_s: float | None = None) -> AsyncIterator[Client]:
    """Run a client of the target's replicas inside the context."""
    timeout_s = target.timeout_s if timeout_s is None else timeout_s
    async with service.open_client(target.source, timeout=timeout_s) as client:
        yield client


class NodeAnswer(NamedTuple):
    """What one replica said: its status document, or why there is none."""

    url: str
    node: int | None
    document: dict[str, Any] | None
    reason: str


async def ask_statuses(target: Target) -> list[NodeAnswer]:
    """Ask every replica about itself, in the order of the target's endpoints, then who came later.

    Members that the target does not name are asked too. A replica that the configuration file
    names, that does not answer, and that has been removed or has moved since, is left out.
    """
    named = {url: node for node, url in target.urls.items()}
    answers = await _ask_urls(target, target.endpoints, named)
    members = _latest_members(answers)
    if members is None:
        return answers
    now = {member["url"]: member["node"] for member in members if member["url"]}
    asked = {answer.url for answer in answers}
    more = tuple(url for url in now if url not in asked)
    answers += await _ask_urls(target, more, now)
    return [each for each in answers if each.document or each.node is None or each.url in now]


def _latest_members(answers: list[NodeAnswer]) -> list[dict[str, Any]] | None:
    told = [each.document.get("configuration") for each in answers if each.document]
    known: list[dict[str, Any]] = [fields for fields in told if fields]
    if not known:
        return None  # a release from before there were changes of members
    members: list[dict[str, Any]] = max(known, key=lambda each: each["version"])["members"]
    return members


async def _ask_urls(
    target: Target, urls: tuple[str, ...], named: Mapping[str, int]
) -> list[NodeAnswer]:
    answers: dict[str, NodeAnswer] = {}

    async def ask(url: str) -> None:
        timeout = min(target.timeout_s, STATUS_TIMEOUT_S)
        try:
            document = await service.node_status(url, cluster=target.cluster or "", timeout=timeout)
        except NoReplicaReachable as error:
            answers[url] = NodeAnswer(url, named.get(url), None, error.reason)
        else:
            answers[url] = NodeAnswer(url, document["node"], document, "")

    async with trio.open_nursery() as nursery:
        for url in urls:
            nursery.start_soon(ask, url)
    return [answers[url] for url in urls]
