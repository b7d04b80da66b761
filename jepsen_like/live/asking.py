"""Asks a cluster one operation through the public client, and says what became of it.

The law here is strict: "ok" if it was done, "fail" only if it certainly was not and never will be,
"info" if nobody can say. A read without an answer is a fail, for it changes nothing; a refusal
always says why, but for the "no" of a compare-and-set, which is an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jepsen_like.history import EntryType
from jepsen_like.live.generator import Op
from jepsen_like.workload.base import AnswerSenseless, Reply, Request, Workload
from paxos.runtime.client import Client, OutcomeUnknown, RequestFailed, RequestRefused

MACHINE = "tested"
"""Under which name a tested cluster hosts the workload's state machine."""


class Ending(NamedTuple):
    """How an operation ended. ``senseless`` if it was answered what no correct cluster answers."""

    type: EntryType
    value: Any
    error: str | None = None
    senseless: bool = False


class Asker(Protocol):
    """What carries out operations, one at a time."""

    async def ask(self, op: Op) -> Ending:
        """Carry one out."""


class ClientAsker:
    """Asks through a client of the cluster.

    Args:
        client: The client.
        workload: What operations mean.
        patience: How long an operation that begins now may take, in seconds; None leaves it to
            the client.
    """

    def __init__(
        self,
        client: Client,
        workload: Workload,
        patience: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._client = client
        self._workload = workload
        self._patience = patience

    async def ask(self, op: Op) -> Ending:
        """Carry out one operation, however long the client takes."""
        request = self._workload.request(op.f, op.key, op.value)
        try:
            data = await self._answer(request)
        except RequestFailed as failure:
            reason = failure.reason
            return _ending(op, lambda: self._workload.refusal(op.f, reason))
        except OutcomeUnknown as unknown:
            return Ending("info", op.value, unknown.reason or "outcome unknown")
        except RequestRefused as refused:
            return Ending("fail", op.value, refused.reason or "refused")
        return _ending(op, lambda: self._workload.reply(op.f, op.value, data))

    async def _answer(self, request: Request) -> bytes:
        timeout = self._patience()
        if request.kind == "command":
            return (await self._client.submit(MACHINE, request.data, timeout=timeout)).data
        if request.kind == "query":
            return (await self._client.read(MACHINE, request.data, timeout=timeout)).data
        # A watch may have nothing to tell for as long as it likes: then it ends as refused.
        answer = await self._client.watch_once(MACHINE, request.data, timeout=WATCH_TIMEOUT_S)
        return answer.data


WATCH_TIMEOUT_S = 1.0
"""How long a watch waits for news before its process goes on to something else."""


def _ending(op: Op, reply: Callable[[], Reply]) -> Ending:
    try:
        happened, value, error = reply()
    except AnswerSenseless as senseless:
        # It was answered, so it happened; but as what, nobody can say.
        return Ending("info", op.value, f"senseless answer: {senseless}", senseless=True)
    if happened:
        return Ending("ok", value)
    return Ending("fail", op.value, error)
