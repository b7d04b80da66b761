"""The pure client against a small, hostile cluster; and known mistakes, which it must expose."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from paxos.core.client import (
    Client,
    ClientEffect,
    Refused,
    Unknown,
    _Question,
    _Request,
    _Session,
)
from paxos.core.messages import Results
from tests.core.client_model import ClientMachine


def test_client_whatever_the_cluster_does_keeps_its_promises() -> None:
    run_state_machine_as_test(
        ClientMachine,
        settings=settings(stateful_step_count=50, suppress_health_check=list(HealthCheck)),
    )


# --- mistakes: if one of these passes, the model has gone blind ----------------------------------


class AnswersWithAnothersReply(Client):
    """A duplicate's answer, or a neighbour's, is taken for one's own."""

    def _handle_results(self, message: Results, now: float, out: list[ClientEffect]) -> None:
        datas = [result.data for result in message.results]
        moved = [each._replace(data=data) for each, data in zip(message.results, datas[::-1])]  # noqa: B905
        super()._handle_results(Results(message.session, tuple(moved)), now, out)


class CallsUnknownFailed(Client):
    """A command that was sent and has no answer is reported as refused."""

    def _overdue(self, entry: _Request | _Question) -> Refused | Unknown:
        return Refused("no answer")


class ForgetsLostAttempts(Client):
    """A retry of a command whose first attempt was lost counts as the first."""

    def _leave(self, endpoint: str, dial_at: float) -> None:
        super()._leave(endpoint, dial_at)
        for session in self._sessions.values():
            for request in session.sent.values():
                request.doubtful = False


class NumbersFromOneInEachPass(Client):
    """Numbers of ended requests are given out again."""

    def _number(self, session: _Session) -> list[_Request]:
        session.following = max(session.sent, default=0) + 1
        return super()._number(session)


class AcknowledgesTooMuch(Client):
    """What was sent counts as ended: its result is thrown away by the replicas."""

    def _transmit(
        self, session: _Session, requests: list[_Request], out: list[ClientEffect]
    ) -> None:
        sent, session.sent = session.sent, {}
        super()._transmit(session, requests, out)
        session.sent = sent


class IgnoresTheWindow(Client):
    """More numbers are under way than the replicas keep results for."""

    def _number(self, session: _Session) -> list[_Request]:
        options, self._options = self._options, type(self._options)()
        taken = super()._number(session)
        self._options = options
        return taken


class ForgetsToAskAgain(Client):
    """After a connection is lost, what was sent on it is never sent again."""

    def _leave(self, endpoint: str, dial_at: float) -> None:
        super()._leave(endpoint, dial_at)
        self._resend = False


MISTAKES = [
    AnswersWithAnothersReply,
    CallsUnknownFailed,
    ForgetsLostAttempts,
    NumbersFromOneInEachPass,
    AcknowledgesTooMuch,
    IgnoresTheWindow,
    ForgetsToAskAgain,
]


@pytest.mark.parametrize("mistaken", MISTAKES, ids=lambda each: each.__name__)
def test_model_given_a_mistaken_client_finds_the_mistake(mistaken: type[Client]) -> None:
    class Machine(ClientMachine):
        client_class = mistaken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=500,
                stateful_step_count=50,
                derandomize=True,
                database=None,
                print_blob=False,
                report_multiple_bugs=False,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
