"""The pure client: what a program asks of a cluster, as events in and effects out.

Owns tokens, the session, request numbers, what was sent on which attempt, and the choice of the
endpoint to talk to. Must never know of sockets, bytes on the wire, tasks or clocks: ``now`` and the
random numbers are arguments. Guards the client's half of exactly once (DESIGN: rule 8):

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
from typing import TYPE_CHECKING, Any

from paxos.core.ids import RequestNumber, SessionId, Slot
from paxos.core.messages import (
    ClientAnswer,
    ClientMessage,
    Level,
    Read,
    Watch,
)

if TYPE_CHECKING:
    from random import Random

MACHINE_NAME_LENGTH_MAX = 255
"""The longest name of a state machine, in characters."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Bounds and durations of one client. Sizes are in bytes, durations in seconds.

    Attributes:
        command_bytes_max: A longer command is refused before it leaves.
        requests_max: Requests not yet ended; what is over it is refused before it leaves.
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
    """A session and what is numbered in it."""

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
    """One command. ``frame`` and ``doubtful`` say what is known of its attempts."""

    __slots__ = ("command", "doubtful", "frame", "machine", "number", "session", "token")

    def __init__(self, token: int, machine: str, command: bytes) -> None:
        self.token = token
        self.machine = machine
        self.command = command
        self.session: _Session | None = None
        self.number: RequestNumber = 0
        self.frame: RequestNumber = 0
        """First number of the Submit it is in on this connection; 0 if none is unanswered."""
        self.doubtful = False
        """Whether an attempt left on a connection that went before it was answered."""


class _Question:
    """One read or watch; its token is its number on the wire."""

    __slots__ = ("message", "reason", "retried")

    def __init__(self, message: Read | Watch) -> None:
        self.message = message
        self.retried = isinstance(message, Read) and message.level is Level.LINEARIZABLE
        """Whether to ask again when refused: another node, or this one a little later, may answer."""
        self.reason = "no answer"


class _Link(Enum):
    """Where the client is with its connection."""

    AWAY = "away"
    """None. The next is dialled at ``_dial_at``, if there is anything to ask."""
    DIALLING = "dialling"
    UP = "up"


class Client:
    """A client of one cluster, without I/O.

    Args:
        endpoints: Where replicas listen, opaque; the first is tried first.
        rng: Spreads nonces and pauses.
        options: Bounds and durations.

    Raises:
        ValueError: No endpoints.
    """

    def __init__(
        self, endpoints: Sequence[str], rng: Random, options: ClientOptions = ClientOptions()
    ) -> None:
        if not endpoints:
            raise ValueError("a client needs at least one endpoint")
        self._endpoints = tuple(endpoints)
        self._rng = rng
        self._options = options
        self._seen_through: Slot = 0
        # Tokens. Those below _flushed may leave; the rest wait for flush().
        self._next_token = 1
        self._flushed = 1
        self._deadlines: list[tuple[float, int, int]] = []  # heap of (deadline, start, stop)
        self._endings: list[ClientEffect] = []  # told with the next effects
        # Requests. _unsent have no number; the others are in their session's `sent`.
        self._requests: dict[int, _Request] = {}
        self._unsent: dict[int, _Request] = {}
        self._session: _Session | None = None  # where new numbers come from
        self._sessions: dict[SessionId, _Session] = {}  # it, and expired ones with requests
        self._nonce = 0  # of the session that is being opened; 0 for none
        self._opening = False  # whether that was asked for on this connection
        self._resend = False  # whether numbered requests are not on this connection
        self._submit_after = -math.inf  # a replica was overloaded: nothing leaves before
        # Reads and watches; _unasked are those not on this connection.
        self._reads: dict[int, _Question] = {}
        self._watches: dict[int, _Question] = {}
        self._unasked: dict[int, _Question] = {}
        self._ask_after = -math.inf
        # The connection.
        self._link = _Link.AWAY
        self._here = self._endpoints[0]  # the endpoint of the connection, or the next to dial
        self._dial_at = -math.inf
        self._quiet_since = -math.inf  # when something was last heard, or first waited for
        self._leads = False  # whether this connection showed that its replica leads
        self._setbacks = 0  # connections in a row on which nothing was heard
        self._bounces = 0  # times sent elsewhere in a row without anything done

        self._handlers: dict[type[ClientAnswer], Callable[[Any, float], None]] = {}

    @property
    def seen_through(self) -> Slot:
        """The highest slot of any answer so far."""
        return self._seen_through
