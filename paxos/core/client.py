"""The pure client: what a program asks of a cluster, as events in and effects out.

Owns tokens, the session, request numbers, what was sent on which attempt, and the choice of the
endpoint to talk to. Must never know of sockets, bytes on the wire, tasks or clocks: ``now`` and the
random numbers are arguments. Guards the client's half of exactly once:

- a number stands for one command of its session, for ever;
- a token ends once, with one of four outcomes: Done or Failed (it was applied), Refused (it was
  not and never will be), Unknown (nobody can say);
- Refused only if no attempt is in doubt. An attempt is in doubt from the moment it leaves until
  an answer to it says that it was not taken; if its connection went first, it is so for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

from paxos.core.ids import RequestNumber, SessionId, Slot
from paxos.core.messages import (
    AdminAnswer,
    CancelWatch,
    ClientAnswer,
    ClientMessage,
    Level,
    OpenSession,
    Overloaded,
    Read,
    ReadAnswer,
    Redirect,
    Results,
    SessionOpened,
    SnapshotChunk,
    SnapshotOffer,
    Status,
    StatusAnswer,
    Submit,
    Watch,
)

if TYPE_CHECKING:
    from random import Random

MACHINE_NAME_LENGTH_MAX = 255
"""The longest name of a state machine, in characters."""

# Plain numbers: comparing members of an enumeration costs several times as much, per command.
_DONE, _FAILED = Status.DONE.value, Status.FAILED.value
_APPLIED = (_DONE, _FAILED)

_sent = attrgetter("sent")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Bounds and durations of one client. Sizes are in bytes, durations in seconds.

    Attributes:
        command_bytes_max: A longer command is refused before it leaves.
        requests_max: Requests, reads and watches not yet ended. What would be over it is refused
            before it leaves.
        window_max: Request numbers given out above ``acked_through``. Well below the replicas'
            ``session_requests_max``, so that they never have to refuse.
        submission_commands_max: Commands in one Submit.
        submission_bytes_max: Bytes of commands in one Submit, unless a single one is longer.
        backoff_min_s: The first pause before trying elsewhere is this long, less up to half.
        backoff_max_s: No pause is longer. Each round over all endpoints in vain doubles it.
        silence_timeout_s: A connection on which an answer is due and nothing at all was heard for
            this long is given up, and so is a dial.
        watch_silence_timeout_s: The same while only watches wait, which may well have nothing to
            tell: it is what finds a connection that died without a word.
        silence_timeout_max_s: Who asks again sooner than a slow cluster can answer makes it slower
            still. So a connection given up although it was up makes the next one last up to twice
            as long, but no longer than this, and what ends a request or read with an answer makes
            it ``silence_timeout_s`` again.
    """

    command_bytes_max: int = 2 * 1024 * 1024
    requests_max: int = 65_536
    window_max: int = 8_192
    submission_commands_max: int = 4_096
    submission_bytes_max: int = 256 * 1024
    backoff_min_s: float = 0.1
    backoff_max_s: float = 1.0
    silence_timeout_s: float = 2.0
    watch_silence_timeout_s: float = 30.0
    silence_timeout_max_s: float = 16.0


# --- events: what can happen to a client --------------------------------------------------------


@dataclass(slots=True)
class Connected:
    """The connection that a Connect asked for is up, handshake included."""

    endpoint: str

    def __str__(self) -> str:
        return f"connected {self.endpoint}"


@dataclass(slots=True)
class Disconnected:
    """That connection broke, or could not be made."""

    endpoint: str

    def __str__(self) -> str:
        return f"disconnected {self.endpoint}"


@dataclass(slots=True)
class Answered:
    """A message came. ``leader_url`` is what a Redirect's hint means, None if it means nothing."""

    message: ClientAnswer
    leader_url: str | None = None

    def __str__(self) -> str:
        return f"<- {self.message}"


