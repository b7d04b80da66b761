"""The pure client, situation by situation: what it sends, where it turns, and how tokens end."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import get_args

import pytest

from paxos.core.client import (
    Answered,
    Client,
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
    Refused,
    Transmit,
    Unknown,
)
from paxos.core.messages import (
    CancelWatch,
    ClientAnswer,
    Level,
    OpenSession,
    Overloaded,
    Read,
    ReadAnswer,
    Redirect,
    Result,
    Results,
    SessionOpened,
    Status,
    StatusAnswer,
    Submit,
    Watch,
)

A, B, C = "tcp://a", "tcp://b", "tcp://c"
OPTIONS = ClientOptions()
FAR = 1000.0
BACKOFF = (OPTIONS.backoff_min_s / 2, OPTIONS.backoff_min_s)


class Session:
    """A client, a clock, and the words for what tests do all the time."""

    def __init__(self, *endpoints: str, options: ClientOptions = OPTIONS) -> None:
        self.client = Client(endpoints or (A, B, C), Random(7), options)
        self.now = 100.0

    def handle(self, event: ClientEvent) -> list[ClientEffect]:
        return self.client.handle(event, self.now)

    def answer(self, message: ClientAnswer, leader_url: str | None = None) -> list[ClientEffect]:
        return self.handle(Answered(message, leader_url))

    def flush(self) -> list[ClientEffect]:
        return self.client.flush(self.now)

    def submit(self, *commands: bytes, machine: str = "m", deadline: float = FAR) -> range:
        return self.client.submit(machine, commands, deadline)

    def pass_time(self, seconds: float) -> list[ClientEffect]:
        self.now += seconds
        return self.handle(DeadlinePassed())

    def wake(self) -> list[ClientEffect]:
        """Sleep until the client asks to be woken."""
        assert self.client.next_deadline() > self.now
        self.now = self.client.next_deadline()
        return self.handle(DeadlinePassed())

    def open(self, session: int = 5) -> None:
        """Connect to where the client wants to be, and open the session it asks for."""
        [connect] = self.client.flush(self.now)
        assert isinstance(connect, Connect)
        [wish] = self.handle(Connected(connect.endpoint))
        assert isinstance(wish, Transmit)
        assert isinstance(wish.message, OpenSession)
        self.answer(SessionOpened(wish.message.nonce, session))

    @property
    def pause(self) -> float:
        return self.client.next_deadline() - self.now


def done(number: int, slot: int = 9, data: bytes = b"ok") -> Result:
    return Result(number, Status.DONE, slot, data)


def opened(session: int = 5, **options: int) -> Session:
    """A session whose request 1 (token 1) has been done."""
    each = Session(options=ClientOptions(**options))
    each.submit(b"first")
    each.open(session)
    assert each.answer(Results(session, (done(1, 3),))) == [Ended(1, Done(3, b"ok"))]
    return each


# --- requests -----------------------------------------------------------------------------------


def test_client_without_endpoints_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        Client((), Random(1))


def test_client_with_nothing_to_do_neither_connects_nor_wakes() -> None:
    s = Session()
    assert s.flush() == []
    assert s.client.next_deadline() == math.inf


def test_first_request_dials_opens_a_session_and_then_leaves() -> None:
    s = Session()
    assert s.submit(b"x", b"y") == range(1, 3)
    assert s.flush() == [Connect(A)]
    nonce = s.handle(Connected(A))[0]
    assert isinstance(nonce, Transmit)
    assert isinstance(nonce.message, OpenSession)
    assert 0 < nonce.message.nonce < 2**63
    effects = s.answer(SessionOpened(nonce.message.nonce, 5))
    assert effects == [Transmit(Submit(5, 1, 0, "m", (b"x", b"y")))]
    assert s.answer(Results(5, (done(1), done(2, 10, b"no")))) == [
        Ended(1, Done(9, b"ok")),
        Ended(2, Done(10, b"no")),
    ]
    assert s.client.seen_through == 10
    assert s.client.next_deadline() == math.inf


def test_requests_of_one_machine_leave_as_one_submit_with_the_next_flush() -> None:
    s = opened()
    s.submit(b"a")
    s.submit(b"b", b"c")
    s.submit(b"d", machine="other")
    s.submit(b"e")
    assert s.flush() == [
        Transmit(Submit(5, 2, 1, "m", (b"a", b"b", b"c"))),
        Transmit(Submit(5, 5, 1, "other", (b"d",))),
        Transmit(Submit(5, 6, 1, "m", (b"e",))),
    ]


def test_requests_not_flushed_wait_for_the_flush_whatever_happens() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.submit(b"b")
    assert s.answer(Results(5, (done(2),))) == [Ended(2, Done(9, b"ok"))]
    assert s.flush() == [Transmit(Submit(5, 3, 2, "m", (b"b",)))]


def test_submits_are_cut_by_the_bounds_on_commands_and_bytes() -> None:
    s = opened(submission_commands_max=3, submission_bytes_max=10)
    s.submit(b"1", b"2", b"3", b"4", b"55555", b"66666", b"7" * 20, b"8")
    assert s.flush() == [
        Transmit(Submit(5, 2, 1, "m", (b"1", b"2", b"3"))),
        Transmit(Submit(5, 5, 1, "m", (b"4", b"55555"))),
        Transmit(Submit(5, 7, 1, "m", (b"66666",))),
        Transmit(Submit(5, 8, 1, "m", (b"7" * 20,))),
        Transmit(Submit(5, 9, 1, "m", (b"8",))),
    ]


def test_requests_over_the_window_leave_when_earlier_ones_have_ended() -> None:
    s = opened(window_max=2)
    s.submit(b"a", b"b", b"c", b"d")
    assert s.flush() == [Transmit(Submit(5, 2, 1, "m", (b"a", b"b")))]
    assert s.answer(Results(5, (done(3),))) == [Ended(3, Done(9, b"ok"))]
    assert s.answer(Results(5, (done(2),))) == [
        Ended(2, Done(9, b"ok")),
        Transmit(Submit(5, 4, 3, "m", (b"c", b"d"))),
    ]


def test_request_that_the_state_machine_refused_ends_failed() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    refused = Result(2, Status.FAILED, 9, b"no such key \xff")
    assert s.answer(Results(5, (refused,))) == [Ended(2, Failed(9, "no such key \ufffd"))]


def test_request_over_the_limit_is_refused_alone() -> None:
    s = opened(command_bytes_max=5)
    s.submit(b"ok", b"longer")
    assert s.flush() == [
        Ended(3, Refused("a command may have 5 bytes, not 6")),
        Transmit(Submit(5, 2, 1, "m", (b"ok",))),
    ]


def test_requests_over_the_number_allowed_are_refused_at_once() -> None:
    s = opened(requests_max=2)
    s.submit(b"a", b"b", b"c")
    s.submit(b"a", b"b")
    reading = s.client.read(Level.LOCAL, "m", b"", FAR)
    watching = s.client.watch("m", b"", FAR)
    effects = s.flush()
    refused = [each.token for each in effects if isinstance(each, Ended)]
    assert refused == [2, 3, 4, reading, watching]
    assert effects[-1] == Transmit(Submit(5, 2, 1, "m", (b"a", b"b")))
    assert "a client may have 2 requests under way" in str(effects[0])


@pytest.mark.parametrize("ask", ["submit", "read", "watch"])
def test_name_of_a_machine_that_is_too_long_blames_the_caller(ask: str) -> None:
    client, name = Session().client, "m" * 256
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: client.submit(name, [b""], FAR),
        "read": lambda: client.read(Level.LOCAL, name, b"", FAR),
        "watch": lambda: client.watch(name, b"", FAR),
    }
    with pytest.raises(ValueError, match="at most 255 characters"):
        calls[ask]()


def test_results_that_come_twice_or_for_nobody_are_ignored() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    assert len(s.answer(Results(5, (done(2), done(2))))) == 1
    assert s.answer(Results(5, (done(2), done(77)))) == []
    assert s.answer(Results(6, (done(2),))) == []
    assert s.answer(StatusAnswer(1, b"{}")) == []


def test_second_session_for_one_wish_is_ignored() -> None:
    s = opened()
    assert s.answer(SessionOpened(0, 6)) == []
    s.submit(b"a")
    assert s.flush() == [Transmit(Submit(5, 2, 1, "m", (b"a",)))]


def test_session_that_was_expired_cannot_be_opened_again() -> None:
    s = opened()
    s.submit(b"a", b"b")
    s.flush()
    [wish] = s.answer(Results(5, (Result(2, Status.EXPIRED, 9, b"session expired"),)))
    assert isinstance(wish, Transmit)
    assert isinstance(wish.message, OpenSession)
    assert s.answer(SessionOpened(wish.message.nonce, 5)) == []
    [again] = s.answer(SessionOpened(wish.message.nonce, 6))
    assert again == Transmit(Submit(6, 1, 0, "m", (b"a",)))


def test_cancelled_request_is_never_heard_of_again() -> None:
    s = opened()
    s.submit(b"a", b"b", b"c")
    s.client.cancel(3)
    assert s.flush() == [Transmit(Submit(5, 2, 1, "m", (b"a", b"c")))]
    s.client.cancel(2)
    s.client.cancel(2)
    assert s.answer(Results(5, (done(2), done(3)))) == [Ended(4, Done(9, b"ok"))]
    s.submit(b"d")
    assert s.flush() == [Transmit(Submit(5, 4, 3, "m", (b"d",)))]


# --- deadlines ----------------------------------------------------------------------------------


def test_request_that_never_left_is_refused_at_its_deadline() -> None:
    s = Session()
    s.submit(b"a", deadline=101.0)
    s.flush()
    assert s.client.next_deadline() == 101.0
    [ended] = s.wake()
    assert ended == Ended(1, Refused("it was not taken before the deadline: no replica answered"))


def test_request_that_left_is_unknown_at_its_deadline() -> None:
    s = opened()
    s.submit(b"a", deadline=101.0)
    s.flush()
    [ended] = s.wake()
    assert ended == Ended(2, Unknown("it was sent, and no answer came before the deadline"))
    assert s.answer(Results(5, (done(2),))) == []


def test_deadline_of_one_submit_ends_only_what_is_left_of_it() -> None:
    s = opened()
    s.submit(b"a", b"b", b"c", b"d", deadline=101.0)
    s.flush()
    s.answer(Results(5, (done(2), done(4))))
    assert [each.token for each in s.wake() if isinstance(each, Ended)] == [3, 5]


def test_deadlines_of_ended_requests_do_not_pile_up() -> None:
    s = opened()
    s.client.watch("m", b"", 150.0)
    for number in range(2, 400):
        s.submit(b"a", deadline=200.0 + number)
        s.flush()
        s.answer(Results(5, (done(number),)))
    assert len(s.client._deadlines) < 80
    assert s.client.next_deadline() <= 150.0


# --- attempts: definite, or in doubt ------------------------------------------------------------


def test_request_unanswered_when_the_connection_breaks_is_sent_again_as_it_was() -> None:
    s = opened()
    s.submit(b"a", b"b", b"c")
    s.flush()
    s.answer(Results(5, (done(3),)))
    assert s.handle(Disconnected(A)) == [Connect(B)]
    assert s.handle(Connected(B)) == [
        Transmit(Submit(5, 2, 1, "m", (b"a",))),
        Transmit(Submit(5, 4, 1, "m", (b"c",))),
    ]
    assert s.answer(Results(5, (done(4), done(2)))) == [
        Ended(4, Done(9, b"ok")),
        Ended(2, Done(9, b"ok")),
    ]


def test_expired_session_at_the_first_attempt_means_a_new_session_and_number() -> None:
    s = opened()
    s.submit(b"a", b"b")
    s.flush()
    s.submit(b"late")
    expired = tuple(Result(n, Status.EXPIRED, 9, b"session expired") for n in (2, 3))
    [wish] = s.answer(Results(5, expired))
    assert isinstance(wish, Transmit)
    assert isinstance(wish.message, OpenSession)
    assert s.answer(Results(5, expired)) == []
    assert s.answer(SessionOpened(wish.message.nonce, 6)) == [
        Transmit(Submit(6, 1, 0, "m", (b"a", b"b")))
    ]
    assert s.flush() == [Transmit(Submit(6, 3, 0, "m", (b"late",)))]


def test_expired_session_after_an_attempt_in_doubt_ends_unknown() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.handle(Disconnected(A))
    s.handle(Connected(B))
    expired = Result(2, Status.EXPIRED, 9, b"session expired")
    [ended] = s.answer(Results(5, (expired,)))
    assert ended == Ended(2, Unknown("an earlier attempt had no answer; now: session expired"))
    assert list(s.client._sessions) == []


def test_refused_request_at_the_first_attempt_ends_refused() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    refused = Result(2, Status.REFUSED, 9, b"too many requests open")
    assert s.answer(Results(5, (refused,))) == [Ended(2, Refused("too many requests open"))]


def test_refused_request_after_an_attempt_in_doubt_ends_unknown() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(Redirect(2), B)
    s.handle(Connected(B))
    refused = Result(2, Status.REFUSED, 9, b"too many requests open")
    [ended] = s.answer(Results(5, (refused,)))
    assert isinstance(ended, Ended)
    assert isinstance(ended.outcome, Unknown)


def test_overloaded_replica_is_asked_again_after_a_pause_and_not_before() -> None:
    s = opened()
    s.submit(b"a", b"b")
    s.submit(b"c", machine="other")
    s.flush()
    assert s.answer(Overloaded(5, 2, 300, "busy")) == []
    s.submit(b"d")
    assert s.flush() == []
    assert s.pause == pytest.approx(0.3)
    assert s.wake() == [
        Transmit(Submit(5, 2, 1, "m", (b"a", b"b"))),
        Transmit(Submit(5, 5, 1, "m", (b"d",))),
    ]


def test_overloaded_replica_until_the_deadline_ends_refused_with_its_reason() -> None:
    s = opened()
    s.submit(b"a", deadline=100.04)
    s.flush()
    s.answer(Overloaded(5, 2, 0, "busy"))
    [ended] = s.wake()
    assert ended == Ended(2, Refused("it was not taken before the deadline: busy"))


def test_overloaded_after_an_attempt_in_doubt_ends_unknown() -> None:
    s = opened()
    s.submit(b"a", deadline=100.04)
    s.flush()
    s.handle(Disconnected(A))
    s.handle(Connected(B))
    s.answer(Overloaded(5, 2, 0, "busy"))
    [ended] = s.wake()
    assert isinstance(ended, Ended)
    assert isinstance(ended.outcome, Unknown)


def test_overloaded_passes_over_requests_that_have_ended() -> None:
    s = opened()
    tokens = s.submit(b"a", b"b", b"c")
    s.flush()
    s.client.cancel(tokens[1])
    s.answer(Overloaded(5, 2, 0, "busy"))
    assert s.wake() == [
        Transmit(Submit(5, 2, 1, "m", (b"a",))),
        Transmit(Submit(5, 4, 1, "m", (b"c",))),
    ]


def test_refusal_of_an_attempt_that_is_not_under_way_is_ignored() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(Overloaded(5, 2, 0, "busy"))
    assert s.answer(Results(5, (Result(2, Status.REFUSED, 9, b"no"),))) == []


@pytest.mark.parametrize("message", [Overloaded(6, 2, 0, ""), Overloaded(5, 9, 0, "")])
def test_overloaded_for_nothing_that_was_sent_is_ignored(message: Overloaded) -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(message)
    s.submit(b"b")
    assert s.flush() == [Transmit(Submit(5, 3, 1, "m", (b"b",)))]


def test_overloaded_wish_for_a_session_is_repeated() -> None:
    s = Session()
    s.submit(b"a")
    s.flush()
    [wish] = s.handle(Connected(A))
    assert isinstance(wish, Transmit)
    assert isinstance(wish.message, OpenSession)
    assert s.answer(Overloaded(wish.message.nonce + 1, 0, 0, "busy")) == []
    assert s.pause == OPTIONS.silence_timeout_s
    assert s.answer(Overloaded(wish.message.nonce, 0, 9999, "busy")) == []
    assert s.pause == OPTIONS.backoff_max_s
    assert s.wake() == [wish]


def test_wish_for_a_session_is_repeated_on_a_new_connection() -> None:
    s = Session()
    s.submit(b"a")
    s.flush()
    wish = s.handle(Connected(A))
    s.handle(Disconnected(A))
    assert s.handle(Connected(B)) == wish


# --- where to turn ------------------------------------------------------------------------------


def test_redirect_with_a_hint_is_followed_at_once_the_first_time() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    assert s.answer(Redirect(2), B) == [Connect(B)]
    assert s.answer(Redirect(2), C) == []
    assert s.handle(Connected(B)) == [Transmit(Submit(5, 2, 1, "m", (b"a",)))]


def test_redirect_in_circles_is_slowed_down() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(Redirect(2), B)
    for here, hint in [(B, A), (A, B), (B, A)]:
        s.handle(Connected(here))
        assert s.answer(Redirect(1), hint) == []
        assert BACKOFF[0] <= s.pause <= BACKOFF[1]
        assert s.wake() == [Connect(hint)]


@pytest.mark.parametrize("hint", [None, A], ids=["no hint", "a hint to itself"])
def test_redirect_that_helps_nobody_tries_the_others_after_a_pause(hint: str | None) -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    for elsewhere in (B, C, A, B):
        assert s.answer(Redirect(1), hint) == []
        assert BACKOFF[0] <= s.pause <= BACKOFF[1]
        assert s.wake() == [Connect(elsewhere)]
        s.handle(Connected(elsewhere))
        hint = elsewhere if hint else None


def test_redirect_to_where_it_just_failed_is_not_followed_at_once() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    assert s.handle(Disconnected(A)) == [Connect(B)]
    s.handle(Connected(B))
    assert s.answer(Redirect(1), A) == []
    assert s.wake() == [Connect(C)]
    s.handle(Connected(C))
    s.now += OPTIONS.silence_timeout_s - 0.01
    s.answer(StatusAnswer(1, b"{}"))
    assert s.answer(Redirect(1), A) == []
    assert s.wake() == [Connect(A)]


def test_redirect_to_a_url_that_was_not_given_is_followed_and_left_again() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    assert s.answer(Redirect(9), "tcp://elsewhere") == [Connect("tcp://elsewhere")]
    assert s.handle(Disconnected("tcp://elsewhere")) == [Connect(B)]


def test_progress_makes_the_next_hint_worth_following_at_once() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(Redirect(2), B)
    s.handle(Connected(B))
    s.answer(Results(5, (done(2),)))
    s.submit(b"b")
    s.flush()
    assert s.answer(Redirect(3), C) == [Connect(C)]


def test_endpoints_that_cannot_be_reached_are_tried_in_turn_ever_more_slowly() -> None:
    s = Session()
    s.submit(b"a", deadline=math.inf)
    [connect] = s.flush()
    tried, pauses = [], []
    for _ in range(16):
        assert isinstance(connect, Connect)
        tried.append(connect.endpoint)
        effects = s.handle(Disconnected(connect.endpoint))
        if not effects:
            pauses.append(s.pause)
            effects = s.wake()
        [connect] = effects
    assert tried == [A, B, C] * 5 + [A]
    assert len(pauses) == 15
    longest = [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 1.0, 1.0, 1.0]
    assert all(most / 2 <= each <= most for each, most in zip(pauses, longest, strict=True))


def test_connection_that_breaks_before_it_says_anything_counts_as_a_setback() -> None:
    s = Session(A)
    s.submit(b"a")
    s.flush()
    s.handle(Connected(A))
    assert s.handle(Disconnected(A)) == [Connect(A)]
    s.handle(Connected(A))
    assert s.handle(Disconnected(A)) == []
    assert s.pause >= BACKOFF[0]


def test_idle_client_that_loses_its_connection_dials_only_when_there_is_work() -> None:
    s = opened()
    assert s.handle(Disconnected(A)) == []
    assert s.client.next_deadline() == math.inf
    s.submit(b"a")
    assert s.flush() == [Connect(B)]


@pytest.mark.parametrize("event", [Connected(C), Disconnected(C), Connected(A)])
def test_news_of_another_connection_is_ignored(event: ClientEvent) -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    assert s.handle(event) == []
    assert s.answer(Results(5, (done(2),))) == [Ended(2, Done(9, b"ok"))]


def test_disconnect_while_waiting_to_dial_is_ignored() -> None:
    s = opened()
    s.submit(b"a")
    s.flush()
    s.answer(Redirect(0))
    assert s.handle(Disconnected(B)) == []
    assert s.wake() == [Connect(B)]


# --- silence ------------------------------------------------------------------------------------


def test_silence_while_an_answer_is_due_means_the_connection_is_dead() -> None:
    s = opened()
    s.now += 60.0
    s.submit(b"a")
    s.flush()
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)
    assert s.wake() == [Connect(B)]


def test_silence_is_counted_from_the_last_word() -> None:
    s = opened()
    s.submit(b"a", b"b")
    s.flush()
    s.now += 1.5
    s.answer(Results(5, (done(2),)))
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)


def test_endpoints_that_were_learned_are_tried_after_those_given() -> None:
    session = Session(A)
    session.client.learn([B, "", A])
    session.submit(b"x")
    assert session.flush() == [Connect(A)]
    assert session.handle(Disconnected(A)) == [Connect(B)]
    session.handle(Disconnected(B))
    assert session.wake() == [Connect(A)]


def test_endpoints_that_were_learned_before_are_forgotten_for_the_latest() -> None:
    session = Session(A)
    session.client.learn([B])
    session.client.learn([C])
    session.submit(b"x")
    session.flush()
    assert session.handle(Disconnected(A)) == [Connect(C)]


def test_silence_of_a_dial_means_another_endpoint() -> None:
    s = Session()
    s.submit(b"a")
    assert s.flush() == [Connect(A)]
    assert s.wake() == [Connect(B)]


def test_silence_of_an_overloaded_replica_is_counted_from_the_end_of_the_pause() -> None:
    s = opened()
    s.submit(b"a", machine="m")
    s.submit(b"b", machine="n")
    s.flush()
    s.now += 1.9
    s.answer(Overloaded(5, 2, 1000, "busy"))
    assert s.pause == pytest.approx(1.0)
    assert s.client._answer_due() == pytest.approx(s.now + 1.0 + OPTIONS.silence_timeout_s)


def test_silence_while_only_a_watch_waits_is_borne_for_long() -> None:
    s = Session()
    s.client.watch("m", b"", math.inf)
    s.flush()
    s.handle(Connected(A))
    assert s.pause == pytest.approx(OPTIONS.watch_silence_timeout_s)
    s.now += 20.0
    token = s.client.read(Level.LOCAL, "m", b"", FAR)
    s.flush()
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)
    s.answer(ReadAnswer(token, Status.DONE, 9, b""))
    assert s.pause == pytest.approx(OPTIONS.watch_silence_timeout_s)
    assert s.wake() == [Connect(B)]


def test_silence_of_a_watch_is_not_hidden_by_what_the_program_does() -> None:
    s = Session()
    s.client.watch("m", b"", math.inf)
    s.flush()
    s.handle(Connected(A))
    s.now += 20.0
    assert s.flush() == []
    assert s.pause == pytest.approx(OPTIONS.watch_silence_timeout_s - 20.0)


def silent_for(s: Session) -> float:
    """Connect to where the client dials, say nothing, and return how long it bears that."""
    s.handle(Connected(s.client._here))
    pause = s.pause
    if not s.wake():
        s.wake()
    return pause


def test_silence_of_one_replica_after_another_is_borne_ever_longer_up_to_a_bound() -> None:
    """Seed 2290 of the simulator, of November 2026: what was sent again took all the slots."""
    s = opened()
    s.submit(b"a", deadline=math.inf)
    s.flush()
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)
    assert s.wake() == [Connect(B)]  # a replica that died is left as soon as ever
    borne = [silent_for(s) for _ in range(12)]
    assert all(each >= OPTIONS.silence_timeout_s for each in borne)
    assert borne[0] <= 2 * OPTIONS.silence_timeout_s
    assert all(after <= 2 * before for before, after in pairwise(borne))
    longest = OPTIONS.silence_timeout_max_s
    assert all(longest / 2 <= each <= longest for each in borne[-3:])
    assert len(set(borne)) == len(borne)  # spread, so that clients do not come back together


def test_silence_is_borne_longer_though_replicas_send_the_client_back_to_the_leader() -> None:
    s = opened()
    s.submit(b"a", deadline=math.inf)
    s.flush()
    borne, effects = [s.pause], s.wake()
    while len(borne) < 10:
        effects = effects or s.wake()
        [connect] = effects
        assert isinstance(connect, Connect)
        s.handle(Connected(connect.endpoint))
        if connect.endpoint == A:
            borne.append(s.pause)
            effects = s.wake()
        else:
            effects = s.answer(Redirect(1), A)
    assert borne[0] == pytest.approx(OPTIONS.silence_timeout_s)
    assert borne[-1] >= OPTIONS.silence_timeout_max_s / 2


def test_silence_of_a_dial_is_borne_no_longer_than_at_first() -> None:
    s = opened()
    s.submit(b"a", deadline=math.inf)
    s.flush()
    assert s.wake() == [Connect(B)]
    silent_for(s)
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)


@pytest.mark.parametrize("level", [None, Level.LINEARIZABLE, Level.LOCAL])
def test_silence_after_an_answer_is_borne_no_longer_than_at_first(level: Level | None) -> None:
    s = opened()
    s.submit(b"a", deadline=math.inf)
    s.flush()
    assert s.wake() == [Connect(B)]
    assert silent_for(s) > OPTIONS.silence_timeout_s
    s.handle(Connected(s.client._here))
    if level is None:
        s.answer(Results(5, (done(2),)))
    else:
        token = s.client.read(level, "m", b"", math.inf)
        s.flush()
        s.answer(ReadAnswer(token, Status.DONE, 9, b""))
    s.submit(b"b", deadline=math.inf)
    s.flush()
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)


def test_silence_of_a_watch_with_nothing_to_tell_makes_nobody_more_patient() -> None:
    s = Session()
    s.client.watch("m", b"", math.inf)
    s.flush()
    s.handle(Connected(A))
    assert s.wake() == [Connect(B)]
    s.handle(Connected(B))
    s.client.read(Level.LOCAL, "m", b"", math.inf)
    s.flush()
    assert s.pause == pytest.approx(OPTIONS.silence_timeout_s)


def test_silence_timeout_above_its_own_bound_stays_as_it_is() -> None:
    options = ClientOptions(silence_timeout_s=3.0, silence_timeout_max_s=1.0)
    s = Session(options=options)
    s.submit(b"a", deadline=math.inf)
    s.flush()
    assert [silent_for(s) for _ in range(3)] == pytest.approx([3.0] * 3)


# --- reads and watches --------------------------------------------------------------------------


def test_reads_leave_with_the_level_and_slot_they_ask_for() -> None:
    s = opened()
    assert s.client.seen_through == 3
    s.client.read(Level.LOCAL, "m", b"1", FAR)
    s.client.read(Level.SESSION, "m", b"2", FAR)
    s.client.read(Level.SESSION, "m", b"3", FAR, at_least=1)
    s.client.read(Level.LINEARIZABLE, "m", b"4", FAR)
    s.client.watch("m", b"5", FAR)
    assert s.flush() == [
        Transmit(Read(2, Level.LOCAL, "m", b"1", 0)),
        Transmit(Read(3, Level.SESSION, "m", b"2", 3)),
        Transmit(Read(4, Level.SESSION, "m", b"3", 1)),
        Transmit(Read(5, Level.LINEARIZABLE, "m", b"4", 0)),
        Transmit(Watch(6, "m", b"5", 3)),
    ]


def test_reads_not_flushed_wait_for_the_flush() -> None:
    s = opened()
    s.client.read(Level.LOCAL, "m", b"1", FAR)
    assert s.pass_time(0.1) == []
    assert len(s.flush()) == 1


def test_answers_end_reads_and_watches() -> None:
    s = opened()
    reading = s.client.read(Level.LINEARIZABLE, "m", b"", FAR)
    watching = s.client.watch("m", b"", FAR)
    s.flush()
    assert s.answer(ReadAnswer(reading, Status.DONE, 12, b"v")) == [Ended(reading, Done(12, b"v"))]
    assert s.client.seen_through == 12
    assert s.answer(ReadAnswer(reading, Status.DONE, 13, b"v")) == []
    assert s.answer(ReadAnswer(watching, Status.FAILED, 14, b"compacted")) == [
        Ended(watching, Failed(14, "compacted"))
    ]


def test_reads_and_watches_are_asked_again_on_a_new_connection() -> None:
    s = opened()
    s.client.read(Level.LINEARIZABLE, "m", b"1", FAR)
    s.client.watch("m", b"2", FAR)
    asked = s.flush()
    assert s.answer(Redirect(2), B) == [Connect(B)]
    assert s.handle(Connected(B)) == asked


@pytest.mark.parametrize("level", [Level.LOCAL, Level.SESSION])
def test_read_that_any_replica_can_answer_is_refused_when_this_one_refuses(level: Level) -> None:
    s = opened()
    token = s.client.read(level, "m", b"", FAR)
    s.flush()
    answer = ReadAnswer(token, Status.REFUSED, 9, b"too many reads")
    assert s.answer(answer) == [Ended(token, Refused("too many reads"))]


def test_linearizable_reads_refused_by_a_leader_are_asked_again_there_first() -> None:
    s = opened()
    tokens = [s.client.read(Level.LINEARIZABLE, "m", b"", FAR) for _ in range(2)]
    asked = s.flush()
    for token in tokens:
        assert s.answer(ReadAnswer(token, Status.REFUSED, 9, b"too many reads")) == []
    assert BACKOFF[0] <= s.pause <= BACKOFF[1]
    assert s.wake() == asked
    assert s.answer(ReadAnswer(tokens[0], Status.REFUSED, 9, b"too many reads")) == []
    assert s.wake() == [Connect(B)]


def test_linearizable_read_refused_on_a_new_connection_is_asked_again_there_first() -> None:
    """Found by the simulator, seed 73: leaving a busy leader at once went in circles."""
    s = opened()
    s.handle(Disconnected(A))
    token = s.client.read(Level.LINEARIZABLE, "m", b"", FAR)
    assert s.flush() == [Connect(B)]
    asked = s.handle(Connected(B))
    assert [type(each) for each in asked] == [Transmit]
    assert s.answer(ReadAnswer(token, Status.REFUSED, 9, b"too many reads")) == []
    assert s.wake() == asked


def test_read_that_is_answered_while_its_connection_is_being_left_ends() -> None:
    s = opened()
    token = s.client.read(Level.LINEARIZABLE, "m", b"", FAR)
    s.flush()
    s.answer(Redirect(0))
    assert s.answer(ReadAnswer(token, Status.DONE, 9, b"x")) == [Ended(token, Done(9, b"x"))]


def test_linearizable_read_refused_until_its_deadline_ends_refused_with_the_reason() -> None:
    s = opened()
    token = s.client.read(Level.LINEARIZABLE, "m", b"", 100.04)
    s.flush()
    s.answer(ReadAnswer(token, Status.REFUSED, 9, b"too many reads"))
    assert s.wake() == [Ended(token, Refused("too many reads"))]


def test_read_at_its_deadline_ends_refused_though_it_was_asked() -> None:
    s = opened()
    token = s.client.read(Level.LINEARIZABLE, "m", b"", 101.0)
    s.flush()
    [ended] = s.wake()
    assert isinstance(ended, Ended)
    assert ended.token == token
    assert isinstance(ended.outcome, Refused)


def test_watch_that_nobody_waits_for_any_more_is_taken_back() -> None:
    s = opened()
    first = s.client.watch("m", b"", 101.0)
    second = s.client.watch("m", b"", FAR)
    s.flush()
    effects = s.wake()
    assert isinstance(effects[0], Ended)
    assert effects[1:] == [Transmit(CancelWatch(first))]
    s.client.cancel(second)
    assert s.flush() == [Transmit(CancelWatch(second))]
    assert s.flush() == []


def test_watch_and_read_cancelled_before_they_left_are_never_asked() -> None:
    s = opened()
    s.client.cancel(s.client.watch("m", b"", FAR))
    s.client.cancel(s.client.read(Level.LOCAL, "m", b"", FAR))
    assert s.flush() == []


# --- words --------------------------------------------------------------------------------------


def test_answers_as_dispatched_cover_every_type() -> None:
    assert {*Session().client._answers, Redirect} == set(get_args(ClientAnswer))


def test_events_effects_and_outcomes_speak_briefly() -> None:
    said = [
        Connected(A),
        Disconnected(A),
        Answered(Redirect(2)),
        DeadlinePassed(),
        Connect(A),
        Transmit(CancelWatch(3)),
        Ended(4, Done(9, b"ok")),
        Ended(4, Failed(9, "no")),
        Ended(4, Refused("no")),
        Ended(4, Unknown("gone")),
    ]
    assert [str(each) for each in said] == [
        "connected tcp://a",
        "disconnected tcp://a",
        "<- Redirect(2)",
        "deadline",
        "connect tcp://a",
        "-> CancelWatch(#3)",
        "t4 done@9",
        "t4 failed@9: no",
        "t4 refused: no",
        "t4 unknown: gone",
    ]