@dataclass(slots=True)
class DeadlinePassed:
    """``Client.next_deadline()`` has come."""

    def __str__(self) -> str:
        return "deadline"


ClientEvent = Connected | Disconnected | Answered | DeadlinePassed

# --- outcomes: how a token ends -----------------------------------------------------------------


@dataclass(slots=True)
class Done:
    """Applied, or read: the state machine's answer, and the slot it stands in or reflects."""

    slot: Slot
    data: bytes

    def __str__(self) -> str:
        return f"done@{self.slot}"


@dataclass(slots=True)
class Failed:
    """Applied, or read, and the state machine refused it on every replica alike."""

    slot: Slot
    reason: str

    def __str__(self) -> str:
        return f"failed@{self.slot}: {self.reason}"


@dataclass(slots=True)
class Refused:
    """Not applied, and never will be. It is safe to ask again."""

    reason: str

    def __str__(self) -> str:
        return f"refused: {self.reason}"


@dataclass(slots=True)
class Unknown:
    """It may have been applied, or may still be. Only the state can tell."""

    reason: str

    def __str__(self) -> str:
        return f"unknown: {self.reason}"


Outcome = Done | Failed | Refused | Unknown

# --- effects: what a client wants done ----------------------------------------------------------


@dataclass(slots=True)
class Connect:
    """Leave the present connection, if there is one, and dial ``endpoint``.

    Answered with Connected or Disconnected; nothing more is heard of the connection left.
    """

    endpoint: str

    def __str__(self) -> str:
        return f"connect {self.endpoint}"


@dataclass(slots=True)
class Transmit:
    """Send a message on the present connection."""

    message: ClientMessage

    def __str__(self) -> str:
        return f"-> {self.message}"


@dataclass(slots=True)
class Ended:
    """A token has ended. Nothing more is ever said of it."""

    token: int
    outcome: Outcome

    def __str__(self) -> str:
        return f"t{self.token} {self.outcome}"


ClientEffect = Connect | Transmit | Ended

# --- what a client remembers --------------------------------------------------------------------


class _Session:
    """A session, and what is numbered in it."""

    __slots__ = ("following", "id", "sent")

    def __init__(self, session: SessionId) -> None:
        self.id = session
        self.following: RequestNumber = 1
        """The next number to give out."""
        self.sent: dict[RequestNumber, _Request] = {}
        """Every request that was numbered and has not ended, by rising number. Each has left."""

    @property
    def acked_through(self) -> RequestNumber:
        """Everything at or below it has ended."""
        return next(iter(self.sent), self.following) - 1


class _Request:
    """One command. ``frame`` and ``doubtful`` are what is known of its attempts."""

    __slots__ = ("command", "doubtful", "frame", "machine", "number", "session", "token")

    def __init__(self, token: int, machine: str, command: bytes) -> None:
        self.token = token
        self.machine = machine
        self.command = command
        self.session: _Session | None = None
        self.number: RequestNumber = 0
        self.frame: RequestNumber = 0
        """First number of the Submit it left in, while that is unanswered on this connection."""
        self.doubtful = False
        """Whether an attempt was still unanswered when its connection went."""


class _Question:
    """One read or watch; its token is its number on the wire."""

    __slots__ = ("message", "reason", "token")

    def __init__(self, token: int, message: Read | Watch) -> None:
        self.token = token
        self.message = message
        self.reason = ""
        """Why it was refused last, if it was and is to be asked again."""


class _Link(Enum):
    """Where the client stands with its connection."""

    AWAY = "away"
    """None. ``_here`` is dialled at ``_dial_at``, if there is anything to ask by then."""
    DIALLING = "dialling"
    UP = "up"


class Client:
    """A client of one cluster, without I/O.

    The shell calls ``submit``, ``read``, ``watch`` and ``cancel`` whenever it likes, then
    ``flush`` once; it calls ``handle`` for each event, and carries out in order what both return.

    Args:
        endpoints: Where replicas listen, opaque; the first is tried first.
        rng: Draws nonces, and spreads pauses.
        options: Bounds and durations.

    Raises:
        ValueError: No endpoints.
    """

    def __init__(
        self, endpoints: Sequence[str], rng: Random, options: ClientOptions = ClientOptions()
    ) -> None:
        if not endpoints:
            raise ValueError("a client needs at least one endpoint")
        self._given = tuple(endpoints)
        self._endpoints = self._given  # where to look: what was given, then what was learned
        self._rng = rng
        self._options = options
        self._seen_through: Slot = 0
        # Tokens. Those below _flushed may leave, the rest wait for flush().
        self._next_token = 1
        self._flushed = 1
        self._open: dict[int, _Request | _Question] = {}  # every token that has not ended
        self._deadlines: list[tuple[float, int, list[int]]] = []  # heap: when, start, [start, stop]
        self._late: list[ClientEffect] = []  # effects of calls that return none: told next
        # Requests. A request stands in _unsent, by token, or in its session's `sent`.
        self._unsent: dict[int, _Request] = {}
        self._session: _Session | None = None  # where new numbers come from
        self._sessions: dict[SessionId, _Session] = {}  # that, and expired ones with requests
        self._nonce = 0  # of the session that is being opened; 0 for none
        self._opening = False  # whether that was asked for on this connection
        self._resend = False  # whether a numbered request may be missing on this connection
        self._submit_after = -math.inf  # a replica is overloaded: nothing leaves before
        # Reads and watches that have not ended, by token: each in one of three.
        self._unasked: dict[int, _Question] = {}
        self._reads: dict[int, _Question] = {}  # asked on this connection
        self._watches: dict[int, _Question] = {}  # asked on this connection
        self._unwatched: list[int] = []  # cancelled, and not yet told to this connection's replica
        self._ask_after = -math.inf  # a replica refused a read: nothing is asked before
        # The connection.
        self._link = _Link.AWAY
        self._here = self._endpoints[0]  # the endpoint of the connection, or the next to dial
        self._position = 0  # where in _endpoints the last one tried stands
        self._dial_at = -math.inf
        self._quiet_since = -math.inf  # when something was last heard, or first waited for
        self._leads = False  # whether to believe that it leads: till it refuses, or answers again
        self._setbacks = 0  # connections in a row on which nothing was heard
        self._patience_s = options.silence_timeout_s  # how long silence is borne, once connected
        self._bounces = 0  # times in a row a replica sent us elsewhere, and nothing was done
        self._shunned = ""  # the endpoint that failed last; until then a hint to it is not followed
        self._shunned_until = -math.inf
        self._obstacle = "no replica answered"  # what stands in the way, for a person
        self._answers: dict[type[ClientAnswer], Callable[[Any, float, list[ClientEffect]], None]]
        self._answers = {
            SessionOpened: self._handle_session_opened,
            Results: self._handle_results,
            Overloaded: self._handle_overloaded,
            ReadAnswer: self._handle_read_answer,
            StatusAnswer: self._handle_unasked,
            AdminAnswer: self._handle_unasked,
            SnapshotOffer: self._handle_unasked,
            SnapshotChunk: self._handle_unasked,
        }

    # --- what a program asks --------------------------------------------------------------------

    @property
    def seen_through(self) -> Slot:
        """The highest slot of any answer so far."""
        return self._seen_through

    def learn(self, endpoints: Sequence[str]) -> None:
        """Hear where the replicas are now: tried when those given at first are of no use.

        What was learned before is forgotten, so that a client follows a cluster whose members come
        and go for years.
        """
        learned = [each for each in endpoints if each and each not in self._given]
        self._endpoints = (*self._given, *learned)

    def submit(self, machine: str, commands: Sequence[bytes], deadline: float) -> range:
        """Have commands applied, each exactly once. They leave with the next ``flush``.

        In quiet times they are applied in this order; across a failure they may not be.

        Args:
            machine: Name of the state machine.
            commands: What its ``apply`` gets.
            deadline: When each that has no answer ends Refused or Unknown; may be infinite.

        Returns:
            One token for each command. Each will end once, unless it is cancelled.

        Raises:
            ValueError: The name is too long.
        """
        _check_name(machine)
        start = self._next_token
        tokens = range(start, start + len(commands))
        self._next_token = tokens.stop
        options = self._options
        entered, unsent = self._open, self._unsent
        if len(commands) > options.requests_max - len(entered):
            self._late.extend([Ended(token, self._too_many()) for token in tokens])
            return tokens
        longest, token = options.command_bytes_max, start
        for command in commands:
            if len(command) > longest:
                text = f"a command may have {longest} bytes, not {len(command)}"
                self._late.append(Ended(token, Refused(text)))
            else:
                entered[token] = unsent[token] = _Request(token, machine, command)
            token += 1
        self._expect_by(deadline, start, token)
        return tokens

    def read(
        self,
        level: Level,
        machine: str,
        query: bytes,
        deadline: float,
        at_least: Slot | None = None,
    ) -> int:
        """Ask a state machine. The question leaves with the next ``flush``.

        Args:
            level: How fresh the answer must be.
            machine: Name of the state machine.
            query: What its ``query`` gets.
            deadline: When it ends Refused; may be infinite.
            at_least: The slot that a SESSION read must reflect; the highest seen if None.

        Returns:
            A token that ends as Done, Failed or Refused.

        Raises:
            ValueError: The name is too long.
        """
        _check_name(machine)
        if at_least is None:
            at_least = self._seen_through if level is Level.SESSION else 0
        token = self._next_token
        return self._ask(token, Read(token, level, machine, query, at_least), deadline)

    def watch(self, machine: str, query: bytes, deadline: float) -> int:
        """Wait until a state machine has something to tell, however often the connection changes.

        Args:
            machine: Name of the state machine.
            query: What its ``watch`` gets.
            deadline: When it ends Refused; may be infinite.

        Returns:
            A token that ends as Done, Failed or Refused.

        Raises:
            ValueError: The name is too long.
        """
        _check_name(machine)
        token = self._next_token
        return self._ask(token, Watch(token, machine, query, self._seen_through), deadline)

    def cancel(self, token: int) -> None:
        """Stop waiting: nothing more is said of ``token``. A command may be applied all the same.

        A token that has ended, or never was, is no error.
        """
        entry = self._open.get(token)
        if entry is not None:
            self._forget(entry)

    def flush(self, now: float) -> list[ClientEffect]:
        """Send what was asked since the last time: one Submit for each run of one machine."""
        self._flushed = self._next_token
        return self._settle(now, self._taken_late())

    def handle(self, event: ClientEvent, now: float) -> list[ClientEffect]:
        """Take in what happened; return what is to be done, in order."""
        out = self._taken_late()
        match event:
            case Answered(message=Redirect(), leader_url=leader_url):
                self._handle_redirect(leader_url, now)
            case Answered(message=message):
                self._quiet_since = now
                self._setbacks = 0
                self._answers[type(message)](message, now, out)
            case Connected(endpoint=endpoint):
                self._handle_connected(endpoint, now)
            case Disconnected(endpoint=endpoint):
                if endpoint == self._here and self._link is not _Link.AWAY:
                    self._try_next(now)
            case DeadlinePassed():
                pass  # What is due is looked for after every event.
            case _:
                assert_never(event)
        return self._settle(now, out)

    def next_deadline(self) -> float:
        """When to call ``handle(DeadlinePassed(), ...)`` at the latest; infinite if never."""
        due = self._deadlines[0][0] if self._deadlines else math.inf
        if self._link is _Link.AWAY:
            return min(due, self._dial_at) if self._open else due
        if self._link is _Link.UP:
            # A pause that is over has been set back to "none" by the last settling.
            for pause in (self._submit_after, self._ask_after):
                if pause != -math.inf:
                    due = min(due, pause)
        return min(due, self._silent_at(self._answer_due()))

    # --- answers --------------------------------------------------------------------------------

    def _handle_session_opened(
        self, message: SessionOpened, now: float, out: list[ClientEffect]
    ) -> None:
        if not self._nonce or message.nonce != self._nonce:
            return  # The answer to an earlier sending of the same wish: one session is enough.
        if message.session in self._sessions:
            return  # Nonsense: its numbers have been used.
        self._nonce, self._opening = 0, False
        self._session = self._sessions[message.session] = _Session(message.session)
        self._progressed()

    def _handle_results(self, message: Results, now: float, out: list[ClientEffect]) -> None:
        session = self._sessions.get(message.session)
        if session is None:
            return
        self._progressed()
        sent, entered = session.sent, self._open
        expired: dict[int, _Request] = {}
        for number, status, slot, data in message.results:
            request = sent.get(number)
            if request is None:
                continue  # It has ended: a second answer, or one after the deadline.
            if status in _APPLIED:
                token = request.token
                del sent[number], entered[token]
                out.append(Ended(token, _applied(status, slot, data)))
            elif request.frame or request.doubtful:
                self._not_applied(request, status, _text(data), expired, out)
        self._seen_through = max([self._seen_through, *[slot for _, _, slot, _ in message.results]])
        if expired:
            self._unsent = expired | self._unsent
        self._retire(session)

    def _not_applied(
        self,
        request: _Request,
        status: int,
        reason: str,
        expired: dict[int, _Request],
        out: list[ClientEffect],
    ) -> None:
        """One attempt was not applied. Only if it was the only one does that say anything."""
        session = request.session
        assert session is not None
        if status == Status.EXPIRED and session is self._session:
            self._session = None
        if request.doubtful:
            self._end(request, Unknown(f"an earlier attempt had no answer; now: {reason}"), out)
        elif status == Status.EXPIRED:
            del session.sent[request.number]
            request.session, request.number, request.frame = None, 0, 0
            expired[request.token] = request
        else:
            self._end(request, Refused(reason), out)

    def _handle_overloaded(self, message: Overloaded, now: float, out: list[ClientEffect]) -> None:
        first = message.first
        if first == 0:
            if not self._opening or message.session != self._nonce:
                return
            self._opening = False
        elif not self._take_back(message.session, first):
            return
        self._obstacle = message.reason
        hint = min(message.retry_after_ms / 1000, self._options.backoff_max_s)
        self._submit_after = max(self._submit_after, now + max(hint, self._pause(0)))

    def _take_back(self, session_id: SessionId, first: RequestNumber) -> bool:
        """Note that the Submit that began at ``first`` was not taken; False if there is none."""
        session = self._sessions.get(session_id)
        if session is None:
            return False
        found = False
        for number in range(max(first, session.acked_through + 1), session.following):
            request = session.sent.get(number)
            if request is None:
                continue
            if request.frame != first:
                break
            request.frame = 0
            found = self._resend = True
        return found

    def _handle_read_answer(self, message: ReadAnswer, now: float, out: list[ClientEffect]) -> None:
        token, status = message.number, message.status
        question = self._reads.pop(token, None) or self._watches.pop(token, None)
        if question is None and status in _APPLIED:
            # Asked, then given up because of something else; the answer is as good as ever.
            question = self._unasked.pop(token, None)
        if question is None:
            return
        asked = question.message
        linearizable = isinstance(asked, Read) and asked.level is Level.LINEARIZABLE
        if status in _APPLIED:
            if linearizable:
                self._progressed()
            self._patience_s = self._options.silence_timeout_s
            self._seen_through = max(self._seen_through, message.slot)
            del self._open[token]
            out.append(Ended(token, _applied(status, message.slot, message.data)))
        elif linearizable:
            question.reason = _text(message.data)
            self._unasked[token] = question
            self._ask_later(now)
        else:
            del self._open[token]
            out.append(Ended(token, Refused(_text(message.data))))

    def _ask_later(self, now: float) -> None:
        """A replica refused a read that only a leader can answer: ask again, perhaps elsewhere."""
        if self._ask_after != -math.inf:
            return  # One of many that were refused together.
        pause = now + self._pause(0)
        if self._leads:
            # It may only have too much to do. The next time, with nothing done between, move on.
            self._leads = False
            self._ask_after = pause
        else:
            self._leave(self._next_endpoint(), pause)

    def _handle_unasked(self, message: ClientAnswer, now: float, out: list[ClientEffect]) -> None:
        """Nothing that was asked here."""

    def _handle_redirect(self, leader_url: str | None, now: float) -> None:
        if self._link is not _Link.UP:
            return  # From the connection that was left: it has been followed.
        self._setbacks = 0
        self._obstacle = "no replica led"
        if leader_url in (None, self._here) or (
            leader_url == self._shunned and now < self._shunned_until
        ):
            target, at_once = self._next_endpoint(), False
        else:
            assert leader_url is not None
            target, at_once = leader_url, self._bounces == 0
        self._bounces += 1
        self._leave(target, now if at_once else now + self._pause(0))

    # --- the connection -------------------------------------------------------------------------

    def _handle_connected(self, endpoint: str, now: float) -> None:
        if endpoint == self._here and self._link is _Link.DIALLING:
            self._link = _Link.UP
            self._leads = True
            self._quiet_since = now

    def _progressed(self) -> None:
        """The replica answered as only a leader does."""
        self._leads = True
        self._bounces = 0
        self._patience_s = self._options.silence_timeout_s
        self._obstacle = "too much was waiting before it"

    def _answer_due(self) -> float:
        """When an answer is overdue unless something is heard; infinite if none is awaited."""
        quiet = self._quiet_since
        if self._link is _Link.DIALLING:
            return quiet + self._options.silence_timeout_s
        if self._link is _Link.UP and self._reads:
            return quiet + self._patience_s
        if self._link is _Link.UP and (self._opening or self._awaits_results()):
            return max(quiet, self._submit_after) + self._patience_s
        return math.inf

    def _awaits_results(self) -> bool:
        """Whether a numbered request has not ended."""
        return any(map(_sent, self._sessions.values()))

    def _silent_at(self, answer_due: float) -> float:
        """When the connection is given up unless something is heard; infinite if never."""
        if self._watches:
            watched = self._quiet_since + self._options.watch_silence_timeout_s
            return min(answer_due, watched)
        return answer_due

    def _bear_longer(self) -> None:
        """A replica was silent for too long: it may have too much to do, as may the next one."""
        options = self._options
        longest = min(2.0 * self._patience_s, options.silence_timeout_max_s)
        spread = longest * (1.0 - self._rng.random() / 2)
        self._patience_s = max(spread, options.silence_timeout_s)

    def _try_next(self, now: float) -> None:
        """The connection is dead: try the next endpoint, the first time without a pause."""
        setbacks = self._setbacks
        self._setbacks += 1
        self._obstacle = "no replica answered"
        self._shunned = self._here
        self._shunned_until = now + self._options.silence_timeout_s
        pause = self._pause((setbacks - 1) // len(self._endpoints)) if setbacks else 0.0
        self._leave(self._next_endpoint(), now + pause)

    def _next_endpoint(self) -> str:
        if self._here in self._endpoints:
            self._position = self._endpoints.index(self._here)
        self._position = (self._position + 1) % len(self._endpoints)
        return self._endpoints[self._position]

    def _pause(self, doublings: int) -> float:
        options = self._options
        longest = min(options.backoff_min_s * 2.0 ** min(doublings, 32), options.backoff_max_s)
        return longest * (1.0 - self._rng.random() / 2)

    def _leave(self, endpoint: str, dial_at: float) -> None:
        """Give up the connection. What had no answer on it is in doubt from now on."""
        for session in self._sessions.values():
            for request in session.sent.values():
                if request.frame:
                    request.doubtful = True
                    request.frame = 0
        self._resend = True
        self._opening = False
        self._unasked = self._reads | self._watches | self._unasked
        self._reads, self._watches = {}, {}
        self._unwatched.clear()
        self._submit_after = self._ask_after = -math.inf
        self._leads = False
        self._link = _Link.AWAY
        self._here = endpoint
        self._dial_at = dial_at

    # --- what is due ----------------------------------------------------------------------------

    def _taken_late(self) -> list[ClientEffect]:
        out, self._late = self._late, []
        return out

    def _settle(self, now: float, out: list[ClientEffect]) -> list[ClientEffect]:
        """Do everything that is due, whatever the event was."""
        self._expire(now, out)
        answer_due = self._answer_due()
        if now >= self._silent_at(answer_due):
            if self._link is _Link.UP and now >= answer_due:
                self._bear_longer()
            self._try_next(now)
        if self._link is _Link.UP:
            idle, unwatched = answer_due == math.inf, not self._watches
            self._send(now, out)
            if idle and (unwatched or self._answer_due() != math.inf):
                self._quiet_since = now  # Nobody had a reason to say anything before.
        elif self._link is _Link.AWAY and self._open and now >= self._dial_at:
            self._link = _Link.DIALLING
            self._quiet_since = now
            out.append(Connect(self._here))
        return out

    def _expire(self, now: float, out: list[ClientEffect]) -> None:
        """End what is over its deadline, and forget deadlines of what has ended."""
        heap, entered = self._deadlines, self._open
        while heap:
            deadline, _, tokens = heap[0]
            start, stop = tokens
            while start < stop and start not in entered:
                start += 1
            tokens[0] = start
            if start < stop and deadline > now:
                return
            heappop(heap)
            for token in range(start, stop):
                entry = entered.get(token)
                if entry is not None:
                    self._end(entry, self._overdue(entry), out)

    def _overdue(self, entry: _Request | _Question) -> Refused | Unknown:
        if isinstance(entry, _Question):
            return Refused(entry.reason or f"no answer before the deadline: {self._obstacle}")
        if entry.frame or entry.doubtful:
            return Unknown("it was sent, and no answer came before the deadline")
        return Refused(f"it was not taken before the deadline: {self._obstacle}")

    def _end(self, entry: _Request | _Question, outcome: Outcome, out: list[ClientEffect]) -> None:
        self._forget(entry)
        out.append(Ended(entry.token, outcome))

    def _forget(self, entry: _Request | _Question) -> None:
        token = entry.token
        del self._open[token]
        if isinstance(entry, _Question):
            self._unasked.pop(token, None)
            self._reads.pop(token, None)
            if self._watches.pop(token, None) is not None:
                self._unwatched.append(token)
            return
        if entry.session is None:
            del self._unsent[token]
        else:
            del entry.session.sent[entry.number]
            self._retire(entry.session)

    def _retire(self, session: _Session) -> None:
        """Forget an expired session once nothing is numbered in it."""
        if session is not self._session and not session.sent:
            self._sessions.pop(session.id, None)

    def _expect_by(self, deadline: float, start: int, stop: int) -> None:
        if deadline == math.inf:
            return
        heap, entered = self._deadlines, self._open
        if len(heap) > 2 * len(entered) + 64:
            # Most are of tokens that ended behind one that has not.
            heap[:] = [due for due in heap if any(token in entered for token in range(*due[2]))]
            heapify(heap)
        heappush(heap, (deadline, start, [start, stop]))

    def _ask(self, token: int, message: Read | Watch, deadline: float) -> int:
        self._next_token = token + 1
        if len(self._open) >= self._options.requests_max:
            self._late.append(Ended(token, self._too_many()))
        else:
            self._open[token] = self._unasked[token] = _Question(token, message)
            self._expect_by(deadline, token, token + 1)
        return token

    def _too_many(self) -> Refused:
        most = self._options.requests_max
        return Refused(f"a client may have {most} requests under way, and these would be more")

    # --- what leaves ----------------------------------------------------------------------------

    def _send(self, now: float, out: list[ClientEffect]) -> None:
        if self._unwatched:
            out.extend([Transmit(CancelWatch(token)) for token in self._unwatched])
            self._unwatched.clear()
        if now >= self._ask_after:
            self._ask_after = -math.inf
            if self._unasked:
                self._send_questions(out)
        if now >= self._submit_after:
            self._submit_after = -math.inf
            self._send_requests(out)

    def _send_questions(self, out: list[ClientEffect]) -> None:
        left: dict[int, _Question] = {}
        for token, question in self._unasked.items():
            if token >= self._flushed:
                left[token] = question
                continue
            message = question.message
            (self._reads if isinstance(message, Read) else self._watches)[token] = question
            out.append(Transmit(message))
        self._unasked = left

    def _send_requests(self, out: list[ClientEffect]) -> None:
        if self._resend:
            self._resend = False
            for session in self._sessions.values():
                unanswered = [r for r in session.sent.values() if not r.frame]
                self._transmit(session, unanswered, out)
        if next(iter(self._unsent), self._flushed) >= self._flushed:
            return
        if self._session is not None:
            self._transmit(self._session, self._number(self._session), out)
        elif not self._opening:
            self._opening = True
            self._nonce = self._nonce or 1 + self._rng.getrandbits(62)
            out.append(Transmit(OpenSession(self._nonce)))

    def _number(self, session: _Session) -> list[_Request]:
        """Give the next numbers to what waits for one, as many as the window has room for."""
        unsent, flushed, sent = self._unsent, self._flushed, session.sent
        number = session.following
        room = self._options.window_max - (number - 1 - session.acked_through)
        taken: list[_Request] = []
        for token, request in islice(unsent.items(), max(room, 0)):
            if token >= flushed:
                break
            request.session = session
            request.number = number
            sent[number] = request
            number += 1
            taken.append(request)
        session.following = number
        if len(taken) == len(unsent):
            unsent.clear()
        else:
            for request in taken:
                del unsent[request.token]
        return taken

    def _transmit(
        self, session: _Session, requests: list[_Request], out: list[ClientEffect]
    ) -> None:
        """Send numbered requests, in rising order, in as few Submits as the bounds allow."""
        if not requests:
            return
        options, acked_through = self._options, session.acked_through
        commands: list[bytes] = []
        first = following = room = 0
        machine = ""
        for request in requests:
            number, size = request.number, len(request.command)
            if (
                number != following
                or size > room
                or request.machine != machine
                or len(commands) == options.submission_commands_max
            ):
                if commands:
                    submit = Submit(session.id, first, acked_through, machine, tuple(commands))
                    out.append(Transmit(submit))
                commands, first, machine = [], number, request.machine
                room = options.submission_bytes_max
            commands.append(request.command)
            request.frame = first
            room -= size
            following = number + 1
        out.append(Transmit(Submit(session.id, first, acked_through, machine, tuple(commands))))


def _check_name(machine: str) -> None:
    if len(machine) > MACHINE_NAME_LENGTH_MAX:
        raise ValueError(
            f"a state machine's name has at most {MACHINE_NAME_LENGTH_MAX} characters:"
            f" {machine[:40]!r}..."
        )


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _applied(status: int, slot: Slot, data: bytes) -> Done | Failed:
    return Done(slot, data) if status == _DONE else Failed(slot, _text(data))
